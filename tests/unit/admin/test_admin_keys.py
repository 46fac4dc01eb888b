"""Keys through the API: their whole life, and every way it can be refused."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.keys.key import Key, KeyLimits, Secret, digest_of
from proxy.keys.secret import id_in
from proxy.stores.store import NoSuchKey, Usage
from tests.unit.admin.scene import CANARY, NOW, Scene

KEYS = "/api/v1/keys"
NO_LIMITS = dict.fromkeys(KeyLimits._fields)
LONG = f"an-imported-secret-{CANARY}"


def create(scene: Scene, **fields):
    answer = scene.ask("POST", KEYS, {"name": "partner", **fields})
    assert answer.status == 201, answer
    return answer.data


def test_admin_creates_a_key_and_sees_its_secret_once(scene):
    answer = scene.ask(
        "POST",
        KEYS,
        {
            "name": "partner",
            "routes": ["echo"],
            "limits": {"connections": 5},
            "origins": ["https://app.example"],
            "addresses": ["10.0.0.0/8"],
            "metadata": {"tier": "gold"},
            "expires_in": "90d",
        },
    )
    assert answer.status == 201
    made = answer.data
    secret = made.pop("secret")
    assert id_in(secret) == made["id"]
    assert answer.headers["location"] == f"{KEYS}/{made['id']}"
    assert made == {
        "id": made["id"],
        "name": "partner",
        "state": "active",
        "routes": ["echo"],
        "limits": {**NO_LIMITS, "connections": 5},
        "origins": ["https://app.example"],
        "addresses": {"allow": ["10.0.0.0/8"], "deny": []},
        "metadata": {"tier": "gold"},
        "created_at": "2027-01-15T08:00:00Z",
        "expires_at": "2027-04-15T08:00:00Z",
        "suspended_at": None,
        "revoked_at": None,
        "last_used_at": None,
        "weak": False,
        "source": "store",
        "secrets": [{"valid_until": None}],
    }
    key = scene.ring.find(digest_of(secret.encode()))
    assert key is not None
    assert key.id == made["id"]
    assert scene.ask("GET", answer.headers["location"]).data == made
    assert scene.ask("GET", f"{KEYS}/partner").data == made
    assert scene.log.events("key_created") == [
        {"key_id": made["id"], "key_name": "partner", "by": "admin:admin"}
    ]


def test_no_answer_or_log_line_ever_holds_a_secret_or_digest_again(scene):
    made = create(scene)
    create(scene, name="imported", secret=LONG)
    again = scene.ask("POST", f"{KEYS}/partner/rotate", {"overlap": "1h"}).data
    secrets = [made["secret"], again["secret"], LONG]
    answers = [
        scene.ask(method, path, body).body
        for method, path, body in (
            ("GET", KEYS, None),
            ("GET", f"{KEYS}/partner", None),
            ("GET", f"{KEYS}/imported", None),
            ("GET", "/api/v1/usage", None),
            ("GET", "/api/v1/status", None),
            ("PATCH", f"{KEYS}/partner", {"metadata": {"a": "b"}}),
            ("POST", KEYS, {"name": "twin", "secret": LONG}),
            ("POST", KEYS, {"name": "twin", "secret": LONG, LONG: 1}),
            ("POST", KEYS, {"name": LONG + " ", "secret": [LONG], "sha256": LONG}),
            ("POST", KEYS, {"name": "x", "metadata": LONG, "routes": [LONG]}),
            ("POST", f"{KEYS}/partner/suspend", {}),
            ("GET", f"{KEYS}/{LONG}", None),
            ("GET", f"{KEYS}?state={LONG}", None),
            ("DELETE", f"/api/v1/connections?key={LONG}", None),
            ("POST", f"{KEYS}/partner/revoke", {}),
        )
    ]
    said = b"".join(answers).decode() + json.dumps(scene.log.lines, default=str)
    for secret in secrets:
        assert secret not in said
        assert secret[:24] not in said.replace(made["id"], "")
        assert hashlib.sha256(secret.encode()).hexdigest() not in said
    for token in (scene.token, CANARY):
        assert token not in said


class TestImporting:
    def test_takes_a_secret_and_does_not_repeat_it(self, scene):
        made = create(scene, secret=LONG)
        assert "secret" not in made
        assert made["weak"] is False
        assert scene.ring.find(digest_of(LONG.encode())).id == made["id"]

    def test_takes_a_digest(self, scene):
        made = create(scene, sha256=hashlib.sha256(b"elsewhere").hexdigest())
        assert "secret" not in made
        assert scene.ring.find(digest_of(b"elsewhere")).id == made["id"]

    def test_refuses_a_weak_secret_unless_told_to_take_it(self, scene):
        weak = {"name": "weak", "secret": "nineteen-characters"}
        assert scene.ask("POST", KEYS, weak).fields == ["secret"]
        assert scene.ask("POST", KEYS, {**weak, "allow_weak": False}).fields == ["secret"]
        made = scene.ask("POST", KEYS, {**weak, "allow_weak": True})
        assert (made.status, made.data["weak"]) == (201, True)
        assert create(scene, secret="twenty-characters-ok")["weak"] is False

    def test_refuses_a_secret_beside_its_digest(self, scene):
        both = {"name": "both", "secret": LONG, "sha256": "ab" * 32}
        assert scene.ask("POST", KEYS, both).fields == ["secret"]

    def test_refuses_a_secret_that_another_key_has(self, scene):
        create(scene, secret=LONG)
        again = scene.ask("POST", KEYS, {"name": "twin", "secret": LONG})
        assert again.code == "409 conflict"
        fixed = scene.ask(
            "POST", KEYS, {"name": "twin", "secret": "the legacy secret", "allow_weak": True}
        )
        assert fixed.code == "409 conflict"

    @pytest.mark.parametrize(
        "secret", ["", " padded-with-a-blank-here", "with\na-line-end-in-it", 5]
    )
    def test_refuses_what_no_header_can_carry(self, scene, secret):
        assert scene.ask("POST", KEYS, {"name": "x", "secret": secret}).fields == ["secret"]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["name"]),
        ({"name": None}, ["name"]),
        ({"name": "has space"}, ["name"]),
        ({"name": "x", "colour": "red"}, [""]),
        ({"name": "x", "expires_in": "never"}, ["expires_in"]),
        ({"name": "x", "expires_in": 1e999}, None),
        ({"name": "x", "expires_in": 0}, ["expires_in"]),
        ({"name": "x", "expires_in": 10**30}, ["expires_in"]),
        ({"name": "x", "expires_in": "1d", "expires_at": "2030-01-01"}, ["expires_in"]),
        ({"name": "x", "expires_at": "2020-01-01"}, ["expires_at"]),
        ({"name": "x", "expires_at": "yesterday"}, ["expires_at"]),
        ({"name": "x", "routes": ["echo", "nowhere", "no"]}, ["routes[1]", "routes[2]"]),
        ({"name": "x", "routes": []}, ["routes"]),
        ({"name": "x", "limits": {"connections": 0}}, ["limits.connections"]),
        ({"name": "x", "limits": {"connections": 10**30}}, ["limits.connections"]),
        ({"name": "x", "limits": {"messages_per_second": -1}}, ["limits.messages_per_second"]),
        ({"name": "x", "limits": {"messages_per_second": math.nan}}, None),
        (
            {"name": "x", "limits": {"message_size": {"upstream_to_client": "9"}, "head_size": 1}},
            ["limits.head_size"],
        ),
        (
            {"name": "x", "limits": {"message_size": {"upstream_to_client": 0}, "on_exceed": 1}},
            ["limits.message_size.upstream_to_client", "limits.on_exceed"],
        ),
        ({"name": "x", "sha256": "ab"}, ["sha256"]),
        ({"name": "x", "allow_weak": "perhaps"}, ["allow_weak"]),
        ({"name": "x", "metadata": {"a b": "c"}}, ["metadata.a b"]),
        ({"name": "", "limits": 3, "origins": 4}, ["name", "limits", "origins"]),
    ],
)
def test_every_wrong_field_is_named(scene, body, fields):
    answer = scene.ask("POST", KEYS, body)
    if fields is None:  # Infinity is no JSON.
        assert answer.code == "400 bad_json"
    else:
        assert answer.fields == fields
    assert len(scene.ring) == 1


def test_a_name_is_taken_once(scene):
    create(scene)
    assert scene.ask("POST", KEYS, {"name": "partner"}).code == "409 conflict"
    assert scene.ask("POST", KEYS, {"name": "legacy"}).code == "409 conflict"
    create(scene, name="other")
    assert scene.ask("PATCH", f"{KEYS}/other", {"name": "partner"}).code == "409 conflict"
    assert scene.ask("PATCH", f"{KEYS}/other", {"name": "legacy"}).code == "409 conflict"
    assert scene.ask("PATCH", f"{KEYS}/other", {"name": "other2"}).data["name"] == "other2"


def test_an_update_changes_what_it_names_and_nothing_else(scene):
    made = create(scene, metadata={"a": "b"}, expires_in="1d", routes=["chat"])
    del made["secret"]
    path = f"{KEYS}/partner"
    changed = scene.ask("PATCH", path, {"limits": {"connections": 2}}).data
    assert changed == {**made, "limits": {**NO_LIMITS, "connections": 2}}
    changed = scene.ask("PATCH", path, {"expires_in": 3600, "routes": None}).data
    assert (changed["expires_at"], changed["routes"]) == ("2027-01-15T09:00:00Z", None)
    assert changed["metadata"] == {"a": "b"}
    assert scene.ask("PATCH", path, {"expires_at": None}).data["expires_at"] is None
    assert scene.ask("PATCH", path, {}).data["expires_at"] is None
    # That a key is to end now is no slip, as it would be of a new one.
    assert scene.ask("PATCH", path, {"expires_at": "2020-01-01"}).data["state"] == "expired"
    assert [event["by"] for event in scene.log.events("key_updated")] == ["admin:admin"] * 4


def test_an_update_changes_single_limits(scene):
    create(scene, limits={"connections": 5, "message_size": "64KiB", "bytes_per_second": "1MiB"})
    path = f"{KEYS}/partner"
    size = {"client_to_upstream": 65_536, "upstream_to_client": None}
    limits = {**NO_LIMITS, "message_size": size, "bytes_per_second": 1_048_576}
    body = {"limits": {"connections": None, "on_exceed": "close"}}
    assert scene.ask("PATCH", path, body).data["limits"] == {**limits, "on_exceed": "close"}
    body = {"limits": {"message_size": {"upstream_to_client": "1KiB"}, "on_exceed": None}}
    limits["message_size"] = {"client_to_upstream": None, "upstream_to_client": 1024}
    assert scene.ask("PATCH", path, body).data["limits"] == limits
    assert scene.ask("PATCH", path, {"limits": {}}).data["limits"] == limits
    assert scene.ask("PATCH", path, {"limits": None}).data["limits"] == NO_LIMITS


@pytest.mark.parametrize(
    "body",
    [{"secret": LONG}, {"id": "other"}, {"revoked_at": "2020-01-01"}, {"routes": ["nowhere"]}],
)
def test_an_update_cannot_reach_beyond_the_fields(scene, body):
    create(scene)
    assert len(scene.ask("PATCH", f"{KEYS}/partner", body).fields) == 1


def test_rotation_keeps_the_old_secret_for_the_overlap(scene):
    made = create(scene)
    again = scene.ask("POST", f"{KEYS}/partner/rotate", {"overlap": "2h"}).data
    assert again["secret"] != made["secret"]
    assert id_in(again["secret"]) == made["id"]
    assert again["secrets"] == [{"valid_until": None}, {"valid_until": "2027-01-15T10:00:00Z"}]
    for secret in (made["secret"], again["secret"]):
        assert scene.ring.find(digest_of(secret.encode())).id == made["id"]


@pytest.mark.parametrize(
    ("body", "until"),
    [
        ({}, "2027-01-16T08:00:00Z"),
        (None, "2027-01-16T08:00:00Z"),
        ({"overlap": 0}, "2027-01-15T08:00:00Z"),
        ({"overlap": "0s"}, "2027-01-15T08:00:00Z"),
        ({"overlap": 60}, "2027-01-15T08:01:00Z"),
    ],
)
def test_the_overlap_is_a_day_unless_said(scene, body, until):
    create(scene)
    rotated = scene.ask("POST", f"{KEYS}/partner/rotate", body).data
    assert rotated["secrets"][1]["valid_until"] == until


@pytest.mark.parametrize("overlap", [-1, "soon", None, False, True, [], "99999d"])
def test_an_overlap_that_is_none_is_refused(scene, overlap):
    create(scene)
    answer = scene.ask("POST", f"{KEYS}/partner/rotate", {"overlap": overlap})
    assert answer.fields == ["overlap"]


def test_a_key_is_suspended_resumed_revoked_and_deleted(scene):
    create(scene)
    for action, state in (
        ("suspend", "suspended"),
        ("suspend", "suspended"),
        ("resume", "active"),
        ("revoke", "revoked"),
        ("revoke", "revoked"),
    ):
        assert scene.ask("POST", f"{KEYS}/partner/{action}").data["state"] == state
    for action in ("suspend", "resume", "rotate"):
        refused = scene.ask("POST", f"{KEYS}/partner/{action}", {})
        assert refused.code == "409 not_possible"
        assert "revoked" in refused.problem["detail"]
    gone = scene.ask("DELETE", f"{KEYS}/partner")
    assert (gone.status, gone.body) == (204, b"")
    assert scene.ask("GET", f"{KEYS}/partner").code == "404 no_such_key"
    assert scene.ask("DELETE", f"{KEYS}/partner").code == "404 no_such_key"
    events = [event for _, event, fields in scene.log.lines if fields.get("by") == "admin:admin"]
    assert events == ["key_created", "key_suspended", "key_resumed", "key_revoked", "key_deleted"]


@pytest.mark.parametrize("action", ["suspend", "resume", "revoke"])
def test_an_action_takes_no_fields(scene, action):
    create(scene)
    assert scene.ask("POST", f"{KEYS}/partner/{action}", {"why": "x"}).fields == [""]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "", {"name": "x"}),
        ("DELETE", "", None),
        ("POST", "/rotate", {}),
        ("POST", "/revoke", {}),
        ("POST", "/suspend", {}),
        ("POST", "/resume", {}),
    ],
)
def test_a_key_of_the_configuration_is_shown_and_left_alone(scene, method, path, body):
    assert scene.ask("GET", f"{KEYS}/legacy").data["source"] == "configuration"
    assert scene.ask(method, f"{KEYS}/legacy{path}", body).code == "409 fixed_key"
    assert scene.ask(method, f"{KEYS}/nobody{path}", body).code == "404 no_such_key"
    assert scene.ring.get("legacy").state(NOW) == "active"


def test_a_key_deleted_meanwhile_is_no_longer_there(scene):
    create(scene)
    # By another process, and the ring does not know yet.
    scene.store.failure = NoSuchKey()
    assert scene.ask("POST", f"{KEYS}/partner/revoke", {}).code == "404 no_such_key"


def test_a_reference_to_two_keys_is_refused(scene):
    scene.hold(
        Key("first", "second", (Secret(b"1" * 32),)), Key("third", "fourth", (Secret(b"2" * 32),))
    )
    scene.ring.put("second", Key("second", "other", (Secret(b"3" * 32),)))
    assert scene.ask("DELETE", f"{KEYS}/second").code == "409 ambiguous_key"
    assert scene.ask("GET", f"{KEYS}/first").data["name"] == "second"


def test_keys_are_listed_by_name_and_in_pages(scene):
    names = [f"Key-{number:02}" for number in range(7)]
    scene.hold(
        *(Key(f"id{name}", name, (Secret(name.encode().ljust(32)),)) for name in reversed(names))
    )
    everything = scene.ask("GET", KEYS).data
    assert [key["name"] for key in everything["keys"]] == [*names, "legacy"]
    assert everything["next"] is None
    seen, after, pages = [], "", 0
    while after is not None:
        cursor = f"&after={after.replace(' ', '%20')}" if after else ""
        page = scene.ask("GET", f"{KEYS}?limit=3{cursor}").data
        seen += [key["name"] for key in page["keys"]]
        after, pages = page["next"], pages + 1
    assert (seen, pages) == ([*names, "legacy"], 3)
    # A page goes on where the last one ended, even when that key is gone.
    assert [
        key["name"] for key in scene.ask("GET", f"{KEYS}?after=Key-05%20gone&limit=1").data["keys"]
    ] == ["Key-05"]


def test_keys_are_chosen_by_state_and_a_part_of_their_name(scene):
    key = Key("a", "Partner-A", (Secret(b"1" * 32),))
    scene.hold(
        key, replace(key, id="b", name="partner-b", secrets=(Secret(b"2" * 32),), revoked_at=1.0)
    )

    def names(query):
        return [key["name"] for key in scene.ask("GET", f"{KEYS}?{query}").data["keys"]]

    assert names("name=PARTNER") == ["Partner-A", "partner-b"]
    assert names("state=active") == ["Partner-A", "legacy"]
    assert names("state=revoked&name=b") == ["partner-b"]
    assert names("state=expired") == []


@pytest.mark.parametrize(
    "query",
    [
        "state=on",
        "stat=active",
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=",
        "name=",
        "limit=1&limit=2",
        "name=%00",
        "after=" + "a" * 600,
        "limit=99999999999",
        "limit=%D9%A3",
    ],
)
def test_a_query_that_is_not_understood_is_refused(scene, query):
    assert scene.ask("GET", f"{KEYS}?{query}").code == "400 bad_parameter"


def test_a_page_of_a_hundred_thousand_keys_is_found(scene):
    scene.ring.replace_stored(
        Key(f"id{n}", f"key-{n:06}", (Secret(n.to_bytes(32, "big")),)) for n in range(100_000)
    )
    page = scene.ask("GET", f"{KEYS}?limit=2&after=key-099998%20id99998").data
    assert [key["name"] for key in page["keys"]] == ["key-099999", "legacy"]


def test_when_a_key_was_last_used_is_told(scene):
    made = create(scene)
    scene.use(Usage(made["id"], int(NOW), 1, 2.0, (1, 1), (1, 1), NOW))
    assert scene.ask("GET", f"{KEYS}/partner").data["last_used_at"] == "2027-01-15T08:00:00Z"
    assert scene.ask("GET", KEYS).data["keys"][1]["last_used_at"] == "2027-01-15T08:00:00Z"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("GET", "/partner", None),
        ("POST", "", {"name": "new"}),
        ("PATCH", "/partner", {"name": "new"}),
        ("DELETE", "/partner", None),
        ("POST", "/partner/revoke", {}),
        ("POST", "/partner/rotate", {}),
    ],
)
def test_a_store_that_is_away_is_said(scene, method, path, body):
    create(scene)
    scene.away()
    answer = scene.ask(method, KEYS + path, body)
    assert answer.code == "503 store_unavailable"
    assert answer.problem["detail"] == "sqlite:/var/keys.db is locked; wait."
    assert answer.headers["retry-after"] == "5"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3)
    ),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        "name",
        "routes",
        "expires_at",
        "expires_in",
        "limits",
        "origins",
        "addresses",
        "metadata",
        "secret",
        "sha256",
        "allow_weak",
        "overlap",
        "id",
    ]
)


def test_no_body_makes_the_gateway_fail():
    with Scene() as scene:
        create(scene)

        @given(
            st.sampled_from(
                [
                    ("POST", ""),
                    ("PATCH", "/partner"),
                    ("POST", "/partner/rotate"),
                    ("POST", "/partner/resume"),
                ]
            ),
            st.dictionaries(NAMES | st.text(max_size=5), JSON, max_size=4),
            st.booleans(),
        )
        def ask(where, body, named):
            method, path = where
            body = {"name": "partner", **body} if named else body
            answer = scene.ask(method, KEYS + path, body)
            assert answer.status in {200, 201, 400, 409, 413, 422}
            if answer.status >= 400:
                assert answer.problem

        ask()
        assert not scene.log.events("internal_error")


def test_a_rotation_whose_answer_would_fail_is_not_done(scene, monkeypatch):
    create(scene)
    before = scene.store.find("partner")

    def fail():
        raise RuntimeError

    monkeypatch.setattr(scene.store, "last_used", fail)
    assert scene.ask("POST", f"{KEYS}/partner/rotate", {"overlap": 0}).status == 500
    assert scene.store.find("partner") == before
