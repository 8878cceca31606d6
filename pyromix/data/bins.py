"""A column of numbers as a variable of a few states: intervals between given edges."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

import narwhals.stable.v2 as nw
import numpy as np

from pyromix.data.levels import numbers_of
from pyromix.data.reading import RawTable, check_columns
from pyromix.errors import DataError
from pyromix.model.schema import Schema


def binned(
    table: RawTable, bins: Mapping[str, Sequence[float]]
) -> tuple[RawTable, dict[str, tuple[str, ...]]]:
    """Replace columns of numbers by the intervals that these lie in.

    Edges 50, 60 make the states ``"<50"``, ``"50-<60"`` and ``"60+"``: an edge belongs to the
    interval above it. A missing cell stays missing.

    Args:
        table: has the columns.
        bins: per column its edges, increasing.

    Returns:
        The table, and the states of every such column in order.

    Raises:
        DataError: a column is missing, holds something else than numbers, or edges do not
            increase.
    """
    check_columns(table, list(bins))
    states: dict[str, tuple[str, ...]] = {}
    columns = []
    for name, edges in bins.items():
        states[name] = intervals(name, edges)
        numbers = numbers_of(name, table.frame[name], table.marks)
        places = np.searchsorted(np.array(edges, dtype=np.float64), numbers, side="right")
        cells = [
            None if math.isnan(x) else states[name][i]
            for x, i in zip(numbers.tolist(), places.tolist(), strict=True)
        ]
        texts = nw.new_series(name, cells, nw.String, backend=table.frame.implementation)
        columns.append(texts.cast(nw.Categorical) if table.text else texts)
    return replace(table, frame=table.frame.with_columns(*columns)), states


def intervals(name: str, edges: Sequence[float]) -> tuple[str, ...]:
    """Names of the intervals between edges.

    Raises:
        DataError: there is no edge, or they do not increase.
    """
    pairs = itertools.pairwise(edges)
    if not edges or not all(map(math.isfinite, edges)) or not all(a < b for a, b in pairs):
        raise DataError(
            f"bins of {name!r}: expected one or more increasing numbers between intervals, found "
            f"{list(edges)}; e.g. 50, 60, 70"
        )
    texts = [as_text(edge) for edge in edges]
    inner = (f"{low}-<{high}" for low, high in itertools.pairwise(texts))
    return (f"<{texts[0]}", *inner, f"{texts[-1]}+")


def as_text(edge: float) -> str:
    """An edge as names of intervals spell it, from which it can be read again."""
    return f"{edge:.12g}"


def edges_of(states: Sequence[Hashable]) -> tuple[float, ...]:
    """The edges between intervals that ``intervals`` named; none where these are other states.

    Args:
        states: names, in order.
    """
    texts = [state for state in states if isinstance(state, str)]
    if len(texts) < 2 or len(texts) < len(states) or not texts[-1].endswith("+"):
        return ()
    found = [texts[0].removeprefix("<")]
    for text in texts[1:-1]:
        low, between, high = text.partition("-<")
        if not between or low != found[-1]:
            return ()
        found.append(high)
    if texts[0] != f"<{found[0]}" or texts[-1] != f"{found[-1]}+":
        return ()
    if not all(_NUMBER.fullmatch(text) for text in found):
        return ()
    return tuple(map(float, found))


_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def in_intervals(table: RawTable, schema: Schema) -> RawTable:
    """Read numbers as the states that they lie in, where these are intervals.

    So a fit of a column that was cut reads raw tables by its states alone.

    Args:
        table: has columns of the schema.
        schema: variables and their states.

    Raises:
        DataError: a column of numbers holds something else, too.
    """
    edges = {}
    for name, states in zip(schema.variables, schema.states, strict=True):
        found = edges_of(states)
        if found and _numbers_alone(table, name, states):
            edges[name] = found
    return binned(table, edges)[0] if edges else table


def _numbers_alone(table: RawTable, name: str, states: Sequence[Hashable]) -> bool:
    """Whether a column holds numbers, and none of the names of intervals."""
    series = table.frame[name]
    if not table.text:
        return series.dtype.is_numeric()
    seen = set(series.drop_nulls().unique().to_list())
    return not seen & set(states) and any(_NUMBER.fullmatch(str(cell).strip()) for cell in seen)
