"""Counting distinct rows against pandas, in the same run."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from pyromix.data.counts import Counts
from pyromix.model.spec import MixtureSpec

CASES = {
    "1e6 x 10 int64": (10**6, 10, "int64"),
    "1e7 x 20 int8": (10**7, 20, "int8"),
    "1e7 x 20 int64": (10**7, 20, "int64"),
    "1e6 x 50 int64, all distinct": (10**6, 50, "int64"),
    "1e6 x 10 text": (10**6, 10, "str"),
    "1e6 x 10 Categorical": (10**6, 10, "category"),
}


def table(n_rows, n_columns, dtype):
    """A frame of binary columns, and the spec of its states."""
    rng = np.random.default_rng(0)
    numeric = dtype.startswith("int")
    states = (0, 1) if numeric else ("no", "yes")
    names = [f"V{i}" for i in range(n_columns)]
    columns = {name: rng.integers(0, 2, n_rows, dtype=np.int8) for name in names}
    if numeric:
        frame = pd.DataFrame(columns).astype(dtype)
    else:
        frame = pd.DataFrame(
            {n: pd.Categorical.from_codes(c, list(states)) for n, c in columns.items()}
        ).astype(dtype)
    return frame, MixtureSpec.from_parents(dict.fromkeys(names, states), {}, 2)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_counting_against_pandas_groupby_size(benchmark, case, capsys):
    frame, spec = table(*case)
    start = time.perf_counter()
    # observed: pandas would otherwise list every possible row of Categorical columns
    theirs = frame.groupby(list(frame.columns), sort=False, observed=True).size()
    pandas_seconds = time.perf_counter() - start
    ours = benchmark.pedantic(Counts.from_frame, (frame, spec), rounds=3, warmup_rounds=1)
    assert ours.n_patterns == len(theirs)
    assert sorted(ours.weights.tolist()) == sorted(theirs.astype(float).tolist())
    ratio = pandas_seconds / benchmark.stats.stats.min
    with capsys.disabled():
        print(  # noqa: T201
            f"\ncounting {case[0]:.0e} x {case[1]} {case[2]}: pandas groupby.size "
            f"{pandas_seconds:.2f} s, Counts.from_frame {benchmark.stats.stats.min:.2f} s, "
            f"pandas / ours = {ratio:.1f}"
        )
