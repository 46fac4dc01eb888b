"""Results as a table, as JSON, and the machine they come from."""

from __future__ import annotations

import dataclasses
import os
import platform
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import DIRECT, cores
from benchmarks.proxies import REFERENCE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.cases import Effort
    from benchmarks.measure import Results
    from benchmarks.proxies import Proxy


# Per cent of the cores that others may have for the numbers to be worth quoting.
DISTURBED = 10


@dataclass(frozen=True)
class Metric:
    """One column: a number of a case."""

    case: str
    key: str
    title: str
    unit: str
    digits: int = 0
    # Less what the same load measures without a proxy.
    added: bool = False
    # Whether to say how it compares to the reference.
    compared: bool = True

    @property
    def name(self) -> str:
        return f"{self.case}.{self.key}"


METRICS = (
    Metric("64B", "cpu_us", "round trip of 64 B", "µs CPU", 1),
    Metric("64KiB", "cpu_us", "round trip of 64 KiB", "µs CPU"),
    Metric("1MiB", "cpu_us", "round trip of 1 MiB", "µs CPU"),
    Metric("handshake", "cpu_us", "handshake and close", "µs CPU"),
    Metric("handshake", "per_second", "handshakes", "per s"),
    Metric("idle", "kib", "idle session", "KiB", 1),
    Metric("idle", "kib_used", "idle session after a message", "KiB", 1),
    Metric("huge", "mib", "growth for a {huge} message", "MiB", 1, compared=False),
    Metric("latency", "p50_us", "p50 added at {rate} messages/s", "µs", added=True),
    Metric("latency", "p99_us", "p99 added at {rate} messages/s", "µs", added=True),
)


def by_round(results: Results, metric: Metric, proxy: str) -> dict[int, float]:
    """The metric's values of a proxy, by round."""
    values = results.values(proxy, metric.case, metric.key)
    if not metric.added:
        return values
    base = results.values(DIRECT, metric.case, metric.key)
    return {number: value - base[number] for number, value in values.items() if number in base}


def median(results: Results, metric: Metric, proxy: str) -> float | None:
    values = by_round(results, metric, proxy)
    return statistics.median(values.values()) if values else None


def ratio(results: Results, metric: Metric, proxy: str) -> float | None:
    """The median of the ratios to the reference within each round: noise hits both alike."""
    base = by_round(results, metric, REFERENCE)
    values = by_round(results, metric, proxy)
    ratios = [values[number] / base[number] for number in values if base.get(number, 0) > 0]
    return statistics.median(ratios) if ratios and metric.compared else None


def title_of(metric: Metric, results: Results, effort: Effort) -> str:
    huge = f"{effort.huge_bytes >> 20} MiB" if effort.huge_bytes < 1 << 30 else "1 GiB"
    return metric.title.format(huge=huge, rate=f"{results.rate:,.0f}")


def measured(results: Results, proxies: Sequence[Proxy]) -> list[Metric]:
    """The metrics for which there is a number."""
    return [m for m in METRICS if any(by_round(results, m, proxy.name) for proxy in proxies)]


def table(results: Results, proxies: Sequence[Proxy], effort: Effort) -> str:
    """A markdown table: medians, and in parentheses how many times the reference."""
    metrics = measured(results, proxies)
    titles = [f"{title_of(metric, results, effort)}, {metric.unit}" for metric in metrics]
    lines = [
        "| | checks the key | " + " | ".join(titles) + " |",
        "|---|---|" + "---:|" * len(metrics),
    ]
    for proxy in proxies:
        cells = [_cell(results, metric, proxy.name) for metric in metrics]
        lines.append(f"| {proxy.name} | {proxy.checks_key} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(results: Results, metric: Metric, proxy: str) -> str:
    value = median(results, metric, proxy)
    if value is None:
        return "–"
    text = f"{value:,.{metric.digits}f}"
    times = ratio(results, metric, proxy)
    return text if times is None else f"{text} ({times:.2f}×)"


NOTES = """\
- Medians over the rounds; in parentheses the median of the ratios to plain nginx within each round.
- CPU is that of the proxy's processes alone; nginx's auth service counts as one of them.
- The proxies share one core; the load and the echo service, one Python process on raw sockets,
  have another. Round trips: 16 sessions in ping-pong. Handshakes: 4 at a time, closed by Close
  frames both ways.
- wskeeper logs the opening and the end of each session as JSON lines to a file (level info);
  nginx, HAProxy, Envoy and the pump write no access log.
- Latency: open loop at half of what wskeeper does on one core, the same rate for all, less what
  the same load measures without a proxy; percentiles of the median of nine slices of a sample.
- Memory: growth of the resident set of all processes of a proxy that has just been started.
"""


def summary(
    results: Results,
    proxies: Sequence[Proxy],
    effort: Effort,
    versions: Mapping[str, str],
) -> str:
    """The table with all that is needed to judge it."""
    facts = machine()
    noise = [100 * row.sample["noise"] for row in results.rows] or [0.0]
    rounds = len({row.round for row in results.rows})
    programs = ", ".join(f"{name} {version}" for name, version in versions.items())
    where = (
        f"{facts['cpu']}, {facts['cores']} cores; {facts['system']}; Python {facts['python']}; "
        f"TCP {facts['congestion_control']}. {programs}."
    )
    how = (
        f"Rounds: {rounds}, of {effort.seconds:g} s a sample, {results.seconds:.0f} s in all. "
        f"{results.repeated} samples were taken again because others had the cores; of the time "
        f"of those kept, others had {statistics.median(noise):.0f} % (median), {max(noise):.0f} % "
        "(most)."
    )
    lines = [table(results, proxies, effort), "", NOTES, where, "", how]
    if statistics.median(noise) > DISTURBED:
        lines.append("The machine was too busy for these numbers to be quoted; memory apart.")
    lines += [f"Failed: {what}: {why}" for what, why in results.failures.items()]
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    proxy_core, load_core = cores()
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "congestion_control": _first_line("/proc/sys/net/ipv4/tcp_congestion_control"),
        "proxy_core": proxy_core,
        "load_core": load_core,
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"model name", "Model"}:
            return value.strip()
    return platform.machine()


def _first_line(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def as_json(
    results: Results,
    proxies: Sequence[Proxy],
    effort: Effort,
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """Everything, raw samples included."""
    metrics = measured(results, proxies)
    return {
        "machine": machine(),
        "versions": dict(versions),
        "effort": dataclasses.asdict(effort),
        "rate": results.rate,
        "seconds": results.seconds,
        "repeated": results.repeated,
        "notes": NOTES.splitlines(),
        "medians": {
            proxy.name: {metric.name: median(results, metric, proxy.name) for metric in metrics}
            for proxy in proxies
        },
        "ratios": {
            proxy.name: {metric.name: ratio(results, metric, proxy.name) for metric in metrics}
            for proxy in proxies
        },
        "failures": results.failures,
        "samples": [dataclasses.asdict(row) for row in results.rows],
    }
