"""`wskeeper keys update`, `rotate`, `suspend`, `resume`, `revoke` and `delete`."""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from proxy.cli import keys_options, options, tables
from proxy.cli.keys_show import told
from proxy.cli.keys_store import Place, account, configured, find, now, opened
from proxy.config.faults import Wrong
from proxy.config.values import duration
from proxy.keys import lifecycle
from proxy.keys.key import digest_of
from proxy.keys.made import updated
from proxy.keys.secret import make_secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxy.keys.key import Key

_REFERENCE: Final = click.argument("reference", metavar="ID")


@click.command(
    epilog="An option replaces all of what it stands for, and what is not named stays; --limit and"
    " --metadata change single entries. To clear: --routes all, --expires never, --limit NAME=none,"
    " --origin any, --address any, --deny-address none, --metadata none."
)
@_REFERENCE
@click.option("--name", help="A new name; the id stays.")
@keys_options.fields
@options.config_file
@options.store
@options.as_json
def update(
    reference: str,
    name: str | None,
    path: Path | None,
    url: str | None,
    *,
    as_json: bool,
    **options_given: Any,
) -> None:
    """Change fields of a key. Live connections that it no longer admits are closed."""
    place = Place(path, url)
    given = keys_options.Given(**options_given)
    if name is None and not any(given):
        raise click.UsageError("there is nothing to change; name a field, as in --expires 90d")
    at = now()

    def edit(key: Key) -> Key:
        fields = keys_options.read(given, now=at, name=name, before=key)
        return updated(key, fields)

    with opened(place) as store:
        key = find(store, place, reference)
        beside = configured(place) if name is not None or given.routes else None
        if beside is not None:
            fields = keys_options.read(given, now=at, name=name, before=key)
            keys_options.check(fields, beside)
        after = store.change(key.id, edit, by=account())
        click.echo(told(store, after) if as_json else f"changed the key {_called(after)}")


@click.command()
@_REFERENCE
@click.option(
    "--overlap",
    default="24h",
    show_default=True,
    metavar="DURATION",
    help="How long the secret before stays valid; 0 ends it, and its live connections, at once.",
)
@options.config_file
@options.store
@options.as_json
def rotate(
    reference: str, overlap: str, path: Path | None, url: str | None, *, as_json: bool
) -> None:
    """Give a key a new secret, printed once. The one before stays valid for a while."""
    place = Place(path, url)
    try:
        seconds = duration(overlap, zero=True)
    except Wrong as wrong:
        raise click.UsageError(f"--overlap {wrong}") from None
    at = now()
    with opened(place) as store:
        key = find(store, place, reference)
        made = make_secret(secrets.randbelow, key.id)
        digest = digest_of(made.text.encode())
        edit = partial(lifecycle.rotated, digest=digest, now=at, overlap=seconds)
        after = store.change(key.id, edit, by=account())
        if as_json:
            click.echo(told(store, after, secret=made.text))
            return
    click.echo(made.text)
    until = f"valid until {tables.when(at + seconds, at)}" if seconds else "no longer valid"
    click.echo(f"key {_called(after)} has a new secret; the one before is {until}", err=True)
    click.echo("This is its secret, shown once: only a digest of it is kept.", err=True)


def _changing(name: str, edit: Callable[[Key, float], Key], done: str, help: str) -> click.Command:
    """A command that changes a key in one way."""

    @click.command(name, help=help)
    @_REFERENCE
    @options.config_file
    @options.store
    @options.as_json
    def command(reference: str, path: Path | None, url: str | None, *, as_json: bool) -> None:
        place = Place(path, url)
        with opened(place) as store:
            key = find(store, place, reference)
            at = now()
            after = store.change(key.id, lambda before: edit(before, at), by=account())
            click.echo(told(store, after) if as_json else f"{done} the key {_called(after)}")

    return command


def _resumed(key: Key, now: float) -> Key:
    del now
    return lifecycle.resumed(key)


suspend = _changing(
    "suspend",
    lifecycle.suspended,
    "suspended",
    "Put a key aside until it is resumed. Its live connections are closed.",
)
resume = _changing("resume", _resumed, "resumed", "Bring a suspended key back.")
revoke = _changing(
    "revoke",
    lifecycle.revoked,
    "revoked",
    "End a key for good. Its live connections are closed, and whoever shows it is told.",
)


@click.command()
@_REFERENCE
@options.config_file
@options.store
@options.as_json
def delete(reference: str, path: Path | None, url: str | None, *, as_json: bool) -> None:
    """Forget a key, so that its name is free. As revoke, but its usage has no name any more."""
    place = Place(path, url)
    with opened(place) as store:
        key = find(store, place, reference)
        before = store.delete(key.id, by=account())
        click.echo(told(store, before) if as_json else f"deleted the key {_called(before)}")


def _called(key: Key) -> str:
    return f"{key.name} (id {key.id})"
