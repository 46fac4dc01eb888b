"""`examples/forward_auth.py`, before an HTTP service as the documents describe it."""

from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from proxy.errors import Refused
from proxy.identity.plugins import PluginDesk, load_plugin
from tests.docs.markdown import PROJECT
from tests.unit.auth.asked import question
from tests.unit.sessions.scene import House

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.keys.principal import Principal

EXAMPLE = PROJECT / "examples/forward_auth.py"
TOKEN = "Bearer CANARY-token"


class Service:
    """Knows one token; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[web.Request] = []
        self.answer: web.Response | None = None

    async def auth(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        if self.answer is not None:
            return self.answer
        if request.headers.get("Authorization") != TOKEN:
            return web.Response(status=401)
        return web.Response(headers={"X-Auth-Subject": "ada"})


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    service = Service()
    app = web.Application()
    app.router.add_get("/auth", service.auth)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    monkeypatch.setenv("FORWARD_AUTH_URL", f"http://127.0.0.1:{runner.addresses[0][1]}/auth")
    yield service
    await runner.cleanup()


@pytest.fixture
def ask(service: Service, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Asks as the gateway does."""
    monkeypatch.syspath_prepend(EXAMPLE.parent)
    monkeypatch.delitem(sys.modules, "forward_auth", raising=False)
    name = "forward_auth:authenticate"
    desk = PluginDesk([(name, load_plugin(name))], House().log)

    async def run(*lines: str) -> Principal | None:
        return await desk.ask(question(*lines, path=b"/chat/x", query=b"?k=CANARY"), None)

    return run


async def test_whom_the_service_knows_is_let_in_under_its_name(ask: Any) -> None:
    principal = await ask(f"Authorization: {TOKEN}")
    assert (principal.auth, principal.subject) == ("plugin", "ada")
    assert b"X-Wskeeper-Subject: ada" in principal.headers


async def test_the_service_hears_of_the_request(ask: Any, service: Service) -> None:
    await ask(f"Authorization: {TOKEN}", "Cookie: sid=1", "X-Other: no", "Sec-WebSocket-Key: no")
    [asked] = service.asked
    assert asked.headers["X-Forwarded-Uri"] == "/chat/x"
    assert asked.headers["X-Forwarded-For"] == "192.0.2.7"
    assert asked.headers["Cookie"] == "sid=1"
    assert not {"X-Other", "Sec-WebSocket-Key"} & asked.headers.keys()


@pytest.mark.parametrize("status", [204, 302, 401, 403, 404, 500])
async def test_every_other_answer_keeps_the_caller_out(
    ask: Any, service: Service, status: int
) -> None:
    service.answer = web.Response(status=status, headers={"X-Auth-Subject": "ada"})
    with pytest.raises(Refused) as refused:
        await ask(f"Authorization: {TOKEN}")
    assert refused.value.code == "plugin_refused"


async def test_a_service_that_is_down_keeps_everybody_out(
    ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["forward_auth"], "URL", "http://127.0.0.1:1/auth")
    with pytest.raises(Refused):
        await ask(f"Authorization: {TOKEN}")


def test_the_example_has_fewer_than_20_lines_of_code() -> None:
    lines = [line for line in EXAMPLE.read_text().splitlines() if line.strip()]
    assert len(lines) < 20
    assert ast.get_docstring(ast.parse(EXAMPLE.read_text()))
