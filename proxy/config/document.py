"""YAML as plain data, with the line of every value. Text in, data or faults out: no I/O.

PyYAML's own messages are never passed on: they quote the text around a mistake, and that text may
be a key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from yaml.constructor import SafeConstructor

from proxy.config.faults import Finding

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config.faults import Where

# A configuration with a thousand routes is 200 KiB long and holds 20,000 values. Aliases multiply
# values, not text ("billion laughs"), so both are bounded.
MAX_LENGTH = 4 << 20
MAX_VALUES = 200_000
MAX_DEPTH = 32

_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"
_FIELD_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

# Beginnings of PyYAML's descriptions, and what to say instead.
_SYNTAX = (
    ("found character '\\t'", "holds a tab where YAML wants spaces", "indent with spaces"),
    (
        "found character",
        "holds a value that begins with a character YAML keeps for itself",
        "put the value in quotes",
    ),
    (
        "mapping values are not allowed",
        "holds a `: ` where no field can begin",
        "put the value in quotes, or mend the indentation",
    ),
    (
        "expected <block end>",
        "does not continue the lines above",
        "mend the indentation, or put the value in quotes",
    ),
    (
        "could not find expected ':'",
        "holds a name without a `:`",
        "write `name: value`, with a space behind the colon",
    ),
    ("found unexpected end of stream", "holds a quote that is not closed", "close it"),
    (
        "found undefined alias",
        "holds a value that begins with `*`, which YAML reads as an alias",
        "put the value in quotes",
    ),
    (
        "found unknown escape",
        "holds an unknown `\\` sequence in double quotes",
        "use single quotes",
    ),
    (
        "expected ',' or",
        "holds a `[` or `{` that is not closed",
        "close it, or put the value in quotes",
    ),
    ("expected the node content", "holds a wrong `[…]` or `{…}`", "put its values in quotes"),
    (
        "expected alphabetic or numeric",
        "holds a value that begins with `*` or `&`",
        "put the value in quotes",
    ),
)
_OTHER_SYNTAX = ("is not valid YAML", "mend the indentation or the quotes here or one line above")


class Unreadable(Exception):
    """The text is no YAML document that could be looked at further."""

    def __init__(self, line: int | None, problem: str, mend: str) -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem
        self.mend = mend


@dataclass(frozen=True, slots=True)
class Document:
    """What stands in a file.

    Args:
        data: the mapping at the top: dicts, lists, and scalars as YAML 1.1 reads them.
        lines: for each place in `data` the line where it is written, counted from 1.
        unquoted: places of text that stands there without quotes.
        findings: faults that do not keep the rest from being checked.
    """

    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Where, int] = field(default_factory=dict)
    unquoted: frozenset[Where] = frozenset()
    findings: tuple[Finding, ...] = ()

    def line_of(self, where: Where) -> int | None:
        """The line of the nearest place that is written down: its own, or a parent's."""
        for length in range(len(where), 0, -1):
            if (line := self.lines.get(where[:length])) is not None:
                return line
        return None


