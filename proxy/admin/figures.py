"""What passed since the start, of ended sessions and live ones, added up when somebody asks."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from proxy.errors import ACCEPTED, CLIENT_GONE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.admin.desk import AdminDesk
    from proxy.sessions.registry import Registry


class Passed(NamedTuple):
    """What was relayed; pairs are (from the client, from the upstream)."""

    messages: tuple[int, int] = (0, 0)
    bytes: tuple[int, int] = (0, 0)

    def described(self) -> dict[str, int]:
        """As JSON."""
        return {
            "messages_from_client": self.messages[0],
            "messages_from_upstream": self.messages[1],
            "bytes_from_client": self.bytes[0],
            "bytes_from_upstream": self.bytes[1],
        }


def passed_by_route(registry: Registry) -> dict[str, Passed]:
    """What each route has relayed, those that are gone from the configuration too."""
    figures = {name: [*totals.messages, *totals.bytes] for name, totals in registry.totals.items()}
    for session in registry:
        sent, received = session.state.scanners
        row = figures.setdefault(session.route, [0, 0, 0, 0])
        row[0] += sent.messages
        row[1] += received.messages
        row[2] += sent.bytes
        row[3] += received.bytes
    return {name: Passed((row[0], row[1]), (row[2], row[3])) for name, row in figures.items()}


def totals(desk: AdminDesk) -> dict[str, Any]:
    """What happened since the start, of the whole gateway; none of it ever falls."""
    passed = passed_by_route(desk.registry).values()
    outcomes: Counter[str] = Counter()
    for route in desk.registry.totals.values():
        outcomes.update(route.outcomes)
    accepted = outcomes.pop(ACCEPTED, 0)
    gone = outcomes.pop(CLIENT_GONE, 0)
    return {
        "accepted": accepted,
        "client_gone": gone,
        "refused": dict(sorted(outcomes.items())),
        "limited": _by_limit(desk.limited()),
        **Passed(
            (sum(one.messages[0] for one in passed), sum(one.messages[1] for one in passed)),
            (sum(one.bytes[0] for one in passed), sum(one.bytes[1] for one in passed)),
        ).described(),
    }


def _by_limit(limited: Mapping[tuple[str, str], int]) -> dict[str, int]:
    counts: defaultdict[str, int] = defaultdict(int)
    for (_route, limit), count in sorted(limited.items()):
        counts[limit] += count
    return dict(counts)
