"""`wskeeper usage`: what each key was used for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import click

from proxy.cli import options, tables
from proxy.cli.keys_store import Place, configured, find_any, now, opened
from proxy.config.faults import Wrong
from proxy.config.moments import moment as read_moment
from proxy.config.values import duration
from proxy.keys.description import moment, moment_or_none

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from proxy.stores.store import KeyStore, Usage

_DAY: Final = 86_400
_HEAD: Final = (
    "KEY",
    "#CONNECTIONS",
    "#CONNECTED",
    "#MESSAGES IN",
    "#OUT",
    "#BYTES IN",
    "#OUT",
    "LAST USED",
)


@click.command(epilog="Usage is kept by the hour: the one that --since lies in counts whole.")
@click.option("--key", "reference", metavar="ID", help="The key's id or name; else all keys.")
@click.option(
    "--since",
    default="7d",
    show_default=True,
    metavar="WHEN",
    help="How long ago, or a moment, or a date.",
)
@options.config_file
@options.store
@options.as_json
def usage(
    reference: str | None, since: str, path: Path | None, url: str | None, *, as_json: bool
) -> None:
    """Show what each key was used for.

    Connections begun, time connected, messages and bytes: in from clients, out to them. What a
    deleted key was used for stays under its id.
    """
    at = now()
    begin = _begin(since, at)
    place = Place(path, url)
    with opened(place) as store:
        rows = _rows(store, place, reference, begin)
        known = store.keys()
        used = store.last_used()
    beside = configured(place)
    names = {key.id: key.name for key in (*known, *(beside.keys if beside else ()))}
    totals = [
        {**_holder(key_id, names), **_taken(of), "last_used_at": moment_or_none(used.get(key_id))}
        for key_id, of in _by_key(rows).items()
    ]
    if as_json:
        hours = [
            {**_holder(row.key_id, names), "hour": moment(row.hour), **_taken([row])}
            for row in rows
        ]
        click.echo(json.dumps({"since": moment(begin), "usage": hours, "totals": totals}, indent=2))
    elif not totals:
        click.echo(f"nothing was used since {tables.when(begin, at)}", err=True)
    else:
        tables.show(_HEAD, [_row(total, used.get(total["key_id"]), at) for total in totals])


def _begin(text: str, at: float) -> float:
    """The moment that `--since` names."""
    # A date that has been: an example of one to come would be refused in its turn.
    week_ago = moment(at - 7 * _DAY)[:10]
    mend = f"write how long ago, as in `24h` or `7d`, or a date that has been, as in `{week_ago}`"
    try:
        # A minus stands in every moment and in no duration.
        begin = read_moment(text) if "-" in text else at - duration(text)
    except Wrong as wrong:
        neither = wrong.problem in {"is not a duration", "is not a moment"}
        problem = "is neither a duration nor a moment" if neither else wrong.problem
        raise click.UsageError(f"--since {problem}; {mend}") from None
    if begin > at:
        raise click.UsageError(f"--since lies in the future, where nothing was used; {mend}")
    return begin


def _rows(store: KeyStore, place: Place, reference: str | None, begin: float) -> Sequence[Usage]:
    if reference is None:
        return store.usage(since=begin)
    # The usage of a deleted key stays, under its id.
    rows = store.usage(since=begin, key_id=reference)
    return rows or store.usage(since=begin, key_id=find_any(store, place, reference)[0].id)


def _by_key(rows: Iterable[Usage]) -> dict[str, list[Usage]]:
    found: dict[str, list[Usage]] = {}
    for row in rows:
        found.setdefault(row.key_id, []).append(row)
    return found


def _holder(key_id: str, names: Mapping[str, str]) -> dict[str, Any]:
    return {"key_id": key_id, "key_name": names.get(key_id)}


def _taken(rows: Sequence[Usage]) -> dict[str, Any]:
    """What was used in all, as JSON."""
    return {
        "connections": sum(row.connections for row in rows),
        "connected_seconds": round(sum(row.seconds for row in rows), 3),
        "messages_from_client": sum(row.messages[0] for row in rows),
        "messages_from_upstream": sum(row.messages[1] for row in rows),
        "bytes_from_client": sum(row.bytes[0] for row in rows),
        "bytes_from_upstream": sum(row.bytes[1] for row in rows),
    }


def _row(total: dict[str, Any], used_at: float | None, at: float) -> tuple[str, ...]:
    return (
        total["key_name"] or f"{total['key_id']} (deleted)",
        str(total["connections"]),
        tables.duration(total["connected_seconds"]),
        str(total["messages_from_client"]),
        str(total["messages_from_upstream"]),
        tables.size(total["bytes_from_client"]),
        tables.size(total["bytes_from_upstream"]),
        tables.ago(used_at, at),
    )
