"""TLS towards upstreams: verified unless told otherwise."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from proxy.config.upstream_fields import UpstreamTls
from proxy.upstream.tls import client_context
from tests.harness.certificates import Certificates

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> ssl.SSLObject:
    """A handshake in memory; returns the client's end."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends[0]


def test_upstream_is_verified_against_the_configured_authority(certificates: Certificates) -> None:
    context = client_context(UpstreamTls(ca=certificates.authority))
    server = certificates.server_context()
    server.set_alpn_protocols(["h2", "http/1.1"])
    end = shake_hands(context, server, "localhost")
    assert end.version() is not None
    assert end.selected_alpn_protocol() == "http/1.1"


def test_upstream_of_another_name_is_refused(certificates: Certificates) -> None:
    context = client_context(UpstreamTls(ca=certificates.authority))
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(context, certificates.server_context(), "elsewhere.test")


def test_unknown_authority_is_refused(certificates: Certificates) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(client_context(UpstreamTls()), certificates.server_context(), "localhost")


def test_verification_can_be_switched_off(certificates: Certificates) -> None:
    context = client_context(UpstreamTls(verify=False))
    assert shake_hands(context, certificates.server_context(), "elsewhere.test").version()


def test_own_certificate_is_shown(certificates: Certificates) -> None:
    settings = UpstreamTls(
        ca=certificates.authority,
        certificate=certificates.certificate,
        private_key=certificates.private_key,
    )
    server = certificates.server_context()
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(certificates.authority)
    assert shake_hands(client_context(settings), server, "localhost").version()


@pytest.mark.parametrize("field", ["ca", "certificate"])
def test_file_that_is_no_certificate_is_told_at_once(tmp_path: Path, field: str) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    with pytest.raises(OSError, match=r".+"):
        client_context(UpstreamTls(**{field: broken}))
    with pytest.raises(FileNotFoundError):
        client_context(UpstreamTls(**{field: tmp_path / "missing.pem"}))
