"""Texts that nobody can guess."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# Request ids drawn from the kernel at a time.
_IDS_PER_DRAW: Final = 64


def unguessable_ids() -> Callable[[], str]:
    """Ids of 128 random bits; drawn in batches, since asking the kernel is what costs."""
    drawn: list[str] = []

    def next_id() -> str:
        if not drawn:
            noise = secrets.token_hex(16 * _IDS_PER_DRAW)
            drawn.extend(noise[at : at + 32] for at in range(0, len(noise), 32))
        return drawn.pop()

    return next_id


def new_ticket() -> str:
    """The text of a ticket: 192 random bits."""
    return "wst_" + secrets.token_urlsafe(24)
