"""Moments from counts, the Legendre basis, projection: against sums over subsets and integrals."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyromix.coins.prony import (
    factorial_moments,
    legendre_transform,
    legendre_values,
    linearisation,
    multiplication,
    orthogonal_polynomials,
    project,
    quadrature,
)

CPU = torch.device("cpu")


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def share_of_subsets(h, n, size):
    """Share of the ``size``-subsets of h successes and n - h failures without a failure."""
    flips = [1] * h + [0] * (n - h)
    subsets = list(itertools.combinations(flips, size))
    return sum(all(s) for s in subsets) / len(subsets)


# -- moments from counts -------------------------------------------------------------------


def test_factorial_moment_is_the_share_of_subsets_that_are_all_successes():
    for n in range(4, 8):
        for h in range(n + 1):
            moments, _ = factorial_moments(tensor([h]), tensor([n]), tensor([3.0]), 4)
            expected = [share_of_subsets(h, n, size) for size in range(5)]
            torch.testing.assert_close(moments, tensor(expected), rtol=0, atol=1e-15)


def test_expected_counts_of_coins_give_the_moments_of_the_coins():
    probs, weights, longest = [0.1, 0.55, 0.9], [0.2, 0.5, 0.3], 9
    h, n, mass = [], [], []
    for trials in (5, 7, longest):
        for a in range(trials + 1):
            terms = [
                w * p**a * (1 - p) ** (trials - a) for p, w in zip(probs, weights, strict=True)
            ]
            h, n = [*h, a], [*n, trials]
            mass.append(trials * math.comb(trials, a) * sum(terms))
    moments, _ = factorial_moments(tensor(h), tensor(n), tensor(mass), 5)
    expected = [sum(w * p**i for p, w in zip(probs, weights, strict=True)) for i in range(6)]
    torch.testing.assert_close(moments, tensor(expected), rtol=0, atol=1e-14)


def test_units_shorter_than_the_order_are_left_out():
    h, n, mass = tensor([0, 1, 3, 2]), tensor([1, 2, 4, 4]), tensor([5.0, 7.0, 2.0, 1.0])
    some, spread = factorial_moments(h, n, mass, 3)
    only, only_spread = factorial_moments(h[2:], n[2:], mass[2:], 3)
    torch.testing.assert_close(some, only, rtol=0, atol=1e-15)
    torch.testing.assert_close(spread, only_spread, rtol=0, atol=1e-15)


def test_covariance_is_that_of_the_mean_over_units():
    units = [(3, 5), (4, 6), (0, 5), (5, 5), (3, 5), (2, 9)]
    rows = np.array([[share_of_subsets(h, n, i) for i in range(4)] for h, n in units])
    expected = np.cov(rows.T) / len(units)
    h, n = zip(*units, strict=True)
    _, covariance = factorial_moments(tensor(h), tensor(n), torch.ones(6, dtype=torch.float64), 3)
    torch.testing.assert_close(covariance, tensor(expected), rtol=0, atol=1e-15)


def test_single_long_unit_has_the_largest_variance_not_none():
    _, covariance = factorial_moments(tensor([2, 1]), tensor([4, 2]), tensor([1.0, 9.0]), 3)
    torch.testing.assert_close(covariance, 0.25 * torch.eye(4, dtype=torch.float64))


def test_moments_of_an_order_that_no_unit_reaches_are_nan():
    moments, _ = factorial_moments(tensor([1]), tensor([2]), tensor([4.0]), 3)
    assert bool(moments.isnan().all())


def test_batch_of_masses_is_the_loop():
    rng = np.random.default_rng(0)
    h, n = tensor([0, 1, 2, 3, 2]), tensor([3, 3, 4, 5, 3])
    mass = tensor(rng.integers(1, 9, (2, 3, 5)))
    moments, covariance = factorial_moments(h, n, mass, 3)
    for index in itertools.product(range(2), range(3)):
        one, spread = factorial_moments(h, n, mass[index], 3)
        torch.testing.assert_close(moments[index], one, rtol=0, atol=1e-15)
        torch.testing.assert_close(covariance[index], spread, rtol=0, atol=1e-15)


# -- Legendre basis ------------------------------------------------------------------------


@pytest.mark.parametrize("order", [0, 1, 2, 5, 8])
def test_legendre_polynomials_are_orthonormal_on_the_unit_interval(order):
    rows = legendre_transform(order, CPU).tolist()
    for i, j in itertools.product(range(order + 1), repeat=2):
        terms = [
            Fraction(a) * Fraction(b) / (s + t + 1)
            for s, a in enumerate(rows[i])
            for t, b in enumerate(rows[j])
        ]
        assert float(sum(terms)) == pytest.approx(float(i == j), abs=1e-7)


@pytest.mark.parametrize("order", [0, 1, 4])
def test_values_and_coefficients_are_of_the_same_polynomials(order):
    x = torch.linspace(0, 1, 7, dtype=torch.float64)
    powers = x.unsqueeze(-1) ** torch.arange(order + 1)
    by_powers = powers @ legendre_transform(order, CPU).T
    torch.testing.assert_close(legendre_values(x, order), by_powers, rtol=0, atol=1e-11)


@pytest.mark.parametrize("degree", [0, 1, 2, 5])
def test_linearisation_writes_products_as_sums(degree):
    x = torch.linspace(0, 1, 9, dtype=torch.float64)
    values = legendre_values(x, 2 * degree)
    products = torch.einsum("nl,lij->nij", values, linearisation(degree, CPU))
    low = values[:, : degree + 1]
    torch.testing.assert_close(products, low.unsqueeze(-1) * low.unsqueeze(-2), rtol=0, atol=1e-12)


def test_multiplication_is_by_x():
    x = torch.linspace(0, 1, 9, dtype=torch.float64)
    values = legendre_values(x, 5)
    torch.testing.assert_close(
        (values @ multiplication(5, CPU))[:, :5], x.unsqueeze(-1) * values[:, :5]
    )


# -- projection ----------------------------------------------------------------------------


def solve(moments, k):
    """The chain of projection and quadrature, without floors."""
    legendre = moments @ legendre_transform(2 * k - 1, CPU).T
    gram = torch.einsum("...l,lij->...ij", legendre, linearisation(k, CPU)[: 2 * k])
    _, centres, norms = orthogonal_polynomials(gram, k)
    return quadrature(*project(centres, norms, torch.zeros_like(norms)))


def moments_of(probs, weights, order):
    return (weights.unsqueeze(-2) @ probs.unsqueeze(-1) ** torch.arange(order + 1)).squeeze(-2)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**31))
def test_any_numbers_are_projected_to_a_law_on_the_unit_interval(k, seed):
    generator = torch.Generator().manual_seed(seed)
    moments = torch.rand(20, 2 * k, dtype=torch.float64, generator=generator)
    moments[:, 0] = 1.0
    probs, weights = solve(moments, k)
    assert bool(((probs >= 0) & (probs <= 1)).all())
    assert bool((probs.diff(dim=-1) >= 0).all())
    assert bool((weights >= 0).all())
    torch.testing.assert_close(weights.sum(-1), torch.ones(20, dtype=torch.float64))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(0, 2**31))
def test_projection_leaves_a_law_on_the_unit_interval_alone(k, seed):
    generator = torch.Generator().manual_seed(seed)
    # More atoms than k: a point inside the moment space, which k atoms reproduce.
    probs = torch.rand(k + 3, dtype=torch.float64, generator=generator)
    weights = torch.rand(k + 3, dtype=torch.float64, generator=generator) + 0.1
    moments = moments_of(probs, weights / weights.sum(), 2 * k - 1)
    torch.testing.assert_close(
        moments_of(*solve(moments, k), 2 * k - 1), moments, atol=1e-9, rtol=0
    )


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ([1, 0.5, 0.2, 0.1], 0.25),  # a variance below zero: up to mu_1^2
        ([1, 0.5, 0.6, 0.1], 0.5),  # a variance above that of a fair flip: down to mu_1
    ],
)
def test_second_moment_outside_its_interval_is_moved_to_the_nearer_end(moments, expected):
    fitted = moments_of(*solve(tensor(moments), 2), 3)
    torch.testing.assert_close(fitted[:3], tensor([1, 0.5, expected]), rtol=0, atol=1e-14)


@pytest.mark.parametrize("last", [0.0, 1.0])
def test_third_moment_outside_its_interval_puts_an_atom_at_an_end(last):
    # mu_1 = .5, mu_2 = .3 leaves mu_3 in [mu_2^2/mu_1, mu_2 - (mu_1 - mu_2)^2/(1 - mu_1)].
    low, high = 0.3**2 / 0.5, 0.3 - 0.2**2 / 0.5
    probs, weights = solve(tensor([1, 0.5, 0.3, last]), 2)
    end = low if last == 0.0 else high
    torch.testing.assert_close(
        moments_of(probs, weights, 3), tensor([1, 0.5, 0.3, end]), rtol=0, atol=1e-13
    )
    assert float((probs - last).abs().min()) < 1e-13


def test_law_with_too_few_atoms_repeats_the_heaviest_and_shares_its_weight():
    probs, weights = solve(tensor([1, 0.5, 0.2, 0.1, 0.1, 0.1]), 3)
    torch.testing.assert_close(probs, tensor([0.5, 0.5, 0.5]), rtol=0, atol=1e-14)
    torch.testing.assert_close(weights, torch.full((3,), 1 / 3, dtype=torch.float64))
