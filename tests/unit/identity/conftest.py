from __future__ import annotations

import pytest

from tests.unit.identity.provider import Provider


@pytest.fixture
async def idp():
    provider = Provider()
    await provider.start()
    yield provider
    await provider.stop()
