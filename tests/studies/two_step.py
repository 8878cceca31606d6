"""Effects in two steps and by EM in random mixed graphs certified by views: error, coverage, power.

python tests/studies/two_step.py 90. Adds to two_step.csv beside it, one line per table; without a
number it prints the table that docs/limits.md shows. Lines are declared real whatever their noise.
"""

from __future__ import annotations

import csv
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from mixed_effects import _graph, _states, level_of
from mixed_truths import NOISE, random_mixed, random_mixed_spec, slope, table_of

import pyromix as px
from pyromix.model.query import Certainty

OUT = Path(__file__).with_suffix(".csv")
FIELDS = (
    "seed", "n", "k", "rows", "noise", "outcome", "level", "views", "least", "truth", "sd_y",
    "value", "error", "em", "em_error", "gap_error",
)  # fmt: skip
SEED = 930_000


def one(seed: int) -> dict[str, object] | None:
    """Both estimates of the mean of Y per unit of X; None for a graph that views do not certify."""
    g = np.random.default_rng(seed)
    n, k, noise = int(g.integers(6, 11)), int(g.integers(2, 4)), list(NOISE)[seed % len(NOISE)]
    rows = int(10 ** g.uniform(3, 4))
    spec = random_mixed_spec(seed, n, k)
    if not level_of(spec).at_least(Certainty.LOCAL):
        return None
    truth = random_mixed(spec, seed)
    frame, _ = table_of(truth, rows, seed, noise)
    real = dict.fromkeys((spec.name(v) for v in spec.numeric), "real")
    fit = px.fit(
        _graph(spec), frame, k, kinds=real, state_names=_states(spec), n_init=0,
        show_progress=False,
    )  # fmt: skip
    head = {
        "seed": seed, "n": n, "k": k, "rows": rows, "noise": noise, "truth": slope(truth),
        "sd_y": float(frame["Y"].std()), "em": slope(fit.mixture),
    }  # fmt: skip
    try:
        found = fit.two_step("X", "Y", contrast=(0.0, 1.0), require="weak")
    except px.PlanError:
        return head | {"outcome": "no view"}
    except px.NotCertifiedError as error:
        return head | {"outcome": error.found}
    return head | {
        "outcome": found.status.name,
        "level": found.certainty.value,
        "views": len(found.views),
        "least": float(np.linalg.svd(found.mistakes)[1][-1]),
        "value": found.value,
        "error": found.error,
        "em": found.em,
        "em_error": found.em_error,
        "gap_error": found.gap_error,
    }


def printed(results: pd.DataFrame) -> str:
    """By noise: answered, errors in standard deviations of Y, coverage, and how often apart."""
    lines = [
        "| noise | tables | answered | two steps | EM | covers, two steps | covers, EM | p < .01 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for noise in NOISE:
        mine = results[results["noise"] == noise]
        done = mine[(mine["outcome"] == "OK") & (mine["level"] != "weak")]
        cells = []
        for name in ("value", "em"):
            off = (done[name] - done["truth"]).abs() / done["sd_y"]
            cells.append(f"{off.mean():.3f} ({off.median():.3f})")
        for name, error in (("value", "error"), ("em", "em_error")):
            held = (done[name] - done["truth"]).abs() <= 1.96 * done[error]
            cells.append(f"{held.mean():.2f}")
        apart = (done["value"] - done["em"]).abs() > 2.576 * done["gap_error"]
        lines.append(
            f"| {noise} | {len(mine)} | {len(done)} | {' | '.join(cells)} | {apart.mean():.2f} |"
        )
    return "\n".join([*lines, "", str(results.value_counts(["outcome", "level"], dropna=False))])


def main(most: int) -> None:
    """Go on to so many tables."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    done = pd.read_csv(OUT)["seed"].tolist() if OUT.exists() else []
    seed, n_done = max(done, default=SEED - 1) + 1, len(done)
    while n_done < most:
        line, seed = one(seed), seed + 1
        if line is None:
            continue
        n_done += 1
        fresh = not OUT.exists()
        with OUT.open("a", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            if fresh:
                writer.writeheader()
            writer.writerow(line)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(int(sys.argv[1]))
    print(printed(pd.read_csv(OUT)))
