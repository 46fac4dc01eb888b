"""A gateway that is traced: what a collector hears of it, and what the service is told."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.harness import frames
from tests.harness.client import Door
from tests.harness.process import wait_until
from tests.integration.conftest import KEY, Start, asking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from tests.harness.upstream import Upstream

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TOLD = f"00-{TRACE}-{PARENT}-01"


class Collector:
    """An OTLP collector that keeps what it is sent."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.raw: list[bytes] = []
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def take(self, path: str, body: bytes) -> None:
        assert path == "/v1/traces"
        self.raw.append(body)
        for told in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.services.add(attributes_of(told.resource)["service.name"])
            self.spans += [span for scope in told.scope_spans for span in scope.spans]

    def span(self, name: str, **attributes: Any) -> Span:
        """The first span of that name with those attributes of wskeeper's; waits for it."""
        expected = {f"wskeeper.{key}": value for key, value in attributes.items()}.items()

        def found() -> list[Span]:
            spans = [span for span in list(self.spans) if span.name == name]
            return [span for span in spans if expected <= attributes_of(span).items()]

        assert wait_until(found), (name, attributes, self.spans)
        return found()[0]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def attributes_of(told: Any) -> dict[str, Any]:
    """Attributes as plain values."""
    return {
        attribute.key: getattr(attribute.value, attribute.value.WhichOneof("value"))
        for attribute in told.attributes
    }


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def test_handshake_and_session_reach_the_collector(
    start: Start, upstream: Upstream, collector: Collector
) -> None:
    gateway = start(
        environment={
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "20",
        }
    )
    with Door(gateway.public) as door:
        client = door.open(asking("/app/room?more=1", lines=(f"traceparent: {TOLD}",)))
        client.send_text("hello")
        client.read_frame()
        handshake = collector.span("websocket handshake", outcome="accepted")
        client.send(frames.masked(frames.CLOSE, frames.close_payload(1000)))
        session = collector.span("websocket session", route="app")
        door.ask(asking("/app", key="wrong-" + KEY))
        refused = collector.span("websocket handshake", outcome="key_unknown")

    request = upstream.connection().request
    assert request is not None
    trace, span, _ = request.get("traceparent").removeprefix("00-").split("-")
    assert (bytes.fromhex(trace), bytes.fromhex(span)) == (handshake.trace_id, handshake.span_id)
    (link,) = handshake.links
    assert (link.trace_id.hex(), link.span_id.hex()) == (TRACE, PARENT)

    (link,) = session.links
    assert (link.trace_id, link.span_id) == (handshake.trace_id, handshake.span_id)
    assert session.trace_id != handshake.trace_id
    assert handshake.start_time_unix_nano < handshake.end_time_unix_nano
    assert handshake.end_time_unix_nano < session.end_time_unix_nano
    told = attributes_of(session)
    assert (told["wskeeper.close.initiator"], told["wskeeper.close.code"]) == ("client", 1000)
    assert told["wskeeper.messages_from_client"] == told["wskeeper.messages_from_upstream"] == 1
    opened = gateway.wait_for_event("connection_opened")
    assert told["wskeeper.request_id"] == opened["request_id"]
    assert attributes_of(handshake)["wskeeper.request_id"] == opened["request_id"]

    assert attributes_of(refused)["http.response.status_code"] == 401
    assert collector.services == {"wskeeper"}
    assert gateway.events("tracing_on") == [gateway.wait_for_event("tracing_on")]
    assert KEY.encode() not in b"".join(collector.raw)
    assert b"more=1" not in b"".join(collector.raw)


def test_last_spans_leave_with_the_gateway(start: Start, collector: Collector) -> None:
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "60000",
        "OTEL_SERVICE_NAME": "edge",
    }
    gateway = start(environment=environment, trusted_proxies=["127.0.0.1"])
    with Door(gateway.public) as door:
        door.open(asking("/app", lines=(f"traceparent: {TOLD}",)))
        assert gateway.stop() == 0
    handshake = collector.span("websocket handshake")
    assert (handshake.trace_id.hex(), handshake.parent_span_id.hex()) == (TRACE, PARENT)
    assert attributes_of(collector.span("websocket session"))["wskeeper.close.reason"] == "draining"
    assert collector.services == {"edge"}


def test_collector_that_is_away_is_told_of_and_holds_up_nobody(start: Start) -> None:
    gateway = start(
        environment={
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1/?token=CANARY",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
            "OTEL_BSP_SCHEDULE_DELAY": "20",
        }
    )
    with Door(gateway.public) as door:
        assert door.ask(asking(key="CANARY")).status == 401
        trouble = gateway.wait_for_event("tracing_trouble")
        assert trouble["logger"].startswith("opentelemetry.")
        assert gateway.stop() == 0
    assert "CANARY" not in "".join(gateway.log)
