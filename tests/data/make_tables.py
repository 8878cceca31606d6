"""Writes the made tables under tests/data/tables, with references by other means than the package.

``python tests/data/make_tables.py``. Plain numpy: expectation-maximisation from many random
starts for items within classes; for flips also the nonparametric maximum, by adding coins where
the likelihood rises (B. G. Lindsay, The geometry of mixture likelihoods, Annals of Statistics 11,
1983).
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from scipy.optimize import nnls
from scipy.stats import binom

FOLDER = Path(__file__).parent / "tables"

ITEMS = {
    # name: states of the items, classes, rows, seed, sharpness of the classes, share of gaps
    "opinions": ((2, 2, 3, 3, 2), 3, 1200, 5, 1.2, 0.0),
    "firms": ((2,) * 6, 3, 4000, 0, 0.4, 0.0),
    "animals": ((2,) * 12 + (6,) + (2,) * 3, 7, 101, 0, 0.25, 0.0),
    "genotypes": ((3,) * 60, 2, 120, 0, 1.0, 0.0),
    "symptoms": ((2,) * 6, 2, 240, 0, 0.5, 0.06),
}

FLIPS = {
    # name: flips of a unit, coins, their shares, units, seed
    "scores": (20, (0.35, 0.6, 0.8), (0.3, 0.4, 0.3), 12000, 0),
    "marks": (9, (0.08, 0.45), (0.7, 0.3), 200, 1),
    "leaves": (9, (0.1, 0.35, 0.8), (0.5, 0.3, 0.2), 160, 3),
}


def drawn(cards, k, n, seed, sharpness, gaps):
    """Rows of a random mixture of products; -1 for a gap."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(k, 5.0))
    source = rng.choice(k, n, p=shares)
    columns = []
    for card in cards:
        table = rng.dirichlet(np.full(card, sharpness), size=k)
        columns.append([rng.choice(card, p=table[u]) for u in source])
    rows = np.array(columns).T
    rows[rng.random(rows.shape) < gaps] = -1
    return rows


