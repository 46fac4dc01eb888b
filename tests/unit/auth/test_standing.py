"""Standing: who was let in by other rules stays exactly as long as the new ones would have it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from proxy.auth.key_verifier import KeyVerifier
from proxy.auth.standing import Standing
from proxy.keys.key import Key, Secret
from proxy.keys.principal import NOBODY, PREFLIGHT, Principal, bearer_of, holder_of, ticket_holder
from proxy.keys.ring import KeyRing
from proxy.routes import RouteTable
from tests.unit.auth.asked import Trust
from tests.unit.build import config

KEY = Key("one", "name of one", (Secret(b"digest"),))
NOW = 1_000.0
HOLDER = holder_of(KEY, b"digest")
TOKEN = bearer_of("jwt", "sub", {}, until=None)
PLUGIN = bearer_of("plugin", "sub", {}, until=None)
TICKET = ticket_holder(None, b"", "sub", {}, until=None, session="s")
KEYED_TICKET = ticket_holder(KEY, b"digest", "sub", {}, until=None, session="s")


class Scene:
    """Rules that were replaced once."""

    def __init__(self, *, distrusted: tuple[str, ...] = (), **route: Any) -> None:
        self.ring = KeyRing([KEY])
        keys = KeyVerifier(self.ring, Trust())
        self.standing = Standing(keys, RouteTable.of(config({"name": "chat"})))
        self.adopt(1, *distrusted, **route)

    def adopt(self, generation: int, *distrusted: str, **route: Any) -> None:
        table = RouteTable.of(config({"name": "chat", **route}))
        self.standing.adopt(table, generation=generation, distrusted=distrusted)

    def says(self, principal: Principal = HOLDER, **session: Any) -> str | None:
        address = ip_address(session.pop("address", "192.0.2.7"))
        known = {"route": "chat", "origin": None, "same_origin": False, **session}
        return self.standing.objection(principal, NOW, address=address, **known)


def test_session_of_a_route_that_is_gone_has_nowhere_to_be() -> None:
    for principal in (HOLDER, NOBODY):
        assert Scene(name="other").says(principal) == "route_removed"


def test_preflight_that_is_under_way_needs_no_key_by_any_rules() -> None:
    assert Scene().says(NOBODY) == "key_missing"
    assert Scene().says(PREFLIGHT, origin=b"https://a.test") is None
    pages = Scene(origins=["https://b.test"])
    assert pages.says(PREFLIGHT, origin=b"https://a.test") == "origin_forbidden"


@pytest.mark.parametrize(
    ("rule", "session", "objection"),
    [
        ({}, {}, None),
        ({"addresses": {"deny": ["192.0.2.0/24"]}}, {}, "address_forbidden"),
        ({"addresses": {"allow": ["10.0.0.0/8"]}}, {}, "address_forbidden"),
        ({"addresses": {"allow": ["10.0.0.0/8"]}}, {"address": "10.1.2.3"}, None),
        ({"origins": ["https://a.test"]}, {}, None),
        ({"origins": ["https://a.test"]}, {"origin": b"https://a.test"}, None),
        ({"origins": ["https://a.test"]}, {"origin": b"https://b.test"}, "origin_forbidden"),
        ({"origins": "same"}, {}, None),
        ({"origins": "same"}, {"origin": b"https://a.test"}, "origin_forbidden"),
        ({"origins": "same"}, {"origin": b"https://a.test", "same_origin": True}, None),
        ({}, {"origin": b"https://b.test"}, None),
    ],
)
def test_rules_that_need_no_secret_hold_for_everybody(
    rule: dict[str, Any], session: dict[str, Any], objection: str | None
) -> None:
    for auth, principal in (("required", HOLDER), ("none", NOBODY), ("report_only", NOBODY)):
        assert Scene(auth=auth, **rule).says(principal, **session) == objection


def test_key_is_judged_as_it_is_now() -> None:
    scene = Scene()
    for principal in (HOLDER, KEYED_TICKET):
        assert scene.says(principal) is None
    scene.ring.replace_fixed([])
    for principal in (HOLDER, KEYED_TICKET):
        assert scene.says(principal) == "key_revoked"
    scene.ring.replace_fixed([Key("one", "name", (Secret(b"other"),))])
    assert scene.says() == "key_revoked"
    scene.ring.replace_fixed([Key("one", "name", (Secret(b"digest"),), routes=frozenset())])
    assert scene.says() == "route_forbidden"


@pytest.mark.parametrize("auth", ["none", "report_only"])
def test_route_that_refuses_nobody_loses_nobody(auth: str) -> None:
    scene = Scene(auth=auth, distrusted=("jwt", "plugin", "ticket"))
    scene.ring.replace_fixed([])
    for principal in (HOLDER, NOBODY, TOKEN, PLUGIN, TICKET):
        assert scene.says(principal) is None


def test_nobody_is_not_welcome_where_a_key_is_needed_now() -> None:
    assert Scene().says(NOBODY) == "key_missing"


@pytest.mark.parametrize(
    ("principal", "way", "objection"),
    [
        (TOKEN, "jwt", "token_invalid"),
        (PLUGIN, "plugin", "plugin_refused"),
        (TICKET, "ticket", "ticket_invalid"),
    ],
)
def test_what_nobody_vouches_for_any_more_ends(
    principal: Principal, way: str, objection: str
) -> None:
    assert Scene().says(principal) is None
    others = {"jwt", "plugin", "ticket"} - {way}
    assert Scene(distrusted=tuple(others)).says(principal) is None
    scene = Scene(distrusted=(way,))
    assert scene.says(principal) == objection
    # Who came by the rules that distrusted it is another matter.
    assert scene.says(principal, since=1) is None
    scene.adopt(2)
    assert scene.says(principal) is None
    # A handshake that began before all that.
    assert scene.says(principal, since=0) == objection
    assert scene.says(principal, since=1) is None


def test_key_needs_no_issuers_trust() -> None:
    scene = Scene(distrusted=("jwt", "plugin", "ticket"))
    assert scene.says(HOLDER) is None
    assert scene.says(KEYED_TICKET) is None
