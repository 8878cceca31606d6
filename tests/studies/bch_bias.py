"""Where the bias of BCH comes from: step one known, of the same rows, and of other rows.

python tests/studies/bch_bias.py [-n 2000]. The tables of ``class_extras.py`` (six binary items, .7
against .3, mean of the outcome 1 higher in class 1) at several sizes. BCH is written here anew, on
the 64 patterns of the items; EM starts at the truth, all tables at once. Written to
``bch_bias.csv``: mean difference between the classes (true: 1), its standard error, the median, and
the mean entropy R2 that step one claims.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import torch

import pyromix as px
from pyromix.data.counts import Counts
from pyromix.estimate.em import climb_replicates
from pyromix.estimate.starts import batch_of
from pyromix.model.prior import PseudoCounts

SIZES = (500, 1000, 2000, 4000, 16_000)
PATTERNS = np.array(np.meshgrid(*[[0, 1]] * 6, indexing="ij")).reshape(6, -1).T
PLACE = 2 ** np.arange(5, -1, -1)


def table(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """How many rows have each pattern, and the sum of their outcomes."""
    u = rng.random(n) < 1 / (1 + np.exp(-(rng.normal(size=n) - 0.3)))
    items = rng.random((n, 6)) < np.where(u, 0.7, 0.3)[:, None]
    place = items.astype(int) @ PLACE
    score = u + rng.normal(size=n)
    return np.bincount(place, minlength=64), np.bincount(place, score, minlength=64)


def bch(shares: np.ndarray, counts: np.ndarray, sums: np.ndarray) -> float:
    """Mean in the second class less that in the first, from P(class | pattern), ``(64, 2)``."""
    assigned = np.eye(2)[shares.argmax(1)]
    joint = (counts[:, None] * shares).T @ assigned
    weights = assigned @ np.linalg.inv(joint / joint.sum(1, keepdims=True))
    means = weights.T @ sums / (weights.T @ counts)
    return float(means[1] - means[0])


def posteriors(weights: np.ndarray, ones: np.ndarray) -> np.ndarray:
    """P(class | pattern) from class sizes and P(1 | class) of the items, ``(2, 6)``."""
    law = np.where(PATTERNS[:, None, :] == 1, ones, 1 - ones).prod(-1) * weights
    return law / law.sum(1, keepdims=True)


def sharpness(shares: np.ndarray, counts: np.ndarray) -> float:
    """Entropy R2 of two classes."""
    entropy = -(shares * np.log(shares.clip(1e-300))).sum(1)
    return 1 - float(counts @ entropy) / (counts.sum() * np.log(2))


def main() -> None:
    """Print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=2000)
    n_tables = parser.parse_args().n
    share = np.mean(1 / (1 + np.exp(-(np.random.default_rng(1).normal(size=2_000_000) - 0.3))))
    true = np.array([1 - share, share]), np.array([[0.3] * 6, [0.7] * 6])
    spec = px.MixtureSpec.from_parents({f"V{i}": (0, 1) for i in range(6)}, {}, 2)
    cpts = [torch.tensor(np.stack([1 - p, p], 1)) for p in true[1].T]
    truth = px.BayesNetMixture.from_tables(spec, [torch.tensor(true[0]), *cpts])
    rows = Counts.from_codes(spec, torch.tensor(PATTERNS))
    order = rows.rows.long().numpy() @ PLACE
    lines = []
    for size in SIZES:
        rng = np.random.default_rng(size)
        tables = [table(rng, size) for _ in range(n_tables)]
        columns = torch.tensor(np.stack([counts[order] for counts, _ in tables], 1)).double()
        ends = climb_replicates(
            rows,
            batch_of(*[truth] * n_tables),
            columns,
            prior=PseudoCounts.of(spec, None, columns.device),
            tol=1e-8,
        ).mixtures
        ones = torch.stack([cpt[..., 1] for cpt in ends.cpts], -1).numpy()
        own = [posteriors(w, p) for w, p in zip(ends.weights.numpy(), ones, strict=True)]
        known = posteriors(*true)
        kinds = {
            "known": [known] * n_tables,
            "same rows": own,
            "other rows": [*own[1:], own[0]],
        }
        for kind, shares in kinds.items():
            found = [bch(s, *t) for s, t in zip(shares, tables, strict=True)]
            sharp = np.mean([sharpness(s, t[0]) for s, t in zip(shares, tables, strict=True)])
            error = np.std(found) / np.sqrt(n_tables)
            lines.append(
                (
                    size,
                    kind,
                    *(f"{x:.4f}" for x in (np.mean(found), error, np.median(found), sharp)),
                )
            )
            print(*lines[-1], flush=True)
    with Path(__file__).with_suffix(".csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("rows", "step_one", "mean", "standard_error", "median", "entropy_r2"))
        writer.writerows(lines)


if __name__ == "__main__":
    main()
