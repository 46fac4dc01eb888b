"""The header lines that a route sets on the handshake to its upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proxy.config.header_values import Placeholder, Template

# In which of our own lines stands what a placeholder stands for; there it is encoded already.
_LINES: Final = {
    "key.name": b"x-wskeeper-key-name",
    "key.id": b"x-wskeeper-key-id",
    "subject": b"x-wskeeper-subject",
    "client": b"x-real-ip",
    "route": b"x-wskeeper-route",
}
_METADATA: Final = b"x-wskeeper-meta-"


class HeaderSettings:
    """What an operator sets, and removes, in place of what the client or we say.

    Args:
        headers: values by name; None removes.
    """

    __slots__ = ("_headers", "_set", "names")

    def __init__(self, headers: Mapping[str, Template | None]) -> None:
        self._headers = dict(headers)
        # In lower case, `_` read as `-`: no line with one of these names travels but those set.
        self.names = frozenset(folded(name.encode("ascii")) for name in headers)
        self._set = [
            (name.encode("ascii"), template) for name, template in headers.items() if template
        ]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HeaderSettings) and self._headers == other._headers

    def __hash__(self) -> int:
        return hash(self.names)

    def applied_to(self, ours: Iterable[bytes]) -> list[bytes]:
        """Our own header lines, less those that are set or removed, then those that are set."""
        told = _by_name(ours)
        kept = [line for name, line in told.items() if name not in self.names]
        return [*kept, *self.lines(ours)]

    def lines(self, ours: Iterable[bytes]) -> list[bytes]:
        """The lines that are set, out of what our own lines say of the caller.

        A line is left out when there is nothing to say in place of one of its placeholders.
        """
        told = {name: line.partition(b": ")[2] for name, line in _by_name(ours).items()}
        lines = []
        for name, template in self._set:
            parts = [_said(part, told) for part in template.parts]
            if None not in parts:
                lines.append(name + b": " + b"".join(part for part in parts if part is not None))
        return lines


def folded(name: bytes) -> bytes:
    """A header's name as services compare it: without case, and many read `_` as `-`."""
    return name.lower().replace(b"_", b"-")


def _by_name(lines: Iterable[bytes]) -> dict[bytes, bytes]:
    return {line.partition(b":")[0].lower(): line for line in lines}


def _said(part: str | Placeholder, told: Mapping[bytes, bytes]) -> bytes | None:
    if isinstance(part, str):
        return part.encode("ascii")
    source = _LINES.get(part.name)
    if source is None:
        source = _METADATA + part.name.partition(".")[2].lower().encode("ascii")
    return told.get(source)
