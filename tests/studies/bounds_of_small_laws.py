"""Bounds on random small laws against many long starts of another algorithm.

python tests/studies/bounds_of_small_laws.py -n 50. Graphs of three or four binary variables with
X -> Y among random edges, some without an edge from U, k = 2 or 3: seeds 0, 1, 2, ... The other
algorithm minimises -q + lambda' c + rho/2 |c|^2 over log-odds from 24 random starts by gradient
descent of the whole batch (augmented Lagrangians; c the differences of the joint tables, of which
it has code of its own). Adds to bounds_of_small_laws.csv, one line per law, and goes on where it
stopped; prints how far the two are apart, and how many searches reached each end.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch

import pyromix as px
from pyromix.estimate.descent import minimise

RESULTS = Path(__file__).with_name("bounds_of_small_laws.csv")

FIELDS = ("seed", "graph", "k", "low", "high", "other_low", "other_high", "n_low", "n_high",
          "searches", "natural_low", "natural_high", "seconds")  # fmt: skip

STARTS = 24
ROUNDS = 20
MET = 1e-7


def law_at(seed: int) -> px.BayesNetMixture:
    """A random mixture on a random graph."""
    rng = np.random.default_rng(seed)
    names = ["A", "X", "B", "Y"] if rng.random() < 0.5 else ["A", "X", "Y"]
    parents = {
        name: [p for p in names[:i] if (p, name) == ("X", "Y") or rng.random() < 0.4]
        for i, name in enumerate(names)
    }
    free = [name for name in ("A", "B") if name in names and rng.random() < 0.3]
    states = dict.fromkeys(names, (0, 1))
    k = int(rng.integers(2, 4))
    spec = px.MixtureSpec.from_parents(states, parents, k, uninfluenced=free)
    return px.random_mixture(spec, seed)


def tables_of(spec: px.MixtureSpec, odds: torch.Tensor) -> list[torch.Tensor]:
    """P(U) and CPTs, last axis by softmax; a table without an edge from U once for all."""
    k, tables, at = spec.n_sources, [], 0
    for v in range(-1, spec.n_variables):
        shape = (k,) if v < 0 else (1 if v in spec.uninfluenced else k, *spec.cpt_shape(v)[1:])
        size = int(np.prod(shape))
        table = odds[:, at : at + size].reshape(len(odds), *shape).softmax(-1)
        tables.append(table if v < 0 else table.expand(len(odds), k, *shape[1:]))
        at += size
    return tables


def n_odds(spec: px.MixtureSpec) -> int:
    return spec.n_sources + sum(
        int(np.prod(spec.cpt_shape(v))) // (spec.n_sources if v in spec.uninfluenced else 1)
        for v in range(spec.n_variables)
    )


def joint(spec: px.MixtureSpec, tables: list[torch.Tensor], cut: int | None = None) -> torch.Tensor:
    """P(V) by one product; with X cut from what is above it, P(others, x) under do(X uniform)."""
    letters = "bcdefgh"
    arguments, terms = [tables[0]], ["zu"]
    for v in range(spec.n_variables):
        if v != cut:
            arguments.append(tables[v + 1])
            terms.append("zu" + "".join(letters[w] for w in (*spec.parents[v], v)))
        else:
            arguments.append(torch.ones(spec.cards[v], dtype=torch.float64))
            terms.append(letters[v])
    return torch.einsum(f"{','.join(terms)}->z{letters[: spec.n_variables]}", *arguments)


def answer(spec: px.MixtureSpec, tables: list[torch.Tensor]) -> torch.Tensor:
    """P(Y = 1 | do(X = 1))."""
    x, y = spec.vertex("X"), spec.vertex("Y")
    found = joint(spec, tables, cut=x)
    axes = [1 + v for v in range(spec.n_variables) if v not in (x, y)]
    found = found.sum(axes) if axes else found
    return found[:, 1, 1]


def by_lagrangians(truth: px.BayesNetMixture, seed: int) -> tuple[float, float]:
    """Least and largest answer of mixtures whose joint table is that of the truth."""
    spec = truth.spec
    law = joint(spec, [t.unsqueeze(0) for t in truth.tables])
    generator = torch.Generator().manual_seed(seed)
    odds = torch.randn(2 * STARTS, n_odds(spec), dtype=torch.float64, generator=generator)
    side = torch.ones(2 * STARTS, dtype=torch.float64)
    side[STARTS:] = -1
    multipliers = torch.zeros(2 * STARTS, law.numel(), dtype=torch.float64)
    weight = torch.full((2 * STARTS,), 10.0, dtype=torch.float64)
    last = torch.full_like(weight, torch.inf)
    for _ in range(ROUNDS):

        def function(
            points: torch.Tensor, which: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            points = points.detach().requires_grad_()
            tables = tables_of(spec, points)
            gaps = ((joint(spec, tables) - law) / law.sqrt()).flatten(1)
            value = -side[which] * answer(spec, tables) + (multipliers[which] * gaps).sum(-1)  # noqa: B023
            value = value + weight[which] / 2 * gaps.square().sum(-1)  # noqa: B023
            (slope,) = torch.autograd.grad(value.sum(), points)
            return value.detach(), slope

        odds = minimise(function, odds, tol=1e-10, max_iter=80, memory=20).point
        with torch.no_grad():
            tables = tables_of(spec, odds)
            gaps = ((joint(spec, tables) - law) / law.sqrt()).flatten(1)
            answers = answer(spec, tables)
        multipliers = multipliers + weight[:, None] * gaps
        size = gaps.norm(dim=-1)
        weight = torch.where(size > last / 4, 4 * weight, weight).clamp_max(1e7)
        last = size
        if bool((size < MET).all()):
            break
    low, high = answers[STARTS:][last[STARTS:] < MET], answers[:STARTS][last[:STARTS] < MET]
    return (float(low.min()) if len(low) else np.nan, float(high.max()) if len(high) else np.nan)


def one(seed: int) -> dict[str, object]:
    truth = law_at(seed)
    start = time.process_time()
    found = px.bounds(truth, "Y", {"X": 1})
    seconds = time.process_time() - start
    other = by_lagrangians(truth, seed)
    spec = truth.spec
    graph = " ".join(
        f"{'' if v in spec.uninfluenced else 'U'}{''.join(spec.name(p) for p in spec.parents[v])}"
        f">{spec.name(v)}"
        for v in range(spec.n_variables)
    )
    ends = [float(e[1]) for e in (found.low, found.high)]
    natural = [float(e[1]) for e in found.natural]
    row = [seed, graph, spec.n_sources, *ends, *other, int(found.range.n_low[1]),
           int(found.range.n_high[1]), found.range.n_searches, *natural, seconds]  # fmt: skip
    return {
        name: round(value, 6) if isinstance(value, float) else value
        for name, value in zip(FIELDS, row, strict=True)
    }


def read() -> list[dict[str, str]]:
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def summary() -> str:
    """How far the two are apart, outwards from ours, and shares of searches at the ends."""
    rows = read()
    out = np.array(
        [
            [float(r["low"]) - float(r["other_low"]), float(r["other_high"]) - float(r["high"])]
            for r in rows
        ]
    )
    shares = np.array(
        [
            [int(r["n_low"]) / int(r["searches"]), int(r["n_high"]) / int(r["searches"])]
            for r in rows
        ]
    )
    known = np.isfinite(out)
    width = np.array([float(r["high"]) - float(r["low"]) for r in rows])
    return (
        f"{len(rows)} laws, {int((width < 1e-3).sum())} of them points. The other algorithm has an "
        f"end for {int(known.sum())} of {known.size}; it lies further out by more than 1e-4 in "
        f"{int((out[known] > 1e-4).sum())}, further in by as much in "
        f"{int((out[known] < -1e-4).sum())}.\n"
        f"Share of searches at an end: median {np.median(shares):.2f}, least {shares.min():.2f}, "
        f"below a fifth in {int((shares < 0.2).sum())} of {shares.size}."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    done = {int(row["seed"]) for row in read()}
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if not file.tell():
            writer.writeheader()
        for seed in range(given.n):
            if seed not in done:
                writer.writerow(one(seed))
                file.flush()
    print(summary())
