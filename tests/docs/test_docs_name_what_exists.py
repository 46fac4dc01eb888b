"""Codes, reasons, metrics, events and fields: what the code has is documented, and no more."""

from __future__ import annotations

import ast
import inspect
import re
import typing
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pydantic import BaseModel

from proxy import errors
from proxy.admin.problems import PROBLEMS
from proxy.admin.server import ENDPOINTS
from proxy.config.faults import ConfigInvalid
from proxy.config.load import load
from proxy.config.model import Carrier, Config
from proxy.config.overrides import _ADDRESSES, _TEXTS
from proxy.keys.lifecycle import event_of
from tests.docs.markdown import PROJECT, code, page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPERATIONS = page("docs/operations.md")
CONFIGURATION = page("docs/configuration.md")
CLIENTS = page("docs/clients.md")
API = page("docs/api.md")

# `protocol_error` is two of them.
ENDINGS = [
    *(value for value in vars(errors).values() if isinstance(value, errors.Ending)),
    *errors.OBJECTIONS.values(),
]
DIGEST = "a" * 64


def field_tables() -> list[list[str]]:
    return [
        row for table in CONFIGURATION.tables if table.header[0] == "field" for row in table.rows
    ]


class TestRefusals:
    @pytest.mark.parametrize(
        ("document", "heading"),
        [(OPERATIONS, "When it refuses"), (CLIENTS, "When you are refused")],
        ids=["operations", "clients"],
    )
    def test_every_refusal_stands_there_with_its_status(self, document, heading):
        table = document.table(under=heading, first_column="status")
        documented = dict(zip(map(code, table.column("code")), table.column("status"), strict=True))
        expected = {row.code: str(row.status) for row in errors.REFUSALS.values()}
        assert documented == {**expected, errors.UPSTREAM_REFUSED: "its own"}

    def test_refusals_of_the_services_for_clients_stand_there_with_their_status(self):
        table = CLIENTS.table(under="Tickets and renewal", first_column="status")
        documented = dict(zip(map(code, table.column("code")), table.column("status"), strict=True))
        expected = {row.code: str(row.status) for row in errors.SERVICE_REFUSALS.values()}
        assert documented == expected

    def test_problems_of_the_admin_api_stand_there_with_their_status(self):
        table = API.table(under="Problems", first_column="status")
        documented = dict(zip(map(code, table.column("code")), table.column("status"), strict=True))
        assert documented == {row.code: str(row.status) for row in PROBLEMS.values()}

    def test_every_outcome_is_named(self):
        assert set(errors.OUTCOMES) <= set(OPERATIONS.spans)

    def test_close_codes_of_refusals_are_those_sent(self):
        table = CLIENTS.table(under="Refused with a Close frame", first_column="close code")
        documented = {
            int(status): int(row[0])
            for row in table.rows
            for status in re.findall(r"\b4\d\d\b", row[1])
        }
        assert documented == {s: errors.close_code_for(s) for s in (401, 403, 404, 429)}
        assert {row[0]: row[1] for row in table.rows}["1013"].endswith("5xx")
        assert errors.close_code_for(502) == errors.TRY_AGAIN_LATER
        assert {row[0]: row[1] for row in table.rows}["1008"] == "any other 4xx"
        assert errors.close_code_for(426) == errors.POLICY_VIOLATION
        for row in table.rows:
            for reason in re.findall(r"`(\w+)`", row[2]):
                refusal = errors.REFUSALS.get(reason)
                if refusal is not None:
                    assert str(errors.close_code_for(refusal.status)) == row[0], reason


