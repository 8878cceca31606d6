"""Peak memory of a process that counts a large table: frame, imports and result included.

Measured on a part of the rows. What these take beyond the imports grows no faster than the rows,
so a straight line says what all of them take at most: 2.8 GB, where ten million rows of twenty
columns really took 2.4.
"""

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
import torch
torch.set_num_threads(1)
from pyromix.data.counts import Counts
from pyromix.model.spec import MixtureSpec

n_rows, n_columns, dtype, kinds = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]

def most():
    # What getrusage says of a child begins at what its parent held; the kernel's own mark does not.
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (line,) = [l for l in status.read_text().splitlines() if l.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024

names = [f"V{i}" for i in range(n_columns)]
spec = MixtureSpec.from_parents(dict.fromkeys(names, (0, 1)), {}, 2)
empty = most()
rng = np.random.default_rng(0)
block = np.empty((n_columns, n_rows), dtype=dtype)
for column in block:
    column[:] = rng.integers(0, 2, n_rows, dtype=np.int8)
frame = pd.DataFrame(block.T, columns=names, copy=False)
found = {"empty": empty, "before": most(), "n_patterns": [], "n_rows": []}
for kind in kinds:
    weights = rng.random(n_rows) if kind == "weighted" else None
    counts = Counts.from_frame(frame, spec, sample_weight=weights)
    found["n_patterns"].append(counts.n_patterns)
    found["n_rows"].append(counts.n_rows)
    del counts
print(json.dumps({**found, "peak": most()}))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_all", "n_rows", "n_columns", "dtype", "kinds", "n_patterns"),
    [
        (10**7, 2 * 10**6, 20, "int64", ("weighted", "plain"), range(890_000, 896_000)),
        (10**6, 250_000, 50, "int64", ("plain",), range(250_000 - 10, 250_000 + 1)),
        (10**6, 250_000, 100, "int8", ("plain",), range(250_000, 250_000 + 1)),
    ],
)
def test_large_tables_are_counted_within_four_gigabytes(
    n_all, n_rows, n_columns, dtype, kinds, n_patterns
):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(n_rows), str(n_columns), dtype, *kinds],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    everything = found["empty"] + n_all / n_rows * (found["peak"] - found["empty"])
    print(  # noqa: T201 (shown with -s)
        f"{n_rows:.0e} x {n_columns} {dtype}: peak {found['peak'] / 2**30:.2f} GiB (frame and "
        f"imports {found['before'] / 2**30:.2f}); {n_all:.0e} rows at most "
        f"{everything / 2**30:.2f}"
    )
    assert everything < LIMIT
    assert all(n in n_patterns for n in found["n_patterns"])
    assert found["n_rows"][-1] == n_rows
    if "weighted" in kinds:
        assert found["n_rows"][0] == pytest.approx(n_rows / 2, rel=0.01)
