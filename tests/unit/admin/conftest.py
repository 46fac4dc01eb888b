"""The listener with tokens and the listener without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.admin.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def scene() -> Iterator[Scene]:
    """Asked with the admin's token, when nothing else is said."""
    with Scene() as scene:
        yield scene


@pytest.fixture
def open_scene() -> Iterator[Scene]:
    """Without tokens."""
    with Scene(tokens=False) as scene:
        yield scene
