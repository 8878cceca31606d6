"""Coverage of intervals for the effect among a group, on settings beside those of the tests.

python tests/studies/coverage_of_groups.py ["common cause"] -n 200. Adds to coverage_of_groups.csv,
one line per table, and goes on where it stopped. Printed per setting: the share of tables whose 90%
interval holds the truth, its standard error, the mean width, and by which methods intervals came.
The truth is the effect among the group in the law that the tables are drawn from.
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import torch

import pyromix as px

RESULTS = Path(__file__).with_name("coverage_of_groups.csv")
LEVEL, ROWS = 0.9, 1000
FIELDS = ("setting", "seed", "truth", "estimate", "low", "high", "method", "seconds")

VIEWS = {"A": [], "B": [], "C": []}
SETTINGS = {
    # The treated of a cause Z that is seen: Z -> X, Z -> Y; asked among X = 1 with Z = 1.
    "common cause": (VIEWS | {"Z": [], "X": ["Z"], "Y": ["Z", "X"]}, {}, 2, {"X": 1, "Z": 1}),
    # A mediator, three sources, views of three states; asked among the untreated.
    "mediator": (
        VIEWS | {"X": [], "M": ["X"], "Y": ["X", "M"]},
        dict.fromkeys("ABC", 3),
        3,
        {"X": 0},
    ),
}


@cache
def law(setting: str) -> px.BayesNetMixture:
    parents, cards, k, _ = SETTINGS[setting]
    states = {name: tuple(range(cards.get(name, 2))) for name in parents}
    return px.random_mixture(px.MixtureSpec.from_parents(states, parents, k), 2, separation=0.3)


def one(setting: str, seed: int) -> dict[str, object]:
    mixture, group = law(setting), SETTINGS[setting][-1]
    truth = float(px.effect(mixture, "X", "Y", among=group).do)
    frame = px.simulate(mixture, ROWS, random_state=seed)
    start = time.process_time()
    fit = px.fit(mixture.spec, frame, n_init=2, random_state=seed, show_progress=False)
    effect = fit.effect("X", "Y", among=group, level=LEVEL, require="weak")
    low, high = (float(end[1]) for end in effect.interval())
    method = effect.do.interval_report().methods[1].name
    row = (setting, seed, truth, float(effect.do), low, high, method, time.process_time() - start)
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
    lines = ["| setting | tables | truth | held | width | methods |", "|---|---|---|---|---|---|"]
    for setting in SETTINGS:
        mine = [row for row in read() if row["setting"] == setting]
        if not mine:
            continue
        truth, low, high = (
            np.array([float(row[name]) for row in mine]) for name in ("truth", "low", "high")
        )
        held = ((low <= truth) & (truth <= high)).mean()
        error = (held * (1 - held) / len(mine)) ** 0.5
        by = ", ".join(f"{n} {name}" for name, n in Counter(r["method"] for r in mine).items())
        lines.append(
            f"| {setting} | {len(mine)} | {truth[0]:+.3f} | {held:.3f} ({error:.3f}) | "
            f"{np.mean(high - low):.3f} | {by} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("settings", nargs="*", default=list(SETTINGS))
    parser.add_argument("-n", type=int, default=0)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    asked = parser.parse_args()
    done = {(row["setting"], int(row["seed"])) for row in read()}
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if not file.tell():
            writer.writeheader()
        for task in [(setting, seed) for seed in range(asked.n) for setting in asked.settings]:
            if task not in done:
                writer.writerow(one(*task))
                file.flush()
    print(table())
