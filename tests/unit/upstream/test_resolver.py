"""Names of upstreams: looked up seldom, remembered while the name service is away."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from proxy.upstream.resolver import FRESH_FOR, Resolver

Answer = list[Any] | Exception


def address(host: str) -> tuple[Any, ...]:
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, 80))


class NameService:
    """In place of the loop's `getaddrinfo`: answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.answer: Answer = [address("192.0.2.1")]
        self.slow = asyncio.Event()
        self.slow.set()

    async def getaddrinfo(self, *name: Any, type: int = 0) -> list[Any]:
        assert type == socket.SOCK_STREAM
        self.asked.append(name)
        await self.slow.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> NameService:
    service = NameService()
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", service.getaddrinfo)
    return service


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def resolver(clock: Clock):
    made = Resolver(clock)
    yield made
    await made.close()


async def settled() -> None:
    """Lets what was begun in the background come to its end."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("host", "family", "sockaddr"),
    [
        ("192.0.2.7", socket.AF_INET, ("192.0.2.7", 80)),
        ("2001:db8::7", socket.AF_INET6, ("2001:db8::7", 80, 0, 0)),
    ],
)
async def test_address_asks_nobody(
    names: NameService, resolver: Resolver, clock: Clock, host: str, family: int, sockaddr: Any
) -> None:
    for _ in range(2):
        (found,) = await resolver.resolve(host, 80)
        assert (found[0], found[1], found[4]) == (family, socket.SOCK_STREAM, sockaddr)
        clock.now += 1000 * FRESH_FOR
    assert not names.asked


async def test_name_is_looked_up_once_while_fresh(
    names: NameService, resolver: Resolver, clock: Clock
) -> None:
    for _ in range(3):
        assert await resolver.resolve("up.test", 80) == [address("192.0.2.1")]
        clock.now += FRESH_FOR / 3
    assert names.asked == [("up.test", 80)]


async def test_ports_are_looked_up_apart(names: NameService, resolver: Resolver) -> None:
    await resolver.resolve("up.test", 80)
    await resolver.resolve("up.test", 81)
    assert names.asked == [("up.test", 80), ("up.test", 81)]


async def test_stale_answer_serves_while_it_is_looked_up_anew(
    names: NameService, resolver: Resolver, clock: Clock
) -> None:
    await resolver.resolve("up.test", 80)
    clock.now += FRESH_FOR + 1
    names.slow.clear()
    names.answer = [address("192.0.2.2")]
    assert await resolver.resolve("up.test", 80) == [address("192.0.2.1")]
    assert await resolver.resolve("up.test", 80) == [address("192.0.2.1")]
    names.slow.set()
    await settled()
    assert await resolver.resolve("up.test", 80) == [address("192.0.2.2")]
    assert len(names.asked) == 2


async def test_known_upstream_does_not_go_away_because_the_name_service_does(
    names: NameService, resolver: Resolver, clock: Clock
) -> None:
    await resolver.resolve("up.test", 80)
    names.answer = socket.gaierror(socket.EAI_AGAIN, "try again")
    for _ in range(3):
        clock.now += FRESH_FOR + 1
        assert await resolver.resolve("up.test", 80) == [address("192.0.2.1")]
        await settled()
    assert len(names.asked) == 4
    # Having failed, it is not asked again at once.
    assert await resolver.resolve("up.test", 80) == [address("192.0.2.1")]
    await settled()
    assert len(names.asked) == 4


async def test_unknown_name_fails_and_is_asked_again(
    names: NameService, resolver: Resolver
) -> None:
    names.answer = socket.gaierror(socket.EAI_NONAME, "not known")
    for _ in range(2):
        with pytest.raises(OSError, match="not known"):
            await resolver.resolve("up.test", 80)
    assert len(names.asked) == 2
    names.answer = [address("192.0.2.1")]
    assert await resolver.resolve("up.test", 80)


async def test_many_wait_for_one_look_up(names: NameService, resolver: Resolver) -> None:
    names.slow.clear()
    waiting = [asyncio.ensure_future(resolver.resolve("up.test", 80)) for _ in range(5)]
    await settled()
    assert len(names.asked) == 1
    waiting[0].cancel()
    await settled()
    names.slow.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [[address("192.0.2.1")]] * 4


async def test_failure_nobody_waits_for_any_more_is_not_lost_on_the_loop(
    names: NameService, resolver: Resolver
) -> None:
    unhandled: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    names.slow.clear()
    names.answer = socket.gaierror(socket.EAI_NONAME, "not known")
    waiting = asyncio.ensure_future(resolver.resolve("up.test", 80))
    await settled()
    waiting.cancel()
    await settled()
    names.slow.set()
    await settled()
    del waiting
    assert not unhandled


async def test_what_is_under_way_is_given_up_at_the_end(
    names: NameService, resolver: Resolver
) -> None:
    names.slow.clear()
    waiting = asyncio.ensure_future(resolver.resolve("up.test", 80))
    await settled()
    await resolver.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await resolver.close()


async def test_name_is_looked_up_anew_when_asked(resolver: Resolver, names: NameService) -> None:
    assert await resolver.resolve_anew("up.test", 80) == [address("192.0.2.1")]
    names.answer = [address("192.0.2.2")]
    assert await resolver.resolve_anew("up.test", 80) == [address("192.0.2.2")]
    assert len(names.asked) == 2


async def test_old_answer_serves_where_the_new_one_fails_or_takes_its_time(
    resolver: Resolver, names: NameService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await resolver.resolve("up.test", 80)
    names.answer = socket.gaierror(-3, "Temporary failure")
    assert await resolver.resolve_anew("up.test", 80) == [address("192.0.2.1")]
    names.slow.clear()
    monkeypatch.setattr("proxy.upstream.resolver.RENEWAL", 0.01)
    assert await resolver.resolve_anew("up.test", 80) == [address("192.0.2.1")]


async def test_address_is_never_looked_up_anew(resolver: Resolver, names: NameService) -> None:
    for _ in range(2):
        assert [entry[4][0] for entry in await resolver.resolve_anew("192.0.2.9", 80)] == [
            "192.0.2.9"
        ]
    assert not names.asked


async def test_name_that_never_had_an_address_cannot_be_resolved_anew(
    resolver: Resolver, names: NameService
) -> None:
    names.answer = socket.gaierror(-2, "Name or service not known")
    with pytest.raises(socket.gaierror):
        await resolver.resolve_anew("up.test", 80)
