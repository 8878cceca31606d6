"""Coverage of 95% intervals of an effect among numbers: standard errors beside draws of Gibbs.

python tests/studies/mixed_draws_coverage.py [tables] [rows]. Y rises by .5 with X in both sources
and by 1.2 from one to the other; A, B and C are views, k = 2, noise is normal. Both intervals are
of one fit to each table, so that they differ by themselves alone.
"""

from __future__ import annotations

import sys
import time
import warnings

import networkx as nx
import numpy as np
import pandas as pd
import torch

import pyromix as px

SLOPE = 0.5

DRAWS = {"num_chains": 2, "num_samples": 100, "warmup_steps": 40, "thinning": 1}


def table(seed: int, n: int) -> pd.DataFrame:
    g = np.random.default_rng(seed)
    u = g.random(n) < 0.4
    x = 1.5 * u + g.normal(size=n)
    return pd.DataFrame({
        "A": 2 * u + g.normal(size=n),
        "B": -1.5 * u + g.normal(size=n),
        "C": np.where(g.random(n) < 0.3 + 0.4 * u, "yes", "no"),
        "X": x,
        "Y": SLOPE * x + 1.2 * u + g.normal(size=n),
    })  # fmt: skip


def main(n_tables: int, n_rows: int) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    graph = nx.DiGraph([("X", "Y"), *(("U", name) for name in "ABCXY")])
    graph.nodes["U"]["latent"] = True
    found: dict[str, list[tuple[float, float]]] = {"standard errors": [], "gibbs": []}
    estimates, r_hats, start = [], [], time.process_time()
    for seed in range(n_tables):
        fit = px.fit(graph, table(seed, n_rows), 2, n_init=2, random_state=seed)
        drawn = fit.refine(method="gibbs", random_state=seed, **DRAWS)
        r_hats.append(drawn.sampled.sampling.r_hat)
        for name, one in (("standard errors", fit), ("gibbs", drawn)):
            effect = one.effect("X", "Y", contrast=(0.0, 1.0), require="weak")
            found[name].append(effect.spread.interval(0.95))
        estimates.append(float(effect))
        if (seed + 1) % 10 == 0:
            report(found, estimates, r_hats, start)


def report(found, estimates, r_hats, start) -> None:
    n = len(estimates)
    print(f"{n} tables, {time.process_time() - start:.0f} s; estimates off by "
          f"{np.sqrt(np.mean((np.array(estimates) - SLOPE) ** 2)):.3f} (root mean square), "
          f"median R-hat {np.median(r_hats):.3f}")  # fmt: skip
    for name, ends in found.items():
        low, high = np.array(ends).reshape(n, 2).T
        inside = (low <= SLOPE) & (high >= SLOPE)
        print(f"| {name} | {inside.mean():.3f} | {np.sqrt(0.95 * 0.05 / n):.3f} | "
              f"{np.mean(high - low):.3f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main(*(int(a) for a in (*sys.argv[1:], *("60", "400")[len(sys.argv) - 1 :])))
