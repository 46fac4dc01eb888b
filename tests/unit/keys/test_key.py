"""A key: when it carries a session, what it is good for, what its upstream hears of it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import KEY_OBJECTIONS, REFUSALS
from proxy.keys.key import (
    STATES,
    UNLIMITED,
    Key,
    KeyLimits,
    Secret,
    digest_of,
    header_line,
    identity_headers,
    metadata_headers,
)
from tests.unit.build import headers

NOW = 1_700_000_000.0
DIGEST, FORMER, OTHER = map(digest_of, (b"secret", b"former", b"other"))
HERE = ip_address("192.0.2.7")
ORIGIN = b"https://app.test"

# What makes each objection, in the order in which they are found.
TROUBLES: dict[str, dict[str, Any]] = {
    "key_revoked": {"revoked_at": NOW - 1},
    "key_expired": {"expires_at": NOW - 1},
    "key_suspended": {"suspended_at": NOW - 1},
    "route_forbidden": {"routes": frozenset({"other"})},
    "origin_forbidden": {"origins": frozenset({b"https://other.test"})},
    "address_forbidden": {"deny": (ip_network("192.0.2.0/24"),)},
}


def key(**fields: Any) -> Key:
    return Key("id1", "name1", **{"secrets": (Secret(DIGEST),), **fields})


def objection(
    to: Key,
    *,
    digest: bytes = DIGEST,
    now: float = NOW,
    route: str = "chat",
    origin: bytes | None = ORIGIN,
    address: str = "192.0.2.7",
) -> str | None:
    return to.objection(digest, now, route=route, origin=origin, address=ip_address(address))


# Objections ----------------------------------------------------------------------------------


def test_plain_key_opens_every_route_for_everybody_for_good() -> None:
    for now in (0.0, NOW, 1e12):
        for address in ("192.0.2.7", "::1", "2001:db8::1"):
            assert objection(key(), now=now, route="any", address=address) is None
    assert objection(key(), origin=None) is None


@pytest.mark.parametrize("code", TROUBLES)
def test_each_trouble_has_its_code(code: str) -> None:
    assert objection(key(**TROUBLES[code])) == code


@pytest.mark.parametrize(("first", "second"), [*combinations(TROUBLES, 2)])
def test_of_two_troubles_the_stronger_is_told(first: str, second: str) -> None:
    assert objection(key(**TROUBLES[second], **TROUBLES[first])) == first


def test_every_objection_refuses_a_handshake_and_ends_a_session() -> None:
    assert set(TROUBLES) == set(KEY_OBJECTIONS)
    assert set(TROUBLES) <= set(REFUSALS)


@pytest.mark.parametrize(
    ("late", "code"), [(-0.001, None), (0.0, "key_expired"), (1, "key_expired")]
)
def test_key_ends_in_its_last_moment(late: float, code: str | None) -> None:
    assert objection(key(expires_at=NOW), now=NOW + late) == code


@pytest.mark.parametrize(
    ("late", "code"), [(-0.001, None), (0.0, "key_expired"), (1, "key_expired")]
)
def test_former_secret_ends_with_its_overlap_and_the_new_one_does_not(
    late: float, code: str | None
) -> None:
    rotated = key(secrets=(Secret(DIGEST), Secret(FORMER, NOW)))
    assert objection(rotated, digest=FORMER, now=NOW + late) == code
    assert objection(rotated, digest=DIGEST, now=NOW + late) is None


def test_secret_that_the_key_no_longer_has_opens_nothing() -> None:
    assert objection(key(), digest=OTHER) == "key_revoked"
    assert objection(key(secrets=()), digest=DIGEST) == "key_revoked"


def test_state_of_the_key_comes_before_its_secret() -> None:
    past = key(secrets=(Secret(DIGEST, NOW - 1),), suspended_at=NOW - 5)
    assert objection(past) == "key_suspended"
    assert objection(past, digest=OTHER) == "key_suspended"


def test_past_secret_comes_before_what_the_key_opens() -> None:
    past = (Secret(DIGEST, NOW - 1),)
    assert objection(key(secrets=past, **TROUBLES["route_forbidden"])) == "key_expired"


def test_key_of_some_routes_opens_those() -> None:
    scoped = key(routes=frozenset({"chat", "echo"}))
    assert objection(scoped, route="chat") is None
    assert objection(scoped, route="echo") is None
    assert objection(scoped, route="chat2") == "route_forbidden"
    assert objection(key(routes=frozenset())) == "route_forbidden"


@pytest.mark.parametrize(
    ("origin", "code"),
    [
        (ORIGIN, None),
        (None, None),
        (b"null", "origin_forbidden"),
        (b"", "origin_forbidden"),
        (ORIGIN + b".evil.test", "origin_forbidden"),
        (b"http://app.test", "origin_forbidden"),
    ],
)
def test_key_of_some_pages_serves_those_and_programs(
    origin: bytes | None, code: str | None
) -> None:
    assert objection(key(origins=frozenset({ORIGIN})), origin=origin) == code


@pytest.mark.parametrize(
    ("allow", "deny", "address", "code"),
    [
        (None, (), "192.0.2.7", None),
        (("192.0.2.0/24",), (), "192.0.2.7", None),
        (("192.0.2.0/24",), (), "::ffff:192.0.2.7", None),
        (("192.0.2.0/24",), (), "198.51.100.1", "address_forbidden"),
        (("192.0.2.0/24",), (), "2001:db8::1", "address_forbidden"),
        ((), (), "192.0.2.7", "address_forbidden"),
        (("192.0.2.0/24",), ("192.0.2.7/32",), "192.0.2.7", "address_forbidden"),
        (("192.0.2.0/24",), ("192.0.2.7/32",), "192.0.2.8", None),
        (None, ("2001:db8::/32",), "2001:db8::1", "address_forbidden"),
        (None, ("2001:db8::/32",), "192.0.2.7", None),
    ],
)
def test_key_of_some_networks_serves_those(
    allow: tuple[str, ...] | None, deny: tuple[str, ...], address: str, code: str | None
) -> None:
    judged = key(
        allow=None if allow is None else tuple(map(ip_network, allow)),
        deny=tuple(map(ip_network, deny)),
    )
    assert objection(judged, address=address) == code


# State and ends ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "active"),
        ({"expires_at": NOW + 1}, "active"),
        ({"suspended_at": NOW}, "suspended"),
        ({"expires_at": NOW}, "expired"),
        ({"expires_at": NOW, "suspended_at": NOW}, "expired"),
        ({"revoked_at": NOW}, "revoked"),
        ({"revoked_at": NOW, "expires_at": NOW, "suspended_at": NOW}, "revoked"),
        # What was done counts, whatever this machine's clock says of when.
        ({"revoked_at": NOW + 100}, "revoked"),
        ({"suspended_at": NOW + 100}, "suspended"),
    ],
)
def test_state_is_the_strongest(fields: dict[str, Any], state: str) -> None:
    assert key(**fields).state(NOW) == state
    assert state in STATES


@pytest.mark.parametrize(
    ("expires_at", "untils", "end"),
    [
        (None, (None,), None),
        (NOW, (NOW,), None),
        (NOW - 1, (None, NOW - 1), None),
        (NOW + 5, (None,), NOW + 5),
        (NOW + 5, (None, NOW + 3), NOW + 3),
        (NOW + 5, (None, NOW + 9, NOW - 3), NOW + 5),
        (None, (None, NOW + 9, NOW + 2), NOW + 2),
    ],
)
def test_next_end_is_the_first_one_to_come(
    expires_at: float | None, untils: tuple[float | None, ...], end: float | None
) -> None:
    secrets = tuple(Secret(bytes([n]) * 32, until) for n, until in enumerate(untils))
    assert key(expires_at=expires_at, secrets=secrets).next_end(NOW) == end


@given(
    st.none() | st.integers(0, 10),
    st.lists(st.none() | st.integers(0, 10), max_size=4),
    st.integers(0, 10),
)
def test_nothing_changes_before_the_next_end(
    expires_at: int | None, untils: list[int | None], now: int
) -> None:
    secrets = tuple(Secret(bytes([n]) * 32, until) for n, until in enumerate(untils))
    judged = key(expires_at=expires_at, secrets=secrets)

    def judgement(moment: float) -> list[str | None]:
        return [objection(judged, digest=secret.digest, now=moment) for secret in secrets]

    end = judged.next_end(now)
    for moment in range(now, 12 if end is None else int(end)):
        assert judgement(moment) == judgement(now)
    if end is not None and judged.state(now) == "active":
        assert (judgement(end), judged.state(end)) != (judgement(now), judged.state(now))


def test_key_without_limits_has_none() -> None:
    assert key().limits is UNLIMITED
    assert key(limits=KeyLimits(connections=None)).limits is UNLIMITED
    assert key(limits=KeyLimits(connections=1)).limits == KeyLimits(connections=1)


def test_nothing_kept_holds_a_secret() -> None:
    assert "secret'" not in repr(key())
    assert key().secret(DIGEST) == Secret(DIGEST, None)
    assert key().secret(b"secret") is None


# What the upstream hears ---------------------------------------------------------------------


def test_upstream_learns_whose_key_it_is() -> None:
    named = Key("id1", "Jörg's 100%", (), metadata={"plan": "gold 1", "name": "Æ\n"})
    assert identity_headers(named) == (
        b"X-Wskeeper-Key-Id: id1",
        b"X-Wskeeper-Key-Name: J%C3%B6rg's 100%25",
        b"X-Wskeeper-Meta-plan: gold 1",
        b"X-Wskeeper-Meta-name: %C3%86%0A",
    )
    assert metadata_headers({}) == ()
    assert header_line("Subject", "a\r\nb") == b"X-Wskeeper-Subject: a%0D%0Ab"


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_no_value_can_add_a_line(value: str) -> None:
    lines = identity_headers(Key(value, value, (), metadata={"k": value}))
    assert len(headers(*lines).lines) == 3
    assert b"".join(lines).isascii()
