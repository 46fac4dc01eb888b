"""The account of all handshakes: each is counted once, and told to the log."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from proxy.errors import CLIENT_GONE, UPSTREAM_REFUSED
from proxy.gateway.limit_met import LimitMet
from proxy.gateway.request import described
from proxy.handshake.client import text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.errors import Refused
    from proxy.gateway.request import HandshakeRequest
    from proxy.handshake.client import Address
    from proxy.limits.limit import Limit
    from proxy.logs import Logger
    from proxy.sessions.registry import Registry


class Account:
    """Counts and logs what became of requests that did not become sessions.

    Args:
        registry: holds the totals of each route.
    """

    def __init__(self, registry: Registry, log: Logger) -> None:
        self._registry = registry
        self._log = log
        # What would have been refused where `auth: report_only`, by (route, code).
        self.would_refuse: Counter[tuple[str, str]] = Counter()

    def note_refusal(
        self, refused: Refused, request: HandshakeRequest | None, *, client: str, id: str
    ) -> None:
        """A refusal of ours; `client` and `id` stand in where no head was read."""
        fields = _of_refusal(refused, request, client, id)
        self._outcomes(request, fields["route"])[refused.code] += 1
        if isinstance(refused, LimitMet):
            self.note_limit(refused.limit, fields)
        if refused.cause is not None:
            fields["cause"] = refused.cause
        tell = getattr(self._log, refused.row.level)
        ordinary = request is not None and request.ordinary
        tell(
            "http_refused" if ordinary else "handshake_refused",
            **fields,
            status=refused.row.status,
            code=refused.code,
        )
        _end_span(request, refused.code, refused.row.status, refused.key_id)

    def note_upstream_refusal(self, request: HandshakeRequest, status: int) -> None:
        """A refusal of the upstream's."""
        fields = described(request, "", request.id)
        self._registry.totals[fields["route"]].outcomes[UPSTREAM_REFUSED] += 1
        self._log.info("handshake_refused", **fields, status=status, code=UPSTREAM_REFUSED)
        _end_span(request, UPSTREAM_REFUSED, status)

    def note_client_gone(self, request: HandshakeRequest | None, *, client: str, id: str) -> None:
        """A client that left before its answer."""
        fields = described(request, client, id)
        self._outcomes(request, fields["route"])[CLIENT_GONE] += 1
        ordinary = request is not None and request.ordinary
        self._log.debug(
            "http_refused" if ordinary else "handshake_refused", **fields, code=CLIENT_GONE
        )
        _end_span(request, CLIENT_GONE, None)

    def note_http(
        self,
        request: HandshakeRequest,
        outcome: str,
        *,
        status: int | None,
        duration: float,
        sizes: tuple[int, int],
    ) -> None:
        """An ordinary request that was let in, at its end.

        Args:
            status: of its answer; None when there was none.
            duration: in seconds.
            sizes: bytes of the bodies of client and upstream.
        """
        fields = described(request, "", request.id)
        self._outcomes(request, fields["route"])[outcome] += 1
        self._log.debug(
            "http_request",
            **fields,
            method=request.head.method.decode("ascii"),
            path=request.path.decode("ascii"),
            status=status,
            outcome=outcome,
            duration_s=round(duration, 6),
            bytes_from_client=sizes[0],
            bytes_from_upstream=sizes[1],
        )
        _end_span(request, outcome, status)

    def _outcomes(self, request: HandshakeRequest | None, route: str) -> Counter[str]:
        """Where the outcome of a request is counted: handshakes are not ordinary requests."""
        totals = self._registry.totals[route]
        ordinary = request is not None and request.ordinary
        return totals.http_outcomes if ordinary else totals.outcomes

    def note_would_refuse(self, refused: Refused, request: HandshakeRequest) -> None:
        """A request that is let in although it would have been refused."""
        fields = _of_refusal(refused, request, "", request.id)
        self.would_refuse[fields["route"], refused.code] += 1
        if isinstance(refused, LimitMet):
            self.note_limit(refused.limit, fields)
        self._log.info("would_refuse", **fields, status=refused.row.status, code=refused.code)

    def note_failure(
        self, failure: BaseException, request: HandshakeRequest | None, *, client: str, id: str
    ) -> None:
        """A fault of ours, with its traceback."""
        self._log.error("internal_error", **described(request, client, id), failure=failure)

    @property
    def limited(self) -> Counter[tuple[str, str]]:
        """How often a limit was met, by (route, limit)."""
        return self._registry.limited

    def note_limit(self, limit: Limit, fields: Mapping[str, str]) -> None:
        """A limit that a request met.

        Args:
            fields: say which request, as on the line that its refusal gets.
        """
        self.limited[fields["route"], limit.name] += 1
        self._log.warning(
            "limited", **fields, limit=limit.name, value=limit.value, set_in=limit.set_in
        )

    def note_untrusted_forwarder(self, peer: Address) -> None:
        """A peer that says who its client is, and is not believed."""
        self._log.warning(
            "untrusted_forwarder",
            peer=text_of(peer),
            mend=f"if it is a proxy of yours, add {peer}/{peer.max_prefixlen} to trusted_proxies",
        )


def _of_refusal(
    refused: Refused, request: HandshakeRequest | None, client: str, id: str
) -> dict[str, str]:
    """What the lines about a refusal begin with."""
    fields = described(request, client, id)
    if refused.key_id is not None:
        fields["key_id"] = refused.key_id
    return fields


def _end_span(
    request: HandshakeRequest | None, outcome: str, status: int | None, key_id: str | None = None
) -> None:
    """Ends the trace of a request that became no session, if there is one."""
    if request is not None and request.span is not None:
        request.span.ends(request, outcome, status=status, key_id=key_id)
