"""The URLs of upstreams, read."""

from __future__ import annotations

import re

from proxy.config import names
from proxy.config.faults import Wrong
from proxy.config.values import Target, port_number, socket_path

_EXAMPLE = "write it as in `ws://127.0.0.1:9000/path`, `wss://…` or `ws+unix:/path.sock:/target`"
_SECURE = {"http": "ws", "https": "wss"}
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:\[\]]+)(?::([0-9]+))?")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?(.*)", re.DOTALL)


def target(value: object) -> Target:
    """Reads a target's URL. No fault repeats it: somebody may have put a password into it.

    Raises:
        Wrong: it is no URL of a WebSocket service, or says more than host, port and path.
    """
    if isinstance(value, Target):
        return value
    match = _SCHEME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise Wrong("is not the URL of a WebSocket service", _EXAMPLE)
    scheme, slashes, rest = match[1].lower(), match[2], match[3]
    if scheme == "ws+unix":
        if slashes and not rest.startswith("/"):
            raise Wrong("lacks the third `/`", "write `ws+unix:/path.sock:/target`")
        return _unix_target(rest)
    if scheme in _SECURE:
        raise Wrong(
            f"begins with `{scheme}://`", f"write `{_SECURE[scheme]}://`: WebSockets are spoken"
        )
    if scheme not in {"ws", "wss"} or not slashes:
        raise Wrong("is not the URL of a WebSocket service", _EXAMPLE)
    end = re.search(r"[/?#]|\Z", rest)
    cut = end.start() if end else len(rest)
    authority, path = rest[:cut], rest[cut:]
    if "@" in authority:
        raise Wrong(
            "holds a user name or password",
            "remove everything up to the `@`: it would not be sent",
        )
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise Wrong("names no host, or a wrong port", _EXAMPLE)
    default = 443 if scheme == "wss" else 80
    return Target(
        scheme="wss" if scheme == "wss" else "ws",
        host=names.host(parts[1]).strip("[]"),
        port=port_number(parts[2]) if parts[2] else default,
        socket_path=None,
        path=_path(path),
    )


def _unix_target(rest: str) -> Target:
    """`ws+unix:/path.sock:/target`; a relative path begins at the file's folder."""
    socket, colon, path = rest.partition(":")
    if "?" in rest or "#" in rest:
        raise Wrong("holds a query or fragment", "end it before the `?` or `#`")
    return Target("ws+unix", "localhost", 0, socket_path(socket), _path(path if colon else ""))


def _path(text: str) -> bytes:
    if text in {"", "/"}:
        return b""
    if text.startswith(("?", "#")):
        text = f"/{text}"
    return names.path(text).encode("ascii")
