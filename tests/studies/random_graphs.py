"""Random graphs and mixtures: are intervals right, and are few good tables refused?

python tests/studies/random_graphs.py -n 500. Of every three mixtures one has a view spoilt: made
equal across sources, or removed. Prints misses of 90% intervals over answers that are labelled
graphical or local, over weak ones, and the share of answers refused as weak where nothing was
spoilt.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch

import pyromix as px
from pyromix.identify.graphical import graph_facts
from pyromix.identify.verdict import NO_VIEW, judge
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import Certainty, settings

RESULTS = Path(__file__).with_name("random_graphs.csv")

N_ROWS = 2000

SEPARATION = 0.4
"""Least difference between the sources at every row of a table."""

EDGES = 0.3
"""Probability of an edge between two vertices."""


def drawn(seed: int, k: int) -> tuple[BayesNetMixture, str, str]:
    """A mixture on a random graph, and an effect that leans on views of U."""
    rng = np.random.default_rng(seed)
    while True:
        n = int(rng.integers(5, 8))
        names = [f"V{i}" for i in range(n)]
        parents = {
            names[j]: [names[i] for i in range(j) if rng.random() < EDGES][-2:] for j in range(n)
        }
        spec = px.MixtureSpec.from_parents(dict.fromkeys(names, tuple(range(k))), parents, k)
        pairs = [(p, v) for v, mine in parents.items() for p in mine]
        if not pairs or graph_facts(spec).plan is None:
            continue
        x, y = pairs[int(rng.integers(len(pairs)))]
        found = judge(spec, settings(spec, y, x))
        if found.ground in NO_VIEW or not found.structural.at_least(Certainty.LOCAL):
            continue
        return (
            px.random_mixture(spec, int(rng.integers(2**31)), separation=SEPARATION / (k - 1)),
            x,
            y,
        )


def spoilt(truth: BayesNetMixture, x: str, y: str, seed: int) -> tuple[BayesNetMixture, str]:
    """The same mixture with one view spoilt, for every third seed."""
    rng, spec = np.random.default_rng(seed), truth.spec
    run = graph_facts(spec).plans[0].runs[0]
    others = [
        v for view in run.views for v in view if spec.name(v) not in (x, y) and not spec.children[v]
    ]
    if seed % 3 or not others:
        return truth, "none"
    v = others[int(rng.integers(len(others)))]
    if rng.random() < 0.5:
        cpts = list(truth.cpts)
        cpts[v] = cpts[v].mean(0, keepdim=True).expand_as(cpts[v]).clone()
        return BayesNetMixture(spec, truth.weights, tuple(cpts)), "equal"
    kept = [u for u in range(spec.n_variables) if u != v]
    smaller = spec.without([v])
    cpts = tuple(truth.cpts[u] for u in kept)
    return BayesNetMixture(smaller, truth.weights, cpts), "removed"


def one(task: tuple[int, int]) -> dict[str, object]:
    """One graph, one mixture, one table, one effect."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    k, seed = task
    whole, x, y = drawn(seed, k)
    truth, how = spoilt(whole, x, y, seed)
    pair = (0, k - 1)
    real = float(px.effect(truth, x, y, contrast=pair).do.values[-1])
    frame = px.simulate(truth, N_ROWS, random_state=seed)
    fit = px.fit(truth.spec, frame, random_state=seed, show_progress=False)
    row: dict[str, object] = {"k": k, "seed": seed, "spoilt": how, "n": truth.spec.n_variables}
    try:
        effect = fit.effect(x, y, contrast=pair, require="weak", level=0.9)
    except px.NotCertifiedError:
        return {**row, "certainty": "none", "covered": "", "width": "", "doubts": "", "by": ""}
    low, high = (float(end[-1]) for end in effect.interval())
    return {
        **row,
        "certainty": effect.certainty.value,
        "covered": int(low <= real <= high),
        "width": round(high - low, 4),
        "doubts": " ".join(effect.do.heard.verdict.doubts),
        "by": effect.do.interval_report().methods[-1],
    }


def run(n: int, jobs: int, first: int, k: int) -> None:
    """Do what is not yet done."""
    done = set()
    if RESULTS.exists():
        with RESULTS.open(newline="") as file:
            done = {(int(row["k"]), int(row["seed"])) for row in csv.DictReader(file)}
    todo = [(k, first + i) for i in range(n) if (k, first + i) not in done]
    fields = ("k", "seed", "spoilt", "n", "certainty", "covered", "width", "doubts", "by")
    with RESULTS.open("a", newline="") as file, Pool(jobs) as pool:
        writer = csv.DictWriter(file, fields)
        if not file.tell():
            writer.writeheader()
        for row in pool.imap_unordered(one, todo):
            writer.writerow(row)
            file.flush()


def summary() -> str:
    """Misses and refusals."""
    with RESULTS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return "\n".join(
        f"k = {k}: {_summary([row for row in rows if row['k'] == k])}"
        for k in sorted({row["k"] for row in rows})
    )


def _summary(rows: list[dict[str, str]]) -> str:
    sure = [r for r in rows if r["certainty"] in ("graphical", "local")]
    weak = [r for r in rows if r["certainty"] == "weak"]
    whole = [r for r in rows if r["spoilt"] == "none"]
    refused = [r for r in whole if r["certainty"] == "weak"]
    lines = [f"{len(rows)} mixtures, {len(rows) - len(whole)} with a view spoilt"]
    for words, some in (("graphical or local", sure), ("weak", weak)):
        missed = [r for r in some if r["covered"] == "0"]
        width = np.mean([float(r["width"]) for r in some]) if some else np.nan
        lines.append(f"{words}: {len(missed)} of {len(some)} missed, mean width {width:.3f}")
    lines.append(f"nothing spoilt: {len(refused)} of {len(whole)} weak")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", type=int, default=0)
    parser.add_argument("-j", "--jobs", type=int, default=2)
    parser.add_argument("--first", type=int, default=1_000_000)
    parser.add_argument("-k", type=int, default=2)
    given = parser.parse_args()
    if given.n:
        run(given.n, given.jobs, given.first, given.k)
    print(summary())
