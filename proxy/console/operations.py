"""Where the pages of connections, keys and events stand, and who may ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.console import connections, events, keys, keys_changing, session_page

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from proxy.admin.access import Role

_KEY: Final = "/keys/{key}"
_SESSION: Final = "/connections/{connection}"

PAGES: Final[tuple[tuple[str, str, Role, Handler], ...]] = (
    ("GET", "/connections", "viewer", connections.show_connections),
    # Apart from the sessions' own pages: an id of a trusted proxy's may be any word.
    ("GET", "/close", "operator", connections.ask_to_close),
    ("POST", "/close", "operator", connections.close),
    ("GET", _SESSION, "viewer", session_page.show_session),
    ("GET", _SESSION + "/close", "operator", session_page.ask_to_close),
    ("POST", _SESSION + "/close", "operator", session_page.close),
    ("GET", "/events", "viewer", events.show_events),
    ("GET", "/keys", "viewer", keys.show_keys),
    ("GET", "/new-key", "admin", keys_changing.ask_for_new),
    ("POST", "/keys", "admin", keys_changing.create),
    ("GET", _KEY, "viewer", keys.show_key),
    ("GET", _KEY + "/edit", "admin", keys_changing.ask_for_changes),
    ("POST", _KEY + "/edit", "admin", keys_changing.change),
    ("GET", _KEY + "/rotate", "admin", keys_changing.ask_to_rotate),
    ("POST", _KEY + "/rotate", "admin", keys_changing.rotate),
    *(
        entry
        for deed in keys_changing.DEEDS
        for entry in (
            ("GET", f"{_KEY}/{deed.verb}", deed.role, keys_changing.asking(deed)),
            ("POST", f"{_KEY}/{deed.verb}", deed.role, keys_changing.doing(deed)),
        )
    ),
)
