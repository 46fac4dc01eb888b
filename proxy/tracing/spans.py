"""Spans by OpenTelemetry's semantic conventions: one of each request, one of each session.

No credential is ever in a span: what is told of a request is its path without the query, and what
the gateway found out about it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, SpanKind, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from proxy.errors import ACCEPTED, Refused
from proxy.gateway.request import described
from proxy.gateway.tracer import TRACE_HEADERS
from proxy.handshake.request import host_of
from proxy.relay.commands import Side

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span, SpanContext

    from proxy.gateway.admission import Admission
    from proxy.gateway.request import HandshakeRequest
    from proxy.handshake.head import Headers
    from proxy.sessions.live import LiveSession
    from proxy.sessions.registry import Registry

HANDSHAKE: Final = "websocket handshake"
SESSION: Final = "websocket session"
ORDINARY: Final = "http request"

# Seconds that the last spans get to be exported.
FLUSH: Final = 2.0

# Bytes of what a client chooses, per attribute: a queue of spans is to stay small.
_KEPT: Final = 1024

_W3C: Final = TraceContextTextMapPropagator()
# A trace of its own.
_NEW: Final = Context()

# What stands in log lines, by the names it has in spans.
_ATTRIBUTES: Final = {
    "request_id": "wskeeper.request_id",
    "route": "wskeeper.route",
    "key_id": "wskeeper.key.id",
    "subject": "wskeeper.subject",
    "client": "client.address",
    "upstream": "wskeeper.upstream",
}


class Tracing:
    """Traces requests, and the sessions that some of them become.

    Args:
        processor: takes the spans that ended.
        clock: the loop's.
        wall: seconds since the epoch.
    """

    def __init__(
        self, processor: SpanProcessor, *, clock: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._processor = processor
        self._clock = clock
        self._wall = wall
        resource = _resource()
        self.service = str(resource.attributes[SERVICE_NAME])
        # Sampled as OTEL_TRACES_SAMPLER says; a session is sampled if its handshake was.
        handshakes = TracerProvider(resource=resource, shutdown_on_exit=False)
        sessions = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
        for provider in (handshakes, sessions):
            provider.add_span_processor(processor)
        self._handshakes = handshakes.get_tracer("wskeeper", version("wskeeper"))
        self._sessions = sessions.get_tracer("wskeeper", version("wskeeper"))
        # The handshakes of live sessions that are sampled, by the sessions' ids.
        self._links: dict[str, SpanContext] = {}

    def watch(self, admission: Admission, registry: Registry) -> None:
        """Traces the requests and sessions of a gateway."""
        admission.tracer = self
        registry.on_end = self.session_ended

    def begin(self, request: HandshakeRequest) -> _RequestSpan:
        """Begins the span of a request whose head was just read.

        A trusted proxy's trace goes on; that of anybody else is linked to one of our own, so that
        no client decides what is sampled, or writes into the traces of others.
        """
        headers, client = request.head.headers, request.client
        told, links = _told(headers), []
        if not client.trusted:
            context = get_current_span(told).get_span_context()
            links = [Link(context)] if context.is_valid else []
            told = _NEW
        span = self._handshakes.start_span(
            HANDSHAKE,
            told,
            SpanKind.SERVER,
            {
                "http.request.method": _text(request.head.method),
                "url.scheme": client.scheme,
                "server.address": _host(headers),
            },
            links,
            start_time=self.moment(request.began),
        )
        return _RequestSpan(span, self)

    def session_begins(self, session_id: str, handshake: SpanContext) -> None:
        """A handshake that is sampled has become a session."""
        self._links[session_id] = handshake

    def session_ended(self, session: LiveSession) -> None:
        """The span of a session whose handshake was sampled, in a trace of its own."""
        handshake = self._links.pop(session.id, None)
        if handshake is None:
            return
        state, principal = session.state, session.principal
        scanners = state.scanners
        fields = {
            "request_id": session.id,
            "route": session.route,
            "key_id": principal.key_id,
            "subject": principal.subject,
            "client": session.client,
            "upstream": session.upstream,
        }
        attributes = {
            **_named(fields),
            "wskeeper.close.initiator": state.initiator,
            "wskeeper.close.code": state.code,
            "wskeeper.close.reason": state.reason,
            "wskeeper.messages_from_client": scanners[Side.CLIENT].messages,
            "wskeeper.messages_from_upstream": scanners[Side.UPSTREAM].messages,
            "wskeeper.bytes_from_client": scanners[Side.CLIENT].bytes,
            "wskeeper.bytes_from_upstream": scanners[Side.UPSTREAM].bytes,
        }
        span = self._sessions.start_span(
            SESSION,
            _NEW,
            attributes={name: value for name, value in attributes.items() if value is not None},
            links=[Link(handshake)],
            start_time=self.moment(session.opened_at),
        )
        span.end(self.moment())

    def moment(self, at: float | None = None) -> int:
        """A moment on the loop's clock, in nanoseconds since the epoch; None is now."""
        ago = 0.0 if at is None else self._clock() - at
        return int((self._wall() - ago) * 1e9)

    def now(self) -> float:
        """On the loop's clock."""
        return self._clock()

    async def close(self, patience: float = FLUSH) -> None:
        """Exports what is left, for so many seconds at most; what is not out by then is lost."""
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def flush() -> None:
            try:
                self._processor.shutdown()
            finally:
                with contextlib.suppress(RuntimeError):  # Nobody waits any more.
                    loop.call_soon_threadsafe(over.set)

        # No thread of the loop's own: it would be waited for at the very end.
        threading.Thread(target=flush, name="last spans", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), patience)


