"""The front door: one small protocol per accepted connection, until it is known what it wants.

It collects one request head under a deadline. A request for the gateway's own plain HTTP service
goes to aiohttp, bytes and all; everything else is judged here, dialled for, and answered once.
After the 101 both sockets belong to a session and the door is gone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from proxy.errors import UPSTREAM_REFUSED, Refused, close_code_for
from proxy.gateway.lingering import LINGER, Lingering
from proxy.handshake.client import peer_address
from proxy.handshake.collect import HeadCollector
from proxy.handshake.forward import OUR_SUBPROTOCOL
from proxy.handshake.head import Malformed, RequestHead, TooManyHeaders, parse_request
from proxy.handshake.reply import accepting_to_refuse, refusing, relaying, switching
from proxy.handshake.request import check_handshake
from proxy.relay.frames import close_frame
from proxy.relay.session import Side

if TYPE_CHECKING:
    from proxy.deadlines import Deadlines
    from proxy.gateway.admission import Admission, HandshakeRequest
    from proxy.gateway.plain import PlainHttp
    from proxy.handshake.head import AnswerHead
    from proxy.sessions.live import LiveSession
    from proxy.upstream.dialer import Dial

# Bytes a client may send behind its head before the upstream has answered; then it is not read.
MAX_EARLY: Final = 64 * 1024

_MALFORMED: Final = "Send a well-formed HTTP/1.1 request head."


class House:
    """What all doors of a listener share.

    Args:
        admission: judges and dials.
        plain: the gateway's own HTTP service.
        head_size: bytes of a request head.
        head_timeout: seconds for it to be complete.
        close_timeout: seconds for a client to answer the Close of `refuse_with: close`.
        unauthenticated: how many sockets may wait for that at a time; None is no limit.
        secure: whether clients come over TLS.
    """

    def __init__(
        self,
        *,
        admission: Admission,
        plain: PlainHttp,
        head_size: int,
        head_timeout: float,
        close_timeout: float,
        unauthenticated: int | None,
        secure: bool,
        deadlines: Deadlines,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.admission = admission
        self.plain = plain
        self.head_size = head_size
        self.close_timeout = close_timeout
        self.unauthenticated = unauthenticated
        self.secure = secure
        self.loop = loop
        # Connections whose head is not complete.
        self.waiting = deadlines.lasting(head_timeout)
        # Sockets that hear their refusal in a Close frame.
        self.closing = 0
        # Transports that were answered and are not gone yet.
        self.lingering: set[asyncio.Transport] = set()
        # Doors whose upstream is being dialled.
        self.opening: set[FrontDoor] = set()

    def door(self) -> FrontDoor:
        """A protocol for a connection just accepted."""
        return FrontDoor(self)

    async def close(self) -> None:
        """Ends what has not become a session: silent connections, handshakes, answered sockets."""
        for door in self.waiting.clear():
            door.overdue()
        for opening in list(self.opening):
            opening.give_up()
        for transport in list(self.lingering):
            transport.abort()
        await self.plain.close()


class FrontDoor(asyncio.Protocol):
    """One connection that is not a session yet."""

    __slots__ = (
        "_answer_head",
        "_began",
        "_collector",
        "_dial",
        "_early",
        "_house",
        "_paused",
        "_request",
        "_transport",
    )

    _transport: asyncio.Transport

    def __init__(self, house: House) -> None:
        self._house = house
        self._collector: HeadCollector | None = HeadCollector(house.head_size)
        # Set while the upstream is dialled.
        self._dial: Dial | None = None
        self._request: HandshakeRequest | None = None
        # Set while the body of the upstream's refusal is read.
        self._answer_head: AnswerHead | None = None
        self._early = b""
        self._paused = False
        self._began = 0.0

    # The socket --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._began = self._house.waiting.add(self)

    def data_received(self, data: bytes) -> None:
        if self._collector is None:
            self._hold(data)
            return
        try:
            collected = self._collector.feed(data)
        except Refused as refused:
            self._leave()
            self._refuse(refused, None)
            return
        if collected is not None:
            self._leave()
            self._on_head(*collected)

    def eof_received(self) -> bool:
        self._client_left()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._client_left()
        del self._transport  # TLS keeps its last protocol; see Leg.let_go.

    def overdue(self) -> None:
        """The head did not come in time."""
        collector, self._collector = self._collector, None
        if collector is not None and collector.begun:
            self._refuse(Refused("head_timeout", "Send the whole request head at once."), None)
        else:
            self._transport.abort()

    def resume(self, transport: asyncio.Transport, data: bytes) -> None:
        """Takes over a kept-alive connection on which a new request begins with `data`."""
        transport.set_protocol(self)
        self.connection_made(transport)
        self.data_received(data)

    def _leave(self) -> None:
        """The head is complete, or will never be: its deadline is over."""
        self._collector = None
        self._house.waiting.discard(self)

    def _hold(self, data: bytes) -> None:
        """Keeps early data for the upstream, in bounds."""
        self._early += data
        if len(self._early) > MAX_EARLY and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _client_left(self) -> None:
        if self._dial is not None:
            self.give_up()
        elif self._collector is not None:
            begun = self._collector.begun
            self._leave()
            if begun:
                admission = self._house.admission
                admission.note_client_gone(None, client=self._peer(), id=admission.new_id())

    def _peer(self) -> str:
        return str(peer_address(self._transport.get_extra_info("peername")))

    # The request -------------------------------------------------------------------------------

    def _on_head(self, raw: bytes, rest: bytes) -> None:
        house = self._house
        request = None
        try:
            head = _parse(raw)
            if house.plain.serves(head):
                house.plain.take(self._transport, head, raw, rest)
                return
            request = house.admission.receive(
                head,
                peer_address(self._transport.get_extra_info("peername")),
                secure=house.secure,
                began=self._began,
            )
            house.admission.judge(request)
            self._dial = house.admission.dial(request, self)
        except Refused as refused:
            self._refuse(refused, request)
            return
        except Exception as failure:  # noqa: BLE001 - an unknown failure is a refusal
            self._fail(failure, request)
            return
        self._early = rest
        self._request = request
        house.opening.add(self)

    # The upstream ------------------------------------------------------------------------------

    def answered(self, answer: AnswerHead) -> None:
        """The upstream has answered: step 8, or its own refusal."""
        dial, request = self._dial, self._request
        assert dial is not None
        assert request is not None
        if answer.status >= 400:
            self._answer_head = answer
            dial.read_body(self)
            return
        self._dial_over()
        try:
            session = self._house.admission.accept(request, answer, connected_in=dial.connected_in)
        except Refused as refused:
            dial.transport.abort()
            self._refuse(refused, request)
        except Exception as failure:  # noqa: BLE001 - an unknown failure is a refusal
            dial.transport.abort()
            self._fail(failure, request)
        else:
            self._begin(session, request, answer, dial)

    def unanswered(self, refused: Refused) -> None:
        """There is no upstream."""
        request = self._request
        self._dial_over()
        self._refuse(refused, request)

    def broken(self, failure: BaseException) -> None:
        """Dialling failed in a way that nobody foresaw."""
        request = self._request
        self._dial_over()
        self._fail(failure, request)

    def body_read(self, body: bytes) -> None:
        """The upstream's own refusal is complete."""
        answer, request = self._answer_head, self._request
        assert answer is not None
        assert request is not None
        self._dial_over()
        self._house.admission.release(request)
        self._house.admission.note_upstream_refusal(request, answer.status)
        if self._refuses_with_close(request):
            self._close_with(close_code_for(answer.status), UPSTREAM_REFUSED, request)
        else:
            self._answer(relaying(answer, body, request_id=request.id))

    def give_up(self) -> None:
        """The client is gone, or the gateway is, before the upstream has answered."""
        dial, request = self._dial, self._request
        assert dial is not None
        assert request is not None
        self._dial_over()
        dial.cancel()
        self._house.admission.release(request)
        self._house.admission.note_client_gone(request, client="", id=request.id)
        self._transport.abort()

    def _dial_over(self) -> None:
        self._house.opening.discard(self)
        self._dial = None
        self._request = None

    def _begin(
        self, session: LiveSession, request: HandshakeRequest, answer: AnswerHead, dial: Dial
    ) -> None:
        """Answers 101 and lets the bytes flow, those that came early first."""
        offered = request.head.headers.tokens(b"sec-websocket-protocol")
        ours = OUR_SUBPROTOCOL in offered and b"sec-websocket-protocol" not in answer.headers
        subprotocol = OUR_SUBPROTOCOL if ours else None
        transport = self._transport
        transport.write(switching(answer, request_id=session.id, subprotocol=subprotocol))
        session.begin(transport, dial.transport)
        if dial.behind:
            session.legs[Side.UPSTREAM].data_received(dial.behind)
        if self._early:  # To whoever has the socket now: what came behind may have ended it all.
            receiver = cast("asyncio.Protocol", transport.get_protocol())
            receiver.data_received(self._early)
        if self._paused:
            transport.resume_reading()

    # Saying no ---------------------------------------------------------------------------------

    def _fail(self, failure: BaseException, request: HandshakeRequest | None) -> None:
        admission = self._house.admission
        name = request.id if request is not None else admission.new_id()
        admission.note_failure(failure, request, client=self._peer(), id=name)
        self._refuse(Refused("internal_error", "The gateway failed; its log says how."), request)

    def _refuse(self, refused: Refused, request: HandshakeRequest | None) -> None:
        admission = self._house.admission
        name = request.id if request is not None else admission.new_id()
        if request is not None:
            admission.release(request)
        admission.note_refusal(refused, request, client=self._peer(), id=name)
        if request is not None and self._refuses_with_close(request):
            self._close_with(close_code_for(refused.row.status), refused.code, request)
        else:
            with_body = request is None or request.head.method != b"HEAD"
            self._answer(refusing(refused, request_id=name, with_body=with_body))

    def _refuses_with_close(self, request: HandshakeRequest) -> bool:
        """Whether this client hears its refusal as a Close frame, as browsers must to hear it."""
        route, house = request.route, self._house
        if route is None or route.refuse_with == "http":
            return False
        if route.refuse_with == "auto" and b"origin" not in request.head.headers:
            return False
        try:
            check_handshake(request.head)
        except Refused:
            return False
        if house.unauthenticated is not None and house.closing >= house.unauthenticated:
            house.admission.note_limit(route.name, "unauthenticated", house.unauthenticated)
            return False
        return True

    def _answer(self, answer: bytes) -> None:
        """Writes the only answer this connection gets."""
        house, transport = self._house, self._transport
        if transport.is_closing():
            return
        transport.write(answer)
        house.lingering.add(transport)
        Lingering(transport, seconds=LINGER, gone=lambda: house.lingering.discard(transport))

    def _close_with(self, code: int, reason: str, request: HandshakeRequest) -> None:
        house, transport = self._house, self._transport
        if transport.is_closing():
            return
        transport.write(accepting_to_refuse(request.head.headers, request_id=request.id))
        transport.write(close_frame(code, reason))
        house.closing += 1
        house.lingering.add(transport)

        def gone() -> None:
            house.closing -= 1
            house.lingering.discard(transport)

        Lingering(transport, seconds=house.close_timeout, gone=gone, until_close=True)


def _parse(raw: bytes) -> RequestHead:
    try:
        return parse_request(raw)
    except TooManyHeaders:
        raise Refused("head_too_large", "Send fewer headers.") from None
    except Malformed:
        raise Refused("bad_request", _MALFORMED) from None
