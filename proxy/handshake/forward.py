"""The request head that goes upstream: the client's, less what is not its to say, plus ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.handshake.client import text_of
from proxy.handshake.head import USUAL_CONNECTION

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from proxy.handshake.client import Client
    from proxy.handshake.head import Headers, RequestHead
    from proxy.handshake.settings import HeaderSettings

# RFC 9110 section 7.6.1, and what RFC 2616 and browsers of old added.
HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

# What most requests hold and nothing here concerns, so that most headers cost one look.
_UNSUSPICIOUS: Final = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"accept-language",
        b"cache-control",
        b"host",
        b"origin",
        b"pragma",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"user-agent",
    }
)
_NAMED_ANYWAY: Final = frozenset({b"upgrade", b"keep-alive", b"close"})

# Only a trusted proxy may say these.
_FORWARDING: Final = frozenset(
    {
        b"forwarded",
        b"x-real-ip",
        b"true-client-ip",
        b"cf-connecting-ip",
        b"x-client-ip",
    }
)
_FORWARDING_PREFIX: Final = b"x-forwarded-"

# Ours alone, whoever the peer is; names are compared with `_` read as `-`, since many servers
# fold both into one.
_OURS: Final = frozenset(
    {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip", b"x-request-id"}
)
_OUR_PREFIX: Final = b"x-wskeeper-"

# `Connection: X` removes X on the way; these it cannot (CVE-2022-31813, CVE-2024-45410).
_NOT_REMOVABLE: Final = frozenset({b"host", b"origin", b"cookie"})
_NOT_REMOVABLE_PREFIXES: Final = (b"sec-websocket-", _OUR_PREFIX, _FORWARDING_PREFIX)

# As a number, which is found in bytes ten times faster than bytes are.
_UNDERSCORE: Final = ord("_")

_COOKIE: Final = b"cookie"
_HOST: Final = b"host"
_LENGTH: Final = b"content-length"
_OFFER: Final = b"sec-websocket-protocol"
_EXTENSIONS: Final = b"sec-websocket-extensions"
# Headers whose value may change on the way.
_REWRITTEN: Final = frozenset({_HOST, _EXTENSIONS, _OFFER, _COOKIE, b"referer"})
_NOTHING: Final[frozenset[bytes]] = frozenset()

# Subprotocol names of ours: never for the upstream.
OUR_SUBPROTOCOL: Final = b"wskeeper"


def offered_subprotocols(headers: Headers) -> list[bytes]:
    """The client's own subprotocol offers, ours left out."""
    return [name for name in headers.tokens(_OFFER) if not name.lower().startswith(OUR_SUBPROTOCOL)]


def offered_extensions(headers: Headers) -> set[bytes]:
    """The names of the extensions the client offers."""
    return {offer.partition(b";")[0].strip().lower() for offer in headers.tokens(_EXTENSIONS)}


def upstream_head(
    head: RequestHead,
    target: bytes,
    *,
    client: Client,
    credential_headers: Collection[bytes],
    ours: Sequence[bytes],
    compression: bool,
    cookie: Callable[[bytes], bytes | None] | None = None,
    referer: Callable[[bytes], bytes] | None = None,
    host: bytes | None = None,
    settings: HeaderSettings | None = None,
) -> bytes:
    """Builds the handshake that is sent to the upstream.

    Args:
        head: the client's request.
        target: the raw target to ask for.
        client: who asks.
        credential_headers: lower-case names of the headers that carried the credential.
        ours: the `X-Wskeeper-*` and `X-Request-Id` lines.
        compression: False strips the extension offer.
        cookie: takes the credential out of the value of a Cookie line; None when none holds one.
        referer: the same of a Referer line.
        host: in place of the client's Host; None keeps it.
        settings: what the operator sets, in place of what the client or we say.
    """
    lines = [
        b"GET " + target + b" HTTP/1.1",
        *_carried(
            head,
            client,
            credential_headers,
            cookie,
            host,
            settings,
            referer=referer,
            compression=compression,
        ),
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        *_told(head.headers, client, ours, settings),
        b"\r\n",
    ]
    return b"\r\n".join(lines)


