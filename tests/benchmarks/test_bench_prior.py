"""What the learned prior is worth: loss on fresh rows and error of effects, against likelihood.

Every line: planted sources on one graph, several mixtures, each with a sample of N rows and 20,000
fresh ones. The excess loss is that over the truth, in nats per row; ratios are of medians.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from network_cases import bundled, random_network, rows_of

import pyromix as px
from pyromix.errors import PyromixWarning
from pyromix.exact.likelihood import log_prob

FRESH = 20_000
SEEDS = 4
FLOOR = -60.0
"""Log-probability of a fresh row that a fit calls impossible."""

CASES = [
    *(("planted", name, k) for name, k in (("asia", 2), ("sachs", 2), ("child", 2), ("alarm", 3))),
    ("few tables", "alarm", 3),
    ("random", "15", 2),
    ("random", "30", 3),
]


def truth_of(kind, name, k, seed):
    """A random mixture; for "few tables" the source moves every fourth of them."""
    spec = random_network(int(name), k, seed) if kind == "random" else bundled(name, k)
    mixture = px.random_mixture(spec, seed)
    if kind != "few tables":
        return mixture
    cpts = tuple(
        c if v % 4 == 0 else c.mean(0, keepdim=True).expand_as(c)
        for v, c in enumerate(mixture.cpts)
    )
    return type(mixture)(spec, mixture.weights, cpts)


def loss(mixture, fresh):
    """Nats per fresh row."""
    return -float(fresh.weights @ log_prob(mixture, fresh.rows).clamp_min(FLOOR)) / fresh.n_rows


def effect_error(truth, mixture, seed):
    """Mean over ten random pairs of the largest error of P(Y | do X = x)."""
    spec, rng = truth.spec, np.random.default_rng(seed)
    errors = []
    for x in rng.permutation([v for v in range(spec.n_variables) if spec.children[v]])[:10]:
        y = rng.choice(sorted(spec.descendants([int(x)]) - {int(x)}))
        name, states = spec.name(int(x)), spec.states_of(int(x))
        values = [
            np.stack([px.query(m, spec.name(int(y)), do={name: s}).values for s in states])
            for m in (truth, mixture)
        ]
        errors.append(abs(values[0] - values[1]).max())
    return float(np.mean(errors))


@pytest.mark.parametrize("n_rows", [1_000, 10_000, 100_000])
@pytest.mark.parametrize(("kind", "name", "k"), CASES)
def test_excess_loss_and_error_of_effects(benchmark, kind, name, k, n_rows, capsys):
    found = {"none": [], "pooled": []}
    chosen = []
    for seed in range(SEEDS):
        truth = truth_of(kind, name, k, seed)
        table, fresh = rows_of(truth, n_rows, seed), rows_of(truth, FRESH, 10_000 + seed)
        best = loss(truth, fresh)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PyromixWarning)
            for prior in found:
                fit = px.fit(
                    truth.spec, table, prior=None if prior == "none" else prior, random_state=seed
                )
                numbers = loss(fit.mixture, fresh) - best, effect_error(truth, fit.mixture, seed)
                found[prior].append(numbers)
            chosen.append(fit.diagnostics.prior.removeprefix("chosen: "))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PyromixWarning)
        benchmark.pedantic(px.fit, (truth.spec, table), rounds=1, warmup_rounds=0)
    (l0, e0), (l1, e1) = (np.median(found[p], axis=0) for p in found)
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{kind} {name} | {k} | {n_rows:.0e} | {l0:.4f} | {l1:.4f} | {l1 / l0:.2f} | "
            f"{e0:.4f} | {e1:.4f} | {', '.join(sorted(set(chosen)))} |"
        )


def test_coverage_of_intervals_under_the_learned_prior(benchmark, capsys):
    """Sachs, a source that moves every third table, 3,000 rows, 90% intervals, delta method."""
    strong = px.random_mixture(bundled("sachs", 2), 0)
    cpts = tuple(
        c if v % 3 == 0 else c.mean(0, keepdim=True).expand_as(c) for v, c in enumerate(strong.cpts)
    )
    truth = type(strong)(strong.spec, strong.weights, cpts)
    spec, rng = truth.spec, np.random.default_rng(0)
    asked = []
    for x in range(6):
        if below := sorted(spec.descendants([x]) - {x}):
            asked.append((spec.name(int(rng.choice(below))), {spec.name(x): spec.states_of(x)}))
    asked = [(y, {x: list(states) for x, states in do.items()}) for y, do in asked]
    found = {None: ([], []), "pooled": ([], [])}
    for seed in range(40):
        table = rows_of(truth, 3000, 100 + seed)
        for prior, (hits, widths) in found.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PyromixWarning)
                fit = px.fit(spec, table, prior=prior, random_state=seed, n_init=2)
            for y, do in asked:
                right = px.query(truth, y, do=do).values
                low, high = fit.query(y, do=do, interval=True).interval(0.9)
                hits.append(((low <= right) & (right <= high)).mean())
                widths.append((high - low).mean())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PyromixWarning)
        benchmark.pedantic(px.fit, (spec, table), rounds=1, warmup_rounds=0)
    with capsys.disabled():
        for prior, (hits, widths) in found.items():
            print(  # noqa: T201
                f"\n90% intervals under prior {prior}: cover {np.mean(hits):.3f} of the true "
                f"probabilities, mean width {np.mean(widths):.4f}"
            )
