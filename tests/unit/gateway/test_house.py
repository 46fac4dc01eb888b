"""Who may stay in the house though nobody knows them, and how it is emptied."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from proxy.limits.limit import Limit
from tests.unit.gateway.scene import Gateway
from tests.unit.loop import FakeTransport

if TYPE_CHECKING:
    from proxy.gateway.request import HandshakeRequest

USER_TIMEOUT: Any = getattr(socket, "TCP_USER_TIMEOUT", None)
UNAUTHENTICATED = Limit("unauthenticated", 2, "limits.unauthenticated")


def asking(gateway: Gateway) -> HandshakeRequest:
    """A request whose upstream is waited for."""
    gateway.asks()
    (door,) = gateway.house.opening
    request: HandshakeRequest = door._request  # type: ignore[attr-defined]
    return request


@pytest.mark.parametrize(("limit", "there"), [(None, 9999), (2, 1)])
def test_unknown_may_stay_below_the_limit(limit: int | None, there: int) -> None:
    gateway = Gateway()
    house = gateway.house
    house._unauthenticated, house.unproven = limit, there
    assert house.crowded() is None
    assert house.has_room_for(asking(gateway))
    assert not gateway.log.events("limited")


@pytest.mark.parametrize("there", [2, 3])
def test_one_too_many_meets_the_limit(there: int) -> None:
    gateway = Gateway()
    house = gateway.house
    house._unauthenticated, house.unproven = 2, there
    crowded = house.crowded()
    assert crowded is not None
    assert (crowded.code, crowded.limit) == ("gateway_connections", UNAUTHENTICATED)
    assert house.unproven == there
    assert not gateway.log.events("limited"), "whoever is refused with it has it told of"


def test_limit_is_told_of_that_keeps_a_client_from_hearing_its_close() -> None:
    gateway = Gateway()
    house = gateway.house
    house._unauthenticated = house.unproven = 2
    request = asking(gateway)
    assert not house.has_room_for(request)
    assert gateway.log.events("limited") == [
        {
            "request_id": request.id,
            "route": "chat",
            "key_id": "one",
            "client": request.client.text,
            "upstream": request.upstream,
            "limit": "unauthenticated",
            "value": 2,
            "set_in": "limits.unauthenticated",
        }
    ]
    assert gateway.admission.account.limited == {("chat", "unauthenticated"): 1}


class Wired(FakeTransport):
    """A transport that tells its socket."""

    def __init__(self, sock: socket.socket | None) -> None:
        super().__init__()
        self._sock = sock

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._sock if name == "socket" else default


@pytest.mark.skipif(USER_TIMEOUT is None, reason="Linux alone has TCP_USER_TIMEOUT")
@pytest.mark.parametrize(("inherited", "asked"), [(None, 60_000), (40.0, 60_000), (60.0, 0)])
def test_kernel_is_asked_where_the_listener_said_something_else(
    inherited: float | None, asked: int
) -> None:
    gateway = Gateway({"keepalive": {"interval": "30s", "timeout": "30s"}})
    (route,) = gateway.admission.rules.routes
    gateway.house.user_timeout = inherited
    with socket.socket() as sock:
        gateway.house.hold_to(route, Wired(sock))
        assert sock.getsockopt(socket.IPPROTO_TCP, USER_TIMEOUT) == asked
    gateway.house.hold_to(route, Wired(None))  # Some transports have no socket to show.


@pytest.mark.skipif(USER_TIMEOUT is None, reason="Linux alone has TCP_USER_TIMEOUT")
def test_socket_that_came_before_a_reload_is_held_to_its_route() -> None:
    gateway = Gateway({"keepalive": {"interval": "30s", "timeout": "30s"}})
    (route,) = gateway.admission.rules.routes
    house = gateway.house
    house.user_timeout = 40.0
    house.hand_down(40.0)
    assert house.user_timeout == 40.0
    house.hand_down(60.0)
    house.hand_down(60.0)
    with socket.socket() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, USER_TIMEOUT, 40_000)
        house.hold_to(route, Wired(sock))
        assert sock.getsockopt(socket.IPPROTO_TCP, USER_TIMEOUT) == 60_000


async def test_house_is_emptied() -> None:
    gateway = Gateway()
    house = gateway.house
    given_up: list[Any] = []

    class Waiting:
        def give_up(self) -> None:
            given_up.append(self)
            house.opening.discard(self)

        def overdue(self) -> None:
            given_up.append(self)

    opening, silent, transport = Waiting(), Waiting(), FakeTransport()
    house.opening.add(opening)
    house.waiting.add(silent)
    house.lingering.add(transport)
    await house.close()
    assert given_up == [silent, opening]
    assert transport.aborted
