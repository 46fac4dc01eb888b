"""A refusal that says which limit was met."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.errors import Refused

if TYPE_CHECKING:
    from proxy.limits.limit import Limit


class LimitMet(Refused):
    """A handshake, or a request of a service's, that is one too many.

    Whoever answers the request tells of the limit, since nobody else knows whose request it is.

    Args:
        code: a row of `REFUSALS`.
        detail: one sentence for the client.
        limit: that was met.
        retry_after: seconds for Retry-After, in place of the row's.
    """

    def __init__(
        self, code: str, detail: str, limit: Limit, *, retry_after: float | None = None
    ) -> None:
        super().__init__(code, detail, retry_after=retry_after)
        self.limit = limit