class TestEndings:
    def test_every_ending_stands_in_operations_with_its_code(self):
        table = OPERATIONS.table(under="When it closes", first_column="reason")
        documented = dict(zip(map(code, table.column("reason")), table.column("code"), strict=True))
        assert documented == {ending.reason: str(ending.code) for ending in ENDINGS}
        assert set(errors.ENDINGS) == documented.keys()

    def test_what_each_ending_puts_on_the_wire_stands_in_operations(self):
        table = OPERATIONS.table(under="When it closes", first_column="reason")
        rows = {code(row[0]): row for row in table.rows}
        for ending in ENDINGS:
            for column, told in (
                ("to the client", ending.to_client),
                ("to the service", ending.to_upstream),
            ):
                cell = rows[ending.reason][table.header.index(column)]
                shown = "nothing" if told is None else f"{told[0]} `{told[1]}`"
                assert shown in cell or (told is None and "dropped" in cell), (ending, column)

    def test_clients_are_told_every_close_they_can_get(self):
        table = CLIENTS.table(under="When the socket is closed", first_column="code")
        documented = {(int(row[0]), code(row[1])) for row in table.rows if "`" in row[1]}
        assert documented == {end.to_client for end in ENDINGS if end.to_client is not None}


@pytest.fixture(scope="module")
def logged() -> dict[str, set[str]]:
    events: dict[str, set[str]] = {}
    for source in (PROJECT / "proxy").rglob("*.py"):
        for event, fields in calls_to_the_log(source):
            events.setdefault(event, set()).update(fields)
    return events


@pytest.fixture(scope="module")
def documented_events() -> dict[str, str]:
    table = OPERATIONS.table(under="The log", first_column="event")
    return dict(zip(map(code, table.column("event")), table.column("fields"), strict=True))


class TestLog:
    """The events are read off the calls in the source, since many are hard to bring about."""

    def test_every_event_is_documented_and_no_other(self, logged, documented_events):
        assert documented_events.keys() == logged.keys()

    def test_fields_of_an_event_are_documented(self, logged, documented_events):
        for event, fields in logged.items():
            row = documented_events[event]
            named = set(re.findall(r"`(\w+)`", row))
            for other in named & documented_events.keys():  # "as `connection_opened`, and …"
                named |= set(re.findall(r"`(\w+)`", documented_events[other]))
            expected = {"traceback" if name == "failure" else name for name in fields}
            assert expected <= named, event


def calls_to_the_log(source: Path) -> Iterator[tuple[str, set[str]]]:
    """(event, names of its keyword arguments) of each call that writes a line."""
    for node in ast.walk(ast.parse(source.read_text())):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        called = ast.unparse(node.func)
        if called != "tell" and not re.fullmatch(
            r"(.*\.)?_?log\.(debug|info|warning|error)", called
        ):
            continue
        for event in names_of_events(node.args[0]):
            yield event, {keyword.arg for keyword in node.keywords if keyword.arg}


def names_of_events(first: ast.expr) -> Iterator[str]:
    """What stands for an event's name: itself, or the function that chooses it for a key."""
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        yield first.value
    elif isinstance(first, ast.IfExp):
        yield from names_of_events(first.body)
        yield from names_of_events(first.orelse)
    elif ast.unparse(first).startswith("event_of("):
        source = ast.parse(inspect.getsource(event_of))
        for node in ast.walk(source):
            if isinstance(node, ast.Constant) and str(node.value).startswith("key_"):
                yield str(node.value)


class TestAdminApi:
    def test_every_path_is_shown_with_its_method(self):
        """In the examples, whose `$API` is /api/v1."""
        shown = API.blocks_in("sh")
        calls = {
            (re.search(r"-X ([A-Z]+)", line), line)
            for block in shown
            for line in block.text.replace("\\\n", " ").splitlines()
            if "$API/" in line
        }
        for method, path, _, _ in ENDPOINTS:
            pattern = path.removeprefix("/api/v1").replace("{key}", r"\w+")
            pattern = pattern.replace("{connection}", r"\w+")
            assert any(
                (asked[1] if asked else "GET") == method
                and re.search(rf"\$API{pattern}(?![\w/])", line)
                for asked, line in calls
            ), (method, path)


