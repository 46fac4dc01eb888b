"""What somebody has filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from multidict import MultiDict

from proxy.admin.connections import ending_of
from proxy.admin.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from proxy.errors import Ending

# The line ends of a text area, and what is pasted into one.
_BLANKS: Final = str.maketrans("", "", "\r\n\t")


async def texts(request: web.Request) -> MultiDict[str]:
    """The fields of a form.

    Raises:
        Problem: `bad_parameter`: a file, or a text with characters that nobody can read.
    """
    fields: MultiDict[str] = MultiDict()
    for name, value in (await request.post()).items():
        if not isinstance(value, str) or not value.translate(_BLANKS).isprintable():
            raise Problem("bad_parameter", "Leave out characters that cannot be printed.")
        fields.add(name, value)
    return fields


def ending_told(given: Mapping[str, str]) -> Ending:
    """What clients are to be told of their end, as far as it was filled in.

    Raises:
        Problem: `bad_parameter`: a code that may not travel, or too long a reason.
    """
    if not given.get("reason", "").isprintable():
        raise Problem("bad_parameter", "Give the reason in one line.")
    return ending_of({name: given[name] for name in ("code", "reason") if given.get(name)})
