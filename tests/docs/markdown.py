"""Markdown as far as the project's own pages use it: fenced blocks, tables, headings, links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PROJECT = Path(__file__).parents[2]

_FENCE = re.compile(r"^```(?P<language>\S*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6} +(?P<text>.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_SPAN = re.compile(r"`([^`]+)`")
_CELLS = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class Block:
    """A fenced block and where it begins."""

    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Table:
    """A table under a heading; every row has the header's cells."""

    heading: str
    header: list[str]
    rows: list[list[str]]

    def column(self, name: str) -> list[str]:
        return [row[self.header.index(name)] for row in self.rows]


class Page:
    """One document."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path.relative_to(PROJECT))
        self.text = path.read_text(encoding="utf-8")

    @cached_property
    def blocks(self) -> list[Block]:
        return [
            Block(match["language"], match["text"], self.text.count("\n", 0, match.start()) + 1)
            for match in _FENCE.finditer(self.text)
        ]

    def blocks_in(self, *languages: str) -> list[Block]:
        return [block for block in self.blocks if block.language in languages]

    @cached_property
    def prose(self) -> str:
        """The text without its fenced blocks."""
        return _FENCE.sub("", self.text)

    @property
    def links(self) -> list[str]:
        return [match["target"] for match in _LINK.finditer(self.prose)]

    @property
    def spans(self) -> list[str]:
        """What stands in the prose as `code`, line breaks read as spaces."""
        return [" ".join(span.split()) for span in _SPAN.findall(self.prose)]

    @property
    def anchors(self) -> set[str]:
        """The headings as GitHub names them in links."""
        return {slug(match["text"]) for match in _HEADING.finditer(self.prose)}

    @cached_property
    def tables(self) -> list[Table]:
        found: list[Table] = []
        heading = ""
        rows: list[list[str]] = []
        for line in [*self.prose.splitlines(), ""]:
            if line.startswith("|"):
                rows.append([cell.strip() for cell in _CELLS.split(line.strip())[1:-1]])
                continue
            if rows:
                found.append(Table(heading, rows[0], rows[2:]))
                rows = []
            if match := _HEADING.match(line):
                heading = match["text"]
        return found

    def table(self, *, under: str, first_column: str) -> Table:
        """The table under a heading whose first column has that name."""
        [table] = [
            table
            for table in self.tables
            if table.heading == under and table.header[0] == first_column
        ]
        return table


def slug(heading: str) -> str:
    """A heading's anchor: lower case, without punctuation, blanks as hyphens."""
    kept = re.sub(r"[^\w\- ]", "", heading.lower())
    return kept.strip().replace(" ", "-")


def code(cell: str) -> str:
    """The only `code` in a table's cell."""
    [span] = _SPAN.findall(cell)
    return span


def pages() -> list[Page]:
    """Every document of the project that a reader is pointed to."""
    paths = [PROJECT / "README.md", PROJECT / "CHANGELOG.md", *(PROJECT / "docs").rglob("*.md")]
    return [Page(path) for path in [*paths, *(PROJECT / "deploy").rglob("*.md")]]


def page(name: str) -> Page:
    """The document with that path in the project."""
    return Page(PROJECT / name)
