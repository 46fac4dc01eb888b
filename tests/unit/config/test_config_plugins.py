"""The plugins that a configuration names."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from proxy.config.faults import Wrong
from proxy.config.files import check_files
from proxy.config.plugins import load_named

if TYPE_CHECKING:
    from tests.unit.config.conftest import ConfigFolder

ROUTES = "routes: [{name: echo, path: /echo, upstream: 'ws://h'}]\n"


@pytest.fixture(autouse=True)
def importable(folder: ConfigFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules in the folder are found, and forgotten afterwards."""
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    monkeypatch.syspath_prepend(folder.path)


def write(folder: ConfigFolder, text: str) -> None:
    (folder.path / "our_checks.py").write_text(text)


def test_plugin_that_can_be_loaded_is_no_fault(folder: ConfigFolder) -> None:
    write(folder, "async def ask(request, credential): return None\n")
    loaded = folder.load(ROUTES + "plugins: ['our_checks:ask']\n")
    assert check_files(loaded.config, loaded.places) == []
    assert load_named("our_checks:ask").__name__ == "ask"


@pytest.mark.parametrize(
    ("text", "cause", "mend"),
    [
        (None, "cannot be loaded: ModuleNotFoundError: No module named", "put its folder into"),
        ("import no_such_module_of_theirs", "named 'no_such_module_of_theirs'", "install what it"),
        ("import no_such", "named 'no_such'", "install what it"),
        ("import our", "named 'our'", "install what it"),
        ("raise RuntimeError('out of order')", "RuntimeError: out of order", "mend its module"),
        ("raise AttributeError('x')", "AttributeError: x", "mend its module"),
        ("raise SystemExit(3)", "SystemExit: 3", "mend its module"),
        ("def", "SyntaxError: ", "mend its module"),
        ("", "AttributeError: module 'our_checks' has no attribute", "name a callable that is in"),
        ("def __getattr__(name): return 1 / 0", "ZeroDivisionError", "name a callable"),
        ("def ask(request, credential): ...", "which is not `async def`", "write it as `async"),
    ],
)
def test_plugin_that_cannot_be_loaded_is_a_fault_with_its_mend(
    folder: ConfigFolder, text: str | None, cause: str, mend: str
) -> None:
    if text is not None:
        write(folder, text)
    loaded = folder.load(ROUTES + "plugins:\n  - our_checks:ask\n")
    [fault] = check_files(loaded.config, loaded.places)
    assert (fault.file, fault.line, fault.path) == ("wskeeper.yaml", 3, "plugins[0]")
    assert fault.problem.startswith("names our_checks:ask, which ")
    assert cause in fault.problem
    assert fault.mend.startswith(mend)


def test_package_around_a_plugin_may_be_what_is_missing() -> None:
    with pytest.raises(Wrong, match="put its folder into PYTHONPATH"):
        load_named("no_such_package.ours:ask")
