"""A session under events in any order: what may never happen, and that it always ends.

`Rig` checks after every event that no byte goes to a leg behind our FIN, Close or its loss, that
at most one Close frame of ours goes to a side and only at a frame boundary, that what a peer got
is what the other sent, and that every wait has a deadline.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy import errors
from proxy.relay.commands import Side
from proxy.relay.scanner import Extensions
from proxy.relay.session import Phase
from tests.harness import frames
from tests.unit.relay.rig import Rig

ENDINGS = (
    errors.DRAINING,
    errors.CLIENT_STALLED,
    errors.UPSTREAM_STALLED,
    errors.FAILED,
    errors.UPSTREAM_LOST,
)
sides = st.sampled_from(Side)


class AnyOrder(RuleBasedStateMachine):
    """Two peers that do what they want, and sockets that do as they are told, sometime."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig(Extensions.DEFLATE, max_message=400)
        # What each peer has prepared and not sent yet, and whether a message is open in it.
        self.prepared = [b"", b""]
        self.open_message = [False, False]

    # What peers do

    @rule(side=sides, size=st.sampled_from((0, 1, 125, 126, 300)), fin=st.booleans())
    def prepares_a_data_frame(self, side: Side, size: int, *, fin: bool) -> None:
        opcode = frames.CONTINUATION if self.open_message[side] else frames.BINARY
        self.open_message[side] = not fin
        self.prepared[side] += self.rig.peers[side].frame(opcode, b"d" * size, fin=fin)

    @rule(side=sides, opcode=st.sampled_from((frames.PING, frames.PONG)))
    def prepares_a_control_frame(self, side: Side, opcode: int) -> None:
        self.prepared[side] += self.rig.peers[side].frame(opcode, b"payload")

    @rule(side=sides, code=st.sampled_from((1000, 4321)))
    def prepares_a_close(self, side: Side, code: int) -> None:
        self.prepared[side] += self.rig.peers[side].close_frame(code, "from a peer")

    @rule(side=sides, breach=st.sampled_from((b"\x83\x00", b"\x83\x80", b"\x09\x00")))
    def prepares_a_breach(self, side: Side, breach: bytes) -> None:
        self.prepared[side] += breach

    @rule(side=sides, share=st.sampled_from((0.01, 0.3, 0.9, 1.0)))
    def sends(self, side: Side, share: float) -> None:
        prepared, peer = self.prepared[side], self.rig.peers[side]
        if not prepared or not peer.readable:
            return
        size = max(1, int(len(prepared) * share))
        self.prepared[side] = prepared[size:]
        peer.sends(prepared[:size])

    @rule(side=sides)
    def fins(self, side: Side) -> None:
        if self.rig.peers[side].readable:
            self.rig.peers[side].fins()

    @rule(side=sides)
    def resets(self, side: Side) -> None:
        if not self.rig.peers[side].lost:
            self.rig.peers[side].resets()

    @rule(side=sides)
    def hangs_up(self, side: Side) -> None:
        """TLS: a peer's end is the end of its socket."""
        if self.rig.peers[side].readable:
            self.rig.peers[side].hangs_up()

    # What the gateway and its sockets do

    @rule(side=sides)
    def socket_closes(self, side: Side) -> None:
        peer = self.rig.peers[side]
        if (peer.closed or peer.aborted) and not peer.lost:
            peer.hangs_up()

    @rule(ending=st.sampled_from(ENDINGS))
    def gateway_ends(self, ending: errors.Ending) -> None:
        if not all(peer.lost for peer in self.rig.peers):
            self.rig.gateway_ends(ending)

    @precondition(lambda self: self.rig.deadline is not None)
    @rule()
    def time_is_over(self) -> None:
        self.rig.time_is_over()

    # What always holds

    @invariant()
    def account_is_settled_once_it_ends(self) -> None:
        session = self.rig.session
        if session.phase in {Phase.ENDING, Phase.CLOSED}:
            assert session.initiator in {"client", "upstream", "gateway"}
            assert self.rig.diverted or all(p.lost or p.aborted for p in self.rig.peers)

    @invariant()
    def what_travelled_is_counted_and_nothing_else(self) -> None:
        for side, scanner in zip(Side, self.rig.session.scanners, strict=True):
            passed = scanner.bytes - len(scanner.held)
            assert passed == len(self.rig.peers[side.other].relayed)

    @invariant()
    def end_is_the_end(self) -> None:
        both_lost = all(peer.lost for peer in self.rig.peers)
        assert (self.rig.session.phase is Phase.ENDED) is both_lost

    def teardown(self) -> None:
        """With peers that neither answer nor read, deadlines alone end it."""
        self.rig.gateway_ends(errors.DRAINING)
        for _ in range(6):
            for peer in self.rig.peers:
                if peer.aborted and not peer.lost:
                    peer.hangs_up()
            if all(peer.lost for peer in self.rig.peers):
                return
            assert self.rig.deadline is not None, "it would wait for ever"
            self.rig.time_is_over()
        raise AssertionError("its deadlines never end it")


AnyOrder.TestCase.settings = settings(max_examples=200, stateful_step_count=25)
TestAnyOrder = AnyOrder.TestCase
