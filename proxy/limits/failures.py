"""Failed credentials by client: who guesses is not listened to for a while."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable

# Seconds for which a failure counts.
WINDOW: Final = 60.0

# Failures that are remembered at a time, of all clients: about ten megabytes. The oldest go
# first; whoever commands so many addresses is not kept from guessing by a limit for each.
MAX_FAILURES: Final = 20_000

# Enough of a digest to tell credentials apart, too little to find one by.
_KEPT: Final = 8


class AuthFailures:
    """Failures of the last minute.

    The same credential counts once a minute: a device with an outdated key does not keep its
    neighbours out, a guesser needs a new one each time.

    Args:
        per_minute: different failed credentials that a client may show.
        max_failures: that are remembered of all clients together.
    """

    def __init__(self, per_minute: int, *, max_failures: int = MAX_FAILURES) -> None:
        self._per_minute = per_minute
        self._max_failures = max_failures
        # When each failure of a client was counted, oldest first; all of them, oldest first.
        self._of: dict[Hashable, dict[bytes, float]] = {}
        self._all: deque[tuple[float, Hashable, bytes]] = deque()

    def __len__(self) -> int:
        """Failures that are remembered."""
        return len(self._all)

    def note(self, client: Hashable, digest: bytes, now: float) -> None:
        """Counts a failed credential; one that is missing is no failure.

        Args:
            client: as `counted_as` says.
            digest: of the credential.
            now: seconds on any steady clock.
        """
        self.forget(now)
        mark = digest[:_KEPT]
        seen = self._of.setdefault(client, {})
        if mark in seen or len(seen) >= self._per_minute:
            return  # Checks that were under way together may bring more than the limit.
        seen[mark] = now
        self._all.append((now, client, mark))
        if len(self._all) > self._max_failures:
            self._forget_oldest()

    def exhausted(self, client: Hashable, now: float) -> float | None:
        """Seconds until the client is listened to again; None when it is."""
        self.forget(now)
        seen = self._of.get(client)
        if seen is None or len(seen) < self._per_minute:
            return None
        return next(iter(seen.values())) + WINDOW - now

    def forget(self, now: float) -> None:
        """Drops what is a minute old."""
        while self._all and self._all[0][0] <= now - WINDOW:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, client, mark = self._all.popleft()
        seen = self._of[client]
        del seen[mark]
        if not seen:
            del self._of[client]
