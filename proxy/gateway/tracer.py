"""What the gateway tells whoever traces its requests; nobody does unless it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.gateway.request import HandshakeRequest

# Lower-case names of the headers that say which trace a request belongs to (W3C Trace Context).
TRACE_HEADERS: Final = frozenset({b"traceparent", b"tracestate"})


class RequestSpan(Protocol):
    """The span of one request, from its first byte to its outcome."""

    @property
    def header_lines(self) -> Sequence[bytes]:
        """What tells the upstream of it, in place of the client's `TRACE_HEADERS`."""

    def dials(self, upstream: str) -> None:
        """A target is about to be asked."""

    def accepts(self, request: HandshakeRequest, *, connected_in: float) -> None:
        """The handshake has become a session, which has its id.

        Args:
            connected_in: seconds that connecting to the last target took.
        """

    def ends(
        self,
        request: HandshakeRequest,
        outcome: str,
        *,
        status: int | None,
        key_id: str | None = None,
    ) -> None:
        """The request has become no session.

        Args:
            status: of the answer; None when there was none.
            key_id: of a key that was known and yet refused.
        """


class Tracer(Protocol):
    """Whoever traces requests."""

    def begin(self, request: HandshakeRequest) -> RequestSpan:
        """Begins the span of a request whose head was just read."""
