"""`wskeeper usage`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.unit.cli.keys_scene import CONFIG, created, failed, used

if TYPE_CHECKING:
    from tests.unit.cli.keys_scene import Command


def test_usage_is_summed_by_key(wskeeper: Command) -> None:
    key_id = created(wskeeper).split("_")[1]
    used(key_id, "gone")
    used(key_id, hours_ago=5, connections=2)
    used(key_id, hours_ago=24 * 30)
    _, *rows = wskeeper("usage").stdout.splitlines()
    assert [row.split("  ")[0] for row in sorted(rows)] == ["alice", "gone (deleted)"]
    assert " ".join(min(rows).split()) == "alice 3 3m 01s 6 8 4.0 KiB 10 B now"
    told = json.loads(wskeeper("usage", "--json", "--key", "alice").stdout)
    assert [row["connections"] for row in told["usage"]] == [2, 1]
    [total] = told["totals"]
    assert total.pop("last_used_at")
    assert total == {
        "key_id": key_id,
        "key_name": "alice",
        "connections": 3,
        "connected_seconds": 181.0,
        "messages_from_client": 6,
        "messages_from_upstream": 8,
        "bytes_from_client": 4096,
        "bytes_from_upstream": 10,
    }


def test_usage_of_a_deleted_key_goes_by_its_id(wskeeper: Command) -> None:
    created(wskeeper)
    used("gone")
    assert "gone (deleted)" in wskeeper("usage", "--key", "gone").stdout
    failed(wskeeper("usage", "--key", "alcie"), "did you mean `alice`?")


def test_usage_of_a_configured_key_goes_by_its_name(wskeeper: Command) -> None:
    Path("wskeeper.yaml").write_text(CONFIG)
    created(wskeeper)
    used("legacy")
    [_, row] = wskeeper("usage").stdout.splitlines()
    assert row.startswith("legacy ")
    assert wskeeper("usage", "--key", "legacy").stdout.splitlines()[1] == row


def test_usage_begins_where_it_is_told_to(wskeeper: Command) -> None:
    key_id = created(wskeeper).split("_")[1]
    used(key_id, hours_ago=48)
    assert "alice" in wskeeper("usage").stdout
    assert "alice" in wskeeper("usage", "--since", "2020-01-01").stdout
    result = wskeeper("usage", "--since", "1h")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "nothing was used" in result.stderr
    assert json.loads(wskeeper("usage", "--since", "1h", "--json").stdout)["totals"] == []


@pytest.mark.parametrize(
    ("since", "problem"),
    [
        ("tomorrow", "is neither a duration nor a moment"),
        ("-7d", "is neither a duration nor a moment"),
        ("2020-02-30", "does not exist"),
        ("2999-01-01", "lies in the future"),
        ("0h", "is not longer than nothing"),
        ("20y", "is neither a duration nor a moment"),
    ],
)
def test_what_is_no_while_ago_is_told_with_one_that_is(
    wskeeper: Command, since: str, problem: str
) -> None:
    created(wskeeper)
    result = wskeeper("usage", f"--since={since}")
    failed(result, f"--since {problem}" if problem[0] != "d" else problem, "`24h`", code=2)
    examples = re.findall(r"`([^`]+)`", result.stderr)
    assert any("-" in example for example in examples)
    for example in examples:
        assert wskeeper("usage", "--since", example).exit_code == 0


def test_a_key_that_was_not_used_has_no_usage(wskeeper: Command) -> None:
    created(wskeeper)
    assert "nothing was used" in wskeeper("usage", "--key", "alice").stderr
