"""Asks the admin listener of a running gateway."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

import click

from proxy.config.values import UnixAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from proxy.config.values import Address

_UNAUTHORIZED: Final = 401
_JSON: Final = ("application/json", "application/problem+json")


class AdminPlace(NamedTuple):
    """Where the admin listener is, and what it is to be shown.

    Args:
        address: of the listener.
        context: makes the TLS context; None for plain HTTP. It may raise OSError.
        certificate: the only one, as DER, that is trusted; None leaves that to the context.
        found: where the address comes from, in words for people.
        token: None shows none.
        token_found: where the token comes from, or should.
    """

    address: Address
    context: Callable[[], ssl.SSLContext] | None = None
    certificate: bytes | None = None
    found: str = "--admin"
    token: str | None = None
    token_found: str = "WSKEEPER_ADMIN_TOKEN"  # noqa: S105 - a variable's name

    def __str__(self) -> str:
        if isinstance(self.address, UnixAddress):
            return str(self.address)
        return f"{'http' if self.context is None else 'https'}://{self.address}"


class Answer(NamedTuple):
    """What the listener answered."""

    status: int
    kind: str
    body: bytes


class NoAnswer(Exception):
    """Nobody answered, or not in HTTP; the message says why."""


def ask(place: AdminPlace, method: str, target: str, *, timeout: float) -> Answer:
    """One request and its answer. Proxies that the environment names are not asked.

    Args:
        place: whom to ask.
        method: GET or DELETE.
        target: path and query.
        timeout: in seconds, of every step.

    Raises:
        NoAnswer: there was none.
    """
    headers: dict[str, str | bytes] = {}
    if method != "GET":
        # Refused without it: a page of another site could not send it.
        headers["Content-Type"] = "application/json"
    if place.token is not None:
        headers["Authorization"] = f"Bearer {place.token}".encode()
    try:
        connection = _connection(place, timeout)
        try:
            connection.request(method, target, headers=headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers.get_content_type(), answer.read())
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(_reason(error)) from None


def ask_json(
    place: AdminPlace, method: str, path: str, query: Mapping[str, object | None]
) -> dict[str, Any]:
    """A request to the API; what it answers.

    Args:
        place: whom to ask.
        method: GET or DELETE.
        path: below `/api/v1`, percent-encoded.
        query: values that are None are left out.

    Raises:
        click.ClickException: there is no answer, or it says that it was not done.
    """
    given = {name: value for name, value in query.items() if value is not None}
    target = f"/api/v1{path}" + (f"?{urlencode(given)}" if given else "")
    try:
        answer = ask(place, method, target, timeout=10.0)
    except NoAnswer as none:
        raise click.ClickException(f"no answer from {place} ({place.found}): {none}") from None
    if answer.status == _UNAUTHORIZED:
        raise click.ClickException(_unauthorized(place))
    try:
        data = json.loads(answer.body) if answer.kind in _JSON else None
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise click.ClickException(
            f"{place} ({place.found}) answers {answer.status} and no JSON; is it the admin listener"
            " of a wskeeper?"
        )
    if answer.status >= http.HTTPStatus.BAD_REQUEST:
        raise click.ClickException(_told(data, answer.status))
    return data


def _unauthorized(place: AdminPlace) -> str:
    if place.token is None:
        return f"{place} wants a token; set WSKEEPER_ADMIN_TOKEN"
    mend = (
        "put one of these there"
        if place.token_found.startswith("WSKEEPER_")
        else "set WSKEEPER_ADMIN_TOKEN to one of these"
    )
    return (
        f"{place} does not know the token from {place.token_found}: it is none of the gateway's"
        f" (`admin.token` and `admin.tokens` of its configuration); {mend}"
    )


def _told(problem: Mapping[str, Any], status: int) -> str:
    """What a problem+json (RFC 9457) says, in one line."""
    said = [str(problem[member]) for member in ("title", "detail") if problem.get(member)]
    return " ".join(": ".join(said).split()) or f"the gateway answers {status}"


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return "nothing listens there; is the gateway running?"
    if isinstance(error, PermissionError):
        return "this account may not open it"
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message
        return f"its certificate is not trusted ({said}); name its CA with --admin-ca FILE"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or 'unknown reason'}); does it speak https?"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, http.client.HTTPException):
        return "what listens there does not speak HTTP"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _connection(place: AdminPlace, timeout: float) -> http.client.HTTPConnection:
    if isinstance(place.address, UnixAddress):
        return _UnixConnection(place.address.path, timeout)
    host, port = place.address.host, place.address.port
    if place.context is None:
        return http.client.HTTPConnection(host, port, timeout=timeout)
    return _TlsConnection(host, port, place.context(), place.certificate, timeout)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path
        self._patience = timeout

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self._patience)
        self.sock.connect(self._path)


class _TlsConnection(http.client.HTTPSConnection):
    """HTTP over TLS, if need be with one certificate alone."""

    def __init__(
        self,
        host: str,
        port: int,
        context: ssl.SSLContext,
        certificate: bytes | None,
        timeout: float,
    ) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._certificate = certificate

    def connect(self) -> None:
        super().connect()
        shown = self.sock.getpeercert(binary_form=True)
        if self._certificate is not None and shown != self._certificate:
            raise NoAnswer(
                "its certificate is not the one that `admin.tls.certificate` names; restart or"
                " reload the gateway, or name the listener with --admin"
            )


def trusting(ca: Path | None) -> Callable[[], ssl.SSLContext]:
    """Makes contexts that trust a CA, or, for None, what the system trusts."""
    return lambda: ssl.create_default_context(cafile=ca)


def trusting_nobody() -> ssl.SSLContext:
    """A context for a peer whose certificate is compared with the one that is known."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
