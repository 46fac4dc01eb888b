"""One limit: how much, and who said so."""

from __future__ import annotations

from typing import NamedTuple


class Limit(NamedTuple):
    """A limit that is set.

    Args:
        name: as in the configuration, such as `messages_per_second`.
        value: as it is set.
        set_in: the place where it is set, such as `routes.chat.limits.messages_per_second`.
    """

    name: str
    value: float
    set_in: str


def strictest(*limits: Limit | None) -> Limit | None:
    """The lowest of several limits of one kind; None when none is set."""
    return min((limit for limit in limits if limit is not None), key=_value, default=None)


def _value(limit: Limit) -> float:
    return limit.value
