"""A route's upstream: its targets, how they are chosen and checked, what is set on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.faults import Wrong
from proxy.config.header_values import Placeholder, Template, template
from proxy.config.upstream_fields import Health
from tests.unit.build import config

if TYPE_CHECKING:
    from tests.unit.config.conftest import ConfigFolder

TWO = "targets: [ws://a, ws://b]"


def upstream(fields: str) -> str:
    return f"routes:\n- name: x\n  path: /x\n  upstream: {{{fields}}}\n"


def test_an_upstream_has_defaults() -> None:
    (route,) = config({"upstream": {"targets": ["ws://a", "ws://b/x"]}}).routes
    made = route.upstream
    assert [str(target) for target in made.targets] == ["ws://a", "ws://b/x"]
    assert made.target is made.targets[0]
    assert (made.balance, made.health, made.headers) == ("round_robin", None, {})
    assert made.preserve_host


def test_checks_have_defaults() -> None:
    (route,) = config({"upstream": {"targets": ["ws://a"], "health": {}}}).routes
    assert route.upstream.health == Health(
        path=None, interval=10.0, timeout=2.0, unhealthy_after=3, healthy_after=2
    )


@pytest.mark.parametrize("balance", ["least_connections", "key_hash", "address_hash"])
def test_every_balance_is_taken(balance: str) -> None:
    (route,) = config({"upstream": {"targets": ["ws://a", "ws://b"], "balance": balance}}).routes
    assert route.upstream.balance == balance


@pytest.mark.parametrize(
    ("fields", "path", "problem", "mend"),
    [
        ("targets: []", "targets", "is not a list with", "targets: ["),
        ("targets: ws://a", "targets", "is not a list with", "targets: ["),
        ("targets: [ws://a, WS://A:80/]", "targets[1]", "is also `targets[0]`", "keep one"),
        (f"{TWO}, balance: random", "balance", "is not a word", "`round_robin`"),
        (f"{TWO}, health: /healthz", "health", "is not a mapping", "fields"),
        (f"{TWO}, health: {{path: healthz}}", "health.path", "does not begin", "write `/healthz`"),
        (
            f"{TWO}, health: {{interval: 10ms, timeout: 1ms}}",
            "health.interval",
            "is too short",
            "100ms",
        ),
        (f"{TWO}, health: {{interval: 0}}", "health.interval", "", ""),
        (f"{TWO}, health: {{interval: 1s}}", "health.interval", "before the last", "`timeout`"),
        (f"{TWO}, health: {{timeout: 11s}}", "health.timeout", "before the last", "`interval`"),
        (f"{TWO}, health: {{unhealthy_after: 0}}", "health.unhealthy_after", "too small", "1"),
        (f"{TWO}, health: {{healthy_after: two}}", "health.healthy_after", "whole number", ""),
        (f"{TWO}, headers: [X-A]", "headers", "is not a mapping", ""),
        (f"{TWO}, headers: {{X-A: 5}}", "headers.X-A", "is not text", "quotes"),
        (f"{TWO}, headers: {{X-A: ''}}", "headers.X-A", "is empty", "`null`"),
        (f"{TWO}, headers: {{'X A': b}}", "headers.X A", "is not a header name", ""),
        (f"{TWO}, headers: {{Host: b}}", "headers.Host", "cannot be set", "preserve_host"),
        (f"{TWO}, headers: {{Upgrade: null}}", "headers.Upgrade", "belongs to", "remove"),
        (f"{TWO}, headers: {{keep_alive: a}}", "headers.keep_alive", "belongs to", "remove"),
        (f"{TWO}, headers: {{content-length: '1'}}", "headers.content-length", "belongs", ""),
        (
            f"{TWO}, headers: {{Sec-WebSocket-Protocol: a}}",
            "headers.Sec-WebSocket-Protocol",
            "belongs to",
            "remove",
        ),
        (f"{TWO}, preserve_host: maybe", "preserve_host", "is neither true nor false", ""),
    ],
)
def test_a_fault_names_its_place_and_its_mend(
    folder: ConfigFolder, fields: str, path: str, problem: str, mend: str
) -> None:
    fault = folder.fault(upstream(fields))
    assert fault.path == f"routes[0].upstream.{path}"
    assert problem in fault.problem
    assert mend in fault.mend


def test_a_header_has_one_spelling(folder: ConfigFolder) -> None:
    faults = folder.faults(upstream(f"{TWO}, headers: {{X-A: b, x_a: null, X-B: c}}"))
    assert [fault.path for fault in faults] == [
        "routes[0].upstream.headers.X-A",
        "routes[0].upstream.headers.x_a",
    ]


def test_balance_of_one_target_is_warned_about(folder: ConfigFolder) -> None:
    warnings = folder.load(upstream("targets: [ws://a], balance: key_hash")).warnings
    assert "routes[0].upstream.balance" in {warning.path for warning in warnings}


@pytest.mark.parametrize(
    ("targets", "warned"), [("[ws://a, ws://b]", True), ("[ws://a, wss://b]", False)]
)
def test_tls_is_for_any_target_that_speaks_it(
    folder: ConfigFolder, targets: str, *, warned: bool
) -> None:
    warnings = folder.load(upstream(f"targets: {targets}, tls: {{server_name: x}}")).warnings
    assert ("routes[0].upstream.tls" in {warning.path for warning in warnings}) is warned


# Values of headers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("plain", ("plain",)),
        ("{subject}", (Placeholder("subject"),)),
        ("Bearer {meta.Token-1}", ("Bearer ", Placeholder("meta.Token-1"))),
        ("{key.id}/{key.name}", (Placeholder("key.id"), "/", Placeholder("key.name"))),
        ("{client}{route}.", (Placeholder("client"), Placeholder("route"), ".")),
        ('{{"a": "{subject}"}', ('{"a": "', Placeholder("subject"), '"}')),
        ("a } b", ("a } b",)),
        ("{{subject}", ("{subject}",)),
    ],
)
def test_a_value_is_text_and_placeholders(text: str, parts: tuple[Any, ...]) -> None:
    assert template(text).parts == parts


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a\r\nX-Evil: b", "line break"),
        ("a\x00", "control character"),
        ("a\x7f", "control character"),
        ("caf\u00e9", "not ASCII"),
        (" a", "white space"),
        ("a ", "white space"),
        ("{key}", "unknown placeholder"),
        ("{KEY.NAME}", "unknown placeholder"),
        ("{meta.}", "unknown placeholder"),
        ("{meta.a b}", "unknown placeholder"),
        ("{meta.1}", "unknown placeholder"),
        ("{}", "unknown placeholder"),
        ("{", "unknown placeholder"),
        ("{a{subject}", "unknown placeholder"),
        (True, "is not text"),
    ],
)
def test_what_no_header_can_say_is_refused_and_not_repeated(text: Any, problem: str) -> None:
    value = f"CANARY{text}" if isinstance(text, str) and not text.startswith(" ") else text
    with pytest.raises(Wrong) as caught:
        template(value)
    assert problem in caught.value.problem
    assert "CANARY" not in str(caught.value)


@given(st.lists(st.sampled_from(["a b", "{{", "}", "{subject}", "{meta.x}", "%", '"'])))
def test_whatever_is_put_together_reads_as_its_parts(pieces: list[str]) -> None:
    text = f"<{''.join(pieces)}>"
    shown = "".join(
        part.replace("{", "{{") if isinstance(part, str) else f"{{{part.name}}}"
        for part in template(text).parts
    )
    assert shown == text


def test_a_value_is_shown_by_no_repr() -> None:
    headers = {"Authorization": "Bearer CANARY"}
    made = config({"upstream": {"targets": ["ws://a"], "headers": headers}})
    assert isinstance(made.routes[0].upstream.headers["Authorization"], Template)
    assert "CANARY" not in repr(made)
    assert "CANARY" not in repr(made.routes[0].upstream.headers)
