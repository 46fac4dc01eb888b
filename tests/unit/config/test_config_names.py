"""Hosts, origins, header names and paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import names
from proxy.config.faults import Wrong
from proxy.handshake.target import split_target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Chat.Example.COM", "chat.example.com"),
        ("chat.example.com.", "chat.example.com"),
        ("*.Example.com", "*.example.com"),
        ("10.0.0.1", "10.0.0.1"),
        ("[0::1]", "[::1]"),
    ],
)
def test_a_routes_host_has_one_form(text: str, expected: str) -> None:
    assert names.host_pattern(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("*", "every host"),
        ("*.", "no host name"),
        ("a.*.com", "wrong place"),
        ("*example.com", "wrong place"),
        ("example.com:443", "names a port"),
        ("[::1]:80", "names a port"),
        ("https://example.com", "is a URL"),
        ("example.com/x", "is a URL"),
        ("", "no host name"),
        ("a..b", "no host name"),
        ("x" * 64, "no host name"),
        ("1.2.3.4.5", "wrong IPv4"),
    ],
)
def test_what_is_no_host_is_refused(text: str, problem: str) -> None:
    with pytest.raises(Wrong, match=problem):
        names.host_pattern(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://example.com", "https://example.com"),
        ("HTTPS://Example.com:443", "https://example.com"),
        ("http://example.com:80", "http://example.com"),
        ("http://example.com:443", "http://example.com:443"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("null", "null"),
    ],
)
def test_an_origin_is_kept_as_browsers_send_it(text: str, expected: str) -> None:
    assert names.origin(text) == expected


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("https://example.com/", "without a slash or path"),
        ("https://example.com/app", "without a slash or path"),
        ("https://example.com?x", "without a slash or path"),
        ("https://a@example.com", "without a slash or path|is not an origin"),
        ("example.com", "write scheme and host"),
        ("", "write scheme and host"),
        ("*", "origins: null"),
        ("https://example.com:0", "1 to 65535"),
        ("https://example.com:99999", "1 to 65535"),
        ("https://*.example.com", "host name"),
    ],
)
def test_what_is_no_exact_origin_is_refused(text: str, mend: str) -> None:
    with pytest.raises(Wrong, match=mend):
        names.origin(text)


def test_a_header_name_is_a_token() -> None:
    assert names.header_name("X-Api-Key") == "X-Api-Key"
    for text in ("", "X Api", "X-Api:", "Ü", "X\r\n"):
        with pytest.raises(Wrong, match="not a header name"):
            names.header_name(text)


@pytest.mark.parametrize(
    "text",
    ["/", "/chat", "/a/b.c/~d", "/caf%C3%A9", "/...", "/a;v=1", "/.hidden", "/a.", "/%7Eme"],
)
def test_a_path_with_one_reading_is_taken(text: str) -> None:
    assert names.route_path(text) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("chat", "does not begin"),
        ("", "does not begin"),
        ("/a?x", "query"),
        ("/a#x", "query or fragment"),
        ("/a\\b", "backslash"),
        ("/a b", "cannot stand in a path"),
        ("/café", "cannot stand in a path"),
        ("/a\r\nX: y", "cannot stand in a path"),
        ("/a\n", "cannot stand in a path"),
        ("/%zz", "cannot stand in a path"),
        ("/%4", "cannot stand in a path"),
        ("//a", "empty segment"),
        ("/a//b", "empty segment"),
        ("/.", "`.` or `..`"),
        ("/a/..", "`.` or `..`"),
        ("/a/../b", "`.` or `..`"),
        ("/a/%2e%2E/b", "`.` or `..`"),
        ("/a/.%2e;x/b", "`.` or `..`"),
        ("/a/..%3bx", "`.` or `..`"),
        ("/a%2fb", "encoded"),
        ("/a%5Cb", "encoded"),
        ("/a%00", "encoded"),
        ("/a%7f", "encoded"),
        ("/a%c0%ae", "encoded"),
        ("/chat/", "ends with `/`"),
        ("/.wskeeper", "is kept"),
        ("/.wskeeper/x", "is kept"),
    ],
)
def test_an_ambiguous_or_reserved_path_is_refused(text: str, problem: str) -> None:
    with pytest.raises(Wrong, match=problem):
        names.route_path(text)


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("ready", "/ready"),
        (".wskeeper/ready", "/.wskeeper/ready"),
        ("http://127.0.0.1:8080/ready", "/ready"),
        ("ws://h", "/"),
        ("", "/"),
        ("^/chat", "/chat"),
        ("~ ^/chat/", "/chat/"),
        ("not a path", "/"),
        ("ws://h/a/../b", "/ready"),
        ("^/a b", "/ready"),
    ],
)
def test_a_path_without_its_slash_is_told_with_it(text: str, mend: str) -> None:
    with pytest.raises(Wrong) as told:
        names.path(text)
    assert told.value.mend == f"write `{mend}`"


def test_a_health_path_may_lie_in_the_gateways_own_folder() -> None:
    assert names.path("/.wskeeper/ready") == "/.wskeeper/ready"


@given(st.text(alphabet="/.%25eEfFcC;3bBa\\?#\x01 ", max_size=12))
def test_every_accepted_path_can_be_requested(text: str) -> None:
    try:
        path = names.path(f"/{text}")
    except Wrong:
        return
    assert split_target(path.encode("ascii")) == (path.encode("ascii"), b"")
