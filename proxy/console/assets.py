"""The console's files: styles, scripts and what is vendored; addresses change with the files."""

from __future__ import annotations

import hashlib
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from aiohttp import web

from proxy.admin.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable

_TYPES: Final = MappingProxyType(
    {
        ".css": "text/css",
        ".js": "text/javascript",
        ".svg": "image/svg+xml",
        ".txt": "text/plain",
        ".md": "text/plain",
    }
)

# A year; the address changes with the file.
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_ASK_AGAIN: Final = "no-cache"

_DIGITS: Final = 16


class Asset(NamedTuple):
    """A file of the console."""

    body: bytes
    content_type: str
    digest: str


class Assets:
    """All files, read once.

    Args:
        files: by their path below `static`.
    """

    def __init__(self, files: Mapping[str, Asset]) -> None:
        self._files = files

    @classmethod
    def packaged(cls) -> Assets:
        """Those that come with the package."""
        return cls(dict(_read(resources.files("proxy.console").joinpath("static"))))

    def address(self, name: str) -> str:
        """Where a file is; a template that names none is a mistake."""
        return f"/static/{name}?v={self._files[name].digest}"

    async def show(self, request: web.Request) -> web.Response:
        """Answers with a file."""
        asset = self._files.get(request.match_info["name"])
        if asset is None:
            raise Problem("no_such_path")
        headers = {
            "ETag": f'"{asset.digest}"',
            "Cache-Control": _FOR_EVER if request.query.get("v") == asset.digest else _ASK_AGAIN,
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        if any(tag.value in {asset.digest, "*"} for tag in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(
            body=asset.body, content_type=asset.content_type, charset="utf-8", headers=headers
        )


def _read(folder: Traversable, before: str = "") -> Iterator[tuple[str, Asset]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _read(entry, f"{before}{entry.name}/")
            continue
        content_type = _TYPES.get(entry.name[entry.name.rfind(".") :])
        if content_type is not None:
            body = entry.read_bytes()
            digest = hashlib.sha256(body).hexdigest()[:_DIGITS]
            yield before + entry.name, Asset(body, content_type, digest)
