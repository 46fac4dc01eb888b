"""The composition root: the one room that knows every other."""

from __future__ import annotations

import asyncio
import resource
import secrets
import sys
from typing import TYPE_CHECKING, Final

from aiohttp import web
from cryptography import x509
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from proxy import errors
from proxy.admin.server import application
from proxy.auth.authenticator import Authenticator
from proxy.auth.carriers import carrier_of
from proxy.deadlines import Deadlines
from proxy.gateway.admission import Admission
from proxy.gateway.front import House
from proxy.gateway.plain import PlainHttp
from proxy.keys.fixed import FixedKeys
from proxy.listeners import address_of, listen, server_context
from proxy.metrics.collector import GatewayCollector
from proxy.routes import RouteTable
from proxy.sessions.registry import Registry
from proxy.sessions.sweeper import Sweeper
from proxy.upstream.dialer import Dialer
from proxy.upstream.resolver import Resolver

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxy.config.model import Config
    from proxy.logs import Logger

# Seconds from the signal until what is left is aborted.
DRAIN_TIMEOUT: Final = 25.0

# Request ids drawn from the kernel at a time.
_IDS_PER_DRAW: Final = 64

# Turns of the event loop that closing sockets may take to be reported.
_LAST_TURNS: Final = 20

# Files beside the sockets: libraries, the log, the listeners, a margin for what is being accepted.
_OTHER_FILES: Final = 64
# Each session has two sockets.
_FILES_PER_SESSION: Final = 2


