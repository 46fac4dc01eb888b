"""`wskeeper keys list` and `show`, and how other commands show the key that they changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from proxy.cli import options, tables
from proxy.cli.keys_store import Place, configured, find_any, now, opened
from proxy.keys.description import Source, described, scope_of

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.keys.key import Key
    from proxy.stores.store import KeyStore

_NO_KEYS = "no keys yet; make one: wskeeper keys create --name NAME"


@click.command("list")
@options.config_file
@options.store
@options.as_json
def list_keys(path: Path | None, url: str | None, *, as_json: bool) -> None:
    """List all keys, those of the configuration among them."""
    place = Place(path, url)
    with opened(place) as store:
        stored, used = store.keys(), store.last_used()
    beside = configured(place)
    at = now()
    entries: list[tuple[Key, Source]] = [(key, "store") for key in stored]
    entries += [(key, "configuration") for key in (beside.keys if beside else ())]
    entries.sort(key=lambda entry: entry[0].name)
    if as_json:
        told = [
            described(key, now=at, last_used_at=used.get(key.id), source=source)
            for key, source in entries
        ]
        click.echo(json.dumps({"keys": told}, indent=2))
    elif not entries:
        click.echo(_NO_KEYS, err=True)
    else:
        tables.show(
            ("NAME", "ID", "STATE", "ROUTES", "EXPIRES", "LAST USED", "SOURCE"),
            [_row(key, source, used.get(key.id), at) for key, source in entries],
        )


def _row(key: Key, source: Source, used_at: float | None, at: float) -> tuple[str, ...]:
    state = key.state(at) + (", weak" if key.weak else "")
    routes = "all" if key.routes is None else ",".join(sorted(key.routes))
    expires = "never" if key.expires_at is None else tables.when(key.expires_at, at)
    used = "never" if used_at is None else tables.ago(used_at, at)
    return (key.name, key.id, state, routes, expires, used, source)


@click.command()
@click.argument("reference", metavar="ID")
@options.config_file
@options.store
@options.as_json
def show(reference: str, path: Path | None, url: str | None, *, as_json: bool) -> None:
    """Show one key. Everything but its secret, which nobody has kept."""
    place = Place(path, url)
    with opened(place) as store:
        key, is_fixed = find_any(store, place, reference)
        used_at = store.last_used().get(key.id)
    source: Source = "configuration" if is_fixed else "store"
    at = now()
    if as_json:
        told = described(key, now=at, last_used_at=used_at, source=source)
        click.echo(json.dumps(told, indent=2))
        return
    for name, value in _lines(key, source, used_at, at):
        click.echo(f"{name:<10} {tables.safe(value)}")


def told(store: KeyStore, key: Key, **more: Any) -> str:
    """A key of the store as the one JSON object that a command answers."""
    used_at = store.last_used().get(key.id)
    about = described(key, now=now(), last_used_at=used_at, source="store")
    return json.dumps({**about, **more}, indent=2)


def _lines(key: Key, source: Source, used_at: float | None, at: float) -> list[tuple[str, str]]:
    scope = scope_of(key)
    moments = [
        ("created", key.created_at),
        ("expires", key.expires_at),
        ("suspended", key.suspended_at),
        ("revoked", key.revoked_at),
        ("last used", used_at),
    ]
    allow = "any" if key.allow is None else ", ".join(scope["addresses"]["allow"])
    denied = ", ".join(scope["addresses"]["deny"])
    return [
        ("name", key.name),
        ("id", key.id),
        ("state", key.state(at) + (", weak" if key.weak else "")),
        ("source", source),
        ("routes", "all" if key.routes is None else ", ".join(scope["routes"])),
        *((name, tables.when(seconds, at)) for name, seconds in moments),
        ("limits", ", ".join(_limits(scope["limits"])) or "none"),
        ("origins", "any" if key.origins is None else ", ".join(scope["origins"])),
        ("addresses", allow + (f", not {denied}" if denied else "")),
        ("metadata", ", ".join(f"{k}={v}" for k, v in key.metadata.items()) or "none"),
        *(
            ("secret", "valid as long as the key" if until is None else _until(until, at))
            for _, until in key.secrets
        ),
    ]


def _limits(limits: dict[str, Any]) -> list[str]:
    """As `--limit` takes them."""
    entries = {name: value for name, value in limits.items() if name != "message_size"}
    for direction, size in (limits["message_size"] or {}).items():
        entries[f"message_size.{direction}"] = size
    return [f"{name}={value}" for name, value in entries.items() if value is not None]


def _until(until: float, at: float) -> str:
    return f"{'valid until' if until > at else 'ended'} {tables.when(until, at)}"
