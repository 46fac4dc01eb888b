"""What all tests share: how many run at once and in which order, and how hypothesis searches."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Machines differ in speed, and pytest's own timeout ends what hangs. On CI (CI is set) the
# settings derive from hypothesis's own `ci` profile: the same examples in every run.
# HYPOTHESIS_PROFILE=thorough is for a change of what parses or keeps state.
settings.register_profile("wskeeper", deadline=None, max_examples=40)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "wskeeper"))

# Whose files take longest: they go first, so that the end finds work for every worker.
SLOW_FOLDERS = ("deploy", "interop", "property", "docs", "integration", "attacks", "browser")


def pytest_configure(config: pytest.Config) -> None:
    # xdist would begin with the files that have the most tests, which are the quickest.
    config.option.loadscopereorder = False


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: tests of running gateways wait now and then."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    folder = item.nodeid.split("/")[1]
    return SLOW_FOLDERS.index(folder) if folder in SLOW_FOLDERS else len(SLOW_FOLDERS)
