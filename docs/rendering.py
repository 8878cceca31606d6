"""Scripts in percent format as pages: their text, their code, what it printed and drew."""

from __future__ import annotations

import contextlib
import io
import linecache
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

MARK = "# %%"


@dataclass(frozen=True)
class Cell:
    """One cell of a script.

    Attributes:
        markdown: whether it is text.
        source: without the mark; of text, without the comment signs.
    """

    markdown: bool
    source: str


@dataclass(frozen=True)
class Rendered:
    """A script that was run.

    Attributes:
        page: Markdown.
        figures: SVG by file name, as the page refers to them.
    """

    page: str
    figures: dict[str, bytes]


def cells(script: str) -> list[Cell]:
    """Split a script at its marks."""
    found = []
    for part in f"\n{script}".split(f"\n{MARK}")[1:]:
        head, _, body = part.partition("\n")
        if head.strip() == "[markdown]":
            lines = (line.removeprefix("#").removeprefix(" ") for line in body.splitlines())
            found.append(Cell(True, "\n".join(lines).strip()))
        else:
            found.append(Cell(False, body.strip("\n")))
    return found


def rendered(path: Path) -> Rendered:
    """Run a script cell by cell, in a folder that is thrown away, and write down what happened.

    Raises:
        Exception: whatever a cell raises; its line is that of the script's cell.
    """
    parts: list[str] = []
    figures: dict[str, bytes] = {}
    namespace: dict[str, Any] = {"__name__": "__main__", "__file__": str(path)}
    with tempfile.TemporaryDirectory() as folder, _as_a_script(path, folder):
        for number, cell in enumerate(cells(path.read_text(encoding="utf-8"))):
            if cell.markdown:
                parts.append(cell.source)
                continue
            out = io.StringIO()
            with contextlib.redirect_stdout(out), _saved_figures() as drawn:
                exec(_compiled(cell.source, f"{path.name}, cell {number}"), namespace)
            parts.append(f"```python\n{cell.source}\n```")
            if out.getvalue().strip():
                parts.append(f"```text\n{out.getvalue().rstrip()}\n```")
            for svg in drawn:
                name = f"{path.stem}-{len(figures) + 1}.svg"
                figures[name] = svg
                parts.append(f"![What this cell draws]({name})")
    return Rendered("\n\n".join(parts) + "\n", figures)


def _compiled(source: str, name: str) -> Any:
    """A cell, with its lines where ``inspect`` and tracebacks look for them."""
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    return compile(source, name, "exec")


@contextlib.contextmanager
def _as_a_script(path: Path, folder: str) -> Iterator[None]:
    """Arguments, working directory and environment as if the script had been started by itself."""
    before = sys.argv, dict(os.environ)
    sys.argv = [str(path)]
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        sys.argv = before[0]
        os.environ.clear()
        os.environ.update(before[1])


@contextlib.contextmanager
def _saved_figures() -> Iterator[list[bytes]]:
    """Each figure that is saved meanwhile, once, as SVG."""
    save, seen, drawn = Figure.savefig, set(), []

    def saved(figure: Figure, *args: Any, **options: Any) -> None:
        save(figure, *args, **options)
        if id(figure) not in seen:
            seen.add(id(figure))
            buffer = io.BytesIO()
            save(figure, buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
            drawn.append(buffer.getvalue())

    Figure.savefig = saved  # type: ignore[method-assign]
    try:
        yield drawn
    finally:
        Figure.savefig = save  # type: ignore[method-assign]
