"""A table that stays where it is, read a column at a time as frames are: states, gaps, repairs."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import narwhals.stable.v2 as nw
import numpy as np
from jaxtyping import Integer

from pyromix.data.dialect import uses_decimal_commas
from pyromix.data.levels import MAX_LEVELS, Levels, TooManyValuesError, read_levels
from pyromix.data.marks import NO_MARKS, Marks
from pyromix.data.relation.engines import Engine
from pyromix.data.relation.sql import NAME, quoted_name
from pyromix.data.text import MISSING_TEXTS
from pyromix.errors import DataError

LARGEST_OF_A_PAIR = 2**20
"""Integers beyond are not told by their sum, which may pass what an engine holds exactly."""

FLOATS = re.compile(r"FLOAT[48]?|REAL|DOUBLE|float(16|32|64)")
"""Types of floating-point numbers, as DuckDB and Ibis call them."""

AT_ONCE = 50
"""Columns that one query looks at."""


class Column(NamedTuple):
    """A column as the engine sees it.

    Attributes:
        values: its distinct values, as the engine gives them; None and NaN are missing.
        rows: number of rows that have each.
        levels: the same as levels, one row for each value.
    """

    values: tuple[Any, ...]
    rows: Integer[np.ndarray, " values"]
    levels: Levels


@dataclass(frozen=True, eq=False)
class RelationTable:
    """A table in an engine that has been looked at, and not been read.

    Attributes:
        engine: runs queries upon it.
        columns: names.
        n_rows: number of rows.
        where: what the user called it.
        text: its cells are texts of a file without types.
        marks: values that stand for a missing cell.
        said: sentences on how it is read.
        left_out: columns that are no variables, though no model says so.
        enums: per column the states that it came with, in their order.
        decimal_commas: texts may have commas before decimals.
    """

    engine: Engine
    columns: list[str]
    n_rows: int
    where: str = "the relation"
    text: bool = False
    marks: Marks = NO_MARKS
    said: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    enums: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    decimal_commas: bool = False
    _seen: dict[str, Column | TooManyValuesError] = field(default_factory=dict, repr=False)
    _fractions: dict[str, bool] = field(default_factory=dict, repr=False)

    @staticmethod
    def of(
        engine: Engine, where: str = "the relation", enums: dict[str, tuple[Any, ...]] | None = None
    ) -> RelationTable:
        """Look at a table.

        Raises:
            DataError: it has no rows.
        """
        found = engine.answer(f"SELECT COUNT(*) AS n FROM {NAME}")
        n_rows, columns = int(found.column("n")[0].as_py()), list(engine.kinds)
        if not n_rows:
            raise DataError(
                f"expected a table with rows, found none in {where} (columns {columns[:12]}); "
                "check the filter or the file that it comes from"
            )
        return RelationTable(engine, columns, n_rows, where, enums=enums or {})

    def column(self, name: str) -> Column:
        """The distinct values of a column and how many rows have each; remembered.

        Raises:
            DataError: the cells are lists or the like, or distinct in most rows.
        """
        self.look([name])
        found = self._seen[name]
        if isinstance(found, TooManyValuesError):
            raise found
        return found

    def is_numeric(self, name: str) -> bool:
        """Whether the engine holds a column as numbers."""
        return self.engine.kinds[name] in ("integer", "number")

    def has_fractions(self, name: str) -> bool:
        """Whether a column of floating-point numbers holds one that is not whole; remembered."""
        if not self._fractions:
            floats = [c for c in self.columns if FLOATS.fullmatch(self.engine.types[c])]
            cases = [
                f"MAX(CASE WHEN {quoted_name(c)} <> FLOOR({quoted_name(c)}) THEN 1 ELSE 0 END)"
                for c in floats
            ]
            found: list[Any] = []
            if floats:
                listed = ", ".join(f"{case} AS c{i}" for i, case in enumerate(cases))
                (row,) = self.engine.answer(f"SELECT {listed} FROM {NAME}").to_pylist()
                found = list(row.values())
            self._fractions.update(dict.fromkeys(self.columns, False))
            self._fractions.update({c: bool(n) for c, n in zip(floats, found, strict=True)})
        return self._fractions[name]

    def look(self, names: Sequence[str]) -> None:
        """Look at several columns at once, one query for those of one type.

        Raises:
            DataError: the cells of one are lists or the like.
        """
        self._look_at_pairs([name for name in names if name not in self._seen])
        alike: dict[str, list[str]] = {}
        for name in names:
            if name not in self._seen:
                alike.setdefault(self.engine.types[name], []).append(name)
        for same in alike.values():
            for start in range(0, len(same), AT_ONCE):
                self._ask(same[start : start + AT_ONCE])

    def _look_at_pairs(self, names: Sequence[str]) -> None:
        """Columns of two neighbouring integers, or of booleans: sums of all of them say it."""
        whole = [name for name in names if self.engine.kinds[name] in ("integer", "boolean")]
        if not whole or self.text:
            return
        # Ends and numbers of cells alone many engines know without looking at a row
        ends = self._sums(whole, ("COUNT", "MIN", "MAX"))
        alike = {
            name: (int(n), int(low), int(high))
            for name, (n, low, high) in ends.items()
            if n and high - low <= 1 and abs(high) <= LARGEST_OF_A_PAIR
        }
        totals = self._sums([n for n, (_, low, high) in alike.items() if high > low], ("SUM",))
        for name, (n, low, high) in alike.items():
            total = totals.get(name, (0,))[0]
            n_high = int(total) - low * n if high > low else 0
            cells = {None: self.n_rows - n, low: n - n_high, high: n_high if high > low else n}
            kept = {cell: rows for cell, rows in cells.items() if rows}
            if self.engine.kinds[name] == "boolean":
                kept = {None if cell is None else bool(cell): rows for cell, rows in kept.items()}
            self._seen[name] = self._column(name, _array(list(kept)), np.array(list(kept.values())))

    def _sums(self, names: Sequence[str], asked: Sequence[str]) -> dict[str, list[Any]]:
        """What the engine sums of some columns of integers or booleans."""
        if not names:
            return {}
        parts = []
        for i, name in enumerate(names):
            column = quoted_name(name)
            if self.engine.kinds[name] == "boolean":
                column = f"CAST({column} AS BIGINT)"
            parts += [f"{what}({column}) AS {what}_{i}" for what in asked]
        (found,) = self.engine.answer(f"SELECT {', '.join(parts)} FROM {NAME}").to_pylist()
        return {n: [found[f"{what}_{i}"] for what in asked] for i, n in enumerate(names)}

    def _ask(self, names: Sequence[str]) -> None:
        queries = []
        for place, name in enumerate(names):
            column = quoted_name(name)
            counts = (
                f"SELECT {column} AS cell, COUNT(*) AS n FROM {NAME} GROUP BY {column} "
                f"ORDER BY {column} LIMIT {MAX_LEVELS + 2}"
            )
            queries.append(f"SELECT {place} AS place, cell, n FROM ({counts}) AS t{place}")
        found = self.engine.answer(" UNION ALL ".join(queries))
        places = found.column("place").to_numpy()
        for place, name in enumerate(names):
            own = found.filter(places == place)
            self._seen[name] = self._column(name, own.column("cell"), own.column("n").to_numpy())

    def _column(self, name: str, cells: Any, rows: np.ndarray) -> Column | TooManyValuesError:
        if len(cells) > MAX_LEVELS + 1:
            return TooManyValuesError(
                f"column {name!r} must be discrete, found more than {MAX_LEVELS} distinct values "
                f"such as {cells[1]} and {cells[2]}; bin them or leave the column out"
            )
        values, rows = tuple(cells.to_pylist()), rows.astype(np.int64)
        series = nw.from_native(cells, series_only=True)
        levels = read_levels(name, series, text=self.text)
        if name in self.enums:
            levels = _fixed(levels, self.enums[name])
        if self.text and self.decimal_commas:
            levels = _with_points(levels)
        return Column(values, rows, replace(levels, repeats=rows))


def _array(cells: list[Any]) -> Any:
    import pyarrow as pa

    return pa.chunked_array([pa.array(cells)])


def _fixed(levels: Levels, states: Sequence[Hashable]) -> Levels:
    """The same column with the list of states that it came with first."""
    values = (*states, *(value for value in levels.values if value not in states))
    place = {value: i + 1 for i, value in enumerate(values)}
    numbers = np.array([0, *(place[value] for value in levels.values)], dtype=np.int32)
    return replace(levels, values=values, codes=numbers[levels.codes], fixed=True)


def _with_points(levels: Levels) -> Levels:
    """Decimal commas as points, where the column holds nothing else than numbers."""
    texts = [str(value).strip() for value in levels.values]
    if not uses_decimal_commas([text for text in texts if text not in MISSING_TEXTS]):
        return levels
    return replace(levels, values=tuple(str(v).replace(",", ".") for v in levels.values))