def parse(raw: bytes) -> Document:
    """Reads one YAML document.

    Args:
        raw: the file, UTF-8.

    Raises:
        Unreadable: not UTF-8, not YAML, not one mapping, or unreasonably large.
    """
    if len(raw) > MAX_LENGTH:
        raise Unreadable(None, "is longer than 4 MiB", "name a configuration file")
    text = _decoded(raw)
    try:
        root = _only_document(text)
    except yaml.MarkedYAMLError as error:
        unreadable = _explained(error, text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        unreadable = Unreadable(line, "holds a control character", "remove it")
    except RecursionError:
        unreadable = Unreadable(None, "is nested too deeply", "use fewer levels")
    else:
        return _Walk().document(root)
    # Raised out here so that nothing of PyYAML's, which quotes the file, hangs on to it.
    raise unreadable


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
    raise Unreadable(line, "holds bytes that are not UTF-8", "save the file as UTF-8")


def _only_document(text: str) -> yaml.MappingNode:
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_node() if loader.check_node() else None
        if root is None or root.tag == _NULL:
            raise Unreadable(None, "is empty", "write at least `routes:` with one route")
        if loader.check_node():
            second = loader.get_node()
            line = second.start_mark.line + 1 if second else None
            raise Unreadable(line, "holds a second document", "keep one, without `---`")
        if not isinstance(root, yaml.MappingNode):
            raise Unreadable(1, "is not a mapping", "begin with a field such as `listen:`")
        return root
    finally:
        loader.dispose()


def _explained(error: yaml.MarkedYAMLError, text: str) -> Unreadable:
    mark = error.problem_mark or error.context_mark
    number = mark.line + 1 if mark else None
    said = error.problem or ""
    problem, mend = next(
        ((problem, mend) for start, problem, mend in _SYNTAX if said.startswith(start)),
        _OTHER_SYNTAX,
    )
    if "stream" in said and error.context_mark:
        # What is not closed began there; the end of the file helps nobody.
        number = error.context_mark.line + 1
    line = "".join(text.split("\n")[number - 1 : number]) if number else ""
    if re.search(r":\s*\[[0-9a-fA-F:.]*:[0-9a-fA-F:.]*\]:", line):
        mend = 'put an address that begins with `[` in quotes, as in `"[::]:8080"`'
    elif "${" in line:
        mend = 'put `${…}` in quotes inside `{…}` and `[…]`, as in `"${NAME}"`'
    return Unreadable(number, problem, mend)


class _Walk:
    """Turns PyYAML's nodes into data, in one pass that aliases cannot make long."""

    def __init__(self) -> None:
        self._lines: dict[Where, int] = {}
        self._unquoted: set[Where] = set()
        self._findings: list[Finding] = []
        self._constructor = SafeConstructor()
        self._values = 0
        self._depth = 0

    def document(self, root: yaml.MappingNode) -> Document:
        data = self._value(root, ())
        return Document(data, self._lines, frozenset(self._unquoted), tuple(self._findings))

    def _value(self, node: yaml.Node, where: Where) -> Any:
        self._values += 1
        if self._values > MAX_VALUES or self._depth >= MAX_DEPTH:
            line = node.start_mark.line + 1
            raise Unreadable(line, "is nested too deeply or too large", "use fewer aliases")
        self._lines.setdefault(where, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, where)
        self._depth += 1
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, where)
            return [self._value(item, (*where, i)) for i, item in enumerate(node.value)]
        finally:
            self._depth -= 1

    def _mapping(self, node: yaml.MappingNode, where: Where) -> dict[str, Any]:
        data: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key, value in node.value:
            if key.tag == _MERGE:
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
            elif not isinstance(key, yaml.ScalarNode):
                self._fault(where, key, "has a field whose name is no text", "name it with a word")
            elif key.value in data:
                self._repeated(key, where)
            else:
                self._lines.setdefault((*where, key.value), key.start_mark.line + 1)
                data[key.value] = self._value(value, (*where, key.value))
        # What is written here wins over what is merged in, and an earlier `<<` over a later one.
        for source in merged:
            inherited = self._value(source, where)
            if isinstance(inherited, dict):
                data = {**inherited, **data}
            else:
                self._fault(where, source, "has a `<<` that is no mapping", "name a mapping")
        return data

    def _scalar(self, node: yaml.ScalarNode, where: Where) -> Any:
        if node.tag in _TEXTS:
            if node.style is None:
                self._unquoted.add(where)
            return node.value
        read = _SCALARS.get(node.tag)
        if read is None:
            self._fault(where, node, "has a YAML tag", "remove it, or put the value in quotes")
            return None
        try:
            return read(self._constructor, node)
        except ValueError:
            # Looks like a number and is none (`0b_`), or has thousands of digits.
            return node.value

    def _repeated(self, key: yaml.ScalarNode, where: Where) -> None:
        if _FIELD_NAME.fullmatch(key.value):
            self._fault((*where, key.value), key, "stands here twice", "keep one")
        else:
            self._fault(where, key, "has a field twice", "keep one")

    def _fault(self, where: Where, node: yaml.Node, problem: str, mend: str) -> None:
        line = node.start_mark.line + 1
        self._findings.append(Finding(where, problem, mend, line=line))


# Moments are read where they belong: a name may look like one.
_TEXTS = frozenset({"tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp"})
_SCALARS: dict[str, Callable[[SafeConstructor, yaml.ScalarNode], Any]] = {
    _NULL: SafeConstructor.construct_yaml_null,
    "tag:yaml.org,2002:bool": SafeConstructor.construct_yaml_bool,
    "tag:yaml.org,2002:int": SafeConstructor.construct_yaml_int,
    "tag:yaml.org,2002:float": SafeConstructor.construct_yaml_float,
}
