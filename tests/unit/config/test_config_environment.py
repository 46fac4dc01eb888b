"""`${NAME}` and `NAME_FILE`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.document import parse
from proxy.config.environment import UNKNOWN, Expanded, Variables, expand, substitute
from proxy.config.faults import Wrong

if TYPE_CHECKING:
    from collections.abc import Mapping


def variables(
    environ: Mapping[str, str], files: Mapping[str, str | Exception] | None = None
) -> Variables:
    def read_file(name: str) -> str:
        content = (files or {}).get(name, FileNotFoundError(2, "No such file or directory"))
        if isinstance(content, Exception):
            raise content
        return content

    return Variables(environ, read_file)


def expanded(text: str, environ: Mapping[str, str]) -> Expanded:
    return expand(parse(text.encode()), variables(environ))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A}", "one"),
        ("x${A}y${B}z", "xoneytwoz"),
        ("${A}${A}", "oneone"),
        ("${C:-three}", "three"),
        ("${C:-}", ""),
        ("${A:-three}", "one"),
        ("${EMPTY:-three}", "three"),
        ("${EMPTY}", ""),
        ("${C:-a:b-c $d}", "a:b-c $d"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$A $ $$ {A}", "$A $ $$ {A}"),
        ("", ""),
    ],
)
def test_references_are_replaced(text: str, expected: str) -> None:
    environ = {"A": "one", "B": "two", "EMPTY": ""}
    assert substitute(text, variables(environ))[0] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${C}", "`C`, which is not set; set it or `C_FILE`, or write `${C:-default}`"),
        ("${}", "begins no"),
        ("${A", "begins no"),
        ("${A-b}", "begins no"),
        ("${1A}", "begins no"),
        ("${A:-${B}}", "default of `A`"),
    ],
)
def test_what_cannot_be_replaced_is_refused(text: str, message: str) -> None:
    with pytest.raises(Wrong) as caught:
        substitute(text, variables({"A": "one"}))
    assert message in str(caught.value)


def test_the_names_of_the_variables_are_told() -> None:
    assert substitute("${B} ${A:-x} ${B}", variables({"B": "1"}))[1] == ("B", "A")


# Neither a surrogate nor a NUL can stand in an environment.
values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(values)
def test_a_value_is_taken_as_it_is_and_not_looked_into(value: str) -> None:
    assert substitute("<${A}>", variables({"A": value}))[0] == f"<{value}>"


@given(st.text())
def test_text_without_references_stays(text: str) -> None:
    text = text.replace("${", "")
    if "${" not in text:
        assert substitute(text, variables({})) == (text, ())


@given(st.text())
def test_doubling_the_dollar_keeps_a_text_literal(text: str) -> None:
    assert substitute(text.replace("${", "$${"), variables({}))[0] == text


@given(values)
def test_a_value_never_changes_the_structure(value: str) -> None:
    read = expanded("a: ${A}\nb: ['${A}', {c: \"${A}\"}]\n", {"A": value})
    assert set(read.data) == {"a", "b"}
    assert read.data["b"] == [value, {"c": value}]
    assert read.data["a"] == (None if value in {"null", "~"} else value)


@pytest.mark.parametrize("digits", ["12345678901234567890", "0123", "1e5", "off", "2026-01-31", ""])
def test_a_value_stays_text_whatever_it_looks_like(digits: str) -> None:
    assert expanded("a: ${A}\n", {"A": digits}).data == {"a": digits}


def test_only_an_unquoted_value_from_the_environment_can_be_null() -> None:
    read = expanded("a: ${A}\nb: '${A}'\nc: ${A:-~}\nd: $${A}\n", {"A": "null"})
    assert read.data == {"a": None, "b": "null", "c": None, "d": "${A}"}


def test_field_names_and_other_values_are_left_alone() -> None:
    assert expanded("${A}: 5\nb: true\n", {"A": "x"}).data == {"${A}": 5, "b": True}


def test_every_missing_variable_is_a_fault_at_its_place() -> None:
    read = expanded("a: ${A}\nb: [x, '${B}']\nc: ${C}\n", {"C": "1"})
    assert [finding.where for finding in read.findings] == [("a",), ("b", 1)]
    assert read.data == {"a": UNKNOWN, "b": ["x", UNKNOWN], "c": "1"}
    assert read.origins == {("c",): ("C",)}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("value", "value"),
        ("value\n", "value"),
        ("value\r\n", "value"),
        ("value\n\n", "value\n"),
        (" value ", " value "),
        ("", ""),
    ],
)
def test_a_variable_may_be_given_as_a_file(content: str, expected: str) -> None:
    environment = variables({"A_FILE": "/run/a"}, {"/run/a": content})
    assert environment.get("A") == expected


def test_an_empty_file_name_counts_as_not_set() -> None:
    assert variables({"A": "1", "A_FILE": ""}).get("A") == "1"
    assert variables({"A_FILE": ""}).get("A") is None


def test_both_forms_at_once_are_refused() -> None:
    with pytest.raises(Wrong, match="set twice; unset it or `A_FILE`"):
        variables({"A": "1", "A_FILE": "/run/a"}, {"/run/a": "2"}).get("A")


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (FileNotFoundError(2, "No such file or directory"), "No such file"),
        (OSError(), "cannot be read"),
        (UnicodeDecodeError("utf-8", b"CANARY\xff", 6, 7, "bad"), "not UTF-8"),
        (ValueError("embedded null byte"), "NUL"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(failure: Exception, reason: str) -> None:
    with pytest.raises(Wrong, match=reason) as caught:
        variables({"A_FILE": "/run/a"}, {"/run/a": failure}).get("A")
    assert "`A_FILE`" in caught.value.problem
    assert caught.value.__context__ is None
