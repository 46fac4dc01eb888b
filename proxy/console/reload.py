"""The pages that read the configuration again: a question, then what it changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.admin.desk import DESK, OPERATOR
from proxy.admin.problems import MOST_FAULTS, Problem
from proxy.admin.reload import NotNow
from proxy.config.difference import told
from proxy.config.faults import ConfigInvalid
from proxy.console.pages import page

if TYPE_CHECKING:
    from aiohttp import web


async def ask_to_reload(request: web.Request) -> web.Response:
    """Whether to."""
    return page(request, "reload.html")


async def reload(request: web.Request) -> web.Response:
    """Reads it, and tells what came of that."""
    try:
        done = await request.app[DESK].reload(request[OPERATOR].by)
    except ConfigInvalid as invalid:
        faults = [fault for fault in invalid.faults if fault.severity == "error"]
        context = {"faults": faults[:MOST_FAULTS], "more": max(0, len(faults) - MOST_FAULTS)}
        return page(request, "reload_rejected.html", context, status=422)
    except NotNow:
        raise Problem("draining", "Ask the gateway that takes its place.") from None
    context = {
        "changed": told(done.changed),
        "needs_restart": told(done.needs_restart),
        "closed": done.closed,
        "warnings": done.warnings,
    }
    return page(request, "reload_done.html", context)
