"""The requests that `wskeeper doctor` sends: those of a client, with and without its key."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Final, Literal, NamedTuple
from urllib.parse import quote

from proxy.handshake.forward import OUR_SUBPROTOCOL
from proxy.handshake.head import TOKEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.cli.observation import Place

Kind = Literal["header", "bearer", "subprotocol", "cookie", "query"]

_OURS: Final = OUR_SUBPROTOCOL.decode()
# One challenge of ours, and its parameters.
_CHALLENGE: Final = re.compile(r'(ApiKey|Bearer) realm="wskeeper"((?:, [a-z]+="[^"]*")*)')
_PARAMETER: Final = re.compile(r', ([a-z]+)="([^"]*)"')
# What is tried first: what no hop logs and every hop passes on.
_PREFERENCE: Final[tuple[Kind, ...]] = ("header", "bearer", "subprotocol", "cookie", "query")


class Way(NamedTuple):
    """Where a key may travel; `name` is the header's, cookie's or parameter's."""

    kind: Kind
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".rstrip()


def way_in(challenge: str) -> Way:
    """The best of the ways that a WWW-Authenticate names; without one the usual header."""
    found: dict[str, Way] = {}
    for scheme, parameters in _CHALLENGE.findall(challenge):
        if scheme == "Bearer":
            found.setdefault("bearer", Way("bearer"))
        for kind, name in _PARAMETER.findall(parameters):
            if kind in _PREFERENCE:
                found.setdefault(kind, Way(kind, "" if kind == "subprotocol" else name))
    known = [found[kind] for kind in _PREFERENCE if kind in found]
    return known[0] if known else Way("header", "X-Api-Key")


def ordinary(place: Place, *, agent: str) -> bytes:
    """A GET that asks for no upgrade."""
    return _request(place.target, [f"Host: {place.authority}", f"User-Agent: {agent}"], last=True)


def upgrade(
    place: Place,
    *,
    agent: str,
    nonce: bytes,
    subprotocols: Sequence[str] = (),
    origin: str | None = None,
    key: str | None = None,
    way: Way | None = None,
) -> bytes:
    """An opening handshake (RFC 6455 section 4.1).

    `wskeeper` is offered besides what is asked for: the gateway itself selects it where the
    service selects none, so a 101 without any shows that a hop took the offer or the answer away.

    Args:
        agent: the User-Agent.
        nonce: the Sec-WebSocket-Key.
        subprotocols: to offer.
        origin: of the page that a browser would connect from; None for no browser.
        key: None for none.
        way: where the key travels.
    """
    target, offers, lines = place.target, [*subprotocols, _OURS], []
    if key is not None and way is not None:
        match way.kind:
            case "header":
                lines.append(f"{way.name}: {key}")
            case "bearer":
                lines.append(f"Authorization: Bearer {key}")
            case "cookie":
                lines.append(f"Cookie: {way.name}={key}")
            case "subprotocol":
                offers.append(_as_subprotocol(key))
            case _:
                mark = "&" if "?" in target else "?"
                target += f"{mark}{quote(way.name, safe='')}={quote(key, safe='')}"
    if origin is not None:
        lines.append(f"Origin: {origin}")
    head = [
        f"Host: {place.authority}",
        f"User-Agent: {agent}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {nonce.decode()}",
        f"Sec-WebSocket-Protocol: {', '.join(offers)}",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    ]
    return _request(target, head + lines)


def _as_subprotocol(key: str) -> str:
    if re.fullmatch(TOKEN, key.encode()):
        return f"{_OURS}.key.{key}"
    return f"{_OURS}.key.b64.{urlsafe_b64encode(key.encode()).decode().rstrip('=')}"


def _request(target: str, lines: Sequence[str], *, last: bool = False) -> bytes:
    ending = ("Connection: close",) if last else ()
    return "\r\n".join((f"GET {target} HTTP/1.1", *lines, *ending, "", "")).encode()
