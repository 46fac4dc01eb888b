"""The types of the model's fields: how each is read, and how the JSON Schema describes it."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    InstanceOf,
    PlainSerializer,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
)

from proxy import errors
from proxy.config import (
    carrier_reading,
    header_values,
    moments,
    names,
    stores,
    targets,
    values,
)
from proxy.config.faults import Wrong, each
from proxy.relay.frames import close_code_may_travel

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_KEY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@:+-]{0,63}")
_METADATA_KEY = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,31}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
# As the `route` label it means: no route known yet.
RESERVED_NAME = "none"
# A close code that some clients take for a broken protocol, gorilla's among them.
NEVER_USED = 1014
MIN_HEAD_SIZE = 1 << 10
MAX_HEAD_SIZE = 1 << 20
# A ticket travels in an address, so it is used at once; in seconds.
SHORTEST_TICKET = 1.0
LONGEST_TICKET = 3600.0
# Between two checks of a target, in seconds.
SHORTEST_INTERVAL = 0.1
# More sockets than any kernel hands out.
MOST = 1_000_000_000


def _resolved(path: str, info: ValidationInfo) -> str:
    """Relative paths are relative to the file's folder, which the context names."""
    folder = (info.context or {}).get("folder")
    return path if folder is None else str(Path(folder) / path)


def _address(value: object, info: ValidationInfo) -> values.Address:
    if isinstance(value, values.TcpAddress | values.UnixAddress):
        return value
    address = values.address(value)
    if isinstance(address, values.UnixAddress):
        return values.UnixAddress(values.socket_path(_resolved(address.path, info)))
    return address


def _target(value: object, info: ValidationInfo) -> values.Target:
    target = targets.target(value)
    if target.socket_path is None:
        return target
    path = values.socket_path(_resolved(target.socket_path, info))
    return dataclasses.replace(target, socket_path=path)


