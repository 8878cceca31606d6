"""Latent classes beside StepMix and pomegranate: CPU time, and who ends below the best known.

python tests/studies/products.py -k 3 5 8 -N 10000 100000 -t 3 adds to products.csv beside it, one
line per table and program, goes on where it stopped, and prints the table that docs/limits.md
shows. Neither program is a dependency: install them into an environment of their own that sees the
packages of this one (``pip install --no-deps stepmix pomegranate apricot-select numba llvmlite``).
Twelve items of three states; weights and tables uniform on the simplex. Every program is asked at
its defaults and with ten starts (pomegranate has no restarts: ten fits, the best kept). StepMix
counts states from 0 and takes ``measurement="categorical"``; tables are given as integers, and
reading them is part of the time.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import pyromix as px
from pyromix.data.counts import Counts
from pyromix.estimate.em import climb
from pyromix.estimate.starts import batch_of
from pyromix.exact.likelihood import log_prob
from pyromix.exact.sampling import sample

RESULTS = Path(__file__).with_name("products.csv")

ITEMS, STATES = 12, 3

WORSE = 1e-3
"""Nats per row below the best known that count as missed."""

PROGRAMS = tuple(
    name + starts
    for name in ("pyromix", "StepMix", "pomegranate")
    for starts in ("", ", 10 starts")
)

FIELDS = ("k", "n_rows", "seed", "program", "seconds", "value")

TRUTH = "EM from the truth"


def truth_of(k: int, seed: int) -> Any:
    """A random mixture of products."""
    names = [f"V{v:02}" for v in range(ITEMS)]
    spec = px.MixtureSpec.from_parents(dict.fromkeys(names, tuple(range(STATES))), {}, k)
    return px.random_mixture(spec, seed)


def ours(rows: np.ndarray, k: int, seed: int, n_starts: int | None) -> Any:
    """A fit of latent classes."""
    import pandas as pd

    frame = pd.DataFrame(rows, columns=[f"V{v:02}" for v in range(ITEMS)])
    states = {name: tuple(range(STATES)) for name in frame.columns}
    options = {"state_names": states, "n_init": n_starts, "random_state": seed}
    return px.fit_product(frame, k, show_progress=False, **options).mixture


def stepmix(rows: np.ndarray, k: int, seed: int, n_starts: int | None) -> Any:
    """StepMix, as a mixture of ours."""
    from stepmix.stepmix import StepMix

    more = {} if n_starts is None else {"n_init": n_starts}
    model = StepMix(k, measurement="categorical", random_state=seed, progress_bar=0, **more)
    model.fit(rows)
    found = model.get_parameters()
    pis = torch.as_tensor(found["measurement"]["pis"]).double().reshape(k, ITEMS, -1)[..., :STATES]
    return mixture(torch.as_tensor(found["weights"]).double(), list(pis.unbind(1)))


def pomegranate(rows: np.ndarray, k: int, seed: int, n_starts: int | None) -> Any:
    """pomegranate, the best of so many fits."""
    from pomegranate.distributions import Categorical
    from pomegranate.gmm import GeneralMixtureModel

    table, best, value = torch.as_tensor(rows), None, -np.inf
    for i in range(n_starts or 1):
        torch.manual_seed(1000 * seed + i)
        parts = [
            Categorical(torch.distributions.Dirichlet(torch.ones(ITEMS, STATES)).sample())
            for _ in range(k)
        ]
        model = GeneralMixtureModel(parts, random_state=seed).fit(table)
        mine = float(model.log_probability(table).double().sum())
        if mine > value:
            best, value = model, mine
    probs = torch.stack([part.probs.double() for part in best.distributions], 1)
    return mixture(best.priors.double(), list(probs))


def mixture(weights: torch.Tensor, tables: list[torch.Tensor]) -> Any:
    """What a program found, with a hair inside so that no row is impossible."""
    spec = truth_of(len(weights), 0).spec
    tables = [t.clamp_min(1e-12) / t.clamp_min(1e-12).sum(-1, keepdim=True) for t in tables]
    return px.BayesNetMixture(spec, weights / weights.sum(), tuple(tables))


ASKED: dict[str, Callable[..., Any]] = {
    "pyromix": ours,
    "StepMix": stepmix,
    "pomegranate": pomegranate,
}


@cache
def warmed(program: str) -> None:
    """Have a program import what it imports at its first fit."""
    ASKED[program](sample(truth_of(2, 0), 300, 0)[0].numpy().astype(np.int64), 2, 0, 1)


def one(k: int, n_rows: int, seed: int, program: str) -> dict[str, object]:
    """One program on one table."""
    truth = truth_of(k, seed)
    rows = sample(truth, n_rows, seed)[0]
    counts = Counts.from_codes(truth.spec, rows)
    table = rows.numpy().astype(np.int64)
    name, _, starts = program.partition(",")
    if program != TRUTH:
        warmed(name)
    begin = time.process_time()
    if program == TRUTH:
        result = climb(counts, batch_of(truth)).mixture
    else:
        result = ASKED[name](table, k, seed, 10 if starts else None)
    seconds = time.process_time() - begin
    value = float(counts.weights @ log_prob(result, counts.rows)) / n_rows
    return dict(zip(FIELDS, (k, n_rows, seed, program, round(seconds, 3), value), strict=True))


def read() -> list[dict[str, str]]:
    """All lines so far."""
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def run(programs: list[str], ks: list[int], n_rows: list[int], tables: int, first: int) -> None:
    """Do what is not yet done, with the programs that are installed."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    there = [p for p in programs if importlib.util.find_spec(p.partition(",")[0].lower())]
    done = {tuple(r[f] for f in FIELDS[:4]) for r in read()}
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if not file.tell():
            writer.writeheader()
        for seed in range(first, first + tables):
            for task in [(k, n, seed, p) for n in n_rows for k in ks for p in (TRUTH, *there)]:
                if tuple(map(str, task)) not in done:
                    writer.writerow(one(*task))
                    file.flush()


