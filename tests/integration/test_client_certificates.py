"""Clients with a certificate of their own: asked for, told to the service, never forged."""

from __future__ import annotations

import pytest
import trustme
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect as dial

from tests.integration.conftest import KEY, asking

HEADER = "X-Wskeeper-Client-Certificate"


@pytest.fixture
def clients() -> trustme.CA:
    """Who signs the certificates of clients."""
    return trustme.CA()


@pytest.fixture
def gateway(start, certificates, clients, tmp_path, loop):
    bundle = tmp_path / "clients.pem"
    clients.cert_pem.write_to_path(str(bundle))
    return start(
        tls={
            "certificate": str(certificates.certificate),
            "private_key": str(certificates.private_key),
            "client_ca": str(bundle),
        },
        environment={"WSKEEPER_EVENT_LOOP": loop},
    )


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request):
    return request.param


@pytest.fixture
def owning(certificates, clients):
    """Makes the context of a client with a certificate."""

    def owning(common_name="device-7", signed_by=clients):
        context = certificates.client_context()
        issued = signed_by.issue_cert(
            "device", common_name=common_name, organization_name="Example"
        )
        issued.configure_cert(context)
        return context

    return owning


def test_service_is_told_whose_certificate_the_client_has(gateway, connect, upstream, owning):
    connect(gateway, tls=owning("device-7, O=Admin")).open(asking())
    request = upstream.connection().request
    subject = request.get(HEADER)
    assert subject.startswith(r"CN=device-7\, O=Admin,")
    assert subject.endswith(",O=Example")
    assert request.get("X-Wskeeper-Key-Name") == "test"


def test_client_without_a_certificate_is_refused_in_the_tls_handshake(
    gateway, certificates, upstream, owning
):
    url = gateway.url.replace("ws://", "wss://") + "/app"
    headers = {"X-Api-Key": KEY}
    for context in (certificates.client_context(), owning(signed_by=trustme.CA())):
        # In TLS 1.3 a client learns only behind its own handshake that it is refused.
        with pytest.raises((OSError, WebSocketException)):
            dial(url, additional_headers=headers, ssl=context)
    assert not gateway.events("handshake_refused")
    with dial(url, additional_headers=headers, ssl=owning()) as client:
        client.send("in")
        assert client.recv() == "in"


def test_key_is_needed_all_the_same(gateway, connect, owning):
    response = connect(gateway, tls=owning()).ask(asking(key=None))
    assert (response.status, response.code) == (401, "key_missing")


@pytest.mark.parametrize("name", [HEADER, HEADER.lower(), HEADER.replace("-", "_")])
def test_what_the_client_says_of_its_certificate_is_dropped(
    gateway, connect, upstream, owning, name
):
    connect(gateway, tls=owning()).open(asking(lines=(f"{name}: CN=admin",)))
    request = upstream.connection().request
    assert b"CN=admin" not in request.raw
    assert request.get(HEADER).startswith("CN=device-7,")


def test_listener_that_asks_for_none_tells_of_none(start, certificates, connect, upstream, owning):
    gateway = start(
        tls={
            "certificate": str(certificates.certificate),
            "private_key": str(certificates.private_key),
        }
    )
    connect(gateway, tls=owning()).open(asking(lines=(f"{HEADER}: CN=admin",)))
    request = upstream.connection().request
    assert request.get(HEADER) is None
    assert b"CN=admin" not in request.raw