def _file(value: object, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise Wrong("names no file", "write a path, absolute or relative to this file")
    return Path(_resolved(value, info))


def _secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text:
        raise Wrong("is empty", "set it, or remove the line")
    if text != text.strip() or _CONTROL.search(text):
        raise Wrong(
            "begins or ends with white space, or holds a control character",
            "remove it: no header can carry it",
        )
    return value


def _sha256(text: str) -> str:
    digest = text.strip().lower()
    if not _SHA256.fullmatch(digest):
        raise Wrong("is not a SHA-256 digest", "write its 64 hexadecimal digits")
    if digest == _EMPTY_SHA256:
        raise Wrong("is the digest of nothing", "digest the key itself, without a newline")
    return digest


def name(text: str) -> str:
    """`text` itself, if a route can have it as its name.

    Raises:
        Wrong: it cannot.
    """
    if not _NAME.fullmatch(text):
        raise Wrong(
            "is not a name", "use 1 to 64 letters, digits, `_` or `-`, a letter or digit first"
        )
    if text == RESERVED_NAME:
        raise Wrong("is kept for metrics", "choose another name")
    return text


def _key_name(text: str) -> str:
    if not _KEY_NAME.fullmatch(text):
        raise Wrong(
            "is not a name",
            "use 1 to 64 letters, digits or `_.@:+-`, a letter or digit first",
        )
    return text


def _metadata_name(text: str) -> str:
    if not _METADATA_KEY.fullmatch(text):
        raise Wrong(
            "cannot end a header's name", "use 1 to 32 letters, digits or `-`, a letter first"
        )
    return text


def _metadata_names(listed: tuple[str, ...]) -> tuple[str, ...]:
    # As header names they are compared without case.
    counts = Counter(entry.lower() for entry in listed)

    def check(entry: str) -> str:
        if counts[entry.lower()] > 1:
            raise Wrong("stands here twice", "keep one: headers have no case")
        return _metadata_name(entry)

    return tuple(each(check, dict(enumerate(listed))))


def _subprotocols(listed: tuple[str, ...]) -> tuple[str, ...]:
    def check(entry: str) -> str:
        if not names.is_token(entry):
            raise Wrong("is not a subprotocol", "use letters, digits, `.` and `-`, as in `chat.v2`")
        if entry.lower().startswith("wskeeper"):
            raise Wrong("is kept for the gateway", "name one that the service speaks")
        return entry

    return tuple(dict.fromkeys(each(check, dict(enumerate(listed)))))


def _plugins(listed: tuple[str, ...]) -> tuple[str, ...]:
    def check(place: tuple[int, str]) -> str:
        index, entry = place
        module, colon, path = entry.partition(":")
        if not colon or not all(part.isidentifier() for part in f"{module}.{path}".split(".")):
            raise Wrong("names no callable", "write `package.module:callable`")
        if entry in listed[:index]:
            raise Wrong("stands here twice", "keep one")
        return entry

    return tuple(each(check, dict(enumerate(enumerate(listed)))))


def _ticket_life(value: object) -> float:
    seconds = values.duration(value)
    if not SHORTEST_TICKET <= seconds <= LONGEST_TICKET:
        raise Wrong("is out of range", "write a duration from `1s` to `1h`")
    return seconds


def _check_interval(value: object) -> float:
    seconds = values.duration(value)
    if seconds < SHORTEST_INTERVAL:
        raise Wrong("is too short", "write `100ms` or more")
    return seconds


def _metadata(entries: dict[str, str]) -> dict[str, str]:
    # As header names they are compared without case.
    counts = Counter(key.lower() for key in entries)

    def check(entry: tuple[str, str]) -> None:
        key, value = entry
        _metadata_name(key)
        if counts[key.lower()] > 1:
            raise Wrong("stands here in two spellings", "keep one: headers have no case")
        if _CONTROL.search(value):
            raise Wrong("holds a control character", "remove it")

    each(check, {key: (key, value) for key, value in entries.items()})
    return entries


def _client_address_header(text: str) -> str:
    if text.lower() == "forwarded":
        raise Wrong("names a header that is not read", "use `X-Forwarded-For`, or one address")
    return names.header_name(text)


def _route_names(value: object) -> object:
    if isinstance(value, list | tuple) and not value:
        raise Wrong("is empty, so the key opens nothing", "name routes, or write `null` for all")
    return value


def _count(value: object) -> object:
    """YAML reads `yes` as true, which is no number of anything."""
    if isinstance(value, bool):
        raise Wrong("is not a whole number", "write it in digits, or `null` for no limit")
    return value


def _close_codes(entries: dict[str, int]) -> dict[str, int]:
    known = ", ".join(f"`{reason}`" for reason in sorted(errors.CLOSE_REASONS))

    def check(entry: tuple[str, int]) -> None:
        reason, code = entry
        if reason not in errors.CLOSE_REASONS:
            raise Wrong(
                "is no close reason of the gateway",
                f"use one of {known}",
            )
        if not close_code_may_travel(code) or code == NEVER_USED:
            raise Wrong(
                "is not a code that a Close frame may carry",
                "use such as `1001`, `1012`, `1013`, or one from 3000 to 4999",
            )

    each(check, {reason: (reason, code) for reason, code in entries.items()})
    return entries


def _store(value: object, info: ValidationInfo) -> str:
    kind, path = stores.store(value)
    return f"{kind}{_resolved(path, info)}" if path else kind


def _head_size(value: object) -> int:
    size = values.size(value)
    if not MIN_HEAD_SIZE <= size <= MAX_HEAD_SIZE:
        raise Wrong("is out of range", "write a size from `1KiB` to `1MiB`")
    return size


def _null_as_empty(value: object) -> object:
    """`keys:` with every entry commented out is YAML for null."""
    return () if value is None else value


def _null_as_nothing(value: object) -> object:
    """`limits: null` sets none of them."""
    return {} if value is None else value


def _text(description: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema(
        {"type": "string", "description": description, "examples": list(examples)}
    )


_TEXT = PlainSerializer(str, return_type=str, when_used="json")

Address = Annotated[
    InstanceOf[values.TcpAddress] | InstanceOf[values.UnixAddress],
    BeforeValidator(_address),
    _TEXT,
    _text("address and port, or unix:PATH", "127.0.0.1:8080", "[::]:8080", "unix:/run/x.sock"),
]
Target = Annotated[
    InstanceOf[values.Target],
    BeforeValidator(_target),
    _TEXT,
    _text("a ws://, wss:// or ws+unix: URL", "ws://127.0.0.1:9000/path", "ws+unix:/x.sock:/path"),
]
Networks = Annotated[
    tuple[values.Network, ...],
    BeforeValidator(values.networks),
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "string"},
            "description": "CIDRs, addresses, or private_ranges",
            "examples": [["10.0.0.0/8"], ["private_ranges"]],
        }
    ),
]
_DURATION_SCHEMA = {
    "type": ["string", "number"],
    "description": "250ms, 30s, 5m, 1h, 7d, or seconds",
    "examples": ["30s", 30],
}
Duration = Annotated[float, BeforeValidator(values.duration), WithJsonSchema(_DURATION_SCHEMA)]
# A duration that may be 0.
Delay = Annotated[
    float,
    BeforeValidator(partial(values.duration, zero=True)),
    WithJsonSchema(_DURATION_SCHEMA),
]
Moment = Annotated[
    float,
    BeforeValidator(moments.moment),
    WithJsonSchema(
        {
            "type": ["string", "number"],
            "description": "RFC 3339, a date (its first instant, UTC), or seconds since the epoch",
            "examples": ["2030-12-31T23:59:59Z", "2030-12-31"],
        }
    ),
]
HeadSize = Annotated[
    int,
    BeforeValidator(_head_size),
    WithJsonSchema(
        {
            "type": ["string", "integer"],
            "description": "64KiB, 1MiB, or bytes",
            "examples": ["64KiB"],
        }
    ),
]
Count = Annotated[int, Field(ge=1, le=MOST), BeforeValidator(_count)]
File = Annotated[
    Path, BeforeValidator(_file), _text("a path, absolute or relative to this file", "cert.pem")
]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
Sha256 = Annotated[str, AfterValidator(_sha256)]
Name = Annotated[str, AfterValidator(name)]
KeyName = Annotated[str, AfterValidator(_key_name)]
RouteNames = Annotated[tuple[Name, ...], BeforeValidator(_route_names)]
Store = Annotated[
    str, BeforeValidator(_store), _text("memory: or sqlite:PATH", "sqlite:wskeeper.db", "memory:")
]
Metadata = Annotated[dict[str, str], AfterValidator(_metadata)]
MetadataNames = Annotated[tuple[str, ...], AfterValidator(_metadata_names)]
Subprotocols = Annotated[tuple[str, ...], AfterValidator(_subprotocols)]
Plugins = Annotated[tuple[str, ...], AfterValidator(_plugins)]
CloseCodes = Annotated[dict[str, int], AfterValidator(_close_codes)]
TicketLife = Annotated[float, BeforeValidator(_ticket_life), WithJsonSchema(_DURATION_SCHEMA)]
CheckInterval = Annotated[float, BeforeValidator(_check_interval), WithJsonSchema(_DURATION_SCHEMA)]
UpstreamHeaders = Annotated[
    dict[str, InstanceOf[header_values.Template] | None],
    BeforeValidator(header_values.header_values),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {"type": ["string", "null"]},
            "description": "header names with their values; null removes",
            "examples": [{"Authorization": "Bearer ${TOKEN}", "X-User": "{subject}"}],
        }
    ),
]
HeaderName = Annotated[str, AfterValidator(carrier_reading.header)]
Parameter = Annotated[str, AfterValidator(carrier_reading.parameter)]
CookieName = Annotated[str, AfterValidator(carrier_reading.cookie)]
TokenPath = Annotated[str, AfterValidator(carrier_reading.token_path)]
JsonObject = Annotated[dict[str, Any], AfterValidator(carrier_reading.json_object)]
ClientAddressHeader = Annotated[str, AfterValidator(_client_address_header)]
Host = Annotated[str, AfterValidator(names.host_pattern)]
RequestPath = Annotated[str, AfterValidator(names.path)]
RoutePath = Annotated[str, AfterValidator(names.route_path)]
NullAsEmpty = BeforeValidator(_null_as_empty)
NullAsNothing = BeforeValidator(_null_as_nothing)
