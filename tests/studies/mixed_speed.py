"""An iteration of EM on rows of numbers and states, beside reading the same bytes once.

python tests/studies/mixed_speed.py prints the table that docs/numbers.md shows: CPU time of one
process with one thread. Twenty numbers and ten columns of two states, each with the column before
it as a parent, k = 3; reading is one sum over every column (eight bytes a cell). Growth is the
slope of log time on log rows, and on log variables. ``--profile`` says where an iteration spends
its time.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from itertools import pairwise

import numpy as np
import torch

from pyromix.data.records import Records
from pyromix.estimate.mixed.prior import prior_of
from pyromix.estimate.mixed.step import em_step
from pyromix.model.kind import Kind, Unit
from pyromix.model.mixed import MixedMixture, MixedSpec
from pyromix.model.spec import MixtureSpec

K = 3

ROWS = (10_000, 100_000, 1_000_000)

SIZE_ROWS = 100_000

SIZES = (15, 30, 60)
"""Variables, a third of them with states."""


def spec_of(n: int, edges: bool) -> MixedSpec:
    """Numbers, states: a chain through each, or no edges."""
    numbers = [f"x{i:03}" for i in range(2 * n // 3)]
    states = [f"c{i:03}" for i in range(n - len(numbers))]
    parents: dict[str, list[str]] = {name: [] for name in (*numbers, *states)}
    if edges:
        for chain in (numbers, states):
            parents |= {child: [parent] for parent, child in pairwise(chain)}
    names = dict.fromkeys(numbers, range(4)) | dict.fromkeys(states, range(2))
    binned = MixtureSpec.from_parents(names, parents, K, coarse=numbers)
    kinds = [Kind.REAL if name[0] == "x" else Kind.CATEGORICAL for name in binned.variables]
    return MixedSpec(binned, tuple(kinds))


def drawn(spec: MixedSpec, rows: int, seed: int = 0) -> tuple[MixedMixture, Records]:
    """A mixture and rows of about its law; the time hangs on neither."""
    g = np.random.default_rng(seed)
    u = g.integers(0, K, rows)
    columns = [
        torch.from_numpy(u + g.normal(size=rows))
        if kind.numeric
        else torch.from_numpy((g.random(rows) < 0.2 + 0.3 * u).astype(np.int64))
        for kind in spec.kinds
    ]
    units = (Unit(),) * spec.n_variables
    records = Records(spec.kinds, units, tuple(columns), torch.ones(rows, dtype=torch.float64))
    cpds = tuple(spec.standard_cpd(v) for v in range(spec.n_variables))
    weights = torch.full((K,), 1 / K, dtype=torch.float64)
    return MixedMixture(spec, units, weights, cpds), records


def seconds_of(n: int, rows: int, edges: bool = True, times: int = 3) -> tuple[float, float]:
    """CPU seconds of an iteration and of reading, the least of some."""
    spec = spec_of(n, edges)
    mixture, records = drawn(spec, rows)
    prior = prior_of(spec, records)
    parts = list(records.parts())
    step, reading = [], []
    for _ in range(times):
        start = time.process_time()
        em_step(mixture, parts, prior)
        step.append(time.process_time() - start)
        start = time.process_time()
        for column in records.columns:
            column.sum()
        reading.append(time.process_time() - start)
    return min(step), min(reading)


def growth(sizes: tuple[int, ...], seconds: list[float]) -> float:
    """The exponent between the last two sizes."""
    return float(np.log(seconds[-1] / seconds[-2]) / np.log(sizes[-1] / sizes[-2]))


def main() -> None:
    """Time, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--profile", action="store_true")
    torch.set_num_threads(1)
    if parser.parse_args().profile:
        mixture, records = drawn(spec_of(30, True), 200_000)
        parts, prior = list(records.parts()), prior_of(mixture.spec, records)
        profile = cProfile.Profile()
        profile.runcall(em_step, mixture, parts, prior)
        pstats.Stats(profile).sort_stats("tottime").print_stats(15)
        return
    print("| variables | edges | rows | iteration, s | reading, s | ratio |")
    print("|---|---|---|---|---|---|")
    by_rows = [shown(30, rows) for rows in ROWS]
    shown(30, ROWS[-1], edges=False)
    by_size = [shown(n, SIZE_ROWS) for n in SIZES]
    print(f"\ngrowth: rows^{growth(ROWS, by_rows):.2f}, variables^{growth(SIZES, by_size):.2f}")


def shown(n: int, rows: int, edges: bool = True) -> float:
    """Print a line; seconds of an iteration."""
    step, reading = seconds_of(n, rows, edges)
    chain = "chains" if edges else "none"
    print(f"| {n} | {chain} | {rows:,} | {step:.3f} | {reading:.4f} | {step / reading:.0f} |")
    return step


if __name__ == "__main__":
    main()
