"""Tickets sold and taken: whoever shows one stands for its buyer, and for no more."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.auth.key_verifier import KeyVerifier
from proxy.auth.tickets import QUOTA, Ticket
from proxy.errors import Refused
from proxy.identity.tickets import TicketOffice
from proxy.keys.key import Key, Secret, digest_of
from proxy.keys.ring import KeyRing
from proxy.stores.memory import MemoryStore
from proxy.stores.store import StoreUnavailable
from tests.unit.auth.asked import NOW, Trust, question

DIGEST = digest_of(b"the secret")
KEY = Key("one", "name of one", (Secret(DIGEST),), metadata={"plan": "gold"})
TICKET = Ticket("one", DIGEST, "chat", "the-session", "ada", {"room": "blue"})


class Drawer:
    """A store, or none."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.now = NOW
        self.away = False
        self.kept: dict[bytes, str] = {}

    async def keep_ticket(self, digest: bytes, text: str, **how: Any) -> bool:
        self._ask()
        self.kept[digest] = text
        return self.store.keep_ticket(digest, text, now=self.now, **how)

    async def take_ticket(self, digest: bytes) -> str | None:
        self._ask()
        return self.store.take_ticket(digest, now=self.now)

    def _ask(self) -> None:
        if self.away:
            raise StoreUnavailable("memory", "is away", "bring it back")


class Scene:
    def __init__(self) -> None:
        self.drawer = Drawer()
        self.ring = KeyRing()
        self.ring.put("one", KEY)
        self.sold = 0
        keys = KeyVerifier(self.ring, Trust())
        self.office = TicketOffice(
            self.drawer, self.ring, keys, secret=self._secret, wall=lambda: self.drawer.now
        )

    def _secret(self) -> str:
        self.sold += 1
        return f"wst_CANARY-{self.sold}"

    async def sell(self, ticket: Ticket = TICKET, ttl: float = 30.0) -> bytes:
        return (await self.office.sell(ticket, ttl=ttl)).encode()

    async def redeem(self, ticket: bytes, **asked: Any) -> Any:
        return await self.office.redeem(ticket, question(**{"now": self.drawer.now, **asked}))

    async def refusal(self, ticket: bytes, **asked: Any) -> str:
        with pytest.raises(Refused) as caught:
            await self.redeem(ticket, **asked)
        assert b"CANARY" not in caught.value.detail.encode()
        return caught.value.code


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_ticket_stands_for_its_buyer_once(scene: Scene) -> None:
    ticket = await scene.sell()
    principal = await scene.redeem(ticket)
    assert (principal.auth, principal.key, principal.digest) == ("ticket", KEY, DIGEST)
    assert (principal.subject, principal.session, principal.until) == ("ada", "the-session", None)
    assert set(principal.headers) >= {
        b"X-Wskeeper-Auth: ticket",
        b"X-Wskeeper-Key-Id: one",
        b"X-Wskeeper-Subject: ada",
        b"X-Wskeeper-Meta-plan: gold",
        b"X-Wskeeper-Meta-room: blue",
    }
    assert await scene.refusal(ticket) == "ticket_invalid"


async def test_ticket_itself_is_kept_nowhere(scene: Scene) -> None:
    ticket = await scene.sell()
    assert list(scene.drawer.kept) == [digest_of(ticket)]
    assert "CANARY" not in "".join(scene.drawer.kept.values())


async def test_key_s_metadata_stands(scene: Scene) -> None:
    ticket = await scene.sell(Ticket("one", DIGEST, "chat", "s", metadata={"plan": "platinum"}))
    lines = (await scene.redeem(ticket)).headers
    assert [line for line in lines if b"plan" in line.lower()] == [b"X-Wskeeper-Meta-plan: gold"]


async def test_token_s_ticket_has_no_key(scene: Scene) -> None:
    ticket = await scene.sell(Ticket(None, b"", "chat", "s", "ada", until=NOW + 60))
    principal = await scene.redeem(ticket)
    assert (principal.key, principal.until, principal.subject) == (None, NOW + 60, "ada")
    assert principal.headers == (b"X-Wskeeper-Auth: ticket", b"X-Wskeeper-Subject: ada")


