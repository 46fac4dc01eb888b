"""`wskeeper keys export` and `import-file`: all keys of a store, as digests."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

import click

from proxy.cli import options
from proxy.cli.keys_document import DocumentInvalid, document_of, read_document
from proxy.cli.keys_store import Place, account, configured, opened
from proxy.keys.secret import make_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from proxy.keys.key import Key


@click.command(epilog="Keys of the configuration are left out: they are in its file.")
@options.config_file
@options.store
def export(path: Path | None, url: str | None) -> None:
    """Print all keys of the store as JSON: digests, never secrets."""
    with opened(Place(path, url)) as store:
        click.echo(json.dumps(document_of(store.keys()), indent=2))


@click.command("import-file", epilog="All keys are taken, or none. FILE may be - for stdin.")
@click.argument("file", type=click.File("rb"))
@options.config_file
@options.store
@options.as_json
def import_file(file: BinaryIO, path: Path | None, url: str | None, *, as_json: bool) -> None:
    """Keep the keys that `export` printed, exactly as they were."""
    place = Place(path, url)
    try:
        keys = read_document(file.read(), lambda: make_secret(secrets.randbelow).id)
    except DocumentInvalid as invalid:
        raise click.ClickException(_refusal(map(str, invalid.faults))) from None
    with opened(place) as store:
        beside = configured(place)
        held = [*store.keys(), *(beside.keys if beside else ())]
        conflicts = list(_conflicts(keys, held))
        if conflicts:
            raise click.ClickException(_refusal(conflicts))
        store.add(keys, by=account())
        where = store.place
    if as_json:
        click.echo(json.dumps({"imported": len(keys)}, indent=2))
    else:
        click.echo(f"imported {len(keys)} key{'' if len(keys) == 1 else 's'} into {where}")


def _refusal(reasons: Iterable[str]) -> str:
    return "\n".join([*reasons, "nothing was imported"])


def _conflicts(keys: Iterable[Key], held: Iterable[Key]) -> Iterator[str]:
    """What keys that are there already have in common with those to come."""
    holders: dict[tuple[str, object], Key] = {}
    for key in held:
        holders.update(dict.fromkeys(_claims(key), key))
    for index, key in enumerate(keys):
        taken: dict[str, list[str]] = {}
        for claim in _claims(key):
            if holder := holders.get(claim):
                fields = taken.setdefault(f"`{holder.name}` (id {holder.id})", [])
                if claim[0] not in fields:
                    fields.append(claim[0])
        for who, fields in taken.items():
            yield f"keys[{index}]: the key {who} has the same {' and '.join(fields)}"


def _claims(key: Key) -> Iterator[tuple[str, object]]:
    """What no other key may have."""
    yield "id", key.id
    yield "name", key.name
    for secret in key.secrets:
        yield "secret", secret.digest
