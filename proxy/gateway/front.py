"""The front door: one small protocol per accepted connection, until it is known what it wants.

It collects one request head under a deadline. A request for the gateway's own plain HTTP service
goes to aiohttp, bytes and all; everything else is judged here, dialled for, and answered once.
After the 101 both sockets belong to a session and the door is gone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

from proxy.auth.question import NotAtOnce
from proxy.errors import UPSTREAM_REFUSED, Refused, close_code_for
from proxy.gateway.early import EarlyData
from proxy.gateway.exchange import Exchange
from proxy.gateway.first_message import FirstMessageDoor
from proxy.gateway.lingering import LINGER, Lingering
from proxy.gateway.request import hears_close
from proxy.handshake.client import peer_address, text_of
from proxy.handshake.client_certificate import subject_of
from proxy.handshake.collect import HeadCollector, whole_head
from proxy.handshake.head import Malformed, TooManyHeaders, parse_request
from proxy.handshake.reply import accepting_to_refuse, refusing, relaying, selected_by_us, switching
from proxy.relay.commands import Side
from proxy.relay.frames import close_frame
from proxy.relay.scanner import Extensions, Scanner, Traffic

if TYPE_CHECKING:
    from proxy.gateway.house import House
    from proxy.gateway.request import HandshakeRequest
    from proxy.handshake.client import Address
    from proxy.handshake.head import AnswerHead
    from proxy.relay.first_message_rule import FirstMessageRule
    from proxy.sessions.live import LiveSession
    from proxy.upstream.dialer import Dial

_MALFORMED: Final = "Send a well-formed HTTP/1.1 request head."


class FrontDoor(asyncio.Protocol):
    """One connection that is not a session yet."""

    __slots__ = (
        "_answer_head",
        "_began",
        "_collecting",
        "_collector",
        "_dial",
        "_early",
        "_house",
        "_request",
        "_source",
        "_transport",
        "_verdict",
    )

    _transport: asyncio.Transport

    def __init__(self, house: House, peer: Address | None = None) -> None:
        self._house = house
        # Of the client, where the socket's own is that of a balancer; else None.
        self._source = peer
        # Whether the head is not complete yet; the collector is made when it does not come whole.
        self._collecting = True
        self._collector: HeadCollector | None = None
        # Set while it is being found out who is calling.
        self._verdict: asyncio.Task[None] | None = None
        # Set while the upstream is dialled.
        self._dial: Dial | None = None
        self._request: HandshakeRequest | None = None
        # Set while the body of the upstream's refusal is read.
        self._answer_head: AnswerHead | None = None
        # Made when something comes before there is an upstream.
        self._early: EarlyData | None = None
        self._began = 0.0

    # The socket --------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._began = self._house.waiting.add(self)

    def data_received(self, data: bytes) -> None:
        if not self._collecting:
            self._hold(data)
            return
        collected = None if self._collector else whole_head(data, self._house.head_size)
        if collected is None:
            try:
                collected = self._collect(data)
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
        self._collecting = False
        if self._begun:
            self._refuse(Refused("head_timeout", "Send the whole request head at once."), None)
        else:
            self._transport.abort()

    def resume(self, transport: asyncio.Transport, data: bytes) -> None:
        """Takes over a kept-alive connection on which a new request begins with `data`."""
        transport.set_protocol(self)
        self.connection_made(transport)
        self.data_received(data)

    def _collect(self, data: bytes) -> tuple[bytes, bytes] | None:
        """A head that comes in pieces, and what stands behind it, once it is complete.

        Raises:
            Refused: it will never be.
        """
        if self._collector is None:
            self._collector = HeadCollector(self._house.head_size)
        return self._collector.feed(data)

    @property
    def _begun(self) -> bool:
        """Whether anything of a head arrived."""
        return self._collector is not None and self._collector.begun

    def _leave(self) -> None:
        """The head is complete, or will never be: its deadline is over."""
        self._collecting = False
        self._house.waiting.discard(self)

    def _hold(self, data: bytes) -> None:
        """Keeps early data for the upstream, in bounds."""
        if self._early is None:
            self._early = EarlyData(self._transport)
        self._early.add(data)

    def _client_left(self) -> None:
        if self._request is not None:
            self.give_up()
        elif self._collecting:
            self._leave()
            if self._begun:
                admission = self._house.admission
                admission.account.note_client_gone(
                    None, client=text_of(self._peer()), id=admission.new_id()
                )

    def _peer(self) -> Address:
        if self._source is not None:
            return self._source
        return peer_address(self._transport.get_extra_info("peername"))

    # The request -------------------------------------------------------------------------------

    def _on_head(self, raw: bytes, rest: bytes) -> None:
        house = self._house
        admission = house.admission
        request = None
        shown = self._transport.get_extra_info("peercert") if house.secure else None
        try:
            head = parse_request(raw)
            if house.plain.serves(head):
                house.plain.take(self._transport, head, raw, rest, self._source)
                return
            request = admission.receive(
                head,
                self._peer(),
                secure=house.secure,
                began=self._began,
                certificate=subject_of(shown) if shown else None,
            )
            admission.judge(request)
            rule = admission.awaits(request)
            if rule is not None:
                self._hear_first_message(request, rule, rest)
                return
            if rest:
                self._hold(rest)
            admission.identify(request)
            self._call_upstream(request)
        except NotAtOnce:
            assert request is not None
            self._look_caller_up(request)
        except Refused as refused:
            self._refuse(refused, request)
        except TooManyHeaders:
            self._refuse(Refused("head_too_large", "Send fewer headers."), None)
        except Malformed:
            self._refuse(Refused("bad_request", _MALFORMED), None)
        except Exception as failure:  # noqa: BLE001 - an unknown failure is a refusal
            self._fail(failure, request)

    def _hear_first_message(
        self, request: HandshakeRequest, rule: FirstMessageRule, rest: bytes
    ) -> None:
        """Lets a client in that is to say who it is."""
        crowded = self._house.crowded()
        if crowded is not None:
            raise crowded
        FirstMessageDoor(self._house, request, rule, self._transport).begin(rest)

    def _look_caller_up(self, request: HandshakeRequest) -> None:
        """Waits for who is calling."""
        house = self._house
        crowded = house.crowded()
        if crowded is not None:
            self._refuse(crowded, request)
            return
        house.unproven += 1
        house.opening.add(self)
        self._request = request
        self._verdict = house.loop.create_task(
            house.admission.identify_slowly(request), name="identify"
        )
        self._verdict.add_done_callback(self._looked_up)

    def _looked_up(self, verdict: asyncio.Task[None]) -> None:
        """It is known who is calling, or nobody waits for it any more."""
        house, request = self._house, self._request
        house.unproven -= 1
        self._verdict = None
        # A client that is still there is not let in by what never came to an end.
        failure = RuntimeError("cancelled") if verdict.cancelled() else verdict.exception()
        if request is None:
            return
        self._request = None
        house.opening.discard(self)
        if isinstance(failure, Refused):
            self._refuse(failure, request)
        elif failure is not None:
            self._fail(failure, request)
        else:
            try:
                self._call_upstream(request)
            except Refused as refused:
                self._refuse(refused, request)
            except Exception as fault:  # noqa: BLE001 - an unknown failure is a refusal
                self._fail(fault, request)

    def _call_upstream(self, request: HandshakeRequest) -> None:
        if request.ordinary:
            self._house.admission.check_again(request)
            early = b"" if self._early is None else self._early.taken()
            Exchange(self._house, request, self._transport, self._source).begin(early)
            return
        self._dial = self._house.admission.dial(request, self)
        self._request = request
        self._house.opening.add(self)

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
        self._house.admission.account.note_upstream_refusal(request, answer.status)
        if self._refuses_with_close(request):
            self._close_with(answer.status, UPSTREAM_REFUSED, request)
        else:
            self._answer(relaying(answer, body, request_id=request.id))

    def give_up(self) -> None:
        """The client is gone, or the gateway is, before there was an answer."""
        request = self._request
        assert request is not None
        verdict, dial = self._verdict, self._dial
        self._dial_over()
        if dial is not None:
            dial.cancel()
        if verdict is not None:
            verdict.cancel()
        admission = self._house.admission
        admission.release(request)
        admission.account.note_client_gone(request, client="", id=request.id)
        self._transport.abort()

    def _dial_over(self) -> None:
        self._house.opening.discard(self)
        self._dial = None
        self._request = None

    def _begin(
        self, session: LiveSession, request: HandshakeRequest, answer: AnswerHead, dial: Dial
    ) -> None:
        """Answers 101 and lets the bytes flow, those that came early first."""
        subprotocol = selected_by_us(request.head.headers, answer)
        transport = self._transport
        transport.write(switching(answer, request_id=session.id, subprotocol=subprotocol))
        assert request.route is not None
        self._house.hold_to(request.route, transport)
        session.begin(transport, dial.transport)
        if dial.behind:
            session.legs[Side.UPSTREAM].data_received(dial.behind)
        if self._early is not None:
            # To whoever has the socket now: what came behind may have ended it all.
            receiver = cast("asyncio.Protocol", transport.get_protocol())
            receiver.data_received(self._early.taken())

    # Saying no ---------------------------------------------------------------------------------

    def _fail(self, failure: BaseException, request: HandshakeRequest | None) -> None:
        admission = self._house.admission
        name = request.id if request is not None else admission.new_id()
        admission.account.note_failure(failure, request, client=text_of(self._peer()), id=name)
        self._refuse(Refused("internal_error", "The gateway failed; its log says how."), request)

    def _refuse(self, refused: Refused, request: HandshakeRequest | None) -> None:
        admission = self._house.admission
        name = request.id if request is not None else admission.new_id()
        if request is not None:
            admission.release(request)
        admission.account.note_refusal(refused, request, client=text_of(self._peer()), id=name)
        if request is not None and self._refuses_with_close(request, refused):
            self._close_with(refused.row.status, refused.code, request)
        else:
            with_body = request is None or request.head.method != b"HEAD"
            self._answer(refusing(refused, request_id=name, with_body=with_body))

    def _refuses_with_close(
        self, request: HandshakeRequest, refused: Refused | None = None
    ) -> bool:
        """Whether this client hears its refusal as a Close frame, and there is room for it."""
        return hears_close(request) and self._house.has_room_for(request, refused)

    def _answer(self, answer: bytes) -> None:
        """Writes the only answer this connection gets."""
        house, transport = self._house, self._transport
        if transport.is_closing():
            return
        transport.write(answer)
        house.lingering.add(transport)
        Lingering(transport, seconds=LINGER, gone=lambda: house.lingering.discard(transport))

    def _close_with(self, status: int, reason: str, request: HandshakeRequest) -> None:
        house, transport = self._house, self._transport
        if transport.is_closing():
            return
        transport.write(accepting_to_refuse(request.head.headers, request_id=request.id))
        assert request.route is not None
        code = request.route.close_codes.get(reason) or close_code_for(status)
        transport.write(close_frame(code, reason))
        house.unproven += 1
        house.lingering.add(transport)

        def gone() -> None:
            house.unproven -= 1
            house.lingering.discard(transport)

        scanner = Scanner(masked=True, extensions=Extensions.NONE, traffic=Traffic())
        Lingering(transport, seconds=house.close_timeout, gone=gone, scanner=scanner)
