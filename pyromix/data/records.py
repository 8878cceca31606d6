"""Rows of states and numbers, each row for itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.errors import DataError
from pyromix.model.kind import Kind, Unit

BLOCK = 2**15
"""Rows that are looked at together."""


@dataclass(frozen=True, eq=False)
class Part:
    """Rows in which the same cells are missing.

    Attributes:
        columns: per vertex ``(m,)``: state numbers, or numbers in their units.
        weights: ``(m,)``.
        missing: vertices whose cells are missing.
        rows: places of the rows in the table.
    """

    columns: tuple[Tensor, ...]
    weights: Float[Tensor, " m"]
    missing: tuple[int, ...]
    rows: Int[Tensor, " m"]


@dataclass(frozen=True, eq=False)
class Records:
    """Rows of a table with states and numbers.

    Attributes:
        kinds: of each vertex.
        units: in which numbers are.
        columns: per vertex ``(N,)``: int64 state numbers, -1 where missing, or float64 numbers in
            their units, nan where missing.
        weights: of the rows, ``(N,)``, positive; they count as so many rows.

    Raises:
        DataError: columns of different lengths, or no row.
    """

    kinds: tuple[Kind, ...]
    units: tuple[Unit, ...]
    columns: tuple[Tensor, ...]
    weights: Float[Tensor, " rows"]

    def __post_init__(self) -> None:
        lengths = {len(column) for column in (*self.columns, self.weights)}
        if lengths == {0} or len(lengths) != 1:
            raise DataError(f"expected columns of one length and a row, found {sorted(lengths)}")

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.weights)

    @property
    def total_weight(self) -> float:
        """Sum of the weights."""
        return float(self.weights.sum())

    @property
    def device(self) -> torch.device:
        """Device of all columns."""
        return self.weights.device

    def missing(self) -> Bool[Tensor, "rows variables"]:
        """Which cells are missing."""
        gaps = [
            column.isnan() if kind.numeric else column < 0
            for kind, column in zip(self.kinds, self.columns, strict=True)
        ]
        return torch.stack(gaps, 1)

    def only(self, rows: Tensor) -> Records:
        """Some rows, by place or by mask."""
        return replace(
            self, columns=tuple(c[rows] for c in self.columns), weights=self.weights[rows]
        )

    def weighted(self, weights: Float[Tensor, " rows"]) -> Records:
        """The same rows with other weights; those of weight zero are left out."""
        kept = weights > 0
        return replace(self, columns=tuple(c[kept] for c in self.columns), weights=weights[kept])

    def to(self, device: torch.device | str) -> Records:
        """The same rows on another device."""
        columns = tuple(column.to(device) for column in self.columns)
        return replace(self, columns=columns, weights=self.weights.to(device))

    def parts(self, size: int = BLOCK) -> Iterator[Part]:
        """Rows in blocks of one pattern of missing cells, twice the same."""
        gaps = self.missing()
        if not bool(gaps.any()):
            every = torch.arange(self.n_rows, device=self.device)
            for start in range(0, self.n_rows, size):
                where = slice(start, start + size)
                columns = tuple(c[where] for c in self.columns)
                yield Part(columns, self.weights[where], (), every[where])
            return
        patterns, which = gaps.unique(dim=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            rows = (which == number).nonzero().flatten()
            absent = tuple(pattern.nonzero().flatten().tolist())
            for start in range(0, len(rows), size):
                some = rows[start : start + size]
                columns = tuple(c.index_select(0, some) for c in self.columns)
                yield Part(columns, self.weights.index_select(0, some), absent, some)

    def log_slopes(self) -> Float[Tensor, " rows"]:
        """What the log-density of each row gains from our units to the user's."""
        total = torch.zeros_like(self.weights)
        for unit, kind, column in zip(self.units, self.kinds, self.columns, strict=True):
            if kind.numeric:
                total = total + unit.log_slope(unit.outward(column)).nan_to_num(nan=0.0)
        return total


def thinned_records(records: Records, n: int, generator: torch.Generator) -> Records:
    """At most so many rows, drawn without regard to weights."""
    if records.n_rows <= n:
        return records
    chosen = torch.randperm(records.n_rows, generator=generator)[:n].sort().values
    return records.only(chosen.to(records.device))
