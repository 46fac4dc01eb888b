"""The ways in that a configuration opens: carriers and first messages, by route."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from proxy.auth.browser_carriers import (
    CookieCarrier,
    QueryCarrier,
    SubprotocolCarrier,
    TicketCarrier,
)
from proxy.auth.carriers import BearerCarrier, HeaderCarrier
from proxy.relay.first_message_rule import FirstMessageRule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.auth.carriers import Carrier
    from proxy.config.model import Carrier as CarrierConfig
    from proxy.config.model import FirstMessage


class Ways(NamedTuple):
    """How a route may be entered.

    Args:
        carriers: those a request is searched for, in order.
        first_message: what the first message must be where requests may come without; else None.
    """

    carriers: tuple[Carrier, ...]
    first_message: FirstMessageRule | None

    @property
    def challenge(self) -> str:
        """What WWW-Authenticate says of them (RFC 9110 section 11.6.1)."""
        challenges = [carrier.challenge for carrier in self.carriers]
        if self.first_message is not None:
            challenges.append('FirstMessage realm="wskeeper"')
        return ", ".join(challenges)

    @property
    def ordinary_challenge(self) -> str:
        """What WWW-Authenticate says to an ordinary HTTP request: the ways that it could take."""
        challenges = [carrier.challenge for carrier in self.carriers if takes_ordinary(carrier)]
        # A 401 has a challenge (section 15.5.2), also where there is no way.
        return ", ".join(challenges) or 'ApiKey realm="wskeeper"'


def takes_ordinary(carrier: Carrier) -> bool:
    """Whether a carrier's credential can stand in an ordinary request, and lets it in."""
    return not isinstance(carrier, SubprotocolCarrier | TicketCarrier)


def ways_of(configured: Iterable[CarrierConfig]) -> Ways:
    """The ways that a list of carriers in a configuration stands for."""
    carriers: list[Carrier] = []
    rule = None
    for config in configured:
        if config.kind == "first_message":
            rule = _rule_of(config.first_message)
        else:
            carriers.append(_carrier_of(config))
    return Ways(tuple(carriers), rule)


def _carrier_of(config: CarrierConfig) -> Carrier:
    match config.kind:
        case "bearer":
            return BearerCarrier()
        case "subprotocol":
            return SubprotocolCarrier()
        case "ticket":
            return TicketCarrier()
        case "query":
            return QueryCarrier((config.query or "").encode())
        case "cookie":
            return CookieCarrier((config.cookie or "").encode())
    return HeaderCarrier((config.header or "").encode())


def _rule_of(config: FirstMessage | None) -> FirstMessageRule:
    assert config is not None
    return FirstMessageRule(
        match=MappingProxyType(dict(config.match)),
        token=tuple(config.token.split(".")),
        reply=None if config.reply is None else json.dumps(config.reply).encode(),
        forward=config.forward,
        max_size=config.max_size,
    )
