"""Reloads of a gateway in this process: what they leave behind, their order, whom they tell."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import os
import socket
import sys
import threading
import time
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from proxy.admin.reload import NotNow
from proxy.app import Gateway
from proxy.config.faults import ConfigInvalid
from proxy.config.files import check_files
from proxy.config.load import Loaded, load
from proxy.events import EventRing
from tests.harness.certificates import Certificates
from tests.unit.auth.tokens import jwk, jwks
from tests.unit.sessions.scene import Log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

# What a reload makes anew; of each there is to be as much after a hundred as after one.
MADE = {
    "Adoption",
    "Authenticator",
    "Callers",
    "Checker",
    "Config",
    "Dialer",
    "JwksKeeper",
    "Limiter",
    "Member",
    "Pool",
    "Route",
    "RouteTable",
    "RouteTotals",
    "Rules",
    "SSLContext",
    "Task",
    "_Replaceable",
    "_Watched",
}

USER_TIMEOUT: Any = getattr(socket, "TCP_USER_TIMEOUT", None)


class Scene:
    """A gateway, and the file that it reads again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "wskeeper.yaml"
        self.certificates = Certificates(folder)
        (folder / "jwks.json").write_text(json.dumps(jwks(jwk("RS256"))))
        self.base: dict[str, Any] = {
            "listen": "127.0.0.1:0",
            "admin": {"listen": None},
            "store": "memory:",
            "tls": {"certificate": "certificate.pem", "private_key": "key.pem"},
            "keys": [{"name": "one", "sha256": "0" * 64}],
            "jwt": {"audience": "a", "jwks_file": "jwks.json"},
            "carriers": [{"header": "X-Api-Key"}, "ticket"],
            "routes": [
                {
                    "name": "app",
                    "path": "/app",
                    "origins": "same",
                    "upstream": {
                        "targets": ["wss://127.0.0.1:1", "ws://127.0.0.1:2"],
                        "health": {"interval": "60s"},
                        "tls": {"ca": "certificate.pem"},
                    },
                }
            ],
        }
        self.log = Log()
        self.levels: list[str] = []
        # Called where the file is read, in the thread that reads it.
        self.on_read: Callable[[], object] = lambda: None
        self.gateway: Gateway

    def write(self, **changes: Any) -> None:
        self.path.write_text(yaml.safe_dump({**copy.deepcopy(self.base), **changes}))

    def read(self) -> Loaded:
        self.on_read()
        loaded = load(self.path, environ={})
        if faults := check_files(loaded.config, loaded.places):
            raise ConfigInvalid(faults)
        return loaded

    @asynccontextmanager
    async def serving(self, *, file: bool = True) -> AsyncIterator[Gateway]:
        self.write()
        loop = asyncio.get_running_loop()
        self.gateway = Gateway(
            self.read().config,
            self.log,
            loop,
            events=EventRing(time.time),
            set_level=self.levels.append,
            reread=self.read if file else None,
        )
        await self.gateway.start()
        try:
            yield self.gateway
        finally:
            await self.gateway.close()

    async def reload(self, **changes: Any) -> Any:
        self.write(**changes)
        return await self.gateway.reloading.reload("test")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def counted() -> Counter[str]:
    gc.collect()
    found = Counter(type(thing).__name__ for thing in gc.get_objects())
    # Frozen values without containers are not tracked; these all are.
    return Counter({name: found[name] for name in MADE})


def open_files() -> int:
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - a count


async def test_hundred_reloads_leave_nothing_behind(scene: Scene) -> None:
    app = scene.base["routes"][0]
    (scene.folder / "other.json").write_text((scene.folder / "jwks.json").read_text())
    variants: list[dict[str, Any]] = [
        {"routes": [app, {**app, "name": "n", "path": "/n"}], "log": {"level": "debug"}},
        {"routes": [{**app, "name": "m"}], "keys": [], "jwt": None, "carriers": ["bearer"]},
        {"jwt": {"audience": "a", "jwks_file": "other.json"}, "store_grace": "1s"},
        {"routes": [{**app, "upstream": {**app["upstream"], "tls": {"verify": False}}}]},
        {"timeouts": {"handshake": "7s"}, "limits": {"unauthenticated": 7}},
        {"colour": "red"},
        {"plugins": ["no_such_module:plugin"], "routes": [{**app, "name": "never"}]},
    ]

    async def rounds(count: int) -> None:
        for number in range(count):
            changes = copy.deepcopy(variants[number % len(variants)])
            try:
                await scene.reload(**changes)
            except ConfigInvalid:
                assert changes.keys() & {"colour", "plugins"}
        for _ in range(2):  # Routes that are gone are measured until the reload after.
            await scene.reload()
        await asyncio.sleep(0.05)  # What was cancelled ends.

    outside = counted()  # Tests before this one may have left some in the same process.
    async with scene.serving() as gateway:
        await rounds(14)
        before, files = counted(), open_files()
        assert {"Rules": 1, "Callers": 1, "Checker": 1}.items() <= (before - outside).items()
        await rounds(100)
        assert counted() <= before
        assert open_files() <= files
        assert gateway.measured == ["app"]


