"""`wskeeper explain`: what the gateway would say to one request, without touching the network."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from proxy.auth.jwk import KeySet, UnusableKeys
from proxy.auth.key_verifier import KeyVerifier
from proxy.callers import rules_of
from proxy.cli import options, tables
from proxy.cli.explainer import Explainer
from proxy.cli.explanation import Asked, Tokens
from proxy.config.faults import ConfigInvalid
from proxy.config.load import load
from proxy.config.stores import MEMORY
from proxy.gateway.services import RENEW_PATH, TICKET_PATH
from proxy.handshake.client import peer_address, text_of
from proxy.handshake.head import TOKEN
from proxy.identity.sources import FileSource, Unavailable
from proxy.identity.verifier import JwtVerifier
from proxy.keys.description import described
from proxy.keys.made import fixed
from proxy.keys.ring import KeyRing
from proxy.stores.open import open_store
from proxy.stores.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from proxy.auth.jws import Jws
    from proxy.cli.explanation import Explanation
    from proxy.config.jwt_fields import Jwt
    from proxy.config.model import Config
    from proxy.handshake.client import Address

_HEADER: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*)")
_UPGRADE: Final = (
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
)

_SELLS: Final = "the gateway itself sells a ticket, to whoever shows a key or a token"
_LETS_ASK: Final = "the gateway itself says which pages may ask"
_RENEWS: Final = "the gateway itself renews a session, with a token"


class _Stored(NamedTuple):
    """What a store told; `failure` says why it told nothing."""

    ring: KeyRing
    last_used: Mapping[str, float]
    failure: str | None


class _Believed:
    """A store that was read a moment ago."""

    up = True
    fresh = True


class _AnySignature(KeySet):
    """Lets every signature pass, so that the rest of a token can be judged without keys."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__((), published=True)

    def verifies(self, token: Jws, *, algorithm: str, kid: str | None) -> bool:
        del token, algorithm, kid
        return True


@click.command(
    epilog="Exits 0 when the request would be admitted, also where that depends on what only a"
    " running gateway can find out (a ticket, a plugin, a signature); 1 when it would not."
)
@click.option("--path", "target", required=True, help="Path of the request, with its query.")
@click.option("--host", metavar="HOST", help="Its Host.  [default: localhost]")
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="'N: V'",
    help="A further header line, in place of the upgrade's own of that name (may be repeated)."
    " '@FILE' reads lines from a file, '@-' from stdin: what is typed here, other users can see.",
)
@click.option(
    "--client",
    metavar="IP",
    default="127.0.0.1",
    show_default=True,
    help="Address that the connection comes from: the client's, or that of a proxy in front.",
)
@click.option("--tls", is_flag=True, help="The client speaks https.")
@click.option(
    "--plain", is_flag=True, help="An ordinary request: leave the upgrade's own lines out."
)
@click.option(
    "--method",
    metavar="NAME",
    default="GET",
    show_default=True,
    help="Its method; with another than GET it is an ordinary request.",
)
@options.config_file
@options.store
@options.as_json
def explain(
    target: str,
    host: str | None,
    headers: tuple[str, ...],
    client: str,
    path: Path | None,
    url: str | None,
    *,
    tls: bool,
    plain: bool,
    method: str,
    as_json: bool,
) -> None:
    """Say what the gateway would answer to a request, and why.

    Route, carrier, key and limits that would apply, the verdict, and what the service would be
    sent. Nothing is contacted; the store is read once. No credential is shown.
    """
    try:
        config = load(path, environ=os.environ, overrides={"store": url}).config
    except ConfigInvalid as invalid:
        fault = next(fault for fault in invalid.faults if fault.severity == "error")
        raise click.ClickException(str(fault)) from None
    if not re.fullmatch(TOKEN.decode(), method):
        raise click.UsageError("--method is no HTTP token (RFC 9110 section 5.6.2)")
    now = time.time()
    stored = _stored(config)
    tokens = None if config.jwt is None else _tokens(config.jwt, now)
    judge = Explainer(
        config,
        stored.ring,
        KeyVerifier(stored.ring, _Believed()),
        tokens,
        _own_paths(config, method),
    )
    plain = plain or method != "GET"
    lines = _lines(headers, host, plain=plain, tls=tls and config.tls is None)
    raw = f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("utf-8", "surrogateescape")
    told = judge.explain(Asked(raw, _peer(client), config.tls is not None, now))
    if as_json:
        click.echo(json.dumps(_report(told, stored, now), indent=2))
    else:
        _show(told, stored)
    if told.refused is not None:
        raise click.ClickException(
            f"it would be refused: {told.refused.row.status} {told.refused.code}"
        )
    if told.answered is not None:
        raise click.ClickException("it would open no WebSocket")


# The request -----------------------------------------------------------------------------------


def _lines(headers: tuple[str, ...], host: str | None, *, plain: bool, tls: bool) -> str:
    """The header lines. No complaint repeats one: it may hold a credential."""
    given = []
    for place, header in enumerate(_read(headers), 1):
        match = _HEADER.fullmatch(header)
        if match is None:
            raise click.UsageError(f"--header number {place} is not of the form 'Name: value'")
        given.append((match[1], match[2]))
    names = {name.lower() for name, _ in given}
    if host is not None and "host" in names:
        raise click.UsageError("--host and a Host header are given; keep one of them")
    standard = [("Host", host or "localhost"), *(() if plain else _UPGRADE)]
    if tls:
        # As whoever ends TLS in front of this gateway would say it.
        standard.append(("X-Forwarded-Proto", "https"))
    lines = [line for line in standard if line[0].lower() not in names] + given
    return "".join(f"{name}: {value}\r\n" for name, value in lines)


