"""The fields of a key as the API and the command line give them."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from proxy.config.key_fields import FieldsInvalid, KeyFields, read_key_fields

CANARY = "CANARY-0123456789-0123456789"


def faults(data: dict[str, Any], *, partial: bool = False) -> list[tuple[str, str, str]]:
    with pytest.raises(FieldsInvalid) as caught:
        read_key_fields(data, partial=partial)
    assert str(caught.value) == "\n".join(map(str, caught.value.faults))
    return [tuple(fault) for fault in caught.value.faults]


def test_every_field_is_taken() -> None:
    read = read_key_fields(
        {
            "name": "alice@example.com",
            "routes": ["chat", "echo"],
            "expires_at": "2030-01-01T00:00:00Z",
            "limits": {"connections": 5},
            "origins": ["https://App.example.com:443"],
            "addresses": {"allow": ["10.0.0.0/8"], "deny": ["10.1.0.0/16"]},
            "metadata": {"team": "red"},
        },
        partial=False,
    )
    assert (read.name, read.routes) == ("alice@example.com", ("chat", "echo"))
    assert read.expires_at == 1893456000.0
    assert read.limits.connections == 5
    assert read.origins == ("https://app.example.com",)
    assert read.addresses.allow == (ipaddress.ip_network("10.0.0.0/8"),)
    assert read.addresses.deny == (ipaddress.ip_network("10.1.0.0/16"),)
    assert read.metadata == {"team": "red"}
    assert read.model_fields_set == set(KeyFields.model_fields)


def test_a_name_is_enough() -> None:
    read = read_key_fields({"name": "a"}, partial=False)
    assert read == KeyFields(name="a")
    assert (read.routes, read.expires_at, read.origins) == (None, None, None)
    assert (read.limits.connections, read.addresses.allow) == (None, None)


def test_a_change_tells_what_it_changes() -> None:
    read = read_key_fields({"expires_at": None, "metadata": {}}, partial=True)
    assert read.model_fields_set == {"expires_at", "metadata"}
    assert read_key_fields({}, partial=True).model_fields_set == set()


def test_null_takes_a_field_back() -> None:
    fields = ["routes", "expires_at", "limits", "origins", "addresses", "metadata"]
    read = read_key_fields(dict.fromkeys(fields), partial=True)
    assert read.model_fields_set == set(fields)
    assert {name: getattr(read, name) for name in fields} == {
        name: getattr(KeyFields(), name) for name in fields
    }


def test_a_bare_list_of_addresses_is_who_may_come_in() -> None:
    bare = read_key_fields({"addresses": ["private_ranges"]}, partial=True).addresses
    assert (
        bare
        == read_key_fields({"addresses": {"allow": ["private_ranges"]}}, partial=True).addresses
    )


def test_a_key_that_already_was_read_can_be_read_again() -> None:
    fields = KeyFields.model_validate(
        {"name": "a", "expires_at": "2030-01-01", "addresses": ["::1"]}
    )
    again = KeyFields(name=fields.name, expires_at=fields.expires_at, addresses=fields.addresses)
    assert again == fields


def test_a_new_key_needs_a_name_and_a_change_does_not() -> None:
    assert faults({}) == [("name", "is missing", "add `name:` with a name of your choice")]
    assert [path for path, *_ in faults({"name": None})] == ["name"]
    assert [path for path, *_ in faults({"name": ""}, partial=True)] == ["name"]


def test_every_fault_is_told_at_once_with_its_place() -> None:
    found = faults(
        {
            "routes": [],
            "expires_at": "soon",
            "limits": {"connections": 0, "conections": 1},
            "origins": ["https://a", "nonsense"],
            "addresses": ["10.0.0.1/8"],
            "metadata": {"_": "x", "k": 5},
        }
    )
    assert sorted(path for path, *_ in found) == [
        "addresses[0]",
        "expires_at",
        "limits.conections",
        "limits.connections",
        "metadata.k",
        "name",
        "origins[1]",
        "routes",
    ]
    assert all(problem and mend for _, problem, mend in found)


def test_a_limit_of_a_later_version_is_refused_as_such() -> None:
    [(path, problem, _)] = faults({"limits": {"message_size": 5}}, partial=True)
    assert path == "limits.message_size"
    assert "is not built in this version" in problem


@pytest.mark.parametrize(
    "data",
    [
        {"secret": CANARY},
        {CANARY: 1},
        {"name": [CANARY]},
        {"limits": {CANARY: 1}},
        {"limits": CANARY},
        {"metadata": {"k": [CANARY]}},
        {"expires_at": CANARY},
        {"origins": CANARY},
    ],
)
def test_a_misplaced_secret_is_not_repeated(data: dict[str, Any]) -> None:
    with pytest.raises(FieldsInvalid) as caught:
        read_key_fields(data, partial=True)
    assert "CANARY" not in f"{caught.value} {caught.value!r} {caught.value.faults}"


def test_an_unknown_field_is_told_with_those_that_there_are() -> None:
    [(path, problem, mend)] = faults({"metrics": 1}, partial=True)
    assert (path, problem) == ("", "has an unknown field")
    assert "`name`, `routes`, `expires_at`" in mend
    assert faults({"expire_at": None}, partial=True) == [
        ("expire_at", "is an unknown field", "did you mean `expires_at`?")
    ]
