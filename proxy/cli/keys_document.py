"""Keys as a document that a store is filled from again: what it keeps, exactly."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from proxy.config.faults import Wrong
from proxy.config.key_fields import FieldsInvalid, KeyFields, read_key_fields
from proxy.config.moments import moment as read_moment
from proxy.keys.description import moment, scope_of
from proxy.keys.key import Key, Secret
from proxy.keys.made import made

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FORMAT: Final = "wskeeper_keys"
VERSION: Final = 1

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@:+-]{0,63}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
# Beside the fields that everybody may set.
_KEPT: Final = frozenset({"id", "created_at", "suspended_at", "revoked_at", "weak", "secrets"})
_ABSENT: Final = object()


class DocumentFault(NamedTuple):
    """What is wrong at one place of a document."""

    path: str
    problem: str
    mend: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; {self.mend}"


class DocumentInvalid(ValueError):
    """A document that cannot be taken; `faults` holds everything that is wrong with it."""

    def __init__(self, faults: Iterable[DocumentFault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


def document_of(keys: Iterable[Key]) -> dict[str, Any]:
    """All that a store keeps of the keys; digests, for it has no secrets."""
    return {FORMAT: VERSION, "keys": [_entry(key) for key in keys]}


def _entry(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "secrets": [
            {"sha256": secret.digest.hex(), "valid_until": _exact(secret.until)}
            for secret in key.secrets
        ],
        "weak": key.weak,
        "created_at": _exact(key.created_at),
        "expires_at": _exact(key.expires_at),
        "suspended_at": _exact(key.suspended_at),
        "revoked_at": _exact(key.revoked_at),
        **scope_of(key),
    }


def _exact(seconds: float | None) -> str | float | None:
    """A moment as text, or as a number where text would round it."""
    if seconds is None:
        return None
    text = moment(seconds)
    return text if read_moment(text) == seconds else seconds


def read_document(data: bytes, new_id: Callable[[], str]) -> list[Key]:
    """The keys in a document.

    Args:
        data: JSON.
        new_id: makes the id of a key that has none.

    Raises:
        DocumentInvalid: with every fault; none repeats a value.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise DocumentInvalid([_whole("is not JSON")]) from None
    if not isinstance(document, dict) or document.get(FORMAT) != VERSION:
        raise DocumentInvalid([_whole(f"has no `{FORMAT}: {VERSION}`")])
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise DocumentInvalid([_whole("has no list `keys`")])
    faults: list[DocumentFault] = []
    keys = [_Entry(index, entry, faults).key(new_id) for index, entry in enumerate(entries)]
    found = [key for key in keys if key is not None]
    if not faults:
        faults += _repeated(found)
    if faults:
        raise DocumentInvalid(faults)
    return found


def _whole(problem: str) -> DocumentFault:
    return DocumentFault("the file", problem, "name one that `wskeeper keys export` printed")


class _Entry:
    """One key of a document.

    Args:
        index: in the list.
        entry: as JSON gave it.
        faults: takes what is wrong with it.
    """

    def __init__(self, index: int, entry: Any, faults: list[DocumentFault]) -> None:
        self._place = f"keys[{index}]"
        self._entry = entry
        self._faults = faults

    def key(self, new_id: Callable[[], str]) -> Key | None:
        """The key; None when something is wrong with it."""
        if not isinstance(self._entry, dict):
            self._blame("", "is not an object", "write one as `wskeeper keys export` does")
            return None
        before = len(self._faults)
        fields = self._fields()
        key_id = self._entry.get("id", _ABSENT)
        if key_id is not _ABSENT and not (isinstance(key_id, str) and _ID.fullmatch(key_id)):
            self._blame("id", "is not an id", "write what `export` wrote, or leave it out")
        weak = self._entry.get("weak", False)
        if not isinstance(weak, bool):
            self._blame("weak", "is neither true nor false", "write one of them")
        created_at, suspended_at, revoked_at = (
            self._moment(name, self._entry.get(name))
            for name in ("created_at", "suspended_at", "revoked_at")
        )
        secrets = self._secrets(self._entry.get("secrets"))
        if fields is None or len(self._faults) > before:
            return None
        new = new_id() if key_id is _ABSENT else key_id
        return replace(
            made(fields, id=new, digest=secrets[0].digest, now=0.0, weak=weak),
            secrets=secrets,
            created_at=created_at,
            suspended_at=suspended_at,
            revoked_at=revoked_at,
        )

    def _fields(self) -> KeyFields | None:
        data = {name: value for name, value in self._entry.items() if name not in _KEPT}
        for name in [name for name in data if name not in KeyFields.model_fields]:
            near = difflib.get_close_matches(name, [*_KEPT, *KeyFields.model_fields], n=1)
            mend = f"did you mean `{near[0]}`?" if near else "remove it"
            self._blame(name, "is not a field of a key", mend)
            del data[name]
        try:
            return read_key_fields(data, partial=False)
        except FieldsInvalid as invalid:
            for fault in invalid.faults:
                self._blame(*fault)
        return None

    def _secrets(self, entries: Any) -> tuple[Secret, ...]:
        if not isinstance(entries, list) or not entries:
            self._blame("secrets", "is not a list with a secret", "write `[{sha256: DIGEST}]`")
            return ()
        found = []
        for index, entry in enumerate(entries):
            path = f"secrets[{index}]"
            if not isinstance(entry, dict) or not {"sha256"} <= set(entry) <= {
                "sha256",
                "valid_until",
            }:
                self._blame(path, "is not `sha256` and `valid_until`", "write these two alone")
                continue
            digest = entry["sha256"]
            if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
                self._blame(
                    f"{path}.sha256", "is not a SHA-256 digest", "write its 64 hexadecimal digits"
                )
                continue
            until = self._moment(f"{path}.valid_until", entry.get("valid_until"))
            found.append(Secret(bytes.fromhex(digest), until))
        return tuple(found)

    def _moment(self, path: str, value: Any) -> float | None:
        if value is None:
            return None
        try:
            return read_moment(value)
        except Wrong as wrong:
            self._blame(path, wrong.problem, wrong.mend)
            return None

    def _blame(self, path: str, problem: str, mend: str) -> None:
        place = f"{self._place}.{path}" if path else self._place
        self._faults.append(DocumentFault(place, problem, mend))


def _repeated(keys: Iterable[Key]) -> Iterable[DocumentFault]:
    """What two keys of the document cannot both have."""
    seen: dict[tuple[str, object], str] = {}
    for index, key in enumerate(keys):
        parts: list[tuple[str, str, object]] = [("id", "id", key.id), ("name", "name", key.name)]
        parts += [
            (f"secrets[{at}].sha256", "secret", secret.digest)
            for at, secret in enumerate(key.secrets)
        ]
        for path, kind, value in parts:
            place = f"keys[{index}].{path}"
            first = seen.setdefault((kind, value), place)
            if first != place:
                yield DocumentFault(place, f"is also {first}", "keep one of them")