@pytest.mark.parametrize(
    ("ticket", "asked"),
    [
        (TICKET, {"route": "other"}),
        (Ticket("one", DIGEST, "chat", "s", origin=b"https://a"), {"origin": b"https://b"}),
        (Ticket("one", DIGEST, "chat", "s", origin=b"https://a"), {"origin": None}),
        (Ticket("one", DIGEST, "chat", "s", until=NOW), {}),
    ],
)
async def test_ticket_that_is_not_for_this(scene: Scene, ticket: Ticket, asked: Any) -> None:
    sold = await scene.sell(ticket)
    assert await scene.refusal(sold, **asked) == "ticket_invalid"
    # Nor is it good for anything afterwards: whoever tried may have stolen it.
    assert await scene.refusal(sold, origin=ticket.origin) == "ticket_invalid"


async def test_ticket_for_one_page_is_good_there(scene: Scene) -> None:
    ticket = await scene.sell(Ticket("one", DIGEST, "chat", "s", origin=b"https://a"))
    assert (await scene.redeem(ticket, origin=b"https://a")).session == "s"


async def test_ticket_is_good_for_its_time(scene: Scene) -> None:
    ticket, late = await scene.sell(ttl=5), await scene.sell(ttl=5)
    scene.drawer.now += 4.9
    assert (await scene.redeem(ticket)).session == "the-session"
    scene.drawer.now += 0.1
    assert await scene.refusal(late) == "ticket_invalid"


@pytest.mark.parametrize("unknown", [b"", b"wst_", b"\xff\x00", b"wst_CANARY-1 ", DIGEST])
async def test_what_is_no_ticket_is_none(scene: Scene, unknown: bytes) -> None:
    await scene.sell()
    assert await scene.refusal(unknown) == "ticket_invalid"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"revoked_at": NOW}, "key_revoked"),
        ({"suspended_at": NOW}, "key_suspended"),
        ({"expires_at": NOW}, "key_expired"),
        ({"routes": frozenset({"other"})}, "route_forbidden"),
        ({"origins": frozenset({b"https://a"})}, "origin_forbidden"),
    ],
)
async def test_ticket_is_worth_what_its_key_is_worth(
    scene: Scene, fields: dict[str, Any], code: str
) -> None:
    ticket = await scene.sell()
    scene.ring.put("one", Key("one", "one", (Secret(DIGEST),), **fields))
    assert await scene.refusal(ticket, origin=b"https://b") == code


async def test_ticket_of_a_key_that_is_gone(scene: Scene) -> None:
    ticket = await scene.sell()
    scene.ring.put("one", None)
    assert await scene.refusal(ticket) == "key_revoked"


async def test_ticket_goes_with_the_secret_that_bought_it(scene: Scene) -> None:
    ticket = await scene.sell()
    secrets = (Secret(digest_of(b"another")), Secret(DIGEST, until=NOW + 10))
    scene.ring.put("one", Key("one", "one", secrets))
    scene.drawer.now += 11
    assert await scene.refusal(ticket) == "key_expired"


async def test_only_so_many_wait(scene: Scene) -> None:
    bought = [await scene.sell() for _ in range(QUOTA)]
    with pytest.raises(Refused) as caught:
        await scene.sell()
    assert (caught.value.code, caught.value.row.status) == ("ticket_quota", 429)
    # Others' do not count; one that was used, or is past its time, does not either.
    await scene.sell(Ticket(None, b"", "chat", "s", "ada"))
    await scene.redeem(bought[0])
    await scene.sell()
    scene.drawer.now += 31
    await scene.sell()


async def test_store_that_is_away_is_told_so(scene: Scene) -> None:
    ticket = await scene.sell()
    scene.drawer.away = True
    assert await scene.refusal(ticket) == "store_unavailable"
    with pytest.raises(Refused) as caught:
        await scene.sell()
    assert caught.value.code == "store_unavailable"
