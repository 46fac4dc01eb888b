"""The tables of refusals and endings: what the contract names, and nothing that is never said."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import proxy
from proxy import errors
from proxy.errors import (
    ENDINGS,
    OBJECTIONS,
    OUTCOMES,
    REFUSALS,
    SERVICE_REFUSALS,
    Ending,
    Refused,
    close_code_for,
    closed_by_admin,
)

# The public names: status before the 101 (the contract's section 3) …
STATUS = {
    400: {"bad_request", "bad_path", "key_ambiguous"},
    401: {
        "key_missing",
        "key_unknown",
        "key_revoked",
        "key_expired",
        "key_suspended",
        "token_invalid",
        "ticket_invalid",
    },
    403: {"route_forbidden", "origin_forbidden", "address_forbidden", "plugin_refused"},
    404: {"no_route"},
    405: {"method_not_allowed"},
    408: {"head_timeout", "first_message_timeout"},
    414: {"target_too_long"},
    426: {"upgrade_required", "upgrade_stripped", "unsupported_version"},
    429: {
        "key_connections",
        "address_connections",
        "subject_connections",
        "handshake_rate",
        "auth_failures",
    },
    431: {"head_too_large"},
    500: {"internal_error"},
    502: {"upstream_unreachable", "upstream_invalid"},
    503: {"upstream_unhealthy", "gateway_connections", "store_unavailable", "draining"},
    504: {"upstream_timeout"},
}
# … and close codes behind it (section 5).
CLOSE_CODES = {
    1001: {
        "draining",
        "route_removed",
        "max_lifetime",
        "idle_timeout",
        "peer_error",
        "client_stalled",
    },
    1002: {"protocol_error"},
    1008: {"closed_by_admin", "client_timeout", "message_rate", *OBJECTIONS},
    1009: {"message_too_big"},
    1011: {"internal_error"},
    1012: {"upstream_lost", "upstream_stalled", "upstream_timeout"},
    3000: {"token_expired"},
}
# What the gateway's own HTTP services refuse besides, by status.
OF_SERVICES = {
    404: {"session_unknown"},
    413: {"body_too_large"},
    422: {"body_invalid"},
    429: {"ticket_quota"},
}
SAID_WITH_CLOSE = {401: 3000, 403: 3003, 404: 4404, 429: 1013, 500: 1013, 503: 1013, 599: 1013}
# Other than 502 and 504.
WARNED = {"gateway_connections", "store_unavailable", "upstream_unhealthy"}


def trees() -> list[ast.AST]:
    folder = Path(proxy.__file__).parent
    return [ast.parse(path.read_text(encoding="utf-8")) for path in folder.rglob("*.py")]


def refused_codes() -> set[str]:
    """Every code that is written out where a `Refused` is made."""
    return {
        call.args[0].value
        for tree in trees()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and getattr(call.func, "id", getattr(call.func, "attr", "")) in {"Refused", "LimitMet"}
        and call.args
        and isinstance(call.args[0], ast.Constant)
    }


def test_every_refusal_has_its_public_status() -> None:
    assert {code: row.status for code, row in REFUSALS.items()} == {
        code: status for status, codes in STATUS.items() for code in codes
    }


def test_services_refuse_with_statuses_of_their_own() -> None:
    assert {code: row.status for code, row in SERVICE_REFUSALS.items()} == {
        code: status for status, codes in OF_SERVICES.items() for code in codes
    }
    assert not set(SERVICE_REFUSALS) & set(OUTCOMES)


def test_every_code_that_is_refused_with_is_a_row_and_every_row_is_refused_with() -> None:
    assert refused_codes() | set(OBJECTIONS) == {*REFUSALS, *SERVICE_REFUSALS}


@pytest.mark.parametrize("code", [*REFUSALS, *SERVICE_REFUSALS])
def test_refusal_row_is_fit_to_be_said(code: str) -> None:
    row = {**REFUSALS, **SERVICE_REFUSALS}[code]
    assert row.code == code
    assert row.title[0].isupper()
    assert row.title.isascii()
    assert not row.title.endswith(".")
    assert row.level == {500: "error", 502: "warning", 504: "warning"}.get(
        row.status, "warning" if code in WARNED else "info"
    )
    assert (row.retry_after is not None) is (row.status in {429, 503})


def test_refusal_carries_its_row() -> None:
    refused = Refused("no_route", "Where?", (("A", "b"),), cause="for the log")
    assert refused.row is REFUSALS["no_route"]
    assert (refused.code, refused.detail, refused.cause) == ("no_route", "Where?", "for the log")
    assert refused.headers == (("A", "b"),)
    assert str(refused) == "no_route"


def test_unknown_code_cannot_be_refused_with() -> None:
    with pytest.raises(KeyError):
        Refused("made_up")


def test_tables_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        REFUSALS["made_up"] = REFUSALS["no_route"]
    with pytest.raises(TypeError):
        ENDINGS["made_up"] = ENDINGS["draining"]


def test_outcomes_are_the_refusals_and_what_is_none_of_ours() -> None:
    assert set(OUTCOMES) == {*REFUSALS, "accepted", "client_gone", "upstream_refused"}
    assert len(OUTCOMES) == len(set(OUTCOMES))


@pytest.mark.parametrize(("status", "code"), SAID_WITH_CLOSE.items())
def test_status_is_said_with_a_close_code(status: int, code: int) -> None:
    assert close_code_for(status) == code


@pytest.mark.parametrize("code", REFUSALS)
def test_every_refusal_can_be_said_with_a_close_code(code: str) -> None:
    status = REFUSALS[code].status
    fallback = 1013 if status >= 500 else 1008
    assert close_code_for(status) == SAID_WITH_CLOSE.get(status, fallback)


# Endings -------------------------------------------------------------------------------------


def endings() -> dict[str, Ending]:
    named = {name: value for name, value in vars(errors).items() if isinstance(value, Ending)}
    return {**named, **OBJECTIONS}


@pytest.mark.parametrize("name", endings())
def test_every_ending_is_said_with_its_public_code(name: str) -> None:
    ending = endings()[name]
    told = [pair for pair in (ending.to_client, ending.to_upstream) if pair is not None]
    assert told
    for code, reason in told:
        assert reason in CLOSE_CODES[code]
        assert code != 1014
        assert len(reason.encode()) <= 123
    assert ending.code in {code for code, _ in told}
    assert ending.reason in CLOSE_CODES[ending.code]


def test_every_ending_is_found_by_its_reason() -> None:
    for ending in endings().values():
        assert ENDINGS[ending.reason].code == ending.code
        assert ENDINGS[ending.reason].level == ending.level
    assert set(ENDINGS) == {ending.reason for ending in endings().values()}


def test_offender_is_told_why_and_the_innocent_1001() -> None:
    for ending, offender, innocent in (
        (errors.CLIENT_BROKE_PROTOCOL, "to_client", "to_upstream"),
        (errors.UPSTREAM_BROKE_PROTOCOL, "to_upstream", "to_client"),
    ):
        assert getattr(ending, offender) == (1002, "protocol_error")
        assert getattr(ending, innocent) == (1001, "peer_error")
    for ending, offender, innocent in (
        (errors.CLIENT_MESSAGE_TOO_BIG, "to_client", "to_upstream"),
        (errors.UPSTREAM_MESSAGE_TOO_BIG, "to_upstream", "to_client"),
    ):
        assert getattr(ending, offender) == (1009, "message_too_big")
        assert getattr(ending, innocent) == (1001, "peer_error")


def test_stalled_leg_gets_no_close_frame() -> None:
    assert errors.CLIENT_STALLED.to_client is None
    assert errors.UPSTREAM_STALLED.to_upstream is None


def test_key_that_carries_a_session_no_more_ends_it_as_it_would_be_refused() -> None:
    assert set(OBJECTIONS) <= set(REFUSALS)
    for code, ending in OBJECTIONS.items():
        assert ending.to_client == ending.to_upstream == (1008, code)
        assert ENDINGS[code] is ending
    with pytest.raises(TypeError):
        OBJECTIONS["made_up"] = OBJECTIONS["key_revoked"]


def test_operator_chooses_what_is_said_and_not_what_is_counted() -> None:
    assert closed_by_admin() == errors.CLOSED_BY_ADMIN
    chosen = closed_by_admin(4001, "bye")
    assert chosen.to_client == chosen.to_upstream == (4001, "bye")
    assert (chosen.code, chosen.reason, chosen.level) == (4001, "closed_by_admin", "info")