def climb(x, owner, n, k, starts, seed):
    """Best of many runs of plain EM: log-likelihood, weights, cells per class."""
    rng = np.random.default_rng(seed)
    m = x.shape[1]
    spread = (owner[:, None] == np.unique(owner)[None]).astype(float)
    cells = rng.gamma(1.0, size=(starts, m, k)) + 1e-3
    shares = rng.dirichlet(np.ones(k), size=starts)

    def norm(c):
        return c / np.maximum(spread @ (spread.T @ c), 1e-300)

    cells = norm(cells)
    value = None
    for stage, steps in ((starts, 150), (max(starts // 10, 10), 1500), (5, 30000)):
        if value is not None:
            best = np.argsort(-value)[:stage]
            cells, shares = cells[best], shares[best]
        last = -np.inf
        for step in range(steps):
            joint = x @ np.log(np.maximum(cells, 1e-300))
            joint = joint + np.log(np.maximum(shares, 1e-300))[:, None]
            top = joint.max(-1, keepdims=True)
            p = np.exp(joint - top)
            total = p.sum(-1, keepdims=True)
            value = ((np.log(total) + top)[..., 0] * n).sum(-1)
            p = p / total * n[:, None]
            shares = p.sum(1) / n.sum()
            cells = norm(x.T @ p)
            if step % 50 == 49:
                if np.max(np.abs(value - last)) < 1e-9:
                    break
                last = value
    i = int(value.argmax())
    return float(value[i]), shares[i], cells[i]


def write_items(name):
    cards, k, n, seed, sharpness, gaps = ITEMS[name]
    rows = drawn(cards, k, n, seed, sharpness, gaps)
    distinct, count = np.unique(rows, axis=0, return_counts=True)
    items = [f"V{i + 1}" for i in range(len(cards))]
    with (FOLDER / f"{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*items, "count"])
        for row, number in zip(distinct.tolist(), count.tolist(), strict=True):
            writer.writerow([*("" if c < 0 else c for c in row), number])
    owner = np.repeat(np.arange(len(cards)), cards)
    state = np.concatenate([np.arange(c) for c in cards])
    x = (distinct[:, owner] == state).astype(float)
    reference = {}
    for classes in range(1, 5):
        starts = 1 if classes == 1 else 400
        value, shares, cells = climb(x, owner, count.astype(float), classes, starts, 7)
        order = np.argsort(-shares)
        # class, item, state
        probs = [
            [cells[owner == i][:, u].round(10).tolist() for i in range(len(cards))] for u in order
        ]
        reference[f"k{classes}"] = {
            "loglik": round(value, 6),
            "weights": shares[order].round(10).tolist(),
            "probs": probs,
        }
        if name == "genotypes":  # the tables are long, and nothing asks for them
            del reference[f"k{classes}"]["probs"]
        print(name, classes, round(value, 4), shares[order].round(3))
    card = {
        "title": f"{n} rows of {k} random classes, {len(cards)} items",
        "licence": "Apache-2.0, as the rest of this repository",
        "source": "tests/data/make_tables.py",
        "items": items,
        "cards": list(cards),
        "n_obs": n,
        "reference": reference,
    }
    (FOLDER / f"{name}.json").write_text(json.dumps(card, indent=1) + "\n")


def nonparametric(h, n, count):
    """Coins of the nonparametric maximum, their shares, its log-likelihood, the gap left."""
    grid = np.sin(np.linspace(0, np.pi / 2, 4001)) ** 2
    support = np.array([np.average(h / n, weights=count)])
    shares = np.ones(1)
    for _ in range(300):
        fitted = binom.pmf(h[:, None], n[:, None], support) @ shares
        rise = (count / fitted) @ binom.pmf(h[:, None], n[:, None], grid) - count.sum()
        peak = np.flatnonzero((rise >= np.roll(rise, 1)) & (rise >= np.roll(rise, -1)))
        tops, gap = [], 0.0
        for i in peak:
            points = np.linspace(grid[max(i - 1, 0)], grid[min(i + 1, 4000)], 4001)
            local = (count / fitted) @ binom.pmf(h[:, None], n[:, None], points) - count.sum()
            gap = max(gap, float(local.max()))
            if local.max() > 0:
                tops.append(points[local.argmax()])
        if gap < 1e-7:
            break
        support = np.unique(np.concatenate([support, tops]))
        shares = np.ones(len(support)) / len(support)
        for _ in range(200):  # weights by repeated least squares [Y. Wang, 2007]
            table = binom.pmf(h[:, None], n[:, None], support)
            fitted = table @ shares
            s = np.sqrt(count)[:, None] * table / fitted[:, None]
            a = np.vstack([s, 1e4 * np.ones(len(support))])
            b = np.concatenate([2 * np.sqrt(count), [1e4]])
            new = nnls(a, b)[0]
            new /= new.sum()
            step = 1.0
            before = count @ np.log(fitted)
            way = new - shares
            while step > 1e-12 and count @ np.log(table @ (shares + step * way)) < before:
                step /= 2
            moved = shares + step * way
            if np.abs(moved - shares).max() < 1e-13:
                break
            shares = moved
        keep = shares > 1e-10
        support, shares = support[keep], shares[keep] / shares[keep].sum()
    fitted = binom.pmf(h[:, None], n[:, None], support) @ shares
    return support, shares, float(count @ np.log(fitted)), gap


def coins(h, n, count, k, seed):
    """Best of many runs of plain EM for k coins."""
    rng = np.random.default_rng(seed)
    p, w = rng.random((300, k)), rng.dirichlet(np.ones(k), size=300)
    log_c = binom.logpmf(h, n, 0.5) + n * np.log(2)
    value = None
    for keep, steps in ((300, 500), (5, 60000)):
        if value is not None:
            best = np.argsort(-value)[:keep]
            p, w = p[best], w[best]
        for _ in range(steps):
            q = np.clip(p, 1e-12, 1 - 1e-12)
            joint = h[:, None] * np.log(q)[:, None] + (n - h)[:, None] * np.log1p(-q)[:, None]
            joint = joint + np.log(np.maximum(w, 1e-300))[:, None]
            top = joint.max(-1, keepdims=True)
            r = np.exp(joint - top)
            total = r.sum(-1, keepdims=True)
            value = ((np.log(total) + top)[..., 0] + log_c) @ count
            r = r / total * count[:, None]
            w = r.sum(1) / count.sum()
            p = (r * h[:, None]).sum(1) / np.maximum((r * n[:, None]).sum(1), 1e-300)
    i = int(value.argmax())
    order = p[i].argsort()
    return float(value[i]), p[i][order], w[i][order]


def write_flips(name):
    flips, probs, shares, units, seed = FLIPS[name]
    rng = np.random.default_rng(seed)
    x = rng.binomial(flips, np.array(probs)[rng.choice(len(probs), units, p=shares)])
    h = np.arange(flips + 1)
    count = np.bincount(x, minlength=flips + 1)
    with (FOLDER / f"{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["x", "n", "count"])
        writer.writerows([[i, flips, int(c)] for i, c in zip(h, count, strict=True)])
    n = np.full(flips + 1, flips)
    support, weights, top, gap = nonparametric(h, n, count.astype(float))
    # Grid neighbours are one coin.
    groups = np.split(np.arange(len(support)), np.flatnonzero(np.diff(support) > 2e-3) + 1)
    merged = [float(np.average(support[g], weights=weights[g])) for g in groups]
    reference = {}
    for k in range(1, 5):
        value, p, w = coins(h, n, count.astype(float), k, 0)
        known = k < len(merged) or (k == len(merged) and flips >= 2 * k - 1)
        reference[f"k{k}"] = {
            "loglik": round(value, 6),
            "p": p.round(8).tolist(),
            "weights": w.round(8).tolist(),
            "identifiable": flips >= 2 * k - 1,
            "parameters_comparable": bool(known),
        }
        print(name, k, round(value, 5), p.round(4), w.round(4))
    reference["npmle"] = {
        "n_atoms": len(merged),
        "support": merged,
        "loglik": round(top, 6),
        "certified_gap": gap,
    }
    print(name, "all", round(top, 5), gap, np.round(merged, 4))
    card = {
        "title": f"{units} units of {flips} flips of {len(probs)} coins",
        "licence": "Apache-2.0, as the rest of this repository",
        "source": "tests/data/make_tables.py",
        "n_obs": units,
        "planted": {"p": list(probs), "weights": list(shares)},
        "reference": reference,
    }
    (FOLDER / f"{name}.json").write_text(json.dumps(card, indent=1) + "\n")


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in ITEMS:
        write_items(name)
    for name in FLIPS:
        write_flips(name)
