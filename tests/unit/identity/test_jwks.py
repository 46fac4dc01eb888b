"""Keys kept at hand: while they rotate, while their issuer is down, while strangers ask."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.identity.jwks import MAX_AGE, QUIET, JwksKeeper
from proxy.identity.sources import Source, UrlSource
from tests.unit.auth.tokens import jwk, jwks
from tests.unit.identity.provider import Provider, answer
from tests.unit.loop import FakeLoop
from tests.unit.sessions.scene import Log

ALGORITHMS = frozenset({"RS256", "ES256"})


class Scene:
    """A keeper whose clock stands still, and the log it writes."""

    def __init__(self, source: Source, **settings: Any) -> None:
        self.clock = FakeLoop()
        self.log = Log()
        timers: Any = self.clock
        log: Any = self.log
        self.keeper = JwksKeeper(source, ALGORITHMS, timers=timers, log=log, **settings)

    @property
    def events(self) -> list[str]:
        return [event for _, event, _ in self.log.lines]

    async def settled(self) -> None:
        """The fetch that is under way comes to its end."""
        for task in fetches():
            await asyncio.wait([task])

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.settled()


def fetches() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "fetch jwks"]


@pytest.fixture
async def scene(idp: Provider):
    made = Scene(UrlSource(f"{idp.url}/jwks"))
    yield made
    await made.keeper.close()
    assert not fetches()
    assert made.clock.timers == 0


# Fetching -------------------------------------------------------------------------------------


async def test_start_waits_for_nothing(idp: Provider, scene: Scene) -> None:
    idp.answering.clear()
    scene.keeper.start()
    assert scene.keeper.keys is None
    assert len(fetches()) == 1
    idp.answering.set()
    await scene.settled()
    assert scene.keeper.keys is not None
    assert not scene.keeper.failing
    assert scene.events == []


async def test_start_joins_the_fetch_of_a_token(idp: Provider, scene: Scene) -> None:
    asking = asyncio.ensure_future(scene.keeper.refreshed())
    await asyncio.sleep(0)
    scene.keeper.start()
    assert await asking is scene.keeper.keys is not None
    assert len(idp.requests) == 1


async def test_keys_are_fetched_again_when_they_are_old(idp: Provider, scene: Scene) -> None:
    scene.keeper.start()
    await scene.settled()
    for count in range(1, 4):
        await scene.pass_time(MAX_AGE - 1)
        assert len(idp.requests) == count
        await scene.pass_time(1)
        assert len(idp.requests) == count + 1


async def test_key_that_was_withdrawn_is_forgotten(idp: Provider, scene: Scene) -> None:
    idp.pages["/jwks"] = jwks(jwk("RS256"), jwk("ES256"))
    scene.keeper.start()
    await scene.settled()
    assert len(scene.keeper.keys or ()) == 2
    idp.pages["/jwks"] = jwks(jwk("ES256"))
    await scene.pass_time(MAX_AGE)
    assert len(scene.keeper.keys or ()) == 1


# Asked for ------------------------------------------------------------------------------------


async def test_keys_are_fetched_when_a_token_needs_it(idp: Provider, scene: Scene) -> None:
    scene.keeper.start()
    await scene.settled()
    idp.pages["/jwks"] = jwks(jwk("RS256"), jwk("ES256"))
    await scene.pass_time(QUIET)
    keys = await scene.keeper.refreshed()
    assert keys is scene.keeper.keys
    assert len(keys or ()) == 2
    # The next one of its own accord is `MAX_AGE` after this one.
    await scene.pass_time(MAX_AGE - 1)
    assert len(idp.requests) == 2
    await scene.pass_time(1)
    assert len(idp.requests) == 3


async def test_storm_costs_one_fetch_every_ten_seconds(idp: Provider, scene: Scene) -> None:
    for round_ in range(1, 4):
        for _ in range(3):
            await asyncio.gather(*(scene.keeper.refreshed() for _ in range(100)))
            await scene.pass_time(QUIET / 4)
        assert len(idp.requests) == round_
        await scene.pass_time(QUIET / 4)


async def test_quiet_time_begins_when_the_fetch_has_ended(idp: Provider, scene: Scene) -> None:
    idp.answering.clear()
    asking = asyncio.ensure_future(scene.keeper.refreshed())
    await asyncio.sleep(0)
    scene.clock.advance(QUIET)
    idp.answering.set()
    await asking
    await scene.keeper.refreshed()
    assert len(idp.requests) == 1
    scene.clock.advance(QUIET)
    await scene.keeper.refreshed()
    assert len(idp.requests) == 2


async def test_who_asks_in_the_quiet_time_waits_for_nothing(scene: Scene) -> None:
    known = await scene.keeper.refreshed()
    asking = scene.keeper.refreshed()
    with pytest.raises(StopIteration) as caught:
        asking.send(None)
    assert caught.value.value is known


async def test_who_leaves_does_not_stop_the_fetch_for_others(idp: Provider, scene: Scene) -> None:
    idp.answering.clear()
    asking = [asyncio.ensure_future(scene.keeper.refreshed()) for _ in range(3)]
    await asyncio.wait_for(idp.asked.wait(), 5)
    asking[0].cancel()
    await asyncio.sleep(0)
    idp.answering.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1] is answers[2] is scene.keeper.keys is not None
    assert len(idp.requests) == 1


# Outages --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outage", "cause"),
    [
        (answer(503), "it answers with status 503"),
        (b"<html>back soon</html>", "it is not a JSON object"),
        ({"error": "down"}, "it is not a JWK set: a JSON object with a list of `keys`"),
        ({"keys": []}, "none of its 0 keys can be used for ES256, RS256"),
        (jwks({**jwk("RS256"), "use": "enc"}), "none of its 1 keys can be used for ES256, RS256"),
    ],
)
async def test_last_good_keys_serve_through_an_outage(
    idp: Provider, scene: Scene, outage: Any, cause: str
) -> None:
    good = await scene.keeper.refreshed()
    idp.pages["/jwks"] = outage
    for _ in range(5):
        await scene.pass_time(MAX_AGE)
        assert await scene.keeper.refreshed() is good
        assert scene.keeper.failing
    ((level, event, fields),) = scene.log.lines
    assert (level, event) == ("warning", "jwks_unavailable")
    assert fields == {"source": f"{idp.url}/jwks", "cause": cause, "keys": 1, "failure": None}
    idp.pages["/jwks"] = jwks(jwk("ES256"), jwk("RS256"))
    await scene.pass_time(QUIET)
    assert not scene.keeper.failing
    assert scene.log.lines[1:] == [
        ("info", "jwks_available", {"source": f"{idp.url}/jwks", "keys": 2})
    ]


async def test_each_outage_is_told_once(idp: Provider, scene: Scene) -> None:
    good = idp.pages["/jwks"]
    await scene.keeper.refreshed()
    for _ in range(2):
        idp.pages["/jwks"] = b""
        await scene.pass_time(MAX_AGE)
        await scene.pass_time(5 * QUIET)
        idp.pages["/jwks"] = good
        await scene.pass_time(QUIET)
    assert scene.events == ["jwks_unavailable", "jwks_available"] * 2


async def test_provider_that_comes_up_late_is_found(idp: Provider, scene: Scene) -> None:
    port = idp.port
    await idp.stop()
    scene.keeper.start()
    await scene.settled()
    assert scene.keeper.keys is None
    assert scene.keeper.failing
    assert await scene.keeper.refreshed() is None
    await idp.start(port=port)
    await scene.pass_time(QUIET)
    assert scene.keeper.keys is not None
    assert scene.events == ["jwks_unavailable", "jwks_available"]


async def test_provider_that_does_not_answer_is_given_up(idp: Provider) -> None:
    idp.answering.clear()
    scene = Scene(UrlSource(f"{idp.url}/jwks"), patience=0.05)
    assert await scene.keeper.refreshed() is None
    assert scene.log.lines[0][2]["cause"] == "no answer within 0.05 s"
    idp.answering.set()
    await scene.keeper.close()


async def test_outage_is_retried_no_more_often_than_quiet(idp: Provider, scene: Scene) -> None:
    idp.pages.clear()
    await scene.keeper.refreshed()
    for count in range(1, 5):
        await scene.pass_time(QUIET - 1)
        await asyncio.gather(*(scene.keeper.refreshed() for _ in range(10)))
        assert len(idp.requests) == count
        await scene.pass_time(1)
        assert len(idp.requests) == count + 1


async def test_fault_of_ours_ends_neither_the_keys_nor_the_fetching() -> None:
    class Faulty:
        place = "nowhere"
        document: Any = ZeroDivisionError()

        async def load(self) -> object:
            if isinstance(self.document, Exception):
                raise self.document
            return self.document

    source = Faulty()
    scene = Scene(source)
    assert await scene.keeper.refreshed() is None
    ((level, event, fields),) = scene.log.lines
    assert (level, event) == ("warning", "jwks_unavailable")
    assert fields["failure"] is source.document
    source.document = jwks(jwk("RS256"))
    await scene.pass_time(QUIET)
    assert scene.keeper.keys is not None
    await scene.keeper.close()


async def test_log_holds_no_credential_of_the_url(idp: Provider) -> None:
    idp.pages.clear()
    url = idp.url.replace("http://", "http://me:s3cret@") + "/jwks?api_key=s3cret"
    scene = Scene(UrlSource(url))
    await scene.keeper.refreshed()
    idp.pages["/jwks"] = jwks(jwk("RS256"))
    await scene.pass_time(QUIET)
    assert scene.events == ["jwks_unavailable", "jwks_available"]
    assert "s3cret" not in repr(scene.log.lines)
    await scene.keeper.close()


# The end --------------------------------------------------------------------------------------


async def test_end_gives_up_what_is_under_way(idp: Provider, scene: Scene) -> None:
    idp.answering.clear()
    scene.keeper.start()
    asking = asyncio.ensure_future(scene.keeper.refreshed())
    await asyncio.wait_for(idp.asked.wait(), 5)
    await scene.keeper.close()
    assert await asking is None
    assert scene.events == []
    idp.answering.set()


async def test_nothing_begins_after_the_end(idp: Provider, scene: Scene) -> None:
    known = await scene.keeper.refreshed()
    await scene.keeper.close()
    await scene.keeper.close()
    await scene.pass_time(10 * MAX_AGE)
    assert await scene.keeper.refreshed() is known
    assert len(idp.requests) == 1
