"""`wskeeper schema`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from proxy.config.schema import schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result


def test_the_schema_is_printed_as_json(wskeeper: Callable[..., Result]) -> None:
    result = wskeeper("schema")
    assert result.exit_code == 0
    assert json.loads(result.output) == schema()
