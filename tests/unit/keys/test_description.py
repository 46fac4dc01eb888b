"""What is told of a key."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.key_fields import read_key_fields
from proxy.config.moments import moment as read_moment
from proxy.keys.description import described, moment, moment_or_none
from proxy.keys.key import Key, KeyLimits, Secret, digest_of
from proxy.keys.made import updated

DIGEST = digest_of(b"a secret of some length")
NOW = 1_700_000_000.0
FULL = Key(
    "id1",
    "alice",
    (Secret(DIGEST), Secret(digest_of(b"old"), NOW + 60)),
    routes=frozenset({"chat", "a"}),
    created_at=NOW - 1,
    expires_at=NOW + 0.5,
    suspended_at=NOW - 0.123456,
    limits=KeyLimits(5, 4, 3, 0.5, (65_536, None), 10.0, 1e6, "close"),
    origins=frozenset({b"https://b.example", b"https://a.example"}),
    allow=(ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")),
    deny=(ipaddress.ip_network("10.1.0.0/16"),),
    metadata={"plan": "gold"},
    weak=True,
)


def test_a_key_is_told_in_the_words_of_the_api():
    assert described(FULL, now=NOW, last_used_at=NOW - 2, source="store") == {
        "id": "id1",
        "name": "alice",
        "state": "suspended",
        "routes": ["a", "chat"],
        "limits": {
            "connections": 5,
            "connections_per_address": 4,
            "connections_per_subject": 3,
            "handshakes_per_second": 0.5,
            "message_size": {"client_to_upstream": 65_536, "upstream_to_client": None},
            "messages_per_second": 10,
            "bytes_per_second": 1_000_000,
            "on_exceed": "close",
        },
        "origins": ["https://a.example", "https://b.example"],
        "addresses": {"allow": ["10.0.0.0/8", "fd00::/8"], "deny": ["10.1.0.0/16"]},
        "metadata": {"plan": "gold"},
        "created_at": "2023-11-14T22:13:19Z",
        "expires_at": "2023-11-14T22:13:20.500Z",
        "suspended_at": "2023-11-14T22:13:19.876544Z",
        "revoked_at": None,
        "last_used_at": "2023-11-14T22:13:18Z",
        "weak": True,
        "source": "store",
        "secrets": [{"valid_until": None}, {"valid_until": "2023-11-14T22:14:20Z"}],
    }


def test_a_key_without_limits_says_null():
    told = described(
        Key("i", "n", (Secret(DIGEST),)), now=NOW, last_used_at=None, source="configuration"
    )
    assert told["routes"] is None
    assert told["origins"] is None
    assert told["addresses"] == {"allow": None, "deny": []}
    assert told["limits"] == dict.fromkeys(KeyLimits._fields)
    assert told["last_used_at"] is None
    assert told["source"] == "configuration"


def test_a_whole_number_is_told_without_a_fraction():
    limits = KeyLimits(handshakes_per_second=2.0, messages_per_second=0.25, bytes_per_second=1e6)
    told = described(replace(FULL, limits=limits), now=NOW, last_used_at=None, source="store")
    text = json.dumps(told["limits"])
    assert '"handshakes_per_second": 2,' in text
    assert '"messages_per_second": 0.25,' in text
    assert '"bytes_per_second": 1000000,' in text


def test_no_digest_is_told():
    text = json.dumps(described(FULL, now=NOW, last_used_at=None, source="store"))
    assert DIGEST.hex() not in text
    assert "sha256" not in text


def test_what_is_told_can_be_given_back():
    told = described(FULL, now=NOW, last_used_at=None, source="store")
    names = ("name", "routes", "expires_at", "limits", "origins", "addresses", "metadata")
    fields = read_key_fields({name: told[name] for name in names}, partial=True)
    assert updated(FULL, fields) == FULL


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00Z"),
        (0.25, "1970-01-01T00:00:00.250Z"),
        (0.000001, "1970-01-01T00:00:00.000001Z"),
        (253_402_300_799.0, "9999-12-31T23:59:59Z"),
    ],
)
def test_moments_are_utc(seconds: float, text: str):
    assert moment(seconds) == text
    assert moment_or_none(seconds) == text


def test_no_moment_is_none():
    assert moment_or_none(None) is None


@given(st.integers(0, 4_000_000_000), st.integers(0, 999_999))
def test_a_moment_is_read_back_to_the_microsecond(seconds: int, micro: int):
    at = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micro).timestamp()
    assert read_moment(moment(at)) == at
