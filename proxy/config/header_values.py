"""The headers that a route sets on the handshake to its upstream, read: names, and templates."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from proxy.config import names
from proxy.config.faults import Wrong, each

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLACEHOLDERS: Final = frozenset({"key.name", "key.id", "subject", "client", "route"})
_METADATA: Final = re.compile(r"meta\.[A-Za-z][A-Za-z0-9-]{0,31}")
_SHOWN: Final = (
    "use `{key.name}`, `{key.id}`, `{subject}`, `{meta.NAME}`, `{client}` or `{route}`; "
    "a brace itself is written `{{`"
)
_BRACE: Final = re.compile(r"(\{\{)|\{([^{}]*)\}|\{")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f]")

# RFC 9110 section 7.6.1, and what says where a head or body ends.
_OF_THE_CONNECTION: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


@dataclass(frozen=True, slots=True)
class Placeholder:
    """What stands for something that is known of each caller, such as `key.name`."""

    name: str


@dataclass(frozen=True, slots=True, repr=False)  # Its text may be a credential.
class Template:
    """A header's value: text, and placeholders between it."""

    parts: tuple[str | Placeholder, ...]


def template(text: object) -> Template:
    """Reads a header's value. No fault repeats it.

    Raises:
        Wrong: no header can carry it, or it holds an unknown placeholder.
    """
    if not isinstance(text, str):
        raise Wrong("is not text", "put it in quotes; `null` removes the header")
    if not text:
        raise Wrong("is empty", "write a value, or `null` to remove the header")
    if _UNPRINTABLE.search(text):
        raise Wrong("holds a line break or control character", "remove it: it would end the header")
    if not text.isascii():
        raise Wrong("holds a character that is not ASCII", "percent-encode it, as in `caf%C3%A9`")
    if text != text.strip():
        raise Wrong("begins or ends with white space", "remove it: no header keeps it")
    return Template(tuple(_parts(text)))


def _parts(text: str) -> Iterator[str | Placeholder]:
    literal, end = "", 0
    for match in _BRACE.finditer(text):
        literal += text[end : match.start()]
        end = match.end()
        if match[1]:
            literal += "{"
            continue
        name = match[2]
        if name is None or (name not in _PLACEHOLDERS and not _METADATA.fullmatch(name)):
            raise Wrong("holds an unknown placeholder", _SHOWN)
        if literal:
            yield literal
        literal = ""
        yield Placeholder(name)
    literal += text[end:]
    if literal:
        yield literal


def header_values(value: Any) -> Any:
    """A mapping of header names to templates, or to None for those that are removed.

    Raises:
        Several: by name, what cannot be set.
    """
    if not isinstance(value, dict):
        return value  # The model says what it is to be.
    counts = Counter(_folded(name) for name in value)

    def read(entry: tuple[Any, Any]) -> Template | None:
        name, text = entry
        _check_name(name)
        if counts[_folded(name)] > 1:
            raise Wrong("stands here in two spellings", "keep one: services read them as one")
        return text if text is None or isinstance(text, Template) else template(text)

    return dict(zip(value, each(read, {name: (name, value[name]) for name in value}), strict=True))


def _folded(name: Any) -> str:
    """Headers have no case, and many services read `_` as `-`."""
    return str(name).lower().replace("_", "-")


def _check_name(name: Any) -> None:
    names.header_name(str(name))
    folded = _folded(name)
    if folded == "host":
        raise Wrong("cannot be set here", "write `preserve_host: false` for the target's own name")
    if folded in _OF_THE_CONNECTION or folded.startswith("sec-websocket-"):
        raise Wrong("belongs to the handshake itself", "remove it")
