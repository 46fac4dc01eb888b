"""What a new configuration changes: each change by its place, values never, sockets kept."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.difference import MOST, change, told
from proxy.config.model import Config

BASE: dict[str, Any] = {
    "store": "memory:",
    "keys": [{"name": "a", "secret": "CANARY-secret-a"}, {"name": "b", "secret": "CANARY-b"}],
    "admin": {
        "token": "CANARY-token",
        "tokens": [{"name": "t", "role": "viewer", "sha256": "0" * 64}],
    },
    "routes": [
        {"name": "chat", "path": "/chat", "upstream": {"targets": ["ws://a:1"]}},
        {"name": "echo", "path": "/echo", "upstream": {"targets": ["ws://b:1"]}},
    ],
}
TLS = {"certificate": "/c.pem", "private_key": "/k.pem"}
REMOVED = object()


def made(*changes: tuple[str, Any]) -> Config:
    """The base configuration with values put at places such as `routes.0.path`."""
    data = copy.deepcopy(BASE)
    for place, value in changes:
        *parents, last = (int(step) if step.isdigit() else step for step in place.split("."))
        holder: Any = data
        for parent in parents:
            named = isinstance(holder, dict)
            holder = holder.setdefault(parent, {}) if named else holder[parent]
        if value is REMOVED:
            del holder[last]
        elif isinstance(holder, list) and last == len(holder):
            holder.append(value)
        else:
            holder[last] = value
    return Config.model_validate(data, context={"folder": "/"})


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ((), ()),
        ((("health_path", "/ready"),), ("health_path",)),
        ((("tickets.ttl", "10s"),), ("tickets.ttl",)),
        ((("log.level", "debug"),), ("log.level",)),
        ((("drain.spread", "1s"), ("drain.timeout", "9s")), ("drain.spread", "drain.timeout")),
        ((("carriers", ["bearer"]),), ("carriers",)),
        (
            (("jwt", {"audience": "a", "secret": "CANARY-" + "x" * 32, "algorithms": ["HS256"]}),),
            ("jwt",),
        ),
        ((("admin.token", "CANARY-other"),), ("admin.token",)),
        ((("admin.tokens", []),), ("admin.tokens: -1",)),
        ((("keys.0.secret", "CANARY-new"),), ("keys: ~1",)),
        (
            (("keys.0", {"name": "c", "secret": "x"}), ("keys.2", {"name": "d", "secret": "y"})),
            ("keys: +2 -1",),
        ),
        ((("routes.0.upstream.targets", ["ws://a:2"]),), ("routes.chat.upstream.targets",)),
        (
            (("routes.0.upstream.headers", {"Authorization": "CANARY-header"}),),
            ("routes.chat.upstream.headers",),
        ),
        ((("routes.0.upstream.health", {}),), ("routes.chat.upstream.health",)),
        (
            (("routes.1.auth", "none"), ("routes.1.path", "/e")),
            ("routes.echo.path", "routes.echo.auth"),
        ),
        ((("routes.1", REMOVED),), ("routes.echo (removed)",)),
        ((("routes.1.name", "other"),), ("routes.echo (removed)", "routes.other (added)")),
        ((("keepalive", None),), ("keepalive",)),
        ((("routes.0.keepalive", None),), ("routes.chat.keepalive",)),
        ((("routes.0.max_lifetime", None),), ("routes.chat.max_lifetime",)),
        ((("routes.0.auth", "required"), ("health_path", None)), ()),
    ],
)
def test_change_is_named_by_its_place(
    changes: tuple[tuple[str, Any], ...], places: tuple[str, ...]
) -> None:
    after = made(*changes)
    found = change(made(), after)
    assert found.changed == places
    assert found.needs_restart == ()
    assert found.config == after
    assert "CANARY" not in repr(found.changed)


def test_inherited_field_that_is_set_to_its_default_is_a_change() -> None:
    before = made(("routes.0.timeouts", {"close": "5s"}))
    after = made(("routes.0.timeouts", {"close": "5s", "upstream_connect": None}))
    assert change(before, after).changed == ("routes.chat.timeouts.upstream_connect",)


def test_order_of_routes_and_keys_means_nothing() -> None:
    turned = made(("routes", BASE["routes"][::-1]), ("keys", BASE["keys"][::-1]))
    assert change(made(), turned).changed == ()


@pytest.mark.parametrize(
    ("changes", "kept", "taken"),
    [
        ((("listen", "127.0.0.1:9"),), ("listen",), ()),
        ((("store", "sqlite:/x.db"),), ("store",), ()),
        ((("tls", TLS),), ("tls",), ()),
        ((("log.format", "json"), ("log.level", "error")), ("log.format",), ("log.level",)),
        (
            (("metrics.listen", "127.0.0.1:9"), ("metrics.per_key", True)),
            ("metrics.listen",),
            ("metrics.per_key",),
        ),
        (
            (("proxy_protocol", True), ("trusted_proxies", ["10.0.0.0/8"]), ("health_path", "/r")),
            ("trusted_proxies", "proxy_protocol"),
            ("health_path",),
        ),
        (
            # Where the listener stays open to others, it does not lose its tokens.
            (("admin.listen", "127.0.0.1:9"), ("admin.token", None), ("admin.tokens", [])),
            ("admin.listen", "admin.token", "admin.tokens: -1"),
            (),
        ),
        ((("admin.listen", None),), ("admin.listen",), ()),
        (
            (("admin.tls", TLS), ("admin.public_metrics", False)),
            ("admin.tls", "admin.public_metrics"),
            (),
        ),
    ],
)
def test_what_needs_a_restart_keeps_its_value_and_is_named(
    changes: tuple[tuple[str, Any], ...], kept: tuple[str, ...], taken: tuple[str, ...]
) -> None:
    before, after = made(), made(*changes)
    found = change(before, after)
    assert (found.needs_restart, found.changed) == (kept, taken)
    # The next reload of the same file says so again, and changes nothing.
    again = change(found.config, after)
    assert (again.needs_restart, again.changed) == (kept, ())
    assert again.config == found.config


def test_certificate_of_a_listener_that_speaks_tls_is_taken() -> None:
    other = {**TLS, "certificate": "/other.pem"}
    found = change(made(("tls", TLS)), made(("tls", other)))
    assert (found.changed, found.needs_restart) == (("tls.certificate",), ())
    found = change(made(("tls", TLS)), made())
    assert (found.changed, found.needs_restart) == ((), ("tls",))
    assert found.config.tls is not None


PIECES = st.sampled_from(
    [
        ("listen", "127.0.0.1:9"),
        ("proxy_protocol", True),
        ("trusted_proxies", ["10.0.0.0/8"]),
        ("health_path", "/r"),
        ("log.format", "json"),
        ("admin.listen", "127.0.0.1:9"),
        ("admin.public_metrics", False),
        ("keys", []),
        ("routes.0.auth", "none"),
        ("routes.1", REMOVED),
    ]
)
CHANGES = st.lists(PIECES, unique_by=lambda piece: piece[0])


@given(before=CHANGES, after=CHANGES)
def test_each_difference_is_either_taken_or_kept_and_nothing_else_is_told(
    before: list[tuple[str, Any]], after: list[tuple[str, Any]]
) -> None:
    old, new = made(*before), made(*after)
    found = change(old, new)
    assert not {*found.changed} & {*found.needs_restart}
    assert change(found.config, new).changed == ()
    assert change(old, found.config) == (found.config, found.changed, ())
    if not found.needs_restart:
        assert found.config == new


def test_long_list_is_told_in_part() -> None:
    places = [f"p{n}" for n in range(MOST + 2)]
    assert told(places[:MOST]) == places[:MOST]
    assert told(places) == [*places[:MOST], "and 2 more"]
