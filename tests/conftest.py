"""What all tests share: how hypothesis searches."""

from __future__ import annotations

from hypothesis import settings

# Machines differ in speed, and pytest's own timeout ends what hangs. On CI (CI is set) the
# settings derive from hypothesis's own `ci` profile: the same examples in every run.
settings.register_profile("wskeeper", deadline=None)
settings.load_profile("wskeeper")
