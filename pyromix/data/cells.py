"""Cells as they are meant: blanks around texts stripped, blank cells and marks missing."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pyromix.data.columns import observed
from pyromix.data.levels import Levels, read_levels
from pyromix.data.marks import NO_MARKS, Marks
from pyromix.data.reading import ROWS_READ_AT_ONCE, RawTable, check_columns, read_frame
from pyromix.data.relation.table import RelationTable
from pyromix.data.repairs import Repair

BLANK = "{columns}: {cells} with nothing but blanks read as missing."
STRIPPED = "{columns}: blanks around {cells} stripped."


def levels_of(
    table: RawTable | RelationTable, name: str, states: Sequence[Hashable] = ()
) -> Levels:
    """The distinct values of a column of a table, as they are meant; see ``tidied``.

    Args:
        table: has the column; one that stays in its engine has a row for each distinct value.
        name: of the column.
        states: declared ones; none where they are read off the table.

    Raises:
        DataError: the cells are lists or the like, or distinct in most rows.
    """
    if isinstance(table, RelationTable):
        levels = table.column(name).levels
    else:
        levels = read_levels(name, table.frame[name], text=table.text)
    return tidied(levels, table.marks, states)


def observed_states(table: Any, column: str) -> tuple[Hashable, ...]:
    """States of a variable whose model declares none: those of its column.

    The list of a Categorical or an Enum as it stands; otherwise the sorted distinct values, as
    Python objects (see ``columns.observed``).

    Args:
        table: whatever ``read_frame`` accepts.
        column: name of the variable.

    Raises:
        DataError: the column is missing, empty, constant or not discrete.
    """
    table = read_frame(table)
    check_columns(table, [column])
    return observed(levels_of(table, column))


def tidied(levels: Levels, marks: Marks = NO_MARKS, states: Sequence[Hashable] = ()) -> Levels:
    """Strip blanks around texts; a blank cell, or one that holds a mark, is missing.

    A text that is a declared state stands as it is, blanks and all; where none are declared, so
    does the list of a Categorical or an Enum, which declares them. A mark is missing even so.
    What came out is said in ``repairs``, marks apart, which the user named.

    Args:
        levels: of a column.
        marks: values that stand for a missing cell.
        states: declared ones.
    """
    declared = {str(state) if levels.text else state for state in states}
    declared |= set(levels.values) if levels.fixed and not states else set()
    counts = levels.counts()[1:].tolist()
    values: dict[Hashable, int] = {}
    numbers, blank, stripped = [0], 0, 0
    for value, n in zip(levels.values, counts, strict=True):
        meant = _meant(value, declared)
        if isinstance(meant, str) and meant == "" and value not in declared:
            blank += n if value or not levels.text else 0
            numbers.append(0)
        elif marks and marks.hit(levels.name, meant):
            numbers.append(0)
        else:
            stripped += n if meant is not value and isinstance(value, str) else 0
            numbers.append(values.setdefault(meant, len(values) + 1))
    if tuple(values) == levels.values:
        return levels
    codes, lookup = levels.codes.copy(), np.array(numbers, dtype=levels.codes.dtype)
    for start in range(0, len(codes), ROWS_READ_AT_ONCE):
        rows = slice(start, start + ROWS_READ_AT_ONCE)
        codes[rows] = lookup[codes[rows]]
    said = []
    if blank:
        said.append(Repair(levels.name, BLANK, blank))
    if stripped:
        said.append(Repair(levels.name, STRIPPED, stripped))
    return replace(levels, values=tuple(values), codes=codes, repairs=(*levels.repairs, *said))


def _meant(value: Any, declared: set[Hashable]) -> Hashable:
    """A text without the blanks around it, unless it is declared with them."""
    if not isinstance(value, str) or value in declared:
        return value
    bare = value.strip()
    return value if bare == value else bare
