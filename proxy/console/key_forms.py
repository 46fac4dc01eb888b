"""The form that makes and changes keys: its fields become the body that the API takes, and back.

Fields are called by their paths in that body, so that a fault finds the field it belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from proxy.keys.description import scope_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from proxy.keys.key import Key

# What is offered for the end of a new key: as the API takes it, and in words.
LIFETIMES: Final = (
    ("never", "Never"),
    ("1d", "In a day"),
    ("7d", "In 7 days"),
    ("30d", "In 30 days"),
    ("90d", "In 90 days"),
    ("365d", "In a year"),
    ("on", "On a day …"),
)
# What is offered for a rotation.
OVERLAPS: Final = (
    ("0", "Ends at once"),
    ("1h", "Works for another hour"),
    ("24h", "Works for another day"),
    ("7d", "Works for another 7 days"),
    ("30d", "Works for another 30 days"),
)

# Limits by their path: what they are called, and an example or unit.
LIMITS: Final[Mapping[str, tuple[str, str]]] = {
    "limits.connections": ("Connections", "at a time, all routes together"),
    "limits.connections_per_address": ("Connections per address", "at a time"),
    "limits.connections_per_subject": ("Connections per subject", "at a time"),
    "limits.handshakes_per_second": ("Handshakes a second", "from one client address"),
    "limits.messages_per_second": ("Messages a second", "client to upstream"),
    "limits.bytes_per_second": ("Bytes a second", "client to upstream, such as 64KiB"),
    "limits.message_size.client_to_upstream": ("Message size", "from clients, such as 1MiB"),
    "limits.message_size.upstream_to_client": ("Message size", "from upstreams, such as 1MiB"),
}
# What may become of a client that sends faster.
ON_EXCEED: Final = (
    ("", "As the route says"),
    ("throttle", "Read more slowly"),
    ("close", "Close the connection"),
)

_LINES: Final = ("origins", "addresses.allow", "addresses.deny", "metadata")
_FIELDS: Final = ("name", "expires", "expires_on", "limits.on_exceed", *LIMITS, *_LINES)
_SIZES: Final = ("GiB", "MiB", "KiB")
# What stands for an empty list: an empty field is no restriction at all.
_NONE: Final = "none"


@dataclass(frozen=True, slots=True)
class KeyForm:
    """What stands in the form.

    Args:
        values: text by field.
        routes: that are ticked; none means all of them.
    """

    values: Mapping[str, str]
    routes: Sequence[str] = ()

    def __getitem__(self, field: str) -> str:
        """What stands in a field."""
        return self.values.get(field, "")


def empty_form() -> KeyForm:
    """A new key's."""
    return KeyForm({"expires": "90d"})


def form_given(given: Mapping[str, str], routes: Iterable[str]) -> KeyForm:
    """What somebody has filled in."""
    return KeyForm({name: given.get(name, "").strip() for name in _FIELDS}, tuple(routes))


def form_of(key: Key) -> KeyForm:
    """A key that is to be changed."""
    scope = scope_of(key)
    limits = scope["limits"]
    values = {
        "name": key.name,
        "expires": "never" if key.expires_at is None else "on",
        "limits.on_exceed": limits.get("on_exceed") or "",
        "origins": _admitted(scope["origins"]),
        "addresses.allow": _admitted(scope["addresses"]["allow"]),
        "addresses.deny": _lines(scope["addresses"]["deny"]),
        "metadata": _lines(f"{name}: {value}" for name, value in key.metadata.items()),
    }
    if key.expires_at is not None:
        values["expires_on"] = _moment_text(key.expires_at)
    for path in LIMITS:
        value = _at(limits, path.split(".")[1:])
        values[path] = _number_text(value, is_size="size" in path or "bytes" in path)
    return KeyForm(values, tuple(scope["routes"] or ()))


def body_of(form: KeyForm) -> dict[str, Any]:
    """The body of the request that does what the form says; wrong values stay as they are."""
    limits: dict[str, Any] = {"message_size": {}}
    for path in LIMITS:
        *parents, name = path.split(".")[1:]
        (limits[parents[0]] if parents else limits)[name] = _number(form[path])
    limits["on_exceed"] = form["limits.on_exceed"] or None
    return {
        "name": form["name"],
        "routes": list(form.routes) or None,
        "limits": limits,
        "origins": _list_or_any(form["origins"]),
        "addresses": {
            "allow": _list_or_any(form["addresses.allow"]),
            "deny": _split(form["addresses.deny"]),
        },
        "metadata": _pairs(form["metadata"]),
        **_end(form),
    }


def _end(form: KeyForm) -> dict[str, Any]:
    match form["expires"]:
        case "never":
            return {"expires_at": None}
        case "on":
            return {"expires_at": form["expires_on"]}
        case lifetime:
            return {"expires_in": lifetime}


def faults_by_field(errors: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """What the API says is wrong, by the form's fields; by an empty name what fits none.

    Args:
        errors: the `errors` of a problem `invalid_fields`.
    """
    faults: dict[str, str] = {}
    for error in errors:
        field = _field_of(error["field"])
        said = f"{error['problem'][:1].upper()}{error['problem'][1:]}: {error['mend']}."
        faults[field] = f"{faults[field]} {said}" if field in faults else said
    return faults


def _field_of(path: str) -> str:
    if path.startswith("expires"):
        return "expires"
    known = [name for name in (*_FIELDS, "routes") if path.startswith(name)]
    return max(known, key=len, default="")


def _at(limits: Any, path: Sequence[str]) -> Any:
    for step in path:
        limits = None if limits is None else limits.get(step)
    return limits


def _split(text: str) -> list[str]:
    """Entries, one a line; commas and blanks may stand in place of line ends."""
    return text.replace(",", " ").split()


def _list_or_any(text: str) -> list[str] | None:
    return [] if text.lower() == _NONE else _split(text) or None


def _admitted(listed: Sequence[str] | None) -> str:
    """A list as `_list_or_any` reads it; None admits all."""
    return _NONE if listed is not None and not listed else _lines(listed or ())


def _pairs(text: str) -> dict[str, str]:
    """Names and values, one pair a line."""
    parts = (line.partition(":") for line in text.splitlines() if line.strip())
    return {name.strip(): value.strip() for name, _, value in parts}


def _lines(parts: Iterable[str]) -> str:
    return "\n".join(parts)


def _number(text: str) -> float | str | None:
    """A number where there is one, else the text, which may be a size."""
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return int(text[:20])
    try:
        return float(text)
    except ValueError:
        return text


def _number_text(value: Any, *, is_size: bool) -> str:
    """A number as somebody would write it who is to read it again."""
    if value is None:
        return ""
    whole = value == int(value)
    if is_size and whole:
        for power, unit in zip((30, 20, 10), _SIZES, strict=True):
            if value >= 1 << power and not int(value) % (1 << power):
                return f"{int(value) >> power}{unit}"
    return str(int(value)) if whole else repr(value)


def _moment_text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
