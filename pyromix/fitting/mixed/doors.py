"""What the doors do with columns of numbers before anything is fitted."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch

from pyromix.data.bins import as_text, binned, intervals
from pyromix.data.numbers import cuts, fractional, read_number_column
from pyromix.data.numbers import numbers as numbers_of_column
from pyromix.data.reading import RawTable, check_columns
from pyromix.data.relation.door import read_rows, read_table
from pyromix.data.relation.table import RelationTable
from pyromix.errors import DataError, QueryError
from pyromix.estimate.pooled_prior import POOLED
from pyromix.fitting.inputs import is_asked
from pyromix.fitting.mixed.intake import MixedTable, structure_of_unsaid, with_numbers
from pyromix.model.arguments import listed, mapping, real, shown
from pyromix.model.kind import Kind, kinds_of

QUANTILES = re.compile(r"quantile:([1-9][0-9]*)")

MOST_BINS = 50
"""States that a column is cut into, at most."""


def numbers_in(
    model: Any,
    data: Any,
    n_sources: int | None,
    numbers: Mapping[str, Any],
    state_names: Mapping[str, Sequence[Hashable]] | None,
    missing_values: Any,
) -> tuple[Any, Mapping[str, Sequence[Hashable]] | None, MixedTable | None]:
    """Cut the columns that are to be cut, and find those that stay numbers.

    Args:
        model: as in ``fit``.
        data: as in ``fit``.
        n_sources: as in ``fit``.
        numbers: ``kinds`` and ``discretize`` as in ``fit``.
        state_names: as in ``fit``.
        missing_values: as in ``fit``.

    Returns:
        Data and declared states for a fit of states, or with a table for a fit with numbers.

    Raises:
        QueryError: a kind, or a way of cutting, is none, or of what is no variable.
        DataError: a column is missing or holds something else than numbers.
    """
    structure_of_unsaid(model, n_sources)
    if not is_asked(data):
        data = read_table(data, missing_values)  # once: an open file has its rows once
    data, states = cut_columns(data, numbers["discretize"], state_names, missing_values)
    kinds = numbers["kinds"]
    states = kept_values(data, kinds, states, missing_values)
    table = with_numbers(model, data, n_sources, kinds, states, missing_values)
    return data, states, table


def kept_values(
    data: Any,
    kinds: Mapping[str, str] | None,
    state_names: Mapping[str, Sequence[Hashable]] | None,
    missing_values: Any = None,
) -> Mapping[str, Sequence[Hashable]] | None:
    """Declare the few values of columns with fractions that were declared categorical.

    Columns of more than ``MOST_BINS`` values are left to whoever reads states, and refuses them.
    """
    told = state_names or {}
    wanted = [
        name
        for name, kind in kinds_of(kinds).items()
        if kind is Kind.CATEGORICAL and name not in told
    ]
    if not wanted or is_asked(data):
        return state_names
    table, found = read_table(data, missing_values), {}
    for name in wanted:
        if name in table.columns and fractional(table, name):
            distinct = _distinct(table, name)
            if len(distinct) <= MOST_BINS:
                found[name] = distinct
    return {**told, **found} if found else state_names


def cut_columns(
    data: Any,
    discretize: Mapping[str, Sequence[float] | str] | None,
    state_names: Mapping[str, Sequence[Hashable]] | None,
    missing_values: Any = None,
) -> tuple[Any, Mapping[str, Sequence[Hashable]] | None]:
    """Cut columns of numbers into states; the table, and the states declared with these.

    Raises:
        QueryError: a way of cutting is none.
        DataError: a column is missing or holds something else than numbers.
    """
    wanted = mapping("discretize", discretize, "names of columns to edges, or 'quantile:4'")
    if not wanted:
        return data, state_names
    if is_asked(data):
        raise DataError(
            f"discretize: expected a table with columns of numbers, found a {type(data).__name__}, "
            "whose variables have states; pass the data frame or the path"
        )
    table = read_table(data, missing_values)
    check_columns(table, list(wanted))
    if isinstance(table, RelationTable) and not all(map(table.is_numeric, wanted)):
        table = read_rows(table)
    edges = {}
    for name, how in wanted.items():
        if isinstance(how, str):
            n_bins = _quantiles(name, how)
            values = read_number_column(read_rows(table, columns=[name]), name, Kind.REAL)
            # As the names of the states will spell them.
            edges[name] = [float(as_text(edge)) for edge in cuts(Kind.REAL, values, n_bins)]
        else:
            given = listed(f"discretize of {name!r}", how, "edges", QueryError)
            edges[name] = [real(f"an edge of {name!r}", edge, -math.inf) for edge in given]
    if isinstance(table, RelationTable):
        # Its engine reads numbers as the intervals that are their states.
        states = {name: intervals(name, cut) for name, cut in edges.items()}
    else:
        table, states = binned(table, edges)
    return table, {**(state_names or {}), **states}


def _distinct(table: RawTable | RelationTable, name: str) -> list[float]:
    """The distinct numbers of a column, in order."""
    values = numbers_of_column(read_rows(table, columns=[name]), name)
    return values[~values.isnan()].unique().tolist()


def _quantiles(name: str, how: str) -> int:
    """Number of states of ``"quantile:4"``.

    Raises:
        QueryError: it is no such text.
    """
    found = QUANTILES.fullmatch(how)
    if found is None or not 2 <= int(found[1]) <= MOST_BINS:
        raise QueryError(
            f"discretize of {name!r}: expected edges such as [40, 60], or 'quantile:4' for four "
            f"states of about equally many rows (2 to {MOST_BINS}), found {shown(how)}"
        )
    return int(found[1])


def refuse_options(*, method: Any, prior: Any, checkpoint: Any) -> None:
    """Refuse options that a fit with numbers does not have.

    Raises:
        QueryError: one is set.
    """
    cure = 'discretize= cuts columns into states, kinds={...: "categorical"} keeps their values'
    if method != "auto":
        raise QueryError(
            f'a table with numbers is fitted by method="auto" alone, found {shown(method)}; {cure}'
        )
    if isinstance(prior, torch.Tensor) or (prior is not None and prior != POOLED):
        raise QueryError(
            f'the prior of a fit with numbers is "pooled" or None, found {shown(prior)}; {cure}'
        )
    if checkpoint is not None:
        raise QueryError(f"a fit with numbers keeps no checkpoint; leave it out, or {cure}")