def table() -> Iterator[str]:
    """Markdown: median CPU seconds, and on how many tables missed."""
    rows = read()
    best: dict[tuple[str, ...], float] = {}
    for r in rows:
        key = (r["k"], r["n_rows"], r["seed"])
        best[key] = max(best.get(key, -np.inf), float(r["value"]))
    yield f"| k | N | tables | {' | '.join(PROGRAMS)} |"
    yield "|---" * (3 + len(PROGRAMS)) + "|"
    for k, n in sorted({(int(r["k"]), int(r["n_rows"])) for r in rows}):
        here = [r for r in rows if (int(r["k"]), int(r["n_rows"])) == (k, n)]
        shown = []
        for program in PROGRAMS:
            mine = [r for r in here if r["program"] == program]
            behind = [best[r["k"], r["n_rows"], r["seed"]] - float(r["value"]) for r in mine]
            seconds = np.median([float(r["seconds"]) for r in mine]) if mine else np.nan
            missed = f"{sum(gap > WORSE for gap in behind)} of {len(mine)}"
            shown.append(f"{seconds:.2f} s, {missed}" if mine else "")
        yield f"| {k} | {n:,} | {len({r['seed'] for r in here})} | {' | '.join(shown)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("-k", type=int, nargs="*", default=[3, 5, 8])
    parser.add_argument("-N", type=int, nargs="*", default=[10_000])
    parser.add_argument("-t", "--tables", type=int, default=0)
    parser.add_argument("-p", "--programs", nargs="*", default=PROGRAMS)
    parser.add_argument("--first", type=int, default=600)
    given = parser.parse_args()
    if given.tables:
        run(given.programs, given.k, given.N, given.tables, given.first)
    print("\n".join(table()))
