"""Code blocks of Markdown pages: run in order, and compared with the output that the page shows.

Blocks of ``python`` share one namespace per page; in blocks of ``console`` every line that starts
with ``pyromix`` is a command, with ``# exit N`` behind it where N is not 0. Both run in a folder
that holds data.csv, net.bif and units.csv. A block of ``text`` right behind one of these is its
whole output; one further down holds lines of the latest output.

``python tests/doc_blocks.py`` writes the outputs of all pages anew.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import pyromix as px
from pyromix.cli import main

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    page
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"))
    if page.exists()
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RUN = ("python", "console")
OTHER_COMMANDS = ("make ", "pip install ", "git ", ".venv/bin/python ")
"""Commands in console blocks that are not run here; targets of make are looked up."""


@dataclass(frozen=True)
class Block:
    """One fenced block, and where its content lies in the page."""

    language: str
    content: str
    start: int
    end: int
    follows_directly: bool


def blocks(text: str) -> list[Block]:
    found, last = [], -1
    for match in FENCE.finditer(text):
        between = text[last : match.start()] if last >= 0 else "something"
        found.append(Block(match[1], match[2], *match.span(2), not between.strip()))
        last = match.end()
    return found


def prepare(folder: Path) -> None:
    """The files that commands on the pages name."""
    planted = px.datasets.read_card("hidden-group").folder
    shutil.copy(planted / "data.csv", folder)
    shutil.copy(planted / "network.bif", folder / "net.bif")
    px.datasets.load("thumbtacks")[1].to_csv(folder / "units.csv", index=False)


def run(block: Block, namespace: dict[str, Any]) -> str:
    """Output of one block; exceptions and unexpected exit codes come out."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        if block.language == "python":
            exec(compile(block.content, "<page>", "exec"), namespace)
        else:
            for line in block.content.splitlines():
                command, _, comment = line.partition("#")
                if not command.strip() or command.startswith(OTHER_COMMANDS):
                    continue
                expected = re.search(r"exit (\d)", comment)
                call(command, int(expected[1]) if expected else 0)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def call(command: str, expected: int) -> None:
    """One command line in this process."""
    program, *arguments = shlex.split(command)
    if program != "pyromix":
        raise ValueError(f"do not know how to check the command {command!r}")
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as stopped:
            code = int(stopped.code or 0)
    if code != expected:
        raise AssertionError(f"{command}: exit {code}, not {expected}\n{err.getvalue()}")


def outputs(text: str, folder: Path) -> list[tuple[Block, Block, str]]:
    """Every block of text with the block that it shows the output of, and that output."""
    prepare(folder)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    shown: list[tuple[Block, Block, str]] = []
    latest: tuple[Block, str] | None = None
    # A page may set print options; the next test must not see them.
    with contextlib.chdir(folder), np.printoptions():
        for block in blocks(text):
            if block.language in RUN:
                latest = block, run(block, namespace)
            elif block.language == "text" and latest is not None:
                shown.append((block, *latest))
    return shown


def rewrite(page: Path) -> bool:
    """Write the whole outputs of a page anew; whether anything changed."""
    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        shown = outputs(text, Path(folder))
    new = text
    for block, _, output in reversed(shown):
        if block.follows_directly:
            new = new[: block.start] + output + new[block.end :]
    if new != text:
        page.write_text(new, encoding="utf-8")
    return new != text


if __name__ == "__main__":
    warnings.filterwarnings("ignore", ".*pgmpy.estimators.StructureScore", FutureWarning)
    for path in [Path(name).resolve() for name in sys.argv[1:]] or PAGES:
        said = "written " if rewrite(path) else "the same"
        sys.stdout.write(f"{said} {path.relative_to(ROOT)}\n")
