"""Coverage of bounds with their part for sampling, on settings in which data leave a set.

python tests/studies/coverage_of_bounds.py -n 500. Adds to coverage_of_bounds.csv, one line per
table, and goes on where it stopped. For each setting the true set is that of ``px.bounds`` at the
true law (300 starts; X, Y alone and the instrument are checked against closed forms in
tests/test_bounds.py), and each of five points of it, ends included, may be the truth: printed is
the share of tables whose interval holds it. Level 90%, 500 rows.
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from functools import cache
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch

import pyromix as px

RESULTS = Path(__file__).with_name("coverage_of_bounds.csv")
LEVEL, ROWS = 0.9, 500
POINTS = (0.0, 0.25, 0.5, 0.75, 1.0)
FIELDS = ("setting", "seed", "low", "high", "law_low", "law_high", "seconds")

SETTINGS = {
    "X, Y alone, k = 2": ({"X": [], "Y": ["X"]}, (), 2),
    "instrument, k = 3": ({"Z": [], "X": ["Z"], "Y": ["X"]}, ("Z",), 3),
    "one proxy, k = 2": ({"A": [], "X": [], "Y": ["X"]}, (), 2),
}


@cache
def truth(setting: str) -> px.BayesNetMixture:
    parents, free, k = SETTINGS[setting]
    states = dict.fromkeys(parents, (0, 1))
    spec = px.MixtureSpec.from_parents(states, parents, k, uninfluenced=free)
    return px.random_mixture(spec, 2, separation=0.3)


@cache
def true_set(setting: str) -> tuple[float, float]:
    found = px.bounds(truth(setting), "Y", {"X": 1}, n_starts=300)
    return float(found.low[1]), float(found.high[1])


def one(task: tuple[str, int]) -> dict[str, object]:
    setting, seed = task
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    mixture = truth(setting)
    frame = px.simulate(mixture, ROWS, random_state=seed)
    start = time.process_time()
    fit = px.fit(mixture.spec, frame, prior=None, n_init=3, random_state=seed, show_progress=False)
    found = fit.bounds("Y", {"X": 1}, level=LEVEL, n_starts=6)
    low, high = (float(end[1]) for end in found.interval())
    row = (setting, seed, low, high, float(found.low[1]), float(found.high[1]),
           time.process_time() - start)  # fmt: skip
    return {
        name: round(value, 5) if isinstance(value, float) else value
        for name, value in zip(FIELDS, row, strict=True)
    }


def read() -> list[dict[str, str]]:
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def table() -> str:
    lines = [
        "| setting | tables | true set | " + " | ".join(f"at {p:g}" for p in POINTS) + " | width |",
        "|---|---|---|" + "---|" * (len(POINTS) + 1),
    ]
    for setting in SETTINGS:
        mine = [row for row in read() if row["setting"] == setting]
        if not mine:
            continue
        least, most = true_set(setting)
        low = np.array([float(r["low"]) for r in mine])
        high = np.array([float(r["high"]) for r in mine])
        held = [
            ((low - 1e-9 <= p) & (p <= high + 1e-9)).mean()
            for p in (least + share * (most - least) for share in POINTS)
        ]
        lines.append(
            f"| {setting} | {len(mine)} | [{least:.3f}, {most:.3f}] | "
            + " | ".join(f"{h:.3f}" for h in held)
            + f" | {np.mean(high - low):.3f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", type=int, default=0)
    parser.add_argument("-j", "--jobs", type=int, default=1)
    given = parser.parse_args()
    done = {(row["setting"], int(row["seed"])) for row in read()}
    tasks = [(setting, seed) for seed in range(given.n) for setting in SETTINGS]
    tasks = [task for task in tasks if task not in done]
    with RESULTS.open("a", newline="") as file, Pool(given.jobs) as pool:
        writer = csv.DictWriter(file, FIELDS)
        if not file.tell():
            writer.writeheader()
        for row in pool.imap_unordered(one, tasks):
            writer.writerow(row)
            file.flush()
    print(table())
