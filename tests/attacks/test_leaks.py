"""P87: thousands of handshakes that fail at every stage leave a gateway as it was."""

from __future__ import annotations

import contextlib
import itertools
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.attacks.scene import BAD, GOOD, assert_refused, digest, good, refusing_port
from tests.harness import frames
from tests.harness.accounts import Accounts, log_faults
from tests.harness.certificates import Certificates
from tests.harness.client import Door
from tests.harness.gateway import Gateway
from tests.harness.heads import upgrade
from tests.harness.process import MB, SLOWNESS, rss, wait_until
from tests.harness.upstream import Upstream, UpstreamConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]

HANDSHAKES = 5000
CONCURRENCY = 8
COMBINATIONS = list(itertools.product(("uvloop", "asyncio"), ("tcp", "tls")))

HALF = frames.header(frames.BINARY, 1000, mask=frames.MASK) + b"half a frame"
CLOSE = frames.close_payload(1000)
# So many frames that the gateway stops in the midst of them to serve others.
FLOOD = frames.masked(frames.PING, b"x") * 8_000
FLOOD_DOWN = frames.frame(frames.PING, b"x") * 8_000


# By how much resident memory may grow; measuring coverage takes some as well.
ROOM = (5 if SLOWNESS == 1 else 10) * MB
# asyncio's TLS takes 240 KiB a session, so that the last few that are freed late weigh megabytes.
ROOM_FOR_ASYNCIO_TLS = 2 * ROOM
# What OpenSSL frees stays with the C library otherwise, as holes that look like a leak.
RETURNING_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "16384",
    "MALLOC_TRIM_THRESHOLD_": "16384",
}


# -- the upstream's part, chosen by the last segment of the path


def _never_answer(connection: UpstreamConnection) -> None:
    connection.keep_listening()


def _reset(connection: UpstreamConnection) -> None:
    connection.reset()


def _answer(raw: bytes) -> Callable[[UpstreamConnection], None]:
    def part(connection: UpstreamConnection) -> None:
        connection.send(raw)

    return part


def _wrong_accept(connection: UpstreamConnection) -> None:
    head = connection.switching()
    at = head.index(b"Accept: ") + 8
    connection.send(head[:at] + b"AAAA" + head[at + 4 :])
    connection.keep_listening()


def _reset_in_session(connection: UpstreamConnection) -> None:
    connection.send(connection.switching() + frames.header(frames.TEXT, 100) + b"half")
    connection.read_exactly(1)
    connection.reset()


def _echo(connection: UpstreamConnection) -> None:
    connection.send(connection.switching())
    while True:
        frame = connection.read_frame()
        connection.send(frames.frame(frame.opcode, frame.payload))
        if frame.opcode == frames.CLOSE:
            return


def _flood(connection: UpstreamConnection) -> None:
    connection.send(connection.switching() + FLOOD_DOWN)


def _hear(connection: UpstreamConnection) -> None:
    connection.send(connection.switching())
    connection.keep_listening()


PARTS: dict[str, Callable[[UpstreamConnection], None]] = {
    "never-answers": _never_answer,
    "resets": _reset,
    "closes": _answer(b""),
    "garbage": _answer(b"\x00\xffgarbage\r\n\r\n"),
    "half-a-line": _answer(b"HTTP/1.1 10"),
    "wrong-accept": _wrong_accept,
    "refuses": _answer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!"),
    "half-a-refusal": _answer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 300\r\n\r\nno!"),
    "resets-in-session": _reset_in_session,
    "floods": _flood,
    "hears": _hear,
    "echo": _echo,
}


def play(connection: UpstreamConnection) -> None:
    PARTS[connection.read_request().target.rpartition("/")[2]](connection)


# -- the clients' part


def half_a_head(door: Door) -> None:
    door.send(good()[:60]).reset()


def half_a_head_and_goodbye(door: Door) -> None:
    door.send(good()[:60]).close()


