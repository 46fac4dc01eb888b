"""YAML as data with lines, and what is said about YAML that cannot be read."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.document import MAX_LENGTH, Document, Unreadable, parse


def document(text: str) -> Document:
    return parse(textwrap.dedent(text).encode())


def unreadable(raw: str | bytes) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        parse(raw if isinstance(raw, bytes) else raw.encode())
    return caught.value


def test_scalars_are_read_as_yaml_reads_them() -> None:
    read = document("""\
        text: word
        number: 12
        fraction: 1.5
        truth: off
        nothing: ~
        quoted: "12"
        date: 2026-01-31
        port: "8080"
        list: [a, {b: 1}]
    """)
    assert read.data == {
        "text": "word",
        "number": 12,
        "fraction": 1.5,
        "truth": False,
        "nothing": None,
        "quoted": "12",
        "date": "2026-01-31",
        "port": "8080",
        "list": ["a", {"b": 1}],
    }
    assert read.findings == ()


@pytest.mark.parametrize("text", ["0b_", "1" + "0" * 5000])
def test_what_only_looks_like_a_number_is_text(text: str) -> None:
    assert document(f"a: {text}").data == {"a": text}


def test_every_value_has_a_line_and_a_missing_one_has_its_parents() -> None:
    read = document("""\
        listen: a
        routes:
          - name: x
            path: /x
          - name: y
    """)
    assert read.line_of(("listen",)) == 1
    assert read.line_of(("routes",)) == 2
    assert read.line_of(("routes", 0, "path")) == 4
    assert read.line_of(("routes", 1)) == 5
    assert read.line_of(("routes", 1, "path")) == 5
    assert read.line_of(("absent",)) is None
    assert read.line_of(()) is None


def test_unquoted_text_is_remembered() -> None:
    read = document("""\
        plain: word
        single: 'word'
        double: "word"
        block: |
          word
    """)
    assert read.unquoted == {("plain",)}


def test_aliases_and_merges_are_followed() -> None:
    read = document("""\
        a: &base {x: 1, y: 2}
        b: *base
        c: {<<: *base, x: 3}
        d: {x: 4, <<: [{y: 5, z: 6}, *base]}
    """)
    assert read.data["b"] == {"x": 1, "y": 2}
    assert read.data["c"] == {"x": 3, "y": 2}
    assert read.data["d"] == {"x": 4, "y": 5, "z": 6}
    assert read.findings == ()


@pytest.mark.parametrize(
    ("text", "where", "line", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", ("a",), 3, "stands here twice"),
        ("a: 1\n'b c': 2\n'b c': 3\n", (), 3, "has a field twice"),
        ("a: !secret x\n", ("a",), 1, "has a YAML tag"),
        ("a: !!python/name:os.system x\n", ("a",), 1, "has a YAML tag"),
        ("a: 1\n? [b]\n: c\n", (), 2, "has a field whose name is no text"),
        ("a: 1\n<<: 3\n", (), 2, "has a `<<` that is no mapping"),
    ],
)
def test_smaller_faults_do_not_stop_the_reading(
    text: str, where: tuple[str, ...], line: int, problem: str
) -> None:
    read = document(text)
    [finding] = read.findings
    assert (finding.where, finding.line, finding.problem) == (where, line, problem)
    assert "a" in read.data


@pytest.mark.parametrize(
    ("text", "line", "mend"),
    [
        ("a: 1\n\tb: 2\n", 2, "spaces"),
        ("a: 1\nb:\n\t- c\n", 3, "spaces"),
        ("a: b: c\n", 1, "quotes"),
        ("a: 1\n b: 2\n", 2, "indentation"),
        ("a:\n  - b\n c: d\n", 3, "indentation"),
        ("a: @x\n", 1, "quotes"),
        ("a: %x\n", 1, "quotes"),
        ("a: 'x\nb: 1\n", 1, "close it"),
        ("b: 1\na: [1,\n2\n", 2, "close it"),
        ('a: "\\q"\n', 1, "single quotes"),
        ("a: *nowhere\n", 1, "quotes"),
        ("a: *:80\n", 1, "quotes"),
        ("a: }\n", 1, "quotes"),
        ("a\nb\n", None, ""),
        ("%YAML 3.0\n---\na: 1\n", 1, ""),
        ("listen: [::]:8080\n", 1, '`"[::]:8080"`'),
        ("keys: [{name: x, secret: ${K}}]\n", 1, '`"${NAME}"`'),
        ("- a\n", 1, "begin with a field"),
        ("word\n", 1, "begin with a field"),
        ("", None, "routes:"),
        ("# only a comment\n", None, "routes:"),
        ("---\n", None, "routes:"),
        ("a: 1\n---\nb: 1\n", 3, "without `---`"),
        ("a: \x01\n", 1, "remove"),
        (b"a: 1\nb: \xff\n", 2, "UTF-8"),
        (b"x" * (MAX_LENGTH + 1), None, "configuration file"),
    ],
)
def test_what_is_no_document_says_where_and_how_to_mend_it(
    text: str | bytes, line: int | None, mend: str
) -> None:
    fault = unreadable(text)
    if mend:
        assert fault.line == line
    assert fault.problem
    assert mend in fault.mend


def test_a_byte_order_mark_is_skipped() -> None:
    assert parse(b"\xef\xbb\xbfa: 1\n").data == {"a": 1}


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [*x]\n",
        "a: &x {<<: *x}\n",
        "[" * 1500,
        "a: " + "[" * 40 + "]" * 40,
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
            for old, new in zip("abcdefgh", "bcdefghi", strict=True)
        ),
    ],
)
def test_endless_or_exploding_documents_are_refused(text: str) -> None:
    fault = unreadable(text)
    assert "nested too deeply" in fault.problem


def test_nothing_of_the_text_hangs_on_the_fault() -> None:
    fault = unreadable("keys:\n  - secret: *CANARY\n")
    assert "CANARY" not in f"{fault.problem} {fault.mend} {fault}"
    assert fault.__context__ is None
    assert fault.__cause__ is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1, max_size=5), json_values, min_size=1))
def test_data_survives_writing_and_reading(data: dict[str, Any]) -> None:
    read = parse(yaml.safe_dump(data).encode())
    assert read.data == data
    assert read.findings == ()


@given(st.binary(max_size=60))
def test_any_bytes_are_a_document_or_refused(raw: bytes) -> None:
    try:
        read = parse(raw)
    except Unreadable:
        return
    assert isinstance(read.data, dict)
