"""Which live sessions a page shows, and in which order: filters, sorting and paging."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from proxy.config import values
from proxy.console.paging import Paged, Sort, page_number, paged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from proxy.config.values import Network
    from proxy.sessions.live import LiveSession

_Place = tuple[Any, ...]


def _totals(session: LiveSession, name: str) -> int:
    return sum(getattr(scanner, name) for scanner in session.state.scanners)


# By what the table can be sorted. The id at the end keeps the order of equals from changing.
ORDERS: Final[Mapping[str, Callable[[LiveSession], _Place]]] = {
    # The youngest has the least age.
    "age": lambda session: (-session.opened_at, session.id),
    "route": lambda session: (session.route, session.id),
    "key": lambda session: (session.principal.key_name or "", session.id),
    "subject": lambda session: (session.principal.subject or "", session.id),
    "client": lambda session: (session.address.version, session.address, session.id),
    "messages": lambda session: (_totals(session, "messages"), session.id),
    "bytes": lambda session: (_totals(session, "bytes"), session.id),
}
DEFAULT_ORDER: Final = Sort("age", descending=False)


class Filter(NamedTuple):
    """Which sessions; what is empty chooses nothing.

    Args:
        key: the id of a key, or a part of its name in any case.
        route: the name of a route.
        address: of a client, or a network of clients.
        subject: a part of it, in any case.
    """

    key: str = ""
    route: str = ""
    address: str = ""
    subject: str = ""

    @property
    def given(self) -> dict[str, str]:
        """What was asked for, by name."""
        return {name: value for name, value in self._asdict().items() if value}

    def network(self) -> Network | None:
        """The clients' network; None for any.

        Raises:
            Wrong: the address is none.
        """
        return values.network(self.address) if self.address else None


class Query(NamedTuple):
    """What a page of the table is to show; `page` counts from 1."""

    filter: Filter
    sort: Sort
    page: int


def read_query(given: Mapping[str, str]) -> Query:
    """What is asked for, by the parameters of a URL; what makes no sense is left out."""
    wanted = Filter(**{name: given.get(name, "").strip() for name in Filter._fields})
    sort = Sort.read(given.get("sort", ""), ORDERS, DEFAULT_ORDER)
    return Query(wanted, sort, page_number(given.get("page", "")))


def chosen(sessions: Iterable[LiveSession], wanted: Filter) -> list[LiveSession]:
    """The sessions that a filter admits.

    Raises:
        Wrong: its address is none.
    """
    tests: list[Callable[[LiveSession], bool]] = []
    network = wanted.network()
    if wanted.route:
        tests.append(lambda session: session.route == wanted.route)
    if wanted.key:
        tests.append(_has_key(wanted.key))
    if wanted.subject:
        tests.append(_has_subject(wanted.subject))
    if network is not None:
        tests.append(lambda session: session.address in network)
    return [session for session in sessions if all(test(session) for test in tests)]


def _has_key(text: str) -> Callable[[LiveSession], bool]:
    part = text.lower()

    def has_key(session: LiveSession) -> bool:
        key = session.principal.key
        return key is not None and (key.id == text or part in key.name.lower())

    return has_key


def _has_subject(text: str) -> Callable[[LiveSession], bool]:
    part = text.lower()

    def has_subject(session: LiveSession) -> bool:
        subject = session.principal.subject
        return subject is not None and part in subject.lower()

    return has_subject


def found(sessions: Iterable[LiveSession], query: Query) -> Paged[LiveSession]:
    """The page that is asked for.

    Raises:
        Wrong: the filter's address is none.
    """
    return paged(
        chosen(sessions, query.filter),
        ORDERS[query.sort.by],
        descending=query.sort.descending,
        page=query.page,
    )
