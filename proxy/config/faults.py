"""What is wrong with a configuration, where, and how to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_T = TypeVar("_T")

# Where a value stands in the document: ("routes", 1, "upstream").
Where = tuple[str | int, ...]
Severity = Literal["error", "warning"]


class Wrong(ValueError):
    """A value that cannot be taken. It never carries a secret: both texts may be logged.

    Args:
        problem: what is wrong, as the end of the sentence "`field` …".
        mend: what to write instead, as an instruction.
    """

    def __init__(self, problem: str, mend: str) -> None:
        super().__init__(f"{problem}; {mend}")
        self.problem = problem
        self.mend = mend


class Several(Wrong):
    """A list or mapping with more than one thing wrong.

    Args:
        entries: by position or name.
    """

    def __init__(self, entries: Mapping[str | int, Wrong]) -> None:
        super().__init__("has wrong entries", "mend each")
        self.entries = entries


def each(reader: Callable[[Any], _T], entries: Mapping[Any, Any]) -> list[_T]:
    """What `reader` makes of every entry.

    Raises:
        Several: with all that it refuses, by the mapping's keys.
    """
    taken: list[_T] = []
    refused: dict[str | int, Wrong] = {}
    for step, entry in entries.items():
        try:
            taken.append(reader(entry))
        except Wrong as wrong:
            refused[step] = wrong
    if refused:
        raise Several(refused)
    return taken


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault or warning at a place in the document, before its file is known.

    `line` is that of the place itself, unless set.
    """

    where: Where
    problem: str
    mend: str
    severity: Severity = "error"
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault or warning as it is shown.

    Args:
        file: the file as the user named it, or `environment` or `command line`.
        line: counted from 1; None where there is none.
        path: such as `routes[1].upstream`; empty for the whole file.
        problem: what is wrong.
        mend: what to do about it.
        severity: a warning does not keep the gateway from starting.
    """

    file: str
    line: int | None
    path: str
    problem: str
    mend: str
    severity: Severity = "error"

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        subject = f"{self.path}: " if self.path else ""
        return f"{place}: {subject}{self.problem}; {self.mend}"


class ConfigInvalid(Exception):
    """The configuration cannot be used; `faults` holds every fault and warning found."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


def path_text(where: Where) -> str:
    """`("routes", 1, "upstream")` as `routes[1].upstream`."""
    text = ""
    for step in where:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text
