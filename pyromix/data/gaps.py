"""What is said of rows with missing cells, of frames and of relations alike."""

from __future__ import annotations

from collections.abc import Mapping

from pyromix.data.intake_report import DataReport
from pyromix.errors import DataError


def gaps_refused(gaps: Mapping[str, int], n_rows: int) -> DataError:
    """The error where missing cells are forbidden and there are some.

    Args:
        gaps: number of missing cells per variable that has any.
        n_rows: rows of the table.
    """
    return DataError(
        f"expected no missing cells (missing='error'), found {dict(gaps)} in {n_rows} rows; pass "
        "missing='mar' to keep them or 'drop' to drop the rows"
    )


def no_complete_row(gaps: Mapping[str, int], n_rows: int) -> DataError:
    """The error where rows with missing cells are dropped and every row has one."""
    return DataError(
        f"no row is left: each of {n_rows} rows has a missing cell, {dict(gaps)}; pass "
        "missing='mar' to keep them"
    )


def dropped(n_dropped: int, gaps: Mapping[str, int], n_rows: int) -> str:
    """The sentence on rows that were dropped because of a missing cell."""
    return f"{n_dropped} of {n_rows} rows with a missing cell were dropped: {dict(gaps)}."


def left_out(n_empty: int, n_rows: int) -> str:
    """The sentence on rows without any observed cell."""
    return f"{n_empty} of {n_rows} rows have no observed cell and were left out."


def nothing_left(report: DataReport) -> DataError:
    """The error where no row says anything."""
    return DataError(
        f"no row is left: of {report.n_rows} rows {report.n_dropped_rows} lack cells and "
        f"{report.n_zero_weight_rows} have weight zero"
    )
