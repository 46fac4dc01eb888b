"""Keys out of fields: whole, in part, from a configuration; and the principals they stand for."""

from __future__ import annotations

import hashlib
from dataclasses import fields as fields_of
from dataclasses import replace
from ipaddress import ip_network

import pytest

from proxy.config.key_fields import KeyFields, read_key_fields
from proxy.keys.key import Key, KeyLimits, Secret, digest_of
from proxy.keys.made import fixed, made, updated
from proxy.keys.principal import NOBODY, holder_of
from tests.unit.build import config

DIGEST = digest_of(b"the secret")
FULL = {
    "name": "full",
    "routes": ["chat"],
    "expires_at": 1_800_000_000,
    "limits": {
        "connections": 7,
        "connections_per_address": 6,
        "connections_per_subject": 5,
        "handshakes_per_second": 0.5,
        "message_size": {"client_to_upstream": "1KiB", "upstream_to_client": "2KiB"},
        "messages_per_second": 10,
        "bytes_per_second": "3KiB",
        "on_exceed": "throttle",
    },
    "origins": ["https://app.test"],
    "addresses": {"allow": ["192.0.2.0/24"], "deny": ["192.0.2.9/32"]},
    "metadata": {"plan": "gold"},
}
LIMITS = KeyLimits(7, 6, 5, 0.5, (1024, 2048), 10.0, 3072.0, "throttle")
FULL_KEY = Key(
    "id1",
    "full",
    (Secret(DIGEST),),
    routes=frozenset({"chat"}),
    created_at=5.0,
    expires_at=1_800_000_000.0,
    limits=LIMITS,
    origins=frozenset({b"https://app.test"}),
    allow=(ip_network("192.0.2.0/24"),),
    deny=(ip_network("192.0.2.9/32"),),
    metadata={"plan": "gold"},
)
PLAIN_KEY = Key("id1", "plain", (Secret(DIGEST),), created_at=5.0)


def test_key_has_what_its_fields_say() -> None:
    assert made(KeyFields.model_validate(FULL), id="id1", digest=DIGEST, now=5.0) == FULL_KEY
    fields = KeyFields(name="plain")
    assert made(fields, id="id1", digest=DIGEST, now=5.0) == PLAIN_KEY
    assert made(fields, id="id1", digest=DIGEST, now=5.0, weak=True).weak


@pytest.mark.parametrize("field", FULL)
def test_update_replaces_what_was_given_and_nothing_else(field: str) -> None:
    fields = KeyFields.model_validate({"name": FULL["name"], field: FULL[field]})
    given = {field} if field == "name" else {"name", field}
    after = updated(PLAIN_KEY, fields)
    parts = {"addresses": {"allow", "deny"}}.get(field, {field}) | {"name"}
    for part in (each.name for each in fields_of(Key) if each.init):
        expected = FULL_KEY if part in parts else PLAIN_KEY
        assert getattr(after, part) == getattr(expected, part), part
    assert fields.model_fields_set == given


def test_update_that_gives_no_name_keeps_it() -> None:
    fields = read_key_fields({"routes": ["chat"]}, partial=True)
    assert updated(PLAIN_KEY, fields) == replace(PLAIN_KEY, routes=frozenset({"chat"}))
    assert updated(FULL_KEY, read_key_fields({}, partial=True)) == FULL_KEY


def test_update_can_take_a_restriction_away() -> None:
    nothing = {"routes": None, "expires_at": None, "origins": None, "limits": None, "metadata": {}}
    fields = KeyFields.model_validate({"name": "full", "addresses": {}, **nothing})
    assert updated(FULL_KEY, fields) == Key("id1", "full", (Secret(DIGEST),), created_at=5.0)


@pytest.mark.parametrize(
    ("given", "after"),
    [
        ({}, LIMITS),
        ({"connections": 1}, LIMITS._replace(connections=1)),
        (
            {"connections": None, "on_exceed": None},
            LIMITS._replace(connections=None, on_exceed=None),
        ),
        ({"bytes_per_second": 5}, LIMITS._replace(bytes_per_second=5.0)),
        ({"message_size": 5}, LIMITS._replace(message_size=(5, None))),
        ({"message_size": {"upstream_to_client": 5}}, LIMITS._replace(message_size=(None, 5))),
        ({"message_size": None}, LIMITS._replace(message_size=(None, None))),
        (None, KeyLimits()),
    ],
)
def test_update_replaces_the_limits_that_were_given_alone(
    given: dict[str, object] | None, after: KeyLimits
) -> None:
    fields = read_key_fields({"limits": given}, partial=True)
    assert updated(FULL_KEY, fields) == replace(FULL_KEY, limits=after)


def test_new_key_has_the_limits_that_were_given_alone() -> None:
    fields = read_key_fields({"name": "a", "limits": {"message_size": "1KiB"}}, partial=False)
    new = made(fields, id="a", digest=DIGEST, now=5.0)
    assert new.limits == KeyLimits(message_size=(1024, None))


def test_key_of_the_configuration_is_called_what_it_is() -> None:
    sha256 = hashlib.sha256(b"second").hexdigest()
    first, second = map(
        fixed,
        config(
            {},
            keys=[
                {**FULL, "secret": "a-secret-of-some-length"},
                {"name": "second", "sha256": sha256, "revoked_at": 7, "suspended_at": 6},
            ],
        ).keys,
    )
    assert (first.id, first.name, first.limits) == ("full", "full", LIMITS)
    assert first.secrets == (Secret(digest_of(b"a-secret-of-some-length")),)
    assert "a-secret-of-some-length" not in repr(first)
    assert second == Key(
        "second", "second", (Secret(bytes.fromhex(sha256)),), suspended_at=6.0, revoked_at=7.0
    )


@pytest.mark.parametrize("length", [19, 20])
def test_key_of_the_configuration_with_a_short_secret_is_weak(length: int) -> None:
    (key,) = config({}, keys=[{"name": "a", "secret": "s" * length}]).keys
    assert fixed(key).weak is (length < 20)


def test_principal_knows_its_key_and_nobody_none() -> None:
    holder = holder_of(FULL_KEY, DIGEST)
    assert (holder.auth, holder.key_id, holder.key_name) == ("api_key", "id1", "full")
    assert (holder.digest, holder.subject) == (DIGEST, None)
    assert holder.headers == (
        b"X-Wskeeper-Auth: api_key",
        b"X-Wskeeper-Key-Id: id1",
        b"X-Wskeeper-Key-Name: full",
        b"X-Wskeeper-Meta-plan: gold",
    )
    assert (NOBODY.auth, NOBODY.key_id, NOBODY.key_name) == ("none", None, None)
    assert NOBODY.headers == (b"X-Wskeeper-Auth: none",)