class TestConfiguration:
    def test_every_field_is_documented(self):
        documented = {code(row[0]) for row in field_tables()}
        assert leaves() <= documented

    def test_every_documented_field_exists(self):
        documented = [code(row[0]) for row in field_tables()]
        assert len(documented) == len(set(documented))
        assert set(documented) <= {path for path, _ in fields_of(Config)}

    @pytest.mark.parametrize(
        ("path", "default"),
        [(code(row[0]), row[1]) for row in field_tables()],
        ids=lambda value: value if "." in value or "`" not in value else None,
    )
    def test_default_is_the_one_documented(self, path, default, tmp_path):
        steps = path.replace("[]", ".0").split(".")
        if default == "the top level's":
            config = configured(tmp_path, steps, absent=True)
            assert config.timeouts_of(config.routes[0]) == config.timeouts
        elif default == "required":
            with pytest.raises(ConfigInvalid):
                configured(tmp_path, steps, absent=True)
        else:
            written = yaml.safe_load(code(default))
            assert configured(tmp_path, steps, written) == configured(tmp_path, steps, absent=True)

    def test_variables_above_the_file_are_documented(self):
        table = CONFIGURATION.table(under="The environment", first_column="variable")
        expected = {name for name, _ in (*_TEXTS, *_ADDRESSES)} | {"WSKEEPER_CONFIG"}
        assert set(map(code, table.column("variable"))) == expected

    def test_every_documented_variable_is_read(self):
        documented = {
            name
            for name in re.findall(r"WSKEEPER_[A-Z_]+[A-Z]", CONFIGURATION.text)
            if not name.endswith("_FILE")
        }
        source = "".join(path.read_text() for path in (PROJECT / "proxy").rglob("*.py"))
        assert {name for name in documented if name not in source} == set()


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Every place of a configuration that has a name, and whether nothing stands below it."""
    for name, info in model.model_fields.items():
        path = prefix + str(info.validation_alias or name)
        below = list(sections_in(info.annotation))
        yield path, not below
        for section, listed in below:
            yield from fields_of(section, f"{path}[]." if listed else f"{path}.")


def sections_in(annotation: Any, *, listed: bool = False) -> Iterator[tuple[type[BaseModel], bool]]:
    """The sections that an annotation holds, and whether in a list. Carriers are one word."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation is not Carrier:
            yield annotation, listed
        return
    for argument in typing.get_args(annotation):
        yield from sections_in(argument, listed=listed or typing.get_origin(annotation) is tuple)


def leaves() -> set[str]:
    return {path for path, is_leaf in fields_of(Config) if is_leaf}


def configured(
    folder: Path, steps: list[str], value: Any = None, *, absent: bool = False
) -> Config:
    """A small configuration in which the field has that value, or is not written at all."""
    by_digest = {"name": "a", "sha256": DIGEST}
    by_secret = {"name": "a", "secret": "x" * 32}
    document: dict[str, Any] = {
        "keys": [by_secret if steps[-1] == "sha256" else by_digest],
        "routes": [{"name": "r", "path": "/r", "upstream": {"targets": ["wss://127.0.0.1:1"]}}],
    }
    if steps[0] == "tls" and len(steps) > 1:
        document["tls"] = {"certificate": "c.pem", "private_key": "k.pem"}
    if steps[:2] == ["admin", "tokens"] and len(steps) > 2:
        document["admin"] = {"tokens": [{"name": "b", "role": "viewer", "sha256": "b" * 64}]}
    if steps[0] == "jwt" and len(steps) > 1:
        source = "jwks_file" if steps[-1] == "issuer" else "issuer"
        document["jwt"] = {"audience": "a", source: "https://idp.example"}
    place: Any = document
    for step in steps[:-1]:
        place = place[int(step)] if step.isdigit() else place.setdefault(step, {})
    if absent:
        place.pop(steps[-1], None)
    else:
        place[steps[-1]] = value
    file = folder / "wskeeper.yaml"
    file.write_text(yaml.safe_dump(document))
    return load(file, environ={}).config
