"""The console on a real socket, before a gateway on paper, and somebody with a browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Self
from urllib.parse import urlencode

from proxy.console.sampler import Sampler
from proxy.console.site import Console
from proxy.deadlines import Deadlines
from proxy.sessions.recorder import Recorders
from tests.unit.admin import scene

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.unit.admin.scene import Answer

FORM = "application/x-www-form-urlencoded"


class Scene(scene.Scene):
    """A listener with the console.

    Args:
        tokens: whether somebody has to log in.
        role: whose token was logged in with; None for nobody yet.
        host: how the browser calls it.
        how: see the scene of the admin API.
    """

    def __init__(
        self,
        *,
        tokens: bool = True,
        role: str | None = "admin",
        host: str = "localhost",
        **how: object,
    ) -> None:
        super().__init__(tokens=tokens, pages=_console, **how)  # type: ignore[arg-type]
        self._role = role if tokens else None
        self.cookie = ""
        self.host = host

    def __enter__(self) -> Self:
        super().__enter__()
        if self._role is not None:
            self.log_in(scene.TOKENS[self._role])
        return self

    def log_in(self, token: str, **fields: str) -> Answer:
        answer = self.post("/login", {"token": token, **fields}, csrf=None)
        self.cookie = answer.headers.get("set-cookie", "").partition(";")[0] or self.cookie
        return answer

    def get(self, target: str, *lines: str, html: bool = True) -> Answer:
        """Asks as a browser does that shows a page."""
        return self.ask(
            "GET", target, lines=[*self._lines(html=html), *lines], host=self.host, token=None
        )

    def post(
        self, target: str, fields: dict[str, str] | None = None, *lines: str, csrf: str | None = ""
    ) -> Answer:
        """Sends a form.

        Args:
            csrf: its hidden field; empty for the right one, None for none.
        """
        given = dict(fields or {})
        if csrf is not None:
            given["csrf"] = csrf or self.csrf()
        return self.ask(
            "POST",
            target,
            urlencode(given).encode(),
            lines=[*self._lines(html=True), f"Content-Type: {FORM}", *lines],
            host=self.host,
            token=None,
            json_type=False,
        )

    def seen(self, target: str) -> str:
        """What the form of a key's page carries of the key."""
        found = re.search(rb'name="seen" value="([^"]+)"', self.get(target).body)
        assert found is not None
        return found[1].decode()

    def csrf(self) -> str:
        """What the forms of this login carry."""
        found = re.search(rb'"X-CSRF-Token": "(\w+)"', self.get("/routes").body)
        assert found is not None
        return found[1].decode()

    def _lines(self, *, html: bool) -> Iterable[str]:
        if html:
            yield "Accept: text/html,application/xhtml+xml,*/*;q=0.8"
        if self.cookie:
            yield f"Cookie: {self.cookie}"


def _console(scene: scene.Scene) -> Console:
    return Console(
        Sampler(scene.registry, lambda: scene.now, scene.loop),
        Recorders(Deadlines(scene.loop), scene.loop),
        try_page=False,
    )
