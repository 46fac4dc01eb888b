"""One ordinary HTTP request on a route with `http: passthrough`, and its answer.

The door has judged it. The body goes up and the answer comes down in pieces, each waiting for the
slower side, and whatever ends one half early ends the other: an answer that is not complete never
looks as if it were.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Final

from proxy.errors import (
    CLIENT_GONE,
    REFUSALS,
    ROUTE_REMOVED,
    TOKEN_EXPIRED,
    UPSTREAM_LOST,
    Refused,
)
from proxy.gateway.early import MAX_EARLY
from proxy.gateway.kept import KeptAlive
from proxy.gateway.lingering import LINGER, Lingering
from proxy.gateway.request import affinity_of
from proxy.gateway.upload import Upload
from proxy.gateway.upstream_request import ordinary_request
from proxy.handshake.client import text_of
from proxy.handshake.head import Malformed
from proxy.handshake.http_answer import (
    CONTINUE,
    LAST_CHUNK,
    Framing,
    answer_head,
    chunk,
    framing_of,
)
from proxy.handshake.http_body import body_of
from proxy.handshake.http_request import expects_continue
from proxy.handshake.reply import refusing
from proxy.routes import is_same_origin
from proxy.sessions.leg import WRITE_HIGH, WRITE_LOW
from proxy.upstream.http_call import HttpCall, UpstreamLost

if TYPE_CHECKING:
    from proxy.errors import Ending
    from proxy.gateway.house import House
    from proxy.gateway.request import HandshakeRequest
    from proxy.handshake.client import Address
    from proxy.keys.principal import Principal
    from proxy.upstream.http_call import Asking
    from proxy.upstream.pool import Member

# Outcomes of an ordinary request beside refusals.
ANSWERED: Final = "answered"
CLIENT_STALLED: Final = "client_stalled"

# What a client is told, while there is no answer, of what ends a session by another name.
_REFUSED_AS: Final = {TOKEN_EXPIRED.reason: "token_invalid", ROUTE_REMOVED.reason: "no_route"}

# Close with RST (SO_LINGER, on, 0 s): FIN is how some answers end well.
_RESET: Final = struct.pack("ii", 1, 0)

_LATE: Final = "The service behind this gateway did not take the request's body in time."


class Exchange(asyncio.Protocol):
    """An ordinary request that has been let in.

    Args:
        request: judged, its caller known.
        transport: the client's.
        source: the client's address, where it is not the socket's peer; else None.
    """

    def __init__(
        self,
        house: House,
        request: HandshakeRequest,
        transport: asyncio.Transport,
        source: Address | None,
    ) -> None:
        assert request.route is not None
        assert request.principal is not None
        self.principal: Principal = request.principal
        self.route = request.route.name
        self.origin = request.origin
        self.same_origin = is_same_origin(request.origin, request.client, request.head.headers)
        self.address = request.client.address
        self._rules = request.route
        self._house = house
        self._request = request
        self._transport = transport
        self._source = source
        self._body = body_of(request.head)
        self._has_body = not self._body.complete
        patience = request.route.timeouts.write
        self._patience = patience
        self._upload = Upload(
            transport,
            patience=None if patience is None else house.deadlines.lasting(patience),
            wanted=self._go_ahead,
            stalled=self._upstream_stalls,
        )
        # Whether the client holds its body back until it is told to go ahead.
        self._held_back = self._has_body and expects_continue(request.head)
        # What arrived behind the request.
        self._next = b""
        # The answer's status, and how its end is told, once its head is on its way.
        self._status: int | None = None
        self._framing = Framing.NOTHING
        # Set once all of the answer is sent.
        self._answered = False
        # Whether the connection stays for the next request.
        self._keep = False
        # Bytes of the bodies.
        self._up = self._down = 0
        # Set while the client is too slow for the answer.
        self._writable: asyncio.Future[None] | None = None
        # Why it ends before its time, a refusal or an outcome; None as long as it does not.
        self._why: Refused | str | None = None
        # Set by begin.
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, early: bytes) -> None:
        """Takes the connection over; `early` is what came behind the request's head."""
        house, transport = self._house, self._transport
        transport.set_write_buffer_limits(WRITE_HIGH, WRITE_LOW)
        transport.set_protocol(self)
        transport.resume_reading()
        house.opening.add(self)
        house.admission.exchanges.add(self)
        left = house.admission.exchanges.left(self.principal.until)
        if left is not None:
            self._timer = house.loop.call_later(left, self.end, TOKEN_EXPIRED)
        self._task = house.loop.create_task(self._run(), name=f"http {self.route}")
        self._task.add_done_callback(self._over)
        if early:
            self.data_received(early)

    def end(self, ending: Ending) -> None:
        """Ends it at once: with a refusal while there is no answer, else in the middle of it."""
        code = _REFUSED_AS.get(ending.reason, ending.reason)
        if self._status is not None or code not in REFUSALS:
            self._stop(ending.reason)
            return
        authenticator = self._house.admission.rules.authenticator
        self._stop(authenticator.challenged(Refused(code), self.route, ordinary=True))

    def give_up(self) -> None:
        """The gateway goes away."""
        self._stop(CLIENT_GONE)

    # The client's socket -----------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if not self._body.complete:
            try:
                data = self._take(data)
            except Malformed:
                self._stop(Refused("bad_request", "Send a well-formed chunked body."))
                return
        self._next += data
        if len(self._next) > MAX_EARLY:
            self._transport.pause_reading()

    def _take(self, data: bytes) -> bytes:
        """Takes what of the data is body; returns the rest."""
        self._held_back = False
        body, rest = self._body.feed(data)
        self._up += len(body)
        self._upload.put(body)
        if self._body.complete:
            self._upload.end()
        return rest

    def eof_received(self) -> bool:
        self._stop(CLIENT_GONE)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._stop(CLIENT_GONE)

    def pause_writing(self) -> None:
        self._writable = self._house.loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    async def _write(self, data: bytes) -> None:
        """Sends to the client, and waits while it is too slow."""
        self._transport.write(data)
        await self._caught_up()

    async def _caught_up(self) -> None:
        if self._writable is None:
            return
        try:
            async with asyncio.timeout(self._patience):
                await self._writable
        except TimeoutError:
            self._stop(CLIENT_STALLED)

    def _go_ahead(self) -> None:
        """The upstream is there, and waits for the body."""
        if self._held_back and self._status is None:
            self._held_back = False
            self._transport.write(CONTINUE)

    def _upstream_stalls(self) -> None:
        self._stop(Refused("upstream_timeout", _LATE, cause="it took nothing of the body in time"))

    def _stop(self, why: Refused | str) -> None:
        if self._why is None and self._task is not None and not self._answered:
            self._why = why
            self._task.cancel()

    # The exchange ------------------------------------------------------------------------------

    async def _run(self) -> None:
        request = self._request
        call = HttpCall(request.rules.dialer, self._rules, self._house.loop)
        try:
            answer, reason = await call.ask(
                self._asking, self._upload if self._has_body else None, affinity_of(request)
            )
            head = request.head
            framing = framing_of(answer, method=head.method, minor=head.minor)
            self._keep = self._keeps(framing)
            self._status, self._framing = answer.status, framing
            self._transport.write(
                answer_head(answer, reason, framing, request_id=request.id, keep=self._keep)
            )
            while framing is not Framing.NOTHING and (piece := await call.read()):
                self._down += len(piece)
                await self._write(chunk(piece) if framing is Framing.CHUNKED else piece)
            if framing is Framing.CHUNKED:
                self._transport.write(LAST_CHUNK)
            # Whoever stops the gateway waits for this: nothing may be pending.
            self._transport.set_write_buffer_limits(1, 0)
            await self._caught_up()
            self._answered = True
        finally:
            self._upload.close()
            await call.close()

    def _asking(self, member: Member) -> Asking:
        """The request for a target that is about to be asked."""
        return ordinary_request(self._request, self._house.admission.registry.occupancy, member)

    def _keeps(self, framing: Framing) -> bool:
        """Whether the connection is kept behind the answer, as far as its head can promise."""
        head = self._request.head
        return (
            self._body.complete
            and head.minor > 0
            and framing is not Framing.END
            and not head.headers.lists(b"connection", b"close")
            and not self._house.admission.draining
        )

    # Its end -----------------------------------------------------------------------------------

    def _over(self, task: asyncio.Task[None]) -> None:
        """It is answered, or it never will be."""
        house, admission = self._house, self._house.admission
        house.opening.discard(self)
        admission.exchanges.discard(self)
        admission.release(self._request)
        if self._timer is not None:
            self._timer.cancel()
        failure = None if task.cancelled() else task.exception()
        if task.cancelled():
            self._fail(self._why or CLIENT_GONE)
        elif isinstance(failure, Refused):
            self._fail(failure)
        elif isinstance(failure, UpstreamLost):
            self._fail(UPSTREAM_LOST.reason)
        elif failure is not None:
            request = self._request
            admission.account.note_failure(failure, request, client="", id=request.id)
            self._fail(Refused("internal_error", "The gateway failed; its log says how."))
        else:
            self._note(ANSWERED)
            if self._keep and not self._transport.is_closing():
                early, self._next = self._next, b""  # It need not live as long as this.
                KeptAlive(house, self._transport, self._source).begin(early)
            else:
                self._linger()

    def _fail(self, why: Refused | str) -> None:
        """Says why, if nothing has been said yet; else the connection breaks."""
        if isinstance(why, str) or self._status is not None:
            self._note(why if isinstance(why, str) else why.code)
            self._break()
            return
        request = self._request
        self._house.admission.account.note_refusal(
            why, request, client=text_of(self.address), id=request.id
        )
        if not self._transport.is_closing():
            with_body = request.head.method != b"HEAD"
            self._transport.write(refusing(why, request_id=request.id, with_body=with_body))
            self._linger()

    def _break(self) -> None:
        """Ends the connection so that nobody takes the answer for complete."""
        transport = self._transport
        if self._framing is Framing.END and not transport.is_closing():
            with contextlib.suppress(OSError):
                sock = transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()

    def _linger(self) -> None:
        """Ends the connection behind the answer."""
        house, transport = self._house, self._transport
        if not transport.is_closing():
            house.lingering.add(transport)
            Lingering(transport, seconds=LINGER, gone=lambda: house.lingering.discard(transport))

    def _note(self, outcome: str) -> None:
        house, request = self._house, self._request
        house.admission.account.note_http(
            request,
            outcome,
            status=self._status,
            duration=house.loop.time() - request.began,
            sizes=(self._up, self._down),
        )
