"""`wskeeper keys`: the life of a key, from its making to its end."""

from __future__ import annotations

import click

from proxy.cli.keys_change import delete, resume, revoke, rotate, suspend, update
from proxy.cli.keys_create import create, import_key
from proxy.cli.keys_show import list_keys, show
from proxy.cli.keys_transfer import export, import_file


@click.group(
    epilog="They work on the store itself, whether or not a gateway runs; one that runs acts on"
    " every change within a second. Where a command takes ID, it is the key's id or its name."
)
def keys() -> None:
    """Make, change and end the keys in the store."""


for command in (
    create,
    list_keys,
    show,
    update,
    rotate,
    suspend,
    resume,
    revoke,
    delete,
    import_key,
    export,
    import_file,
):
    keys.add_command(command)
