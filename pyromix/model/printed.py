"""What a thing shows when it stands alone on a line: as text, and as HTML in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

LONGEST_CELL = 200
"""Characters of a cell or line that a notebook shows."""


CONTROLS = frozenset(
    c for c in map(chr, [*range(0xA0), *range(0xD800, 0xE000)]) if c != "\n" and not c.isprintable()
)
"""Characters that no document may hold. Marks of direction may stay: a name stands apart."""


@dataclass(frozen=True)
class Grid:
    """A table of texts.

    Attributes:
        header: titles of the columns.
        rows: as many cells each.
        n_left: how many columns, from the left, are words; numbers stand to the right.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    n_left: int = 1


@dataclass(frozen=True)
class Printed:
    """A title, tables, and lines below them.

    Attributes:
        title: the first line.
        grids: tables.
        lines: the rest.
    """

    title: str
    grids: tuple[Grid, ...] = ()
    lines: tuple[str, ...] = ()

    def text(self) -> str:
        """Return it with aligned columns."""
        tables = [line for g in self.grids for line in columns_of_text(g.header, g.rows, g.n_left)]
        return "\n".join([self.title, *tables, *self.lines])

    def html(self) -> str:
        """Return it as one element that fetches nothing and runs nothing.

        Names are escaped, and each stands apart in its own direction of writing.
        """
        below = (f"<div>{_said(line)}</div>" for line in self.lines)
        body = "".join([*map(_table, self.grids), *below])
        return f"<div><strong>{_said(self.title)}</strong>{body}</div>"


def as_text(self: Any) -> str:
    """Return what ``self._printed()`` says, as text: a ``__str__``."""
    return self._printed().text()


def as_html(self: Any) -> str:
    """Return what ``self._printed()`` says, as HTML: a ``_repr_html_``."""
    return self._printed().html()


def columns_of_text(header: Sequence[str], rows: Sequence[Sequence[str]], n_left: int) -> list[str]:
    """Return lines of aligned columns.

    Args:
        header: titles of the columns.
        rows: as many cells each.
        n_left: how many columns, from the left, are aligned to the left; numbers are not.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i < n_left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (header, *rows)
    ]


def _table(grid: Grid) -> str:
    """A table as an element; one that is wider than the page is scrolled, and not the page."""
    rows = [_row("th", grid.header, grid.n_left)]
    rows += [_row("td", row, grid.n_left) for row in grid.rows]
    return f'<div style="overflow-x: auto"><table>{"".join(rows)}</table></div>'


def _row(tag: str, cells: Sequence[str], n_left: int) -> str:
    sides = ["left" if i < n_left else "right" for i in range(len(cells))]
    found = (
        f'<{tag} style="text-align: {side}; padding: 0.1em 0.6em">{_said(cell, "pre")}</{tag}>'
        for side, cell in zip(sides, cells, strict=True)
    )
    return f"<tr>{''.join(found)}</tr>"


def _said(text: str, space: str = "pre-wrap") -> str:
    """A text as it may stand in an element, whoever wrote it; cells are not broken."""
    cut = text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]}..."
    kept = "".join("\N{REPLACEMENT CHARACTER}" if c in CONTROLS else c for c in cut)
    return f'<bdi style="white-space: {space}">{escape(kept)}</bdi>'
