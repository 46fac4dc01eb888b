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

TITLE = "Cost of wskeeper beside other proxies"
FOOT = "shorter is better; medians over the rounds of one run, every proxy on one core"
_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" \
height="{height}" role="img" font-family="system-ui, Segoe UI, Roboto, Helvetica, Arial, \
sans-serif">"""
_PAPER = (
    f'<rect x="0.5" y="0.5" width="{{width}}" height="{{height}}" rx="10" fill="{PAPER}" '
    f'stroke="{EDGE}"/>'
)
_BAR = '<rect x="{x:g}" y="{y:g}" width="{width:.1f}" height="{height}" rx="3" fill="{colour}"/>'


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
        _SVG.format(width=width, height=height),
        f"<title>{TITLE}</title>",
        _PAPER.format(width=width - 1, height=height - 1),
    ]
    for index, metric in enumerate(metrics):
        x = MARGIN + index % COLUMNS * PANEL_WIDTH
        y = MARGIN + index // COLUMNS * height_of_panel
        title = f"{title_of(metric, results, effort)} ({metric.unit})"
        values = [(proxy.name, _value(results, metric, proxy)) for proxy in proxies]
        parts += _panel(x, y, title, values, metric.digits)
    parts.append(_text(width - MARGIN, height - 12, FOOT, size=11, end=True, colour=FAINT))
    parts.append("</svg>\n")
    return "\n".join(parts)


def _value(results: Results, metric: Metric, proxy: Proxy) -> float | None:
    return median(results, metric, proxy.name)


def _panel(
    x: int, y: int, title: str, values: Sequence[tuple[str, float | None]], digits: int
) -> list[str]:
    parts = [_text(x, y + 16, title[0].upper() + title[1:], size=14, bold=True)]
    most = max((value for _, value in values if value), default=1.0)
    room = PANEL_WIDTH - MARGIN - LABELS - VALUES
    for index, (name, value) in enumerate(values):
        top = y + PANEL_HEAD + index * STEP
        ours = name == OURS
        left = x + LABELS
        length = max(1.5, room * (value or 0) / most)
        said = "–" if value is None else f"{value:,.{digits}f}"
        colour = OURS_COLOUR if ours else OTHERS_COLOUR
        parts += [
            _text(left - 8, top + 12, name, end=True, bold=ours),
            _BAR.format(x=left, y=top, width=length, height=BAR, colour=colour),
            _text(left + length + 6, top + 12, said, bold=ours),
        ]
    return parts


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 12,
    bold: bool = False,
    end: bool = False,
    colour: str = INK,
) -> str:
    style = f'font-size="{size}" fill="{colour}"'
    style += ' font-weight="600"' if bold else ""
    style += ' text-anchor="end"' if end else ""
    return f'<text x="{x:g}" y="{y:g}" {style}>{escape(text)}</text>'
