"""Where each value of a configuration comes from: a line, a variable or a flag."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy.config.document import Document
from proxy.config.faults import Fault, path_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proxy.config.faults import Finding, Where


@dataclass(frozen=True, slots=True)
class Source:
    """A flag or variable that stands above the file."""

    file: str
    name: str


def variable(name: str) -> Source:
    """The source of values from a `WSKEEPER_*` variable."""
    return Source("environment", name)


def flag(name: str) -> Source:
    """The source of values from a command line option."""
    return Source("command line", name)


@dataclass(frozen=True, slots=True)
class Places:
    """Turns findings into faults.

    Args:
        file: the configuration file as the user named it.
        document: it, read.
        sources: places whose values come from a flag or variable, with everything below them.
        variables: places that hold text from `${NAME}`, with the names.
    """

    file: str
    document: Document = field(default_factory=Document)
    sources: Mapping[Where, Source] = field(default_factory=dict)
    variables: Mapping[Where, tuple[str, ...]] = field(default_factory=dict)

    def fault(self, finding: Finding) -> Fault:
        """The finding with its file and line, or with the name of its flag or variable."""
        for place, source in self.sources.items():
            if finding.where[: len(place)] == place:
                return Fault(
                    source.file, None, source.name, finding.problem, finding.mend, finding.severity
                )
        problem = finding.problem
        if names := self.variables.get(finding.where):
            problem += f" (it comes from {', '.join(f'`{name}`' for name in names)})"
        return Fault(
            self.file,
            finding.line or self.document.line_of(finding.where),
            path_text(finding.where),
            problem,
            finding.mend,
            finding.severity,
        )

    def faults(self, findings: Iterable[Finding]) -> list[Fault]:
        """All of them, in the order of the lines; those without a line come first."""
        return sorted(map(self.fault, findings), key=lambda fault: fault.line or 0)

    def is_literal(self, where: Where) -> bool:
        """Whether the value stands in the file itself, open to everybody who may read it."""
        above = (where[:length] for length in range(1, len(where) + 1))
        return where not in self.variables and not any(place in self.sources for place in above)
