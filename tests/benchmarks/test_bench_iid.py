"""k-MixIID: methods against each other, stacked problems against a loop, Newton against EM."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
import torch

from pyromix.coins.door import fit_iid
from pyromix.coins.likelihood import Flips, log_likelihood, refine_binomial
from pyromix.coins.moments import MOMENT_METHODS, solve_moments
from pyromix.coins.prony import factorial_moments
from pyromix.errors import PyromixWarning
from pyromix.model.status import Status


def coins(k):
    """Coins (j + 1/2)/k with equal weights."""
    probs = (torch.arange(k, dtype=torch.float64) + 0.5) / k
    return probs, torch.full_like(probs, 1 / k)


def histograms(k, n_flips, n_units, n_sets, seed):
    """Counts of successes 0..n_flips in ``n_sets`` data sets from the coins above."""
    rng = np.random.default_rng(seed)
    probs, weights = coins(k)
    sources = rng.multinomial(n_units, weights.numpy(), size=n_sets)
    counts = np.zeros((n_sets, n_flips + 1))
    h = np.arange(n_flips + 1)
    for j, p in enumerate(probs.tolist()):
        ways = np.array([np.prod([(n_flips - i) / (i + 1) for i in range(a)]) for a in h])
        cells = ways * p**h * (1 - p) ** (n_flips - h)
        counts += np.stack([rng.multinomial(n, cells / cells.sum()) for n in sources[:, j]])
    return torch.arange(n_flips + 1), torch.full((n_flips + 1,), n_flips), torch.tensor(counts)


def wasserstein(probs, weights, true_probs, true_weights):
    """Distance W1 of laws on the line, batched over the first argument."""
    points = torch.cat([probs, true_probs.expand(*probs.shape[:-1], -1)], -1)
    masses = torch.cat([weights, -true_weights.expand(*weights.shape[:-1], -1)], -1)
    points, order = points.sort(-1)
    height = masses.gather(-1, order).cumsum(-1)[..., :-1].abs()
    return (height * points.diff(dim=-1)).sum(-1)


@pytest.mark.parametrize("spare", [0, 1], ids=["k coins", "k - 1 coins"])
@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_error_of_each_method(benchmark, k, spare, capsys):
    n_flips, n_units, truth = 4 * k, 10**5, coins(k - spare)
    h, n, counts = histograms(k - spare, n_flips, n_units, 400, seed=k)
    moments, _ = factorial_moments(h, n, counts, 2 * k + 2)
    benchmark.pedantic(solve_moments, (moments, k), rounds=3, warmup_rounds=1)
    line = []
    for method in MOMENT_METHODS:
        solution = solve_moments(moments, k, method=method)
        errors = wasserstein(solution.probs, solution.weights, *truth)
        share = float((solution.status == Status.COMPLEX_PAIR).double().mean())
        line.append(f"{method} {float(errors.median()):.4f} (complex {100 * share:.0f}%)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PyromixWarning)
        fits = [fit_iid(h, n, k, sample_weight=row, n_init=2) for row in counts[:50]]
    best = wasserstein(
        torch.stack([f.probs for f in fits]), torch.stack([f.weights for f in fits]), *truth
    )
    with capsys.disabled():
        print(  # noqa: T201
            f"\nasked k={k}, {k - spare} there, {n_flips} flips, {n_units:.0e} units, median W1: "
            + ", ".join(line)
            + f", likelihood {float(best.median()):.4f}"
        )


@pytest.mark.parametrize("k", [2, 3, 5])
def test_stacked_problems_against_a_loop(benchmark, k, capsys):
    h, n, counts = histograms(k, 4 * k, 10**4, 1000, seed=0)
    moments, covariance = factorial_moments(h, n, counts, 2 * k)

    def stacked():
        return solve_moments(moments, k, covariance=covariance)

    solution = benchmark.pedantic(stacked, rounds=5, warmup_rounds=1)
    start = time.perf_counter()
    looped = [
        solve_moments(m, k, covariance=c).probs for m, c in zip(moments, covariance, strict=True)
    ]
    seconds = time.perf_counter() - start
    torch.testing.assert_close(solution.probs, torch.stack(looped), rtol=0, atol=1e-9)
    with capsys.disabled():
        print(  # noqa: T201
            f"\n1,000 problems, k={k}: loop {seconds:.3f} s, stacked "
            f"{benchmark.stats.stats.min:.4f} s, loop / stacked = "
            f"{seconds / benchmark.stats.stats.min:.0f}"
        )


def plain_em(flips, probs, weights, target, limit):
    """EM in its textbook form until the log-likelihood is reached; steps taken."""
    h, n = flips.successes.to(probs), flips.trials.to(probs)
    for step in range(limit):
        if float(log_likelihood(flips, probs, weights)) >= target:
            return step
        logs = weights.log() + torch.xlogy(h[:, None], probs)
        logs = logs + torch.xlogy((n - h)[:, None], 1 - probs)
        expected = logs.softmax(-1) * flips.mass[:, None]
        probs, weights = (h @ expected) / (n @ expected), expected.sum(0) / expected.sum()
    return limit


def test_newton_against_plain_em(benchmark, capsys):
    # Thumbtacks of Beckett and Diaconis (1994): three coins that are nearly two.
    counts = torch.tensor([0, 3, 13, 18, 48, 47, 67, 54, 51, 19], dtype=torch.float64)
    flips = Flips(torch.arange(10), torch.full((10,), 9), counts)
    probs = torch.tensor([0.3, 0.5, 0.7], dtype=torch.float64)
    weights = torch.full((3,), 1 / 3, dtype=torch.float64)

    def newton():
        return refine_binomial(flips, probs.unsqueeze(0), weights.unsqueeze(0))

    refined = benchmark.pedantic(newton, rounds=5, warmup_rounds=1)
    target = float(refined.log_likelihood[0]) - 1e-6
    start = time.perf_counter()
    steps = plain_em(flips, probs, weights, target, 200_000)
    seconds = time.perf_counter() - start
    with capsys.disabled():
        print(  # noqa: T201
            f"\nthumbtacks, k=3, to 1e-6 nats: EM {steps} steps, {seconds:.2f} s; "
            f"{refined.n_iter} Newton steps, {benchmark.stats.stats.min:.4f} s; EM / ours = "
            f"{seconds / benchmark.stats.stats.min:.0f}"
        )
