"""A configuration file in a folder of its own, loaded."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from proxy.config.faults import ConfigInvalid
from proxy.config.load import load

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.config.faults import Fault
    from proxy.config.load import Loaded


@dataclass
class ConfigFolder:
    """The working directory; `wskeeper.yaml` in it holds what a test writes."""

    path: Path

    def load(
        self, text: str | None = None, environ: dict[str, str] | None = None, **flags: str
    ) -> Loaded:
        """Loads `wskeeper.yaml`, written anew when `text` is given."""
        if text is not None:
            (self.path / "wskeeper.yaml").write_text(textwrap.dedent(text))
        return load(None, environ=environ or {}, overrides=flags)

    def faults(
        self, text: str | None = None, environ: dict[str, str] | None = None, **flags: str
    ) -> list[Fault]:
        """The faults, warnings left out, of a configuration that has some."""
        with pytest.raises(ConfigInvalid) as caught:
            self.load(text, environ, **flags)
        return [fault for fault in caught.value.faults if fault.severity == "error"]

    def fault(
        self, text: str | None = None, environ: dict[str, str] | None = None, **flags: str
    ) -> Fault:
        """The only fault."""
        [fault] = self.faults(text, environ, **flags)
        return fault


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ConfigFolder:
    monkeypatch.chdir(tmp_path)
    return ConfigFolder(tmp_path)
