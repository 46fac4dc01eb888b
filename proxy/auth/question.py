"""What is asked about a handshake, and what may be known of it only later."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from proxy.auth.presented import Presented
    from proxy.config.values import IpAddress


class Question(NamedTuple):
    """What of a handshake decides who is calling, and whether this caller may in.

    Args:
        id: of the request.
        presented: where a credential may stand.
        path: of the request, raw.
        route: the name of its route.
        origin: the page's, lower case; None when there is none.
        address: of the client.
        now: seconds since the epoch.
        ordinary: whether it is no handshake but an ordinary HTTP request.
    """

    id: str
    presented: Presented
    path: bytes
    route: str
    origin: bytes | None
    address: IpAddress
    now: float
    ordinary: bool = False


class NotAtOnce(Exception):
    """Who is calling can only be found out by waiting for something."""
