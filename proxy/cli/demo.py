"""`wskeeper demo`: the real thing on loopback, with example services and a key to paste."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shlex
import socket
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from aiohttp import web

from backends import chat, clock, echo
from proxy.admin.try_page.page import TryPage
from proxy.cli.running import loop_factory, run
from proxy.config.key_fields import KeyFields
from proxy.config.model import Config
from proxy.keys.key import digest_of
from proxy.keys.made import made as key_of
from proxy.keys.secret import make_secret
from proxy.listeners import CannotListen
from proxy.stores.open import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_PUBLIC: Final = 8080
_ADMIN: Final = 8081
_SERVICES: Final = {
    "echo": echo.application,
    "chat": chat.application,
    "clock": clock.application,
}

# What the chat's route takes and how it refuses; the others refuse over HTTP.
_FOR_BROWSERS: Final = {
    "carriers": [{"header": "X-Api-Key"}, "bearer", "subprotocol", "ticket", "first_message"],
    "refuse_with": "auto",
}

_LINES: Final = """\
wskeeper demo: three services without authentication, behind a gateway that asks for a key.

  echo    ws://{public}/echo        sends back what you send
  chat    ws://{public}/chat/room1  what one says, all in the room hear
  clock   ws://{public}/clock       tells the time every second
  console http://{admin}/          every session, key and route, live
  metrics http://{admin}/metrics

This run's key (gone when it stops):

  {key}

A browser's ways in, and what it sees when it is refused:

  http://{admin}/try#key={key}

Paste these into another terminal{first}:

  {folder}python -m websockets ws://{public}/clock     refused: 401, there is no key
  websocat -H='X-Api-Key: {key}' ws://{public}/chat/room1
  npx wscat -H 'X-Api-Key: {key}' -c ws://{public}/echo
  {folder}python -c "
from websockets.sync.client import connect
with connect('ws://{public}/clock', additional_headers={{'X-Api-Key': '{key}'}}) as ws:
    for _ in range(3): print(ws.recv())"

Open a connection with one of these, then take its key away and watch it end with 1008:

  {folder}wskeeper connections list --admin http://{admin}
  {folder}wskeeper keys revoke demo --store {store}

Ctrl-C stops everything. What happens is logged below.
"""


@click.command()
def demo() -> None:
    """Run example services and a gateway on loopback, with a key for this run."""
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_demo())
    except CannotListen as failure:
        raise click.ClickException(str(failure)) from None


async def _demo() -> None:
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="wskeeper-demo-"))
        store = f"sqlite:{folder}/wskeeper.db"
        key = _keep_key(store)
        ports = {
            name: await stack.enter_async_context(_service(make()))
            for name, make in _SERVICES.items()
        }
        public, admin = (f"127.0.0.1:{_free(port)}" for port in (_PUBLIC, _ADMIN))
        pages = [f"http://{admin}", f"http://{admin}".replace("127.0.0.1", "localhost")]
        config = Config.model_validate(
            {
                "listen": public,
                "admin": {"listen": admin},
                "store": store,
                "carriers": [{"header": "X-Api-Key"}, "bearer", "subprotocol"],
                "routes": [
                    {"name": name, "path": f"/{name}", "upstream": f"ws://127.0.0.1:{port}"}
                    | (_FOR_BROWSERS | {"origins": pages} if name == "chat" else {})
                    for name, port in ports.items()
                ],
            }
        )
        lines = _LINES.format(
            public=public, admin=admin, key=key, store=store, folder=_folder(), first=_first()
        )
        page = TryPage(public, chat="/chat/room1", plain="/clock")
        await run(config, started=lambda _: click.echo(lines), try_page=page)


def _folder() -> str:
    """Where the commands of this installation are, as one would type it here."""
    folder = Path(sys.executable).parent
    here = Path.cwd()
    return shlex.quote(
        str(folder.relative_to(here) if folder.is_relative_to(here) else folder) + "/"
    )


def _first() -> str:
    """What is to be done first, where the client library of the lines is not installed."""
    if find_spec("websockets") is not None:
        return ""
    return f" (Python's need `{_folder()}python -m pip install websockets` first)"


def _keep_key(url: str) -> str:
    """Makes a store that holds one key, whose secret is returned."""
    made = make_secret(secrets.randbelow)
    fields = KeyFields(name="demo")
    digest = digest_of(made.text.encode())
    store = open_store(url, create=True)
    try:
        store.add([key_of(fields, id=made.id, digest=digest, now=time.time())], by="demo")
    finally:
        store.close()
    return made.text


@contextlib.asynccontextmanager
async def _service(application: web.Application) -> AsyncIterator[int]:
    """One example service on a port of the system's choice, which is yielded."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _free(wanted: int) -> int:
    """The wanted port, or another one when somebody has it."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    return wanted
