"""A session between two peers on paper."""

from __future__ import annotations

import pytest

from tests.unit.relay.rig import Rig


@pytest.fixture
def rig() -> Rig:
    return Rig()
