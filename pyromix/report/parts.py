"""What sections are made of: facts, sentences, tables and drawings.

Text and page are two ways to print the same parts, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Table:
    """Cells as they are printed.

    Attributes:
        header: titles of the columns.
        rows: as many cells each.
        n_left: how many columns, from the left, are words; the others are numbers.
        title: above the table; perhaps empty.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_left: int = 1
    title: str = ""


@dataclass(frozen=True)
class Drawing:
    """A plot of the page, and what it says to those who cannot see it.

    Attributes:
        kind: of ``fit.plot``.
        caption: one sentence.
    """

    kind: str
    caption: str


@dataclass(frozen=True)
class Badged:
    """A fact with a verdict at its head.

    Attributes:
        badge: the verdict, as it is printed.
        level: ``"pass"``, ``"weak"`` or ``"fail"``: how the page shows it.
        said: the rest.
    """

    badge: str
    level: str
    said: str

    def __str__(self) -> str:
        """Badge and rest on one line."""
        return f"{self.badge}  {self.said}"


@dataclass(frozen=True)
class Section:
    """One part of a report.

    Attributes:
        key: its name for programs.
        title: its name for people.
        facts: pairs of a label and what there is to say.
        words: sentences.
        tables: in order.
        drawings: on the page only.
        numbers: the same for programs, ready for JSON.
    """

    key: str
    title: str
    facts: tuple[tuple[str, str | Badged], ...] = ()
    words: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
