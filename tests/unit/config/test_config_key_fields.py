"""The fields of a key as the API and the command line give them."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from proxy.config.key_fields import FieldsInvalid, KeyFields, KeyLimitFields, read_key_fields
from proxy.config.limit_fields import Limits, MessageSize
from proxy.config.translation import NOT_OF_A_KEY

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


def test_every_limit_is_taken() -> None:
    given = {
        "connections": 5,
        "connections_per_address": 4,
        "connections_per_subject": 3,
        "handshakes_per_second": 0.5,
        "message_size": {"client_to_upstream": "64KiB", "upstream_to_client": 1000},
        "messages_per_second": 10,
        "bytes_per_second": "1MiB",
        "on_exceed": "close",
    }
    limits = read_key_fields({"limits": given}, partial=True).limits
    assert limits.model_fields_set == set(KeyLimitFields.model_fields) == set(given)
    size = {"client_to_upstream": 65_536, "upstream_to_client": 1000}
    expected = {**given, "message_size": size, "bytes_per_second": 1_048_576}
    assert limits.model_dump() == expected


def test_a_bare_size_is_the_clients() -> None:
    limits = read_key_fields({"limits": {"message_size": "64KiB"}}, partial=True).limits
    assert limits.message_size == MessageSize(client_to_upstream=65_536)


def test_null_for_the_limits_is_null_for_each_and_an_empty_mapping_for_none() -> None:
    names = set(KeyLimitFields.model_fields)
    assert read_key_fields({"limits": None}, partial=True).limits.model_fields_set == names
    assert read_key_fields({"limits": {}}, partial=True).limits.model_fields_set == set()


@pytest.mark.parametrize("name", list(KeyLimitFields.model_fields))
@pytest.mark.parametrize(
    "value", [0, -1, 10**30, -(10**30), float("nan"), float("inf"), "much", "", [5], {"x": 1}]
)
def test_a_limit_that_is_none_is_a_fault_at_its_place(name: str, value: object) -> None:
    [(path, problem, mend)] = faults({"limits": {name: value}}, partial=True)
    assert path == f"limits.{name}"
    assert problem
    assert mend


@pytest.mark.parametrize(
    ("name", "value", "path", "mend"),
    [
        ("connections", 0, "", "or `null` for no limit"),
        ("connections_per_subject", 1.5, "", "in digits"),
        ("messages_per_second", 0, "", "from 0.000001"),
        ("messages_per_second", 9e-7, "", "from 0.000001"),
        # The smallest number there is: its inverse, the seconds to wait, is no number at all.
        ("handshakes_per_second", 5e-324, "", "from 0.000001"),
        ("handshakes_per_second", "10", "", "such as `10` or `0.5`"),
        ("bytes_per_second", -5, "", "as in `64KiB`"),
        ("message_size", "64KB/s", "", "as in `64KiB`"),
        ("message_size", {"upstream_to_client": 0}, ".upstream_to_client", "as in `64KiB`"),
        ("message_size", {"to_client": 5}, ".to_client", "did you mean `upstream_to_client`?"),
        ("message_size", {"x": 5}, "", "`client_to_upstream`, `upstream_to_client`"),
        ("on_exceed", "closed", "", "did you mean `close`?"),
        ("on_exceed", "drop", "", "write `throttle` or `close`"),
    ],
)
def test_a_wrong_limit_is_told_its_mend(name: str, value: object, path: str, mend: str) -> None:
    [fault] = faults({"limits": {name: value}}, partial=True)
    assert fault[0] == f"limits.{name}{path}"
    assert mend in fault[2]


@pytest.mark.parametrize(
    "name", ["auth_failures_per_minute", "total_connections", "unauthenticated", "head_size"]
)
def test_a_limit_of_the_whole_gateway_is_told_where_it_belongs(name: str) -> None:
    [(path, problem, mend)] = faults({"limits": {name: 5}}, partial=True)
    assert (path, mend) == (f"limits.{name}", "set it under `limits:` at the top level")
    assert problem == NOT_OF_A_KEY[name]
    assert name in Limits.model_fields


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
