"""From a relation to its distinct rows by one GROUP BY; what is said is what a frame's rows say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.data.gaps import dropped, gaps_refused, left_out, no_complete_row, nothing_left
from pyromix.data.intake_report import DataReport
from pyromix.data.relation.digits import Packed
from pyromix.data.relation.sql import NAME, named
from pyromix.data.relation.table import RelationTable
from pyromix.data.relation.weighing import ONES, Weighing, fractional, ones
from pyromix.data.repairs import sentences
from pyromix.data.weights import COUNTS, SAMPLING, doubts_of_fractions
from pyromix.errors import DataError
from pyromix.model.schema import Schema

BATCH = 2**20
"""Patterns that are taken over at a time."""


class TooManyPatternsError(DataError):
    """A table has more distinct rows than are wanted in memory."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Distinct rows in lexicographic order, with sums over the rows of each.

    Attributes:
        codes: ``(m, n)`` state numbers, -1 where a cell is missing.
        rows: ``(m,)`` numbers of rows.
        positive: those of them that have a positive weight.
        weights: sums of weights.
        squares: sums of squared weights; of ones where nobody asks for them.
        broken: numbers of weights that are no whole numbers.
    """

    codes: Int[Tensor, "m n"]
    rows: Int[Tensor, " m"]
    positive: Int[Tensor, " m"]
    weights: Float[Tensor, " m"]
    squares: Float[Tensor, " m"]
    broken: Int[Tensor, " m"]

    def kept(self, chosen: Tensor) -> Groups:
        """Some of them."""
        if bool(chosen.all()):
            return self
        return Groups(*(part[chosen] for part in vars(self).values()))


def counted_rows(
    table: RelationTable,
    schema: Schema,
    sample_weight: Any = None,
    weights_are: str = COUNTS,
    missing: str = "mar",
    most: int | None = None,
) -> tuple[Int[Tensor, "patterns variables"], Float[Tensor, " patterns"], DataReport]:
    """Count the distinct rows of a relation.

    Args:
        table: has a column for every variable.
        schema: variables and states.
        sample_weight: name of a column of weights, or None.
        weights_are: ``"counts"`` or ``"sampling"``.
        missing: ``"mar"``, ``"drop"`` or ``"error"``.
        most: distinct rows that are wanted in memory; None for any number.

    Returns:
        Distinct rows in lexicographic order, the sum of the weights of each, and the report, all
        as of the frame with these rows.

    Raises:
        DataError: a value is no state, a weight is unusable, no row is left, or the table changed
            in between.
        TooManyPatternsError: there are more distinct rows than wanted.
    """
    packed = Packed.of(table, schema)
    weighing = Weighing.of(table, sample_weight, schema)
    groups = grouped(table, packed, weighing, weights_are, most)
    repairs = [*table.said, *sentences(r for digit in packed.digits for r in digit.repairs)]
    margins = {digit.name: int(digit.margin()[0]) for digit in packed.digits if digit.shift}
    gaps = {name: n for name, n in margins.items() if n}
    n_dropped = n_empty = 0
    empty_weight = 0.0
    if gaps and missing == "error":
        raise gaps_refused(gaps, table.n_rows)
    if gaps and missing == "drop":
        groups = groups.kept((groups.codes >= 0).all(1))
        if not len(groups.rows):
            raise no_complete_row(gaps, table.n_rows)
        n_dropped = table.n_rows - int(groups.rows.sum())
        repairs.append(dropped(n_dropped, gaps, table.n_rows))
    with_gaps = [digit.shift > 0 for digit in packed.digits]
    if all(with_gaps) and not bool((seen := (groups.codes >= 0).any(1)).all()):
        empty = groups.kept(~seen)
        n_empty, empty_weight = int(empty.rows.sum()), float(empty.weights.sum())
        repairs.append(left_out(n_empty, table.n_rows))
        groups = groups.kept(seen)
    n_zero = int((groups.rows - groups.positive).sum())
    groups = groups.kept(groups.positive > 0)
    report = DataReport(
        n_rows=table.n_rows,
        n_variables=schema.n_variables,
        n_patterns=len(groups.rows),
        n_dropped_rows=n_dropped + n_empty,
        n_zero_weight_rows=n_zero,
        empty_weight=empty_weight,
        unused=_unused(table, schema, sample_weight),
    )
    if not len(groups.rows):
        raise nothing_left(report)
    gapped = groups.codes.T[torch.tensor(with_gaps)]
    n_missing = sum(int(groups.positive[column < 0].sum()) for column in gapped)
    rows, sums = groups.codes.contiguous(), groups.weights
    total, squares = float(sums.sum()), float(groups.squares.sum())
    row_weight = squares / total if weights_are == SAMPLING else 1.0
    if weights_are == COUNTS and bool(groups.broken.any()):
        repairs += doubts_of_fractions(total, total * total / squares)
    found = {"n_missing_cells": n_missing, "total_weight": total, "row_weight": row_weight}
    return rows, sums, DataReport(**{**vars(report), **found, "repairs": tuple(repairs)})


def grouped(
    table: RelationTable,
    packed: Packed,
    weighing: Weighing = ONES,
    weights_are: str = COUNTS,
    most: int | None = None,
) -> Groups:
    """One GROUP BY the digits of all variables.

    Raises:
        DataError: the table changed since its columns were looked at.
        TooManyPatternsError: there are more than ``most`` distinct rows.
    """
    words = packed.sql(table.engine.kinds)
    columns, sums = dict(words), {"n_rows": "COUNT(*)"}
    if weighing.name:
        columns["w"] = weighing.sql(table.engine.kinds)
        sums["weights"] = "SUM(w)"
        if weighing.zeros:
            sums["positive"] = ones("w > 0")
        if weighing.fractions or weights_are == SAMPLING:
            sums["squares"] = "SUM(w * w)"
            sums["broken"] = ones(fractional("w"))
    rows_of = f"SELECT {', '.join(named(columns))} FROM {NAME}"
    keys = ", ".join(words)
    query = f"SELECT {keys}, {', '.join(named(sums))} FROM ({rows_of}) AS t GROUP BY {keys}"
    parts: dict[str, list[np.ndarray]] = {name: [] for name in (*words, *sums)}
    n_groups = 0
    for batch in table.engine.batches(query, BATCH):
        n_groups += batch.num_rows
        if most is not None and n_groups > most:
            raise TooManyPatternsError(
                f"expected at most {most} distinct rows, found more in {table.where}; raise "
                "memory_limit"
            )
        for name, part in parts.items():
            part.append(batch.column(name).to_numpy(zero_copy_only=False))
    found = {name: np.concatenate(part) for name, part in parts.items()}
    # as ``codes.collapse`` has them, so that sums over patterns have one order
    order = np.lexsort([found[name] for name in reversed(list(words))])
    found = {name: column[order] for name, column in found.items()}
    rows = torch.from_numpy(found["n_rows"].astype(np.int64))

    def of(name: str, kind: type) -> Tensor:
        if name not in found:
            return rows.to(torch.float64) if kind is np.float64 else rows
        return torch.from_numpy(found[name].astype(kind))

    weights = of("weights", np.float64)
    numbers = [found[name] for name in words]
    _check_unchanged(packed, numbers, found["n_rows"])
    return Groups(
        packed.codes(numbers),
        rows,
        of("positive", np.int64),
        weights,
        of("squares", np.float64),
        of("broken", np.int64) if "broken" in found else torch.zeros_like(rows),
    )


def _check_unchanged(
    packed: Packed, numbers: Sequence[Int[np.ndarray, " m"]], rows: Int[np.ndarray, " m"]
) -> None:
    """Refuse a table whose columns were others when their values were looked at.

    Raises:
        DataError: names the first column that changed.
    """
    margins = packed.margins(numbers, rows)
    for digit, margin in zip(packed.digits, margins, strict=True):
        if margin.tolist() != digit.margin().tolist():
            raise DataError(
                f"expected a table that stands still, found that column {digit.name!r} has other "
                "values now than a moment ago; wait for whoever writes to it, or pass a snapshot"
            )


def _unused(table: RelationTable, schema: Schema, sample_weight: Any) -> tuple[str, ...]:
    used = {*schema.variables, *([sample_weight] if isinstance(sample_weight, str) else [])}
    return tuple(str(name) for name in table.columns if name not in used)
