"""Looks at the files and plugins that a configuration names, before anything needs them."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.config.faults import Fault, Finding, Wrong
from proxy.config.places import Places
from proxy.config.plugins import load_named
from proxy.config.stores import SQLITE
from proxy.config.values import UnixAddress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.config.faults import Where
    from proxy.config.model import Config
    from proxy.config.upstream_fields import UpstreamTls
    from proxy.config.values import Address

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_PRIVATE_KEY = b"PRIVATE KEY-----"
_ENCRYPTED = b"ENCRYPTED"


def check_files(config: Config, places: Places | None = None) -> list[Fault]:
    """Every fault in the files that are named, and in the folders of Unix sockets and the store.

    Plugins are imported: only that tells whether they can be.

    Args:
        config: what was loaded.
        places: where its values stand (`Loaded.places`); without it faults name no line.
    """
    return (places or Places("configuration")).faults(_findings(config))


def _findings(config: Config) -> Iterator[Finding]:
    yield from _socket_folder(config.listen, ("listen",))
    yield from _socket_folder(config.admin.listen, ("admin", "listen"))
    yield from _store_folder(config.store)
    for tls, where in ((config.tls, ("tls",)), (config.admin.tls, ("admin", "tls"))):
        if tls is not None:
            yield from _pair(tls.certificate, tls.private_key, where)
    if config.tls is not None and config.tls.client_ca is not None:
        yield from _authorities(config.tls.client_ca, ("tls", "client_ca"))
    if config.jwt is not None and config.jwt.jwks_file is not None:
        yield from _jwks(config.jwt.jwks_file)
    for index, name in enumerate(config.plugins):
        yield from _plugin(name, ("plugins", index))
    for index, route in enumerate(config.routes):
        yield from _upstream(route.upstream.tls, ("routes", index, "upstream", "tls"))


def _socket_folder(address: Address | None, where: Where) -> Iterator[Finding]:
    if isinstance(address, UnixAddress):
        folder = Path(address.path).parent
        if not folder.is_dir():
            yield Finding(where, f"lies in {folder}, which is no folder", "make the folder")


def _store_folder(store: str) -> Iterator[Finding]:
    if store.startswith(SQLITE):
        folder = Path(store.removeprefix(SQLITE)).parent
        if not folder.is_dir():
            yield Finding(("store",), f"lies in {folder}, which is no folder", "make the folder")


def _plugin(name: str, where: Where) -> Iterator[Finding]:
    try:
        load_named(name)
    except Wrong as wrong:
        yield Finding(where, wrong.problem, wrong.mend)


def _jwks(file: Path) -> Iterator[Finding]:
    where = ("jwt", "jwks_file")
    unreadable, content = _read(file, where)
    if unreadable is not None:
        yield unreadable
        return
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not keys:
        problem = f"names {file}, which is no JWK set (RFC 7517 section 5)"
        yield Finding(where, problem, 'name a JSON file such as `{"keys": […]}`')


def _upstream(tls: UpstreamTls, where: Where) -> Iterator[Finding]:
    if tls.certificate is not None:
        yield from _pair(tls.certificate, tls.private_key, where)
    if tls.ca is not None:
        yield from _authorities(tls.ca, (*where, "ca"))


def _authorities(bundle: Path, where: Where) -> Iterator[Finding]:
    unreadable, _ = _read(bundle, where)
    if unreadable is not None:
        yield unreadable
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=bundle)
    except ssl.SSLError:
        yield Finding(where, f"names {bundle}, which holds no certificate", "name a PEM bundle")


def _pair(certificate: Path, private_key: Path | None, where: Where) -> Iterator[Finding]:
    """Faults of a certificate and its key, which may stand in one file."""
    key_name = "certificate" if private_key is None else "private_key"
    key_file = private_key or certificate
    faults = [
        *_part(certificate, _CERTIFICATE, "certificate", (*where, "certificate")),
        *_part(key_file, _PRIVATE_KEY, "private key", (*where, key_name)),
    ]
    if faults:
        yield from dict.fromkeys(faults)
        return
    try:
        # The password is never used: keys that need one are refused above.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private_key, "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = f"is not the key of {certificate}"
            mend = "name the key that the certificate was made for"
        else:
            problem = f"cannot be used with {certificate} ({error.reason or 'not valid PEM'})"
            mend = "name a PEM certificate, its chain behind it, and its key"
        yield Finding((*where, key_name), problem, mend)


def _part(file: Path, marker: bytes, what: str, where: Where) -> Iterator[Finding]:
    unreadable, content = _read(file, where)
    if unreadable is not None:
        yield unreadable
    elif marker not in content:
        yield Finding(where, f"names {file}, which holds no PEM {what}", f"name one with a {what}")
    elif marker == _PRIVATE_KEY and _ENCRYPTED in content:
        yield Finding(
            where,
            f"names {file}, whose private key is encrypted",
            "decrypt it: `openssl pkey -in ENCRYPTED.pem -out KEY.pem`",
        )


def _read(file: Path, where: Where) -> tuple[Finding | None, bytes]:
    try:
        return None, file.read_bytes()
    except OSError as error:
        problem = f"names {file}, which cannot be read ({error.strerror or 'unknown reason'})"
        return Finding(where, problem, "name a file that wskeeper may read"), b""
