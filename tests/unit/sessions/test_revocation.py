"""Revocation: a change of a key ends the sessions that it no longer carries, and no others."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.errors import OBJECTIONS
from proxy.keys.key import Key, Secret
from proxy.keys.lifecycle import rotated
from proxy.keys.principal import NOBODY, Principal, holder_of
from proxy.keys.ring import KeyRing
from proxy.sessions.closing import SLICE
from proxy.sessions.revocation import Revocation
from tests.harness import frames
from tests.unit.sessions.scene import UPSTREAM, WALL, House, Scene

OLD, NEW = b"old digest", b"new digest"
KEY = Key("one", "name of one", (Secret(OLD),))
OTHER = Key("two", "name of two", (Secret(b"other digest"),))


class Judge:
    """Judges by the key as the ring has it now, and by what it was told of sessions' addresses."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        # Objections by address; they come first.
        self.objections: dict[str, str] = {}

    def objection(
        self, principal: Principal, now: float, *, same_origin: bool, **session: Any
    ) -> str | None:
        del same_origin
        told = self.objections.get(str(session["address"]))
        if told is not None or principal.key is None:
            return told
        key = self._ring.get(principal.key.id)
        if key is None:
            return "key_revoked"
        return key.objection(principal.digest, now, **session)


class Rig:
    """Live sessions, a ring, and what reconsiders them when it changes."""

    def __init__(self) -> None:
        self.house = House()
        self.ring = KeyRing()
        self.ring.replace_stored([KEY, OTHER])
        self.judge = Judge(self.ring)
        self.revocation = Revocation(self.house.registry, self.judge, self.house.wall)

    def session(self, key: Key | None = KEY, *, digest: bytes | None = None, **how: Any) -> Scene:
        who = NOBODY if key is None else holder_of(key, digest or key.secrets[0].digest)
        return Scene(self.house, id=str(len(self.house.registry)), principal=who, **how)

    def change(self, after: Key | None) -> int:
        self.ring.put("one", after)
        return self.revocation.reconsider({"one"})


@pytest.fixture
def rig() -> Rig:
    return Rig()


CHANGES = {
    "key_revoked": {"revoked_at": WALL},
    "key_suspended": {"suspended_at": WALL},
    "key_expired": {"expires_at": WALL},
    "route_forbidden": {"routes": frozenset({"echo"})},
    "origin_forbidden": {"origins": frozenset({b"https://b.test"})},
    "address_forbidden": {"deny": (ip_network("192.0.2.7/32"),)},
}


def close(reason: str) -> bytes:
    return frames.frame(frames.CLOSE, frames.close_payload(1008, reason))


@pytest.mark.parametrize("code", CHANGES)
def test_session_ends_for_the_reason_that_a_handshake_would_be_refused_for(
    rig: Rig, code: str
) -> None:
    hit = rig.session(origin=b"https://a.test")
    spared = rig.session(OTHER, origin=b"https://a.test")
    assert rig.change(replace(KEY, **CHANGES[code])) == 1
    assert hit.client.written == close(code)
    assert hit.upstream.written.endswith(code.encode())
    assert spared.told() == (b"", b"")
    hit.receives(UPSTREAM, close(code))
    hit.gone()
    _, line = hit.closed_line
    assert (line["initiator"], line["code"], line["reason"]) == ("gateway", 1008, code)


# What new rules may have against a session besides.
RULES = {"key_missing", "token_invalid", "ticket_invalid", "plugin_refused"}


def test_every_objection_is_tried() -> None:
    assert set(CHANGES) | RULES == set(OBJECTIONS)


@pytest.mark.parametrize("code", sorted(RULES))
def test_session_that_new_rules_do_not_admit_is_told_which(rig: Rig, code: str) -> None:
    hit, spared = rig.session(None), rig.session(None, address="192.0.2.8")
    rig.judge.objections["192.0.2.7"] = code
    assert rig.revocation.reconsider_all() == 1
    assert hit.client.written == close(code)
    assert spared.told() == (b"", b"")


def test_session_of_a_route_that_is_gone_is_told_to_go_away(rig: Rig) -> None:
    hit = rig.session()
    rig.judge.objections["192.0.2.7"] = "route_removed"
    assert rig.revocation.reconsider_all() == 1
    away = frames.close_payload(1001, "route_removed")
    assert hit.client.written == frames.frame(frames.CLOSE, away)


def test_new_rules_are_asked_about_keys_too(rig: Rig) -> None:
    hit, spared = rig.session(), rig.session(OTHER)
    rig.ring.put("one", None)
    assert rig.revocation.reconsider_all() == 1
    assert hit.client.written == close("key_revoked")
    assert spared.told() == (b"", b"")