class _RequestSpan:
    """See `proxy.gateway.tracer.RequestSpan`."""

    __slots__ = ("_dialled_at", "_span", "_tracing", "header_lines")

    def __init__(self, span: Span, tracing: Tracing) -> None:
        self._span = span
        self._tracing = tracing
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, set_span_in_context(span, _NEW))
        self.header_lines = tuple(f"{name}: {value}".encode() for name, value in carrier.items())
        # On the loop's clock; set for each target that is asked.
        self._dialled_at = 0.0

    def dials(self, upstream: str) -> None:
        self._dialled_at = self._tracing.now()
        self._span.add_event(
            "upstream dialled", {"wskeeper.upstream": upstream}, self._tracing.moment()
        )

    def accepts(self, request: HandshakeRequest, *, connected_in: float) -> None:
        connected = self._tracing.moment(self._dialled_at + connected_in)
        self._span.add_event(
            "upstream connected", {"wskeeper.upstream": request.upstream}, connected
        )
        self.ends(request, ACCEPTED, status=101)
        context = self._span.get_span_context()
        if context.trace_flags.sampled:
            self._tracing.session_begins(request.id, context)

    def ends(
        self,
        request: HandshakeRequest,
        outcome: str,
        *,
        status: int | None,
        key_id: str | None = None,
    ) -> None:
        span = self._span
        if not span.is_recording():
            return
        if request.ordinary:
            span.update_name(ORDINARY)
        attributes = _named(described(request, "", request.id))
        attributes["url.path"] = _text(request.path)
        attributes["wskeeper.outcome"] = outcome
        if key_id is not None:
            attributes["wskeeper.key.id"] = key_id
        if status is not None:
            attributes["http.response.status_code"] = status
            if status >= 500:
                attributes["error.type"] = outcome
                span.set_status(StatusCode.ERROR)
        span.set_attributes(attributes)
        span.end(self._tracing.moment())


def begin_exporting(*, wall: Callable[[], float], loop: asyncio.AbstractEventLoop) -> Tracing:
    """Traces for the collector that the environment names; a thread sends the spans there.

    Raises:
        ValueError: the environment cannot be used.
    """
    return Tracing(BatchSpanProcessor(OTLPSpanExporter()), clock=loop.time, wall=wall)


def _resource() -> Resource:
    """What the environment says of this service, or our name."""
    found = Resource.create({SERVICE_VERSION: version("wskeeper")})
    if str(found.attributes[SERVICE_NAME]).startswith("unknown_service"):
        found = found.merge(Resource({SERVICE_NAME: "wskeeper"}))
    return found


def _host(headers: Headers) -> str:
    """Whom the request is for; empty where it does not say so properly."""
    try:
        return host_of(headers)[:_KEPT]
    except Refused:
        return ""


def _told(headers: Headers) -> Context:
    """The trace that a client says its request belongs to, if it does so properly."""
    if headers.one(b"traceparent") is None:
        return _NEW
    carrier = {
        name.decode(): b",".join(headers.all(name)).decode("latin-1") for name in TRACE_HEADERS
    }
    return _W3C.extract(carrier, _NEW)


def _named(fields: dict[str, Any]) -> dict[str, Any]:
    """What stands in log lines, by the names it has in spans."""
    return {_ATTRIBUTES[name]: value for name, value in fields.items()}


def _text(value: bytes) -> str:
    return value[:_KEPT].decode("ascii", "replace")
