"""Size and power of the bootstrap likelihood-ratio test at .05, on simulated classes.

python tests/studies/bootstrap_lrt.py [cell ...] -n 500. Adds to bootstrap_lrt.csv beside it, one
line per table, and goes on where it stopped: seeds are 0, 1, 2, ...; without -n it prints what is
there.
Five binary items; a class answers 1 with probability .5 + d or .5 - d, in a pattern of its own.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

import pyromix as px
from pyromix.data.counts import Counts
from pyromix.exact.sampling import sample

RESULTS = Path(__file__).with_name("bootstrap_lrt.csv")
FIELDS = ("cell", "seed", "statistic", "p_value", "n_negative", "seconds")
PATTERNS = ((1, 1, 1, 1, 1), (-1, -1, -1, -1, -1), (1, 1, -1, -1, 1))
LEVEL = 0.05


@dataclass(frozen=True)
class Cell:
    """True classes, rows, distance d, the k that is tested, simulated tables, starts."""

    true: int
    n_rows: int
    distance: float
    tested: int
    simulated: int = 39
    n_init: int = 4


CELLS = {
    "size-1-200": Cell(1, 200, 0.2, 2),
    "size-2-500": Cell(2, 500, 0.3, 3),
    "power-2-200-weak": Cell(2, 200, 0.1, 2),
    "power-2-200": Cell(2, 200, 0.13, 2),
    "power-3-500": Cell(3, 500, 0.2, 3),
}


def table(cell: Cell, seed: int) -> Counts:
    """One simulated table."""
    spec = px.MixtureSpec.from_parents({f"V{i}": (0, 1) for i in range(5)}, {}, cell.true)
    signs = torch.tensor(PATTERNS[: cell.true], dtype=torch.float64)
    ones = 0.5 + cell.distance * signs
    weights = torch.full((cell.true,), 1 / cell.true, dtype=torch.float64)
    tables = tuple(torch.stack([1 - ones[:, v], ones[:, v]], -1) for v in range(5))
    truth = px.BayesNetMixture(spec, weights, tables)
    return Counts.from_codes(spec, sample(truth, cell.n_rows, seed)[0])


def recorded() -> list[dict[str, str]]:
    """Lines of former runs."""
    return list(csv.DictReader(RESULTS.open())) if RESULTS.exists() else []


def study(name: str, n: int) -> None:
    """Run what is missing of the first n tables of a cell."""
    cell = CELLS[name]
    done = {int(line["seed"]) for line in recorded() if line["cell"] == name}
    fresh = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if fresh:
            writer.writeheader()
        for seed in sorted(set(range(n)) - done):
            start = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", px.PyromixWarning)
                found = px.bootstrap_lrt(
                    table(cell, seed),
                    cell.tested,
                    n=cell.simulated,
                    n_init=cell.n_init,
                    random_state=seed,
                )
            seconds = time.perf_counter() - start
            numbers = (f"{found.statistic:.4f}", f"{found.p_value:.4f}", found.n_negative)
            writer.writerow(
                dict(zip(FIELDS, (name, seed, *numbers, f"{seconds:.2f}"), strict=True))
            )
            file.flush()


def report() -> None:
    """Shares of rejections, with their standard errors."""
    for name, cell in CELLS.items():
        p = [float(line["p_value"]) for line in recorded() if line["cell"] == name]
        if not p:
            continue
        share = sum(value <= LEVEL for value in p) / len(p)
        error = math.sqrt(share * (1 - share) / len(p))
        print(
            f"{name:18} {len(p):5d} tables of {cell.n_rows} rows, k = {cell.tested} against "
            f"{cell.tested - 1}, {cell.true} true: rejected at .05 in {share:.3f} "
            f"(s.e. {error:.3f})"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", nargs="*", default=list(CELLS))
    parser.add_argument("-n", type=int, default=0)
    given = parser.parse_args()
    for cell_name in given.cells:
        study(cell_name, given.n)
    report()
