"""Mixtures of binomials: likelihood against plain loops, the climb, and the nonparametric bound."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyromix.coins.bound import derivative, nonparametric_bound
from pyromix.coins.likelihood import (
    Flips,
    drop_redundant,
    log_joint,
    log_likelihood,
    merge_neighbours,
    refine_binomial,
)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def random_flips(seed, n_units=60, longest=9, probs=(0.2, 0.6, 0.9)):
    """Units of 0 to ``longest`` flips of coins drawn evenly."""
    rng = np.random.default_rng(seed)
    trials = rng.integers(0, longest + 1, n_units)
    successes = rng.binomial(trials, rng.choice(probs, n_units))
    mass = torch.ones(n_units, dtype=torch.float64)
    return Flips.from_units(torch.tensor(successes), torch.tensor(trials), mass)


def random_starts(seed, n, k):
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(2, n, k, dtype=torch.float64, generator=generator)
    weights = 0.2 + draws[1]
    return 0.05 + 0.9 * draws[0], weights / weights.sum(-1, keepdim=True)


def loop_log_likelihood(flips, probs, weights):
    """Sum over patterns in plain numbers."""
    total = 0.0
    columns = (flips.successes.tolist(), flips.trials.tolist(), flips.mass.tolist())
    for h, n, m in zip(*columns, strict=True):
        terms = [w * p**h * (1 - p) ** (n - h) for p, w in zip(probs, weights, strict=True)]
        total += m * math.log(math.comb(n, h) * math.fsum(terms))
    return total


# -- data ----------------------------------------------------------------------------------


def test_units_collapse_to_distinct_patterns_in_any_order():
    h, n = torch.tensor([2, 0, 2, 1, 0]), torch.tensor([3, 3, 3, 4, 5])
    mass = tensor([1.0, 2.0, 0.5, 1.0, 0.0])
    order = torch.tensor([4, 2, 0, 3, 1])
    for flips in (Flips.from_units(h, n, mass), Flips.from_units(h[order], n[order], mass[order])):
        assert flips.successes.tolist() == [0, 2, 1]
        assert flips.trials.tolist() == [3, 3, 4]
        assert flips.mass.tolist() == [2.0, 1.5, 1.0]
    assert (flips.n_units, flips.longest) == (4.5, 4)


# -- likelihood ----------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5))
def test_log_likelihood_is_the_sum_over_units(seed, k):
    flips = random_flips(seed)
    probs, weights = random_starts(seed, 1, k)
    expected = loop_log_likelihood(flips, probs[0].tolist(), weights[0].tolist())
    assert float(log_likelihood(flips, probs[0], weights[0])) == pytest.approx(expected, rel=1e-12)


def test_log_likelihood_is_exact_for_coins_that_always_or_never_succeed():
    flips = Flips(torch.tensor([0, 2, 1]), torch.tensor([2, 2, 3]), tensor([1.0, 3.0, 2.0]))
    probs, weights = [0.0, 0.5, 1.0], [0.25, 0.5, 0.25]
    expected = loop_log_likelihood(flips, probs, weights)
    found = log_likelihood(flips, tensor(probs), tensor(weights))
    assert float(found) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("batch_shape", [(), (1,), (2, 3)])
def test_likelihood_of_a_batch_is_the_loop(batch_shape):
    flips = random_flips(1)
    probs, weights = random_starts(1, math.prod(batch_shape), 3)
    stacked = log_joint(
        flips, probs.reshape(*batch_shape, 3), weights.reshape(*batch_shape, 3)
    ).reshape(-1, len(flips.mass), 3)
    for i in range(len(probs)):
        one = log_joint(flips, probs[i], weights[i])
        torch.testing.assert_close(stacked[i], one, rtol=0, atol=1e-14)


# -- the climb -----------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(0, 3))
def test_refinement_never_lowers_the_likelihood(seed, k, max_iter):
    flips = random_flips(seed)
    probs, weights = random_starts(seed, 4, k)
    refined = refine_binomial(flips, probs, weights, max_iter=max_iter)
    before = log_likelihood(flips, probs, weights)
    assert bool((refined.log_likelihood >= before - 1e-10).all())


@pytest.mark.parametrize("seed", range(5))
def test_refinement_ends_where_the_gradient_is_zero(seed):
    flips = random_flips(seed, n_units=400)
    refined = refine_binomial(flips, *random_starts(seed, 3, 2))
    assert bool(refined.converged.all())
    logits = torch.logit(refined.probs).requires_grad_()
    shares = refined.weights.log().requires_grad_()
    value = log_likelihood(flips, torch.sigmoid(logits), shares.softmax(-1)).sum()
    for gradient in torch.autograd.grad(value, (logits, shares)):
        # The next step gains under 1e-9 nats; curvatures here are below 1e3.
        assert float(gradient.abs().max()) < 2e-3


def test_refinement_agrees_with_many_steps_of_textbook_em():
    flips = random_flips(3, n_units=500, longest=6)
    probs, weights = random_starts(3, 1, 2)
    refined = refine_binomial(flips, probs, weights)
    h, n = flips.successes.double(), flips.trials.double()
    probs, weights = probs[0], weights[0]
    for _ in range(20_000):
        logs = weights.log() + torch.xlogy(h[:, None], probs)
        logs = logs + torch.xlogy((n - h)[:, None], 1 - probs)
        expected = logs.softmax(-1) * flips.mass[:, None]
        probs, weights = (h @ expected) / (n @ expected), expected.sum(0) / expected.sum()
    probs, order = probs.sort()
    torch.testing.assert_close(refined.probs[0], probs, rtol=0, atol=1e-6)
    torch.testing.assert_close(refined.weights[0], weights[order], rtol=0, atol=1e-6)


def test_batch_of_starts_is_the_loop():
    flips = random_flips(5)
    probs, weights = random_starts(5, 6, 3)
    stacked = refine_binomial(flips, probs, weights)
    for i in range(6):
        one = refine_binomial(flips, probs[i : i + 1], weights[i : i + 1])
        torch.testing.assert_close(
            stacked.log_likelihood[i], one.log_likelihood[0], rtol=0, atol=1e-8
        )


def test_coin_that_never_succeeds_is_found_exactly_at_zero():
    flips = Flips(torch.tensor([0, 3, 4]), torch.tensor([6, 6, 6]), tensor([40.0, 30.0, 30.0]))
    refined = refine_binomial(flips, tensor([[0.1, 0.6]]), tensor([[0.5, 0.5]]))
    assert float(refined.probs[0, 0]) == 0.0


# -- merging -------------------------------------------------------------------------------


def test_neighbours_merge_at_their_mean_and_weights_add():
    probs, weights = merge_neighbours(tensor([0.1, 0.3, 0.9]), tensor([0.25, 0.25, 0.5]))
    torch.testing.assert_close(probs, tensor([[0.2, 0.9], [0.1, 0.7]]))
    torch.testing.assert_close(weights, tensor([[0.5, 0.5], [0.25, 0.75]]))


def test_neighbours_without_weight_merge_halfway():
    probs, weights = merge_neighbours(tensor([0.2, 0.4, 0.9]), tensor([0.0, 0.0, 1.0]))
    assert float(probs[0, 0]) == pytest.approx(0.3)
    assert weights[0].tolist() == [0.0, 1.0]


def test_coins_that_cost_nothing_are_dropped_and_the_others_stay():
    # Expected counts of two coins: four coins cannot do better than two.
    weights, probs = (0.4, 0.6), (0.2, 0.8)
    cells = [
        math.comb(6, h)
        * sum(w * p**h * (1 - p) ** (6 - h) for p, w in zip(probs, weights, strict=True))
        for h in range(7)
    ]
    flips = Flips(torch.arange(7), torch.full((7,), 6), 1000 * tensor(cells))
    fitted = refine_binomial(flips, *random_starts(0, 1, 4))
    left, loss = drop_redundant(flips, fitted, tol=1e-6)
    torch.testing.assert_close(left.probs[0], tensor(probs), rtol=0, atol=1e-4)
    torch.testing.assert_close(left.weights[0], tensor(weights), rtol=0, atol=1e-4)
    single = refine_binomial(flips, tensor([[0.5]]), tensor([[1.0]]))
    assert loss == pytest.approx(float(left.log_likelihood[0] - single.log_likelihood[0]))


# -- the nonparametric bound ---------------------------------------------------------------


def test_derivative_is_the_slope_towards_a_coin():
    flips = random_flips(2)
    mixture = refine_binomial(flips, *random_starts(2, 1, 2), max_iter=2)
    probs, weights = mixture.probs[0], mixture.weights[0]
    for p in (0.0, 0.3, 1.0):
        step = 1e-6
        mixed = torch.cat([probs, tensor([p])]), torch.cat([(1 - step) * weights, tensor([step])])
        slope = (log_likelihood(flips, *mixed) - mixture.log_likelihood[0]) / step
        found = derivative(flips, mixture, tensor([p]))
        # Second-order term of the difference quotient, and rounding over the step.
        assert float(found[0]) == pytest.approx(float(slope), abs=2e-3 * (1 + abs(float(slope))))


@pytest.mark.parametrize("seed", range(4))
def test_no_fit_with_more_coins_exceeds_the_bound(seed):
    flips = random_flips(seed, n_units=200)
    small = refine_binomial(flips, *random_starts(seed, 8, 2))
    best = small[small.best : small.best + 1]
    bound = nonparametric_bound(flips, best)
    assert bound.gap < 1e-4
    for k in (3, 5, 8):
        large = refine_binomial(flips, *random_starts(seed, 8, k))
        assert float(large.log_likelihood.max()) <= bound.log_likelihood + 1e-9
    assert bound.log_likelihood >= float(best.log_likelihood[0])


@pytest.mark.parametrize("start", [1, 2, 6])
def test_bound_does_not_depend_on_the_mixture_it_starts_from(start):
    flips = random_flips(9, n_units=300)
    reference = nonparametric_bound(flips, refine_binomial(flips, *random_starts(9, 1, 3)))
    other = nonparametric_bound(flips, refine_binomial(flips, *random_starts(8, 1, start)))
    assert other.log_likelihood == pytest.approx(reference.log_likelihood, abs=1e-4)


def test_single_odd_unit_among_many_is_seen():
    # One unit without a success in 100 flips among 1e5 units of coins .2 and .8.
    h = torch.tensor([0, 20, 80])
    flips = Flips(h, torch.full((3,), 100), tensor([1.0, 5e4, 5e4]))
    two = refine_binomial(flips, tensor([[0.2, 0.8]]), tensor([[0.5, 0.5]]))
    bound = nonparametric_bound(flips, two)
    assert bound.gap < 1e-3
    assert float(bound.mixture.probs[0, 0]) == 0.0
    assert float(bound.mixture.weights[0, 0]) == pytest.approx(1e-5, rel=0.5)


def test_a_bound_that_is_not_polished_is_still_one():
    """One coin, and no round of improvement: its likelihood and the gap are above the maximum."""
    h, n = torch.arange(10), torch.full((10,), 9)
    mass = torch.tensor([3.0, 0, 13, 18, 48, 47, 67, 54, 51, 19], dtype=torch.float64)
    flips = Flips(h, n, mass)
    one = refine_binomial(flips, *(torch.tensor([[p]], dtype=torch.float64) for p in (0.6, 1.0)))
    rough = nonparametric_bound(flips, one, tol=1e9)
    best = nonparametric_bound(flips, one)
    assert rough.n_atoms == 1
    assert rough.log_likelihood >= best.log_likelihood > float(one.log_likelihood[0]) + 1
