"""Spans: what they tell of requests and sessions, whose traces go on, and what is in none."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from proxy.errors import Refused
from proxy.gateway.upstream_request import ordinary_request
from proxy.handshake.client import LOCAL
from proxy.tracing.spans import Tracing
from proxy.upstream.pool import Member
from tests.harness import frames
from tests.harness.heads import Request
from tests.unit.gateway.scene import ROUTES, SECRET, Gateway
from tests.unit.sessions.scene import WALL

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TOLD = f"traceparent: 00-{TRACE}-{PARENT}-01"


class Scene:
    """A gateway whose requests are traced."""

    def __init__(self, *routes: dict[str, Any], **fields: Any) -> None:
        self.gateway = Gateway(*routes, **fields)
        self.exporter = InMemorySpanExporter()
        self.tracing = Tracing(
            SimpleSpanProcessor(self.exporter),
            clock=self.gateway.loop.time,
            wall=self.gateway.sessions.wall,
        )
        self.tracing.watch(self.gateway.admission, self.gateway.registry)

    def trusts_its_peer(self) -> None:
        admission = self.gateway.admission
        admission.rules = replace(admission.rules, trusted_proxies=(ip_network(str(LOCAL)),))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    @property
    def span(self) -> ReadableSpan:
        (span,) = self.spans
        return span

    @property
    def told(self) -> tuple[str, bool]:
        """The trace and span that the upstream was told of, and whether they are sampled."""
        told = self.asked.get("traceparent")
        assert told is not None
        version, trace, span, flags = told.split("-")
        assert version == "00"
        return f"{trace}-{span}", bool(int(flags, 16) & 1)

    @property
    def asked(self) -> Request:
        """What the upstream was asked last."""
        return Request.parse(self.gateway.dialer.dials[-1].request)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def seconds(moment: int | None) -> float:
    """A moment of a span, since the scene's beginning."""
    assert moment is not None
    return pytest.approx(moment / 1e9 - WALL, abs=1e-5)


def context_of(span: ReadableSpan) -> str:
    """A span as a `traceparent` names it."""
    context = span.get_span_context()
    return f"{context.trace_id:032x}-{context.span_id:016x}"


def linked_by(span: ReadableSpan) -> str:
    """The one span that another is linked to."""
    (link,) = span.links
    return f"{link.context.trace_id:032x}-{link.context.span_id:016x}"


# A handshake ---------------------------------------------------------------------------------


async def test_handshake_has_a_span_from_its_first_byte_to_the_upgrade(scene: Scene) -> None:
    scene.gateway.asks("/chat/room?api_key=none")
    scene.gateway.loop.advance(0.25)
    assert scene.spans == ()
    scene.gateway.dialer.dials[-1].switches()
    span = scene.span
    assert (span.name, span.kind, span.parent) == ("websocket handshake", SpanKind.SERVER, None)
    assert (seconds(span.start_time), seconds(span.end_time)) == (0.0, 0.25)
    assert dict(span.attributes) == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "url.path": "/chat/room",
        "server.address": "gateway.test",
        "client.address": str(LOCAL),
        "http.response.status_code": 101,
        "wskeeper.route": "chat",
        "wskeeper.key.id": "one",
        "wskeeper.request_id": f"{1:032x}",
        "wskeeper.upstream": "ws://127.0.0.1:9000/ws",
        "wskeeper.outcome": "accepted",
    }
    assert span.status.status_code is StatusCode.UNSET


async def test_span_tells_when_the_upstream_was_asked_and_reached(scene: Scene) -> None:
    scene.gateway.opens()
    told = [
        (event.name, seconds(event.timestamp), dict(event.attributes))
        for event in scene.span.events
    ]
    upstream = {"wskeeper.upstream": "ws://127.0.0.1:9000/ws"}
    assert told == [("upstream dialled", 0.0, upstream), ("upstream connected", 0.001, upstream)]


