"""Values from the environment: `${NAME}` in a document, and `WSKEEPER_*` variables.

Pure: the variables and the reading of files are arguments. Text from the environment only ever
replaces text, after YAML was read, so it cannot change the document's structure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxy.config.faults import Finding, Wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.config.document import Document
    from proxy.config.faults import Where

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_REFERENCE = re.compile(
    rf"(?P<literal>\$\$\{{)|\$\{{(?P<name>{_NAME})(?::-(?P<default>[^}}]*))?\}}|(?P<broken>\$\{{)"
)
_NULLS = frozenset({"null", "~"})
# Stands where a reference could not be replaced: no field takes it, and the fault is known.
UNKNOWN = object()


class Variables:
    """The environment, in which every `NAME` may be given as `NAME_FILE`.

    Args:
        environ: the variables.
        read_file: the content of a file; raises OSError or UnicodeDecodeError.
    """

    def __init__(self, environ: Mapping[str, str], read_file: Callable[[str], str]) -> None:
        self._environ = environ
        self._read_file = read_file

    def beginning_with(self, prefix: str) -> list[str]:
        """The names that begin so."""
        return sorted(name for name in self._environ if name.startswith(prefix))

    def get(self, name: str) -> str | None:
        """The value of `NAME`, or the content of the file that `NAME_FILE` names, or None.

        One newline at the file's end is trimmed.

        Raises:
            Wrong: both are set, or the file cannot be read.
        """
        value = self._environ.get(name)
        file_name = self._environ.get(f"{name}_FILE")
        if not file_name:
            return value
        if value is not None:
            raise Wrong(f"needs `{name}`, which is set twice", f"unset it or `{name}_FILE`")
        try:
            text = self._read_file(file_name)
        except OSError as error:
            reason = error.strerror or "cannot be read"
        except ValueError:
            reason = "is not UTF-8, or its name holds a NUL"
        else:
            return re.sub(r"\r?\n\Z", "", text)
        raise Wrong(
            f"needs the file that `{name}_FILE` names, which cannot be read ({reason})",
            "name a file that wskeeper may read",
        )


@dataclass(frozen=True, slots=True)
class Expanded:
    """A document's data after substitution.

    Args:
        data: as `Document.data`.
        origins: for each place that holds text from the environment, the variables' names.
        findings: references that could not be replaced; their places hold UNKNOWN.
    """

    data: dict[str, Any]
    origins: dict[Where, tuple[str, ...]]
    findings: tuple[Finding, ...]


def expand(document: Document, variables: Variables) -> Expanded:
    """Replaces `${NAME}` and `${NAME:-default}` in every text; `$${` stands for `${`.

    A default also stands in for a variable that is set to nothing. An unquoted value that becomes
    `null` or `~` is null; every other value stays text, so that a key of digits stays a key.
    """
    origins: dict[Where, tuple[str, ...]] = {}
    findings: list[Finding] = []

    def walk(value: Any, where: Where) -> Any:
        if isinstance(value, dict):
            return {name: walk(item, (*where, name)) for name, item in value.items()}
        if isinstance(value, list):
            return [walk(item, (*where, index)) for index, item in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        try:
            text, used = substitute(value, variables)
        except Wrong as wrong:
            findings.append(Finding(where, wrong.problem, wrong.mend))
            return UNKNOWN
        if used:
            origins[where] = used
        return None if used and where in document.unquoted and text in _NULLS else text

    return Expanded(walk(document.data, ()), origins, tuple(findings))


def substitute(text: str, variables: Variables) -> tuple[str, tuple[str, ...]]:
    """`text` with its references replaced, and the names of the variables it names.

    Raises:
        Wrong: a variable is not set and has no default, or `${` begins no reference.
    """
    used: dict[str, None] = {}

    def replaced(match: re.Match[str]) -> str:
        if match["literal"]:
            return "${"
        if match["broken"]:
            raise Wrong(
                "holds a `${` that begins no `${NAME}` or `${NAME:-default}`",
                "write `$${` where `${` itself is meant",
            )
        name, default = match["name"], match["default"]
        used[name] = None
        value = variables.get(name)
        if default is not None:
            if "${" in default:
                raise Wrong(
                    f"has a `${{` in the default of `{name}`", "write a default without `${`"
                )
            return value or default
        if value is None:
            raise Wrong(
                f"needs `{name}`, which is not set",
                f"set it or `{name}_FILE`, or write `${{{name}:-default}}`",
            )
        return value

    return _REFERENCE.sub(replaced, text), tuple(used)
