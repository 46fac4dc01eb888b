"""Autobahn's cases, both ways: no endpoint may look worse through the gateway than without it.

- A server behind the gateway: Autobahn drives `backends.echo`. It cannot send a header of its own,
  so a tap adds the key; the direct run goes through the tap as well, so that the two differ by the
  gateway alone.
- A client before the gateway: Autobahn is the upstream, aiohttp's client echoes.
"""

from __future__ import annotations

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import WSMsgType

from tests.interop.program import Program
from tests.interop.tap import Tap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AUTOBAHN = [sys.executable, str(Path(__file__).with_name("autobahn.py"))]
# All but compression in every size (12, 13), of which one case each is enough: what a gateway
# could spoil there is the same in all of them.
CASES = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*", "12.1.1", "13.1.1"]
COUNT = 303
# On a busy machine Autobahn gives some endpoint up; what is worse is so every time.
ROUNDS = 3
RUN_DEADLINE = 100.0  # seconds for all cases; 6 to 15 are usual
CASE_DEADLINE = 30.0
AT_ONCE = 4

# Lower is better. OK and NON-STRICT differ by timing alone: by whether an endpoint that is about
# to fail the connection had already answered what came before.
RANKS = {
    "OK": 0,
    "NON-STRICT": 0,
    "INFORMATIONAL": 0,
    "UNIMPLEMENTED": 1,
    "UNCLEAN": 2,
    "WRONG CODE": 2,
    "FAILED BY CLIENT": 2,
    "FAILED": 3,
    "ERROR": 3,
}

Verdicts = dict[str, list[str]]


def worse(verdicts: Verdicts, baseline: Verdicts) -> dict[str, str]:
    """The cases in which `verdicts` fall behind: what was, and what has become of it."""
    return {
        case: f"{baseline[case]} -> {verdicts[case]}"
        for case in baseline
        if any(
            RANKS[now] > RANKS[before]
            for now, before in zip(verdicts[case], baseline[case], strict=True)
        )
    }


def test_the_comparison_tells_worse_from_better():
    baseline = {"1.1.1": ["OK", "OK"], "7.9.5": ["FAILED", "WRONG CODE"], "3.2": ["OK", "OK"]}
    through = {"1.1.1": ["OK", "UNCLEAN"], "7.9.5": ["OK", "OK"], "3.2": ["NON-STRICT", "OK"]}
    assert list(worse(through, baseline)) == ["1.1.1"]


def assert_no_worse(run: Callable[..., Verdicts], direct: Any, through: Any) -> None:
    """Runs the cases without and with the gateway, and once more those that looked worse with it.

    The two run at the same time, since much of either is waiting.
    """
    cases = CASES
    for number in range(ROUNDS):
        words = ",".join(cases)
        with ThreadPoolExecutor() as pool:
            without = pool.submit(run, words, direct, f"direct-{number}.stderr")
            found = pool.submit(run, words, through, f"through-{number}.stderr").result()
            baseline = without.result()
        assert len(found) == len(baseline) == (COUNT if cases is CASES else len(cases))
        left = worse(found, baseline)
        if not left:
            return
        cases = list(left)
    pytest.fail(f"worse {ROUNDS} times: {left}")


@pytest.fixture
def echo_url(tmp_path: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "backends.echo", "--listen", "127.0.0.1:0"]
    with Program(tmp_path / "echo.stderr", command) as echo:
        yield echo.line().split()[-1]


@pytest.mark.timeout(3 * RUN_DEADLINE)
def test_a_server_looks_no_worse_behind_the_gateway(echo_url, gateway_to, key, tmp_path):
    def run(cases: str, url: str, errors: str) -> Verdicts:
        with (
            Tap(url, header=key) as tap,
            Program(tmp_path / errors, [*AUTOBAHN, "server", cases, tap.url]) as autobahn,
        ):
            return json.loads(autobahn.line(RUN_DEADLINE))

    assert_no_worse(run, echo_url, gateway_to(echo_url))


@pytest.mark.timeout(3 * RUN_DEADLINE)
def test_a_client_looks_no_worse_before_the_gateway(gateway_to, key, tmp_path):
    def run(cases: str, way: Callable[[str], str], errors: str) -> Verdicts:
        with Program(tmp_path / errors, [*AUTOBAHN, "client", cases]) as autobahn:
            url = way(autobahn.line())
            asyncio.run(asyncio.wait_for(echo_every_case(url, dict([key])), RUN_DEADLINE))
            return json.loads(autobahn.line(RUN_DEADLINE))

    assert_no_worse(run, lambda url: url, gateway_to)


async def echo(socket: aiohttp.ClientWebSocketResponse) -> None:
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)


async def echo_every_case(url: str, headers: dict[str, str]) -> None:
    """Be the client of every case that the server at `url` holds, then tell it to report."""
    several = asyncio.Semaphore(AT_ONCE)

    async def echo_case(session: aiohttp.ClientSession, number: int) -> None:
        case = f"{url}/runCase?case={number}&agent=aiohttp"
        async with (
            several,
            asyncio.timeout(CASE_DEADLINE),
            session.ws_connect(case, max_msg_size=0, compress=15) as socket,
        ):
            with suppress(ConnectionError):  # many cases end while we answer
                await echo(socket)

    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.ws_connect(f"{url}/getCaseCount") as socket:
            count = int(await socket.receive_str())
        async with asyncio.TaskGroup() as tasks:
            for number in range(1, count + 1):
                tasks.create_task(echo_case(session, number), name=f"case {number}")
        async with session.ws_connect(f"{url}/updateReports?agent=aiohttp") as socket:
            await socket.receive()
