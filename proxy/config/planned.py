"""What is planned and not built: using it is a fault that says so."""

from __future__ import annotations

from proxy.config.faults import Wrong


def not_built(what: str, mend: str) -> Wrong:
    """The fault for `what`: a value of a field that is built."""
    return Wrong(f"`{what}` is not built in this version of wskeeper", mend)