async def test_service_has_our_name_unless_the_environment_has_another(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.gateway.opens()
    assert scene.span.resource.attributes["service.name"] == "wskeeper" == scene.tracing.service
    monkeypatch.setenv("OTEL_SERVICE_NAME", "edge")
    assert Scene().tracing.service == "edge"


@pytest.mark.parametrize(("secret", "code"), [(None, "key_missing"), ("wrong" * 5, "key_unknown")])
async def test_refused_handshake_has_its_outcome(
    scene: Scene, secret: str | None, code: str
) -> None:
    scene.gateway.asks(secret=secret)
    attributes = scene.span.attributes
    assert (attributes["wskeeper.outcome"], attributes["wskeeper.route"]) == (code, "chat")
    assert attributes["http.response.status_code"] == 401
    assert "wskeeper.key.id" not in attributes
    assert scene.span.status.status_code is StatusCode.UNSET


async def test_refused_key_that_is_known_is_named() -> None:
    scene = Scene(routes=("other",))
    scene.gateway.asks()
    assert scene.span.attributes["wskeeper.outcome"] == "route_forbidden"
    assert scene.span.attributes["wskeeper.key.id"] == "one"


async def test_request_without_a_proper_host_is_refused_like_any_other(scene: Scene) -> None:
    scene.gateway.asks("/chat", "Host: another")
    assert scene.span.attributes["wskeeper.outcome"] == "bad_request"
    assert scene.span.attributes["server.address"] == ""


async def test_fault_of_the_upstream_is_an_error(scene: Scene) -> None:
    scene.gateway.asks()
    refused = Refused("upstream_unreachable", cause="Connection refused")
    scene.gateway.dialer.dials[-1].answers_nothing(refused)
    assert scene.span.status.status_code is StatusCode.ERROR
    assert scene.span.attributes["error.type"] == "upstream_unreachable"


@pytest.mark.parametrize(("status", "error"), [(403, False), (503, True)])
async def test_refusal_of_the_upstream_has_its_own_status(
    scene: Scene, *, status: int, error: bool
) -> None:
    scene.gateway.asks()
    scene.gateway.dialer.dials[-1].refuses(status)
    assert scene.span.attributes["wskeeper.outcome"] == "upstream_refused"
    assert scene.span.attributes["http.response.status_code"] == status
    assert (scene.span.status.status_code is StatusCode.ERROR) is error


async def test_fault_of_ours_is_an_error_that_quotes_nothing(scene: Scene) -> None:
    scene.gateway.dialer.failure = RuntimeError(SECRET)
    scene.gateway.asks()
    assert scene.span.attributes["error.type"] == "internal_error"
    assert (scene.span.events, scene.span.status.description) == ((), None)


async def test_client_that_leaves_ends_its_span(scene: Scene) -> None:
    scene.gateway.asks().hangs_up()
    assert scene.span.attributes["wskeeper.outcome"] == "client_gone"
    assert "http.response.status_code" not in scene.span.attributes


async def test_ordinary_request_has_a_span_of_its_own_name() -> None:
    scene = Scene({"name": "chat", "path": "/chat", "http": "passthrough"})
    request = upgraded_never(scene, TOLD)
    member = Member("chat", request.route.target, lambda *_: None)
    asking = ordinary_request(request, scene.gateway.registry.occupancy, member)
    told = [line for line in asking.lines if line.startswith(b"traceparent")]
    scene.gateway.admission.account.note_http(
        request, "answered", status=204, duration=0.0, sizes=(0, 0)
    )
    assert scene.span.name == "http request"
    assert scene.span.attributes["wskeeper.outcome"] == "answered"
    assert scene.span.attributes["http.response.status_code"] == 204
    assert [line[16:65].decode() for line in told] == [context_of(scene.span)]


def upgraded_never(scene: Scene, *lines: str) -> Any:
    """A request that its route relays as it is."""
    scene.gateway.asks("/chat", *lines)
    (door,) = scene.gateway.house.opening
    request = door._request
    request.ordinary = True
    return request


# Traces --------------------------------------------------------------------------------------


async def test_upstream_is_told_of_our_span_in_place_of_the_client_s(scene: Scene) -> None:
    client = scene.gateway.asks("/chat", TOLD, "tracestate: vendor=theirs", "baggage: a=b")
    scene.gateway.dialer.dials[-1].switches()
    assert client.answer[0] == 101
    assert scene.told == (context_of(scene.span), True)
    assert (scene.asked.get("tracestate"), scene.asked.get("baggage")) == (None, "a=b")


async def test_client_s_own_trace_is_linked_not_joined(scene: Scene) -> None:
    scene.gateway.asks("/chat", TOLD)
    scene.gateway.dialer.dials[-1].switches()
    assert linked_by(scene.span) == f"{TRACE}-{PARENT}"
    assert scene.span.parent is None
    assert TRACE not in context_of(scene.span)


async def test_trace_of_a_trusted_proxy_goes_on(scene: Scene) -> None:
    scene.trusts_its_peer()
    scene.gateway.asks("/chat", TOLD, "tracestate: vendor=theirs")
    scene.gateway.dialer.dials[-1].switches()
    assert scene.span.parent is not None
    assert f"{scene.span.parent.span_id:016x}" == PARENT
    assert scene.told == (context_of(scene.span), True)
    assert TRACE in context_of(scene.span)
    assert scene.asked.get("tracestate") == "vendor=theirs"


@pytest.mark.parametrize(
    "lines",
    [
        ("traceparent: 00-zz-1-01",),
        (TOLD, TOLD),
        ("tracestate: a=b",),
        (f"traceparent: 00-{'0' * 32}-{PARENT}-01",),
        (TOLD.encode() + b"\xff",),
    ],
)
async def test_trace_that_is_told_badly_is_none(
    scene: Scene, lines: tuple[str | bytes, ...]
) -> None:
    scene.trusts_its_peer()
    scene.gateway.asks("/chat", *lines)
    scene.gateway.dialer.dials[-1].switches()
    assert (scene.span.parent, scene.span.links) == (None, ())


@pytest.mark.parametrize("trusted", [True, False])
async def test_what_is_not_sampled_is_not_told_but_goes_on(
    monkeypatch: pytest.MonkeyPatch, *, trusted: bool
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    scene = Scene()
    if trusted:
        scene.trusts_its_peer()
    client = scene.gateway.asks("/chat", TOLD.removesuffix("1") + "0")
    scene.gateway.dialer.dials[-1].switches()
    told, sampled = scene.told
    assert not sampled
    assert (TRACE in told) is trusted
    scene.gateway.ends(client)
    assert scene.spans == ()


async def test_untraced_gateway_leaves_the_client_s_trace_alone() -> None:
    gateway = Gateway()
    gateway.asks("/chat", TOLD, "tracestate: vendor=theirs")
    asked = Request.parse(gateway.dialer.dials[-1].request)
    assert asked.get("traceparent") == TOLD.partition(": ")[2]
    assert asked.get("tracestate") == "vendor=theirs"


# A session -----------------------------------------------------------------------------------


async def test_session_has_a_span_linked_to_its_handshake_s(scene: Scene) -> None:
    client = scene.gateway.opens()
    client.sends(frames.masked(frames.TEXT, b"hello"))
    scene.gateway.loop.advance(90.0)
    client.sends(frames.masked(frames.CLOSE, frames.close_payload(4001, "bye")))
    scene.gateway.ends(client)
    handshake, session = scene.spans
    assert (session.name, session.kind) == ("websocket session", SpanKind.INTERNAL)
    assert linked_by(session) == context_of(handshake)
    assert session.get_span_context().trace_id != handshake.get_span_context().trace_id
    assert (seconds(session.start_time), seconds(session.end_time)) == (0.0, 90.0)
    assert dict(session.attributes) == {
        "wskeeper.request_id": f"{1:032x}",
        "wskeeper.route": "chat",
        "wskeeper.key.id": "one",
        "client.address": str(LOCAL),
        "wskeeper.upstream": "ws://127.0.0.1:9000/ws",
        "wskeeper.close.initiator": "client",
        "wskeeper.close.code": 4001,
        "wskeeper.close.reason": "bye",
        "wskeeper.messages_from_client": 1,
        "wskeeper.messages_from_upstream": 0,
        "wskeeper.bytes_from_client": 11 + 11,
        "wskeeper.bytes_from_upstream": 0,
    }


async def test_session_that_breaks_off_has_no_code(scene: Scene) -> None:
    scene.gateway.ends(scene.gateway.opens())
    attributes = scene.spans[1].attributes
    assert "wskeeper.close.code" not in attributes
    assert attributes["wskeeper.close.reason"] == ""


async def test_session_is_sampled_if_its_handshake_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by a lot of its own, though its trace is another."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    scene = Scene()
    for _ in range(50):
        scene.gateway.ends(scene.gateway.opens())
    handshakes = {context_of(span) for span in scene.spans if span.kind is SpanKind.SERVER}
    linked = {linked_by(span) for span in scene.spans if span.kind is SpanKind.INTERNAL}
    assert 0 < len(handshakes) < 50
    assert linked == handshakes


async def test_session_that_was_open_before_has_no_span(scene: Scene) -> None:
    scene.gateway.admission.tracer = None
    scene.gateway.ends(scene.gateway.opens())
    assert scene.spans == ()


# Secrets -------------------------------------------------------------------------------------


async def test_no_credential_is_in_a_span() -> None:
    ways = {"carriers": ["bearer", "subprotocol", {"header": "X-Api-Key"}, {"query": "key"}]}
    scene = Scene(*({**route, **ways} for route in ROUTES))
    gateway = scene.gateway
    for secret in (SECRET, SECRET + "-which-nobody-has"):
        for target, *lines in (
            ("/chat", f"X-Api-Key: {secret}"),
            ("/chat", f"Authorization: Bearer {secret}"),
            (f"/chat?key={secret}&more=1",),
            ("/chat", f"Sec-WebSocket-Protocol: wskeeper, wskeeper.key.{secret}"),
            ("/chat", f"X-Api-Key: {secret}", f"Cookie: session={secret}"),
            ("/watched", f"X-Api-Key: {secret}"),
            (f"/nowhere?key={secret}",),
            (f"/chat?key={secret}", f"X-Api-Key: {secret}"),
        ):
            dialled = len(gateway.dialer.dials)
            client = gateway.asks(target, *lines, secret=None)
            if len(gateway.dialer.dials) > dialled:
                gateway.dialer.dials[-1].switches()
                gateway.ends(client)
    outcomes = {span.attributes.get("wskeeper.outcome") for span in scene.spans}
    assert {"accepted", "key_unknown", "no_route"} <= outcomes
    for span in scene.spans:
        told = span.to_json()
        assert "CANARY" not in told
        assert "more=1" not in told


async def test_what_clients_choose_is_cut(scene: Scene) -> None:
    scene.gateway.asks("/nowhere/" + "x" * 5000)
    assert len(scene.span.attributes["url.path"]) == 1024


# The end -------------------------------------------------------------------------------------


class Slow(SpanProcessor):
    """A collector that does not answer."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.over = threading.Event()

    def shutdown(self) -> None:
        self.answers.wait(10.0)
        self.over.set()


async def test_last_spans_are_waited_for() -> None:
    slow = Slow()
    tracing = Tracing(slow, clock=lambda: 0.0, wall=lambda: WALL)
    closing = asyncio.ensure_future(tracing.close())
    await asyncio.sleep(0)
    assert not closing.done()
    slow.answers.set()
    await closing
    assert slow.over.is_set()


async def test_collector_that_hangs_keeps_nobody_from_going() -> None:
    slow = Slow()
    tracing = Tracing(slow, clock=lambda: 0.0, wall=lambda: WALL)
    await tracing.close(0.01)
    assert not slow.over.is_set()
    slow.answers.set()
    assert await asyncio.to_thread(slow.over.wait, 5.0)