async def test_store_and_sockets_outlive_reloads(scene: Scene) -> None:
    async with scene.serving() as gateway:
        public, keeper, ring = gateway.public, gateway.keeper, gateway.ring
        await scene.reload(log={"level": "error"}, store_grace="5s", drain={"timeout": "33s"})
        assert (gateway.public, gateway.keeper, gateway.ring) == (public, keeper, ring)
        assert scene.levels == ["error"]
        assert keeper.grace == 5.0
        assert gateway.config.drain.timeout == 33.0
        assert gateway.reloads.successful


@pytest.mark.skipif(USER_TIMEOUT is None, reason="Linux alone has TCP_USER_TIMEOUT")
async def test_sockets_of_clients_come_with_what_all_routes_agree_on(scene: Scene) -> None:
    def inherited() -> Any:
        (listener,) = gateway.public.sockets if gateway.public is not None else ()
        return listener.getsockopt(socket.IPPROTO_TCP, USER_TIMEOUT)

    async with scene.serving() as gateway:
        assert inherited() == 40_000
        assert gateway.house.user_timeout == 40
        await scene.reload(timeouts={"write": "50s"})
        assert inherited() == 50_000
        other = {**scene.base["routes"][0], "name": "other", "path": "/other"}
        other["keepalive"] = None
        await scene.reload(routes=[*scene.base["routes"], other])
        assert inherited() == 0


async def test_record_tells_of_the_last_reload(scene: Scene) -> None:
    async with scene.serving() as gateway:
        started = gateway.reloads.succeeded_at
        assert gateway.reloads.successful
        with pytest.raises(ConfigInvalid):
            await scene.reload(colour="red")
        assert (gateway.reloads.successful, gateway.reloads.succeeded_at) == (False, started)
        await scene.reload()
        assert gateway.reloads.successful
        assert gateway.reloads.succeeded_at > started


# In turn ---------------------------------------------------------------------------------------


async def test_reloads_come_one_after_the_other(scene: Scene) -> None:
    reading: list[int] = []

    def read() -> None:
        reading.append(1)
        time.sleep(0.01)
        assert sum(reading) == 1
        reading.append(-1)

    async with scene.serving() as gateway:
        scene.on_read = read
        asked = [gateway.reloading.reload(str(number)) for number in range(5)]
        assert len(await asyncio.gather(*asked)) == 5
        assert [fields["by"] for fields in scene.log.events("config_reloaded")] == list("01234")


async def test_signals_that_wait_are_as_one(scene: Scene) -> None:
    async with scene.serving() as gateway:
        reloading = gateway.reloading
        begun = asyncio.Event()
        go = threading.Event()
        loop = asyncio.get_running_loop()

        def read() -> None:
            loop.call_soon_threadsafe(begun.set)
            go.wait(5)

        scene.on_read = read
        reloading.on_signal()
        await begun.wait()
        for _ in range(10):  # The first reads already, and may have missed what these are for.
            reloading.on_signal()
        go.set()
        await reloading.reload("the last")
        by = [fields["by"] for fields in scene.log.events("config_reloaded")]
        assert by == ["signal", "signal", "the last"]
        reloading.on_signal()
        await reloading.reload("again")
        assert len(scene.log.events("config_reloaded")) == 5


async def test_whoever_stops_waiting_does_not_stop_a_reload(scene: Scene) -> None:
    async with scene.serving() as gateway:
        waiting = asyncio.ensure_future(gateway.reloading.reload("gone"))
        await asyncio.sleep(0)
        waiting.cancel()
        await gateway.reloading.reload("here")
        by = [fields["by"] for fields in scene.log.events("config_reloaded")]
        assert by == ["gone", "here"]


async def test_gateway_that_goes_away_takes_no_other_configuration(scene: Scene) -> None:
    async with scene.serving() as gateway:
        before = gateway.config
        gateway.leaving = True
        with pytest.raises(NotNow):
            await scene.reload(keys=[])
        gateway.leaving = False
        # It begins to go away while the file is read.
        scene.on_read = partial(setattr, gateway, "leaving", True)
        with pytest.raises(NotNow):
            await scene.reload(keys=[])
        assert gateway.config is before
        assert not scene.log.events("config_reloaded")


async def test_gateway_is_closed_in_the_midst_of_a_reload(scene: Scene) -> None:
    async with scene.serving() as gateway:
        gateway.reloading.on_signal()
        await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "reload"]


