"""What the admin listener asks of pages that it serves beside the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiohttp import web

    from proxy.admin.problems import Problem


class Pages(Protocol):
    """HTML pages: the console."""

    @property
    def open_paths(self) -> Collection[str]:
        """Resources that anybody may ask for."""
        ...

    def mount(self, app: web.Application) -> None:
        """Puts the pages into an application that has not started."""
        ...

    def refusing(self, request: web.Request, problem: Problem) -> web.StreamResponse | None:
        """A problem as a page, for whoever reads pages; None for all others."""
        ...
