"""What a first message must be, told apart from bombs, near misses and messages without a key."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Refused
from proxy.relay.first_message_rule import (
    GRAPHQL_WS,
    MAX_DIGITS,
    MAX_NESTING,
    FirstMessageRule,
)
from tests.harness import frames


def rule(match: Any = None, token: tuple[str, ...] = ("token",), **fields: Any) -> FirstMessageRule:
    return FirstMessageRule(
        **{
            "match": {"type": "auth"} if match is None else match,
            "token": token,
            "reply": None,
            "forward": False,
            "max_size": 16 * 1024,
            **fields,
        }
    )


RULE = rule()


def refusal(payload: bytes, by: FirstMessageRule = RULE) -> str:
    with pytest.raises(Refused) as caught:
        by.token_in(payload)
    assert caught.value.detail
    # Nothing of what was sent hangs on it.
    assert caught.value.__context__ is None
    return caught.value.code


# What is admitted ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"auth","token":"wsk_k"}',
        b' \r\n\t{"token" : "wsk_k", "more": [1, {"type": 2}], "type": "auth"} \n',
        b'{"ty\\u0070e":"\\u0061uth","token":"wsk\\u005fk"}',
        b'{"type":"auth","token":"wsk_k","s":"[[[[{{{{","n":null,"f":1e999,"big":12345678901234}',
    ],
)
def test_token_is_found_in_a_message_that_matches(payload: bytes) -> None:
    assert RULE.token_in(payload) == "wsk_k"


def test_token_may_be_any_text() -> None:
    assert RULE.token_in('{"type":"auth","token":" ключ😀 "}'.encode()) == " ключ😀 "
    assert RULE.token_in(b'{"type":"auth","token":"\\ud83d\\ude00"}') == "😀"


def test_token_is_found_along_its_path() -> None:
    deep = rule(token=("a", "b.c", "d"))
    assert deep.token_in(b'{"type":"auth","a":{"b.c":{"d":"k"}}}') == "k"


def test_rule_without_a_match_takes_any_object() -> None:
    assert rule(match={}).token_in(b'{"token":"k"}') == "k"


def test_graphql_ws_sends_its_key_with_connection_init() -> None:
    payload = b'{"type":"connection_init","payload":{"apiKey":"wsk_k","x":1}}'
    assert GRAPHQL_WS.token_in(payload) == "wsk_k"
    assert GRAPHQL_WS.forward
    assert GRAPHQL_WS.reply_frame is None
    assert GRAPHQL_WS.max_size == 16 * 1024
    assert refusal(b'{"type":"connection_init"}', GRAPHQL_WS) == "key_missing"
    assert refusal(b'{"type":"subscribe","payload":{"apiKey":"k"}}', GRAPHQL_WS) == "bad_request"


def test_reply_is_a_text_frame() -> None:
    assert rule(reply=b'{"type":"auth_ok"}').reply_frame == frames.frame(
        frames.TEXT, b'{"type":"auth_ok"}'
    )


# What must match -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "found", "matches"),
    [
        (1, "1", True),
        (1, "1.0", False),
        (1, "true", False),
        (True, "true", True),
        (True, "1", False),
        (False, "0", False),
        (0, "false", False),
        (None, "null", True),
        (None, "0", False),
        (1.5, "1.5", True),
        ("a", '"a"', True),
        ("a", '"A"', False),
        ("1", "1", False),
        ({}, "{}", True),
        ({}, '{"more":1}', True),
        ({}, "[]", False),
        ({}, "null", False),
        ({"a": {"b": 1}}, '{"a":{"b":1,"c":2},"d":3}', True),
        ({"a": {"b": 1}}, '{"a":{"b":true}}', False),
        ({"a": {"b": 1}}, '{"a":{}}', False),
        ({"a": None}, "{}", False),
        ([1, {"a": 2}], '[1,{"a":2,"b":3}]', True),
        ([1], "[1,2]", False),
        ([1, 2], "[1]", False),
        ([1, 2], "[2,1]", False),
        ((), "[]", True),
        ([], "{}", False),
        ([1], "[true]", False),
    ],
)
def test_values_match_by_value_and_type(expected: Any, found: str, *, matches: bool) -> None:
    payload = f'{{"v":{found},"token":"k"}}'.encode()
    by = rule(match={"v": expected})
    if matches:
        assert by.token_in(payload) == "k"
    else:
        assert refusal(payload, by) == "bad_request"


# What is refused -----------------------------------------------------------------------------

BAD = {
    "empty": b"",
    "blank": b"  ",
    "text": b"wsk_secret",
    "string": b'"wsk_secret"',
    "array": b'[{"type":"auth","token":"k"}]',
    "null": b"null",
    "cut": b'{"type":"auth","token":"k"',
    "open string": b'{"type":"auth","token":"k',
    "ends in an escape": b'{"type":"auth","token":"k\\',
    "tail": b'{"type":"auth","token":"k"}x',
    "second object": b'{"type":"auth","token":"k"}{}',
    "comma": b'{"type":"auth","token":"k",}',
    "single quotes": b"{'type':'auth','token':'k'}",
    "comment": b'{"type":"auth","token":"k"}//',
    "control character": b'{"type":"auth","token":"k\n"}',
    "NaN": b'{"type":"auth","token":"k","n":NaN}',
    "-Infinity": b'{"type":"auth","token":"k","n":-Infinity}',
    "byte order mark": b'\xef\xbb\xbf{"type":"auth","token":"k"}',
    "UTF-16": '{"type":"auth","token":"k"}'.encode("utf-16"),
    "UTF-32": '{"type":"auth","token":"k"}'.encode("utf-32-le"),
    "no UTF-8": b'{"type":"auth","token":"k\xff"}',
    "surrogate in UTF-8": b'{"type":"auth","token":"\xed\xa0\x80"}',
    "lone surrogate": b'{"type":"auth","token":"\\ud800"}',
    "swapped surrogates": b'{"type":"auth","token":"\\ude00\\ud83d"}',
    "name twice": b'{"type":"auth","token":"k","token":"l"}',
    "name twice, escaped": b'{"type":"auth","token":"k","\\u0074oken":"l"}',
    "name twice, further in": b'{"type":"auth","token":"k","a":[{"b":1,"b":1}]}',
    "no type": b'{"token":"k"}',
    "other type": b'{"type":"hello","token":"k"}',
    "type of a type": b'{"type":["auth"],"token":"k"}',
}


@pytest.mark.parametrize("payload", BAD.values(), ids=BAD)
def test_message_that_is_not_the_one_expected_is_a_bad_request(payload: bytes) -> None:
    assert refusal(payload) == "bad_request"


@pytest.mark.parametrize(
    "rest", ["", ',"token":""', ',"token":null', ',"token":1', ',"token":["k"]', ',"token":{}']
)
def test_message_without_a_token_misses_its_key(rest: str) -> None:
    assert refusal(f'{{"type":"auth"{rest}}}'.encode()) == "key_missing"


@pytest.mark.parametrize("value", ['"k"', "null", "[]", "{}", '{"b":1}', '{"b":[]}'])
def test_path_that_ends_early_misses_its_key(value: str) -> None:
    by = rule(token=("a", "b", "c"))
    assert refusal(f'{{"type":"auth","a":{value}}}'.encode(), by) == "key_missing"


def test_refusal_names_the_place_and_quotes_nothing() -> None:
    with pytest.raises(Refused) as caught:
        rule(token=("a", "b")).token_in(b'{"type":"auth","a":"wsk_secret"}')
    assert "a.b" in caught.value.detail
    assert "wsk_" not in caught.value.detail


# Bombs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_nesting_is_bounded(opening: str, closing: str) -> None:
    def nested(times: int) -> bytes:
        inner = opening * times + "1" + closing * times
        return f'{{"type":"auth","token":"k","n":{inner}}}'.encode()

    most = (MAX_NESTING - 1) // len(opening.replace('"a":', ""))
    assert RULE.token_in(nested(most)) == "k"
    assert refusal(nested(most + 1)) == "bad_request"
    assert refusal(nested(10_000)) == "bad_request"


def test_width_is_not_nesting() -> None:
    wide = b"[" + b",".join([b'[{"a":[]}]'] * 1000) + b"]"
    assert RULE.token_in(b'{"type":"auth","token":"k","n":' + wide + b"}") == "k"


BOMBS = {
    "an integer": b'{"type":"auth","token":"k","n":' + b"9" * 1_000_000 + b"}",
    "a negative integer": b'{"type":"auth","token":"k","n":-' + b"9" * 1_000_000 + b"}",
    "integers": b'{"type":"auth","token":"k","n":[' + b"9" * (MAX_DIGITS + 1) + b",1]}",
    "brackets": b"[" * 1_000_000,
    "closing brackets": b"]" * 1_000_000,
    "pairs of brackets": b"[]" * 500_000,
    "quotes": b'"' * 1_000_000,
    "escaped quotes": b'"' + b'\\"' * 500_000,
    "backslashes": b'{"a":"' + b"\\" * 999_999,
    "blanks": b" " * 1_000_000,
    "half an object": b'{"a":' * 200_000,
}


@pytest.mark.parametrize("payload", BOMBS.values(), ids=BOMBS)
def test_bomb_is_refused_in_time_proportional_to_its_size(payload: bytes) -> None:
    begun = time.process_time()
    assert refusal(payload) == "bad_request"
    assert time.process_time() - begun < 2


def test_fraction_of_many_digits_is_read_in_time_proportional_to_its_size() -> None:
    begun = time.process_time()
    payload = b'{"type":"auth","token":"k","n":0.' + b"1" * 1_000_000 + b"}"
    assert RULE.token_in(payload) == "k"
    assert time.process_time() - begun < 2


def test_integer_of_many_digits_passes_up_to_a_bound() -> None:
    payload = b'{"type":"auth","token":"k","n":' + b"9" * MAX_DIGITS + b"}"
    assert RULE.token_in(payload) == "k"


# Anything ------------------------------------------------------------------------------------

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), values, max_size=4), st.text(min_size=1), st.data())
def test_message_matches_every_part_of_itself(
    members: dict[str, Any], token: str, data: st.DataObject
) -> None:
    message = {**members, "token": token}
    names = data.draw(st.sets(st.sampled_from(sorted(message))))
    by = rule(match={name: message[name] for name in names})
    assert by.token_in(json.dumps(message).encode()) == token


near = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda at, cut, put: (
            b'{"type":"auth","token":"wsk_k"}'[:at]
            + put
            + b'{"type":"auth","token":"wsk_k"}'[at + cut :]
        ),
        st.integers(0, 31),
        st.integers(0, 4),
        st.binary(max_size=3) | st.sampled_from((b'"', b"\\", b"[", b"{}", b"\\ud800")),
    ),
    st.text(st.sampled_from('[]{}",:\\ u1e-'), max_size=60).map(str.encode),
)


@given(near)
def test_any_bytes_give_a_token_or_a_refusal(payload: bytes) -> None:
    refused = None
    try:
        token = RULE.token_in(payload)
    except Refused as caught:
        refused = caught
    if refused is not None:
        assert refused.code in {"bad_request", "key_missing"}
    else:
        assert token.encode()
        assert json.loads(payload)["token"] == token
