"""What `wskeeper doctor` makes of what it saw: which hop ate what, and how to mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from proxy.cli import mends
from proxy.cli.observation import Unreached
from proxy.errors import REFUSALS, UPSTREAM_REFUSED, Refused
from proxy.handshake.answer import check_switch

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.cli.mends import Mend
    from proxy.cli.observation import Connection, Idleness, Place, Reply

Verdict = Literal["ok", "bad", "unsure"]

_DAY: Final = 86_400
_FEW_DAYS: Final = 14
# How far a cut may be from a well-known timeout.
_NEAR: Final = 0.04

# What to do where a wskeeper refuses and its own words do not say.
_CODE_MENDS: Final[dict[str, Mend]] = {
    "upgrade_stripped": mends.UPGRADE,
    "upgrade_required": mends.UPGRADE,
    "no_route": ("check the path; where routes have a `host`:", *mends.HOST),
    "address_forbidden": ("if the gateway takes a proxy's address for yours:", *mends.ADDRESS),
    "auth_failures": ("if all clients seem to come from one address:", *mends.ADDRESS),
    "upstream_unreachable": ("the gateway's log has the cause, under this request's id",),
    "upstream_invalid": ("the gateway's log has the cause, under this request's id",),
    "upstream_timeout": ("the gateway's log has the cause, under this request's id",),
    UPSTREAM_REFUSED: ("ask the service behind the gateway: this is its own answer",),
}
# What an answer means that no wskeeper gave.
_FOREIGN: Final[dict[int, str]] = {
    400: "it does not take the request on: plain HTTP on a TLS port, or an unknown Host",
    401: "it wants a login of its own",
    403: "it forbids the request: a firewall, an allow-list or a CDN's rule",
    404: "it has nothing at this path",
    405: "it does not take GET here",
    407: "it is a proxy that wants a login",
    421: "it does not serve this name on this connection",
    426: "it wants another protocol than HTTP/1.1, or lost the upgrade itself",
    429: "it limits how often one may ask",
    502: "it cannot reach what is behind it, or got no HTTP from there",
    503: "it has nobody behind it, or is switched off",
    504: "what is behind it did not answer in time",
}


class Finding(NamedTuple):
    """The outcome of one probe.

    Args:
        probe: which.
        verdict: whether that is as it should be; `unsure` where it may be.
        text: in words.
        mend: lines that say what to change.
    """

    probe: str
    verdict: Verdict
    text: str
    mend: Mend = ()


# The socket ------------------------------------------------------------------------------------


def of_connection(place: Place, found: Connection | Unreached, now: float) -> Finding:
    """Whether a socket opens, and over TLS whose certificate is shown."""
    if isinstance(found, Unreached):
        return Finding("connection", "bad", *_unreached(place, found))
    if found.tls is None:
        return Finding("connection", "ok", f"{found.peer}, plain TCP")
    days = (found.ends - now) / _DAY
    left = f"{days:.0f} days left" if days >= 0 else f"ended {-days:.0f} days ago"
    names = ", ".join(found.names) or "nobody"
    text = f"{found.peer}, {found.tls}, certificate of {names}, {left}"
    if found.distrust is not None:
        return Finding(
            "connection",
            "bad",
            f"{text}; not trusted: {found.distrust}",
            mends.RENEW
            if days < 0
            else ("serve the certificate with its chain, for this name; or name its CA with --ca",),
        )
    if days < _FEW_DAYS:
        return Finding("connection", "unsure", text, mends.RENEW)
    return Finding("connection", "ok", text)


def _unreached(place: Place, found: Unreached) -> tuple[str, Mend]:
    if found.step == "name":
        return f"{place.host} has no address: {found.cause}", ("check the name, and DNS",)
    where = f"{place.host} port {place.port}"
    if found.step == "tcp":
        return f"no connection to {where}: {found.cause}", (
            "check that something listens there, and firewalls in between",
        )
    text = f"no TLS with {where}: {found.cause}"
    if "NO_APPLICATION_PROTOCOL" in found.cause:
        return f"{text}: it does not speak HTTP/1.1", mends.HTTP_2
    if "WRONG_VERSION_NUMBER" in found.cause or "RECORD_LAYER" in found.cause:
        return f"{text}: it does not speak TLS", ("dial it with ws://, or end TLS there",)
    return text, ("check what ends TLS there: its certificate and the versions it speaks",)


# Answers ---------------------------------------------------------------------------------------


def of_plain(place: Place, reply: Reply) -> Finding:
    """What an ordinary GET brings: a wskeeper says that it wants an upgrade."""
    code = reply.code
    if reply.of_operators:
        text = "this is where a wskeeper serves its operators (`admin.listen`), not clients"
        return Finding("gateway", "bad", text, mends.LISTEN)
    if code == "upgrade_required":
        return Finding("gateway", "ok", "a wskeeper answers: 426 upgrade_required, as it should")
    if reply.head is None or _redirects(reply):
        return of_refusal("gateway", place, reply)
    if code is not None and reply.status == 401:
        text = f"a wskeeper answers: {_said(reply)}, as it should where the route has"
        return Finding("gateway", "ok", f"{text} `http: passthrough`")
    if code is not None:
        return Finding("gateway", "unsure", f"a wskeeper answers {_said(reply)}")
    if _is_ours(reply):
        return Finding(
            "gateway",
            "unsure",
            f"{_who(reply)} answers an ordinary GET {reply.status}, with an X-Request-Id: behind a"
            " wskeeper whose route has `http: passthrough` and wants no key here, or another hop",
        )
    return Finding(
        "gateway",
        "unsure",
        f"no sign of a wskeeper: {_who(reply)} answers an ordinary GET {reply.status}",
        ("if one should answer here, the hop in front keeps the path to itself",),
    )


def of_refusal(probe: str, place: Place, reply: Reply) -> Finding:
    """Who said no to a request, and why."""
    code = reply.code
    if reply.head is None:
        return Finding(probe, "bad", *_silence(place, reply))
    if _redirects(reply):
        return _redirected(probe, place, reply)
    if code is not None:
        lost = code in {"upgrade_stripped", "upgrade_required"} and reply.nonce
        text = (
            f"{_said(reply)}: a hop in front of the gateway ate Upgrade" if lost else _told(reply)
        )
        return Finding(probe, "bad", text, _CODE_MENDS.get(code, ()))
    if reply.close is not None:
        told = f"101, then it closed at once: {_closing(reply.close)}"
        return Finding(probe, "bad", told, ("ask whoever answers behind the gateway",))
    meaning = _FOREIGN.get(reply.status)
    if reply.nonce and reply.status < 300:
        meaning = "it answers as if no upgrade had been asked for"
    text = f"{reply.status} by {_who(reply)}, not by a wskeeper"
    mend = mends.UPGRADE if reply.nonce and (reply.status < 300 or reply.status == 426) else ()
    return Finding(probe, "bad", text if meaning is None else f"{text}: {meaning}", mend)


def _silence(place: Place, reply: Reply) -> tuple[str, Mend]:
    begin = reply.begin
    if begin[3:4] == b"\x04" and begin[:2] == b"\0\0":  # SETTINGS (RFC 9113 section 3.4)
        return "it speaks HTTP/2 alone", mends.HTTP_2
    if begin[:2] == b"\x15\x03":  # an alert (RFC 8446 section 5.1)
        return "it speaks TLS there", ("dial it with wss://",)
    if begin:
        return f"what answers does not speak HTTP/1.1: {reply.cause}", ("check the port",)
    text = f"no answer: {reply.cause}"
    if place.secure:
        return text, ("if clients must show a certificate there, name one with --certificate",)
    return text, ("if it speaks TLS there, dial it with wss://",)


def _redirects(reply: Reply) -> bool:
    return 300 <= reply.status < 400


def _redirected(probe: str, place: Place, reply: Reply) -> Finding:
    """WebSocket clients do not follow redirects, and a key must not."""
    try:
        parts = urlsplit(reply.header(b"location"))
        host = f"{parts.hostname or place.host}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        parts, host = urlsplit(""), place.host
    secure = parts.scheme in {"https", "wss"} or (not parts.scheme and place.secure)
    to = f"{'wss' if secure else 'ws'}://{host}{parts.path or '/'}"
    return Finding(
        probe,
        "bad",
        f"{reply.status} by {_who(reply)}: it redirects to {to}, where no client follows",
        (f"dial {to}, or exempt this path from the redirect",),
    )


def _said(reply: Reply) -> str:
    code = reply.code or ""
    if reply.close is not None:
        return f"{code} (101, then Close {reply.close[0]})"
    return f"{reply.status} {code}"


def _told(reply: Reply) -> str:
    """A refusal of a wskeeper's, with its own words."""
    row = REFUSALS.get(reply.code or "")
    detail = reply.problem.get("detail")
    if isinstance(detail, str):
        return f"{_said(reply)}: {detail}"
    return _said(reply) if row is None else f"{_said(reply)}: {row.title}"


