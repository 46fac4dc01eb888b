"""The results as an SVG of horizontal bars, one panel a metric, legible on light and dark pages."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from benchmarks.proxies import OURS
from benchmarks.report import METRICS, Metric, median, title_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.cases import Effort
    from benchmarks.measure import Results
    from benchmarks.proxies import Proxy

SHOWN = ("64B.cpu_us", "64KiB.cpu_us", "1MiB.cpu_us", "handshake.cpu_us", "idle.kib", "huge.mib")
COLUMNS = 2
PANEL_WIDTH = 440
MARGIN = 20
LABELS = 138
VALUES = 66
BAR, STEP = 16, 23
PANEL_HEAD = 34
OURS_COLOUR, OTHERS_COLOUR = "#0f766e", "#b6c2d1"
INK, FAINT, PAPER, EDGE = "#1f2937", "#5b6675", "#ffffff", "#d5dbe3"


def svg(results: Results, proxies: Sequence[Proxy], effort: Effort) -> str:
    """A standalone picture; it brings its own background."""
    metrics = [
        metric
        for metric in METRICS
        if metric.name in SHOWN and any(_value(results, metric, proxy) for proxy in proxies)
    ]
    height_of_panel = PANEL_HEAD + STEP * len(proxies) + MARGIN
    rows = -(-len(metrics) // COLUMNS)
    width = COLUMNS * PANEL_WIDTH + MARGIN
    height = MARGIN + rows * height_of_panel + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" '
        'font-family="system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif">',
        "<title>Cost of wskeeper beside other proxies; shorter bars are better</title>",
        f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="10" '
        f'fill="{PAPER}" stroke="{EDGE}"/>',
    ]
    for index, metric in enumerate(metrics):
        x = MARGIN + index % COLUMNS * PANEL_WIDTH
        y = MARGIN + index // COLUMNS * height_of_panel
        title = f"{title_of(metric, results, effort)} ({metric.unit})"
        values = [(proxy.name, _value(results, metric, proxy)) for proxy in proxies]
        parts += _panel(x, y, title, values, metric.digits)
    parts.append(
        f'<text x="{width - MARGIN}" y="{height - 12}" font-size="11" text-anchor="end" '
        f'fill="{FAINT}">shorter is better; median of the rounds, all in one run</text>'
    )
    parts.append("</svg>\n")
    return "\n".join(parts)


def _value(results: Results, metric: Metric, proxy: Proxy) -> float | None:
    return median(results, metric, proxy.name)


def _panel(
    x: int, y: int, title: str, values: Sequence[tuple[str, float | None]], digits: int
) -> list[str]:
    parts = [
        f'<text x="{x}" y="{y + 16}" font-size="14" font-weight="600" fill="{INK}">'
        f"{escape(title[0].upper() + title[1:])}</text>"
    ]
    most = max((value for _, value in values if value), default=1.0)
    room = PANEL_WIDTH - MARGIN - LABELS - VALUES
    for index, (name, value) in enumerate(values):
        top = y + PANEL_HEAD + index * STEP
        ours = name == OURS
        length = max(1.5, room * (value or 0) / most)
        weight = ' font-weight="600"' if ours else ""
        text = "–" if value is None else f"{value:,.{digits}f}"
        parts += [
            f'<text x="{x + LABELS - 8}" y="{top + 12}" font-size="12" text-anchor="end" '
            f'fill="{INK}"{weight}>{escape(name)}</text>',
            f'<rect x="{x + LABELS}" y="{top}" width="{length:.1f}" height="{BAR}" rx="3" '
            f'fill="{OURS_COLOUR if ours else OTHERS_COLOUR}"/>',
            f'<text x="{x + LABELS + length + 6:.1f}" y="{top + 12}" font-size="12" '
            f'fill="{INK}"{weight}>{text}</text>',
        ]
    return parts
