"""Where keys are kept: the URLs of stores, read."""

from __future__ import annotations

from proxy.config.faults import Wrong
from proxy.config.planned import not_built

MEMORY = "memory:"
SQLITE = "sqlite:"
_EXAMPLE = "write `sqlite:PATH`, as in `sqlite:/var/lib/wskeeper/keys.db`, or `memory:`"


def store(value: object) -> tuple[str, str]:
    """The kind of a store and the path of its file: (`sqlite:`, PATH) or (`memory:`, nothing).

    No fault repeats it: the URL of a server may hold a password.

    Raises:
        Wrong: it names no store that there is.
    """
    if not isinstance(value, str):
        raise Wrong("names no store", _EXAMPLE)
    # `store: memory:` without quotes is no YAML, so the word alone will do.
    if value in {MEMORY, "memory"}:
        return MEMORY, ""
    if value.startswith(("redis:", "rediss:")):
        raise not_built("redis:", "use `sqlite:PATH`")
    if not value.startswith(SQLITE):
        raise Wrong("names no store", _EXAMPLE)
    path = value.removeprefix(SQLITE)
    if path.startswith("//"):
        raise Wrong(
            "has `//` behind `sqlite:`", "write the path alone: `sqlite:wskeeper.db`, `sqlite:/a/b`"
        )
    if path == ":memory:":
        raise Wrong("names no file", "write `memory:` to keep nothing")
    if not path or "\0" in path:
        raise Wrong("names no file", _EXAMPLE)
    return SQLITE, path