def test_sessions_of_a_deleted_key_end_as_revoked(rig: Rig) -> None:
    hit = rig.session()
    assert rig.change(None) == 1
    assert hit.client.written == close("key_revoked")


@pytest.mark.parametrize(
    "after",
    [
        KEY,
        replace(KEY, name="renamed", metadata={"plan": "gold"}),
        replace(KEY, routes=frozenset({"chat"}), origins=frozenset({b"https://a.test"})),
        replace(KEY, expires_at=WALL + 0.001),
        replace(KEY, secrets=(Secret(NEW), Secret(OLD, WALL + 1))),
    ],
)
def test_change_that_would_still_admit_a_session_leaves_it_alone(rig: Rig, after: Key) -> None:
    spared = rig.session(origin=b"https://a.test")
    assert rig.change(after) == 0
    assert spared.told() == (b"", b"")


def test_only_what_the_change_concerns_ends(rig: Rig) -> None:
    hit = rig.session(route="chat")
    spared = rig.session(route="echo")
    assert rig.change(replace(KEY, routes=frozenset({"echo"}))) == 1
    assert hit.client.written == close("route_forbidden")
    assert spared.told() == (b"", b"")


def test_each_session_is_told_its_own_reason(rig: Rig) -> None:
    page = rig.session(origin=b"https://a.test")
    program = rig.session()
    elsewhere = rig.session(route="echo")
    after = replace(KEY, routes=frozenset({"chat"}), origins=frozenset({b"https://b.test"}))
    assert rig.change(after) == 2
    assert page.client.written == close("origin_forbidden")
    assert program.client.written == b""
    assert elsewhere.client.written == close("route_forbidden")


def test_rotated_secret_carries_its_sessions_until_the_overlap_ends(rig: Rig) -> None:
    after = rotated(KEY, NEW, WALL, 60)
    old, new = rig.session(), rig.session(after, digest=NEW)
    assert rig.change(after) == 0
    rig.house.loop.advance(60)
    assert rig.revocation.reconsider({"one"}) == 1
    assert old.client.written == close("key_expired")
    assert new.client.written == b""


def test_session_of_nobody_is_nobodys_to_end(rig: Rig) -> None:
    rig.session(None)
    assert rig.change(None) == 0


def test_keys_that_did_not_change_are_not_judged(rig: Rig) -> None:
    spared = rig.session()
    rig.ring.put("one", None)
    assert rig.revocation.reconsider({"two"}) == 0
    assert rig.revocation.reconsider(()) == 0
    assert spared.told() == (b"", b"")


def test_thousands_end_a_slice_at_a_time(rig: Rig) -> None:
    scenes = [rig.session() for _ in range(3 * SLICE)]
    assert rig.change(None) == 3 * SLICE
    ended = [sum(bool(scene.client.written) for scene in scenes)]
    for _ in range(2):
        rig.house.loop.turn()
        ended.append(sum(bool(scene.client.written) for scene in scenes))
    assert ended == [SLICE, 2 * SLICE, 3 * SLICE]
    # Nobody is told twice.
    rig.change(None)
    rig.house.loop.turn()
    assert all(scene.client.written == close("key_revoked") for scene in scenes)


class Exchanges:
    """Ordinary requests, and how they were ended."""

    def __init__(self, *admitted: Any) -> None:
        self._admitted = admitted
        self.ended: list[tuple[Any, str]] = []

    def __iter__(self) -> Any:
        return iter(self._admitted)

    def end(self, those: Any, ending: Any, /) -> int:
        self.ended += [(each, ending.reason) for each in those]
        return len(those)


def test_ordinary_requests_are_judged_like_sessions(rig: Rig) -> None:
    def exchange(key: Key) -> Any:
        return SimpleNamespace(
            principal=holder_of(key, key.secrets[0].digest),
            route="chat",
            origin=None,
            same_origin=False,
            address=ip_address("192.0.2.7"),
        )

    hit, spared = exchange(KEY), exchange(OTHER)
    exchanges = Exchanges(hit, spared)
    house = rig.house
    rig.revocation = Revocation(house.registry, rig.judge, house.wall, exchanges)
    session = rig.session()
    assert rig.change(replace(KEY, revoked_at=WALL)) == 2
    assert exchanges.ended == [(hit, "key_revoked")]
    assert session.client.written == close("key_revoked")
    assert rig.revocation.reconsider_all() == 2  # Both are still there.
