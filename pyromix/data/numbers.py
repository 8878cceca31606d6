"""Columns of numbers, as numbers: which these are, what they must be, and where they are cut."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.data.cells import levels_of
from pyromix.data.levels import TooManyValuesError, numbers_of
from pyromix.data.reading import RawTable
from pyromix.data.relation.table import RelationTable
from pyromix.data.text import MISSING_TEXTS
from pyromix.errors import DataError
from pyromix.model.kind import Kind

FEW = 3
"""A column of numbers with fewer distinct values is one of states."""

FAR = 25.0
"""Standard deviations from the mean beyond which a number may be in another unit."""


def fractional(table: RawTable | RelationTable, name: str) -> bool:
    """Whether a column that nobody declared holds numbers with fractions.

    Args:
        table: has the column.
        name: of the column.
    """
    if not table.text:
        if isinstance(table, RelationTable):
            return table.has_fractions(name)
        series = table.frame[name]
        if not series.dtype.is_float():
            return False
        values = series.to_numpy()
        values = values[np.isfinite(values)]
        return bool((values != np.floor(values)).any())
    try:
        levels = levels_of(table, name)
    except TooManyValuesError:
        return False
    seen = zip(levels.values, levels.counts()[1:].tolist(), strict=True)
    texts = [str(v) for v, n in seen if n and v not in MISSING_TEXTS]
    numbers = []
    for text in texts:
        try:
            numbers.append(float(text))
        except ValueError:
            return False
    return any(math.isfinite(x) and x != math.floor(x) for x in numbers)


def read_number_column(table: RawTable, name: str, kind: Kind) -> Float[Tensor, " rows"]:
    """A column as numbers of its kind; nan where a cell is missing.

    Raises:
        DataError: cells are no numbers, infinite, or outside what the kind allows; or the column
            is empty, constant, or has two values.
    """
    values = numbers(table, name)
    told = values[~values.isnan()]
    if not len(told):
        raise DataError(
            f"column {name!r} has no value: all {len(values)} cells are missing; leave the "
            "variable out, or fill the column"
        )
    check_range(name, kind, told)
    distinct = told.unique()
    if len(distinct) == 1:
        raise DataError(
            f"column {name!r} must vary, found only {float(distinct):.6g} in {len(told)} rows; a "
            "constant carries no information: leave the variable out"
        )
    if len(distinct) < FEW:
        raise DataError(
            f"column {name!r} has two values, {float(distinct[0]):.6g} and "
            f"{float(distinct[1]):.6g}: declare them as states, "
            f'state_names={{{name!r}: {distinct.tolist()}}}, or kinds={{{name!r}: "categorical"}}'
        )
    return values


def numbers(table: RawTable, name: str) -> Float[Tensor, " rows"]:
    """A column as numbers; nan where a cell is missing.

    Raises:
        DataError: a cell is no number, or infinite.
    """
    values = torch.from_numpy(np.array(numbers_of(name, table.frame[name], table.marks)))
    if bool(values.isinf().any()):
        raise DataError(
            f"column {name!r} must hold finite numbers, found {int(values.isinf().sum())} infinite "
            "cells; make them missing (nan), or correct them"
        )
    return values


def check_range(name: str, kind: Kind, told: Float[Tensor, " m"], *, zeros: bool = True) -> None:
    """Refuse numbers that a kind does not have.

    Args:
        name: of the column.
        kind: of the variable.
        told: numbers that are not missing.
        zeros: whether a hurdle must have some.

    Raises:
        DataError: there are some.
    """
    broken, wanted, advice = torch.zeros_like(told, dtype=torch.bool), "", ""
    if kind is Kind.POSITIVE:
        broken, wanted = told <= 0, "numbers above zero"
        advice = 'kind "hurdle" has zeros, "real" any number'
    elif kind is Kind.HURDLE:
        broken, wanted, advice = told < 0, "zeros and numbers above", 'kind "real" has any number'
    elif kind is Kind.COUNT:
        broken, wanted = (told < 0) | (told != told.floor()), "0, 1, 2, ..."
        advice = 'kind "real" has any number'
    if bool(broken.any()):
        raise DataError(
            f"column {name!r} of kind {str(kind)!r} must hold {wanted}, found "
            f"{float(told[broken][0]):.6g} ({int(broken.sum())} cells); {advice}"
        )
    if zeros and kind is Kind.HURDLE and not bool((told == 0).any()):
        raise DataError(
            f"column {name!r} of kind 'hurdle' must hold zeros, found none; kind \"positive\" has "
            "none"
        )


def far_off(name: str, values: Float[Tensor, " rows"]) -> str:
    """What is to be said of numbers far from all others; empty where there are none.

    Args:
        name: of the column.
        values: in units in which they have mean 0 and standard deviation 1.
    """
    told = values[values.isfinite()]
    middle = told.median()
    # The quartiles do not move with what is far off.
    low, high = torch.quantile(told[:1_000_000], torch.tensor([0.25, 0.75], dtype=told.dtype))
    spread = float((high - low) / 1.35)
    if spread <= 0:
        return ""
    far = int(((told - middle).abs() > FAR * spread).sum())
    if not far:
        return ""
    return (
        f"column {name!r}: {far} of {len(told)} numbers lie more than {FAR:g} standard deviations "
        "(by the quartiles) from the median: are they in another unit?"
    )


def cuts(kind: Kind, values: Float[Tensor, " rows"], n_bins: int) -> list[float]:
    """Where a column is cut into bins of about equally many rows; zeros are a bin of a hurdle.

    Ties may leave fewer bins.

    Args:
        kind: of the column.
        values: raw; nan where missing.
        n_bins: how many, two or more.
    """
    told = values[~values.isnan()].sort().values
    edges: list[float] = []
    if kind is Kind.HURDLE:
        told = told[told > 0]
        edges, n_bins = [float(told[0])], max(n_bins - 1, 1)
    least = float(told[0])
    for i in range(1, n_bins):
        edge = float(told[min(round(i * len(told) / n_bins), len(told) - 1)])
        if edge > least and (not edges or edge > edges[-1]):
            edges.append(edge)
    if not edges:
        # More than half of the rows are tied at the least value.
        edges.append(float(told[told > least][0]))
    return edges


def kinds_in(
    table: RawTable | RelationTable,
    names: Sequence[str],
    declared: Mapping[str, Kind],
    states: Mapping[Any, Any],
    *,
    real: bool = False,
) -> dict[str, Kind]:
    """Kinds of the columns that are numbers: declared ones, and those that hold fractions.

    Args:
        table: has the columns.
        names: of the variables.
        declared: kinds that were declared.
        states: variables whose states were declared.
        real: whether all others are real, fractions or none.
    """
    found = {}
    for name in names:
        if name in declared:
            if declared[name].numeric:
                found[name] = declared[name]
        elif name not in states and name in table.columns and (real or fractional(table, name)):
            found[name] = Kind.REAL
    return found
