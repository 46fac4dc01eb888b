"""pydantic's errors in the words of the configuration's own faults, without any value."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel

from proxy.config.faults import Finding, Several, Wrong

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from proxy.config.faults import Where

_FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
# How alike two names are of which one is the other, misspelt.
_SLIP = 0.8
# Of a field that many sections have, so many places are named.
_FEW = 3
# Here a slip may put a secret where a name belongs.
_SECRETIVE = frozenset({"keys", "admin", "jwt"})

MISSING = {
    "name": "add `name:` with a name of your choice",
    "path": "add one, as in `path: /chat`",
    "upstream": "add one, as in `upstream: ws://127.0.0.1:9000`",
    "audience": "add `audience:` with the name that tokens for this gateway carry in `aud`",
    "targets": "add `targets: [ws://127.0.0.1:9000]`",
    "certificate": "name a PEM file with the certificate and its chain",
    "role": "write `viewer`, `operator` or `admin`",
    "sha256": "write the digest of the token: `printf %s TOKEN | sha256sum`",
    "private_key": "name a PEM file with the certificate's private key",
}
_NUMBER = ("is not a whole number", "write it in digits, without quotes")
_TOO_LARGE = ("is too large", "write a smaller number, or `null` for no limit")
_BOOLEAN = ("is neither true nor false", "write `true` or `false`")
# Limits of the whole gateway, and why none is one of a key.
NOT_OF_A_KEY = {
    "auth_failures_per_minute": "is counted per client address, whatever key is shown",
    "total_connections": "counts the connections of all keys together",
    "unauthenticated": "counts sockets whose key is not known yet",
    "head_size": "holds before the key is known",
}
_TEXTS = {
    "dict_type": (
        "is not a mapping",
        "write its fields indented below it, or remove the line",
    ),
    "tuple_type": ("is not a list", "write each entry in a line of its own, behind `- `"),
    "int_type": _NUMBER,
    "int_parsing": _NUMBER,
    "int_from_float": _NUMBER,
    "int_parsing_size": _TOO_LARGE,
    "less_than_equal": _TOO_LARGE,
    "greater_than_equal": ("is too small", "write 1 or more, or `null` for no limit"),
    "bool_type": _BOOLEAN,
    "bool_parsing": _BOOLEAN,
}


def findings(
    error: ValidationError, data: Mapping[str, Any], model: type[BaseModel], *, within: Where = ()
) -> Iterator[Finding]:
    """What is wrong, by place in `data`.

    Args:
        error: what pydantic found.
        data: that was validated.
        model: that it was validated as.
        within: where in a configuration such data stands.
    """
    for details in error.errors(include_url=False, include_input=False):
        where = details["loc"]
        if details["type"] == "missing":
            mend = MISSING.get(str(where[-1]), "add it")
            yield Finding(where, "is missing", mend)
        elif details["type"] == "extra_forbidden":
            yield _unknown_field(where, model, within)
        elif details["type"] == "model_type":
            known = _fields_at(where, model)
            mend = f"write its fields indented below it: {_listed(known)}; or remove the line"
            yield Finding(_written(where, data)[0], "is not a mapping", mend)
        else:
            written, value = _written(where, data)
            wrong = details.get("ctx", {}).get("error")
            if isinstance(wrong, Several):
                for step, entry in wrong.entries.items():
                    yield Finding((*written, step), entry.problem, entry.mend)
            else:
                yield Finding(written, *_explained(details, value))


def _explained(details: ErrorDetails, value: object) -> tuple[str, str]:
    context = details.get("ctx", {})
    wrong = context.get("error")
    if isinstance(wrong, Wrong):
        return wrong.problem, wrong.mend
    if details["type"] == "literal_error":
        expected = str(context["expected"]).replace("'", "`")
        words = re.findall(r"`([^`]*)`", expected)
        near = difflib.get_close_matches(value, words, n=1) if isinstance(value, str) else []
        mend = f"did you mean `{near[0]}`?" if near else f"write {expected}"
        return "is not a word that can stand here", mend
    if details["type"] == "string_type":
        if isinstance(value, bool | int | float):
            return "is a number or truth value, not text", "put it in quotes"
        return "is not text", "write a text"
    return _TEXTS.get(details["type"], ("is not valid here", "see the reference of this field"))


def _written(where: Where, data: Any) -> tuple[Where, object]:
    """The part of a place that stands in the document (short forms leave steps out)."""
    for depth, step in enumerate(where):
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return where[:depth], data
    return where, data


def _unknown_field(where: Where, model: type[BaseModel], within: Where) -> Finding:
    *parents, name = where
    name = str(name)
    if name == "handshake" and "timeouts" in parents:
        return Finding(
            where,
            "cannot be set for one route",
            "set it at the top level: it runs out before the route is known",
        )
    if name in NOT_OF_A_KEY and (*within, *where)[0] == "keys" and parents[-1:] == ["limits"]:
        return Finding(where, NOT_OF_A_KEY[name], "set it under `limits:` at the top level")
    known = _fields_at(tuple(parents), model)
    secretive = not _SECRETIVE.isdisjoint((*within, *parents)[:1])
    elsewhere = sorted(_places_of(name, model), key=lambda place: (place.count("."), place))
    near = difflib.get_close_matches(name.lower(), known, n=1)
    fields = f"the fields here are {_listed(known)}"
    slip = bool(difflib.get_close_matches(name.lower(), known, cutoff=_SLIP))
    if elsewhere and not slip and not secretive:
        mend = f"remove it, or move it to {_listed(elsewhere[:_FEW])}; {fields}"
        return Finding(where, "is an unknown field", mend)
    if near:
        return Finding(where, "is an unknown field", f"did you mean `{near[0]}`?")
    mend = f"remove it; {fields}"
    if not _FIELD_NAME.fullmatch(name) or secretive:
        return Finding(tuple(parents), "has an unknown field", mend)
    return Finding(where, "is an unknown field", mend)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _places_of(name: str, model: type[BaseModel], within: str = "") -> Iterator[str]:
    """Where a model has a field of that name, at every depth."""
    for field, info in model.model_fields.items():
        shown = str(info.validation_alias or field)
        if shown == name:
            yield f"{within}{shown}"
        section = _section_in(info.annotation)
        if section is not None:
            step = f"{shown}[]" if _is_list(info.annotation) else shown
            yield from _places_of(name, section, f"{within}{step}.")


def _is_list(annotation: Any) -> bool:
    return tuple in {get_origin(part) for part in (annotation, *get_args(annotation))}


def _fields_at(parents: Where, model: type[BaseModel]) -> list[str]:
    for step in parents:
        if isinstance(step, str):
            section = _section_in(model.model_fields[step].annotation)
            assert section is not None, "only sections have fields"
            model = section
    return [str(field.validation_alias or name) for name, field in model.model_fields.items()]


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, if any, behind `| None`, `tuple[…]` and `Annotated[…]`."""
    pending = [annotation]
    while pending:
        found = pending.pop()
        if isinstance(found, type) and issubclass(found, BaseModel):
            return found
        pending += get_args(found)
    return None
