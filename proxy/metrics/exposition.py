"""The two text formats: Prometheus' own, and OpenMetrics 1.0."""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import TypeAlias

    from proxy.metrics.families import Family

    # The values of a family's labels, in its order, and the number. A histogram's is its buckets,
    # as (upper bound, how many up to it), and its sum.
    Row: TypeAlias = tuple[tuple[str, ...], float]
    HistogramRow: TypeAlias = tuple[tuple[str, ...], Sequence[tuple[str, float]], float]

END: Final = "# EOF\n"

_OPENMETRICS: Final = "application/openmetrics-text"
_OPENMETRICS_VERSIONS: Final = frozenset({"", "0.0.1", "1.0.0"})
_ANY_TEXT: Final = frozenset({"text/plain", "text/*", "*/*"})
_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class Form(Enum):
    """How metrics are written; the value is the Content-Type."""

    PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = f"{_OPENMETRICS}; version=1.0.0; charset=utf-8"


def form_for(accept: str) -> Form:
    """The form that a request's `Accept` likes best; Prometheus' where nothing is said.

    Whoever asks for neither gets that one too: it is text, and better than a refusal.
    """
    openmetrics = plain = 0.0
    for entry in accept.lower().split(","):
        media, *parameters = (part.strip() for part in entry.split(";"))
        given = dict(part.partition("=")[::2] for part in parameters)
        weight = _weight(given.get("q", "1"))
        if media == _OPENMETRICS and given.get("version", "") in _OPENMETRICS_VERSIONS:
            openmetrics = max(openmetrics, weight)
        elif media in _ANY_TEXT:
            plain = max(plain, weight)
    return Form.OPENMETRICS if openmetrics and openmetrics >= plain else Form.PROMETHEUS


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0 <= weight <= 1 else 0.0


def header_of(family: Family, form: Form) -> str:
    """The two lines in front of a family's series."""
    name = family.name
    if form is Form.OPENMETRICS and family.kind == "counter":
        name = name.removesuffix("_total")
    return f"# HELP {name} {family.text}\n# TYPE {name} {family.kind}\n"


def lines_of(family: Family, rows: Iterable[Row]) -> Iterator[str]:
    """The series of a counter or a gauge."""
    if not family.labels:
        yield from (f"{family.name} {number(value)}\n" for _, value in rows)
        return
    labels = _labels_of(family)
    for values, value in rows:
        yield f"{family.name}{{{labels(values)}}} {number(value)}\n"


def histogram_lines_of(family: Family, rows: Iterable[HistogramRow]) -> Iterator[str]:
    """The series of a histogram; those of one row come as one piece, so that they agree."""
    name, labels = family.name, _labels_of(family)
    for values, buckets, total in rows:
        shown = labels(values)
        lines = [
            f'{name}_bucket{{{shown},le="{bound}"}} {number(count)}\n' for bound, count in buckets
        ]
        lines.append(f"{name}_count{{{shown}}} {number(buckets[-1][1])}\n")
        lines.append(f"{name}_sum{{{shown}}} {number(total)}\n")
        yield "".join(lines)


def number(value: float) -> str:
    """A number as both forms write it."""
    if value == math.inf:
        return "+Inf"
    return str(value)


def _labels_of(family: Family) -> Callable[[tuple[str, ...]], str]:
    """What writes the labels of a series, in the order of the alphabet."""
    order = sorted(range(len(family.labels)), key=family.labels.__getitem__)
    template = ",".join(f'{family.labels[place]}="%s"' for place in order)

    def labels(values: tuple[str, ...]) -> str:
        return template % tuple(values[place].translate(_ESCAPES) for place in order)

    return labels
