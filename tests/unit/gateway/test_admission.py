"""Who is let in: keys, their limits, what they lose meanwhile; and every place is given back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from proxy.errors import KEY_OBJECTIONS, OBJECTIONS, Refused
from proxy.gateway.admission import WARN_EVERY
from proxy.gateway.early import MAX_EARLY
from proxy.keys.key import KeyLimits, Secret
from proxy.keys.lifecycle import rotated
from tests.harness.frames import close_payload, frame, masked
from tests.harness.heads import Request
from tests.unit.gateway.scene import SECRET, Client, FakeDial, Gateway, Slow, key
from tests.unit.loop import FakeLoop
from tests.unit.sessions.scene import WALL

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITED = {"limits": KeyLimits(connections=2)}


@pytest.fixture(autouse=True)
def _paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """What asks for the running loop gets none: nothing here may need one."""

    class Loop:
        def call_later(self, *_: Any) -> Any:
            return Loop()

        def cancel(self) -> None:
            pass

    monkeypatch.setattr(asyncio, "get_running_loop", Loop)


# Keys ----------------------------------------------------------------------------------------


def test_key_opens_its_session_and_the_upstream_hears_whose_it_is() -> None:
    gateway = Gateway(metadata={"plan": "gold"})
    client = gateway.opens()
    sent = Request.parse(gateway.dialer.dials[0].request)
    assert sent.get("X-Wskeeper-Auth") == "api_key"
    assert sent.get("X-Wskeeper-Key-Id") == "one"
    assert sent.get("X-Wskeeper-Key-Name") == "name of one"
    assert sent.get("X-Wskeeper-Meta-plan") == "gold"
    assert SECRET.encode() not in sent.raw
    (session,) = gateway.registry
    assert (session.principal.key_id, session.holders) == ("one", ("one",))
    assert gateway.outcomes() == {"accepted": 1}
    gateway.ends(client)
    assert gateway.places == 0


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"revoked_at": WALL}, 401, "key_revoked"),
        ({"expires_at": WALL}, 401, "key_expired"),
        ({"suspended_at": WALL}, 401, "key_suspended"),
        ({"routes": frozenset({"other"})}, 403, "route_forbidden"),
        ({"origins": frozenset({b"https://b.test"})}, 403, "origin_forbidden"),
        ({"allow": ()}, 403, "address_forbidden"),
        ({"limits": KeyLimits(0)}, 429, "key_connections"),
    ],
)
def test_key_that_may_not_is_refused_before_any_upstream_is_asked(
    fields: dict[str, Any], status: int, code: str
) -> None:
    gateway = Gateway(**fields)
    client = gateway.asks("/chat", "Origin: https://a.test")
    assert client.answer == (status, code)
    assert not gateway.dialer.dials
    assert gateway.outcomes() == {code: 1}
    assert (gateway.places, len(gateway.registry.occupancy)) == (0, 0)
    assert "CANARY" not in repr(gateway.log.lines)
    assert b"CANARY" not in client.transport.written


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ((), None),
        (("Origin: https://B.test",), None),
        (("Origin: https://a.test",), "origin_forbidden"),
        # Two of them together are none that the key lists.
        (("Origin: https://b.test", "Origin: https://b.test"), "origin_forbidden"),
        (("Origin: https://b.test", "Origin: https://a.test"), "origin_forbidden"),
        (("Origin:",), "origin_forbidden"),
    ],
)
def test_page_of_a_key_is_asked_after_however_it_says_so(
    lines: tuple[str, ...], code: str | None
) -> None:
    gateway = Gateway(origins=frozenset({b"https://b.test"}))
    client = gateway.asks("/chat", *lines)
    if code is None:
        assert len(gateway.dialer.dials) == 1
    else:
        assert client.answer == (403, code)


def test_store_that_is_away_is_not_the_clients_fault() -> None:
    gateway = Gateway()
    gateway.trust.up = False
    for secret, status in ((SECRET, None), ("unknown", 503)):
        client = gateway.asks(secret=secret)
        if status is not None:
            assert client.answer == (503, "store_unavailable")
            assert client.response.get("Retry-After") == "5"
            assert client.response.get("WWW-Authenticate") is None
    gateway.trust.fresh = False
    assert gateway.asks().answer == (503, "store_unavailable")


# What a key loses while its upstream is dialled ----------------------------------------------


MEANWHILE = {
    "key_revoked": {"revoked_at": WALL},
    "key_suspended": {"suspended_at": WALL},
    "key_expired": {"expires_at": WALL},
    "route_forbidden": {"routes": frozenset()},
    "origin_forbidden": {"origins": frozenset({b"https://b.test"})},
    "address_forbidden": {"allow": ()},
}


@pytest.mark.parametrize("code", MEANWHILE)
def test_key_that_is_lost_while_its_upstream_is_dialled_opens_nothing(code: str) -> None:
    gateway = Gateway()
    client = gateway.asks("/chat", "Origin: https://a.test")
    gateway.ring.put("one", key(**MEANWHILE[code]))
    (dial,) = gateway.dialer.dials
    dial.switches()
    assert client.answer == (403 if code.endswith("forbidden") else 401, code)
    assert dial.transport.aborted
    assert (len(gateway.registry), gateway.places) == (0, 0)
    assert gateway.outcomes() == {code: 1}


def test_every_objection_is_tried_meanwhile() -> None:
    assert set(MEANWHILE) == set(KEY_OBJECTIONS)


def test_key_that_is_deleted_while_its_upstream_is_dialled_opens_nothing() -> None:
    gateway = Gateway()
    client = gateway.asks()
    gateway.ring.put("one", None)
    gateway.dialer.dials[0].switches()
    assert client.answer == (401, "key_revoked")
    assert 'header="X-Api-Key"' in (client.response.get("WWW-Authenticate") or "")
    assert len(gateway.registry.occupancy) == 0


def test_secret_that_is_rotated_while_its_upstream_is_dialled_opens_for_its_overlap() -> None:
    for overlap, status in ((60, 101), (0, 401)):
        gateway = Gateway()
        client = gateway.asks()
        gateway.ring.put("one", rotated(key(), b"new", WALL, overlap))
        gateway.dialer.dials[0].switches()
        assert client.answer[0] == status


def test_key_that_ends_while_its_upstream_is_dialled_opens_nothing() -> None:
    gateway = Gateway(expires_at=WALL + 3)
    gateway.ring.schedule(WALL)
    client = gateway.asks()
    gateway.loop.now += 3
    assert [ended.id for ended in gateway.ring.due(gateway.sessions.wall())] == ["one"]
    gateway.dialer.dials[0].switches()
    assert client.answer == (401, "key_expired")


def test_change_of_another_key_disturbs_nobody() -> None:
    gateway = Gateway()
    client = gateway.asks()
    gateway.ring.put("two", replace(key(), id="two", name="two", secrets=(Secret(b"x"),)))
    gateway.ring.put("one", replace(key(), name="renamed"))
    gateway.dialer.dials[0].switches()
    assert client.answer[0] == 101


# The key's own limit -------------------------------------------------------------------------


def test_limit_of_a_key_counts_sessions_and_handshakes_on_all_routes() -> None:
    gateway = Gateway(**LIMITED)
    session = gateway.opens("/chat")
    handshake = gateway.asks("/other")
    assert gateway.places == 2
    refused = gateway.asks("/chat")
    assert refused.answer == (429, "key_connections")
    assert refused.response.get("Retry-After") == "5"
    assert gateway.admission.account.limited == {("chat", "connections"): 1}
    (line,) = gateway.log.events("limited")
    assert (line["value"], line["set_in"]) == (2, "keys.name of one.limits.connections")
    handshake.hangs_up()
    gateway.opens("/chat")
    gateway.ends(session)
    gateway.opens("/chat")
    assert gateway.asks("/chat").answer[0] == 429
    assert gateway.places == 2


def test_limit_of_one_key_is_not_that_of_another() -> None:
    gateway = Gateway(limits=KeyLimits(0))
    other = replace(key(), id="two", name="two", limits=KeyLimits(None))
    gateway.ring.put("one", None)
    gateway.ring.put("two", other)
    for _ in range(10):
        gateway.opens()
    assert gateway.registry.occupancy.of("two") == 10


def test_lowered_limit_lets_nobody_in_and_throws_nobody_out() -> None:
    gateway = Gateway()
    sessions = [gateway.opens() for _ in range(3)]
    gateway.ring.put("one", key(**LIMITED))
    assert gateway.asks().answer == (429, "key_connections")
    assert len(gateway.registry) == 3
    for session in sessions[:2]:
        gateway.ends(session)
    gateway.opens()
    assert gateway.places == 2


REFUSED_BY_US = Refused("upstream_unreachable", "No.")

# Every way out of a handshake, by what it answers.
WAYS_OUT: dict[str, tuple[Callable[[Gateway, Client, FakeDial], object], int | None]] = {
    "upstream refuses": (lambda _g, _c, dial: dial.refuses(), 403),
    "upstream cannot be reached": (lambda _g, _c, dial: dial.answers_nothing(REFUSED_BY_US), 502),
    "upstream gives a wrong answer": (lambda _g, _c, dial: dial.switches(key="d3Jvbmc="), 502),
    "upstream chooses what nobody offered": (
        lambda _g, _c, dial: dial.switches("Sec-WebSocket-Protocol: x"),
        502,
    ),
    "dialling fails as nobody foresaw": (lambda _g, _c, dial: dial.breaks(ValueError()), 500),
    "client goes": (lambda _g, client, _d: client.hangs_up(), None),
    "client says that it goes": (lambda _g, c, _d: c.transport.protocol.eof_received(), None),
    "gateway goes": (lambda gateway, _c, _d: next(iter(gateway.house.opening)).give_up(), None),
    "key is revoked": (
        lambda gateway, _c, dial: (gateway.ring.put("one", None), dial.switches()),
        401,
    ),
}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_every_way_out_of_a_handshake_gives_its_place_back(way: str) -> None:
    out, status = WAYS_OUT[way]
    gateway = Gateway(limits=KeyLimits(1))
    client = gateway.asks()
    (dial,) = gateway.dialer.dials
    assert gateway.places == 1
    out(gateway, client, dial)
    assert (gateway.places, len(gateway.registry.occupancy)) == (0, 0)
    assert not gateway.house.opening
    assert sum(gateway.outcomes().values()) == 1
    if status is None:
        assert dial.cancelled
        assert client.transport.written == b""
    else:
        assert client.answer[0] == status
    if way != "client goes":  # And that only once: what comes later has nothing to give.
        client.hangs_up()
        assert len(gateway.registry.occupancy) == 0
        assert sum(gateway.outcomes().values()) == 1


def test_fault_while_beginning_to_dial_gives_its_place_back() -> None:
    gateway = Gateway(limits=KeyLimits(1))
    gateway.dialer.failure = RuntimeError("a fault of ours")
    assert gateway.asks().answer == (500, "internal_error")
    assert len(gateway.registry.occupancy) == 0
    gateway.dialer.failure = None
    gateway.opens()
    assert gateway.places == 1


def test_session_gives_its_place_back_however_it_ends() -> None:
    gateway = Gateway(limits=KeyLimits(1))
    for ended_by in ("client", "admin", "reset"):
        client = gateway.opens()
        (session,) = gateway.registry
        assert gateway.places == 1
        assert gateway.asks().answer == (429, "key_connections")
        if ended_by == "client":
            client.sends(masked(8, close_payload(1000, "bye")))
        elif ended_by == "admin":
            gateway.registry.end([session], OBJECTIONS["key_revoked"])
        assert gateway.places == 1  # Its sockets are still there.
        gateway.ends(client)
        assert len(gateway.registry.occupancy) == 0


# Routes that only report ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "secret", "fields", "code"),
    [
        ((), None, {}, "key_missing"),
        ((), "unknown", {}, "key_unknown"),
        (("X-Api-Key: x",), SECRET, {}, "key_ambiguous"),
        ((), SECRET, {"revoked_at": WALL}, "key_revoked"),
        ((), SECRET, {"routes": frozenset({"chat"})}, "route_forbidden"),
        ((), SECRET, {"limits": KeyLimits(0)}, "key_connections"),
    ],
)
def test_report_only_lets_in_as_nobody_and_says_what_it_would_have_done(
    lines: tuple[str, ...], secret: str | None, fields: dict[str, Any], code: str
) -> None:
    gateway = Gateway(**fields)
    client = gateway.opens("/watched", secret=secret) if not lines else None
    if client is None:
        client = gateway.asks("/watched", *lines, secret=secret)
        gateway.dialer.dials[0].switches()
    assert client.answer[0] == 101
    sent = Request.parse(gateway.dialer.dials[0].request)
    assert sent.get("X-Wskeeper-Auth") == "none"
    assert sent.get("X-Wskeeper-Key-Id") is None
    assert sent.all("X-Api-Key") == []
    assert gateway.admission.account.would_refuse == {("watched", code): 1}
    (line,) = gateway.log.events("would_refuse")
    assert (line["route"], line["code"]) == ("watched", code)
    assert "CANARY" not in repr(gateway.log.lines)
    assert gateway.outcomes("watched") == {"accepted": 1}
    assert len(gateway.registry.occupancy) == 0


def test_report_only_knows_a_good_key() -> None:
    gateway = Gateway()
    gateway.opens("/watched")
    sent = Request.parse(gateway.dialer.dials[0].request)
    assert sent.get("X-Wskeeper-Key-Name") == "name of one"
    assert not gateway.admission.account.would_refuse
    assert gateway.places == 1


def test_report_only_keeps_whom_it_let_in() -> None:
    gateway = Gateway()
    client = gateway.asks("/watched")
    gateway.ring.put("one", None)
    gateway.dialer.dials[0].switches()
    assert client.answer[0] == 101
    gateway.ends(client)
    assert len(gateway.registry.occupancy) == 0


def test_report_only_refuses_what_is_no_question_of_keys() -> None:
    gateway = Gateway()
    gateway.admission.draining = True
    assert gateway.asks("/watched").answer == (503, "draining")
    assert not gateway.admission.account.would_refuse


# Routes without authentication ---------------------------------------------------------------


@pytest.mark.parametrize("secret", [SECRET, "unknown", None])
def test_open_route_asks_for_nothing_and_passes_no_credential_on(secret: str | None) -> None:
    gateway = Gateway(revoked_at=WALL)
    gateway.trust.up = gateway.trust.fresh = False
    client = gateway.opens("/open", secret=secret)
    sent = Request.parse(gateway.dialer.dials[0].request)
    assert sent.get("X-Wskeeper-Auth") == "none"
    assert sent.all("X-Api-Key") == []
    assert (gateway.places, gateway.outcomes("open")) == (0, {"accepted": 1})
    assert not gateway.admission.account.would_refuse
    (session,) = gateway.registry
    assert session.principal.key is None
    gateway.ends(client)


def test_token_of_the_application_passes_an_open_route() -> None:
    routes = {"name": "open", "path": "/open", "auth": "none", "carriers": ["bearer"]}
    gateway = Gateway(routes)
    gateway.opens("/open", secret=None)
    for token, passes in (("eyJ.x.y", True), (SECRET, False)):
        gateway.asks("/open", f"Authorization: Bearer {token}", secret=None)
        sent = Request.parse(gateway.dialer.dials[-1].request)
        assert bool(sent.all("Authorization")) is passes


# Bytes that come early -----------------------------------------------------------------------


def test_session_of_a_key_relays_what_came_while_it_was_judged() -> None:
    gateway = Gateway()
    client = gateway.asks()
    client.sends(masked(1, b"early"))
    (dial,) = gateway.dialer.dials
    dial.behind = frame(1, b"behind")
    dial.switches()
    assert client.transport.written.endswith(frame(1, b"behind"))
    assert dial.transport.written == masked(1, b"early")


def test_client_is_not_read_while_the_upstream_takes_nothing_of_what_came_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asyncio, "get_running_loop", FakeLoop)
    gateway = Gateway()
    client = gateway.asks()
    client.sends(masked(2, b"x" * MAX_EARLY))
    (dial,) = gateway.dialer.dials
    dial.transport = Slow()
    dial.switches()
    assert dial.transport.written == masked(2, b"x" * MAX_EARLY)
    assert not client.transport.reading


# Forwarding headers ---------------------------------------------------------------------------


def test_untrusted_forwarder_is_told_of_once_a_minute() -> None:
    gateway = Gateway()
    gateway.asks("/chat")
    assert gateway.log.events("untrusted_forwarder") == []
    for line in ("X-Forwarded-For: 203.0.113.7", "Forwarded: for=203.0.113.7"):
        gateway.asks("/chat", line)
    (told,) = gateway.log.events("untrusted_forwarder")
    assert told["mend"].endswith(f"add {told['peer']}/32 to trusted_proxies")
    assert "203.0.113.7" not in str(told)
    gateway.loop.advance(WARN_EVERY)
    gateway.asks("/chat", "X-Forwarded-For: 203.0.113.7")
    assert len(gateway.log.events("untrusted_forwarder")) == 2
