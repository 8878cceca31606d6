"""No answer rests on the shape of the noise: graphs without three views, and tables without U.

python tests/studies/shape_gate.py -n 100. Adds to shape_gate.csv beside it, one line per table, and
goes on where it stopped; without -n it prints the table that docs/limits.md shows.

Every graph falls into two groups of variables at most, however it is conditioned; the source that
somebody fears is not there, and the noise is skewed. A mixture that believes in bells finds one all
the same. The number behind ``require="none"`` tells by how much it would have misled.
"""

from __future__ import annotations

import argparse
import csv
import sys
import warnings
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from two_views import skewed_table, two_views

import pyromix as px
from pyromix.errors import PyromixWarning

RESULTS = Path(__file__).with_name("shape_gate.csv")

FIELDS = (
    "seed", "groups", "n", "states", "k", "rows", "noise", "found", "answered", "truth", "naive",
    "ours", "sd_y",
)  # fmt: skip

SEED = 900_000

PAIRS = 20
"""Tables of X and Y alone; the others are of two groups."""


def one(seed: int) -> dict[str, object]:
    """Draw a graph and a table, fit, ask."""
    warnings.simplefilter("ignore", PyromixWarning)
    torch.set_num_threads(1)
    g = np.random.default_rng(seed)
    alone = seed < SEED + PAIRS
    graph, kinds = (nx.DiGraph([("X", "Y")]), {}) if alone else two_views(g)
    k, rows = int(g.integers(2, 4)), int(10 ** g.uniform(2.7, 3.8))
    noise = str(g.choice(["gamma", "exponential", "lognormal"]))
    frame, slope = skewed_table(graph, kinds, rows, noise, g)
    feared = graph.copy()
    feared.add_edges_from(("U", v) for v in graph)
    feared.nodes["U"]["latent"] = True
    fit = px.fit(feared, frame, k, random_state=seed, show_progress=False)
    arms = {"contrast": (0.0, 1.0)}
    try:
        found, answered = fit.effect("X", "Y", **arms).certainty.value, True
    except px.NotCertifiedError as error:
        found, answered = error.found, False
    number = fit.effect("X", "Y", **arms, require="none")
    return {
        "seed": seed, "groups": 1 if alone else 2, "n": len(graph), "states": len(kinds), "k": k,
        "rows": rows, "noise": noise, "found": found, "answered": int(answered), "truth": slope,
        "naive": naive_slope(graph, frame), "ours": float(number), "sd_y": float(frame["Y"].std()),
    }  # fmt: skip


def naive_slope(graph: nx.DiGraph, frame: pd.DataFrame) -> float:
    """Of Y on X, given the other parents of X: what adjusts where there is no U."""
    columns = [np.ones(len(frame)), frame["X"].to_numpy()]
    for v in graph.predecessors("X"):
        column = frame[v]
        numeric = pd.api.types.is_numeric_dtype(column)
        columns.append(column.to_numpy() if numeric else (column == "s1").to_numpy(float))
    lines, *_ = np.linalg.lstsq(np.column_stack(columns), frame["Y"].to_numpy(), rcond=None)
    return float(lines[1])


def printed(results: pd.DataFrame) -> str:
    """What was answered, and how far off the refused numbers were, in standard deviations of Y."""
    lines = [
        "| | tables | answered | levels | no U | mixture, refused |",
        "|---|---|---|---|---|---|",
    ]
    for groups, part in results.groupby("groups"):
        levels = ", ".join(f"{name} {n}" for name, n in part["found"].value_counts().items())
        off = {
            name: ((part[name] - part["truth"]).abs() / part["sd_y"]) for name in ("naive", "ours")
        }
        cells = [f"{one.mean():.3f} ({one.median():.3f})" for one in off.values()]
        name = "X, Y alone" if groups == 1 else "two groups"
        answered = int(part["answered"].sum())
        lines.append(f"| {name} | {len(part)} | {answered} | {levels} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Read arguments, go on, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", type=int, default=0)
    wanted = parser.parse_args().n
    done = pd.read_csv(RESULTS)["seed"].tolist() if RESULTS.exists() else []
    for seed in range(SEED, SEED + PAIRS + wanted if wanted else SEED):
        if seed in done:
            continue
        row = one(seed)
        new = not RESULTS.exists()
        with RESULTS.open("a", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            if new:
                writer.writeheader()
            writer.writerow(row)
    print(printed(pd.read_csv(RESULTS)))


if __name__ == "__main__":
    main()
