"""Peak memory of a process that counts a large table: frame, imports and result included."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

LIMIT = 4 * 2**30

SCRIPT = """
import json, pathlib, resource, sys, time
import numpy as np
import pandas as pd

n_rows, n_columns, dtype, kind = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]

def most():
    # What getrusage says of a child begins at what its parent held; the kernel's own mark does not.
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (line,) = [l for l in status.read_text().splitlines() if l.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024

rng = np.random.default_rng(0)
block = np.empty((n_columns, n_rows), dtype=dtype)
for column in block:
    column[:] = rng.integers(0, 2, n_rows, dtype=np.int8)
names = [f"V{i}" for i in range(n_columns)]
frame = pd.DataFrame(block.T, columns=names, copy=False)
if kind == "weighted":
    weights = rng.random(n_rows)
before = most()

import torch
torch.set_num_threads(1)
from pyromix.data.counts import Counts
from pyromix.model.spec import MixtureSpec

spec = MixtureSpec.from_parents(dict.fromkeys(names, (0, 1)), {}, 2)
start = time.perf_counter()
counts = Counts.from_frame(frame, spec, sample_weight=weights if kind == "weighted" else None)
print(json.dumps({
    "seconds": time.perf_counter() - start,
    "before": before,
    "peak": most(),
    "n_patterns": counts.n_patterns,
    "n_rows": counts.n_rows,
}))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_rows", "n_columns", "dtype", "kind", "n_patterns"),
    [
        (10**7, 20, "int64", "plain", range(10**6, 2**20 + 1)),
        (10**7, 20, "int64", "weighted", range(10**6, 2**20 + 1)),
        (10**6, 50, "int64", "plain", range(10**6 - 10, 10**6 + 1)),
        (10**6, 100, "int8", "plain", range(10**6, 10**6 + 1)),
    ],
)
def test_large_tables_are_counted_within_four_gigabytes(n_rows, n_columns, dtype, kind, n_patterns):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(n_rows), str(n_columns), dtype, kind],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(  # noqa: T201 (shown with -s)
        f"{n_rows:.0e} x {n_columns} {dtype} {kind}: {found['seconds']:.2f} s, peak "
        f"{found['peak'] / 2**30:.2f} GiB (frame alone {found['before'] / 2**30:.2f})"
    )
    assert found["n_patterns"] in n_patterns
    assert found["peak"] < LIMIT
    if kind == "plain":
        assert found["n_rows"] == n_rows
