"""TLS files that are replaced while connections come: what is taken, what is not, what is told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest
import trustme
import uvloop

from proxy.config.model import PublicTls
from proxy.config.upstream_fields import UpstreamTls
from proxy.config.values import TcpAddress
from proxy.listeners import listen
from proxy.tls_files import TlsFiles
from tests.unit.sessions.scene import Log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

ENDS = [datetime(2040, 1, day, tzinfo=UTC) for day in (1, 2, 3)]


class Files:
    """A listener's files, and the authorities around them."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.clients = trustme.CA()
        self.certificate = folder / "certificate.pem"
        self.private_key = folder / "key.pem"
        self.client_ca = folder / "clients.pem"
        self.clients.cert_pem.write_to_path(str(self.client_ca))
        self.issue(ENDS[0])

    def issue(self, end: datetime, *, key: bool = True) -> None:
        """A new certificate, and its key unless that is still on its way."""
        issued = self.authority.issue_cert("localhost", not_after=end)
        _replace(self.certificate, issued.cert_chain_pems[0].bytes())
        if key:
            _replace(self.private_key, issued.private_key_pem.bytes())

    def tls(self, *, client_ca: Path | None = None) -> PublicTls:
        return PublicTls(
            certificate=self.certificate, private_key=self.private_key, client_ca=client_ca
        )

    def client(self, signed_by: trustme.CA | None = None) -> ssl.SSLContext:
        """A client, with a certificate of its own if somebody signed one."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if signed_by is not None:
            signed_by.issue_cert("device", common_name="device-7").configure_cert(context)
        return context


def _replace(file: Path, content: bytes) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.replace(file)


class Telling(asyncio.Protocol):
    """Says whose certificate the client has, and hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        transport.write(repr((transport.get_extra_info("peercert") or {}).get("subject")).encode())
        transport.close()


