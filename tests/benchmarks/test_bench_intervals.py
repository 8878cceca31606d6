"""Intervals: what they cost beside the standard errors alone, and a small part of their coverage.

The whole coverage study is ``tests/studies/coverage_of_intervals.py``, with its seeds and output.
"""

import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import pyromix as px

STUDIES = Path(__file__).parents[1] / "studies"
sys.path.insert(0, str(STUDIES))

TABLES = 20
"""Tables of each cell."""


def cpu(function):
    """Seconds of CPU time, and what the function returned."""
    start = time.process_time()
    found = function()
    return time.process_time() - start, found


@pytest.mark.parametrize("name", ["strong 500", "half 500", "no view 500", "p = 0.97, 20 rows"])
def test_a_small_part_of_the_coverage_study(benchmark, name, capsys):
    from coverage_of_intervals import one

    rows = [one((name, 900_000_000 + seed, "default")) for seed in range(TABLES)]
    benchmark.pedantic(one, ((name, 900_000_000, "default"),), rounds=1)
    hits = np.mean([row["covered"] for row in rows])
    width = np.mean([row["high"] - row["low"] for row in rows])
    with capsys.disabled():
        print(f"\n{name}: 90% intervals held {hits:.2f} of {TABLES} truths, width {width:.3f}")  # noqa: T201
    # 90% of 20: fewer than 13 has probability 1e-4
    assert hits * TABLES >= 13


def test_default_answers_and_profile_intervals_on_sachs(benchmark, capsys):
    from cells import CELLS

    torch.set_num_threads(1)
    cell = CELLS["sachs 10000"]
    truth = cell.truth()
    fit = px.fit(truth.spec, cell.table(truth, 1), show_progress=False)
    states = truth.spec.states[0]
    errors, _ = cpu(lambda: fit.information)

    def ask():
        return fit.effect("PKC", "Akt", contrast=(states[0], states[-1]))

    ask()  # plans and tests of views, once
    answer, effect = cpu(lambda: str(ask()))
    profile, _ = cpu(lambda: ask().interval(0.9, "profile"))
    benchmark.pedantic(ask, rounds=3)
    with capsys.disabled():
        print(  # noqa: T201
            f"\nsachs, k = 2, N = 1e4: a printed effect costs {answer / errors:.2f}, its profile "
            f"interval {profile / errors:.2f} of the information matrix"
        )
    assert "interval: delta method" in effect
    assert profile < 5
