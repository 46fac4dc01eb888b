"""The compact form: three canonical parts, two JSON objects, nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.auth.jws import MAX_TOKEN, Malformed, parse
from tests.unit.auth.tokens import b64

HEADER = b64(b'{"alg":"RS256"}')
CLAIMS = b64(b'{"iss":"us"}')
TOKEN = HEADER + b"." + CLAIMS + b".c2ln"


def test_token_is_taken_apart() -> None:
    jws = parse(TOKEN)
    assert jws.header == {"alg": "RS256"}
    assert jws.claims == {"iss": "us"}
    assert jws.signing_input == HEADER + b"." + CLAIMS
    assert jws.signature == b"sig"


def test_signature_may_be_empty_for_the_algorithm_to_be_refused() -> None:
    assert parse(HEADER + b"." + CLAIMS + b".").signature == b""


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"..",
        b"wsk_0123456789",
        TOKEN[:-5],
        HEADER + b"." + CLAIMS,
        TOKEN + b".",
        TOKEN + b".e30.e30",  # five parts: an encrypted token
        b"." + TOKEN,
        TOKEN + b"\n",
        b" " + TOKEN,
        TOKEN.replace(b"c2ln", b"c2ln="),
        TOKEN.replace(b"c2ln", b"c2l+"),
        TOKEN.replace(b"c2ln", b"c2l/"),
        TOKEN.replace(b"c2ln", b"c2ln\xff"),
        TOKEN + b"x",  # 4n + 1 characters
        HEADER + b"." + CLAIMS + b".c2l",  # stray bits: `c2k` is how `si` is written
    ],
)
def test_other_form_is_malformed(token: bytes) -> None:
    with pytest.raises(Malformed):
        parse(token)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"1",
        b'{"a":1}{',
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"deep":[{"a":1,"a":2}]}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":"\xff"}',
        b'{"a":"\n"}',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        b"[" * 12_000,
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
    ],
)
def test_part_that_is_no_object_with_unique_names_is_malformed(raw: bytes) -> None:
    for token in (b64(raw) + b"." + CLAIMS + b".", HEADER + b"." + b64(raw) + b"."):
        with pytest.raises(Malformed):
            parse(token)


def test_token_of_16_kib_is_read_and_one_byte_more_is_not() -> None:
    room = MAX_TOKEN - len(HEADER + b"." + CLAIMS + b".")
    signature = b"A" * room
    assert len(parse(HEADER + b"." + CLAIMS + b"." + signature).signature) == room * 3 // 4
    with pytest.raises(Malformed, match="16 KiB"):
        parse(HEADER + b"." + CLAIMS + b"." + signature + b"A")


def test_error_keeps_nothing_of_the_token() -> None:
    secret = b'{"secret-claim": 1,}'
    with pytest.raises(Malformed) as caught:
        parse(HEADER + b"." + b64(secret) + b".")
    assert "secret-claim" not in str(caught.value)
    assert caught.value.__context__ is None


@given(st.binary(max_size=200) | st.lists(st.binary(max_size=60).map(b64)).map(b".".join))
def test_whatever_comes_is_a_token_or_malformed(token: bytes) -> None:
    try:
        jws = parse(token)
    except Malformed:
        return
    assert jws.signing_input + b"." + b64(jws.signature) == token
