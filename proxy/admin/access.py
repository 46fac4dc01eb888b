"""Who may do what on the admin listener (docs/api.md).

With tokens, whoever shows one. Without, whoever reaches it on this machine, pages of other sites
left out: a browser here would carry their requests (DNS rebinding, cross-site forms).
"""

from __future__ import annotations

import contextlib
import hmac
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from proxy.admin.problems import Problem
from proxy.keys.key import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from proxy.admin.failures import TokenFailures
    from proxy.admin.logins import Logins
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
        login: the console's cookie; empty without one.
    """

    address: str
    scheme: str
    hosts: Sequence[str]
    origins: Sequence[str] = ()
    fetch_sites: Sequence[str] = ()
    authorizations: Sequence[str] = ()
    login: str = ""


class Access:
    """Finds out who asks.

    Args:
        tokens: none leaves the listener open to this machine.
        unix: whether it listens on a Unix socket, which no browser reaches.
        failures: counts wrong tokens.
        logins: those of the console; None where there is no console.
    """

    def __init__(
        self,
        tokens: Iterable[AdminToken],
        *,
        unix: bool,
        failures: TokenFailures,
        logins: Logins | None = None,
    ) -> None:
        self.tokens = tuple(tokens)
        self.logins = logins
        self._unix = unix
        self._failures = failures

    def admit(self, asked: Asked) -> Operator:
        """Who asks.

        Raises:
            Problem: `cross_site`, `token_missing`, `token_unknown` or `token_failures`.
        """
        if any(site.lower() == "cross-site" for site in asked.fetch_sites):
            raise Problem("cross_site", "A page of another site may not use this API.")
        if self.tokens:
            token = self._logged_in(asked) or self._shown(asked, _bearer)
            return Operator(token.name, token.role)
        self._refuse_other_hosts(asked.hosts)
        refuse_other_origins(asked)
        return Operator(LOCAL, "admin")

    def log_in(self, asked: Asked, text: str) -> tuple[Operator, str]:
        """Who shows a token in a form, and the cookie of the login.

        Raises:
            Problem: `cross_site`, `token_unknown` or `token_failures`.
        """
        assert self.logins is not None
        if "cross-site" in map(str.lower, asked.fetch_sites):
            raise Problem("cross_site", "A page of another site may not log anybody in.")
        _refuse_foreign_pages(asked)
        token = self._shown(asked, lambda _: text.strip().encode("utf-8", "replace"))
        return Operator(token.name, token.role), self.logins.begin(token)

    def log_out(self, asked: Asked) -> None:
        """Ends the login that a request came with."""
        if self.logins is not None and self._logged_in(asked) is not None:
            self.logins.end(asked.login)

    def lasts(self, asked: Asked) -> bool:
        """Whether the login that let a request in still counts; without one it needs none."""
        if self.logins is None or not asked.login or asked.authorizations or not self.tokens:
            return True
        return self.logins.holder(asked.login, self.tokens) is not None

    def _logged_in(self, asked: Asked) -> AdminToken | None:
        """Whose login the request carries, unless it shows a token itself."""
        if self.logins is None or not asked.login or asked.authorizations:
            return None
        token = self.logins.holder(asked.login, self.tokens)
        if token is not None:  # A browser sends the cookie, whatever page asks it to.
            _refuse_foreign_pages(asked)
        return token

    def _refuse_other_hosts(self, hosts: Sequence[str]) -> None:
        own = len(hosts) == 1 and _OWN_HOST.fullmatch(hosts[0])
        if not self._unix and not own:
            raise Problem(
                "cross_site",
                "Without a token this API answers to localhost, 127.0.0.1 and [::1] alone: use "
                "one of these, or set 'admin.token'.",
            )

    def _shown(self, asked: Asked, read: Callable[[Asked], bytes]) -> AdminToken:
        """The token that somebody shows, where `read` finds it."""
        wait = self._failures.wait(asked.address)
        if wait is not None:
            raise Problem(
                "token_failures",
                "Wait, then use the right token.",
                (("Retry-After", str(wait)),),
            )
        digest = digest_of(read(asked))
        holder = None
        for token in self.tokens:  # All of them, so that no time tells which was near.
            if hmac.compare_digest(token.digest, digest):
                holder = token
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


def _refuse_foreign_pages(asked: Asked) -> None:
    """As above where a login counts; a proxy that ends TLS hides the scheme the page has."""
    for scheme in ("https", "http"):
        with contextlib.suppress(Problem):
            return refuse_other_origins(asked._replace(scheme=scheme))
    raise Problem(
        "cross_site",
        "A page of another origin may not use this API; a proxy in front of it must pass 'Host' "
        "on as it is.",
    )


def _bearer(asked: Asked) -> bytes:
    """The token (RFC 6750 section 2.1)."""
    if len(asked.authorizations) == 1:
        scheme, _, token = asked.authorizations[0].partition(" ")
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
