"""Weights of rows: read, checked, float64; and how many rows they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.data.levels import numbers_of
from pyromix.errors import DataError
from pyromix.model.arguments import numbers_as_tensor, one_of
from pyromix.model.schema import Schema, near_matches

COUNTS, SAMPLING = WEIGHTS_ARE = ("counts", "sampling")
"""What weights can be: numbers of rows, or how much each row speaks for."""

WHOLE = 1e-5
"""Share of a weight that rounding may have put between it and a whole number: the error of six
printed digits, and more than that of single precision."""

LARGEST_ROUNDED = 1000.0
"""Weight from which that share grows no more, or every number above 1 / WHOLE would be whole."""

APART = 2.0
"""Ratio of the two readings' numbers of rows from which the choice is spoken of."""


def check_weights_are(weights_are: str, sample_weight: Any) -> None:
    """Refuse a reading that is none, or one of weights that are not there.

    Raises:
        QueryError: ``weights_are`` is unknown.
        DataError: it is set, and ``sample_weight`` is left out.
    """
    one_of("weights_are", weights_are, WEIGHTS_ARE)
    if sample_weight is None and weights_are != COUNTS:
        raise DataError(
            f"weights_are={weights_are!r} says how weights are to be read, but no weights were "
            "given; pass sample_weight=..., or weights_are='counts'"
        )


def row_weight(weights: Float[Tensor, " rows"], weights_are: str = COUNTS) -> float:
    """Weight that counts as one row, see ``DataReport.row_weight``.

    Args:
        weights: ``(N,)``, not negative, and not all zero.
        weights_are: ``"counts"`` or ``"sampling"``.
    """
    return 1.0 if weights_are == COUNTS else float(weights.square().sum() / weights.sum())


def doubts(weights: Float[Tensor, " rows"], weights_are: str = COUNTS) -> tuple[str, ...]:
    """Say of weights read as counts that hardly are what the other reading makes of them.

    Whole numbers are counts. Others are spoken of where the two numbers of rows lie further apart
    than ``APART``, as they do where weights were normalised to the sum of one.

    Args:
        weights: ``(N,)``, not negative, and not all zero.
        weights_are: ``"counts"`` or ``"sampling"``; of the second there is no doubt.

    Returns:
        One sentence or none.
    """
    slack = WHOLE * weights.clamp_max(LARGEST_ROUNDED)
    if weights_are != COUNTS or bool(((weights - weights.round()).abs() <= slack).all()):
        return ()
    total = float(weights.sum())
    return doubts_of_fractions(total, total / row_weight(weights, SAMPLING))


def doubts_of_fractions(total: float, effective: float) -> tuple[str, ...]:
    """Say of fractional weights read as counts what the other reading makes of them.

    Args:
        total: their sum.
        effective: Kish's effective number of rows.

    Returns:
        One sentence or none.
    """
    if max(total / effective, effective / total) <= APART:
        return ()
    return (
        "The weights are not whole numbers, and the number of rows depends on what they are: "
        f"{total:.6g} as counts (weights_are='counts', which was taken), {effective:.6g} as "
        "sampling weights (weights_are='sampling', Kish's effective number). Pass "
        "weights_are='sampling' if they were normalised, or say how much each row speaks for.",
    )


def check_weight_column(name: str, schema: Schema, columns: Sequence[str]) -> None:
    """Refuse a column of weights that is a variable, or is not there.

    Raises:
        DataError: it is.
    """
    if name in schema.variables:
        raise DataError(
            f"sample_weight names the column {name!r}, which is a variable of the model; use "
            "another column"
        )
    if name not in columns:
        raise DataError(
            f"sample_weight names the column {name!r}, which is not in the data"
            f"{near_matches(name, columns)}; the columns are {list(columns[:12])}"
        )


def read_weights(
    frame: nw.DataFrame[Any], sample_weight: Any, schema: Schema, labels: Any = None
) -> Float[Tensor, " rows"]:
    """One weight per row.

    Args:
        frame: the table.
        sample_weight: a column name, a series, tensor or sequence of numbers, or None for ones.
        schema: the variables, none of which can be the weight.
        labels: index of a pandas frame; None where there is none.

    Returns:
        ``(N,)``, on the CPU.

    Raises:
        DataError: the column is missing or a variable, a weight is unusable, or a series has the
            labels of the rows in another order.
    """
    n = len(frame)
    if sample_weight is None:
        # one number seen N times: no memory
        return torch.ones(1, dtype=torch.float64, device="cpu").expand(n)
    if isinstance(sample_weight, str):
        check_weight_column(sample_weight, schema, frame.columns)
        weights = numbers_of(sample_weight, frame[sample_weight])
    else:
        _check_order(sample_weight, labels)
        weights = _array(sample_weight)
    check_weights(weights, n)
    return torch.as_tensor(weights, dtype=torch.float64, device="cpu")


def _check_order(sample_weight: Any, labels: Any) -> None:
    """Refuse a series whose labels say that its numbers belong to other rows.

    Raises:
        DataError: they are those of the table in another order.
    """
    own: Any = getattr(sample_weight, "index", None)
    if labels is None or type(own) is not type(labels) or len(own) != len(labels):
        return
    if own.equals(labels) or not own.is_unique or not own.isin(labels).all():
        return
    raise DataError(
        "sample_weight has the labels of the table's rows in another order: pass "
        "sample_weight.loc[data.index], or its numbers alone, sample_weight.to_numpy()"
    )


def check_weights(weights: Float[np.ndarray, " rows"], n_rows: int) -> None:
    """Refuse weights that are none.

    Raises:
        DataError: a wrong number, NaN, infinite or negative weights, or nothing but zeros.
    """
    if weights.shape != (n_rows,):
        raise DataError(
            f"sample_weight must hold one number for each of {n_rows} rows, found "
            f"{weights.shape[0]}"
        )
    for wrong, what in (
        (np.isnan(weights), "NaN"),
        (np.isinf(weights), "infinite"),
        (weights < 0, "negative"),
    ):
        if wrong.any():
            rows = np.flatnonzero(wrong)
            raise DataError(
                f"sample_weight must be finite and not negative, found {len(rows)} {what} weights, "
                f"in rows {rows[:5].tolist()}{' ...' if len(rows) > 5 else ''} (counted from 0); "
                "a row to be left out has weight 0"
            )
    if not weights.any():
        raise DataError(
            f"sample_weight must have a positive sum, found {n_rows} zeros; check the column"
        )


def _array(values: Any) -> Float[np.ndarray, " rows"]:
    """A series, tensor or sequence of numbers as a float64 array."""
    series = nw.from_native(values, series_only=True, pass_through=True)
    if isinstance(series, nw.Series):
        return numbers_of("sample_weight", series)
    try:
        if isinstance(values, Tensor):
            values = numbers_as_tensor("sample_weight", values, "cpu", DataError).numpy()
        if isinstance(values, np.ndarray) and np.iscomplexobj(values):
            raise TypeError("they are complex")
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"sample_weight must be a column name or numbers: {error}") from None
    if array.ndim != 1:
        raise DataError(
            f"sample_weight must hold one number per row, found an array of shape {array.shape}"
        )
    return array
