"""Which credential a request carries, in words: where it stands, and what is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from proxy.auth.browser_carriers import (
    CookieCarrier,
    QueryCarrier,
    SubprotocolCarrier,
    TicketCarrier,
)
from proxy.auth.carriers import BearerCarrier, HeaderCarrier
from proxy.auth.ways import takes_ordinary
from proxy.cli import tables
from proxy.errors import Refused
from proxy.keys.description import scope_of
from proxy.keys.key import digest_of
from proxy.keys.secret import id_in, is_mistyped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from proxy.auth.carriers import Carrier
    from proxy.auth.presented import Found, Presented
    from proxy.auth.ways import Ways
    from proxy.keys.key import Key
    from proxy.keys.ring import KeyRing

    IsOurs = Callable[[bytes], bool]


class Places(NamedTuple):
    """Where a request carries credentials.

    Args:
        names: of the carriers that found one.
        found: the first; None when there is none, or none that a carrier would choose.
    """

    names: tuple[str, ...]
    found: Found | None


class Credential(NamedTuple):
    """What is known of a request's credential.

    Args:
        carriers: those that found one.
        notes: (step, outcome).
        key: that has, or had, that secret.
        is_token: whether it is a JWT.
        conditions: what only a running gateway can find out.
    """

    carriers: tuple[str, ...]
    notes: tuple[tuple[str, str], ...]
    key: Key | None = None
    is_token: bool = False
    conditions: tuple[str, ...] = ()


class Known(NamedTuple):
    """What credentials are held against.

    Args:
        ring: of all keys.
        is_ours: whether a value can be a credential of ours.
        is_token: whether a value is a JWT of our issuer, by its looks.
        plugins: names of those that would be asked.
        now: seconds since the epoch.
        ordinary: whether it is no handshake but an ordinary HTTP request.
    """

    ring: KeyRing
    is_ours: IsOurs
    is_token: IsOurs
    plugins: Sequence[str]
    now: float
    ordinary: bool = False


def places(carriers: Iterable[Carrier], presented: Presented, is_ours: IsOurs) -> Places:
    """Looks where a route looks."""
    names: list[str] = []
    first = None
    for carrier in carriers:
        try:
            found = carrier.claim(presented, is_ours)
        except Refused:
            names.append(f"{_named(carrier)} (twice)")
            continue
        if found is not None:
            names.append(_named(carrier))
            first = first or found
    return Places(tuple(names), first)


def credential(ways: Ways, presented: Presented, known: Known) -> Credential:
    """What is known of the credential of a request."""
    names, found = places(ways.carriers, presented, known.is_ours)
    carrier = ("carrier", " and ".join(names) or _nowhere(ways, presented, known))
    if found is None:
        # Where names are left, one stands there twice.
        plugins = ((), ()) if names else _asked(known.plugins)
        return Credential(names, (carrier, *plugins[0]), conditions=plugins[1])
    if found.kind == "ticket" and known.ordinary:
        told = "opens a WebSocket alone; an ordinary request does not use it up"
        return Credential(names, (carrier, ("ticket", told)))
    if found.kind == "ticket":
        told = "opens once, so only the gateway can judge it; it was not used up here"
        return Credential(names, (carrier, ("ticket", told)), conditions=("the ticket is good",))
    if known.is_token(found.credential):
        return Credential(names, (carrier,), is_token=True)
    key = known.ring.find(digest_of(found.credential))
    if key is not None:
        return Credential(names, (carrier, ("key", _described(key, found, known))), key=key)
    unknown = ("key", _unknown(found.credential, known.ring))
    notes, conditions = _asked(known.plugins)
    return Credential(names, (carrier, unknown, *notes), conditions=conditions)


def _asked(plugins: Sequence[str]) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """The note on plugins and the condition that they are, where there are any."""
    if not plugins:
        return (), ()
    told = f"{', '.join(plugins)} would be asked who this is; none is called here"
    return (("plugins", told),), ("a plugin knows who this is",)


# Words -----------------------------------------------------------------------------------------


def _named(carrier: Carrier) -> str:
    match carrier:
        case HeaderCarrier():
            return f"header {carrier.name.decode()}"
        case QueryCarrier():
            return f"query {carrier.name.decode()}"
        case CookieCarrier():
            return f"cookie {carrier.name.decode()}"
        case BearerCarrier():
            return "bearer"
        case SubprotocolCarrier():
            return "subprotocol"
    return "ticket"


def _nowhere(ways: Ways, presented: Presented, known: Known) -> str:
    carriers = filter(takes_ordinary, ways.carriers) if known.ordinary else ways.carriers
    taken = [_named(carrier) for carrier in carriers]
    if ways.first_message is not None and not known.ordinary:
        taken.append("first_message")
    whence = "with an ordinary request the route takes" if known.ordinary else "the route takes"
    told = f"none found; {whence} {', '.join(taken) or 'none'}"
    strays = list(dict.fromkeys(_strays(presented, known.is_ours)))
    if strays:
        told += f"; what stands in {', '.join(strays)} is not read"
    return told


def _strays(presented: Presented, is_ours: IsOurs) -> Iterator[str]:
    """Places with a credential that the route does not look at."""
    for name, lower, value in presented.headers.lines:
        if value and (lower == b"x-api-key" or is_ours(value)):
            yield f"header {name.decode()}"
    carriers: list[Carrier] = [BearerCarrier(), SubprotocolCarrier(), TicketCarrier()]
    carriers += [QueryCarrier(pair.partition(b"=")[0]) for pair in presented.query[1:].split(b"&")]
    carriers += [
        CookieCarrier(pair.partition(b"=")[0].strip())
        for line in presented.headers.all(b"cookie")
        for pair in line.split(b";")
    ]
    for carrier in carriers:
        if places((carrier,), presented, is_ours).names:
            yield _named(carrier)


def _described(key: Key, found: Found, known: Known) -> str:
    now, scope = known.now, scope_of(key)
    parts = [f"{key.name} ({key.id})", key.state(now)]
    secret = key.secret(digest_of(found.credential))
    if secret is not None and secret.until is not None:
        ends = "ends" if secret.until > now else "ended"
        parts.append(f"an older secret that {ends} {tables.when(secret.until, now)}")
    expiry = "never" if key.expires_at is None else tables.when(key.expires_at, now)
    parts.append(f"expires {expiry}")
    parts.append("routes " + ("all" if key.routes is None else " ".join(scope["routes"])))
    if key.origins is not None:
        parts.append("origins " + " ".join(scope["origins"]))
    if key.allow is not None:
        parts.append("addresses " + " ".join(scope["addresses"]["allow"]))
    if key.deny:
        parts.append("not from " + " ".join(scope["addresses"]["deny"]))
    if key.limits.connections is not None:
        parts.append(f"connections ≤ {key.limits.connections}")
    if known.ring.is_fixed(key.id):
        parts.append("stands in the configuration")
    return ", ".join(parts)


def _unknown(sent: bytes, ring: KeyRing) -> str:
    """Why a value may be no key, without showing any of it."""
    for part in (sent.strip(b"\"'"), sent.partition(b" ")[2].strip()):
        if part != sent and ring.find(digest_of(part)) is not None:
            return "not known; without the quotes or the word around it, it would be"
    text = sent.decode("latin-1")
    if is_mistyped(text):
        return "not known: it begins like one of ours and cannot be one; mistyped, or cut off"
    holder = ring.get(id_in(text) or "")
    if holder is not None:
        return f"not known: it has the id of {holder.name}, and is no secret of it any more"
    return "not known"
