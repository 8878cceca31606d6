"""Sentences on cells that were read differently, one for all columns of which the same is true."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SHOWN = 4
"""Examples, or names of columns, that a sentence lists."""

NAMES_SHOWN = 8


@dataclass(frozen=True)
class Repair:
    """What was read differently in a column.

    Attributes:
        column: its name.
        pattern: the sentence, with ``{columns}``, and, as the number of columns asks, ``{hold}``
            and ``{their}``; ``{cells}`` and ``{examples}`` where it has these.
        n_cells: number of cells; 0 where the sentence does not say.
        examples: a few of them.
    """

    column: str
    pattern: str
    n_cells: int = 0
    examples: tuple[str, ...] = ()


def sentences(repairs: Iterable[Repair]) -> list[str]:
    """One sentence for each pattern, in the order of their first columns."""
    alike: dict[str, list[Repair]] = {}
    for repair in repairs:
        alike.setdefault(repair.pattern, []).append(repair)
    return [_sentence(pattern, group) for pattern, group in alike.items()]


def columns_named(names: Iterable[object]) -> str:
    """``column 'A'``, or ``columns 'A', 'B'``; of many columns the first few."""
    names = list(dict.fromkeys(names))
    shown = ", ".join(repr(name) for name in names[:NAMES_SHOWN])
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"column{'s' if len(names) > 1 else ''} {shown}{more}"


def cells_named(number: int) -> str:
    """``1 cell``, or ``67 cells``."""
    return f"{number} cell{'' if number == 1 else 's'}"


def _sentence(pattern: str, group: list[Repair]) -> str:
    examples = list(dict.fromkeys(e for repair in group for e in repair.examples))
    several = len({repair.column for repair in group}) > 1
    return pattern.format(
        columns=columns_named(repair.column for repair in group),
        hold="hold" if several else "holds",
        their="their" if several else "its",
        cells=cells_named(sum(repair.n_cells for repair in group)),
        examples=", ".join(examples[:SHOWN]) + (", ..." if len(examples) > SHOWN else ""),
    )
