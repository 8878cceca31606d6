"""State numbers written as expressions: one digit a column, many digits a whole number.

A row is then a few whole numbers, and a ``GROUP BY`` or a join compares these in place of texts.
Digits are those of ``codes.collapse``: the first column slowest, a missing cell before all states.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from pyromix.data.bins import edges_of
from pyromix.data.cells import levels_of
from pyromix.data.codes import MAX_KEY, smallest_dtype
from pyromix.data.columns import state_numbers
from pyromix.data.relation.sql import NAME, quoted_name, value
from pyromix.data.relation.table import RelationTable
from pyromix.data.repairs import Repair
from pyromix.model.schema import Schema

RUN = 2**12
"""Numbers of digits that are looked up together."""

LARGEST_INTEGER = 2**30
"""Whole numbers below it, and their sums in pairs, are integers of 32 bits, faster to group by."""

WORD = "word{}"
"""Names of the whole numbers."""


@dataclass(frozen=True, eq=False)
class Digit:
    """A column as a digit.

    Attributes:
        name: of the column.
        values: distinct values as the engine gives them.
        states: of each value its state number, -1 where it is missing.
        rows: of each value the number of rows that have it.
        card: number of states.
        repairs: cells that are read differently.
        cut: edges between the intervals that are the states of a column of numbers; then
            ``values`` are state numbers.
        marks: numbers of such a column that stand for a missing cell.
    """

    name: str
    values: tuple[Any, ...]
    states: Int[np.ndarray, " values"]
    rows: Int[np.ndarray, " values"]
    card: int
    repairs: tuple[Repair, ...]
    cut: tuple[float, ...] = ()
    marks: tuple[float, ...] = ()

    @property
    def shift(self) -> int:
        """1 where a cell is missing, which is digit 0 then."""
        return int(bool((self.states < 0).any()))

    @property
    def radix(self) -> int:
        """Number of digits."""
        return self.card + self.shift

    def margin(self) -> Int[np.ndarray, " digits"]:
        """Number of rows with each digit."""
        found = np.bincount(self.states + self.shift, self.rows, minlength=self.radix)
        return found.astype(np.int64)

    def sql(self, kind: str, whole: str = "BIGINT") -> str:
        """The digit of every row: arithmetic where states are a run of integers, else cases.

        Args:
            kind: what the column holds, see ``sql.KINDS``.
            whole: type of the digit.
        """
        column = quoted_name(self.name)
        if self.cut:
            return interval(column, self.cut, self.marks, self.shift)
        seen = [(v, int(s)) for v, s in zip(self.values, self.states, strict=True) if s >= 0]
        gaps = [v for v, s in zip(self.values, self.states, strict=True) if s < 0]
        if kind == "integer" and gaps in ([], [None]):
            offsets = {s - v for v, s in seen}
            if len(offsets) == 1:
                added = offsets.pop() + self.shift
                small = all(abs(v) < LARGEST_INTEGER for v, _ in seen)
                digit = f"CAST({column} AS {whole if small else 'BIGINT'})"
                digit = f"({digit} + {added})" if added else digit
                return f"COALESCE({digit}, 0)" if gaps else digit
        cases = [f"WHEN {value(v)} THEN {s + self.shift}" for v, s in seen if s + self.shift]
        return f"CAST(CASE {column} {' '.join(cases)} ELSE 0 END AS {whole})" if cases else "0"


@dataclass(frozen=True, eq=False)
class Packed:
    """The variables of a schema as digits of a few whole numbers.

    Attributes:
        schema: variables and states.
        digits: one per variable.
    """

    schema: Schema
    digits: tuple[Digit, ...]

    @staticmethod
    def of(table: RelationTable, schema: Schema) -> Packed:
        """Look at every column of a schema.

        Raises:
            DataError: a value is no state.
        """
        cut = cut_in_engine(table, schema)
        table.look([name for name in schema.variables if name not in cut])
        return Packed(schema, tuple(
            _interval_digit(table, name, cut[name]) if name in cut else _digit(table, name, states)
            for name, states in zip(schema.variables, schema.states, strict=True)
        ))  # fmt: skip

    @property
    def words(self) -> tuple[slice, ...]:
        """Which digits make a whole number together."""
        found, start, size = [], 0, 1
        for i, digit in enumerate(self.digits):
            if size * digit.radix > MAX_KEY:
                found.append(slice(start, i))
                start, size = i, 1
            size *= digit.radix
        return (*found, slice(start, len(self.digits)))

    def sql(self, kinds: Mapping[str, str]) -> dict[str, str]:
        """The whole numbers of every row, by name.

        Args:
            kinds: what each column holds, see ``sql.KINDS``.
        """
        found = {}
        for number, word in enumerate(self.words):
            digits = self.digits[word]
            strides = [math.prod(d.radix for d in digits[i + 1 :]) for i in range(len(digits))]
            size = strides[0] * digits[0].radix
            whole = "INTEGER" if size <= LARGEST_INTEGER else "BIGINT"
            terms = [
                digit.sql(kinds[digit.name], whole) + (f" * {stride}" if stride > 1 else "")
                for digit, stride in zip(digits, strides, strict=True)
            ]
            found[WORD.format(number)] = _balanced_sum(terms)
        return found

    def numbers(self, codes: Int[Tensor, "rows variables"]) -> dict[str, Int[np.ndarray, " rows"]]:
        """The whole numbers of state numbers, by name; the inverse of ``codes``."""
        found = {}
        for number, word in enumerate(self.words):
            key = torch.zeros(len(codes), dtype=torch.int64, device=codes.device)
            for v in range(word.start, word.stop):
                digit = self.digits[v]
                key = key * digit.radix + codes[:, v] + digit.shift
            found[WORD.format(number)] = key.numpy()
        return found

    def codes(self, words: Sequence[Int[np.ndarray, " rows"]]) -> Int[Tensor, "rows variables"]:
        """The state numbers that whole numbers hold; the inverse of ``sql``."""
        shape = (len(words[0]), len(self.digits))
        codes = torch.empty(shape, dtype=smallest_dtype(self.schema), device="cpu").numpy()
        for run, numbers in self._runs(words):
            codes[:, run] = self._states(run)[numbers]
        return torch.from_numpy(codes)

    def margins(
        self, words: Sequence[Int[np.ndarray, " rows"]], times: Int[np.ndarray, " rows"]
    ) -> list[Int[np.ndarray, " digits"]]:
        """How often every digit of every variable occurs; rows stand for several each."""
        found = []
        for run, numbers in self._runs(words):
            states = self._states(run)
            # sums of whole numbers below 2 ** 53 are exact
            sums = np.bincount(numbers, times, minlength=len(states))
            for digit, column in zip(self.digits[run], states.T, strict=True):
                margin = np.bincount(column + digit.shift, sums, minlength=digit.radix)
                found.append(margin.astype(np.int64))
        return found

    def _runs(
        self, words: Sequence[Int[np.ndarray, " rows"]]
    ) -> Iterator[tuple[slice, Int[np.ndarray, " rows"]]]:
        """Few neighbouring digits at a time, and the numbers that they make."""
        for word, numbers in zip(self.words, words, strict=True):
            left, stop = numbers, word.stop
            found = []
            while stop > word.start:
                start, size = stop - 1, self.digits[stop - 1].radix
                while start > word.start and size * self.digits[start - 1].radix <= RUN:
                    start, size = start - 1, size * self.digits[start - 1].radix
                last = start == word.start
                onwards, number = (None, left) if last else np.divmod(left, size)
                found.append((slice(start, stop), number))
                left, stop = onwards, start
            yield from reversed(found)

    def _states(self, run: slice) -> Int[np.ndarray, "numbers digits"]:
        """The state numbers of every number that some digits make."""
        digits = self.digits[run]
        places = np.indices([digit.radix for digit in digits]).reshape(len(digits), -1).T
        states = places - [digit.shift for digit in digits]
        return np.ascontiguousarray(states, dtype=_numpy_type(self.schema))


def _numpy_type(schema: Schema) -> np.dtype[Any]:
    return torch.empty(0, dtype=smallest_dtype(schema), device="cpu").numpy().dtype


def _digit(table: RelationTable, name: str, states: Sequence[Any]) -> Digit:
    column = table.column(name)
    levels = levels_of(table, name, states)
    numbers, said = state_numbers(levels, states)
    return Digit(
        name,
        column.values,
        numbers[levels.codes].astype(np.int64),
        column.rows,
        len(states),
        (*levels.repairs, *said),
    )


def cut_in_engine(table: RelationTable, schema: Schema) -> dict[str, tuple[float, ...]]:
    """Edges of the columns of numbers whose states are intervals; see ``bins.in_intervals``."""
    found = {
        name: edges_of(states)
        for name, states in zip(schema.variables, schema.states, strict=True)
        if table.is_numeric(name)
    }
    return {name: edges for name, edges in found.items() if edges}


def interval(column: str, edges: Sequence[float], marks: Sequence[float], shift: int) -> str:
    """SQL for the interval of a number, plus a shift; one below that where the cell is missing.

    Args:
        column: quoted.
        edges: an edge belongs to the interval above it.
        marks: numbers that stand for a missing cell.
        shift: 1 where a cell is missing, else 0.
    """
    number = f"CAST({column} AS DOUBLE)"
    # Engines that have nan hold it above all numbers, and agree on how it is written alone
    gaps = [f"{column} IS NULL", f"LOWER(CAST({number} AS TEXT)) = 'nan'"]
    gaps += [f"{number} = {value(mark)}" for mark in marks]
    below = [f"WHEN {number} < {value(edge)} THEN {i + shift}" for i, edge in enumerate(edges)]
    cases = [f"WHEN {' OR '.join(gaps)} THEN {shift - 1}", *below]
    return f"CAST(CASE {' '.join(cases)} ELSE {len(edges) + shift} END AS BIGINT)"


def _interval_digit(table: RelationTable, name: str, edges: tuple[float, ...]) -> Digit:
    marks = tuple(table.marks.numbers(name))
    digit = interval(quoted_name(name), edges, marks, 0)
    found = table.engine.answer(f"SELECT {digit} AS digit, COUNT(*) AS n FROM {NAME} GROUP BY 1")
    states = found.column("digit").to_numpy().astype(np.int64)
    rows = found.column("n").to_numpy().astype(np.int64)
    return Digit(name, tuple(states.tolist()), states, rows, len(edges) + 1, (), edges, marks)


def _balanced_sum(terms: list[str]) -> str:
    """A sum whose expression is as deep as the logarithm of its length."""
    while len(terms) > 1:
        pairs = [terms[i : i + 2] for i in range(0, len(terms), 2)]
        terms = [f"({' + '.join(pair)})" for pair in pairs]
    return terms[0]
