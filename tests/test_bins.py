"""Columns of numbers as intervals."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from pyromix.data.bins import binned, intervals
from pyromix.data.reading import read_frame
from pyromix.errors import DataError

EDGES = (-1.5, 0.0, 50.0)
NUMBERS = (-9.0, -1.5, -0.1, 0.0, 49.9, 50.0, math.nan, 1e9)


def by_hand(x: float) -> str | None:
    """The interval that holds a number, looked for one by one."""
    if math.isnan(x):
        return None
    if x < -1.5:
        return "<-1.5"
    if -1.5 <= x < 0:
        return "-1.5-<0"
    return "0-<50" if 0 <= x < 50 else "50+"


@pytest.mark.parametrize("written", [False, True])
def test_every_number_is_in_the_interval_that_holds_it(tmp_path, written):
    frame = pd.DataFrame({"x": NUMBERS, "y": list("abababab")})
    data = frame
    if written:
        data = tmp_path / "d.csv"
        frame.to_csv(data, index=False)
    table, states = binned(read_frame(data), {"x": EDGES})
    assert states == {"x": ("<-1.5", "-1.5-<0", "0-<50", "50+")}
    cells = table.frame["x"].to_list()
    assert [c if isinstance(c, str) else None for c in cells] == [by_hand(x) for x in NUMBERS]
    assert table.frame["y"].to_list() == list(frame["y"])


def test_a_mark_of_a_missing_cell_is_no_number():
    table, _ = binned(read_frame(pd.DataFrame({"x": [-9, 1, 60]}), -9), {"x": [50]})
    assert [c if isinstance(c, str) else None for c in table.frame["x"].to_list()] == [
        None,
        "<50",
        "50+",
    ]


@pytest.mark.parametrize("edges", [(), (2.0, 1.0), (1.0, 1.0), (math.nan,), (0.0, math.inf)])
def test_edges_that_do_not_increase_are_refused(edges):
    with pytest.raises(DataError, match="increasing numbers"):
        intervals("x", edges)


def test_a_column_that_is_missing_or_no_number_is_refused():
    table = read_frame(pd.DataFrame({"x": ["a", "b"]}))
    with pytest.raises(DataError, match="must hold numbers"):
        binned(table, {"x": [1]})
    with pytest.raises(DataError, match="z"):
        binned(table, {"z": [1]})
