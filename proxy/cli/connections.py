"""`wskeeper connections`: the live connections of a running gateway."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click

from proxy.cli import options, tables
from proxy.cli.admin_client import NoAnswer, ask, ask_json
from proxy.cli.admin_place import find_admin
from proxy.keys.secret import PREFIX

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.cli.admin_client import AdminPlace

# What a Close frame holds beside its code (RFC 6455 5.5.1), in bytes.
_MAX_REASON: Final = 123
_HEAD: Final = (
    "ID",
    "ROUTE",
    "KEY",
    "SUBJECT",
    "CLIENT",
    "#OPEN FOR",
    "#MESSAGES IN",
    "#OUT",
    "#BYTES IN",
    "#OUT",
)


@click.group()
def connections() -> None:
    """See and close the live connections of a running gateway."""


def _no_secret(_: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Keeps a secret, pasted in the wrong place, out of a request's target."""
    if value is not None and value.startswith(PREFIX):
        raise click.BadParameter("looks like a secret; use an id or a name", param=parameter)
    return value


_route = click.option("--route", metavar="NAME", help="Those on this route.")
_key = click.option(
    "--key", metavar="ID", callback=_no_secret, help="Those of this key, by its id or name."
)
_subject = click.option("--subject", metavar="TEXT", help="Those for this subject.")


@connections.command("list")
@_route
@_key
@_subject
@options.admin
@options.as_json
def list_connections(
    route: str | None,
    key: str | None,
    subject: str | None,
    path: Path | None,
    url: str | None,
    ca: Path | None,
    *,
    as_json: bool,
) -> None:
    """List live connections: all, or those that every given option names."""
    place = find_admin(path, url, ca)
    found = _all(place, {"route": route, "key": key, "subject": subject})
    if as_json:
        click.echo(json.dumps({"connections": found}, indent=2))
    elif not found:
        click.echo("no live connections", err=True)
    else:
        tables.show(_HEAD, list(map(_row, found)))
    if not found:
        _note_unknown(place, key, route)


def _all(place: AdminPlace, filters: dict[str, object | None]) -> list[dict[str, Any]]:
    """The connections of all pages."""
    found: list[dict[str, Any]] = []
    after = None
    while True:
        answer = ask_json(place, "GET", "/connections", {**filters, "after": after})
        found += answer.get("connections", ())
        after = answer.get("next")
        if after is None:
            return found


def _note_unknown(place: AdminPlace, key: str | None, route: str | None) -> None:
    """Says which name matched nothing because nothing is called so, as far as that can be told."""
    # What was asked for is not repeated: it may be a secret, pasted in the wrong place.
    if key is not None:
        told = _told(place, f"/keys/{quote(key, safe='')}")
        if told.get("code") == "no_such_key":
            click.echo(
                "note: no key has the id or name that --key gives; `wskeeper keys list` shows all",
                err=True,
            )
    if route is not None:
        names = [entry["name"] for entry in _told(place, "/routes").get("routes", ())]
        if names and route not in names:
            near = difflib.get_close_matches(route, names, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"there is `{'`, `'.join(names)}`"
            click.echo(f"note: no route has the name that --route gives; {hint}", err=True)


def _told(place: AdminPlace, path: str) -> dict[str, Any]:
    """What the API answers, a problem included; nothing when it has no answer."""
    try:
        data = json.loads(ask(place, "GET", f"/api/v1{path}", timeout=10.0).body)
    except (NoAnswer, ValueError):
        # The command itself has been done.
        return {}
    return data if isinstance(data, dict) else {}


def _row(connection: dict[str, Any]) -> tuple[str, ...]:
    def said(name: str) -> str:
        value = connection.get(name)
        return tables.NOTHING if value is None else str(value)

    return (
        said("id"),
        said("route"),
        said("key_name"),
        said("subject"),
        said("client"),
        tables.duration(connection["duration_s"]),
        said("messages_from_client"),
        said("messages_from_upstream"),
        tables.size(connection["bytes_from_client"]),
        tables.size(connection["bytes_from_upstream"]),
    )


def _short_enough(_: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and len(value.encode("utf-8", "surrogateescape")) > _MAX_REASON:
        raise click.BadParameter(
            f"is longer than {_MAX_REASON} bytes of UTF-8; a Close frame holds no more",
            param=parameter,
        )
    return value


@connections.command(
    epilog="Clients may come back at once: end the key with `wskeeper keys revoke` if they may not."
)
@click.argument("connection", metavar="[ID]", required=False, callback=_no_secret)
@_key
@_subject
@_route
@click.option(
    "--code",
    type=click.IntRange(1000, 4999),
    metavar="N",
    help="The close code that clients and services are told; else 1008.",
)
@click.option(
    "--reason",
    metavar="TEXT",
    callback=_short_enough,
    help="The reason they are told; else closed_by_admin.",
)
@options.admin
@options.as_json
def close(
    connection: str | None,
    path: Path | None,
    url: str | None,
    ca: Path | None,
    *,
    key: str | None,
    subject: str | None,
    route: str | None,
    code: int | None,
    reason: str | None,
    as_json: bool,
) -> None:
    """Close one live connection, or all of a key, a subject or a route."""
    filters = {"key": key, "subject": subject, "route": route}
    if sum(given is not None for given in (connection, *filters.values())) != 1:
        raise click.UsageError("give one of ID, --key, --subject and --route")
    below = "" if connection is None else f"/{quote(connection, safe='')}"
    place = find_admin(path, url, ca)
    answer = ask_json(
        place, "DELETE", f"/connections{below}", {**filters, "code": code, "reason": reason}
    )
    closed = answer.get("closed", 0)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        click.echo(f"closed {closed} connection{'' if closed == 1 else 's'}")
    if not closed:
        _note_unknown(place, key, route)
