"""Who may do what on the admin listener (the contract's section 8).

With tokens, whoever shows one. Without, whoever reaches it on this machine, pages of other sites
left out: a browser here would carry their requests (DNS rebinding, cross-site forms).
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from proxy.admin.problems import Problem
from proxy.keys.key import digest_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxy.admin.failures import TokenFailures
    from proxy.config.model import Admin

Role = Literal["viewer", "operator", "admin"]
# From the least to the most.
ROLES: Final[tuple[Role, ...]] = ("viewer", "operator", "admin")

# How whoever needs no token is called in the audit.
LOCAL: Final = "local"

_CHALLENGE: Final = (("WWW-Authenticate", 'Bearer realm="wskeeper admin"'),)
# Names that no DNS server can make another site's page come from.
_OWN_HOST: Final = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AdminToken:
    """A token of the admin API: its SHA-256 digest, not the token."""

    name: str
    role: Role
    digest: bytes = field(repr=False)


class Operator(NamedTuple):
    """Whoever asks."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Whether what needs that role may be done."""
        return ROLES.index(self.role) >= ROLES.index(role)

    @property
    def by(self) -> str:
        """How audit events call whoever asked."""
        return f"admin:{self.name}"


class Asked(NamedTuple):
    """What of a request decides who asks.

    Args:
        address: of the client; empty on a Unix socket.
        scheme: `http` or `https`.
        hosts, origins, fetch_sites, authorizations: the values of Host, Origin, Sec-Fetch-Site
            and Authorization, one for each line.
    """

    address: str
    scheme: str
    hosts: Sequence[str]
    origins: Sequence[str] = ()
    fetch_sites: Sequence[str] = ()
    authorizations: Sequence[str] = ()


class Access:
    """Finds out who asks.

    Args:
        tokens: none leaves the listener open to this machine.
        unix: whether it listens on a Unix socket, which no browser reaches.
        failures: counts wrong tokens.
    """

    def __init__(
        self, tokens: Iterable[AdminToken], *, unix: bool, failures: TokenFailures
    ) -> None:
        self._tokens = tuple(tokens)
        self._unix = unix
        self._failures = failures

    def admit(self, asked: Asked) -> Operator:
        """Who asks.

        Raises:
            Problem: `cross_site`, `token_missing`, `token_unknown` or `token_failures`.
        """
        if any(site.lower() == "cross-site" for site in asked.fetch_sites):
            raise Problem("cross_site", "A page of another site may not use this API.")
        if self._tokens:
            return self._holder(asked)
        self._refuse_other_hosts(asked.hosts)
        refuse_other_origins(asked)
        return Operator(LOCAL, "admin")

    def _refuse_other_hosts(self, hosts: Sequence[str]) -> None:
        own = len(hosts) == 1 and _OWN_HOST.fullmatch(hosts[0])
        if not self._unix and not own:
            raise Problem(
                "cross_site",
                "Without a token this API answers to localhost, 127.0.0.1 and [::1] alone: use "
                "one of these, or set 'admin.token'.",
            )

    def _holder(self, asked: Asked) -> Operator:
        """Whose token the request shows."""
        wait = self._failures.wait(asked.address)
        if wait is not None:
            raise Problem(
                "token_failures",
                "Wait, then use the right token.",
                (("Retry-After", str(wait)),),
            )
        digest = digest_of(_bearer(asked.authorizations))
        holder = None
        for token in self._tokens:  # All of them, so that no time tells which was near.
            if hmac.compare_digest(token.digest, digest):
                holder = Operator(token.name, token.role)
        if holder is None:
            self._failures.note(asked.address, digest)
            raise Problem("token_unknown", "Use a token of 'admin.tokens'.", _CHALLENGE)
        return holder


def refuse_other_origins(asked: Asked) -> None:
    """Lets pass what a page of our own asks for, or what no page does (RFC 6454 section 7).

    Raises:
        Problem: `cross_site`.
    """
    own = [f"{asked.scheme}://{host}".lower() for host in asked.hosts]
    if any(origin.lower() not in own for origin in asked.origins):
        raise Problem("cross_site", "A page of another origin may not use this API.")


def _bearer(authorizations: Sequence[str]) -> bytes:
    """The token (RFC 6750 section 2.1)."""
    if len(authorizations) == 1:
        scheme, _, token = authorizations[0].partition(" ")
        if scheme.lower() == "bearer" and token.strip(" "):
            return token.strip(" ").encode("utf-8", "surrogateescape")
    raise Problem("token_missing", "Send 'Authorization: Bearer <token>', once.", _CHALLENGE)


def tokens_of(admin: Admin) -> tuple[AdminToken, ...]:
    """The tokens that a configuration names; `admin.token` is one named admin."""
    tokens = [
        AdminToken(token.name, token.role, bytes.fromhex(token.sha256)) for token in admin.tokens
    ]
    if admin.token is not None:
        digest = digest_of(admin.token.get_secret_value().encode())
        tokens.append(AdminToken("admin", "admin", digest))
    return tuple(tokens)