async def test_without_a_file_there_is_nothing_to_read(scene: Scene) -> None:
    async with scene.serving(file=False) as gateway:
        gateway.reloading.on_signal()
        with pytest.raises(ConfigInvalid, match="without a configuration file"):
            await gateway.reloading.reload("test")
        events = scene.log.events("config_rejected")
        assert [event["by"] for event in events] == ["signal", "test"]
        assert "serve -c" in events[0]["errors"][0]


async def test_fault_of_ours_on_a_signal_is_told(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene.serving() as gateway:
        monkeypatch.setattr("proxy.reloading.change", lambda *_: 1 / 0)
        gateway.reloading.on_signal()
        with pytest.raises(ZeroDivisionError):
            await gateway.reloading.reload("test")
        (event,) = scene.log.events("internal_error")
        assert isinstance(event["failure"], ZeroDivisionError)


# Upstreams and files ---------------------------------------------------------------------------


async def test_untouched_route_keeps_what_is_known_of_its_targets(scene: Scene) -> None:
    async with scene.serving() as gateway:
        rules = gateway.admission.rules
        (member, other) = gateway.upstreams._in_force.pools["app"].members
        member.judged(healthy=False, cause="test")
        (checker,) = gateway.upstreams._checkers.values()
        await scene.reload(health_path="/ready")
        assert gateway.admission.rules is not rules
        assert gateway.admission.rules.routes.get("app") is rules.routes.get("app")
        assert gateway.upstreams._in_force.pools["app"].members == (member, other)
        assert list(gateway.upstreams._checkers.values()) == [checker]
        # The same targets, asked in another way: what is known of them stays known.
        await scene.reload(timeouts={"upstream_connect": "1s"})
        assert gateway.upstreams._in_force.pools["app"].members == (member, other)
        (begun,) = gateway.upstreams._checkers.values()
        assert begun is not checker
        assert not member.up
        # Without checks nobody would ever say that it is well again.
        app = copy.deepcopy(scene.base["routes"][0])
        del app["upstream"]["health"]
        await scene.reload(routes=[app])
        (fresh, _) = gateway.upstreams._in_force.pools["app"].members
        assert fresh is not member
        assert fresh.up
        assert not gateway.upstreams._checkers["app"]._tasks


async def test_tls_files_are_looked_at_at_once(scene: Scene) -> None:
    async with scene.serving():
        Certificates(scene.folder)  # A new pair, in place of the old one.
        await scene.reload()
        uses = [{**fields} for fields in scene.log.events("tls_reloaded")]
        assert {"listener": "public"} in uses
        assert {"route": "app"} in uses


async def test_what_fails_at_the_last_moment_changes_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of the second route's TLS vanishes between the check and the use."""

    def context(name: str, settings: Any) -> Any:
        if name == "n":
            raise FileNotFoundError(2, "No such file or directory")
        return upstream(name, settings)

    async with scene.serving() as gateway:
        upstream = gateway.tls_files.upstream
        monkeypatch.setattr(gateway.upstreams, "_context", context)
        watched, config = list(gateway.tls_files._watched), gateway.config
        first = copy.deepcopy(scene.base["routes"][0])
        first["upstream"]["tls"]["verify"] = False
        second = {**first, "name": "n", "path": "/n"}
        with pytest.raises(ConfigInvalid, match="No such file"):
            await scene.reload(routes=[first, second], keys=[])
        assert gateway.tls_files._watched == watched
        assert gateway.config is config
        assert len(gateway.ring) == 1


async def test_issuers_keys_stay_at_hand_while_nothing_is_said_of_it(scene: Scene) -> None:
    async with scene.serving() as gateway:
        keeper = gateway.callers.jwks
        assert keeper is not None
        await keeper.refreshed()
        await scene.reload(carriers=["bearer"], keys=[])
        assert gateway.callers.jwks is keeper
        await scene.reload(jwt={"audience": "b", "jwks_file": "jwks.json"})
        after = gateway.callers.jwks
        assert after is not keeper
        assert after is not None
        assert await after.refreshed() is not None
        await scene.reload(jwt=None)
        assert gateway.callers.jwks is None


@pytest.mark.skipif(sys.platform != "linux", reason="systemd")
async def test_systemd_hears_of_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    place = str(scene.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(place)
        sock.settimeout(5)
        async with scene.serving():
            monkeypatch.setenv("NOTIFY_SOCKET", place)
            await scene.reload()
            begin, end = sock.recv(200).decode().split("\n"), sock.recv(200).decode()
            assert begin[0] == "RELOADING=1"
            assert begin[1].startswith("MONOTONIC_USEC=")
            assert end == "READY=1"
            with pytest.raises(ConfigInvalid):
                await scene.reload(colour="red")
            assert sock.recv(200).startswith(b"RELOADING=1")
            assert sock.recv(200) == b"READY=1"
