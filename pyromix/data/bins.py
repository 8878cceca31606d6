"""A column of numbers as a variable of a few states: intervals between given edges."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import narwhals.stable.v2 as nw
import numpy as np

from pyromix.data.levels import numbers_of
from pyromix.data.reading import RawTable, check_columns
from pyromix.errors import DataError


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
    texts = [f"{edge:.12g}" for edge in edges]
    inner = (f"{low}-<{high}" for low, high in itertools.pairwise(texts))
    return (f"<{texts[0]}", *inner, f"{texts[-1]}+")
