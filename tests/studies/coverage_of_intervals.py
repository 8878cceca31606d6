"""Coverage of 90% intervals, cell by cell.

python tests/studies/coverage_of_intervals.py [cell ...] -n 1000. Adds to coverage.csv beside it,
one line per table, and goes on where it stopped: seeds of a cell are 100000 times its number, plus
0, 1, 2, ...; without -n it prints the table that docs/limits.md shows.
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from collections import Counter
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
from cells import CELLS, Cell

import pyromix as px

RESULTS = Path(__file__).with_name("coverage.csv")

FIELDS = (
    "cell",
    "seed",
    "method",
    "estimate",
    "low",
    "high",
    "covered",
    "found",
    "weak",
    "seconds",
)

LEVEL = 0.9

BY_DRAWS = {
    "bootstrap": lambda fit: fit.bootstrap(n=200),
    "gibbs": lambda fit: fit.refine(method="gibbs", num_samples=400, show_progress=False),
}
"""Draws, judged by their own quantiles."""


def asked(cell: Cell, fit, require="weak"):
    """The difference that the cell is about, for the second state of the outcome."""
    x, y = cell.question
    states = fit.spec.states_of(fit.spec.vertex(x))
    if cell.kind == "rows":
        return fit.query(y, {x: states[-1]}, require=require, level=LEVEL)
    contrast = (states[0], states[-1])
    return fit.effect(x, y, contrast=contrast, require=require, level=LEVEL).do


def one(task: tuple[str, int, str]) -> dict[str, object]:
    """Draw, fit, ask; by what is printed by default, or by draws."""
    name, seed, method = task
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    cell = CELLS[name]
    truth = cell.truth()
    x, y = cell.question
    states = truth.spec.states_of(truth.spec.vertex(x))
    start = time.process_time()
    fit = px.fit(
        truth.spec, cell.table(truth, seed), random_state=seed, show_progress=False, **cell.fit
    )
    if method in BY_DRAWS:
        fit = BY_DRAWS[method](fit)
    answer = asked(cell, fit)
    how = "draws" if method in BY_DRAWS else "auto"
    low, high = (end[1] for end in answer.interval(method=how))
    if cell.kind == "rows":
        real = cell.p
    else:
        real = float(px.effect(truth, x, y, contrast=(states[0], states[-1])).do.values[1])
    return {
        "cell": name,
        "seed": seed,
        "method": method,
        "estimate": round(float(answer.values[1]), 5),
        "low": round(float(low), 5),
        "high": round(float(high), 5),
        "covered": int(low - 1e-9 <= real <= high + 1e-9),
        "found": answer.interval_report(method=how).methods[1],
        "weak": int(answer.certainty is px.Certainty.WEAK),
        "seconds": round(time.process_time() - start, 3),
    }


def read() -> list[dict[str, str]]:
    """All lines so far."""
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def run(names: list[str], n: int, method: str, jobs: int) -> None:
    """Do what is not yet done."""
    done = {(row["cell"], int(row["seed"]), row["method"]) for row in read()}
    numbers = {name: i for i, name in enumerate(CELLS)}
    tasks = [(name, 100_000 * (1 + numbers[name]) + i, method) for i in range(n) for name in names]
    tasks = [task for task in tasks if task not in done]
    with RESULTS.open("a", newline="") as file, Pool(jobs) as pool:
        writer = csv.DictWriter(file, FIELDS)
        if not file.tell():
            writer.writeheader()
        for row in pool.imap_unordered(one, tasks):
            writer.writerow(row)
            file.flush()


def table() -> str:
    """Markdown: coverage, its standard error, mean width, share weak, methods."""
    lines = [
        "| cell | method | tables | covered | s.e. | mean width | weak | by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = read()
    for name in CELLS:
        for method in ("default", *BY_DRAWS):
            mine = [r for r in rows if r["cell"] == name and r["method"] == method]
            if not mine:
                continue
            hits = np.array([int(r["covered"]) for r in mine])
            width = np.mean([float(r["high"]) - float(r["low"]) for r in mine])
            weak = np.mean([int(r["weak"]) for r in mine])
            found = Counter(r["found"] for r in mine).most_common(2)
            by = ", ".join(f"{how} {times / len(mine):.0%}" for how, times in found)
            error = np.sqrt(max(hits.mean() * (1 - hits.mean()), 1 / len(hits)) / len(hits))
            lines.append(
                f"| {name} | {method} | {len(mine)} | {hits.mean():.3f} | {error:.3f} | "
                f"{width:.3f} | {weak:.0%} | {by} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("cells", nargs="*")
    parser.add_argument("-n", type=int, default=0)
    parser.add_argument("-j", "--jobs", type=int, default=2)
    parser.add_argument("--method", default="default")
    given = parser.parse_args()
    if given.n:
        run(given.cells or list(CELLS), given.n, given.method, given.jobs)
    print(table())