def no_byte_at_all(door: Door) -> None:
    door.connect().close()


def bad_key(door: Door) -> None:
    assert_refused(door.ask(upgrade("/app/echo", key=BAD)), 401, "key_unknown")


def gone_in_the_middle_of_a_refusal(door: Door) -> None:
    client = door.send(upgrade("/app/echo", key=BAD))
    assert client.read_exactly(1) == b"H"
    client.reset()


def gone_before_a_refusal(door: Door) -> None:
    door.send(upgrade("/app/echo", key=BAD)).close()


def gone_while_connecting(door: Door) -> None:
    door.send(good("/stuck")).reset()


def gone_while_dialling(door: Door) -> None:
    client = door.send(good("/app/never-answers") + frames.masked(frames.TEXT, b"early"))
    client.expect_silence(0.02)
    client.reset()


def finished_while_dialling(door: Door) -> None:
    client = door.send(good("/app/never-answers"))
    client.expect_silence(0.02)
    client.close()


def gone_while_the_upstream_resets(door: Door) -> None:
    door.send(good("/app/resets")).reset()


def gone_while_the_upstream_answers(door: Door) -> None:
    door.send(good("/app/echo")).close()


def refused_port(door: Door) -> None:
    assert_refused(door.ask(good("/closed")), 502, "upstream_unreachable")


def _refused_by(part: str, status: int) -> Callable[[Door], None]:
    def stage(door: Door) -> None:
        assert door.ask(good(f"/app/{part}")).status == status

    stage.__name__ = f"upstream_{part.replace('-', '_')}"
    return stage


def reset_after_101(door: Door) -> None:
    door.open(good("/app/echo")).reset()


def reset_in_mid_frame(door: Door) -> None:
    client = door.open(good("/app/echo"))
    client.send(HALF)
    client.reset()


def finished_in_mid_frame(door: Door) -> None:
    client = door.open(good("/app/echo"))
    client.send(HALF)
    client.close()


def reset_with_an_echo_on_its_way(door: Door) -> None:
    client = door.open(good("/app/echo"))
    client.send(frames.masked(frames.BINARY, bytes(100_000)))
    client.reset()


def reset_in_a_flood(door: Door) -> None:
    client = door.open(good("/app/hears"))
    client.send(FLOOD)
    client.reset()


def finished_in_a_flood(door: Door) -> None:
    client = door.open(good("/app/hears"))
    client.send(FLOOD)
    client.close()


def protocol_error_in_a_flood(door: Door) -> None:
    with door.open(good("/app/hears")) as client:
        client.send(FLOOD + frames.frame(frames.TEXT, b"unmasked"))
        client.expect_close(1002)


def upstream_floods_and_leaves(door: Door) -> None:
    with door.open(good("/app/floods")) as client:
        assert client.read_exactly(len(FLOOD_DOWN)) == FLOOD_DOWN
        client.expect_close(1012)


def gone_in_a_flood_of_the_upstream(door: Door) -> None:
    client = door.open(good("/app/floods"))
    client.read_exactly(3000)
    client.reset()


def upstream_resets_in_session(door: Door) -> None:
    with door.open(good("/app/resets-in-session")) as client:
        client.send(frames.masked(frames.TEXT, b"go"))
        client.read_to_end()


def protocol_error(door: Door) -> None:
    with door.open(good("/app/echo")) as client:
        client.send(frames.frame(frames.TEXT, b"unmasked"))
        client.expect_close(1002)


def clean(door: Door) -> None:
    with door.open(good("/app/echo")) as client:
        client.send_text("hello")
        assert client.read_frame().payload == b"hello"
        client.send(frames.masked(frames.CLOSE, CLOSE))
        client.expect_close(1000)
        client.read_to_end()


