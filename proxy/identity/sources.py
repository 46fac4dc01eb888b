"""Places where a JWK set is published: a URL, a file, or an issuer that says where."""

from __future__ import annotations

import asyncio
import json
import stat
from typing import TYPE_CHECKING, Final, Protocol

import aiohttp
from yarl import URL

from proxy.sockets import words_of

if TYPE_CHECKING:
    from pathlib import Path

# Bytes of one document. The largest sets of public providers take a few tens of KiB.
MAX_DOCUMENT: Final = 1 << 20

_MAX_REDIRECTS: Final = 3
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_WELL_KNOWN: Final = "/.well-known/openid-configuration"


class Unavailable(Exception):
    """A document cannot be had now; the message says why and holds no credential."""


class Source(Protocol):
    """One place. Whoever loads sets the deadline."""

    @property
    def place(self) -> str:
        """Where it is, for people: without credentials and query."""

    async def load(self) -> object:
        """The document, as parsed JSON.

        Raises:
            Unavailable: it is not there, too large or no JSON object.
        """


class UrlSource:
    """A JWK set at a URL.

    Args:
        url: `https://…`; `http://…` is for loopback and networks that the operator trusts.

    Raises:
        ValueError: it is neither.
    """

    def __init__(self, url: str) -> None:
        self._url = _http_url(url)

    @property
    def place(self) -> str:
        return _shown(self._url)

    async def load(self) -> object:
        async with _session() as session:
            return await _get(session, self._url)


class DiscoveredSource:
    """The JWK set of an issuer, found as OpenID Connect Discovery 1.0 section 4 says.

    Args:
        issuer: its URL, exactly as in its tokens.

    Raises:
        ValueError: it is no http or https URL.
    """

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._url = _http_url(issuer.rstrip("/") + _WELL_KNOWN)

    @property
    def place(self) -> str:
        return _shown(self._url)

    async def load(self) -> object:
        async with _session() as session:
            document = await _get(session, self._url)
            if document.get("issuer") != self._issuer:
                raise Unavailable("its `issuer` is not the configured one, to the letter")
            place = document.get("jwks_uri")
            try:
                url = _http_url(place if isinstance(place, str) else "")
            except ValueError:
                url = None
            if url is None or not _may_lead(self._url, url):
                raise Unavailable("its `jwks_uri` is no https URL")
            return await _get(session, url)


class FileSource:
    """A JWK set in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def place(self) -> str:
        return str(self._path)

    async def load(self) -> object:
        return await asyncio.to_thread(self._read)

    def _read(self) -> object:
        try:
            # Opening a pipe would wait for its writer.
            if not stat.S_ISREG(self._path.stat().st_mode):
                raise Unavailable("it is not a file")
            with self._path.open("rb") as file:
                body = file.read(MAX_DOCUMENT + 1)
        except OSError as failure:
            raise Unavailable(_words(failure)) from None
        return _parsed(body)


def _http_url(text: str) -> URL:
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    # Raised out here: what yarl says quotes the URL.
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("it is no http or https URL")
    return url


def _shown(url: URL) -> str:
    return str(url.with_user(None).with_query(None).with_fragment(None))


def _may_lead(url: URL, target: URL) -> bool:
    """Whether a document may come from where another one points.

    Never in the clear, unless the operator chose that, and then from the same host only.
    """
    in_the_clear_as_asked = url.scheme == "http" and target.host == url.host
    return target.scheme == "https" or (target.scheme == "http" and in_the_clear_as_asked)


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None),
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
    )


async def _get(session: aiohttp.ClientSession, url: URL) -> dict[str, object]:
    try:
        for _ in range(_MAX_REDIRECTS + 1):
            async with session.get(url, allow_redirects=False) as response:
                if response.status not in _REDIRECTS:
                    return _parsed(await _body(response))
                target = url.join(URL(response.headers.get("Location", "")))
            if not _may_lead(url, target):
                raise Unavailable("it redirects to a URL that is not https")
            url = target
    except (aiohttp.ClientError, OSError, ValueError) as failure:
        cause = _words(failure)
    else:
        cause = "it redirects too often"
    # Raised out here: what aiohttp says quotes the URL.
    raise Unavailable(cause)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    if response.status != 200:
        raise Unavailable(f"it answers with status {response.status}")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_DOCUMENT:
            break
    return bytes(body)


def _parsed(body: bytes) -> dict[str, object]:
    if len(body) > MAX_DOCUMENT:
        raise Unavailable("it is larger than 1 MiB")
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Unavailable("it is not a JSON object")
    return document


def _words(failure: Exception) -> str:
    if isinstance(failure, aiohttp.ClientConnectorCertificateError):
        failure = failure.certificate_error
    elif isinstance(failure, aiohttp.ClientConnectorError):
        failure = failure.os_error
    if isinstance(failure, OSError) and failure.strerror:
        return words_of(failure)
    return f"no valid answer ({type(failure).__name__})"
