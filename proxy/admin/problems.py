"""Every way the admin API says no, in one table, and the exception that carries a row.

The names are public: the `code` of the problem+json (RFC 9457), and `X-Wskeeper-Code`.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from proxy.config.faults import Fault
    from proxy.config.key_fields import FieldFault


# Faults of a configuration that are told; whoever mends these asks again.
MOST_FAULTS: Final = 50


@dataclass(frozen=True, slots=True)
class ProblemRow:
    """One cause for which a request is not done."""

    code: str
    status: int
    title: str
    # Seconds for Retry-After; None sends no such header.
    retry_after: int | None = None


PROBLEMS: Final[Mapping[str, ProblemRow]] = MappingProxyType(
    {
        row.code: row
        for row in (
            ProblemRow("bad_request", 400, "The request is not valid HTTP"),
            ProblemRow("bad_json", 400, "The body is not a JSON object"),
            ProblemRow("bad_parameter", 400, "The query is not understood"),
            ProblemRow("filter_needed", 400, "Exactly one filter is needed"),
            ProblemRow("token_missing", 401, "A token is required"),
            ProblemRow("token_unknown", 401, "The token is not known"),
            ProblemRow("csrf_failed", 403, "The form is not one of this login"),
            ProblemRow("cross_site", 403, "The request comes from another site"),
            ProblemRow("role_forbidden", 403, "The token's role does not allow it"),
            ProblemRow("no_such_path", 404, "There is nothing at this path"),
            ProblemRow("no_such_key", 404, "There is no such key"),
            ProblemRow("no_such_connection", 404, "There is no such connection"),
            ProblemRow("method_not_allowed", 405, "This path has no such method"),
            ProblemRow("body_timeout", 408, "The body did not arrive in time"),
            ProblemRow("ambiguous_key", 409, "More than one key is called so"),
            ProblemRow("fixed_key", 409, "The key stands in the configuration"),
            ProblemRow("conflict", 409, "Another key has this already"),
            ProblemRow("not_possible", 409, "The key's state does not allow it"),
            ProblemRow("body_too_large", 413, "The body is too large"),
            ProblemRow("form_needed", 415, "The request must carry a form"),
            ProblemRow("json_needed", 415, "The request must say that it carries JSON"),
            ProblemRow("expectation_failed", 417, "Only 100-continue can be expected here"),
            ProblemRow("invalid_fields", 422, "Fields of the body cannot be taken"),
            ProblemRow("config_rejected", 422, "The configuration cannot be used"),
            ProblemRow("token_failures", 429, "Too many wrong tokens came from this address"),
            ProblemRow("internal_error", 500, "The gateway failed"),
            ProblemRow("too_many_readers", 503, "Too many follow the events", retry_after=5),
            ProblemRow("draining", 503, "The gateway is going away"),
            ProblemRow("store_unavailable", 503, "The store cannot be used now", retry_after=5),
        )
    }
)


class Problem(Exception):
    """A request that is not done.

    Args:
        code: a row of `PROBLEMS`.
        detail: one sentence for the caller: what is wrong and the mend. Never echoes the request.
        headers: further header lines of the answer.
        more: further members of the problem object.
    """

    def __init__(
        self,
        code: str,
        detail: str = "",
        headers: tuple[tuple[str, str], ...] = (),
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(code)
        self.row = PROBLEMS[code]
        self.detail = detail
        self.headers = headers
        self.more = dict(more or {})

    @property
    def code(self) -> str:
        return self.row.code


def rejected(faults: Sequence[Fault]) -> Problem:
    """A configuration that cannot be used, with the first of its faults."""
    errors = [
        {
            "file": fault.file,
            "line": fault.line,
            "field": fault.path,
            "problem": fault.problem,
            "mend": fault.mend,
        }
        for fault in faults
        if fault.severity == "error"
    ]
    return Problem(
        "config_rejected",
        "Mend what 'errors' names; the configuration in force stays.",
        more={"errors": errors[:MOST_FAULTS]},
    )


def invalid(faults: Iterable[FieldFault]) -> Problem:
    """A body with fields that cannot be taken, all of them named."""
    errors = [
        {"field": fault.path, "problem": fault.problem, "mend": fault.mend} for fault in faults
    ]
    return Problem("invalid_fields", "Mend what 'errors' names.", more={"errors": errors})
