"""What one configuration says of handshakes: each is judged by one set of rules from end to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.auth.authenticator import Authenticator
    from proxy.gateway.limiter import Limiter
    from proxy.handshake.client import Network
    from proxy.routes import RouteTable
    from proxy.upstream.dialer import Dialer


@dataclass(slots=True)
class ReloadRecord:
    """How reading the configuration again went last.

    Args:
        succeeded_at: when a configuration was last taken, in seconds since the epoch; the start
            counts.
        successful: whether the last one that was read could be taken.
    """

    succeeded_at: float
    successful: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """The rules of one configuration.

    Args:
        routes: where requests may go.
        authenticator: who says who is calling.
        dialer: opens upstreams.
        trusted_proxies: whose forwarding headers are believed.
        address_header: lower-case name of the header with the client's address.
        limiter: says how much of everything there may be.
        generation: how many configurations were in force before.
    """

    routes: RouteTable
    authenticator: Authenticator
    dialer: Dialer
    trusted_proxies: Sequence[Network]
    address_header: bytes
    limiter: Limiter
    generation: int = 0
