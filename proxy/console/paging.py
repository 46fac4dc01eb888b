"""Tables that come in pages: which page, in which order, and what lies around it."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

_T = TypeVar("_T")

# Rows of a page: what fits on two screens.
ROWS: Final = 50

# Beyond it a number is a slip.
_MOST_DIGITS: Final = 7


class Sort(NamedTuple):
    """An order, written as in `bytes`, or `-bytes` for the other way round."""

    by: str
    descending: bool

    @classmethod
    def read(cls, text: str, known: Collection[str], default: Sort) -> Sort:
        """What the text says; the default when it is none of the known orders."""
        by = text.removeprefix("-")
        return cls(by, text.startswith("-")) if by in known else default

    def __str__(self) -> str:
        return f"-{self.by}" if self.descending else self.by


class Place(NamedTuple):
    """What of a table somebody looks at, as its address says it.

    Args:
        path: of its page.
        given: the filters that were given.
        sort: its order.
        default: the order that needs no words.
        falling: the columns of which the largest, or the latest, come first.
    """

    path: str
    given: Mapping[str, str]
    sort: Sort
    default: Sort
    falling: Collection[str] = ()

    def at(self, page: int) -> str:
        """The address of another page of it."""
        return self._address(self.sort, page)

    def turned(self, by: str) -> str:
        """The address that a click on a column's head leads to."""
        if self.sort.by == by:
            return self._address(self.sort._replace(descending=not self.sort.descending), 1)
        return self._address(Sort(by, descending=by in self.falling), 1)

    def _address(self, sort: Sort, page: int) -> str:
        told = dict(self.given)
        if sort != self.default:
            told["sort"] = str(sort)
        if page > 1:
            told["page"] = str(page)
        return f"{self.path}?{urlencode(told)}" if told else self.path


@dataclass(frozen=True, slots=True)
class Paged(Generic[_T]):
    """One page of a table.

    Args:
        rows: of this page.
        page: which one it is, from 1.
        total: rows of all pages.
    """

    rows: Sequence[_T]
    page: int
    total: int

    @property
    def pages(self) -> int:
        """How many there are; an empty table has one."""
        return max(1, -(-self.total // ROWS))

    @property
    def first(self) -> int:
        """The number of its first row, from 1; 0 when there is none."""
        return (self.page - 1) * ROWS + 1 if self.rows else 0

    @property
    def last(self) -> int:
        """The number of its last row."""
        return (self.page - 1) * ROWS + len(self.rows)


def page_number(text: str) -> int:
    """A page's number; 1 when the text is none."""
    sound = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
    return max(1, int(text)) if sound else 1


def paged(
    rows: Collection[_T], order: Callable[[_T], Any], *, descending: bool, page: int
) -> Paged[_T]:
    """The page that is asked for, or the last when there are not so many.

    Args:
        rows: of the whole table, in any order.
        order: what they are sorted by.
        page: from 1.
    """
    page = min(page, max(1, -(-len(rows) // ROWS)))
    # Most often the first page is asked for, and no more than that needs an order.
    pick = heapq.nlargest if descending else heapq.nsmallest
    return Paged(pick(page * ROWS, rows, key=order)[(page - 1) * ROWS :], page, len(rows))
