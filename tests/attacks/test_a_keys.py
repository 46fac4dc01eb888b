"""A. Keys that end, and keys that are guessed: revocation is felt at once, timing tells nothing."""

from __future__ import annotations

import random
import statistics
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.attacks.scene import assert_refused, good
from tests.harness import frames
from tests.harness.heads import upgrade
from tests.harness.operators import AdminApi, CommandLine, epoch
from tests.harness.process import SLOWNESS, wait_until

if TYPE_CHECKING:
    from tests.harness.client import Client, Door
    from tests.harness.gateway import Gateway
    from tests.harness.upstream import Upstream

pytestmark = pytest.mark.timeout(120)

T_REVOKE = 1.0 * SLOWNESS


@pytest.fixture
def api(gateway: Gateway) -> AdminApi:
    return AdminApi(gateway)


@pytest.fixture
def line(gateway: Gateway) -> CommandLine:
    return CommandLine(gateway.config_path.with_name("wskeeper.db"))


def test_p09_a_revoked_key_opens_nothing(
    door: Door, api: AdminApi, line: CommandLine, upstream: Upstream
) -> None:
    for number, operator in enumerate((api, line)):
        made = api.create(f"p9-{number}")
        door.open(upgrade("/app", key=made["secret"])).close()
        after = operator.act("revoke", made["name"])
        assert after is not None
        left = epoch(after["revoked_at"]) + T_REVOKE - time.time()
        time.sleep(max(left, 0))  # So long a revocation may take.
        with upstream.untouched():
            for _ in range(20):
                answer = door.ask(upgrade("/app", key=made["secret"]))
                assert_refused(answer, 401, "key_revoked")


class Streaming(threading.Thread):
    """A client that never stops to send and read, until it hears a Close."""

    def __init__(self, client: Client) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.messages = 0
        # (code, reason) and when on the wall, once there was a Close.
        self.close: tuple[int | None, str] | None = None
        self.closed_at = 0.0

    def run(self) -> None:
        payload = b"x" * 4096
        while self.close is None:
            try:
                self.client.send(frames.masked(frames.BINARY, payload))
            except OSError:  # It was closed meanwhile; the Close waits to be read.
                payload = b""
            frame = self.client.read_frame()
            if frame.opcode == frames.CLOSE:
                self.closed_at = time.time()
                self.close = (frame.close_code, frame.close_reason)
            else:
                assert frame.payload == payload
                self.messages += 1


@pytest.mark.parametrize("by", ["line", "api"])
def test_p10_revocation_closes_what_idles_and_what_streams(
    door: Door, api: AdminApi, line: CommandLine, by: str
) -> None:
    operator = api if by == "api" else line
    made = api.create(f"p10-{by}")
    request = upgrade("/app", key=made["secret"])
    idle = [door.open(request) for _ in range(10)]
    streams = [Streaming(door.open(request)) for _ in range(10)]
    others = [Streaming(door.open(good())), Streaming(door.open(good("/other")))]
    bystander = door.open(good("/app"))
    for stream in [*streams, *others]:
        stream.start()
    assert wait_until(lambda: all(stream.messages > 3 for stream in streams))

    after = operator.act("revoke", made["name"])
    assert after is not None
    moment = epoch(after["revoked_at"])
    for client in idle:
        client.expect_close(1008, "key_revoked")
    assert time.time() - moment < T_REVOKE
    for stream in streams:
        stream.join(5)
        assert stream.close == (1008, "key_revoked")
        assert stream.closed_at - moment < T_REVOKE

    before = [stream.messages for stream in others]
    assert wait_until(lambda: all(s.messages > n + 3 for s, n in zip(others, before, strict=True)))
    bystander.send_text("untouched")
    assert bystander.read_frame().payload == b"untouched"
    assert api.do("DELETE", "/connections?key=good")["closed"] == 3
    for stream in others:
        stream.join(5)
        assert stream.close == (1008, "closed_by_admin")


def _seconds(door: Door, key: str) -> float:
    """How long the refusal of a key takes."""
    client = door.connect()
    request = upgrade("/app", key=key)
    with client:
        began = time.perf_counter()
        client.send(request)
        client.read_head()
        return time.perf_counter() - began


@pytest.mark.slow
def test_p14_the_time_of_a_refusal_tells_nothing(door: Door, api: AdminApi) -> None:
    """Keys that share nothing with a good one, or all but the last byte, take equally long.

    Two halves of the same kind say how much noise there is. A difference that is real shows in
    every round; one of chance does not.
    """
    secret = api.create("p14")["secret"]
    stranger = ("x" if secret[0] != "x" else "y") + secret[1:][::-1]
    near = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    kinds = {"stranger": stranger, "stranger again": stranger, "near": near}
    chance = random.Random(14)
    found = []
    for _ in range(8):
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(800 // SLOWNESS):
            order = list(kinds)
            chance.shuffle(order)
            for kind in order:
                times[kind].append(_seconds(door, kinds[kind]))
        medians = {kind: statistics.median(values) for kind, values in times.items()}
        noise = abs(medians["stranger"] - medians["stranger again"])
        strange = (medians["stranger"] + medians["stranger again"]) / 2
        difference, chances = abs(medians["near"] - strange), max(2 * noise, 0.03 * strange)
        found.append((difference, chances, strange))
        if difference <= chances:
            break
    assert difference <= chances, f"(difference, by chance, median) in seconds: {found}"
