"""Peak memory of a process that fits a large table: frame, imports and result included."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

ROWS = 250_000
LIMIT = 4 * 2**30 * ROWS / 10**6
"""Four gigabytes for a million rows; imports have their share in it."""

SCRIPT = """
import json, pathlib, resource, sys, time, warnings
import numpy as np
import pandas as pd

n_rows, n_columns, n_init = map(int, sys.argv[1:4])
missing = sys.argv[4]

def most():
    # What getrusage says of a child begins at what its parent held; the kernel's own mark does not.
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (line,) = [l for l in status.read_text().splitlines() if l.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024

rng = np.random.default_rng(0)
source = rng.integers(0, 3, n_rows)
block = np.empty((n_columns, n_rows), dtype="int64" if missing == "complete" else "float64")
for v, column in enumerate(block):
    # Each column leans on the source and on the column before it.
    column[:] = rng.random(n_rows) < 0.2 + 0.2 * ((source + v) % 3) + 0.2 * block[v - 1 if v else 0]
    if missing != "complete":
        column[rng.random(n_rows) < 0.02] = np.nan
names = [f"V{i}" for i in range(n_columns)]
frame = pd.DataFrame(block.T, columns=names, copy=False)
del source
before = most()

import torch
torch.set_num_threads(1)
import pyromix as px

spec = px.MixtureSpec.from_parents(
    dict.fromkeys(names, (0, 1)),
    {b: [a] for a, b in zip(names, names[1:])} | {"V7": ["V6", "V3", "V0"]},
    3,
)
warnings.simplefilter("ignore", px.PyromixWarning)
start = time.perf_counter()
fit = px.fit(spec, frame, n_init=n_init, max_iter=3)
print(json.dumps({
    "seconds": time.perf_counter() - start,
    "before": before,
    "peak": most(),
    "n_rows": fit.n_rows,
    "per_row": fit.log_likelihood / fit.n_rows,
}))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_columns", "n_init", "missing"),
    [(50, 20, "complete"), (50, 1, "with missing cells")],
)
def test_distinct_rows_are_fitted_within_four_gigabytes_for_a_million(n_columns, n_init, missing):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROWS), str(n_columns), str(n_init), missing],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(  # noqa: T201 (shown with -s)
        f"{ROWS} x {n_columns}, k = 3, {n_init} starts, {missing}: {found['seconds']:.1f} s, peak "
        f"{found['peak'] / 2**30:.2f} GiB (frame alone {found['before'] / 2**30:.2f})"
    )
    assert found["n_rows"] == ROWS
    assert found["per_row"] < 0
    assert found["peak"] < LIMIT
