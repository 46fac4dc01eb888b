"""Where key sets are published: what is fetched, what is not believed, what is told."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import ssl
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import trustme
from aiohttp import web
from yarl import URL

from proxy.identity import sources
from proxy.identity.sources import (
    MAX_DOCUMENT,
    DiscoveredSource,
    FileSource,
    Source,
    Unavailable,
    UrlSource,
)
from tests.unit.auth.tokens import jwk, jwks
from tests.unit.identity.provider import Provider, answer, redirect

if TYPE_CHECKING:
    from pathlib import Path

KEYS = jwks(jwk("RS256"))
WELL_KNOWN = "/.well-known/openid-configuration"


async def cause(source: Source) -> str:
    """Why there is no document; the operator's credentials are not in it."""
    with pytest.raises(Unavailable) as caught:
        await source.load()
    told = str(caught.value)
    assert "127.0.0.1" not in told
    assert caught.value.__context__ is None or isinstance(source, FileSource)
    return told


# URLs -----------------------------------------------------------------------------------------


async def test_key_set_is_fetched(idp: Provider) -> None:
    assert await UrlSource(f"{idp.url}/jwks?tenant=1").load() == KEYS
    (request,) = idp.requests
    assert request.query_string == "tenant=1"
    assert "Cookie" not in request.headers


async def test_credentials_of_the_url_travel_and_are_not_shown(idp: Provider) -> None:
    url = idp.url.replace("http://", "http://me:s3cret@") + "/jwks?api_key=s3cret#s3cret"
    source = UrlSource(url)
    assert await source.load() == KEYS
    assert idp.requests[0].headers["Authorization"].startswith("Basic ")
    assert source.place == f"{idp.url}/jwks"
    idp.pages.clear()
    assert "s3cret" not in await cause(source)


@pytest.mark.parametrize("url", ["", "/jwks", "ftp://a/b", "file:///etc/passwd", "https://"])
def test_url_that_is_none_is_refused(url: str) -> None:
    for kind in (UrlSource, DiscoveredSource):
        with pytest.raises(ValueError, match="no http or https URL"):
            kind(url if kind is UrlSource or url != "/jwks" else "jwks")


def test_refused_url_is_not_quoted() -> None:
    with pytest.raises(ValueError, match="no http or https URL") as caught:
        UrlSource("https://me:s3cret@host:port/")
    assert caught.value.__context__ is None


@pytest.mark.parametrize("status", [201, 204, 304, 400, 401, 404, 500, 503])
async def test_answer_other_than_200_is_no_key_set(idp: Provider, status: int) -> None:
    idp.pages["/jwks"] = answer(status)
    assert await cause(UrlSource(f"{idp.url}/jwks")) == f"it answers with status {status}"


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"null", b"[]", b'{"keys": [', b"[" * 500_000, b"\xff\xfe\xfd"]
)
async def test_garbage_is_no_key_set(idp: Provider, body: bytes) -> None:
    idp.pages["/jwks"] = body
    assert await cause(UrlSource(f"{idp.url}/jwks")) == "it is not a JSON object"


async def test_body_of_1_mib_is_read_and_more_is_not(idp: Provider) -> None:
    text = json.dumps(KEYS).encode()
    idp.pages["/jwks"] = text + b" " * (MAX_DOCUMENT - len(text))
    assert await UrlSource(f"{idp.url}/jwks").load() == KEYS
    idp.pages["/jwks"] += b" "
    assert await cause(UrlSource(f"{idp.url}/jwks")) == "it is larger than 1 MiB"


async def test_body_without_end_is_left(idp: Provider) -> None:
    gone = asyncio.Event()

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b" " * 65536)
        except ConnectionError:
            gone.set()
            raise

    idp.pages["/jwks"] = endless
    assert await cause(UrlSource(f"{idp.url}/jwks")) == "it is larger than 1 MiB"
    await asyncio.wait_for(gone.wait(), 10)


async def test_nobody_listening_is_told(idp: Provider) -> None:
    await idp.stop()
    assert await cause(UrlSource(f"{idp.url}/jwks")) == os.strerror(errno.ECONNREFUSED)


async def test_name_that_is_not_known_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*name: Any, **hints: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    assert await cause(UrlSource("http://idp.test/jwks")) == "Name or service not known"


async def test_answer_that_is_no_http_is_told() -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert "no valid answer" in await cause(UrlSource(f"http://127.0.0.1:{port}/"))
    server.close()