STAGES: list[Callable[[Door], None]] = [
    half_a_head,
    half_a_head_and_goodbye,
    no_byte_at_all,
    bad_key,
    gone_in_the_middle_of_a_refusal,
    gone_before_a_refusal,
    gone_while_connecting,
    gone_while_dialling,
    finished_while_dialling,
    gone_while_the_upstream_resets,
    gone_while_the_upstream_answers,
    refused_port,
    *(
        _refused_by(part, 502)
        for part in ("resets", "closes", "garbage", "half-a-line", "wrong-accept")
    ),
    _refused_by("refuses", 403),
    reset_after_101,
    reset_in_mid_frame,
    finished_in_mid_frame,
    reset_with_an_echo_on_its_way,
    reset_in_a_flood,
    finished_in_a_flood,
    protocol_error_in_a_flood,
    upstream_floods_and_leaves,
    gone_in_a_flood_of_the_upstream,
    upstream_resets_in_session,
    protocol_error,
    clean,
]


@contextlib.contextmanager
def full_port() -> Iterator[int]:
    """A listener whose backlog is full: connecting to it neither succeeds nor fails."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def run(door: Door, count: int) -> None:
    """`count` handshakes, every stage in turn, a few at a time."""

    def one(stage: Callable[[Door], None]) -> None:
        try:
            stage(door)
        except Exception as error:
            raise AssertionError(f"{stage.__name__}: {error!r}") from error

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        for _ in pool.map(one, itertools.islice(itertools.cycle(STAGES), count)):
            pass


def configuration(upstream: Upstream, closed: int, stuck: int) -> dict[str, Any]:
    return {
        "limits": {"auth_failures_per_minute": None},
        "timeouts": {
            "handshake": "2s",
            "upstream_connect": "4s",
            "upstream_handshake": "6s",
            "close": "800ms",
            "write": "2s",
        },
        "keys": [{"name": "good", "sha256": digest(GOOD)}],
        "routes": [
            {"name": "app", "path": "/app", "upstream": upstream.url},
            {"name": "closed", "path": "/closed", "upstream": f"ws://127.0.0.1:{closed}"},
            {"name": "stuck", "path": "/stuck", "upstream": f"ws://127.0.0.1:{stuck}"},
        ],
    }


@pytest.mark.parametrize(("loop", "transport"), COMBINATIONS)
def test_p87_failures_at_every_stage_leave_nothing_behind(
    tmp_path: Path, loop: str, transport: str
) -> None:
    secure = transport == "tls"
    certificates = Certificates(tmp_path)
    server = certificates.server_context() if secure else None
    client = certificates.client_context() if secure else None
    with Upstream(play, tls=server) as upstream, refusing_port() as closed, full_port() as stuck:
        config = configuration(upstream, closed.getsockname()[1], stuck)
        if secure:
            config["tls"] = {
                "certificate": str(certificates.certificate),
                "private_key": str(certificates.private_key),
            }
            config["routes"][0]["upstream"] = {
                "targets": [upstream.url],
                "tls": {"ca": str(certificates.authority)},
            }
        environment = {"WSKEEPER_EVENT_LOOP": loop, **RETURNING_MEMORY}
        with (
            Gateway(tmp_path, config, environment=environment) as gateway,
            Door(gateway.public, client) as door,
        ):
            count = HANDSHAKES // len(COMBINATIONS)
            cold = Accounts(gateway, door.books)
            run(door, count // 2)  # what is loaded or pooled lazily is there now
            upstream.forget()
            assert wait_until(lambda: cold.live() == 0)
            warm = Accounts(gateway, door.books)
            warm.open_files = min(warm.open_files, cold.open_files)
            run(door, count - count // 2)
            upstream.forget()
            faults = warm.faults(deadline=10)
            grown = rss(gateway.pid) - warm.rss
            if grown > (ROOM_FOR_ASYNCIO_TLS if (loop, transport) == ("asyncio", "tls") else ROOM):
                faults.append(f"RSS changed by {grown / MB:.1f} MB")
            assert not faults, "\n".join(faults)
            assert not upstream.errors, upstream.errors
            assert gateway.stop() == 0
        assert not log_faults(gateway.log)[:20]
