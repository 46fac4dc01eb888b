"""Flags and `WSKEEPER_*` variables, put above what stands in the file."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from proxy.config import targets
from proxy.config.document import Document
from proxy.config.environment import UNKNOWN
from proxy.config.faults import Fault, Finding, Where, Wrong
from proxy.config.places import Places, Source, flag, variable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proxy.config.environment import Variables

_TEXTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("WSKEEPER_ADMIN_TOKEN", ("admin", "token")),
    ("WSKEEPER_LOG_LEVEL", ("log", "level")),
)
# Their relative paths begin at the working directory.
_ADDRESSES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("WSKEEPER_LISTEN", ("listen",)),
    ("WSKEEPER_ADMIN_LISTEN", ("admin", "listen")),
    ("WSKEEPER_STORE", ("store",)),
)
_PREFIX: Final = "WSKEEPER_"
# What other parts of wskeeper ask the environment for.
_ASKED_ELSEWHERE: Final = (
    "WSKEEPER_ADMIN_URL",
    "WSKEEPER_CONFIG",
    "WSKEEPER_EVENT_LOOP",
    "WSKEEPER_KEY",
)
KNOWN: Final = frozenset({*dict(_TEXTS), *dict(_ADDRESSES), *_ASKED_ELSEWHERE})
# How alike a slip and what was meant are. Kubernetes sets such as WSKEEPER_ADMIN_PORT by itself.
_SLIP: Final = 0.75


@dataclass
class Draft:
    """A document on its way to a Config.

    Args:
        file: as the user named it.
        path: None when there is no file.
        faults: those that have no place in the document.
        unknown: places whose `${NAME}` could not be replaced.
    """

    file: str
    path: Path | None = None
    document: Document = field(default_factory=Document)
    data: dict[str, Any] = field(default_factory=dict)
    sources: dict[Where, Source] = field(default_factory=dict)
    variables: dict[Where, tuple[str, ...]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    unknown: tuple[Finding, ...] = ()

    @property
    def folder(self) -> Path:
        """What relative paths in the document are relative to."""
        return self.path.parent.absolute() if self.path else Path.cwd()

    @property
    def places(self) -> Places:
        """Where the values come from."""
        return Places(self.file, self.document, self.sources, self.variables)

    def set(self, where: tuple[str, ...], value: Any, source: Source) -> None:
        """Puts the value of a flag or variable above the file's."""
        *parents, name = where
        holder = self.data
        for parent in parents:
            if not isinstance(holder.setdefault(parent, {}), dict):
                # The file's own section is none, which is a fault already.
                return
            holder = holder[parent]
        holder[name] = value
        self.sources[where] = source

    def hides(self, where: Where) -> bool:
        """Whether a place, or something in it, has a value that is not known."""
        places = (finding.where for finding in self.unknown)
        return where != () and any(where[: len(place)] == place[: len(where)] for place in places)

    def blame(self, source: Source, wrong: Wrong) -> None:
        """Keeps the fault of a flag or variable."""
        self.faults.append(Fault(source.file, None, source.name, wrong.problem, wrong.mend))


def apply_flags(draft: Draft, given: Mapping[str, str]) -> None:
    """Applies `listen`, `store`, and `upstream`, which stands for one route, named `default`."""
    for name in ("listen", "store"):
        if name in given:
            draft.set((name,), _from_here(given[name]), flag(f"--{name}"))
    if "upstream" not in given:
        return
    source = flag("--upstream")
    if draft.data.get("routes"):
        wrong = Wrong(f"cannot stand beside the routes of {draft.file}", "remove it, or them")
        draft.blame(source, wrong)
        return
    try:
        target = targets.target(given["upstream"])
    except Wrong as wrong:
        # Keeps the rules from asking for a route as well.
        draft.set(("routes",), UNKNOWN, source)
        draft.unknown += (Finding(("routes",), wrong.problem, wrong.mend),)
        return
    if target.socket_path is not None:
        target = dataclasses.replace(target, socket_path=str(Path.cwd() / target.socket_path))
    path = target.path.decode("ascii").rstrip("/") or "/"
    # The target has no path: the request's, which begins with the route's, goes on unchanged.
    bare = dataclasses.replace(target, path=b"")
    route = {"name": "default", "path": path, "upstream": {"targets": [bare]}}
    draft.set(("routes",), [route], source)


def apply_variables(draft: Draft, variables: Variables, given: Mapping[str, str]) -> None:
    """Applies the variables that no flag in `given` outranks.

    A variable that is set to nothing counts as not set: compose files leave such.
    """
    for name, where in _TEXTS:
        if value := _value(draft, variables, name):
            draft.set(where, value, variable(name))
    for name, where in _ADDRESSES:
        if where[0] not in given and (value := _value(draft, variables, name)):
            draft.set(where, _from_here(value), variable(name))


def misspelt(draft: Draft, variables: Variables) -> list[Fault]:
    """Warnings of variables that nothing asks for and that look like one of wskeeper's."""
    known = _with_files(KNOWN)
    asked = known.union(_with_files(name for names in draft.variables.values() for name in names))
    endings = {name.removeprefix(_PREFIX): name for name in known}
    faults = []
    for name in variables.beginning_with(_PREFIX):
        ending = name.removeprefix(_PREFIX)
        near = difflib.get_close_matches(ending, endings, n=1, cutoff=_SLIP)
        if name not in asked and near:
            mend = f"did you mean `{endings[near[0]]}`?"
            problem = "is no variable of wskeeper's"
            faults.append(Fault("environment", None, name, problem, mend, "warning"))
    return faults


def _with_files(names: Iterable[str]) -> set[str]:
    """Names, and those of the files that may hold their values."""
    return {name + suffix for name in names for suffix in ("", "_FILE")}


def _value(draft: Draft, variables: Variables, name: str) -> str | None:
    try:
        return variables.get(name)
    except Wrong as wrong:
        draft.blame(variable(name), wrong)
        return None


def _from_here(address: str) -> str | None:
    if address == "null":
        return None
    kind, colon, path = address.partition(":")
    if kind not in {"unix", "sqlite"} or not path or path.startswith((":", "//")):
        return address
    return f"{kind}{colon}{Path.cwd() / path}"
