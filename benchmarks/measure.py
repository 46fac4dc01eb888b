"""The run: rounds of all cases over all proxies, in turn."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from benchmarks.cases import CASES, Case, Effort, Sample
from benchmarks.contest import Arena, Contestant
from benchmarks.echo import Echo
from benchmarks.load import LoadError
from benchmarks.loop import Loop
from benchmarks.noise import Noise
from benchmarks.processes import ProcessError
from benchmarks.proxies import OURS, Proxy

if TYPE_CHECKING:
    from collections.abc import Sequence

DIRECT = "direct"
# A sample for which others had more than this part of the cores is taken again, up to this often,
# and the calmest is kept; a whole run repeats at most this part of its samples.
NOISE_LIMIT = 0.05
MOST_REPEATS = 3
REPEATED_PART = 0.25
FAILURES = (LoadError, ProcessError, OSError)
Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One sample and where it comes from."""

    round: int
    proxy: str
    case: str
    sample: Sample


@dataclass
class Results:
    """All samples of a run, and what went wrong."""

    rows: list[Row] = field(default_factory=list)
    # "proxy case" → reason, of the latest failure.
    failures: dict[str, str] = field(default_factory=dict)
    rate: float = 0
    seconds: float = 0
    repeated: int = 0

    def values(self, proxy: str, case: str, metric: str) -> dict[int, float]:
        """The metric by round."""
        return {
            row.round: row.sample[metric]
            for row in self.rows
            if row.proxy == proxy and row.case == case
        }


def cores() -> tuple[int, int]:
    """The core of the proxies and that of the load; the same one when there is only one."""
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[1 % len(available)]


class Run:
    """Measures `proxies` in `rounds` rounds; the order turns by one proxy with every round."""

    def __init__(
        self, proxies: Sequence[Proxy], cases: Sequence[Case], effort: Effort, say: Say
    ) -> None:
        self._proxies = list(proxies)
        self._cases = cases
        self._effort = effort
        self._say = say
        self._results = Results()
        self._running: dict[str, Contestant] = {}

    def measure(self, rounds: int) -> Results:
        """Raises nothing for a proxy that fails: that is written down and the rest goes on."""
        self._began = time.monotonic()
        self._cores = proxy_core, load_core = cores()
        self._spare = int(REPEATED_PART * rounds * len(self._proxies) * len(self._cases))
        os.sched_setaffinity(0, {load_core})
        _raise_file_limit()
        gc.disable()
        loop = Loop()
        echo = Echo(loop)
        self._arena = Arena(loop, echo, secrets.token_hex(24), proxy_core)
        self._direct = Contestant(self._arena, echo.port, [])
        with contextlib.ExitStack() as stack:
            self._start(stack)
            self._find_rate()
            for number in range(rounds):
                self._round(number)
        echo.close()
        self._results.seconds = time.monotonic() - self._began
        return self._results

    def _start(self, stack: contextlib.ExitStack) -> None:
        for proxy in list(self._proxies):
            try:
                self._running[proxy.name] = stack.enter_context(self._arena.run(proxy))
            except FAILURES as error:
                self._say(f"{proxy.name}: left out: {error}")
                self._results.failures[f"{proxy.name} start"] = str(error)
                self._proxies.remove(proxy)

    def _find_rate(self) -> None:
        """Half of what the gateway (else the first proxy) does on one core at 64 bytes."""
        if not self._effort.rate and any(case.name == "latency" for case in self._cases):
            name = OURS if OURS in self._running else next(iter(self._running), None)
            if name is not None:
                sample = self._calmest(CASES[0], self._running[name])
                rate = round(0.5e6 / sample["cpu_us"], -2)
                self._effort = replace(self._effort, rate=rate)
        self._results.rate = self._effort.rate

    def _round(self, number: int) -> None:
        shift = number % max(1, len(self._proxies))
        order = self._proxies[shift:] + self._proxies[:shift]
        for case in self._cases:
            if case.fresh and number >= self._effort.memory_rounds:
                continue
            elapsed = time.monotonic() - self._began
            self._say(f"{elapsed:4.0f} s  round {number + 1}  {case.name}")
            if case.direct:
                self._sample(number, DIRECT, case, self._direct)
            for proxy in order:
                if case.fresh:
                    self._fresh_sample(number, proxy, case)
                else:
                    self._sample(number, proxy.name, case, self._running[proxy.name])

    def _fresh_sample(self, number: int, proxy: Proxy, case: Case) -> None:
        try:
            with self._arena.run(proxy) as contestant:
                self._sample(number, proxy.name, case, contestant)
        except FAILURES as error:
            self._say(f"{proxy.name}: {case.name} failed: {error}")
            self._results.failures[f"{proxy.name} {case.name}"] = str(error)
            self._arena.abandon_sessions()
        # The echo service sees its sessions end.
        self._arena.loop.run(0.3)

    def _sample(self, number: int, name: str, case: Case, contestant: Contestant) -> None:
        try:
            sample = self._calmest(case, contestant)
        except FAILURES as error:
            self._say(f"{name}: {case.name} failed: {error}")
            self._results.failures[f"{name} {case.name}"] = str(error)
            self._arena.abandon_sessions()
            return
        self._results.rows.append(Row(number, name, case.name, sample))

    def _calmest(self, case: Case, contestant: Contestant) -> Sample:
        """The sample during which others had least of the cores, of as many as it takes."""
        best = self._once(case, contestant)
        for _ in range(MOST_REPEATS):
            if case.fresh or best["noise"] <= NOISE_LIMIT or self._spare <= 0:
                break
            self._spare -= 1
            self._results.repeated += 1
            best = min(best, self._once(case, contestant), key=lambda sample: sample["noise"])
        return best

    def _once(self, case: Case, contestant: Contestant) -> Sample:
        gc.collect()
        contestant.check_alive()
        noise = Noise(self._cores, contestant.pids)
        sample = case.measure(contestant, self._effort)
        return {**sample, "noise": noise.share()}


def _raise_file_limit() -> None:
    """Both ends of 5,000 sessions are ours; children inherit the limit."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
