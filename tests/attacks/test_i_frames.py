"""I. Frames: well-formed ones pass untouched, the others never arrive."""

from __future__ import annotations

import contextlib
import random
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.attacks.scene import LONGEST, good
from tests.harness import frames
from tests.harness.peer import pour
from tests.harness.probe import Probe
from tests.harness.process import MB, SLOWNESS, Watch, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.client import Client, Door
    from tests.harness.gateway import Gateway
    from tests.harness.upstream import Upstream, UpstreamConnection

pytestmark = pytest.mark.timeout(90)

DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"
Mask = bytes | None


@contextlib.contextmanager
def session(
    door: Door, upstream: Upstream, target: str = "/app", *, deflate: bool = False
) -> Iterator[tuple[Client, UpstreamConnection]]:
    """Both ends of one open session, in the hands of the test."""
    lines = (DEFLATE,) if deflate else ()
    with upstream.by_hand():
        client = door.send(good(target, lines=lines))
        connection = upstream.connection()
        connection.accept(*lines)
        assert client.read_response().status == 101
        yield client, connection


@pytest.fixture
def probe(door: Door, other: Upstream) -> Iterator[Probe]:
    """A well-behaved session on another route."""
    with Probe(door.open(good("/other"))) as probe:
        yield probe
    assert other.count


# -- P69


def random_frames(
    chance: random.Random, count: int, *, masked: bool
) -> tuple[bytes, Counter[int], int]:
    """A stream of well-formed frames, how many of each opcode, and how many messages."""
    pool = chance.randbytes(200_000)
    parts, opcodes, messages, open_message = [], Counter[int](), 0, False
    for _ in range(count):
        if chance.random() < 0.15:
            opcode, size, fin = (
                chance.choice((frames.PING, frames.PONG)),
                chance.randint(0, 125),
                True,
            )
        else:
            kind = frames.CONTINUATION if open_message else chance.choice((1, 2))
            opcode, fin = kind, chance.random() < 0.6
            size = chance.choice((chance.randint(0, 125), chance.randint(0, 2000)))
            if chance.random() < 0.1:
                size = chance.choice((125, 126, 65535, 65536, chance.randint(0, 70_000)))
            open_message = not fin
            messages += fin
        rsv = 4 if opcode in {1, 2} and chance.random() < 0.3 else 0
        mask = chance.randbytes(4) if masked else None
        at = chance.randint(0, len(pool) - size)
        # What stands behind a random mask is random: the payload need not be masked.
        parts += [frames.header(opcode, size, fin=fin, rsv=rsv, mask=mask), pool[at : at + size]]
        opcodes[opcode] += 1
    if open_message:
        parts.append(frames.header(frames.CONTINUATION, 0, mask=frames.MASK if masked else None))
        opcodes[frames.CONTINUATION] += 1
        messages += 1
    return b"".join(parts), opcodes, messages


