"""A live session between two sockets on paper."""

from __future__ import annotations

import pytest

from tests.unit.sessions.scene import Scene, make


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return make(monkeypatch)
