"""The pages themselves: links that lead somewhere, a changelog in its grammar."""

from __future__ import annotations

import re
import tomllib
import xml.etree.ElementTree as ET

import pytest

from tests.docs.markdown import PROJECT, Page, page, pages, slug

KINDS_OF_CHANGE = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@pytest.mark.parametrize("document", pages(), ids=lambda document: document.name)
def test_relative_links_resolve(document: Page):
    for target in document.links:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        leads_to = (document.path.parent / path).resolve() if path else document.path
        assert leads_to.is_relative_to(PROJECT), target
        assert leads_to.exists(), target
        if anchor:
            assert anchor in Page(leads_to).anchors, target


def test_pages_of_the_docs_are_all_linked_from_the_readme():
    linked = {target.partition("#")[0] for target in page("README.md").links}
    for path in (PROJECT / "docs").glob("*.md"):
        assert f"docs/{path.name}" in linked


def test_readme_shows_the_essentials_within_thirty_lines():
    first = "\n".join(page("README.md").text.splitlines()[:30])
    assert "](docs/images/" in first
    assert "make demo" in first
    assert "make test" in first
    assert "401 Unauthorized" in first


@pytest.mark.parametrize("picture", sorted((PROJECT / "docs/images").glob("*.svg")), ids=str)
def test_pictures_are_well_formed_and_need_nothing_from_outside(picture):
    root = ET.parse(picture).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "href" not in picture.read_text()
    assert "<script" not in picture.read_text()


def test_changelog_keeps_its_grammar():
    document = page("CHANGELOG.md")
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    releases = re.findall(r"^## (.*)$", document.text, re.MULTILINE)
    assert releases
    assert releases[0].startswith(f"[{version}] - ")
    for release in releases:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - (Unreleased|\d{4}-\d{2}-\d{2})", release)
    assert set(re.findall(r"^### (.*)$", document.text, re.MULTILINE)) <= KINDS_OF_CHANGE


def test_anchors_are_named_as_in_links():
    assert slug("At 3 a.m.") == "at-3-am"
    assert slug("Every client gets 401") == "every-client-gets-401"
    assert slug("`serve`, and more") == "serve-and-more"
