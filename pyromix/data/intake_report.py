"""What happened to a table on its way in: nothing is dropped or read differently in silence."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from pyromix.errors import DataRepairWarning, warn


@dataclass(frozen=True)
class DataReport:
    """Sizes of a table, and every row that was left out or cell that was read differently.

    Attributes:
        n_rows: rows given.
        n_variables: variables of the model.
        n_patterns: distinct rows kept (rows kept, before duplicates are collapsed).
        n_missing_cells: missing cells among the rows kept.
        n_dropped_rows: rows left out because of missing cells; ``repairs`` says why.
        n_zero_weight_rows: rows left out because their weight is zero.
        total_weight: sum of the weights of the rows kept; their number without weights.
        empty_weight: the same of the rows that have no observed cell, which are left out.
        row_weight: weight that counts as one row: one where weights are counts; where they are
            sampling weights ``sum w^2 / sum w``, so that ``total_weight / row_weight`` is the
            effective number of rows [L. Kish, Survey Sampling, 1965].
        unused: columns of the table that the model does not name.
        repairs: sentences, one for each column or rule.
    """

    n_rows: int
    n_variables: int
    n_patterns: int
    n_missing_cells: int = 0
    n_dropped_rows: int = 0
    n_zero_weight_rows: int = 0
    total_weight: float = 0.0
    empty_weight: float = 0.0
    row_weight: float = 1.0
    unused: tuple[str, ...] = ()
    repairs: tuple[str, ...] = ()

    def merged(self, other: DataReport, n_patterns: int) -> DataReport:
        """Report of two tables taken together.

        Args:
            other: report of the second table.
            n_patterns: distinct rows of both.
        """
        return replace(
            self,
            n_rows=self.n_rows + other.n_rows,
            n_patterns=n_patterns,
            n_missing_cells=self.n_missing_cells + other.n_missing_cells,
            n_dropped_rows=self.n_dropped_rows + other.n_dropped_rows,
            n_zero_weight_rows=self.n_zero_weight_rows + other.n_zero_weight_rows,
            total_weight=self.total_weight + other.total_weight,
            empty_weight=self.empty_weight + other.empty_weight,
            row_weight=(self.total_weight * self.row_weight + other.total_weight * other.row_weight)
            / max(self.total_weight + other.total_weight, math.ulp(0.0)),
            unused=tuple(dict.fromkeys((*self.unused, *other.unused))),
            repairs=tuple(dict.fromkeys((*self.repairs, *other.repairs))),
        )

    def in_rows(self) -> DataReport:
        """Report of the same table with weights in rows."""
        return replace(
            self,
            row_weight=1.0,
            total_weight=self.total_weight / self.row_weight,
            empty_weight=self.empty_weight / self.row_weight,
        )

    def __str__(self) -> str:
        """A few lines for people."""
        kept = self.n_rows - self.n_dropped_rows - self.n_zero_weight_rows
        lines = [
            f"rows {self.n_rows:,}   distinct {self.n_patterns:,}   "
            f"variables {self.n_variables:,}   total weight {self.total_weight:,.10g}"
        ]
        if self.n_missing_cells:
            share = self.n_missing_cells / max(kept * self.n_variables, 1)
            lines.append(f"missing cells {self.n_missing_cells:,} ({share:.2%}; kept, MAR)")
        if self.n_dropped_rows:
            lines.append(f"rows left out {self.n_dropped_rows:,}")
        if self.n_zero_weight_rows:
            lines.append(f"rows of weight zero, left out {self.n_zero_weight_rows:,}")
        if self.unused:
            lines.append(f"columns not used: {', '.join(self.unused)}")
        lines.extend(f"note: {repair}" for repair in self.repairs)
        return "\n".join(lines)


def warn_of_repairs(report: DataReport) -> None:
    """Say once what a report says was dropped or read differently."""
    if report.repairs:
        warn(" ".join(report.repairs), DataRepairWarning)
