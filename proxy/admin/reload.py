"""Reading the configuration again, asked for over the admin API."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from proxy.admin import key_bodies
from proxy.admin.answers import shown
from proxy.admin.desk import DESK, OPERATOR
from proxy.admin.problems import Problem, rejected
from proxy.admin.reading import json_object, parameters
from proxy.config.difference import told
from proxy.config.faults import ConfigInvalid

if TYPE_CHECKING:
    from aiohttp import web


class Reloaded(NamedTuple):
    """What a reload did.

    Args:
        changed: places of the document whose new value holds.
        needs_restart: places whose value in force stays until a restart.
        closed: sessions that are not admitted any more.
        warnings: what of the new configuration deserves a look.
    """

    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]
    closed: int
    warnings: tuple[str, ...]


class NotNow(Exception):
    """The gateway is going away, and takes no other configuration."""


async def reload(request: web.Request) -> web.Response:
    """Reads the configuration again, and says what that changed."""
    desk = request.app[DESK]
    parameters(request, ())
    key_bodies.read(key_bodies.Nothing, await json_object(request))
    try:
        done = await desk.reload(request[OPERATOR].by)
    except ConfigInvalid as invalid:
        raise rejected(invalid.faults) from None
    except NotNow:
        raise Problem("draining", "Ask the gateway that takes its place.") from None
    return shown(
        {
            "changed": told(done.changed),
            "needs_restart": told(done.needs_restart),
            "closed": done.closed,
            "warnings": list(done.warnings),
        }
    )
