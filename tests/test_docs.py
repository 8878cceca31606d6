"""Pages that cannot rot: code runs, outputs are those shown, names and references exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import doc_blocks
import pytest
from doc_blocks import PAGES, ROOT

import pyromix as px

DOCS = ROOT / "docs"
KEY = re.compile(r"\[([a-z]+\d\d[a-z]*)(?=[\],;])")
IDENTIFIER = re.compile(r"^::: ([\w.]+)$", re.MULTILINE)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_code_of_a_page_runs_and_prints_what_the_page_shows(page, tmp_path):
    """Where this fails for a good reason, ``python tests/doc_blocks.py`` writes outputs anew."""
    for block, _, output in doc_blocks.outputs(page.read_text(encoding="utf-8"), tmp_path):
        if block.follows_directly:
            assert block.content == output
        else:
            assert block.content in output


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_target_of_make_on_a_page_exists(page):
    makefile = (ROOT / "Makefile").read_text()
    for block in doc_blocks.blocks(page.read_text(encoding="utf-8")):
        for target in re.findall(r"^make (\w+)", block.content, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_reference_key_of_a_docstring_is_on_the_page_of_references():
    known = set(re.findall(r"^### (\w+)$", (DOCS / "references.md").read_text(), re.MULTILINE))
    sources = [*(ROOT / "pyromix").rglob("*.py"), *DOCS.rglob("*.md"), ROOT / "README.md"]
    cited = {key for path in sources for key in KEY.findall(path.read_text(encoding="utf-8"))}
    assert cited
    assert cited <= known


def test_the_api_pages_name_what_exists():
    for page in (DOCS / "api").glob("*.md"):
        for path in IDENTIFIER.findall(page.read_text()):
            assert resolves(path), f"{page.name}: {path}"


def resolves(path: str) -> bool:
    """Whether a dotted path is a module, or a name in one."""
    module, _, name = path.rpartition(".")
    if not module:
        return False
    try:
        return hasattr(importlib.import_module(module), name) or bool(importlib.import_module(path))
    except ModuleNotFoundError:
        return False


def test_every_public_name_is_on_one_api_page():
    listed = [
        path
        for page in (DOCS / "api").glob("*.md")
        for path in IDENTIFIER.findall(page.read_text())
    ]
    assert len(listed) == len(set(listed))
    for name in px.__all__:
        thing = getattr(px, name)
        if name != "datasets":
            assert f"{thing.__module__}.{thing.__qualname__}" in listed, name


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in DOCS.rglob("*.md"):
        assert re.search(rf"[ :]{re.escape(str(page.relative_to(DOCS)))}$", navigation, re.M), page


def test_every_tutorial_is_named_in_the_docs():
    index = (DOCS / "index.md").read_text()
    for path in (ROOT / "tutorials").glob("*.py"):
        assert path.name in index
