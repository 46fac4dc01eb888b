"""The account of all handshakes: each is counted once, and told to the log."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from proxy.errors import CLIENT_GONE, UPSTREAM_REFUSED
from proxy.gateway.request import described
from proxy.handshake.client import text_of

if TYPE_CHECKING:
    from proxy.errors import Refused
    from proxy.gateway.request import HandshakeRequest
    from proxy.handshake.client import Address
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
        # How often a limit was met, by (route, limit).
        self.limited: Counter[tuple[str, str]] = Counter()
        # What would have been refused where `auth: report_only`, by (route, code).
        self.would_refuse: Counter[tuple[str, str]] = Counter()

    def note_refusal(
        self, refused: Refused, request: HandshakeRequest | None, *, client: str, id: str
    ) -> None:
        """A refusal of ours; `client` and `id` stand in where no head was read."""
        fields = described(request, client, id)
        self._registry.totals[fields["route"]].outcomes[refused.code] += 1
        if refused.key_id is not None:
            fields["key_id"] = refused.key_id
        if refused.cause is not None:
            fields["cause"] = refused.cause
        tell = getattr(self._log, refused.row.level)
        tell("handshake_refused", **fields, status=refused.row.status, code=refused.code)

    def note_upstream_refusal(self, request: HandshakeRequest, status: int) -> None:
        """A refusal of the upstream's."""
        fields = described(request, "", request.id)
        self._registry.totals[fields["route"]].outcomes[UPSTREAM_REFUSED] += 1
        self._log.info("handshake_refused", **fields, status=status, code=UPSTREAM_REFUSED)

    def note_client_gone(self, request: HandshakeRequest | None, *, client: str, id: str) -> None:
        """A client that left before its answer."""
        fields = described(request, client, id)
        self._registry.totals[fields["route"]].outcomes[CLIENT_GONE] += 1
        self._log.debug("handshake_refused", **fields, code=CLIENT_GONE)

    def note_would_refuse(self, refused: Refused, request: HandshakeRequest) -> None:
        """A request that is let in although it would have been refused."""
        fields = described(request, "", request.id)
        self.would_refuse[fields["route"], refused.code] += 1
        self._log.info("would_refuse", **fields, status=refused.row.status, code=refused.code)

    def note_failure(
        self, failure: BaseException, request: HandshakeRequest | None, *, client: str, id: str
    ) -> None:
        """A fault of ours, with its traceback."""
        self._log.error("internal_error", **described(request, client, id), failure=failure)

    def note_limit(
        self, route: str, limit: str, value: float, *, set_in: str | None = None
    ) -> None:
        """A limit that was met.

        Args:
            set_in: where it stands; None for the top level.
        """
        self.limited[route, limit] += 1
        self._log.warning(
            "limited", route=route, limit=limit, value=value, set_in=set_in or f"limits.{limit}"
        )

    def note_untrusted_forwarder(self, peer: Address) -> None:
        """A peer that says who its client is, and is not believed."""
        self._log.warning(
            "untrusted_forwarder",
            peer=text_of(peer),
            mend=f"if it is a proxy of yours, add {peer}/{peer.max_prefixlen} to trusted_proxies",
        )
