"""Products with columns of numbers beside scikit-learn, StepMix and pomegranate.

python tests/studies/mixed_products.py -k 3 5 -N 10000 -t 3 adds to mixed_products.csv beside it,
one line per table and program, goes on where it stopped, and prints the table that docs/numbers.md
shows. scikit-learn is a dependency of the tests; the other two are not: see ``products.py``.

Eight numbers, normal within each of k sources; or six, and four columns of two states, which
scikit-learn cannot take. Every program is asked as it comes, and with ten starts to a tolerance of
1e-9 nats per row (pomegranate has no restarts: ten fits, the best kept; its numbers are float32).
Log-likelihoods are valued by numpy from the parameters that a program hands out.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import logsumexp

import pyromix as px
from pyromix.model.kind import Kind

RESULTS = Path(__file__).with_name("mixed_products.csv")

COLUMNS = {"numbers": (8, 0), "mixed": (6, 4)}
"""Numbers, and columns of two states."""

TOLERANCE = 1e-9

FIELDS = ("columns", "k", "rows", "seed", "program", "seconds", "value")

Laws = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Weights, means, variances, chances of the second state: sources first."""


def table_of(columns: str, k: int, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and states."""
    g = np.random.default_rng(seed)
    many, states = COLUMNS[columns]
    u = g.choice(k, rows, p=g.dirichlet(np.full(k, 5.0)))
    means, spread = 1.5 * g.normal(size=(k, many)), g.uniform(0.7, 1.4, (k, many))
    numbers = means[u] + spread[u] * g.normal(size=(rows, many))
    return numbers, (g.random((rows, states)) < g.uniform(0.1, 0.9, (k, states))[u]).astype(int)


def value(laws: Laws, numbers: np.ndarray, states: np.ndarray) -> float:
    """Mean log-likelihood per row."""
    weights, means, variances, chances = (np.asarray(one, float) for one in laws)
    chances = chances.clip(1e-12, 1 - 1e-12)
    joint = np.log(weights / weights.sum()) + states @ np.log(chances).T
    joint = joint + (1 - states) @ np.log1p(-chances).T
    for m, v, x in zip(means.T, variances.T, numbers.T, strict=True):
        joint += -0.5 * (np.log(2 * np.pi * v) + (x[:, None] - m) ** 2 / v)
    return float(logsumexp(joint, 1).mean())


def ours(numbers: np.ndarray, states: np.ndarray, k: int, seed: int, many: bool) -> Laws:
    """Bins and random starts; ten of these in any case."""
    frame = pd.DataFrame(numbers, columns=[f"x{i}" for i in range(numbers.shape[1])])
    for i, column in enumerate(states.T):
        frame[f"c{i}"] = column
    fit = px.fit_product(frame, k, random_state=seed, show_progress=False)
    lines, tables = {}, {}
    for v, cpd in enumerate(fit.mixture.cpds):
        unit, name = fit.mixture.units[v], fit.spec.name(v)
        if fit.spec.kind(v) is Kind.REAL:
            mean = unit.centre + unit.scale * cpd.coefficients[:, 0, 0].numpy()
            lines[name] = mean, unit.scale**2 * cpd.variances[:, 0].numpy()
        else:
            tables[name] = cpd.values[:, 1].numpy()
    means, variances = (
        np.stack([lines[f"x{i}"][j] for i in range(numbers.shape[1])], 1) for j in (0, 1)
    )
    chances = [tables[f"c{i}"] for i in range(states.shape[1])]
    none = np.zeros((k, 0))
    return (
        fit.mixture.weights.numpy(), means, variances, np.stack(chances, 1) if chances else none,
    )  # fmt: skip


def sklearn(numbers: np.ndarray, states: np.ndarray, k: int, seed: int, many: bool) -> Laws:
    """``GaussianMixture(covariance_type="diag")``."""
    from sklearn.mixture import GaussianMixture

    options: dict[str, Any] = {"n_init": 10, "tol": TOLERANCE, "max_iter": 2000} if many else {}
    model = GaussianMixture(k, covariance_type="diag", random_state=seed, **options).fit(numbers)
    return model.weights_, model.means_, model.covariances_, np.zeros((k, 0))


def stepmix(numbers: np.ndarray, states: np.ndarray, k: int, seed: int, many: bool) -> Laws:
    """``measurement="gaussian_diag"``, with states a descriptor of both."""
    from stepmix.stepmix import StepMix

    options: dict[str, Any] = {"n_init": 10, "abs_tol": TOLERANCE, "max_iter": 2000} if many else {}
    frame = pd.DataFrame(np.hstack([numbers, states]))
    n, measurement = numbers.shape[1], {}
    measurement["numbers"] = {"model": "gaussian_diag", "n_columns": n}
    if states.shape[1]:
        measurement["states"] = {"model": "binary", "n_columns": states.shape[1]}
    model = StepMix(
        k, measurement=measurement, random_state=seed, progress_bar=0, verbose=0, **options
    )
    model.fit(frame)
    found = model.get_parameters()
    own = found["measurement"]
    chances = own["states"]["pis"] if "states" in own else np.zeros((k, 0))
    return found["weights"], own["numbers"]["means"], own["numbers"]["covariances"], chances


def pomegranate(numbers: np.ndarray, states: np.ndarray, k: int, seed: int, many: bool) -> Laws:
    """Independent normals and Bernoullis; started from its k-means."""
    from pomegranate.distributions import Bernoulli, IndependentComponents, Normal
    from pomegranate.gmm import GeneralMixtureModel

    table = torch.from_numpy(np.hstack([numbers, states])).float()
    options = {"tol": TOLERANCE * len(table), "max_iter": 2000} if many else {}
    n, best, top = numbers.shape[1], None, -np.inf
    for again in range(10 if many else 1):
        parts = [
            IndependentComponents(
                [
                    *(Normal(covariance_type="diag") for _ in range(n)),
                    *(Bernoulli() for _ in range(states.shape[1])),
                ]
            )
            for _ in range(k)
        ]
        model = GeneralMixtureModel(parts, random_state=seed + 1000 * again, **options).fit(table)
        mine = float(model.log_probability(table).double().sum())
        if mine > top:
            best, top = model, mine
    assert best is not None
    own = [part.distributions for part in best.distributions]
    means, variances = (
        np.array([[float(getattr(law, name)) for law in laws[:n]] for laws in own])
        for name in ("means", "covs")
    )
    chances = np.array([[float(law.probs) for law in laws[n:]] for laws in own]).reshape(k, -1)
    return best.priors.double().numpy(), means, variances, chances


ASKED: dict[str, Callable[..., Laws]] = {
    "pyromix": ours,
    "sklearn": sklearn,
    "stepmix": stepmix,
    "pomegranate": pomegranate,
}

MANY = ", 10 starts"

PROGRAMS = ("pyromix", *(name + many for name in tuple(ASKED)[1:] for many in ("", MANY)))


def run(wanted: argparse.Namespace) -> None:
    """Do what is not yet done, with the programs that are installed."""
    warnings.simplefilter("ignore")
    done = set(pd.read_csv(RESULTS).iloc[:, :5].astype(str).agg(tuple, axis=1)) if _begun() else ()
    for name in ASKED:
        if importlib.util.find_spec(name) is not None:  # imports and compiles at the first fit
            ASKED[name](*table_of("numbers", 2, 300, 0), 2, 0, False)
    torch.set_num_threads(1)  # pomegranate's import sets another number
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if not file.tell():
            writer.writeheader()
        for seed in range(wanted.tables):
            for columns in COLUMNS:
                for k in wanted.k:
                    for rows in wanted.N:
                        for program in PROGRAMS:
                            key = (columns, k, rows, seed, program)
                            name, _, many = program.partition(",")
                            cannot = name == "sklearn" and columns == "mixed"
                            absent = importlib.util.find_spec(name) is None
                            if cannot or absent or tuple(map(str, key)) in done:
                                continue
                            table = table_of(columns, k, rows, seed)
                            start = time.process_time()
                            laws = ASKED[name](*table, k, seed, bool(many))
                            seconds = round(time.process_time() - start, 3)
                            row = (*key, seconds, value(laws, *table))
                            writer.writerow(dict(zip(FIELDS, row, strict=True)))
                            file.flush()


def _begun() -> bool:
    return RESULTS.exists() and RESULTS.stat().st_size > 0


def printed(results: pd.DataFrame) -> str:
    """Median CPU time as a ratio to ours, and the median and most nats per row below the best."""
    where = ["columns", "k", "rows", "seed"]
    best = results.groupby(where)["value"].transform("max")
    results = results.assign(short=best - results["value"])
    mine = results[results["program"] == "pyromix"].set_index(where)["seconds"]
    results = results.join(mine.rename("mine"), on=where)
    results["ratio"] = results["seconds"] / results["mine"]
    lines = [
        "| columns | k | program | time, ours = 1 | below the best: median, most |",
        "|---|---|---|---|---|",
    ]
    for (columns, k, program), part in results.groupby(["columns", "k", "program"]):
        short = part["short"]
        lines.append(
            f"| {columns} | {k} | {program} | {part['ratio'].median():.2f} | "
            f"{short.median():.1e}, {short.max():.1e} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("-k", type=int, nargs="*", default=[3, 5])
    parser.add_argument("-N", type=int, nargs="*", default=[10_000])
    parser.add_argument("-t", "--tables", type=int, default=0)
    given = parser.parse_args()
    if given.tables:
        run(given)
    print(printed(pd.read_csv(RESULTS)))
