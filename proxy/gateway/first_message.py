"""A client that was let in to say who it is, before any upstream hears of it (docs/ways-in.md).

    HEARING    the gateway is the server: it answers pings, and waits for one text message
    VERIFYING  who that is is being looked up
    DIALLING   the upstream has been asked
    OVER       a session has the socket, or it is being closed

Whatever goes wrong is said in a Close frame; what arrives meanwhile is kept, in bounds.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, cast

from proxy.auth.question import NotAtOnce
from proxy.errors import (
    INTERNAL_ERROR,
    POLICY_VIOLATION,
    TRY_AGAIN_LATER,
    UPSTREAM_REFUSED,
    Refused,
)
from proxy.gateway.early import EarlyData
from proxy.gateway.lingering import Lingering
from proxy.handshake.forward import OUR_SUBPROTOCOL
from proxy.handshake.reply import accepting
from proxy.relay.commands import Side
from proxy.relay.first_message import Failed, FirstMessageReader, Left, Message, Pong
from proxy.relay.frames import close_frame

if TYPE_CHECKING:
    from proxy.deadlines import DeadlineQueue
    from proxy.gateway.house import House
    from proxy.gateway.request import HandshakeRequest
    from proxy.handshake.head import AnswerHead
    from proxy.relay.first_message_rule import FirstMessageRule
    from proxy.sessions.live import LiveSession
    from proxy.upstream.dialer import Dial


class _Phase(Enum):
    """Where such a client stands; see the module."""

    HEARING = "hearing"
    VERIFYING = "verifying"
    DIALLING = "dialling"
    OVER = "over"


class FirstMessageDoor(asyncio.Protocol):
    """One such client.

    Args:
        house: of the listener.
        request: judged, its caller unknown.
        rule: what the message must be.
        transport: of the client; nothing was answered on it.
    """

    __slots__ = (
        "_dial",
        "_due",
        "_early",
        "_house",
        "_message",
        "_phase",
        "_reader",
        "_request",
        "_rule",
        "_transport",
        "_unproven",
        "_verdict",
    )

    def __init__(
        self,
        house: House,
        request: HandshakeRequest,
        rule: FirstMessageRule,
        transport: asyncio.Transport,
    ) -> None:
        self._house = house
        self._request = request
        self._rule = rule
        self._transport = transport
        self._phase = _Phase.HEARING
        self._reader = FirstMessageReader(rule.max_size)
        self._early = EarlyData(transport)
        # Set once the message is complete.
        self._message: Message | None = None
        self._verdict: asyncio.Task[None] | None = None
        self._dial: Dial | None = None
        # Where its deadline is, while it has one.
        self._due: DeadlineQueue | None = None
        self._unproven = False

    def begin(self, rest: bytes) -> None:
        """Answers 101, and hears what follows.

        Args:
            rest: what arrived behind the head.
        """
        house, request = self._house, self._request
        assert request.route is not None
        subprotocol = _chosen(request.route.subprotocols, request)
        self._transport.set_protocol(self)
        self._transport.write(
            accepting(request.head.headers, request_id=request.id, subprotocol=subprotocol)
        )
        # The upstream is offered what the client was promised: one subprotocol, no extension.
        request.head = request.head.reoffering(
            None if subprotocol == OUR_SUBPROTOCOL else subprotocol
        )
        house.opening.add(self)
        house.unproven += 1
        self._unproven = True
        self._due = house.deadlines.lasting(request.route.timeouts.first_message)
        self._due.add(self)
        if rest:
            self.data_received(rest)

    # The socket --------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._phase is not _Phase.HEARING:
            self._early.add(data)
            return
        for decision in self._reader.feed(data):
            match decision:
                case Pong(frame):
                    self._transport.write(frame)
                case Message():
                    self._hear(decision)
                case Failed(code, reason, detail):
                    self._refuse(Refused("bad_request", cause=detail), code, reason)
                case Left(frame, _):
                    self._leave(frame)

    def eof_received(self) -> bool:
        if self._phase is not _Phase.OVER:
            self.give_up()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._phase is not _Phase.OVER:
            self.give_up()
        del self._transport  # TLS keeps its last protocol; see Leg.let_go.

    def overdue(self) -> None:
        """The message did not come in time."""
        self._due = None
        self._refuse(Refused("first_message_timeout"))

    def give_up(self) -> None:
        """The client is gone, or the gateway is."""
        transport = self._transport
        self._leave_off()
        self._house.admission.account.note_client_gone(
            self._request, client="", id=self._request.id
        )
        transport.abort()

    # Who it is ---------------------------------------------------------------------------------

    def _hear(self, message: Message) -> None:
        """The message has come: who sent it?"""
        self._phase = _Phase.VERIFYING
        self._message = message
        self._forget_deadline()
        self._early.add(message.rest)
        try:
            said = self._rule.token_in(message.payload).encode()
        except Refused as refused:
            self._refuse(self._counted(refused))
            return
        admission = self._house.admission
        try:
            admission.identify(self._request, said)
        except NotAtOnce:
            self._verdict = self._house.loop.create_task(
                admission.identify_slowly(self._request, said), name="identify"
            )
            self._verdict.add_done_callback(self._looked_up)
        except Refused as refused:
            self._refuse(refused)
        except Exception as failure:  # noqa: BLE001 - an unknown failure is a refusal
            self._fail(failure)
        else:
            self._call_upstream()

    def _counted(self, refused: Refused) -> Refused:
        """What a client hears whose message shows no credential: a guesser is to wait."""
        house, request = self._house, self._request
        assert request.route is not None
        limiter, address = request.rules.limiter, request.client.address
        return limiter.refusal(refused, request.route, address, house.loop.time())

    def _looked_up(self, verdict: asyncio.Task[None]) -> None:
        self._verdict = None
        # A client that is still there is not let in by what never came to an end.
        failure = RuntimeError("cancelled") if verdict.cancelled() else verdict.exception()
        if self._phase is not _Phase.VERIFYING:
            return
        if failure is None:
            self._call_upstream()
        elif isinstance(failure, Refused):
            self._refuse(failure)
        else:
            self._fail(failure)

    def _call_upstream(self) -> None:
        self._phase = _Phase.DIALLING
        self._proven()
        try:
            self._dial = self._house.admission.dial(self._request, self)
        except Refused as refused:
            self._refuse(refused)
        except Exception as failure:  # noqa: BLE001 - an unknown failure is a refusal
            self._fail(failure)

    # The upstream ------------------------------------------------------------------------------

    def answered(self, answer: AnswerHead) -> None:
        """The upstream has answered."""
        dial = self._dial
        assert dial is not None
        if answer.status >= 400:
            self._dial = None
            dial.transport.abort()
            admission = self._house.admission
            admission.account.note_upstream_refusal(self._request, answer.status)
            self._close(TRY_AGAIN_LATER, UPSTREAM_REFUSED)
            return
        try:
            session = self._house.admission.accept(
                self._request, answer, connected_in=dial.connected_in
            )
        except Refused as refused:
            dial.transport.abort()
            self._refuse(refused)
        except Exception as failure:  # noqa: BLE001 - an unknown failure is a refusal
            dial.transport.abort()
            self._fail(failure)
        else:
            self._begin_session(session, dial)

    def unanswered(self, refused: Refused) -> None:
        """There is no upstream."""
        self._refuse(refused)

    def broken(self, failure: BaseException) -> None:
        """Dialling failed in a way that nobody foresaw."""
        self._fail(failure)

    def body_read(self, body: bytes) -> None:
        """Nobody asked for a body: a Close frame has no room for it."""

    def _begin_session(self, session: LiveSession, dial: Dial) -> None:
        """Lets the bytes flow: the message if the upstream wants it, then what came behind it."""
        transport, message = self._transport, self._message
        assert message is not None
        self._phase = _Phase.OVER
        self._house.opening.discard(self)
        reply = self._rule.reply_frame
        if reply is not None:
            transport.write(reply)
        assert self._request.route is not None
        self._house.hold_to(self._request.route, transport)
        session.begin(transport, dial.transport)
        if dial.behind:
            session.legs[Side.UPSTREAM].data_received(dial.behind)
        first = message.raw if self._rule.forward else b""
        for data in (first, self._early.taken()):
            if data:  # To whoever has the socket now: what came first may have ended it all.
                cast("asyncio.Protocol", transport.get_protocol()).data_received(data)

    # Saying no ---------------------------------------------------------------------------------

    def _fail(self, failure: BaseException) -> None:
        self._house.admission.account.note_failure(
            failure, self._request, client="", id=self._request.id
        )
        self._refuse(Refused("internal_error"), INTERNAL_ERROR)

    def _refuse(self, refused: Refused, code: int | None = None, reason: str | None = None) -> None:
        self._house.admission.account.note_refusal(
            refused, self._request, client="", id=self._request.id
        )
        if code is None:
            code = TRY_AGAIN_LATER if refused.row.status >= 500 else POLICY_VIOLATION
        self._close(code, reason or refused.code)

    def _leave(self, frame: bytes) -> None:
        """The client has closed in good order."""
        self._house.admission.account.note_client_gone(
            self._request, client="", id=self._request.id
        )
        self._end_with(frame)

    def _close(self, code: int, reason: str) -> None:
        route = self._request.route
        assert route is not None
        self._end_with(close_frame(route.close_codes.get(reason, code), reason))

    def _end_with(self, frame: bytes) -> None:
        """Says goodbye, and waits for the client to hang up."""
        house, transport = self._house, self._transport
        self._leave_off()
        if transport.is_closing():
            return
        transport.write(frame)
        house.unproven += 1
        house.lingering.add(transport)

        def gone() -> None:
            house.unproven -= 1
            house.lingering.discard(transport)

        Lingering(transport, seconds=house.close_timeout, gone=gone, scanner=self._reader.scanner)

    def _leave_off(self) -> None:
        """Whatever is under way is not wanted any more."""
        self._phase = _Phase.OVER
        self._forget_deadline()
        self._proven()
        self._house.opening.discard(self)
        if self._verdict is not None:
            self._verdict.cancel()
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        self._house.admission.release(self._request)

    def _proven(self) -> None:
        """It does not count among those whose caller is unknown any more."""
        if self._unproven:
            self._unproven = False
            self._house.unproven -= 1

    def _forget_deadline(self) -> None:
        if self._due is not None:
            self._due.discard(self)
            self._due = None


def _chosen(supported: tuple[bytes, ...], request: HandshakeRequest) -> bytes | None:
    """The first subprotocol of the client's that the route may select, else ours if offered."""
    offered = request.head.headers.tokens(b"sec-websocket-protocol")
    ours = OUR_SUBPROTOCOL if OUR_SUBPROTOCOL in offered else None
    return next((name for name in offered if name in supported), ours)
