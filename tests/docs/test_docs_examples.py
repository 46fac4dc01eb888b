"""What the documents tell a reader to type: valid as it stands."""

from __future__ import annotations

import ast
import re
import shlex
from hashlib import sha256
from importlib import import_module
from typing import TYPE_CHECKING

import click
import pytest

from proxy.cli.main import main
from proxy.config.load import load
from tests.docs.markdown import PROJECT, Block, Page, pages

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = re.compile(r"\bwskeeper ((?:--help|[a-z]+)(?: .*)?)$")


def blocks(*languages: str) -> list[object]:
    return [
        pytest.param(block, id=f"{document.name}:{block.line}")
        for document in pages()
        for block in document.blocks_in(*languages)
    ]


def command_lines(document: Page) -> list[str]:
    """Lines of shell, in blocks and in the text; `a && b` and `a; b` taken apart."""
    shell = [block.text.replace("\\\n", " ") for block in document.blocks_in("sh", "console")]
    lines = [line for text in shell for line in text.splitlines()]
    lines += document.spans
    return [part.strip() for line in lines for part in re.split(r"&&|;|\|", line)]


@pytest.mark.parametrize("block", blocks("yaml"))
def test_configurations_are_valid_without_a_warning(block: Block, tmp_path: Path):
    file = tmp_path / "wskeeper.yaml"
    # Where a page says DIGEST, each key has its own.
    digests = iter(range(1, 100))
    file.write_text(re.sub(r"\bDIGEST\b", lambda _: f"{next(digests):063d}f", block.text))
    named = set(re.findall(r"\$\{(\w+)", block.text))
    loaded = load(file, environ={name: f"a-long-secret-named-{name}" for name in named})
    assert loaded.warnings == ()


def test_no_document_shows_a_digest_that_anybody_knows_the_key_of():
    assert {page.name: guessed_in(page.text) for page in pages() if guessed_in(page.text)} == {}
    example = f"digest: {sha256(b'changeme').hexdigest()}"
    assert guessed_in(f"{example}\n{example[:-1]}0") == {example[-64:]}


def guessed_in(text: str) -> set[str]:
    words = ["", "abcd", "hello", "secret", "key", "test", "password", "changeme", "your key"]
    guessable = {sha256(word.encode()).hexdigest() for word in words}
    return guessable & set(re.findall(r"\b[0-9a-f]{64}\b", text))


@pytest.mark.parametrize("block", blocks("python"))
def test_python_compiles_and_imports_what_there_is(block: Block):
    compile(block.text, "<example>", "exec", dont_inherit=True)
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom):
            module = import_module(node.module or "")
            assert [each.name for each in node.names if not hasattr(module, each.name)] == []
        elif isinstance(node, ast.Import):
            assert all(import_module(each.name) for each in node.names)


@pytest.mark.parametrize(
    ("name", "words"),
    dict.fromkeys(
        (document.name, match[1])
        for document in pages()
        for line in command_lines(document)
        if (match := COMMAND.search(line))
    ),
)
def test_commands_and_flags_exist(name: str, words: str):
    assert_exists(shlex.split(words, comments=True))


def assert_exists(words: list[str]) -> None:
    """`words` begin with a command that exists, and hold only flags that it takes."""
    if words == ["--help"]:
        return
    command: click.Command = main
    arguments = words
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        assert name in command.commands, words
        command = command.commands[name]
    flags = {
        flag
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for flag in (*parameter.opts, *parameter.secondary_opts)
    }
    for argument in arguments:
        if argument.startswith("-"):
            assert argument.partition("=")[0] in flags | {"--help"}, words


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    lines = [line for document in pages() for line in command_lines(document)]
    named = {match[1] for line in lines if (match := re.match(r"make ([a-z]+)", line))}
    assert {"demo", "test"} <= named <= targets


def test_the_readme_names_every_command():
    [readme] = [document for document in pages() if document.name == "README.md"]
    assert set(main.commands) <= set(readme.spans)


def test_a_command_that_does_not_exist_is_noticed():
    with pytest.raises(AssertionError):
        assert_exists(["conjure"])
    with pytest.raises(AssertionError):
        assert_exists(["serve", "--faster"])
    with pytest.raises(AssertionError):
        assert_exists(["keys", "conjure"])
    with pytest.raises(AssertionError):
        assert_exists(["keys", "create", "--faster"])
