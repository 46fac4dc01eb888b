"""What a session decides: commands for the sockets of its two legs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias


class Side(IntEnum):
    """One of the two legs."""

    CLIENT = 0
    UPSTREAM = 1

    @property
    def other(self) -> Side:
        return OTHER[self]


# For whom a property is too slow.
OTHER: Final = (Side.UPSTREAM, Side.CLIENT)


@dataclass(slots=True)
class Send:
    """Write these bytes to a leg."""

    side: Side
    data: bytes


@dataclass(slots=True)
class Finish:
    """Send FIN behind what is pending; the leg stays open for reading."""

    side: Side


@dataclass(frozen=True, slots=True)
class Close:
    """Flush a leg, then close it."""

    side: Side


@dataclass(slots=True)
class Abort:
    """Drop a leg with all that is pending."""

    side: Side


@dataclass(frozen=True, slots=True)
class Divert:
    """From now on bytes of both legs come to `Session.diverted`."""


@dataclass(slots=True)
class Later:
    """Show these bytes of a leg to `Session.diverted` when other sessions had their turn."""

    side: Side
    data: bytes


@dataclass(frozen=True, slots=True)
class Deadline:
    """Call `Session.overdue` in so many seconds, in place of any earlier deadline."""

    seconds: float


Command: TypeAlias = Send | Finish | Close | Abort | Divert | Later | Deadline
