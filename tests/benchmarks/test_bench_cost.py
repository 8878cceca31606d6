"""A tenth of ``studies/cost_of_fits.py``: the default fit beside ten random starts of plain EM.

Ratios of CPU times of one process. Where random starts agree after six steps (child, two sources)
the moments alone cost more than all ten; where they do not, a fit costs less.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "studies"))
from cost_of_fits import WORSE, one

CASES = [
    ("sachs", 2, 10_000, 6.0),
    ("child", 2, 10_000, 12.0),
    ("random 30", 3, 10_000, 8.0),
    ("random 60", 5, 10_000, 1.0),
    ("random 15", 3, 1_000, 40.0),
]
"""Graph, sources, rows, and twice what was measured: default fit over ten plain starts."""


@pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")
@pytest.mark.parametrize(("graph", "k", "n_rows", "most"), CASES)
def test_a_default_fit_against_ten_plain_starts(benchmark, graph, k, n_rows, most, capsys):
    line = benchmark.pedantic(one, (graph, k, n_rows, 650), rounds=1, iterations=1)
    with capsys.disabled():
        shown = ("plain", "ours", "moments", "m1", "none", "default", "status", "gap_none")
        print(f"\n{graph}, k = {k}, N = {n_rows:,}:", {name: line[name] for name in shown})  # noqa: T201
    assert line["gap_none"] <= WORSE
    assert line["default"] <= most
