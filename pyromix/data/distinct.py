"""From the rows of a table to its distinct rows: what is left out, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.data.codes import collapse
from pyromix.data.gaps import left_out, nothing_left
from pyromix.data.intake_report import DataReport
from pyromix.data.weights import doubts, row_weight
from pyromix.model.schema import Schema


def distinct_rows(
    schema: Schema,
    codes: Int[Tensor, "rows variables"],
    weights: Float[Tensor, " rows"] | None,
    report: DataReport,
    weights_are: str | None = None,
) -> tuple[Int[Tensor, "patterns variables"], Float[Tensor, " patterns"], DataReport]:
    """Leave out rows that say nothing, and count the others.

    Args:
        schema: variables and states.
        codes: state numbers, missing cells -1.
        weights: one per row, not negative; ones when left out.
        report: what is known of the table so far.
        weights_are: ``"counts"`` or ``"sampling"``, where the rows are those that were given; when
            left out what the report says of a row's weight holds.

    Returns:
        The distinct rows, the sum of the weights of each, and the report of both.

    Raises:
        DataError: no row is left.
    """
    # column by column: sums over the whole table would first make it eight times larger
    seen = torch.zeros(codes.shape[0], dtype=torch.bool, device=codes.device)
    for column in codes.unbind(1):
        seen |= column >= 0
    empty = codes.shape[0] - int(torch.count_nonzero(seen))
    empty_weight = float(empty) if weights is None else float(weights[~seen].sum())
    if weights is not None:
        positive = weights > 0
        zeros = int(torch.count_nonzero(seen & ~positive))
        report = replace(report, n_zero_weight_rows=zeros)
        seen &= positive
    if not bool(seen.all()):
        codes = codes[seen]
        weights = None if weights is None else weights[seen]
    if empty:
        report = replace(report, repairs=(*report.repairs, left_out(empty, report.n_rows)))
        report = replace(
            report, n_dropped_rows=report.n_dropped_rows + empty, empty_weight=empty_weight
        )
    if not codes.shape[0]:
        raise nothing_left(report)
    if weights is not None and weights_are is not None:
        report = replace(
            report,
            row_weight=row_weight(weights, weights_are),
            repairs=(*report.repairs, *doubts(weights, weights_are)),
        )
    n_missing = sum(int(torch.count_nonzero(column < 0)) for column in codes.unbind(1))
    rows, sums = collapse(codes, schema.cards, weights)
    report = replace(
        report,
        n_patterns=len(rows),
        n_missing_cells=n_missing,
        total_weight=float(sums.sum()),
    )
    return rows, sums, report
