"""Size and power of the residual tests of `fit.predictive_check()` on tables with numbers.

python tests/studies/residuals.py -n 200. Adds to residuals.csv beside it, a line per table, and
goes on where it stopped; without -n it prints the table that docs/limits.md shows.

Designs: `lines`, random graphs of six vertices, k = 2, normal or skewed (gamma) noise; `kinds`, one
graph with real, count and hurdle columns, all drawn from its own law; `bend`, X -> Y, two views A
and B, and Y = .5 X + b X^2 + 1.2 U + noise, of which the model has the line alone.
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
from mixed_truths import random_mixed, random_mixed_spec, table_of

import pyromix as px
from pyromix.criticism.mixed_discrepancy import MEAN, SHAPE

RESULTS = Path(__file__).with_name("residuals.csv")

CELLS = (
    ("lines", "normal", 500, 0.0),
    ("kinds", "own", 500, 0.0),
    *(("bend", "normal", 500, bend) for bend in (0.0, 0.1, 0.2)),
    ("lines", "gamma", 500, 0.0),
)
"""Design, noise, rows, bend."""

FIELDS = ("design", "noise", "rows", "bend", "seed", "n_mean", "low_mean", "mean", "shape",
          "residuals", "others")  # fmt: skip

LEVEL = 0.05

SEED = 40
"""Tables before were looked at while the tests were made."""


def graph_of(names: str, edges: str) -> nx.DiGraph:
    """Vertices of one letter, edges as pairs of letters."""
    graph = nx.DiGraph([tuple(edge) for edge in edges.split()])
    graph.add_nodes_from(names)
    return graph


def drawn(design: str, noise: str, rows: int, bend: float, seed: int) -> tuple[object, dict]:
    """A model, and what ``px.fit`` needs besides."""
    g = np.random.default_rng(seed)
    if design == "lines":
        spec = random_mixed_spec(seed, 6, 2)
        frame, _ = table_of(random_mixed(spec, seed), rows, seed, noise)
        return spec, {"data": frame}
    u = 1.0 * (g.random(rows) < 0.4)
    x = 1.5 * u + g.normal(size=rows)
    views = {"A": 2 * u + g.normal(size=rows), "B": -2 * u + g.normal(size=rows), "X": x}
    if design == "bend":
        y = 0.5 * x + bend * x**2 + 1.2 * u + g.normal(size=rows)
        return graph_of("ABXY", "XY"), {"data": pd.DataFrame({**views, "Y": y})}
    n = g.poisson(np.exp(0.3 + 0.3 * x + 0.4 * u))
    above = g.random(rows) < 1 / (1 + np.exp(-(1 + 0.5 * x - u)))
    h = np.where(above, np.exp(0.3 * x + 0.5 * u + 0.5 * g.normal(size=rows)), 0.0)
    y = 0.5 * x + 0.3 * n - u + g.normal(size=rows)
    frame = pd.DataFrame({**views, "N": n, "H": h, "Y": y})
    kinds = {"N": "count", "H": "hurdle"}
    return graph_of("ABXNHY", "XN XH XY NY"), {"data": frame, "kinds": kinds}


def one(design: str, noise: str, rows: int, bend: float, seed: int) -> dict[str, object]:
    """Fit a table and test its residuals."""
    warnings.simplefilter("ignore")
    model, options = drawn(design, noise, rows, bend, seed)
    fit = px.fit(model, n_sources=2, n_init=0, show_progress=False, **options)
    found = fit.predictive_check()
    mean = [c for c in found.residuals if c.kind == MEAN]
    return {
        "design": design, "noise": noise, "rows": rows, "bend": bend, "seed": seed,
        "n_mean": len(mean),
        "low_mean": sum(c.p_value < LEVEL for c in mean),
        "mean": int(any(c.adjusted < LEVEL for c in mean)),
        "shape": int(any(c.adjusted < LEVEL for c in found.residuals if c.kind == SHAPE)),
        "residuals": int(any(c.adjusted < LEVEL for c in found.residuals)),
        "others": int(any(c.adjusted < LEVEL for c in (*found.columns, *found.pairs))),
    }  # fmt: skip


def main() -> None:
    """Run what is not there yet, or print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    done = set()
    if given.results.is_file():
        frame = pd.read_csv(given.results)
        done = set(map(tuple, frame[["design", "noise", "rows", "bend", "seed"]].to_numpy()))
    for seed in range(SEED, SEED + given.n):
        for cell in CELLS:
            if (*cell, seed) in done:
                continue
            found = one(*cell, seed)
            fresh = not given.results.is_file()
            with given.results.open("a", newline="") as file:
                writer = csv.DictWriter(file, FIELDS)
                if fresh:
                    writer.writeheader()
                writer.writerow(found)
    if not given.n:
        print(table(pd.read_csv(given.results)))


def table(frame: pd.DataFrame) -> str:
    """Rejections at level .05, a row per cell."""
    header = ("design", "noise", "rows", "bend", "tables", "each test of a mean", "any mean",
              "any shape", "residuals", "columns, pairs")  # fmt: skip
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for cell, own in frame.groupby(["design", "noise", "rows", "bend"], sort=False):
        shares = [own["low_mean"].sum() / max(own["n_mean"].sum(), 1)]
        shares += [own[name].mean() for name in ("mean", "shape", "residuals", "others")]
        cells = [*map(str, cell), str(len(own)), *(f"{s:.3f}" for s in shares)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
