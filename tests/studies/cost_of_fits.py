"""What fits cost beside ten random starts of EM, and how far below the best known they end.

python tests/studies/cost_of_fits.py [graph ...] -k 2 3 5 8 -N 10000 -t 5. Adds to cost_of_fits.csv
beside it, one line per table, goes on where it stopped, and prints the table that docs/limits.md
shows. All times are CPU time of one process with one thread, and quoted as ratios to ten starts of
plain EM on the same table in the same run. The plan of a graph is found before (once per process
and graph); drawing the ten starts is not counted.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from network_cases import bundled, random_network, rows_of

import pyromix as px
from pyromix.estimate.em import climb, random_starts
from pyromix.estimate.starts import batch_of
from pyromix.identify.graphical import graph_facts
from pyromix.identify.start import start_for_em

RESULTS = Path(__file__).with_name("cost_of_fits.csv")

GRAPHS = ("sachs", "child", "alarm", "insurance", *(f"random {n}" for n in (15, 30, 60, 200)))

FIELDS = (
    *("graph", "k", "n_rows", "seed"),
    *("plain", "ours", "moments", "m1", "none", "default"),
    *("gap_ours", "gap_m1", "gap_none", "status", "n_starts", "confirmed"),
)

N_STARTS = 10

PLAIN = {"accelerate": False, "check_saddle": False, "tol": 1e-9}
"""EM as one would write it, to the tolerance of a fit."""

WORSE = 1e-3
"""Nats per row below the best known that count as missed."""


def timed(function):
    """Result and CPU seconds."""
    start = time.process_time()
    return function(), time.process_time() - start


def truth_of(graph: str, k: int, seed: int):
    """A random mixture on a graph."""
    kind, _, n = graph.partition(" ")
    spec = random_network(int(n), k, seed) if kind == "random" else bundled(graph, k)
    return px.random_mixture(spec, seed)


def one(graph: str, k: int, n_rows: int, seed: int) -> dict[str, object]:
    """Fit one table in every way."""
    truth = truth_of(graph, k, seed)
    counts = rows_of(truth, n_rows, seed)
    starts = random_starts(truth.spec, N_STARTS, seed, counts=counts)
    quiet = {"random_state": seed, "show_progress": False}
    best = climb(counts, batch_of(truth))
    if any(truth.spec.parents) and k > 1:
        graph_facts(truth.spec)
    plain, t_plain = timed(lambda: climb(counts, starts, **PLAIN))
    ours, t_ours = timed(lambda: climb(counts, starts))
    start, t_moments = timed(lambda: start_for_em(counts, truth.spec, seed))
    determined = start.mixture is not None
    m1, t_m1 = (
        timed(lambda: px.fit(truth.spec, counts, n_init=0, prior=None, **quiet))
        if determined
        else (None, np.nan)
    )
    none, t_none = timed(lambda: px.fit(truth.spec, counts, prior=None, **quiet))
    _, t_default = timed(lambda: px.fit(truth.spec, counts, **quiet))
    ends = [r.log_likelihood for r in (best, plain, ours, none) if r is not None]
    top, n = max(ends), counts.n_rows

    def gap(result) -> float:
        return round((top - result.log_likelihood) / n, 6) if result is not None else np.nan

    return {
        "graph": graph,
        "k": k,
        "n_rows": n_rows,
        "seed": seed,
        "plain": round(t_plain, 3),
        "ours": round(t_ours / t_plain, 3),
        "moments": round(t_moments / t_plain, 3),
        "m1": round(t_m1 / t_plain, 3),
        "none": round(t_none / t_plain, 3),
        "default": round(t_default / t_plain, 3),
        "gap_ours": gap(ours),
        "gap_m1": gap(m1),
        "gap_none": gap(none),
        "status": start.stage.status.name,
        "n_starts": len(none.climb.log_likelihoods),
        "confirmed": none.climb.n_best,
    }


def read() -> list[dict[str, str]]:
    """All lines so far."""
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def run(graphs, ks, n_rows, tables, first) -> None:
    """Do what is not yet done."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    done = {(r["graph"], int(r["k"]), int(r["n_rows"]), int(r["seed"])) for r in read()}
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if not file.tell():
            writer.writeheader()
        for seed in range(first, first + tables):
            for task in [(g, k, n, seed) for n in n_rows for k in ks for g in graphs]:
                if task not in done:
                    writer.writerow(one(*task))
                    file.flush()


def _median(lines: list[dict[str, str]], field: str) -> float:
    """Of the tables that have the number."""
    found = [float(line[field]) for line in lines if line[field] != "nan"]
    return float(np.median(found)) if found else math.nan


def table() -> str:
    """Markdown: medians of ratios, and shares missed."""
    rows = read()
    lines = [
        "| graph | k | N | tables | seconds | ours x 10 | moments | m1 | none | default "
        "| default / ours x 10 | missed: 10 starts, m1, none | moments OK |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for g, k, n in sorted({(r["graph"], int(r["k"]), int(r["n_rows"])) for r in rows}):
        mine = [r for r in rows if (r["graph"], int(r["k"]), int(r["n_rows"])) == (g, k, n)]
        mid = {f: _median(mine, f) for f in FIELDS[4:10]}
        to_ours = np.median([float(r["default"]) / float(r["ours"]) for r in mine])
        missed = [
            sum(float(r[f]) > WORSE for r in mine) for f in ("gap_ours", "gap_m1", "gap_none")
        ]
        ok = sum(r["status"] == "OK" for r in mine)
        lines.append(
            f"| {g} | {k} | {n:,} | {len(mine)} | "
            + " | ".join("" if np.isnan(mid[f]) else f"{mid[f]:.2f}" for f in FIELDS[4:10])
            + f" | {to_ours:.1f} | {', '.join(map(str, missed))} | {ok} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("graphs", nargs="*")
    parser.add_argument("-k", type=int, nargs="*", default=[2, 3, 5, 8])
    parser.add_argument("-N", type=int, nargs="*", default=[10_000])
    parser.add_argument("-t", "--tables", type=int, default=0)
    parser.add_argument("--first", type=int, default=600)
    given = parser.parse_args()
    if given.tables:
        run(given.graphs or list(GRAPHS), given.k, given.N, given.tables, given.first)
    print(table())
