"""Where a page in a browser can put a credential: it sets no header of a WebSocket handshake.

Each carrier finds its credential and takes it out of what goes upstream (docs/ways-in.md).
What cannot be ours is the application's, and keeps every byte. Subprotocols need no taking out
here: `handshake.forward` keeps every name of ours from every upstream.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from proxy.auth.carriers import AMBIGUOUS
from proxy.auth.presented import Found
from proxy.errors import Refused
from proxy.handshake.forward import OUR_SUBPROTOCOL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.auth.presented import Presented
    from proxy.handshake.head import Headers

    IsOurs = Callable[[bytes], bool]

TICKET_QUERY: Final = b"wskeeper_ticket"
_OFFER: Final = b"sec-websocket-protocol"
_KEY: Final = OUR_SUBPROTOCOL + b".key."
_BASE64: Final = b"b64."
_TICKET: Final = OUR_SUBPROTOCOL + b".ticket."

_BLANKS: Final = b" \t"
_PERCENT: Final = ord("%")
_PLUS: Final = ord("+")


@dataclass(frozen=True, slots=True)
class QueryCarrier:
    """A parameter of the query string, for what has nowhere else.

    Args:
        name: of the parameter, decoded.
    """

    name: bytes

    @property
    def challenge(self) -> str:
        return f'ApiKey realm="wskeeper", query="{self.name.decode()}"'

    def claim(self, presented: Presented, is_ours: IsOurs) -> Found | None:
        """The one value of that name that can be ours.

        Raises:
            Refused: `key_ambiguous`: there are two.
        """
        values = _values(presented.query, self.name)
        ours = [key for value in values if (key := _ours(value, is_ours)) is not None]
        return None if (key := _only(ours)) is None else Found(key, "key")

    def strip_query(self, query: bytes, is_ours: IsOurs) -> bytes:
        """The query string, with its `?`, without the parameters that can be ours."""
        return _without(
            query,
            lambda parameter: (
                (value := _value_of(parameter, self.name)) is not None
                and _ours(value, is_ours) is not None
            ),
        )


@dataclass(frozen=True, slots=True)
class TicketCarrier:
    """A ticket: `?wskeeper_ticket=…`, or the subprotocol `wskeeper.ticket.…`.

    Both names are ours, so is whatever they hold.
    """

    challenge = (
        'Ticket realm="wskeeper", query="wskeeper_ticket", subprotocol="wskeeper.ticket.<ticket>"'
    )

    def claim(self, presented: Presented, is_ours: IsOurs) -> Found | None:
        """The ticket, from either place.

        Raises:
            Refused: `key_ambiguous`: there are two.
        """
        del is_ours
        sent = [unquote_to_bytes(value) for value in _values(presented.query, TICKET_QUERY)]
        sent += (name[len(_TICKET) :] for name in _names(presented.headers, _TICKET))
        ticket = _only(sent)
        return Found(ticket, "ticket") if ticket else None

    def strip_query(self, query: bytes, is_ours: IsOurs) -> bytes:
        """The query string, with its `?`, without tickets."""
        del is_ours
        return _without(query, lambda parameter: _value_of(parameter, TICKET_QUERY) is not None)


@dataclass(frozen=True, slots=True)
class CookieCarrier:
    """A cookie (RFC 6265 section 4.2.1).

    Args:
        name: of the cookie.
    """

    name: bytes

    @property
    def challenge(self) -> str:
        return f'ApiKey realm="wskeeper", cookie="{self.name.decode()}"'

    def claim(self, presented: Presented, is_ours: IsOurs) -> Found | None:
        """The one cookie of that name that can be ours.

        Raises:
            Refused: `key_ambiguous`: there are two.
        """
        ours = [
            key
            for line in presented.headers.all(b"cookie")
            for pair in line.split(b";")
            if (key := self._key_in(pair, is_ours)) is not None
        ]
        return None if (key := _only(ours)) is None else Found(key, "key")

    def strip_cookie(self, value: bytes, is_ours: IsOurs) -> bytes | None:
        """The value of a Cookie line without the cookies that can be ours; None without any."""
        pairs = value.split(b";")
        kept = [pair for pair in pairs if self._key_in(pair, is_ours) is None]
        if len(kept) == len(pairs):
            return value
        return b";".join(kept).strip(_BLANKS) if any(pair.strip(_BLANKS) for pair in kept) else None

    def _key_in(self, pair: bytes, is_ours: IsOurs) -> bytes | None:
        name, _, value = pair.partition(b"=")
        if name.strip(_BLANKS) != self.name:
            return None
        key = value.strip(_BLANKS)
        if key[:1] == key[-1:] == b'"':
            key = key[1:-1]
        return key if key and is_ours(key) else None


@dataclass(frozen=True, slots=True)
class SubprotocolCarrier:
    """The subprotocol `wskeeper.key.…`, or `wskeeper.key.b64.…` for keys that are no token.

    The names are ours, so is whatever they hold.
    """

    challenge = 'ApiKey realm="wskeeper", subprotocol="wskeeper.key.<key>"'

    def claim(self, presented: Presented, is_ours: IsOurs) -> Found | None:
        """The key in the one name of ours that holds one.

        Raises:
            Refused: `key_ambiguous`: there are two.
        """
        del is_ours
        name = _only(_names(presented.headers, _KEY))
        if name is None or len(name) == len(_KEY):
            return None
        return Found(_key_in(name), "key")


def must_offer_ours(headers: Headers) -> bool:
    """Whether a credential is among the subprotocols and `wskeeper` is not.

    A browser drops a connection whose answer selects none of what it offered. So when the
    upstream selects none, there is nothing to answer such a handshake with.
    """
    offered = headers.tokens(_OFFER)
    if not offered:
        return False
    return OUR_SUBPROTOCOL not in offered and any(map(_holds_a_secret, offered))


def _holds_a_secret(name: bytes) -> bool:
    return name.lower().startswith((_KEY, _TICKET))


def _only(found: Sequence[bytes]) -> bytes | None:
    if len(found) > 1:
        raise Refused("key_ambiguous", AMBIGUOUS)
    return found[0] if found else None


# Subprotocols --------------------------------------------------------------------------------


def _names(headers: Headers, prefix: bytes) -> list[bytes]:
    # In any case, as they are also kept from the upstream.
    return [name for name in headers.tokens(_OFFER) if name.lower().startswith(prefix)]


def _key_in(name: bytes) -> bytes:
    """The key in a name; one that cannot be decoded stays as sent, which no key is equal to."""
    key = name[len(_KEY) :]
    if not key.lower().startswith(_BASE64):
        return key
    encoded = key[len(_BASE64) :]
    try:
        decoded = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), b"-_", validate=True)
    except ValueError:
        return name
    # One key, one way to write it: no padding, no `+` or `/`, no stray bits at the end.
    canonical = base64.urlsafe_b64encode(decoded).rstrip(b"=") == encoded
    return decoded if decoded and canonical else name


# Query strings -------------------------------------------------------------------------------


def _values(query: bytes, name: bytes) -> list[bytes]:
    """The raw values of every parameter of that name."""
    parameters = query[1:].split(b"&")
    return [value for part in parameters if (value := _value_of(part, name)) is not None]


def _value_of(parameter: bytes, name: bytes) -> bytes | None:
    """The raw value of a parameter of that name, which any reader would decode first."""
    sent, _, value = parameter.partition(b"=")
    if _PERCENT in sent or _PLUS in sent:
        sent = unquote_to_bytes(sent.replace(b"+", b" "))
    return value if sent == name else None


def _ours(value: bytes, is_ours: IsOurs) -> bytes | None:
    """The key in a raw value, if it can be ours.

    Forms write a space as `+`; whoever pastes a key into a URL means a plus.
    """
    for reading in (value, value.replace(b"+", b" ")):
        key = unquote_to_bytes(reading)
        if key and is_ours(key):
            return key
    return None


def _without(query: bytes, is_ours: Callable[[bytes], bool]) -> bytes:
    parameters = query[1:].split(b"&")
    kept = [parameter for parameter in parameters if not is_ours(parameter)]
    if len(kept) == len(parameters):
        return query
    rest = b"&".join(kept)
    return b"?" + rest if rest else b""
