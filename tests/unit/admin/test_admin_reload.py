"""`POST /api/v1/reload`: what it answers, whom it names, and what it says of faults."""

from __future__ import annotations

from proxy.admin.problems import MOST_FAULTS
from proxy.admin.reload import NotNow, Reloaded
from proxy.config.faults import ConfigInvalid, Fault
from tests.unit.admin.scene import TOKENS

RELOAD = "/api/v1/reload"


def fault(number: int, severity: str = "error") -> Fault:
    return Fault("wskeeper.yaml", number, "listen", "is wrong", "mend it", severity)  # type: ignore[arg-type]


def test_operator_is_told_what_changed(scene):
    scene.reloads = Reloaded(("log.level", "keys: +1"), ("listen",), 3, ("wskeeper.yaml:1: w; m",))
    answer = scene.ask("POST", RELOAD, token=TOKENS["operator"])
    assert answer.data == {
        "changed": ["log.level", "keys: +1"],
        "needs_restart": ["listen"],
        "closed": 3,
        "warnings": ["wskeeper.yaml:1: w; m"],
    }
    assert scene.reloaded_by == ["admin:operator"]


def test_faults_are_answered_with_their_places(scene):
    scene.reloads = ConfigInvalid([fault(7), fault(8, "warning")])
    answer = scene.ask("POST", RELOAD)
    assert answer.code == "422 config_rejected"
    assert answer.problem["errors"] == [
        {
            "file": "wskeeper.yaml",
            "line": 7,
            "field": "listen",
            "problem": "is wrong",
            "mend": "mend it",
        }
    ]


def test_many_faults_are_answered_in_part(scene):
    scene.reloads = ConfigInvalid([fault(n) for n in range(MOST_FAULTS + 1)])
    assert len(scene.ask("POST", RELOAD).problem["errors"]) == MOST_FAULTS


def test_gateway_that_goes_away_takes_no_other_configuration(scene):
    scene.reloads = NotNow()
    assert scene.ask("POST", RELOAD).code == "503 draining"


def test_fault_of_the_gateways_is_no_fault_of_the_file(scene):
    scene.reloads = RuntimeError("CANARY")
    answer = scene.ask("POST", RELOAD)
    assert answer.code == "500 internal_error"
    assert b"CANARY" not in answer.body


def test_reload_takes_nothing(scene):
    assert scene.ask("POST", RELOAD, {"file": "other.yaml"}).code == "422 invalid_fields"
    assert scene.ask("POST", RELOAD + "?x=1").code == "400 bad_parameter"
    assert scene.ask("POST", RELOAD, json_type=False).code == "415 json_needed"
    assert scene.ask("POST", RELOAD, token=TOKENS["viewer"]).code == "403 role_forbidden"
    assert not scene.reloaded_by
