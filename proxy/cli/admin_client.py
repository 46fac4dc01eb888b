"""Asks the admin listener of a running gateway."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

import click

from proxy.admin.problems import PROBLEMS
from proxy.cli.tables import safe
from proxy.config.values import UnixAddress
from proxy.errors import REFUSALS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from proxy.config.values import Address

_UNAUTHORIZED: Final = 401
_JSON: Final = ("application/json", "application/problem+json")
# Every method that is asked with here, the admin listener has; a route has GET alone.
_OF_PUBLIC: Final = REFUSALS.keys() - PROBLEMS.keys() | {"method_not_allowed"}
# Every path that is asked for here, too; the listener for metrics has three.
_OF_METRICS: Final = "no_such_path"
_OPTION: Final = "--admin"
# As the model has it, which takes long to import.
_USUAL: Final = "127.0.0.1:8081"


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
    found: str = _OPTION
    token: str | None = None
    token_found: str = "WSKEEPER_ADMIN_TOKEN"  # noqa: S105 - a variable's name

    def __str__(self) -> str:
        if isinstance(self.address, UnixAddress):
            return str(self.address)
        return f"{'http' if self.context is None else 'https'}://{self.address}"


class Answer(NamedTuple):
    """What the listener answered.

    Args:
        status: of HTTP.
        kind: the media type of the body.
        body: in whole.
        server: what it calls itself; empty for nothing.
    """

    status: int
    kind: str
    body: bytes
    server: str = ""

    def data(self) -> dict[str, Any] | None:
        """The JSON object in it; None when it holds none."""
        try:
            found = json.loads(self.body) if self.kind in _JSON else None
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


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
            headed = answer.headers
            kind, server = headed.get_content_type(), headed.get("Server", "")
            return Answer(answer.status, kind, answer.read(), server)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        plain = place.context is None and not isinstance(place.address, UnixAddress)
        raise NoAnswer(_reason(error, plain=plain)) from None


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
    data = answer.data()
    if data is None or is_stranger(data):
        raise click.ClickException(stranger(place, answer))
    if answer.status == _UNAUTHORIZED:
        raise click.ClickException(_unauthorized(place))
    if answer.status >= http.HTTPStatus.BAD_REQUEST:
        raise click.ClickException(_told(data, answer.status))
    return data


def is_stranger(data: Mapping[str, Any]) -> bool:
    """Whether another listener than the admin's has answered with that JSON."""
    return data.get("code") in {*_OF_PUBLIC, _OF_METRICS}


def stranger(place: AdminPlace, answer: Answer) -> str:
    """Says who answered in place of an admin listener, and which address is wanted."""
    data = answer.data() or {}
    code = data.get("code")
    if code == _OF_METRICS:
        who = "is a wskeeper's listener for metrics (`metrics.listen`), which has no API"
    elif is_stranger(data):
        who = (
            "is where a wskeeper's clients connect (`listen`), not its admin listener: it answers"
            f" {answer.status} {code}"
        )
    else:
        name = f" by {safe(answer.server)}" if answer.server else ""
        who = f"is no admin listener of a wskeeper: {answer.status}{name}, and no JSON"
    mend = (
        f"name its `admin.listen`, which is {_USUAL} unless set, with --admin"
        if place.found.startswith(_OPTION)
        else "does the gateway run with this configuration?"
    )
    return f"{place} ({place.found}) {who}; {mend}"


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


def _reason(error: Exception, *, plain: bool) -> str:
    """Why there was no answer, in words.

    Args:
        plain: whether TLS might have been meant.
    """
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
    if plain and isinstance(error, http.client.HTTPException | ConnectionResetError):
        return "what listens there does not speak plain HTTP; if TLS, write --admin https://…"
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