def _who(reply: Reply) -> str:
    return reply.header(b"server") or "something that does not name itself"


def _closing(close: tuple[int, str]) -> str:
    code, reason = close
    if code == 1006:
        return "cut without a Close (1006)"
    return f"Close {code} {reason}".rstrip()


# The upgrade -----------------------------------------------------------------------------------


def without_key(place: Place, reply: Reply) -> Finding:
    """What an upgrade without a key brings: a 401 shows that all of it arrived."""
    if reply.code == "key_missing":
        return Finding("upgrade", "ok", f"arrives: {_said(reply)}, as it should without a key")
    if reply.opened:
        return Finding(
            "upgrade",
            "unsure",
            "a WebSocket opens without a key: the route lets everybody in, waits for a first"
            " message, or is served by no wskeeper",
        )
    return of_refusal("upgrade", place, reply)


def with_key(place: Place, reply: Reply, way: str) -> Finding:
    """What the upgrade with the key brings.

    Args:
        way: where the key travelled.
    """
    if reply.opened:
        return Finding("key", "ok", f"a WebSocket opens, with the key in {way}")
    if reply.code == "key_missing":
        text = f"{_said(reply)}: a hop in front of the gateway ate the key, sent in {way}"
        return Finding("key", "bad", text, mends.KEY)
    return of_refusal("key", place, reply)