class Scene:
    def __init__(self, folder: Path) -> None:
        self.files = Files(folder)
        self.log = Log()
        self.watch = TlsFiles(self.log, asyncio.get_running_loop())
        self.port = 0

    @asynccontextmanager
    async def listening(self, *, client_ca: Path | None = None) -> AsyncIterator[None]:
        context = self.watch.listener("public", self.files.tls(client_ca=client_ca))
        address = TcpAddress("127.0.0.1", 0)
        async with await listen(address, Telling, name="listen", tls=context) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield

    async def connect(self, client: ssl.SSLContext) -> tuple[datetime, str]:
        """When the certificate ends that is shown, and what the listener says."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=client, server_hostname="localhost"
        )
        try:
            shown = writer.get_extra_info("peercert")
            said = await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC), str(
            said, "ascii"
        )

    async def is_refused(self, client: ssl.SSLContext) -> bool:
        """In TLS 1.3 a client learns only behind its own handshake that it is refused."""
        try:
            return (await self.connect(client))[1] == ""
        except (ssl.SSLError, ConnectionError):
            return True

    async def shown(self) -> datetime:
        return (await self.connect(self.files.client()))[0]


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


# Listeners -----------------------------------------------------------------------------------


async def test_new_pair_is_shown_to_the_next_client(scene: Scene) -> None:
    async with scene.listening():
        assert await scene.shown() == ENDS[0]
        assert scene.watch.ends == {"public": ENDS[0].timestamp()}
        scene.files.issue(ENDS[1])
        assert await scene.shown() == ENDS[0]  # nobody has looked yet
        await scene.watch.look()
        assert await scene.shown() == ENDS[1]
    assert scene.watch.ends == {"public": ENDS[1].timestamp()}
    assert scene.log.lines == [("info", "tls_reloaded", {"listener": "public"})]


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_pair_is_replaced_on_every_event_loop(
    tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def replace() -> None:
        scene = Scene(tmp_path)
        async with scene.listening(client_ca=scene.files.client_ca):
            client = scene.files.client(scene.files.clients)
            scene.files.issue(ENDS[1])
            await scene.watch.look()
            end, said = await scene.connect(client)
            assert end == ENDS[1]
            assert "device-7" in said

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(replace())


async def test_files_that_stay_as_they_are_are_not_taken_again(scene: Scene) -> None:
    async with scene.listening():
        scene.files.issue(ENDS[1])
        for _ in range(3):
            await scene.watch.look()
    assert len(scene.log.events("tls_reloaded")) == 1


async def test_certificate_whose_key_is_not_there_yet_waits_for_it(scene: Scene) -> None:
    async with scene.listening():
        scene.files.issue(ENDS[1], key=False)
        for _ in range(3):
            await scene.watch.look()
        assert await scene.shown() == ENDS[0]
        assert scene.watch.ends == {"public": ENDS[0].timestamp()}
        [rejected] = scene.log.events("tls_rejected")
        assert rejected["listener"] == "public"
        assert rejected["cause"] == "the key is not that of the certificate"
        scene.files.issue(ENDS[2])
        await scene.watch.look()
        assert await scene.shown() == ENDS[2]
    assert len(scene.log.events("tls_reloaded")) == 1


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda files: files.certificate.unlink(), "No such file or directory"),
        (lambda files: files.private_key.write_text(""), "TLS: "),
        (lambda files: files.certificate.write_text("-----BEGIN"), "TLS: "),
    ],
)
async def test_unusable_file_is_told_once_for_each_change(
    scene: Scene, spoil: Callable[[Files], Any], cause: str
) -> None:
    async with scene.listening():
        spoil(scene.files)
        await scene.watch.look()
        await scene.watch.look()
        assert await scene.shown() == ENDS[0]
        [rejected] = scene.log.events("tls_rejected")
        assert rejected["cause"].startswith(cause)
        scene.files.private_key.write_text("something else")
        await scene.watch.look()
        assert len(scene.log.events("tls_rejected")) == 2


async def test_encrypted_key_asks_nobody_for_its_password(scene: Scene) -> None:
    async with scene.listening():
        scene.files.private_key.write_text(
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
            "MIGjMF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQEFDDAkBBA=\n"
            "-----END ENCRYPTED PRIVATE KEY-----\n"
        )
        await asyncio.wait_for(scene.watch.look(), 5)
        assert len(scene.log.events("tls_rejected")) == 1


async def test_link_that_leads_elsewhere_is_a_change(scene: Scene, tmp_path: Path) -> None:
    files = scene.files
    live = tmp_path / "live"
    for number, end in enumerate(ENDS[:2]):
        folder = tmp_path / str(number)
        folder.mkdir()
        files.issue(end)
        files.certificate.rename(folder / "certificate.pem")
        files.private_key.rename(folder / "key.pem")
    live.symlink_to("0")
    files.certificate, files.private_key = live / "certificate.pem", live / "key.pem"
    async with scene.listening():
        assert await scene.shown() == ENDS[0]
        (tmp_path / "next").symlink_to("1")
        (tmp_path / "next").replace(live)
        await scene.watch.look()
        assert await scene.shown() == ENDS[1]


async def test_open_connection_keeps_what_it_began_with(scene: Scene) -> None:
    class Patient(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            assert isinstance(self.transport, asyncio.Transport)
            self.transport.write(data)

    context = scene.watch.listener("public", scene.files.tls())
    address = TcpAddress("127.0.0.1", 0)
    async with await listen(address, Patient, name="listen", tls=context) as server:
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(), ssl=scene.files.client(), server_hostname="localhost"
        )
        scene.files.issue(ENDS[1])
        await scene.watch.look()
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
        writer.close()
        await writer.wait_closed()


# Certificates of clients -----------------------------------------------------------------------


async def test_client_without_a_certificate_is_refused(scene: Scene) -> None:
    async with scene.listening(client_ca=scene.files.client_ca):
        assert "device-7" in (await scene.connect(scene.files.client(scene.files.clients)))[1]
        assert await scene.is_refused(scene.files.client())
        assert await scene.is_refused(scene.files.client(trustme.CA()))


async def test_authority_that_was_taken_out_is_trusted_no_more(scene: Scene) -> None:
    files = scene.files
    fresh = trustme.CA()
    async with scene.listening(client_ca=files.client_ca):
        assert "device-7" in (await scene.connect(files.client(files.clients)))[1]
        _replace(files.client_ca, fresh.cert_pem.bytes())
        await scene.watch.look()
        assert "device-7" in (await scene.connect(files.client(fresh)))[1]
        assert await scene.is_refused(files.client(files.clients))


async def test_listener_that_asks_for_no_certificate_is_told_of_none(scene: Scene) -> None:
    async with scene.listening():
        assert (await scene.connect(scene.files.client(scene.files.clients)))[1] == "None"


# Upstreams -------------------------------------------------------------------------------------


async def test_upstreams_authority_is_replaced(scene: Scene, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ca))
    context = scene.watch.upstream("app", UpstreamTls(ca=ca))
    async with scene.listening():
        with pytest.raises(ssl.SSLCertVerificationError):
            await scene.connect(context)
        _replace(ca, scene.files.authority.cert_pem.bytes())
        await scene.watch.look()
        assert (await scene.connect(context))[0] == ENDS[0]
    assert scene.log.events("tls_reloaded") == [{"route": "app"}]


async def test_our_certificate_for_an_upstream_is_replaced(scene: Scene, tmp_path: Path) -> None:
    ca, ours = tmp_path / "ca.pem", tmp_path / "ours.pem"
    scene.files.authority.cert_pem.write_to_path(str(ca))
    issue = scene.files.clients.issue_cert
    issue("a", common_name="before").private_key_and_cert_chain_pem.write_to_path(str(ours))
    context = scene.watch.upstream("app", UpstreamTls(ca=ca, certificate=ours))
    async with scene.listening(client_ca=scene.files.client_ca):
        assert "before" in (await scene.connect(context))[1]
        _replace(ours, issue("a", common_name="after").private_key_and_cert_chain_pem.bytes())
        await scene.watch.look()
        assert "after" in (await scene.connect(context))[1]


async def test_upstream_without_files_is_not_looked_at(scene: Scene) -> None:
    context = scene.watch.upstream("app", UpstreamTls())
    async with scene.listening():
        with pytest.raises(ssl.SSLCertVerificationError):
            await scene.connect(context)
        await scene.watch.look()
    assert scene.log.lines == []


# Other files -----------------------------------------------------------------------------------


async def test_listener_takes_other_files_when_it_is_told_to(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Files(tmp_path / "other")
    other.issue(ENDS[1])
    async with scene.listening():
        take = scene.watch.other_listener("public", other.tls())
        assert await scene.shown() == ENDS[0]
        scene.files.authority = other.authority
        take()
        assert await scene.shown() == ENDS[1]
        assert scene.watch.ends == {"public": ENDS[1].timestamp()}
        # It is these that are looked at from now on.
        _replace(scene.files.certificate, b"no certificate")
        other.issue(ENDS[2])
        await scene.watch.look()
        assert await scene.shown() == ENDS[2]
    assert scene.log.lines == [("info", "tls_reloaded", {"listener": "public"})]


async def test_other_files_that_cannot_be_used_change_nothing(scene: Scene, tmp_path: Path) -> None:
    async with scene.listening():
        missing = scene.files.tls().model_copy(update={"certificate": tmp_path / "missing.pem"})
        with pytest.raises(OSError, match="No such file"):
            scene.watch.other_listener("public", missing)
        assert await scene.shown() == ENDS[0]


async def test_look_that_is_under_way_does_not_bring_the_former_files_back(
    scene: Scene, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Files(tmp_path / "other")
    other.issue(ENDS[1])
    async with scene.listening():
        take = scene.watch.other_listener("public", other.tls())
        scene.files.issue(ENDS[2])
        looking = asyncio.ensure_future(scene.watch.look())
        await asyncio.sleep(0)
        take()
        await looking
        scene.files.authority = other.authority
        assert await scene.shown() == ENDS[1]
    assert scene.log.lines == []


async def test_files_of_upstreams_that_are_gone_are_forgotten(scene: Scene, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    scene.files.authority.cert_pem.write_to_path(str(ca))
    kept, gone = (scene.watch.upstream(route, UpstreamTls(ca=ca)) for route in ("kept", "gone"))
    async with scene.listening():
        scene.watch.forget_upstreams_but([kept])
        scene.files.issue(ENDS[1])
        _replace(ca, ca.read_bytes() + b"\n")
        await scene.watch.look()
        assert (await scene.connect(kept))[0] == ENDS[1]
    assert [fields for _, _, fields in scene.log.lines] == [
        {"route": "kept"},
        {"listener": "public"},
    ]
    assert gone is not kept


# Beginning and ending --------------------------------------------------------------------------


async def until(question: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not question():  # noqa: ASYNC110 - a thread's work, which sets no event
            await asyncio.sleep(0.001)


async def test_files_are_looked_at_again_and_again(scene: Scene) -> None:
    scene.watch = TlsFiles(scene.log, asyncio.get_running_loop(), every=0.001)
    async with scene.listening():
        scene.watch.start()
        for end in ENDS[1:]:
            scene.files.issue(end)
            await until(lambda end=end: scene.watch.ends["public"] == end.timestamp())
            assert await scene.shown() == end
        await scene.watch.close()
        scene.files.issue(ENDS[0])
        await asyncio.sleep(0.02)
        assert await scene.shown() == ENDS[-1]


async def test_fault_of_ours_does_not_end_the_watch(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.watch = TlsFiles(scene.log, asyncio.get_running_loop(), every=0.001)
    async with scene.listening():
        monkeypatch.setattr("proxy.tls_files._mark", lambda _: 1 / 0)
        scene.watch.start()
        await until(lambda: scene.log.events("tls_look_failed"))
        monkeypatch.undo()
        scene.files.issue(ENDS[1])
        await until(lambda: scene.log.events("tls_reloaded"))
        assert await scene.shown() == ENDS[1]
        await scene.watch.close()


async def test_watch_that_never_began_can_be_closed(scene: Scene) -> None:
    await scene.watch.close()
    assert scene.log.lines == []


async def test_file_that_cannot_be_used_is_told_at_once(scene: Scene) -> None:
    os.truncate(scene.files.private_key, 0)
    with pytest.raises(OSError, match=r".*"):
        scene.watch.listener("public", scene.files.tls())
