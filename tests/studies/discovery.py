"""px.discover on fresh graphs, beside the same search without a hidden source and pgmpy's searches.

    python tests/studies/discovery.py 40

Writes a line per table to discovery.csv beside this file, and goes on where it stopped. Errors are
of P(last state of y | do(x = last)) - P(.. | do(x = first)), averaged over ``PAIRS`` random pairs.
"""

from __future__ import annotations

import csv
import math
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from graph_check import random_spec, random_tables

import pyromix as px
from pyromix.data.counts import Counts
from pyromix.discovery.classes import GraphClass
from pyromix.discovery.moves import Room, State
from pyromix.discovery.starts import climbed
from pyromix.estimate.starts import batch_of
from pyromix.exact.sampling import sample
from pyromix.model.edges import parents_of
from pyromix.model.knowledge import Knowledge

OUT = Path(__file__).with_suffix(".csv")
FIELDS = [
    "seed", "n", "k", "N", "strength", "score_gap", "skeleton", "directions", "settled", "hits",
    "seconds", "error_association", "error_without_u", "error_best", "error_average",
    "error_true_graph", "covered", "set_size", "hc", "ges", "pc",
]  # fmt: skip
PAIRS = 8


def effect(mixture: px.BayesNetMixture, x: str, y: str) -> float:
    """Difference under the do."""
    low, high = (px.query(mixture, y, {x: s}).values[-1] for s in (0, 1))
    return float(high - low)


def association(mixture: px.BayesNetMixture, x: str, y: str) -> float:
    """Difference as seen."""
    low, high = (px.query(mixture, y, evidence={x: s}).values[-1] for s in (0, 1))
    return float(high - low)


def other_skeletons(frame: pd.DataFrame) -> dict[str, set[frozenset[str]]]:
    """What pgmpy's searches find, who know of nothing hidden."""
    from pgmpy.causal_discovery import GES, PC, HillClimbSearch

    found = {}
    for name, estimator in (
        ("hc", HillClimbSearch(scoring_method="bic-d", max_indegree=3, show_progress=False)),
        ("ges", GES(scoring_method="bic-d")),
        ("pc", PC(ci_test="chi_square", significance_level=0.01, show_progress=False)),
    ):
        try:
            graph = estimator.fit(frame).causal_graph_
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            print(name, type(error).__name__, error, flush=True)
            continue
        found[name] = {frozenset(e) for e in graph.to_undirected().edges}
    return found


def one(seed: int) -> dict[str, object]:
    """One table."""
    rng = np.random.default_rng((1919, seed))
    n, k = int(rng.choice([8, 12])), int(rng.choice([1, 2, 2, 3]))
    n_rows, weak = 10_000, bool(rng.random() < 0.4)
    spec = random_spec(n, k, rng)
    truth = random_tables(spec, (0.3, 0.8) if weak else (1.0, 2.0), rng)
    codes, _ = sample(truth, n_rows, seed)
    counts = Counts.from_codes(spec, codes)
    line: dict[str, object] = {"seed": seed, "n": n, "k": k, "N": n_rows}
    line["strength"] = "weak" if weak else "strong"
    price = math.log(n_rows) / 2
    room = Room(spec, Knowledge.of(spec), 3, price)
    fitted, likelihood = climbed(counts, batch_of(truth), 300, 1e-4)
    true_score = likelihood - price * room.n_parameters(State(parents_of(spec)))
    start = time.perf_counter()
    found = px.discover(counts, k, n_starts=4, random_state=seed)
    line["seconds"] = round(time.perf_counter() - start, 1)
    line["score_gap"] = round(-found.search.bic[0][1] / 2 - true_score, 2)
    right = GraphClass.of(parents_of(spec))
    line["skeleton"] = len(found.graph.skeleton ^ right.skeleton)
    line["directions"] = len(found.graph.directed ^ right.directed)
    line["settled"], line["hits"] = found.settled, found.search.hits
    without = px.discover(counts, 1, n_starts=1)
    pairs = [tuple(rng.choice(n, 2, replace=False)) for _ in range(PAIRS)]
    errors: dict[str, list[float]] = {f: [] for f in FIELDS if f.startswith("error")}
    covered, sizes = [], []
    for x, y in ((spec.name(int(a)), spec.name(int(b))) for a, b in pairs):
        true = effect(truth, x, y)
        own = effect(fitted, x, y)
        values = np.array(found.effect(x, y, interval=False).values)
        blind = np.array(without.effect(x, y, interval=False).values)
        errors["error_association"].append(abs(association(truth, x, y) - true))
        errors["error_without_u"].append(abs(blind - true).mean())
        errors["error_best"].append(abs(values - true).min())
        errors["error_average"].append(abs(values - true).mean())
        errors["error_true_graph"].append(abs(own - true))
        room_left = max(0.02, 2 * abs(own - true))
        covered.append(values.min() - room_left <= true <= values.max() + room_left)
        sizes.append(len(values))
    line |= {name: round(float(np.mean(found_)), 5) for name, found_ in errors.items()}
    line["covered"], line["set_size"] = float(np.mean(covered)), float(np.mean(sizes))
    frame = pd.DataFrame(codes.numpy(), columns=list(spec.variables))
    planted = {
        frozenset((spec.name(p), spec.name(v))) for v, ps in enumerate(spec.parents) for p in ps
    }
    for name, skeleton in other_skeletons(frame).items():
        line[name] = len(skeleton ^ planted)
    return line


def main() -> None:
    """Go on to as many tables as asked for."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    done: set[str] = set()
    if OUT.exists():
        with OUT.open() as file:
            done = {row["seed"] for row in csv.DictReader(file)}
    for seed in range(int(sys.argv[1])):
        if str(seed) in done:
            continue
        line = one(seed)
        fresh = not OUT.exists()
        with OUT.open("a", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            if fresh:
                writer.writeheader()
            writer.writerow(line)
        print(line, flush=True)


if __name__ == "__main__":
    main()