def of_switch(reply: Reply, offered: Collection[str]) -> list[Finding]:
    """What is left of the offers in a 101.

    Args:
        offered: the subprotocols.
    """
    assert reply.head is not None
    names = [name.encode() for name in offered]
    try:
        check_switch(
            reply.head,
            key=reply.nonce,
            subprotocols=names,
            extensions=[b"permessage-deflate"],
        )
    except Refused as refused:
        cause = (refused.cause or "").removeprefix("it ").removeprefix("its ")
        return [Finding("answer", "bad", f"clients refuse this 101: {cause}", mends.UPGRADE)]
    return [_subprotocol(reply), _compression(reply), _request_id(reply)]


def _subprotocol(reply: Reply) -> Finding:
    chosen = reply.header(b"sec-websocket-protocol")
    if chosen:
        return Finding("subprotocol", "ok", f"{chosen} was selected")
    return Finding(
        "subprotocol",
        "bad" if _is_ours(reply) else "unsure",
        "`wskeeper` was offered and a wskeeper selects it: a hop ate Sec-WebSocket-Protocol"
        if _is_ours(reply)
        else "none was selected",
        mends.OFFER if _is_ours(reply) else (),
    )


def _compression(reply: Reply) -> Finding:
    if reply.header(b"sec-websocket-extensions"):
        return Finding("compression", "ok", "permessage-deflate was agreed on")
    return Finding(
        "compression",
        "unsure",
        "permessage-deflate was offered and not taken: the service does without, the route says"
        " `compression: off`, or a hop ate Sec-WebSocket-Extensions",
    )


def _request_id(reply: Reply) -> Finding:
    told = reply.header(b"x-request-id")
    if told:
        return Finding("request id", "ok", f"{told}: look for it in the gateway's log")
    return Finding(
        "request id", "unsure", "no X-Request-Id: no wskeeper opened this, or a hop ate the header"
    )


def _is_ours(reply: Reply) -> bool:
    return bool(reply.header(b"x-request-id"))


# What hops change ------------------------------------------------------------------------------


def of_origin(place: Place, origin: str, own: Reply, foreign: Reply) -> Finding:
    """Whether Origin arrives, and the page may connect.

    Args:
        own: the answer to the origin in question.
        foreign: that to one that nobody lists.
    """
    if own.code == "origin_forbidden":
        text = f"{origin} may not connect: {_said(own)}"
        if origin.lower() == place.origin.lower():
            same = "where the route says `origins: same`, Host or the scheme was changed:"
            return Finding(
                "origin", "bad", text, (*mends.ORIGINS, same, *mends.HOST, *mends.SCHEME)
            )
        return Finding("origin", "bad", text, mends.ORIGINS)
    if foreign.code == "origin_forbidden":
        return Finding("origin", "ok", f"arrives: {origin} passes, others do not")
    return Finding(
        "origin",
        "unsure",
        f"{origin} passes, and so does any other: the route lists no origins, or a hop ate Origin",
    )


def of_client(found: Connection, seen: str | None) -> Finding:
    """Whether the gateway knows who we are.

    Args:
        found: the connection, as it is here.
        seen: the client's address as the gateway has it; None when it was not asked.
    """
    if seen is None:
        text = "only the gateway's admin listener knows what it takes us for: name it with --admin"
        return Finding("client", "unsure", text)
    if seen == found.local:
        return Finding("client", "ok", f"the gateway takes us for {seen}, which is our address")
    return Finding(
        "client",
        "unsure",
        f"the gateway takes us for {seen}; here our address is {found.local}. If {seen} is not the"
        " one that NAT gives us, but a proxy's:",
        mends.ADDRESS,
    )


def of_idleness(found: Idleness, asked: float) -> Finding:
    """Whether a silent connection lives.

    Args:
        asked: for how many seconds it was to.
    """
    pings = f", {found.pings} pings answered" if found.pings else ", not one ping"
    if found.end is None:
        return Finding("idle", "ok", f"still open after {asked:g} s of silence{pings}")
    after = f"after {found.seconds:.1f} s, {found.quiet:.1f} s of them without a byte{pings}"
    if found.end == "close":
        return Finding("idle", "bad", f"{_closing(found.close)} {after}", _closed(found.close[1]))
    how = "it was cut" if found.end == "eof" else "it was reset"
    near = [
        text
        for seconds, text in mends.CUTTERS.items()
        if abs(found.quiet - seconds) <= max(1, seconds * _NEAR)
    ]
    return Finding("idle", "bad", f"{how} without a Close (1006) {after}", (*near, *mends.IDLE))


def _closed(reason: str) -> Mend:
    if reason == "idle_timeout":
        return ("gateway: raise `timeouts.idle`",)
    if reason == "upstream_lost":
        return ("the service behind the gateway, or a hop between the two, cut the connection",)
    return ()