def series(metrics: dict[str, float], name: str, **labels: str) -> float:
    """The value of one series, whatever order its labels are exposed in; 0 when it is absent."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(
        value
        for found, value in metrics.items()
        if found.startswith(name + "{") and all(label in found for label in wanted)
    )


OPCODES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}


@pytest.mark.slow
def test_p69_random_frames_pass_byte_by_byte_and_are_counted(
    door: Door, upstream: Upstream, gateway: Gateway
) -> None:
    chance = random.Random(6455)
    up, up_opcodes, up_messages = random_frames(chance, 10_000, masked=True)
    down, down_opcodes, down_messages = random_frames(chance, 10_000, masked=False)
    goodbye = frames.close_payload(1000)
    before = gateway.metrics()
    with session(door, upstream, deflate=True) as (client, connection):
        client.timeout = connection.timeout = 30
        with ThreadPoolExecutor(1) as beside:
            falls = beside.submit(pour, connection, client, down, segments=random.Random(2))
            pour(client, connection, up, segments=random.Random(1))
            falls.result()
        client.send(frames.masked(frames.CLOSE, goodbye))
        connection.expect_close(1000)
        connection.send(frames.frame(frames.CLOSE, goodbye))
        client.expect_close(1000)
        connection.close()
        client.expect_end(2)
    assert wait_until(lambda: series(gateway.metrics(), "wskeeper_connections", route="app") == 0)
    after = gateway.metrics()

    def grown(name: str, **labels: str) -> float:
        labels["route"] = "app"
        return series(after, name, **labels) - series(before, name, **labels)

    for direction, data, opcodes, messages, close in (
        ("client_to_upstream", up, up_opcodes, up_messages, 6 + len(goodbye)),
        ("upstream_to_client", down, down_opcodes, down_messages, 2 + len(goodbye)),
    ):
        assert grown("wskeeper_bytes_total", direction=direction) == len(data) + close
        assert grown("wskeeper_messages_total", direction=direction) == messages
        opcodes[frames.CLOSE] += 1
        for opcode, name in OPCODES.items():
            counted = grown("wskeeper_frames_total", direction=direction, opcode=name)
            assert counted == opcodes[opcode], (direction, name)


# -- P70, P71


def test_p70_pings_are_answered_by_the_other_end_only(door: Door, upstream: Upstream) -> None:
    with session(door, upstream) as (client, connection):
        ping = frames.masked(frames.PING, b"are you there")
        client.send(ping)
        assert connection.read_exactly(len(ping)) == ping
        client.expect_silence(0.3)
        connection.send(frames.frame(frames.PONG, b"are you there"))
        assert client.read_frame().opcode == frames.PONG
        connection.send(frames.frame(frames.PING, b"and you?"))
        assert client.read_frame().payload == b"and you?"
        connection.expect_silence(0.3)
        pong = frames.masked(frames.PONG, b"unasked")
        client.send(pong)
        assert connection.read_exactly(len(pong)) == pong


CLOSES = {
    "1000": frames.close_payload(1000),
    "1001": frames.close_payload(1001, "going away"),
    "1003": frames.close_payload(1003),
    "1014": frames.close_payload(1014),
    "3000": frames.close_payload(3000, "own"),
    "4999": frames.close_payload(4999, "é"),
    "empty": b"",
    "123 bytes": frames.close_payload(4000, "r" * 123),
    "not UTF-8": frames.close_payload(4001, b"\xff\xfe"),
}


@pytest.mark.parametrize("initiator", ["client", "upstream"])
def test_p71_closing_is_passed_on_unchanged_and_ends_both(
    door: Door, upstream: Upstream, initiator: str
) -> None:
    open_ends = []
    for case, payload in CLOSES.items():
        with session(door, upstream) as (client, connection):
            from_client = frames.frame(frames.CLOSE, payload, mask=b"\x9a\x8b\x7c\x6d")
            from_upstream = frames.frame(frames.CLOSE, payload)
            ways = [(client, from_client, connection), (connection, from_upstream, client)]
            for sender, raw, receiver in ways if initiator == "client" else reversed(ways):
                sender.send(raw)
                assert receiver.read_exactly(len(raw)) == raw, case
            open_ends += [client, connection]
    # Neither end closes its socket: the gateway does.
    for end in open_ends:
        end.expect_end(1.2)


def test_p71_an_unanswered_close_ends_at_the_deadline(door: Door, upstream: Upstream) -> None:
    for close_first in (0, 1):
        with session(door, upstream) as ends:
            ends[close_first].send(
                frames.frame(
                    frames.CLOSE,
                    frames.close_payload(1000),
                    mask=None if close_first else frames.MASK,
                )
            )
            ends[1 - close_first].expect_close(1000)
            for end in ends:
                end.read_to_end(2)


# -- P72, P73: what may not pass


def violations(mask: Mask) -> dict[str, tuple[bytes, bytes]]:
    """By name: what is well-formed before, and the bytes that are not."""
    wrong = None if mask else frames.MASK
    size = frames.close_payload

    def of(opcode: int, payload: bytes = b"", **fields: Any) -> bytes:
        return frames.frame(opcode, payload, mask=mask, **fields)

    opening = of(frames.TEXT, b"part", fin=False)
    return {
        "wrong masking": (b"", frames.frame(frames.TEXT, b"hello", mask=wrong)),
        "wrong masking later": (of(frames.TEXT, b"x"), frames.frame(1, b"hello", mask=wrong)),
        "wrong masking of a ping": (b"", frames.frame(frames.PING, b"hello", mask=wrong)),
        "RSV1 without extension": (b"", of(frames.TEXT, b"x", rsv=4)),
        "RSV2": (b"", of(frames.TEXT, b"x", rsv=2)),
        "RSV3": (b"", of(frames.TEXT, b"x", rsv=1)),
        **{f"opcode {n}": (b"", of(n, b"x")) for n in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
        "ping of 126 bytes": (b"", of(frames.PING, b"p" * 126)),
        "close of 126 bytes": (b"", of(frames.CLOSE, size(1000, "r" * 124))),
        "fragmented ping": (b"", of(frames.PING, b"x", fin=False)),
        "fragmented close": (b"", of(frames.CLOSE, size(1000), fin=False)),
        "text within a message": (opening, of(frames.TEXT, b"x")),
        "binary within a message": (opening, of(frames.BINARY, b"x", fin=False)),
        "continuation of nothing": (b"", of(frames.CONTINUATION, b"x")),
        "16-bit length for 5 bytes": (b"", of(frames.TEXT, b"hello", form=16)),
        "64-bit length for 5 bytes": (b"", of(frames.TEXT, b"hello", form=64)),
        "64-bit length for 200 bytes": (b"", of(frames.TEXT, b"h" * 200, form=64)),
        "64-bit length for 65535 bytes": (b"", of(frames.TEXT, b"h" * 65535, form=64)),
        "length with the top bit": (b"", frames.header(2, 1 << 63, mask=mask, form=64)),
        "length of all ones": (b"", frames.header(2, (1 << 64) - 1, mask=mask, form=64)),
        "close of 1 byte": (b"", of(frames.CLOSE, b"\x03")),
        **{
            f"close with {code}": (b"", of(frames.CLOSE, size(code)))
            for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
        },
    }


@pytest.mark.parametrize("pieces", ["whole", "byte by byte"])
@pytest.mark.parametrize("offender", ["client", "upstream"])
def test_p72_p73_malformed_frames_end_the_connection_and_do_not_travel(
    door: Door, upstream: Upstream, gateway: Gateway, offender: str, pieces: str
) -> None:
    cases = violations(frames.MASK if offender == "client" else None)
    open_ends = []
    with Watch(gateway.pid) as watch:
        for case, (before, wrong) in cases.items():
            with session(door, upstream) as (client, connection):
                guilty, innocent = (
                    (client, connection) if offender == "client" else (connection, client)
                )
                guilty.send(before)
                try:
                    if pieces == "whole":
                        guilty.send(wrong)
                    else:
                        for at in range(min(len(wrong), 20)):
                            guilty.send(wrong[at : at + 1])
                except ConnectionError:
                    pass  # it was cut off before the last byte
                try:
                    guilty.expect_close(1002, "protocol_error")
                    assert innocent.read_exactly(len(before)) == before
                    innocent.expect_close(1001, "peer_error")
                except (AssertionError, OSError) as error:
                    raise AssertionError(f"{case}: {error}") from error
                open_ends += [guilty, innocent]
        for end in open_ends:
            end.expect_end(2)
    assert watch.seconds < 2 * SLOWNESS


def test_p73_a_monstrous_length_costs_nothing(
    door: Door, upstream: Upstream, gateway: Gateway
) -> None:
    """2^63-1 is a lawful length: it may pass, or be turned away, but not be waited for."""
    header = frames.header(frames.BINARY, (1 << 63) - 1, mask=frames.MASK)
    with session(door, upstream) as (client, connection), Watch(gateway.pid) as watch:
        client.send(header + b"0123456789")
        heard = connection.read_some(1)
        assert heard[:14] in {header, b""} or heard[0] == 0x88, heard
        client.expect_silence(0.5)
    assert watch.growth < 1 * MB
    assert watch.seconds < 0.2 * SLOWNESS


# -- P74 to P78: size and number


def test_p74_a_declared_gigabyte_is_not_allocated(
    door: Door, upstream: Upstream, gateway: Gateway
) -> None:
    begun = frames.header(frames.BINARY, 1_000_000_000, mask=frames.MASK) + b"0123456789"
    with session(door, upstream) as (client, connection), Watch(gateway.pid) as watch:
        client.send(begun)
        assert connection.read_exactly(len(begun)) == begun
        client.expect_silence(0.3)
    assert watch.growth < 1 * MB


def messages_of_the_limit(mask: Mask) -> list[bytes]:
    """Messages as long as they may be: in one frame, in two with a ping between, after another."""

    def of(opcode: int, size: int, *, fin: bool = True) -> bytes:
        return frames.frame(opcode, b"m" * size, fin=fin, mask=mask)

    return [
        of(frames.BINARY, LONGEST),
        of(frames.TEXT, 400, fin=False) + of(frames.PING, 125) + of(0, LONGEST - 400),
        of(frames.TEXT, LONGEST) + of(frames.TEXT, 1),
        of(frames.TEXT, LONGEST, fin=False) + of(0, 0),
    ]


def messages_above_the_limit(mask: Mask) -> dict[str, tuple[bytes, bytes]]:
    """By name: what passes, and the frame that makes its message too long."""

    def of(opcode: int, size: int, *, fin: bool = True) -> bytes:
        return frames.frame(opcode, b"m" * size, fin=fin, mask=mask)

    return {
        "one frame": (b"", of(frames.BINARY, LONGEST + 1)),
        "one frame behind a message": (of(frames.TEXT, LONGEST), of(frames.TEXT, LONGEST + 1)),
        "a header that says so": (b"", frames.header(2, LONGEST + 1, mask=mask)),
        "a header that says 1 TB": (b"", frames.header(2, 1 << 40, mask=mask)),
        "the last fragment": (of(frames.TEXT, LONGEST, fin=False), of(0, 1)),
        "a fragment in the middle": (
            of(frames.TEXT, 600, fin=False) + of(frames.PING, 3) + of(0, 400, fin=False),
            of(0, 1, fin=False),
        ),
        "many small fragments": (
            of(frames.TEXT, 1, fin=False) + of(0, 1, fin=False) * (LONGEST - 1),
            of(0, 1, fin=False),
        ),
    }


@pytest.mark.parametrize("pieces", ["whole", "byte by byte"])
@pytest.mark.parametrize("sender", ["client", "upstream"])
def test_p75_a_message_is_as_long_as_it_may_be_and_no_longer(
    door: Door, upstream: Upstream, sender: str, pieces: str
) -> None:
    mask = frames.MASK if sender == "client" else None
    open_ends: list[Client | UpstreamConnection] = []
    for case, (right, wrong) in messages_above_the_limit(mask).items():
        with session(door, upstream, "/sized") as ends:
            talker, listener = ends if sender == "client" else reversed(ends)
            before = b"".join(messages_of_the_limit(mask)) + right
            talker.send(before)
            assert listener.read_exactly(len(before)) == before, case
            step = 1 if pieces == "byte by byte" else len(wrong)
            with contextlib.suppress(ConnectionError):  # it may be cut off before the last byte
                for at in range(0, len(wrong), step):
                    talker.send(wrong[at : at + step])
            try:
                talker.expect_close(1009, "message_too_big")
                listener.expect_close(1001, "peer_error")
            except (AssertionError, OSError) as error:
                raise AssertionError(f"{case}: {error}") from error
            open_ends += ends
    for end in open_ends:
        end.expect_end(2)


def fragments(count: int, payload: bytes) -> bytes:
    """A binary message in `count` fragments of the same payload."""
    first = frames.masked(frames.BINARY, payload, fin=False)
    middle = frames.masked(frames.CONTINUATION, payload, fin=False)
    return first + middle * (count - 2) + frames.masked(frames.CONTINUATION, payload)


def pings(count: int) -> bytes:
    payload = b"p" * 117
    return b"".join(
        frames.header(frames.PING, 125, mask=frames.MASK) + number.to_bytes(8, "big") + payload
        for number in range(count)
    )


FLOODS = {
    "p76 100 000 empty fragments": lambda: fragments(100_000, b""),
    "p76 1 MB in 1-byte fragments": lambda: fragments(1_000_000, b"x"),
    "p77 200 000 pings": lambda: pings(200_000),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", FLOODS)
def test_p76_p77_floods_of_small_frames_pass_in_order_and_harm_nobody(
    door: Door, upstream: Upstream, gateway: Gateway, probe: Probe, case: str
) -> None:
    flood = FLOODS[case]()
    quiet = probe.baseline()
    with session(door, upstream) as (client, connection):
        with Watch(gateway.pid) as watch:
            pour(client, connection, flood)
        client.send(frames.masked(frames.TEXT, b"last"))
        assert connection.read_frame().payload == b"last"
    assert watch.growth < 2 * MB, f"{watch.growth / MB:.2f} MB"
    probe.assert_unaffected(quiet)


def flood_until_reset(client: Client) -> None:
    flood = frames.masked(frames.PING) * 40_000
    with contextlib.suppress(ConnectionError):
        while True:
            client.send(flood)


@pytest.mark.slow
def test_p77_a_flood_behind_the_gateways_close_harms_nobody(
    door: Door, upstream: Upstream, probe: Probe
) -> None:
    quiet = probe.baseline()
    with session(door, upstream, "/sized") as (client, _):
        client.send(frames.masked(frames.BINARY, bytes(LONGEST + 1)))
        client.expect_close(1009, "message_too_big")
        flood_until_reset(client)  # When the time that it has to answer is over.
    probe.assert_unaffected(quiet)


def test_p78_a_compressed_bomb_is_only_bytes(
    door: Door, upstream: Upstream, gateway: Gateway
) -> None:
    compressor = zlib.compressobj(9, wbits=-15)
    block = compressor.compress(bytes(16 * 1024 * 1024)) + compressor.flush(zlib.Z_FULL_FLUSH)
    bomb = block * 64  # inflates to 1 GiB
    assert len(bomb) < 2 * MB
    with (
        session(door, upstream, deflate=True) as (client, connection),
        Watch(gateway.pid) as watch,
    ):
        pour(client, connection, frames.masked(frames.BINARY, bomb, rsv=4))
        pour(connection, client, frames.frame(frames.BINARY, bomb, rsv=4))
    assert watch.growth < 2 * MB, f"{watch.growth / MB:.2f} MB"
    assert watch.seconds < 0.5 * SLOWNESS


def test_p78_compressed_fragments_pass_unchanged(door: Door, upstream: Upstream) -> None:
    compressed = zlib.compress(b"hello" * 100, wbits=-15)[:-1]
    message = (
        frames.masked(frames.TEXT, compressed[:3], rsv=4, fin=False)
        + frames.masked(frames.PING, b"between")
        + frames.masked(frames.CONTINUATION, compressed[3:])
    )
    with session(door, upstream, deflate=True) as (client, connection):
        pour(client, connection, message)
