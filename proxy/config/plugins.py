"""Imports the operator's own Python, which a configuration names."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING

from proxy.config.faults import Wrong

if TYPE_CHECKING:
    from proxy.plugin import Plugin


def load_named(name: str) -> Plugin:
    """Imports a plugin.

    Args:
        name: `package.module:callable`.

    Raises:
        Wrong: there is none of that name, or it is no async callable.
    """
    module_name, _, attribute = name.partition(":")
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as failure:  # A gateway that serves outlives `sys.exit` in one.
        raise _unloadable(name, failure, _mend(module_name, failure)) from failure
    try:
        found = getattr(module, attribute)
    except (Exception, SystemExit) as failure:  # The module may have a `__getattr__`.
        raise _unloadable(name, failure, "name a callable that is in it") from failure
    if not any(map(inspect.iscoroutinefunction, (found, type(found).__call__))):
        raise Wrong(f"names {name}, which is not `async def`", "write it as `async def`")
    plugin: Plugin = found
    return plugin


def _unloadable(name: str, failure: BaseException, mend: str) -> Wrong:
    cause = f"{type(failure).__name__}: {failure}"
    return Wrong(f"names {name}, which cannot be loaded: {cause}", mend)


def _mend(module_name: str, failure: BaseException) -> str:
    if not isinstance(failure, ModuleNotFoundError):
        return "mend its module"
    if f"{module_name}.".startswith(f"{failure.name}."):
        return "put its folder into PYTHONPATH"
    return "install what it imports where wskeeper is installed"
