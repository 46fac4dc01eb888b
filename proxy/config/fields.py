"""The types of the model's fields: how each is read, and how the JSON Schema describes it."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from pathlib import Path
from typing import Annotated

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

from proxy.config import names, targets, values
from proxy.config.faults import Wrong, each

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_KEY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@:+-]{0,63}")
_METADATA_KEY = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,31}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
# As the `route` label it means: no route known yet.
RESERVED_NAME = "none"
MIN_HEAD_SIZE = 1 << 10
MAX_HEAD_SIZE = 1 << 20
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


def _name(text: str) -> str:
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


def _metadata(entries: dict[str, str]) -> dict[str, str]:
    # As header names they are compared without case.
    counts = Counter(key.lower() for key in entries)

    def check(entry: tuple[str, str]) -> None:
        key, value = entry
        if not _METADATA_KEY.fullmatch(key):
            raise Wrong(
                "cannot end a header's name", "use 1 to 32 letters, digits or `-`, a letter first"
            )
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


def _head_size(value: object) -> int:
    size = values.size(value)
    if not MIN_HEAD_SIZE <= size <= MAX_HEAD_SIZE:
        raise Wrong("is out of range", "write a size from `1KiB` to `1MiB`")
    return size


def _null_as_empty(value: object) -> object:
    """`keys:` with every entry commented out is YAML for null."""
    return () if value is None else value


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
Duration = Annotated[
    float,
    BeforeValidator(values.duration),
    WithJsonSchema(
        {
            "type": ["string", "number"],
            "description": "250ms, 30s, 5m, 1h, 7d, or seconds",
            "examples": ["30s", 30],
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
Count = Annotated[int, Field(ge=1, le=MOST)]
File = Annotated[
    Path, BeforeValidator(_file), _text("a path, absolute or relative to this file", "cert.pem")
]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
Sha256 = Annotated[str, AfterValidator(_sha256)]
Name = Annotated[str, AfterValidator(_name)]
KeyName = Annotated[str, AfterValidator(_key_name)]
Metadata = Annotated[dict[str, str], AfterValidator(_metadata)]
HeaderName = Annotated[str, AfterValidator(names.header_name)]
ClientAddressHeader = Annotated[str, AfterValidator(_client_address_header)]
Host = Annotated[str, AfterValidator(names.host_pattern)]
RequestPath = Annotated[str, AfterValidator(names.path)]
RoutePath = Annotated[str, AfterValidator(names.route_path)]
NullAsEmpty = BeforeValidator(_null_as_empty)
