"""What a plugin sees and answers: the public interface for authentication in your own Python.

A plugin is an `async` callable that is given the handshake and the credential that a carrier
found, if any. It is asked when no key, token or ticket of the gateway's own stands behind the
request, and answers with a `Principal` (let in), a `Refusal` (keep out), or None (not mine: the
next plugin is asked, and behind the last one the request is refused)::

    from proxy.plugin import HandshakeRequest, Principal, Refusal

    async def authenticate(
        request: HandshakeRequest, credential: str | None
    ) -> Principal | Refusal | None:
        if credential == "let me in":
            return Principal(subject="a friend")
        return None

Name it in the configuration: `plugins: ["my_package.my_module:authenticate"]`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class HandshakeRequest:
    """The upgrade request, as far as it decides who is calling.

    Args:
        id: of the request; the log's and the upstream's `X-Request-Id`.
        route: the name of the route it asks for.
        path: raw, as it stands in the request line, without the query.
        query: raw, with its `?`; empty when there is none.
        headers: (name in lower case, value) of every line, in order. Bytes beyond ASCII are
            Latin-1.
        client: the client's address, through the proxies that are trusted.
        origin: the page's origin, in lower case; None when there is none.
    """

    id: str
    route: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]] = field(repr=False)
    client: str
    origin: str | None

    def header(self, name: str) -> str | None:
        """The value of the only line with that (lower-case) name; None for none or several."""
        values = [value for each, value in self.headers if each == name]
        return values[0] if len(values) == 1 else None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling.

    Args:
        subject: whom the session is for; `X-Wskeeper-Subject` for the upstream. At most 256
            printable characters.
        metadata: sent to the upstream as `X-Wskeeper-Meta-<name>`; names are letters, digits and
            `-`, at most 32 of them, a letter first.
        expires_at: when the session ends, in seconds since the epoch; None for never.
    """

    subject: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nobody gets in: the answer is 403 `plugin_refused`.

    Args:
        detail: one sentence for the client.
    """

    detail: str = ""


Plugin: TypeAlias = Callable[[HandshakeRequest, str | None], Awaitable[Principal | Refusal | None]]