class Gateway:
    """A gateway for one configuration.

    Args:
        config: valid.
        log: where events go.
        loop: on which it will run.

    Raises:
        OSError: a TLS file cannot be used.
    """

    def __init__(self, config: Config, log: Logger, loop: asyncio.AbstractEventLoop) -> None:
        self._config = config
        self._log = log
        self._loop = loop
        self.registry = Registry()
        self.sweeper = Sweeper(self.registry, loop)
        self.keys = FixedKeys(config.keys)
        routes = RouteTable.of(config)
        deadlines = Deadlines(loop)
        self._resolver = Resolver(loop.time)
        self.admission = Admission(
            routes=routes,
            authenticator=Authenticator(
                self.keys,
                {
                    route.name: [carrier_of(carrier) for carrier in config.carriers_of(route)]
                    for route in config.routes
                },
            ),
            dialer=Dialer(routes, self._resolver, deadlines, loop),
            registry=self.registry,
            trusted_proxies=config.trusted_proxies,
            address_header=config.client_address_header.lower().encode("ascii"),
            total_connections=_affordable(config.limits.total_connections, log),
            new_id=_unguessable_ids(),
            deadlines=deadlines,
            log=log,
            loop=loop,
        )
        self._tls = None if config.tls is None else server_context(config.tls)
        self.house = House(
            admission=self.admission,
            plain=PlainHttp(
                health_path=config.health_path,
                ready=self.ready,
                door=lambda: self.house.door(),  # noqa: PLW0108 - the house is made with this
                head_size=config.limits.head_size,
            ),
            head_size=config.limits.head_size,
            head_timeout=config.timeouts.handshake,
            close_timeout=config.timeouts.close,
            unauthenticated=config.limits.unauthenticated,
            secure=self._tls is not None,
            deadlines=deadlines,
            loop=loop,
        )
        self.metrics = self._metrics()
        # Set by start.
        self._public: asyncio.Server | None = None
        self._admin: asyncio.Server | None = None
        self._admin_runner: web.AppRunner | None = None
        self._looking: asyncio.Task[None] | None = None

    def ready(self) -> bool:
        """Whether new sessions are welcome."""
        return not self.admission.draining

    async def start(self) -> None:
        """Begins to listen.

        Raises:
            CannotListen: an address is taken or may not be used.
        """
        config = self._config
        if config.admin.listen is not None:
            await self._start_admin()
        self._public = await listen(
            config.listen,
            self.house.door,
            name="listen",
            tls=self._tls,
            handshake_timeout=config.timeouts.handshake,
            close_timeout=config.timeouts.close,
        )
        self.sweeper.start()
        self._log.info(
            "listening", listener="public", address=address_of(self._public, config.listen)
        )
        self._log.info(
            "started", routes=len(config.routes), keys=len(self.keys), stop_grace_s=DRAIN_TIMEOUT
        )
        self._looking = self._loop.create_task(
            self._look_for_upstreams(), name="look for upstreams"
        )

    async def drain(self) -> None:
        """Lets nobody in any more and ends every session in good order, within `DRAIN_TIMEOUT`."""
        self.admission.draining = True
        self._log.info("draining", sessions=len(self.registry))
        if self._public is not None:
            self._public.close()
        deadline = self._loop.time() + DRAIN_TIMEOUT
        while self.registry or self.house.opening:
            self.registry.end_all(errors.DRAINING)
            if self._loop.time() >= deadline:
                break
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        """Stops at once; whatever is left is aborted."""
        self.admission.draining = True
        for server in (self._public, self._admin):
            if server is not None:
                server.close()
        await self.house.close()
        for session in self.registry:
            session.abort()
        self.sweeper.stop()
        if self._looking is not None:
            self._looking.cancel()
        await self._resolver.close()
        if self._admin_runner is not None:
            await self._admin_runner.cleanup()
        for _ in range(_LAST_TURNS):  # The loop has yet to report the aborted sockets as lost.
            if not self.registry:
                break
            await asyncio.sleep(0)
        self._log.info("stopped")

    async def _look_for_upstreams(self) -> None:
        """Says which upstreams have no address yet; they are asked for again when needed."""
        for route in self.admission.routes:
            target = route.target
            if target.socket_path is not None:
                continue
            try:
                await self._resolver.resolve(target.host, target.port)
            except OSError as failure:
                cause = failure.strerror or str(failure)
                self._log.warning(
                    "upstream_down", route=route.name, upstream=str(target), cause=cause
                )

    async def _start_admin(self) -> None:
        admin = self._config.admin
        assert admin.listen is not None
        token = admin.token.get_secret_value() if admin.token is not None else None
        app = application(
            metrics=self.metrics,
            ready=self.ready,
            metrics_token=None if admin.public_metrics else token,
        )
        self._admin_runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._admin_runner.setup()
        assert self._admin_runner.server is not None
        self._admin = await listen(admin.listen, self._admin_runner.server, name="admin.listen")
        self._log.info("listening", listener="admin", address=address_of(self._admin, admin.listen))

    def _metrics(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        expiry = {}
        if self._tls is not None and self._config.tls is not None:
            expiry["public"] = _certificate_end(self._config.tls.certificate)
        registry.register(
            GatewayCollector(
                [route.name for route in self._config.routes],
                self.admission,
                lambda: self.sweeper.lag,
                lambda: expiry,
            )
        )
        return registry


def _unguessable_ids() -> Callable[[], str]:
    """Ids of 128 random bits; drawn in batches, since asking the kernel is what costs."""
    drawn: list[str] = []

    def next_id() -> str:
        if not drawn:
            noise = secrets.token_hex(16 * _IDS_PER_DRAW)
            drawn.extend(noise[at : at + 32] for at in range(0, len(noise), 32))
        return drawn.pop()

    return next_id


def _certificate_end(path: Path) -> float:
    """When the first certificate of a PEM file ends, in seconds since the epoch."""
    leaf = x509.load_pem_x509_certificates(path.read_bytes())[0]
    return leaf.not_valid_after_utc.timestamp()


def _affordable(wanted: int | None, log: Logger) -> int | None:
    """The connection limit that the process's open-file limit allows, raised as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _OTHER_FILES + _FILES_PER_SESSION * (wanted or 0)
    if soft != resource.RLIM_INFINITY and (wanted is None or soft < needed):
        target = hard if wanted is None or hard != resource.RLIM_INFINITY else needed
        if target != resource.RLIM_INFINITY and target > soft and sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
            soft = target
    if soft == resource.RLIM_INFINITY:
        return wanted
    fits = max(1, (soft - _OTHER_FILES) // _FILES_PER_SESSION)
    if wanted is None:
        return None
    if fits < wanted:
        log.warning(
            "open_files_limit",
            limit=soft,
            total_connections=fits,
            mend=f"raise the hard limit of open files to {needed} (ulimit -Hn, LimitNOFILE)",
        )
    return min(wanted, fits)
