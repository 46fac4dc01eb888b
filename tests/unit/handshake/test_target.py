"""The request target: one reading or none."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Refused
from proxy.handshake.target import split_target


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", b"/", b""),
        (b"/chat", b"/chat", b""),
        (b"/chat/", b"/chat/", b""),
        (b"/chat?", b"/chat", b"?"),
        (b"/chat?a=%2f&b=%0d%0a&c=+&d&e=%E9;f", b"/chat", b"?a=%2f&b=%0d%0a&c=+&d&e=%E9;f"),
        (b"/chat?a=//../..%2f\\%zz?b", b"/chat", b"?a=//../..%2f\\%zz?b"),
        (b"/a;v=1/b", b"/a;v=1/b", b""),
        (b"/...", b"/...", b""),
        (b"/.well-known/x", b"/.well-known/x", b""),
        (b"/a/..b/b../c", b"/a/..b/b../c", b""),
        (b"/a..", b"/a..", b""),
        (b"/a;..;b", b"/a;..;b", b""),
        (b"/%2e%2e%2e", b"/%2e%2e%2e", b""),
        (b"/caf%C3%A9/%20x", b"/caf%C3%A9/%20x", b""),
        (b"/%252e%252e/x", b"/%252e%252e/x", b""),
        (b"/%e0%a4%85/%F0%9F%98%80", b"/%e0%a4%85/%F0%9F%98%80", b""),
        (b"/a:b@c,d=e'(f)*!$&+~_-", b"/a:b@c,d=e'(f)*!$&+~_-", b""),
    ],
)
def test_plain_target_is_split_and_kept_to_the_byte(
    target: bytes, path: bytes, query: bytes
) -> None:
    assert split_target(target) == (path, query)


AMBIGUOUS = [
    # Not in origin form.
    b"",
    b"*",
    b"chat",
    b"http://h/chat",
    b"ws://h/chat",
    b"h:80",
    b"?a",
    b"#",
    # Dot segments, encoded or followed by parameters.
    b"/.",
    b"/..",
    b"/./pub",
    b"/pub/../admin",
    b"/pub/..",
    b"/pub/.",
    b"/pub/%2e%2e/admin",
    b"/pub/%2E%2E/admin",
    b"/pub/.%2e/admin",
    b"/pub/%2e./admin",
    b"/pub/%2e/admin",
    b"/pub/..;/admin",
    b"/pub/..;a=b/admin",
    b"/pub/.;/admin",
    b"/pub/%2e%2e;x/admin",
    b"/pub/..%3b/admin",
    b"/pub/..%3Bx/admin",
    b"/pub;x/..;/admin",
    b"/pub/..?a",
    # Empty segments, backslashes, fragments.
    b"//pub",
    b"/pub//x",
    b"/pub//",
    b"//",
    b"/pub\\x",
    b"/\\..\\admin",
    b"/pub#x",
    b"/pub?a#x",
    # Encoded separators and control characters.
    b"/pub%2fadmin",
    b"/pub%2Fadmin",
    b"/pub/..%2fadmin",
    b"/pub%5cadmin",
    b"/pub%5Cadmin",
    b"/pub%00",
    b"/pub%09",
    b"/pub%0d%0aX-Injected:%201",
    b"/pub%20HTTP/1.1%0d%0a",
    b"/pub%1f",
    b"/pub%7f",
    b"/pub%7F",
    # Overlong UTF-8: %c0%ae is one more dot, %c0%af one more slash, to some.
    b"/pub/%c0%ae%c0%ae/admin",
    b"/pub%c0%afadmin",
    b"/pub%C1%9cadmin",
    b"/pub%e0%80%afadmin",
    b"/pub/%E0%80%AE%E0%80%AE/admin",
    b"/pub%e0%9f%bf",
    b"/pub%f0%80%80%af",
    b"/pub%F0%8f%bf%bf",
    # No percent-encoding.
    b"/pub%",
    b"/pub%2",
    b"/pub%zz",
    b"/pub%u002f",
    b"/pub%%32f",
]


@pytest.mark.parametrize("target", AMBIGUOUS)
def test_ambiguous_target_is_refused(target: bytes) -> None:
    with pytest.raises(Refused) as caught:
        split_target(target)
    assert caught.value.code == "bad_path"


def test_refusal_does_not_repeat_the_target() -> None:
    with pytest.raises(Refused) as caught:
        split_target(b"/pub/../canary")
    assert "canary" not in caught.value.detail


pieces = st.lists(
    st.sampled_from(
        (b"/", b".", b"..", b";", b"%2e", b"%2F", b"%5c", b"%00", b"%3b", b"\\", b"%", b"a", b"b?")
    ),
    max_size=8,
).map(b"".join)


@given(st.one_of(pieces, st.lists(st.integers(0x21, 0x7E), max_size=12).map(bytes)))
def test_accepted_path_has_one_reading(target: bytes) -> None:
    try:
        path, query = split_target(b"/" + target)
    except Refused:
        return
    assert path + query == b"/" + target
    assert b"?" not in path
    decoded = unquote_to_bytes(path)
    assert decoded.count(b"/") == path.count(b"/")
    assert not re.search(rb"[\x00-\x1f\x7f\\]", decoded)
    for segment in decoded.split(b"/")[1:]:
        assert segment.partition(b";")[0] not in {b".", b".."}
    assert b"" not in path.split(b"/")[1:-1]
