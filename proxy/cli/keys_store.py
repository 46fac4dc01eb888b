"""The store that commands on keys work on, and what the configuration says beside it."""

from __future__ import annotations

import contextlib
import difflib
import os
import pwd
import time
from typing import TYPE_CHECKING, NamedTuple

import click

from proxy.config.faults import ConfigInvalid
from proxy.config.load import DEFAULT_FILE, load, load_store
from proxy.config.stores import MEMORY
from proxy.keys.key import digest_of
from proxy.keys.lifecycle import NotPossible
from proxy.keys.made import fixed
from proxy.keys.secret import PREFIX, id_in
from proxy.stores.open import open_store
from proxy.stores.store import AmbiguousKey, Conflict, NoSuchKey, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from proxy.keys.key import Key
    from proxy.stores.store import KeyStore

_IN_MEMORY = (
    "the store is `memory:`, which lives in the gateway's process alone; write"
    " `store: sqlite:PATH` into its configuration"
)


class Place(NamedTuple):
    """Where a command looks: the values of `-c` and `--store`."""

    path: Path | None
    url: str | None


class Configured(NamedTuple):
    """What a configuration says about keys.

    Args:
        file: it, as the user named it.
        routes: names of its routes.
        keys: those that stand in it.
    """

    file: str
    routes: tuple[str, ...]
    keys: tuple[Key, ...]


@contextlib.contextmanager
def opened(place: Place, *, create: bool = False) -> Iterator[KeyStore]:
    """The store, and every way it fails in one line.

    Args:
        place: where it is.
        create: makes a missing one.
    """
    try:
        url, folder = load_store(place.path, environ=os.environ, url=place.url)
    except ConfigInvalid as invalid:
        raise click.ClickException(str(invalid.faults[0])) from None
    if url == MEMORY:
        raise click.ClickException(_IN_MEMORY)
    try:
        with contextlib.closing(open_store(url, create=create, folder=folder)) as store:
            if store.warning:
                click.echo(f"warning: {store.warning}", err=True)
            yield store
    except (StoreUnavailable, Conflict, AmbiguousKey, NoSuchKey, NotPossible) as failure:
        raise click.ClickException(str(failure)) from None


def configured(place: Place) -> Configured | None:
    """What the configuration says, if there is one.

    A store that is named alone may belong to another configuration than the one that lies here.
    One with faults warns: keys must be within reach also then.
    """
    beside = place.url is None and (
        os.environ.get("WSKEEPER_CONFIG")
        or os.environ.get("WSKEEPER_CONFIG_FILE")
        or DEFAULT_FILE.exists()
    )
    if place.path is None and not beside:
        return None
    try:
        loaded = load(place.path, environ=os.environ)
    except ConfigInvalid as invalid:
        fault = next(fault for fault in invalid.faults if fault.severity == "error")
        click.echo(f"warning: its routes and keys are left out: {fault}", err=True)
        return None
    config = loaded.config
    return Configured(
        str(loaded.path),
        tuple(route.name for route in config.routes),
        tuple(map(fixed, config.keys)),
    )


def find(store: KeyStore, place: Place, reference: str) -> Key:
    """The key of the store with that id or name.

    Raises:
        click.ClickException: there is none, and what may have been meant.
    """
    refuse_secret(reference)
    try:
        return store.find(reference)
    except NoSuchKey:
        pass
    beside = configured(place)
    if beside and any(key.name == reference for key in beside.keys):
        raise click.ClickException(
            f"the key `{reference}` stands in {beside.file}; change it there, under `keys:`"
        )
    raise click.ClickException(_missing(reference, store.keys(), store.place))


def find_any(store: KeyStore, place: Place, reference: str) -> tuple[Key, bool]:
    """The key with that id or name, and whether the configuration holds it.

    Raises:
        click.ClickException: there is none, and what may have been meant.
    """
    refuse_secret(reference)
    with contextlib.suppress(NoSuchKey):
        return store.find(reference), False
    beside = configured(place)
    keys = beside.keys if beside else ()
    for key in keys:
        if key.name == reference:
            return key, True
    raise click.ClickException(_missing(reference, [*store.keys(), *keys], store.place))


def refuse_secret(reference: str) -> None:
    """Refuses what looks like a secret where an id or a name belongs, without repeating it."""
    if reference.startswith(PREFIX):
        key_id = id_in(reference)
        mend = "use one of these" if key_id is None else f"the id in it is `{key_id}`"
        raise click.ClickException(f"that looks like a secret, not like an id or a name; {mend}")


def _missing(reference: str, keys: Sequence[Key], place: str) -> str:
    # What was asked for is not repeated: it may be a secret, pasted in the wrong place.
    digest = digest_of(reference.encode("utf-8", "surrogateescape"))
    for key in keys:
        if key.secret(digest) is not None:
            return f"that is a secret of the key `{key.name}`; use its name or its id `{key.id}`"
    words = {word: None for key in keys for word in (key.name, key.id)}
    near = difflib.get_close_matches(reference, words, n=3)
    mend = (
        "did you mean " + " or ".join(f"`{word}`" for word in near) + "?"
        if near
        else "`wskeeper keys list` shows all"
    )
    return f"no key in {place} has that id or name; {mend}"


def account() -> str:
    """Who changes keys here, in the words of the audit."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # Containers run as users that have no name.
        name = str(os.getuid())
    return f"cli:{name}"


def now() -> float:
    """Seconds since the epoch, to the millisecond: what is kept reads well."""
    return int(time.time() * 1000) / 1000