def _read(headers: tuple[str, ...]) -> Iterator[str]:
    """The header lines, those of files among them."""
    for header in headers:
        if not header.startswith("@"):
            yield header
            continue
        try:
            with click.open_file(header[1:], encoding="utf-8", errors="surrogateescape") as file:
                yield from (line for line in file.read().splitlines() if line)
        except OSError as failure:
            raise click.UsageError(
                f"--header names the file `{tables.safe(header[1:])}`, which cannot be read"
                f" ({failure.strerror}); write @ and the path of a file with one header a line"
            ) from None


def _peer(client: str) -> Address:
    try:
        ip_address(client)
    except ValueError:
        raise click.UsageError("--client is not an IP address") from None
    return peer_address((client,))


# What it is held against -----------------------------------------------------------------------


def _stored(config: Config) -> _Stored:
    ring = KeyRing(map(fixed, config.keys))
    if config.store == MEMORY:
        return _Stored(ring, {}, "it is `memory:`, whose keys only the gateway's process knows")
    try:
        with contextlib.closing(open_store(config.store, create=False)) as store:
            ring.replace_stored(store.keys())
            return _Stored(ring, store.last_used(), None)
    except StoreUnavailable as failure:
        # Its mend is one for commands that can make a store.
        return _Stored(ring, {}, f"{failure.place} {failure.cause}")


def _tokens(jwt: Jwt, now: float) -> Tokens:
    rules = rules_of(jwt)
    failure = None
    checks = True
    if jwt.secret is not None:
        by = "jwt.secret"
        try:
            keys = KeySet.of_secret(jwt.secret.get_secret_value().encode(), jwt.algorithms)
        except UnusableKeys as unusable:
            raise click.ClickException(f"jwt.secret: {unusable}") from None
    elif jwt.jwks_file is not None:
        by = "jwt.jwks_file"
        try:
            keys = KeySet.of_jwks(asyncio.run(FileSource(jwt.jwks_file).load()), jwt.algorithms)
        except (Unavailable, UnusableKeys) as unusable:
            keys, failure = KeySet((), published=True), str(unusable)
    else:
        by = "jwt.issuer" if jwt.jwks_url is None else "jwt.jwks_url"
        keys, checks = _AnySignature(), False
    return Tokens(JwtVerifier(rules, keys, lambda: now), by, checks, failure)


def _own_paths(config: Config, method: str) -> dict[bytes, str]:
    """What the gateway answers itself when it is asked for no upgrade."""
    own = {}
    if config.health_path is not None:
        asks = method in {"GET", "HEAD"}
        own[config.health_path.encode("ascii")] = (
            "200 or 503, by the gateway's health" if asks else "405: health is asked for with GET"
        )
    ticketed = any(
        carrier.kind == "ticket" for route in config.routes for carrier in config.carriers_of(route)
    )
    if ticketed or config.jwt is not None:
        told = {"OPTIONS": (_LETS_ASK, _LETS_ASK), "POST": (_SELLS, _RENEWS)}
        own[TICKET_PATH], own[RENEW_PATH] = told.get(
            method, ("405: tickets are asked for with POST", "405: sessions are renewed with POST")
        )
    return own


# What is shown ---------------------------------------------------------------------------------


def _show(told: Explanation, stored: _Stored) -> None:
    if stored.failure is not None:
        _line("store", f"not read, so only the configuration's keys are known: {stored.failure}")
    for step, outcome in told.steps:
        _line(step, outcome)
    _line("verdict", _verdict(told))
    for place, line in enumerate(told.upstream_head):
        _line("" if place else "upstream", line)


def _line(name: str, text: str) -> None:
    click.echo(f"{name:<10} {tables.safe(text)}")


def _verdict(told: Explanation) -> str:
    refused = told.refused
    if refused is not None:
        status = f"{refused.row.status} {refused.code}: {refused.detail or refused.row.title}"
        if told.close_code is None:
            return status
        return f"{status} Said after a 101, as Close {told.close_code} {refused.code} (refuse_with)"
    if told.answered is not None:
        return f"no WebSocket: {told.answered}"
    begin = "passed on as an ordinary HTTP request" if told.ordinary else "101"
    return f"{begin}, if " + ", and ".join((*told.conditions, "the upstream answers"))


def _report(told: Explanation, stored: _Stored, now: float) -> dict[str, Any]:
    refused, route, client = told.refused, told.route, told.client
    # Behind an ordinary request the status is the upstream's.
    admitted = None if told.ordinary or told.answered is not None else 101
    principal = told.principal
    return {
        "verdict": told.verdict,
        "status": admitted if refused is None else refused.row.status,
        "code": None if refused is None else refused.code,
        "detail": told.answered if refused is None else refused.detail,
        "close_code": told.close_code,
        "conditions": told.conditions,
        "ordinary": told.ordinary,
        "store": stored.failure,
        "route": None
        if route is None
        else {
            "name": route.name,
            "host": route.host,
            "path": route.path.decode("ascii"),
            "auth": route.auth,
        },
        "client": None
        if client is None
        else {
            "address": text_of(client.address),
            "socket": text_of(client.peer),
            "trusted": client.trusted,
            "scheme": client.scheme,
        },
        "carriers": told.carriers,
        "auth": None if principal is None else principal.auth,
        "subject": None if principal is None else principal.subject,
        "key": None
        if told.key is None
        else described(
            told.key,
            now=now,
            last_used_at=stored.last_used.get(told.key.id),
            source="configuration" if stored.ring.is_fixed(told.key.id) else "store",
        ),
        "upstream": {"url": told.upstream_url, "head": told.upstream_head},
        "steps": [{"step": step, "outcome": outcome} for step, outcome in told.steps],
    }
