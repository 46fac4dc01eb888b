"""Limits where they stand: at the top level, on a route, on a key; the strictest holds."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from proxy.errors import Refused
from proxy.gateway.limit_met import LimitMet
from proxy.gateway.limiter import Counters, Limiter
from proxy.keys.key import Key, KeyLimits, Secret, digest_of
from proxy.keys.principal import NOBODY, Principal, bearer_of, holder_of
from proxy.routes import RouteTable
from proxy.sessions.occupancy import Occupancy
from proxy.sessions.rules import UNLIMITED
from tests.unit.build import config

if TYPE_CHECKING:
    from collections.abc import Hashable

HERE, THERE = "192.0.2.7", "192.0.2.8"


class House:
    """A limiter over two routes, with a clock and a list of the limits that were met."""

    def __init__(
        self,
        *,
        top: dict[str, Any] | None = None,
        chat: dict[str, Any] | None = None,
        counters: Counters | None = None,
    ) -> None:
        made = config(
            {"name": "chat", "limits": chat or {}},
            {"name": "other", "path": "/other"},
            limits={"auth_failures_per_minute": None, **(top or {})},
        )
        self.routes = RouteTable.of(made)
        self.occupancy = Occupancy()
        # Where the limits are set that were met.
        self.met: list[str] = []
        self.counters = counters or Counters()
        self.limiter = Limiter(made.limits, self.routes, self.occupancy, self.counters)
        self.now = 1000.0

    def enter(
        self, who: Principal = NOBODY, *, route: str = "chat", address: str = HERE
    ) -> tuple[Hashable, ...]:
        """A handshake that is judged and seated; returns its places."""
        found = self.routes.get(route)
        assert found is not None
        client = ip_address(address)
        try:
            self.limiter.check_client(found, client, self.now)
            self.limiter.check_caller(found, client, who, self.now)
            return self.limiter.seat(found, client, who)
        except LimitMet as refused:
            self.met.append(refused.limit.set_in)
            raise

    def refused(self, *who: Principal, **where: str) -> str:
        with pytest.raises(Refused) as caught:
            self.enter(*who, **where)
        return caught.value.code

    def guess(
        self,
        code: str = "key_unknown",
        shown: bytes | None = b"guess",
        *,
        route: str = "chat",
        address: str = HERE,
    ) -> Refused:
        """What a caller hears whose credential failed."""
        failed = Refused(code)
        failed.shown = shown
        found = self.routes.get(route)
        assert found is not None
        refused = self.limiter.refusal(failed, found, ip_address(address), self.now)
        if isinstance(refused, LimitMet):
            self.met.append(refused.limit.set_in)
        return refused


def holder(name: str = "one", *, weak: bool = False, **limits: Any) -> Principal:
    digest = digest_of(name.encode())
    key = Key(name, f"name of {name}", (Secret(digest),), limits=KeyLimits(**limits), weak=weak)
    return holder_of(key, digest)


def subject(name: str) -> Principal:
    return bearer_of("jwt", name, {}, until=None)


# Places --------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["top", "chat"])
def test_route_has_so_many_places(place: str) -> None:
    house = House(**{place: {"connections": 2}})
    first, _ = house.enter(), house.enter(address=THERE)
    assert house.refused() == "gateway_connections"
    house.enter(route="other")
    house.occupancy.release(first)
    house.enter()
    set_in = "limits.connections" if place == "top" else "routes.chat.limits.connections"
    assert house.met == [set_in]


def test_strictest_of_two_places_holds() -> None:
    house = House(top={"connections": 3}, chat={"connections": 1})
    house.enter()
    assert house.refused() == "gateway_connections"
    assert house.met == ["routes.chat.limits.connections"]


def test_address_is_counted_over_the_gateway_and_over_the_route() -> None:
    house = House(top={"connections_per_address": 2}, chat={"connections_per_address": 1})
    house.enter()
    assert house.refused() == "address_connections"
    house.enter(route="other")
    assert house.refused(route="other") == "address_connections"
    house.enter(address=THERE)
    assert house.met == [
        "routes.chat.limits.connections_per_address",
        "limits.connections_per_address",
    ]


def test_ipv6_addresses_of_one_network_are_one_client() -> None:
    house = House(chat={"connections_per_address": 1})
    house.enter(address="2001:db8::1")
    assert house.refused(address="2001:db8::ffff:ffff:ffff:ffff") == "address_connections"
    house.enter(address="2001:db8:0:1::1")


@pytest.mark.parametrize("place", ["top", "chat"])
def test_subject_has_so_many_places(place: str) -> None:
    house = House(**{place: {"connections_per_subject": 1}})
    house.enter(subject("ann"))
    assert house.refused(subject("ann")) == "subject_connections"
    house.enter(subject("bob"))
    house.enter(NOBODY)
    house.enter(NOBODY)


def test_key_has_its_own_places_of_each_kind() -> None:
    house = House()
    many = holder("many", connections=1)
    house.enter(many)
    assert house.refused(many, address=THERE) == "key_connections"
    spread = holder("spread", connections_per_address=1)
    house.enter(spread)
    assert house.refused(spread) == "address_connections"
    house.enter(spread, address=THERE)
    shared = holder("shared", connections_per_subject=1)
    house.enter(shared)
    house.enter(shared)  # It has no subject.
    ann = shared._replace(subject="ann")
    house.enter(ann)
    assert house.refused(ann) == "subject_connections"
    assert house.met[0] == "keys.name of many.limits.connections"


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"connections": 1}, "gateway_connections"),
        ({"connections_per_address": 1}, "address_connections"),
    ],
)
def test_last_place_goes_to_who_is_seated_first(limits: dict[str, int], code: str) -> None:
    house = House(chat=limits)
    chat, client = house.routes.get("chat"), ip_address(HERE)
    assert chat is not None
    for _ in range(2):  # Both are let in as far, while their keys are looked up.
        house.limiter.check_client(chat, client, house.now)
    house.limiter.seat(chat, client, NOBODY)
    with pytest.raises(Refused) as caught:
        house.limiter.seat(chat, client, NOBODY)
    assert caught.value.code == code
    assert len(house.occupancy) == 1


def test_what_is_taken_is_what_is_named() -> None:
    house = House(
        top={"connections_per_address": 9, "connections_per_subject": 9}, chat={"connections": 9}
    )
    places = house.enter(holder(connections_per_address=9))
    assert all(house.occupancy.of(place) == 1 for place in places)
    assert "one" in places
    house.occupancy.release(places)
    assert len(house.occupancy) == 0
    assert len(House().enter(NOBODY)) == 0, "nothing is counted that nothing limits"


# Rates ---------------------------------------------------------------------------------------


def test_address_begins_twice_the_rate_at_once_and_then_so_many_a_second() -> None:
    house = House(chat={"handshakes_per_second": 2})
    for _ in range(4):
        house.enter()
    with pytest.raises(Refused) as caught:
        house.enter()
    assert (caught.value.code, caught.value.retry_after) == ("handshake_rate", 1)
    house.enter(address=THERE)
    house.now += 0.5
    house.enter()
    assert house.met == ["routes.chat.limits.handshakes_per_second"]


def test_handshake_that_one_rate_refuses_uses_up_no_other() -> None:
    house = House(top={"handshakes_per_second": 1}, chat={"handshakes_per_second": 0.5})
    house.enter()
    for _ in range(9):
        assert house.refused() == "handshake_rate"
    house.enter(route="other")
    assert house.refused(route="other") == "handshake_rate"


def test_key_has_a_rate_for_each_address() -> None:
    house, who = House(), holder(handshakes_per_second=0.5)
    house.enter(who)
    assert house.refused(who) == "handshake_rate"
    house.enter(who, address=THERE)
    house.enter(holder("two"))


def test_rate_of_the_gateway_counts_all_routes_together() -> None:
    house = House(top={"handshakes_per_second": 1}, chat={"handshakes_per_second": 5})
    house.enter()
    house.enter(route="other")
    assert house.refused(route="other") == "handshake_rate"
    assert house.refused() == "handshake_rate"
    assert set(house.met) == {"limits.handshakes_per_second"}


def test_new_configuration_counts_on_and_forgets_what_it_does_not_limit() -> None:
    first = House(chat={"handshakes_per_second": 0.5})
    first.enter()
    second = House(chat={"handshakes_per_second": 0.5}, counters=first.counters)
    assert second.refused() == "handshake_rate"
    third = House(counters=first.counters)
    assert third.counters.rates == {}
    third.enter()


# Guesses -------------------------------------------------------------------------------------


def test_different_wrong_credentials_are_counted_and_then_not_looked_at() -> None:
    house = House(chat={"auth_failures_per_minute": 2})
    for shown in (b"one", b"one", b"two"):
        assert house.guess(shown=shown).code == "key_unknown"
    refused = house.guess(shown=b"three")
    assert (refused.code, refused.retry_after) == ("auth_failures", 60)
    assert house.guess("key_missing", None).code == "auth_failures"
    assert house.guess(shown=b"three", address=THERE).code == "key_unknown"
    assert "routes.chat.limits.auth_failures_per_minute" in house.met
    house.now += 61
    assert house.guess(shown=b"three").code == "key_unknown"


def test_missing_credential_is_no_guess() -> None:
    house = House(chat={"auth_failures_per_minute": 1})
    for _ in range(5):
        assert house.guess("key_missing", None).code == "key_missing"


@pytest.mark.parametrize("code", ["key_revoked", "route_forbidden", "store_unavailable"])
def test_right_secret_is_no_guess_whatever_else_is_wrong(code: str) -> None:
    house = House(chat={"auth_failures_per_minute": 1})
    house.guess(shown=b"one")
    assert house.guess(code).code == code


def test_good_key_is_admitted_beside_a_guesser_and_one_that_can_be_guessed_is_not() -> None:
    house = House(top={"auth_failures_per_minute": 1})
    chat = house.routes.get("chat")
    assert chat is not None
    client = ip_address(HERE)
    house.limiter.check_weak(holder(weak=True), chat, client, house.now)
    house.guess(shown=b"one")
    house.limiter.check_weak(holder(), chat, client, house.now)
    house.limiter.check_weak(NOBODY, chat, client, house.now)
    with pytest.raises(LimitMet, match="auth_failures"):
        house.limiter.check_weak(holder(weak=True), chat, client, house.now)


def test_new_configuration_remembers_guesses_where_their_limit_is_the_same() -> None:
    first = House(chat={"auth_failures_per_minute": 1})
    first.guess(shown=b"one")
    second = House(chat={"auth_failures_per_minute": 1}, counters=first.counters)
    assert second.guess(shown=b"two").code == "auth_failures"
    third = House(chat={"auth_failures_per_minute": 2}, counters=first.counters)
    assert third.guess(shown=b"two").code == "key_unknown"
    assert len(third.counters.failures) == 1


def test_guesses_are_counted_over_the_gateway_and_over_the_route() -> None:
    house = House(top={"auth_failures_per_minute": 3}, chat={"auth_failures_per_minute": 2})
    for shown in (b"one", b"two", b"three"):
        house.guess(shown=shown)
    assert house.met == ["routes.chat.limits.auth_failures_per_minute"]
    for shown, code in ((b"three", "key_unknown"), (b"four", "auth_failures")):
        assert house.guess(shown=shown, route="other").code == code
    assert house.met[1:] == ["limits.auth_failures_per_minute"]


def test_where_nothing_is_limited_guesses_are_only_refused() -> None:
    house = House()
    for number in range(100):
        assert house.guess(shown=b"%d" % number).code == "key_unknown"


# Sessions ------------------------------------------------------------------------------------


def limits_of(house: House, who: Principal = NOBODY) -> Any:
    chat = house.routes.get("chat")
    assert chat is not None
    return house.limiter.limits_of(chat, who, house.now)


def test_session_without_limits_shares_the_rules_of_all() -> None:
    house = House()
    assert limits_of(house) is UNLIMITED
    assert limits_of(house, holder()) is UNLIMITED


def test_sessions_share_what_holds_for_all_of_their_route() -> None:
    house = House(top={"message_size": "1KiB", "on_exceed": "close"})
    limits = limits_of(house)
    assert limits.message_sizes[0].value == 1024
    assert limits is limits_of(house, holder())
    assert limits == limits_of(house, holder(connections=1))
    assert limits != limits_of(house, holder(on_exceed="throttle"))
    house = House(top={"bytes_per_second": "1MiB"})
    assert limits_of(house) is not limits_of(house), "each has a count of its own"


def test_strictest_message_size_holds_in_each_direction() -> None:
    house = House(top={"message_size": "1KiB"}, chat={"message_size": {"upstream_to_client": 500}})
    up, down = limits_of(house).message_sizes
    assert (up.value, up.set_in) == (1024, "limits.message_size")
    assert (down.value, down.set_in) == (500, "routes.chat.limits.message_size")
    up, down = limits_of(house, holder(message_size=(100, 900))).message_sizes
    assert (up.value, up.set_in) == (100, "keys.name of one.limits.message_size")
    assert down.value == 500


def test_rates_are_the_sessions_own_and_those_of_a_key_are_shared() -> None:
    house = House(top={"messages_per_second": 9}, chat={"messages_per_second": 5})
    who = holder(messages_per_second=7, bytes_per_second=100)
    house.enter(who)
    one, other = limits_of(house, who).rates, limits_of(house, who).rates
    assert [(rate.kind, rate.limit.value) for rate in one] == [
        ("messages", 5),
        ("messages", 7),
        ("bytes", 100),
    ]
    assert one[0].bucket is not other[0].bucket
    assert one[1].bucket is other[1].bucket
    assert one[2].bucket is other[2].bucket
    assert len(house.counters.buckets) == 2


def test_key_that_comes_again_finds_its_rate_as_it_left_it() -> None:
    house, who = House(), holder(messages_per_second=1)
    limits_of(house, who).rates[0].bucket.spend(house.now, 50)
    house.now += 10
    (rate,) = limits_of(house, who).rates
    assert rate.bucket.level(house.now) == -38
    renewed = House(counters=house.counters)
    assert limits_of(renewed, who).rates[0].bucket is rate.bucket
    (changed,) = limits_of(renewed, holder(messages_per_second=2)).rates
    assert changed.bucket.level(house.now) == 4, "another rate is another bucket"


def test_rates_of_keys_are_forgotten_when_they_are_full_and_nobody_uses_them() -> None:
    house = House()
    here = house.enter(holder("here", messages_per_second=1))
    limits_of(house, holder("here", messages_per_second=1))
    for number in range(100):
        (rate,) = limits_of(house, holder(f"key {number}", messages_per_second=1)).rates
        rate.bucket.spend(house.now, 2)
        house.now += 1
    remembered = {key_id for key_id, _, _ in house.counters.buckets}
    assert {"here", "key 99", "key 98"} <= remembered
    assert len(remembered) < 8
    house.occupancy.release(here)
    house.now += 10
    for number in range(10):
        limits_of(house, holder(f"later {number}", messages_per_second=1))
    assert "here" not in {key_id for key_id, _, _ in house.counters.buckets}


@pytest.mark.parametrize(
    ("top", "route", "key", "closes"),
    [
        (None, None, None, False),
        ("close", None, None, True),
        ("close", "throttle", None, False),
        ("throttle", "close", None, True),
        ("close", "close", "throttle", False),
        (None, None, "close", True),
    ],
)
def test_nearest_place_says_what_becomes_of_who_exceeds(
    top: str | None, route: str | None, key: Any, closes: Any
) -> None:
    house = House(top={"bytes_per_second": "1MiB", "on_exceed": top}, chat={"on_exceed": route})
    assert limits_of(house, holder(on_exceed=key)).closes is closes


def test_rules_are_made_once_for_a_route() -> None:
    house = House()
    chat = house.routes.get("chat")
    assert chat is not None
    assert house.limiter.rules_of(chat) is house.limiter.rules_of(chat)
    assert house.limiter.rules_of(chat).write_timeout == 30.0
