"""Peak memory of a process that fits a large table: frame, imports and result included."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

ROWS, COLUMNS = 250_000, 50
LIMIT = 4 * 2**30 * ROWS / 10**6
"""Four gigabytes for a million rows; imports have their share in it."""

SCRIPT = """
import json, pathlib, resource, sys, time, warnings
import numpy as np
import pandas as pd

n_rows, n_columns = map(int, sys.argv[1:])

def most():
    # What getrusage says of a child begins at what its parent held; the kernel's own mark does not.
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (line,) = [l for l in status.read_text().splitlines() if l.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024

names = [f"V{i}" for i in range(n_columns)]

def table(complete):
    rng = np.random.default_rng(0)
    source = rng.integers(0, 3, n_rows)
    block = np.empty((n_columns, n_rows), dtype="int64" if complete else "float64")
    for v, column in enumerate(block):
        # Each column leans on the source and on the column before it.
        leans = 0.2 * ((source + v) % 3) + 0.2 * block[v - 1 if v else 0]
        column[:] = rng.random(n_rows) < 0.2 + leans
        if not complete:
            column[rng.random(n_rows) < 0.02] = np.nan
    return pd.DataFrame(block.T, columns=names, copy=False)

import torch
torch.set_num_threads(1)
import pyromix as px

spec = px.MixtureSpec.from_parents(
    dict.fromkeys(names, (0, 1)),
    {b: [a] for a, b in zip(names, names[1:])} | {"V7": ["V6", "V3", "V0"]},
    3,
)
warnings.simplefilter("ignore", px.PyromixWarning)
found = []
for complete, n_init in ((False, 1), (True, 20)):
    frame = table(complete)
    before, start = most(), time.perf_counter()
    fit = px.fit(spec, frame, n_init=n_init, max_iter=3)
    found.append({
        "seconds": time.perf_counter() - start,
        "before": before,
        "peak": most(),
        "n_rows": fit.n_rows,
        "per_row": fit.log_likelihood / fit.n_rows,
        "gaps": not fit.counts.complete,
    })
    del frame, fit
print(json.dumps(found))
"""


@pytest.mark.slow
def test_distinct_rows_are_fitted_within_four_gigabytes_for_a_million():
    """With missing cells, then without from 20 starts; one process for both."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROWS), str(COLUMNS)],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    both = json.loads(done.stdout)
    assert [found["gaps"] for found in both] == [True, False]
    for found in both:
        print(  # noqa: T201 (shown with -s)
            f"{ROWS} x {COLUMNS}, k = 3, missing cells: {found['gaps']}: {found['seconds']:.1f} s, "
            f"peak {found['peak'] / 2**30:.2f} GiB (before {found['before'] / 2**30:.2f})"
        )
        assert found["n_rows"] == ROWS
        assert found["per_row"] < 0
        assert found["peak"] < LIMIT
