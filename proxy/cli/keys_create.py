"""`wskeeper keys create` and `import`: new keys, with a secret of ours or one that exists."""

from __future__ import annotations

import re
import secrets
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from proxy.cli import keys_options, options, tables
from proxy.cli.keys_show import told
from proxy.cli.keys_store import Place, account, configured, now, opened
from proxy.keys.key import digest_of
from proxy.keys.lifecycle import SHORT_SECRET
from proxy.keys.made import made as key_of
from proxy.keys.secret import id_in, is_mistyped, make_secret

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.config.key_fields import KeyFields
    from proxy.keys.key import Key

# A file's name may stand behind, as `sha256sum` and `openssl dgst -r` print it.
_SHA256: Final = re.compile(r"([0-9a-f]{64})(?: [ *].+)?")
# Longer than any header line that the gateway reads by default.
_LONGEST_SECRET: Final = 1 << 15

_NAME = click.option("--name", required=True, help="Unique; what logs, metrics and services see.")


@click.command(
    epilog="KEY=$(wskeeper keys create --name alice) holds the secret: stdout has nothing else."
)
@_NAME
@keys_options.fields
@click.option("--init", "create_store", is_flag=True, help="Make the store if it is missing.")
@options.config_file
@options.store
@options.as_json
def create(
    name: str,
    path: Path | None,
    url: str | None,
    *,
    create_store: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Make a key. Its secret is printed once, never again."""
    place = Place(path, url)
    at = now()
    fields = keys_options.read(keys_options.Given(**given), now=at, name=name)
    made = make_secret(secrets.randbelow)
    digest = digest_of(made.text.encode())
    _check(place, fields, digest)
    key = key_of(fields, id=made.id, digest=digest, now=at)
    with opened(place, create=create_store) as store:
        store.add([key], by=account())
        if as_json:
            click.echo(told(store, key, secret=made.text))
            return
        where = store.place
    click.echo(made.text)
    click.echo(f"{_introduced(key, at)}; kept in {where}", err=True)
    click.echo("This is its secret, shown once: only a digest of it is kept.", err=True)


@click.command("import", epilog="The secret is never asked for as an argument: others see those.")
@_NAME
@click.option(
    "--secret-stdin",
    is_flag=True,
    help="Read the secret from stdin; one newline at its end is cut.",
)
@click.option(
    "--sha256",
    metavar="HEX",
    help="The SHA-256 of the secret, when it is not at hand; as `sha256sum` prints it is fine.",
)
@click.option(
    "--allow-weak",
    is_flag=True,
    help=f"Take a secret of less than {SHORT_SECRET} characters, marked as weak.",
)
@keys_options.fields
@options.config_file
@options.store
@options.as_json
def import_key(
    name: str,
    sha256: str | None,
    path: Path | None,
    url: str | None,
    *,
    secret_stdin: bool,
    allow_weak: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Keep a key that exists already, as it is."""
    if secret_stdin == (sha256 is not None):
        raise click.UsageError("give one of --secret-stdin and --sha256")
    place = Place(path, url)
    at = now()
    fields = keys_options.read(keys_options.Given(**given), now=at, name=name)
    key_id = make_secret(secrets.randbelow).id
    if sha256 is None:
        secret = _read_secret()
        weak = len(secret) < SHORT_SECRET
        if weak and not allow_weak:
            raise click.ClickException(
                f"the secret has less than {SHORT_SECRET} characters, so it could be guessed; make"
                " a new key, or add --allow-weak"
            )
        key_id, digest = id_in(secret) or key_id, digest_of(secret.encode())
    else:
        # How long the secret is cannot be seen, so the flag alone tells.
        digest, weak = _read_digest(sha256), allow_weak
    _check(place, fields, digest)
    key = key_of(fields, id=key_id, digest=digest, now=at, weak=weak)
    with opened(place) as store:
        store.add([key], by=account())
        if as_json:
            click.echo(told(store, key))
        else:
            click.echo(f"{_introduced(key, at)}; kept in {store.place}")


def _check(place: Place, fields: KeyFields, digest: bytes) -> None:
    """Asks the configuration whether it has something against a new key."""
    beside = configured(place)
    if beside is not None:
        keys_options.check(fields, beside, digest)


def _introduced(key: Key, at: float) -> str:
    routes = "every route" if key.routes is None else ", ".join(sorted(key.routes))
    expires = "" if key.expires_at is None else f", until {tables.when(key.expires_at, at)}"
    weak = ", weak" if key.weak else ""
    return f"key {key.name} (id {key.id}{weak}) opens {routes}{expires}"


def _read_secret() -> str:
    """The secret on stdin. No error repeats it."""
    data = sys.stdin.buffer.read(_LONGEST_SECRET + 1)
    if len(data) > _LONGEST_SECRET:
        raise click.ClickException("stdin holds more than one secret could be")
    try:
        secret = re.sub(r"\r?\n\Z", "", data.decode())
    except UnicodeDecodeError:
        raise click.ClickException("the secret on stdin is not UTF-8 text") from None
    if not secret:
        raise click.ClickException("stdin is empty; pipe the secret into it")
    if not secret.isprintable():
        raise click.ClickException(
            "the secret on stdin holds a line break or another character that cannot be printed, so"
            " no header can carry it; pipe the secret alone"
        )
    if secret != secret.strip():
        raise click.ClickException(
            "the secret on stdin begins or ends with white space, which no header keeps; cut it"
        )
    if is_mistyped(secret):
        raise click.ClickException(
            "the secret on stdin begins like a key of wskeeper and its checksum is wrong: it was"
            " cut or mistyped"
        )
    return secret


def _read_digest(text: str) -> bytes:
    found = _SHA256.fullmatch(text.strip().lower())
    if found is None:
        # It is not repeated: it may be the secret itself.
        raise click.UsageError("--sha256 is not a SHA-256 digest; write its 64 hexadecimal digits")
    digest = bytes.fromhex(found[1])
    if digest in {digest_of(b""), digest_of(b"\n")}:
        raise click.UsageError("--sha256 is the digest of nothing; digest the secret itself")
    return digest
