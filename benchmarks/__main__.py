"""`python -m benchmarks`: measures the gateway beside the proxies that are installed."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import click

from benchmarks.cases import CASES, Effort
from benchmarks.measure import Run
from benchmarks.plot import svg
from benchmarks.proxies import PROXIES, ROOT, Proxy
from benchmarks.report import as_json, summary

QUICK_ROUNDS = 2


def _names(_context: click.Context, option: click.Parameter, value: str | None) -> set[str] | None:
    """The names of a comma-separated option, all of them known."""
    if value is None:
        return None
    every = [case.name for case in CASES] if option.name == "cases" else [p.name for p in PROXIES]
    names = {name.strip() for name in value.split(",")}
    if unknown := names.difference(every):
        raise click.BadParameter(f"no {', '.join(sorted(unknown))}; there is {', '.join(every)}")
    return names


def _say(text: str) -> None:
    click.echo(text, err=True)


def _installed(only: set[str] | None) -> dict[str, str]:
    """Versions of the proxies that take part, by name."""
    versions = {}
    for proxy in PROXIES:
        if proxy.default if only is None else proxy.name in only:
            version = proxy.version()
            if version is None:
                _say(f"{proxy.name}: left out: not installed")
            else:
                versions[proxy.name] = version
    return versions


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1, 50), help="Rounds over all proxies [5].")
@click.option("--seconds", type=click.FloatRange(0.1, 30), help="Length of a sample [1].")
@click.option("--only", callback=_names, metavar="NAME,…", help="Measure these proxies.")
@click.option("--cases", callback=_names, metavar="CASE,…", help="Measure these cases.")
@click.option("--rate", type=click.FloatRange(100, 1e6), help="Messages/s of the latency case.")
@click.option("--quick", is_flag=True, help="A minute instead of eight: for a first look.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=ROOT / "benchmarks" / "results" / "latest.json",
    help="Where the raw samples go [benchmarks/results/latest.json].",
)
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Also draw an SVG there."
)
def main(
    *,
    rounds: int | None,
    seconds: float | None,
    only: set[str] | None,
    cases: set[str] | None,
    rate: float | None,
    quick: bool,
    output: Path,
    plot: Path | None,
) -> None:
    """Measure what a WebSocket costs in wskeeper and in the proxies that are installed.

    Prints a markdown table. Everything runs on loopback; Linux only.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise click.ClickException("the benchmark reads /proc and pins processes: Linux only")
    # The end by a signal also stops the proxies.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    effort = Effort().quick() if quick else Effort()
    effort = replace(effort, seconds=seconds or effort.seconds, rate=rate or effort.rate)
    versions = _installed(only)
    proxies: list[Proxy] = [proxy for proxy in PROXIES if proxy.name in versions]
    if not proxies:
        raise click.ClickException("none of these proxies is installed")
    chosen = [case for case in CASES if cases is None or case.name in cases]
    results = Run(proxies, chosen, effort, _say).measure(rounds or (QUICK_ROUNDS if quick else 5))
    output.parent.mkdir(parents=True, exist_ok=True)
    written = json.dumps(as_json(results, proxies, effort, versions), indent=1, ensure_ascii=False)
    output.write_text(written + "\n")
    if plot is not None:
        plot.parent.mkdir(parents=True, exist_ok=True)
        plot.write_text(svg(results, proxies, effort))
    click.echo(summary(results, proxies, effort, versions))
    if results.failures:
        raise click.ClickException("not everything could be measured; see the end of the report")


if __name__ == "__main__":
    main()
