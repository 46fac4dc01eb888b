"""Who a session belongs to."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.keys.key import header_line, identity_headers, metadata_headers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.keys.key import Key


NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class Principal(NamedTuple):
    """A caller who proved to be somebody, or whom a route lets in as nobody.

    Args:
        auth: how, in the words of `X-Wskeeper-Auth`.
        key: as it was at the handshake; None when no key stands behind the session.
        digest: of the secret that was shown, or of the one that bought the ticket.
        headers: the header lines that tell the upstream who it is.
        subject: whom the session is for; None when nobody was named.
        until: when the credential itself ends, in seconds since the epoch; None for as long as
            its key lives.
        session: the id that its session is to have; None for that of its request.
        metadata: what a token or a plugin says of the caller; a key's is the key's.
    """

    auth: str
    key: Key | None
    digest: bytes
    headers: tuple[bytes, ...]
    subject: str | None = None
    until: float | None = None
    session: str | None = None
    metadata: Mapping[str, str] = NOTHING

    @property
    def key_id(self) -> str | None:
        """The key's public id."""
        return None if self.key is None else self.key.id

    @property
    def key_name(self) -> str | None:
        """The key's name."""
        return None if self.key is None else self.key.name


NOBODY: Final = Principal("none", None, b"", (b"X-Wskeeper-Auth: none",))
# Who asks for a page whether it may send a key: let in without one, whatever becomes of keys.
PREFLIGHT: Final = NOBODY._replace()


def holder_of(key: Key, digest: bytes) -> Principal:
    """The principal that a key stands for."""
    return Principal("api_key", key, digest, (b"X-Wskeeper-Auth: api_key", *identity_headers(key)))


def bearer_of(
    auth: str, subject: str | None, metadata: Mapping[str, str], *, until: float | None
) -> Principal:
    """The principal that a token, or a plugin's answer, stands for."""
    return Principal(
        auth,
        None,
        b"",
        (header_line("Auth", auth), *_subject_headers(subject), *metadata_headers(metadata)),
        subject,
        until,
        metadata=metadata,
    )


def ticket_holder(
    key: Key | None,
    digest: bytes,
    subject: str | None,
    metadata: Mapping[str, str],
    *,
    until: float | None,
    session: str,
) -> Principal:
    """The principal that a ticket stands for.

    Args:
        key: that bought it; None when a token did.
        digest: of the key's secret.
        metadata: the ticket's own, and the token's that bought it; the key's comes in front.
        session: the id that was told to the buyer.
    """
    known = {} if key is None else dict(key.metadata)
    taken = {name.lower() for name in known}
    bought_by = () if key is None else identity_headers(key)[:2]
    lines = (
        header_line("Auth", "ticket"),
        *bought_by,
        *_subject_headers(subject),
        # The key's metadata wins: a ticket narrows, it does not rename its owner.
        *metadata_headers(known),
        *metadata_headers({n: v for n, v in metadata.items() if n.lower() not in taken}),
    )
    return Principal("ticket", key, digest, lines, subject, until, session)


def _subject_headers(subject: str | None) -> tuple[bytes, ...]:
    return () if subject is None else (header_line("Subject", subject),)
