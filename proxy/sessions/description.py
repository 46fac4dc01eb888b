"""A live session as people and programs see it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxy.sessions.live import LiveSession


def described(session: LiveSession, *, now: float, wall: float) -> dict[str, Any]:
    """A session as JSON.

    Args:
        now: on the loop's clock.
        wall: the same moment in seconds since the epoch.
    """
    duration = now - session.opened_at
    principal = session.principal
    sent, received = session.state.scanners
    return {
        "id": session.id,
        "route": session.route,
        "auth": principal.auth,
        "key_id": principal.key_id,
        "key_name": principal.key_name,
        "subject": principal.subject,
        "client": session.client,
        "upstream": session.upstream,
        "opened_at": datetime.fromtimestamp(wall - duration, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z"),
        "duration_s": round(duration, 3),
        "messages_from_client": sent.messages,
        "messages_from_upstream": received.messages,
        "bytes_from_client": sent.bytes,
        "bytes_from_upstream": received.bytes,
    }