def upstream_lines(
    head: RequestHead,
    *,
    client: Client,
    credential_headers: Collection[bytes],
    ours: Sequence[bytes],
    cookie: Callable[[bytes], bytes | None] | None = None,
    referer: Callable[[bytes], bytes] | None = None,
    host: bytes | None = None,
    settings: HeaderSettings | None = None,
) -> list[bytes]:
    """The header lines of an ordinary request; arguments are those of `upstream_head`.

    A Content-Length is among them, a Transfer-Encoding is not. Whoever waits for a 100 has been
    answered by us.
    """
    lines = _carried(
        head,
        client,
        {*credential_headers, b"expect"},
        cookie,
        host,
        settings,
        referer=referer,
        compression=True,
    )
    return [*lines, *_told(head.headers, client, ours, settings)]


def _carried(
    head: RequestHead,
    client: Client,
    credential_headers: Collection[bytes],
    cookie: Callable[[bytes], bytes | None] | None,
    host: bytes | None,
    settings: HeaderSettings | None,
    *,
    referer: Callable[[bytes], bytes] | None,
    compression: bool,
) -> list[bytes]:
    """The client's own header lines that travel on."""
    headers = head.headers
    dropped = credential_headers if settings is None else settings.names.union(credential_headers)
    named = _NOTHING if headers.one(b"connection") in USUAL_CONNECTION else _named(headers)
    usual = _UNSUSPICIOUS
    if named or host is not None or not usual.isdisjoint(dropped):
        usual = _NOTHING
    lines = []
    for name, lower, sent in headers.lines:
        value = sent
        if lower not in usual:
            if lower in HOP_BY_HOP or lower in dropped:
                continue
            if not _travels(lower, named, dropped, trusted=client.trusted):
                continue
            if lower in _REWRITTEN:
                rewritten = _rewritten(
                    lower, sent, host=host, cookie=cookie, referer=referer, compression=compression
                )
                if rewritten is None:
                    continue
                value = rewritten
        lines.append(name + b": " + value)
    return lines


def _named(headers: Headers) -> Collection[bytes]:
    """What Connection names beside what no proxy passes on anyway."""
    return {token.lower() for token in headers.tokens(b"connection")} - _NAMED_ANYWAY


def _rewritten(
    lower: bytes,
    value: bytes,
    *,
    host: bytes | None,
    cookie: Callable[[bytes], bytes | None] | None,
    referer: Callable[[bytes], bytes] | None,
    compression: bool,
) -> bytes | None:
    """The value with which a header of the client's travels on; None when it does not."""
    if lower == _HOST:
        return value if host is None else host
    if lower == _EXTENSIONS:
        return value if compression else None
    if lower == _OFFER:
        return _without_ours(value) or None if OUR_SUBPROTOCOL in value.lower() else value
    if lower == _COOKIE:
        return value if cookie is None else cookie(value)
    return value if referer is None else referer(value)


def _told(
    headers: Headers, client: Client, ours: Sequence[bytes], settings: HeaderSettings | None
) -> Sequence[bytes]:
    """The lines that say who is calling, and those that the operator sets.

    They are the field's common headers, in which a trusted proxy's word is carried on, and ours.
    """
    host = headers.one(b"host") or b""
    chain = address = client.text.encode()
    if client.trusted:
        peer = text_of(client.peer).encode()
        chain = b", ".join((*headers.all(b"x-forwarded-for"), peer))
        host = headers.one(b"x-forwarded-host") or host
    told = (
        b"X-Forwarded-For: " + chain,
        b"X-Forwarded-Proto: " + client.scheme.encode(),
        b"X-Forwarded-Host: " + host,
        b"X-Real-IP: " + address,
        *ours,
    )
    return told if settings is None else settings.applied_to(told)


def _without_ours(offer: bytes) -> bytes:
    names = (name.strip(b" \t") for name in offer.split(b","))
    return b", ".join(
        name for name in names if name and not name.lower().startswith(OUR_SUBPROTOCOL)
    )


def _travels(
    lower: bytes, named: Collection[bytes], dropped: Collection[bytes], *, trusted: bool
) -> bool:
    """Whether a header of the client's reaches the upstream."""
    folded = lower
    if _UNDERSCORE in lower:
        folded = lower.replace(b"_", b"-")
        if folded == _LENGTH:  # Whoever believes it finds another request in the body of this.
            return False
    if (
        folded in HOP_BY_HOP
        or folded in dropped
        or folded in _OURS
        or folded.startswith(_OUR_PREFIX)
    ):
        return False
    if not trusted and (folded in _FORWARDING or folded.startswith(_FORWARDING_PREFIX)):
        return False
    return (
        lower not in named or lower in _NOT_REMOVABLE or lower.startswith(_NOT_REMOVABLE_PREFIXES)
    )
