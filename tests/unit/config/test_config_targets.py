"""The URLs of upstreams."""

from __future__ import annotations

import pytest

from proxy.config.faults import Wrong
from proxy.config.targets import target
from proxy.config.values import Target


@pytest.mark.parametrize(
    ("url", "expected", "authority"),
    [
        ("ws://h:9000/path", Target("ws", "h", 9000, None, b"/path"), b"h:9000"),
        ("ws://chat_1", Target("ws", "chat_1", 80, None, b""), b"chat_1"),
        ("WS://Host:80/", Target("ws", "host", 80, None, b""), b"host"),
        ("wss://h/p/", Target("wss", "h", 443, None, b"/p/"), b"h"),
        ("wss://h:443", Target("wss", "h", 443, None, b""), b"h"),
        ("wss://h:80", Target("wss", "h", 80, None, b""), b"h:80"),
        ("ws://[::1]:9/x", Target("ws", "::1", 9, None, b"/x"), b"[::1]:9"),
        ("ws://[0:0::1]", Target("ws", "::1", 80, None, b""), b"[::1]"),
        ("ws://svc.ns.svc.cluster.local.:9", None, b"svc.ns.svc.cluster.local.:9"),
        (
            "ws+unix:/run/x.sock:/t",
            Target("ws+unix", "localhost", 0, "/run/x.sock", b"/t"),
            b"localhost",
        ),
        (
            "ws+unix:/run/x.sock",
            Target("ws+unix", "localhost", 0, "/run/x.sock", b""),
            b"localhost",
        ),
        ("ws+unix:///x.sock:/", Target("ws+unix", "localhost", 0, "/x.sock", b""), b"localhost"),
    ],
)
def test_a_target_is_read(url: str, expected: Target | None, authority: bytes) -> None:
    read = target(url)
    assert expected is None or read == expected
    assert read.authority == authority
    assert read.secure is url.lower().startswith("wss")
    assert target(str(read)) == read
    assert target(read) is read


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://h", "begins with `http://`; write `ws://`"),
        ("https://h", "begins with `https://`; write `wss://`"),
        ("h:9000", "is not the URL"),
        ("127.0.0.1:9000", "is not the URL"),
        ("ws:h", "is not the URL"),
        ("tcp://h", "is not the URL"),
        (None, "is not the URL"),
        (9000, "is not the URL"),
        ("ws://", "names no host"),
        ("ws://:80", "names no host"),
        ("ws://h:x", "names no host, or a wrong port"),
        ("ws://h:0", "port that does not exist"),
        ("ws://h:65536", "port that does not exist"),
        ("ws://[::1", "names no host"),
        ("ws://1.2.3", "wrong IPv4"),
        ("ws://h/?token=x", "query or fragment"),
        ("ws://h?x", "query or fragment"),
        ("ws://h#x", "query or fragment"),
        ("ws://h/a/../b", "`.` or `..` segment"),
        ("ws://user:pass@h", "user name or password"),
        ("ws+unix:", "names no socket"),
        ("ws+unix:/x.sock:t", "does not begin with `/`"),
        ("ws+unix:/x.sock:/t?x", "query or fragment"),
        ("ws+unix://run/x.sock", "third `/`"),
    ],
)
def test_what_is_no_target_is_refused(url: object, problem: str) -> None:
    with pytest.raises(Wrong) as caught:
        target(url)
    assert problem in str(caught.value)


def test_a_password_in_a_target_is_not_repeated() -> None:
    for url in ("ws://app:CANARY@h", "http://app:CANARY@h", "ws://h:9/?key=CANARY"):
        with pytest.raises(Wrong) as caught:
            target(url)
        assert "CANARY" not in str(caught.value)