async def test_proxy_of_the_environment_is_not_asked(
    idp: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert await UrlSource(f"{idp.url}/jwks").load() == KEYS


# Redirects ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_followed(idp: Provider, status: int) -> None:
    idp.pages["/old"] = redirect("/jwks", status)
    assert await UrlSource(f"{idp.url}/old").load() == KEYS
    assert idp.paths == ["/old", "/jwks"]


async def test_cookie_of_a_redirect_is_not_sent_back(idp: Provider) -> None:
    async def page(request: web.BaseRequest) -> web.Response:
        return web.Response(status=302, headers={"Location": "/jwks", "Set-Cookie": "a=b"})

    idp.pages["/old"] = page
    # By name: no cookie jar keeps cookies of bare addresses.
    await UrlSource(f"http://localhost:{idp.port}/old").load()
    assert "Cookie" not in idp.requests[1].headers


async def test_redirects_end_somewhere(idp: Provider) -> None:
    idp.pages["/a"] = redirect("/b")
    idp.pages["/b"] = redirect("/c")
    idp.pages["/c"] = redirect("/jwks")
    assert await UrlSource(f"{idp.url}/a").load() == KEYS
    idp.pages["/c"] = redirect("/a")
    idp.requests.clear()
    assert await cause(UrlSource(f"{idp.url}/a")) == "it redirects too often"
    assert len(idp.requests) == 4


@pytest.mark.parametrize(
    "place", ["http://localhost:{port}/jwks", "file:///etc/passwd", "ftp://127.0.0.1/"]
)
async def test_redirect_elsewhere_in_the_clear_is_not_followed(idp: Provider, place: str) -> None:
    idp.pages["/old"] = redirect(place.format(port=idp.port))
    assert "redirects" in await cause(UrlSource(f"{idp.url}/old"))
    assert idp.paths == ["/old"]


@pytest.mark.parametrize("place", ["http://[::1", "http://h:port/"])
async def test_redirect_to_no_url_is_not_followed(idp: Provider, place: str) -> None:
    idp.pages["/old"] = redirect(place)
    assert "no valid answer" in await cause(UrlSource(f"{idp.url}/old"))


@pytest.mark.parametrize(
    ("url", "target", "may"),
    [
        ("https://a/", "https://b/", True),
        ("http://a/", "https://b/", True),
        ("http://a/", "http://a:81/", True),
        ("http://a/", "http://b/", False),
        ("https://a/", "http://a/", False),
        ("https://a/", "http://127.0.0.1/", False),
        ("https://a/", "file:///a", False),
        ("https://a/", "ws://a/", False),
    ],
)
def test_documents_lead_to_https(url: str, target: str, *, may: bool) -> None:
    assert sources._may_lead(URL(url), URL(target)) is may


# TLS ------------------------------------------------------------------------------------------


@pytest.fixture
async def secure():
    """A provider with a certificate that nobody trusts yet, and who would."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    provider = Provider()
    await provider.start(context)
    yield provider, authority
    await provider.stop()


async def test_certificate_that_is_not_trusted_is_told(secure: Any) -> None:
    provider, _ = secure
    assert "TLS: unable to get local issuer" in await cause(UrlSource(f"{provider.url}/jwks"))
    assert not provider.requests


async def test_tls_towards_a_port_without_is_told(idp: Provider) -> None:
    url = idp.url.replace("http:", "https:")
    assert (await cause(UrlSource(f"{url}/jwks"))).startswith("TLS: ")


async def test_https_never_leads_to_http(
    secure: Any, idp: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, authority = secure
    context = ssl.create_default_context()
    authority.configure_trust(context)
    monkeypatch.setattr(
        sources,
        "_session",
        lambda: aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)),
    )
    assert await UrlSource(f"{provider.url}/jwks").load() == KEYS
    provider.pages["/old"] = redirect(f"{idp.url}/jwks")
    assert (
        await cause(UrlSource(f"{provider.url}/old")) == "it redirects to a URL that is not https"
    )
    provider.pages[WELL_KNOWN] = {"issuer": provider.url, "jwks_uri": f"{idp.url}/jwks"}
    assert "`jwks_uri`" in await cause(DiscoveredSource(provider.url))
    provider.pages[WELL_KNOWN] = {"issuer": provider.url, "jwks_uri": f"{provider.url}/jwks"}
    assert await DiscoveredSource(provider.url).load() == KEYS
    assert not idp.requests


# Discovery ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("issuer", "path"),
    [
        ("", WELL_KNOWN),
        ("/", WELL_KNOWN),
        ("/realms/one", f"/realms/one{WELL_KNOWN}"),
        ("/realms/one/", f"/realms/one{WELL_KNOWN}"),
    ],
)
async def test_issuer_says_where_its_keys_are(idp: Provider, issuer: str, path: str) -> None:
    issuer = idp.url + issuer
    idp.pages[path] = {"issuer": issuer, "jwks_uri": f"{idp.url}/jwks"}
    source = DiscoveredSource(issuer)
    assert await source.load() == KEYS
    assert idp.paths == [path, "/jwks"]
    assert source.place == f"{idp.url}{path}"


@pytest.mark.parametrize(
    "issuer", [None, "", 1, "https://evil.test", "{url}/", "{url}/realm", ["{url}"]]
)
async def test_document_of_another_issuer_is_not_believed(idp: Provider, issuer: Any) -> None:
    if isinstance(issuer, str):
        issuer = issuer.format(url=idp.url)
    idp.pages[WELL_KNOWN] = {"issuer": issuer, "jwks_uri": f"{idp.url}/jwks"}
    assert "`issuer`" in await cause(DiscoveredSource(idp.url))
    assert idp.paths == [WELL_KNOWN]


@pytest.mark.parametrize(
    "place",
    [None, "", 1, ["{url}/jwks"], "/jwks", "file:///jwks", "http://elsewhere.test/", "http://a:b/"],
)
async def test_place_of_keys_that_is_not_safe_is_not_believed(idp: Provider, place: Any) -> None:
    idp.pages[WELL_KNOWN] = {"issuer": idp.url, "jwks_uri": place}
    assert "`jwks_uri`" in await cause(DiscoveredSource(idp.url))
    assert idp.paths == [WELL_KNOWN]


async def test_issuer_without_discovery_is_told(idp: Provider) -> None:
    assert await cause(DiscoveredSource(idp.url)) == "it answers with status 404"


# Files ----------------------------------------------------------------------------------------


async def test_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(KEYS))
    source = FileSource(path)
    assert source.place == str(path)
    assert await source.load() == KEYS
    path.write_text("{}")
    assert await source.load() == {}


async def test_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    source = FileSource(path)
    assert await cause(source) == "No such file or directory"
    path.write_text("keys")
    assert await cause(source) == "it is not a JSON object"
    path.write_bytes(b" " * (MAX_DOCUMENT + 1))
    assert await cause(source) == "it is larger than 1 MiB"
    assert await cause(FileSource(tmp_path)) == "it is not a file"


async def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert await cause(FileSource(tmp_path / "pipe")) == "it is not a file"
