"""identify_iid: THEORY facts E1 and E2, rank, noise, and both sides of every boundary."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from helpers import BATCH_SHAPES
from hypothesis import given, settings
from hypothesis import strategies as st

from pyromix.coins.moments import MOMENT_METHODS, check_n_sources, identify_iid, solve_moments
from pyromix.coins.prony import factorial_moments
from pyromix.errors import (
    DataError,
    IdentificationError,
    NumericalWarning,
    QueryError,
    RankError,
    SeparationError,
)
from pyromix.model.status import Status


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def moments_of(probs, weights, order):
    """mu_0..mu_order in exact arithmetic, rounded once."""
    pairs = [(Fraction(p), Fraction(w)) for p, w in zip(probs, weights, strict=True)]
    total = sum(w for _, w in pairs)
    return [float(sum(w * p**i for p, w in pairs) / total) for i in range(order + 1)]


def even_coins(k):
    """E1: coins j/(k + 1) with equal weights."""
    return [Fraction(j, k + 1) for j in range(1, k + 1)], [Fraction(1, k)] * k


def separated_coins(k, seed, batch_shape=()):
    """Random coins at least 1/(2k) apart with weights of at least 1/(2k)."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(2, *batch_shape, k, dtype=torch.float64, generator=generator)
    probs = (torch.arange(k) + 0.25 + 0.5 * draws[0]) / k
    weights = 1 / (2 * k) + 0.5 * draws[1] / draws[1].sum(-1, keepdim=True)
    return probs, weights


def moments_of_batch(probs, weights, order):
    powers = probs.unsqueeze(-1) ** torch.arange(order + 1)
    return (weights.unsqueeze(-2) @ powers).squeeze(-2)


# -- exact moments (E1) --------------------------------------------------------------------

E1 = {1: 1e-12, 2: 1e-12, 3: 1e-12, 4: 1e-10, 5: 1e-8, 6: 1e-8}


@pytest.mark.parametrize("spare", [0, 1, 3], ids=["2k-1", "2k", "2k+2"])
@pytest.mark.parametrize("k", E1)
def test_exact_moments_give_the_coins_to_the_tolerance_of_the_theory_manual(k, spare):
    probs, weights = even_coins(k)
    found, shares = identify_iid(moments_of(probs, weights, 2 * k - 1 + spare), k)
    assert float((found - tensor([float(p) for p in probs])).abs().max()) < E1[k]
    assert float((shares - 1 / k).abs().max()) < E1[k]


@pytest.mark.parametrize("method", MOMENT_METHODS)
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_every_method_recovers_the_coins_at_exact_moments(k, method):
    probs, weights = even_coins(k)
    for order in (2 * k - 1, 2 * k):
        found, shares = identify_iid(moments_of(probs, weights, order), k, method=method)
        assert float((found - tensor([float(p) for p in probs])).abs().max()) < 1e-10
        assert float((shares - 1 / k).abs().max()) < 1e-10


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**31))
def test_error_at_exact_moments_is_rounding_times_the_condition_number(k, seed):
    probs, weights = separated_coins(k, seed)
    moments = moments_of_batch(probs, weights, 2 * k)
    hankel = moments.unfold(-1, k, 1)[:k]
    found, shares = identify_iid(moments, k)
    # 4 is over twice the largest ratio in 4,000 draws for each k (1.75, at k = 1).
    bound = 4 * torch.finfo(torch.float64).eps * float(torch.linalg.cond(hankel))
    assert float((found - probs).abs().max()) < bound
    assert float((shares - weights).abs().max()) < bound


@pytest.mark.parametrize(
    ("probs", "weights"),
    [([0, 1], [0.5, 0.5]), ([0, 0.3, 1], [0.2, 0.5, 0.3]), ([0.1, 1], [0.9, 0.1]), ([0], [1])],
)
def test_coins_that_always_or_never_succeed_are_recovered(probs, weights):
    k = len(probs)
    for order in (2 * k - 1, 2 * k):
        found, shares = identify_iid(moments_of(probs, weights, order), k)
        torch.testing.assert_close(found, tensor([float(p) for p in probs]), rtol=0, atol=1e-12)
        torch.testing.assert_close(shares, tensor([float(w) for w in weights]), rtol=0, atol=1e-12)


def test_calling_failure_success_mirrors_the_coins():
    probs, weights = separated_coins(3, 7)
    found, shares = identify_iid(moments_of_batch(1 - probs, weights, 6), 3)
    torch.testing.assert_close(found, (1 - probs).flip(-1), rtol=0, atol=1e-10)
    torch.testing.assert_close(shares, weights.flip(-1), rtol=0, atol=1e-10)


def test_moments_may_be_any_sequence():
    moments = moments_of([0.2, 0.7], [0.5, 0.5], 3)
    expected = identify_iid(tensor(moments), 2)
    for given_as in (moments, tuple(moments), np.array(moments), list(tensor(moments))):
        for found, wanted in zip(identify_iid(given_as, 2), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=0, atol=0)


# -- twin measures (E2) --------------------------------------------------------------------

DIFFERENCE = {2: 5.556e-2, 3: 2.400e-3, 4: 9.562e-5, 5: 3.659e-6}
TOTAL_VARIATION = {2: 0.2222, 3: 0.0384, 4: 0.00612, 5: 9.37e-4}


def twins(k):
    """Nodes j/n with weights binom(n, j)/2^(n-1), n = 2k - 1: even j, and odd j."""
    n = 2 * k - 1
    nodes = [(Fraction(j, n), Fraction(math.comb(n, j), 2 ** (n - 1))) for j in range(n + 1)]
    return nodes[::2], nodes[1::2]


def exact_moment(law, order):
    return sum(w * p**order for p, w in law)


@pytest.mark.parametrize("k", DIFFERENCE)
def test_twin_measures_share_all_moments_up_to_2k_minus_2(k):
    even, odd = twins(k)
    n = 2 * k - 1
    for i in range(n):
        assert exact_moment(even, i) == exact_moment(odd, i)
    gap = abs(exact_moment(even, n) - exact_moment(odd, n))
    assert gap == Fraction(math.factorial(n), n**n * 2 ** (n - 1))
    assert float(gap) == pytest.approx(DIFFERENCE[k], rel=1e-3)


@pytest.mark.parametrize("k", TOTAL_VARIATION)
def test_twin_measures_are_close_in_total_variation_of_2k_minus_1_draws(k):
    even, odd = twins(k)
    n = 2 * k - 1

    def draws(law, h):
        return sum(w * math.comb(n, h) * p**h * (1 - p) ** (n - h) for p, w in law)

    distance = sum(abs(draws(even, h) - draws(odd, h)) for h in range(n + 1)) / 2
    assert float(distance) == pytest.approx(TOTAL_VARIATION[k], rel=2e-3)


@pytest.mark.parametrize("method", MOMENT_METHODS)
@pytest.mark.parametrize("k", DIFFERENCE)
def test_2k_minus_2_moments_are_refused(k, method):
    moments = [float(exact_moment(twins(k)[0], i)) for i in range(2 * k - 1)]
    with pytest.raises(IdentificationError, match=rf"n_sources <= {k - 1}"):
        identify_iid(moments, k, method=method)


@pytest.mark.parametrize("k", DIFFERENCE)
def test_one_moment_more_tells_the_twins_apart(k):
    for law in twins(k):
        moments = [float(exact_moment(law, i)) for i in range(2 * k)]
        found, shares = identify_iid(moments, k)
        expected = tensor([float(p) for p, _ in law]), tensor([float(w) for _, w in law])
        torch.testing.assert_close(found, expected[0], rtol=0, atol=1e-8)
        torch.testing.assert_close(shares, expected[1], rtol=0, atol=1e-8)


# -- rank ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", MOMENT_METHODS)
@pytest.mark.parametrize(("k", "there"), [(2, 1), (3, 1), (3, 2), (4, 3), (5, 3), (6, 5)])
def test_fewer_coins_than_asked_for_raise_a_rank_error_with_its_witness(k, there, method):
    moments = moments_of(*even_coins(there), 2 * k)
    with pytest.raises(RankError, match=f"expected {k} coins") as caught:
        identify_iid(moments, k, method=method)
    values, floor = caught.value.singular_values, caught.value.floor
    assert len(values) == k
    assert sum(v > floor for v in values) == there


@pytest.mark.parametrize("k", [2, 3, 4, 5, 6])
def test_the_k_coins_themselves_are_above_the_floor(k):
    assert identify_iid(moments_of(*even_coins(k), 2 * k), k)[0].shape == (k,)


def test_missing_coins_are_repeated_not_invented():
    solution = solve_moments(tensor(moments_of([0.3, 0.8], [0.75, 0.25], 8)), 4)
    assert Status(int(solution.status)) is Status.RANK_TOO_SMALL
    torch.testing.assert_close(solution.probs, tensor([0.3, 0.3, 0.3, 0.8]), rtol=0, atol=1e-10)
    torch.testing.assert_close(solution.weights, tensor([0.25] * 4), rtol=0, atol=1e-10)


def test_moments_outside_the_moment_space_raise_when_coins_merge():
    with pytest.raises(SeparationError, match="MERGED"):
        # An overdispersed mu_2 that no law on [0, 1] has leaves the fair mixture of 0 and 1.
        identify_iid([1, 0.5, 0.6, 0.7, 0.9, 1], 3)


def test_moments_moved_into_the_moment_space_are_said_to_be():
    moments = moments_of([0.2, 0.7], [0.5, 0.5], 3)
    moments[3] += 0.2
    with pytest.warns(NumericalWarning, match="moved a moment by"):
        probs, weights = identify_iid(moments, 2)
    assert float(probs[1]) == pytest.approx(1.0)
    assert float(weights.sum()) == pytest.approx(1.0)


# -- mu_2k: do k coins suffice? ------------------------------------------------------------


def norm_of_monic_polynomial(roots, law):
    """E[prod (x - r)^2]."""
    return float(sum(w * math.prod((p - Fraction(r)) ** 2 for r in roots) for p, w in law))


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_excess_is_zero_up_to_rounding_when_k_coins_suffice(k):
    solution = solve_moments(tensor(moments_of(*even_coins(k), 2 * k)), k)
    assert abs(float(solution.excess)) <= float(solution.excess_error)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_excess_is_the_norm_of_the_polynomial_with_the_coins_as_roots(k):
    probs, weights = even_coins(k + 1)
    solution = solve_moments(tensor(moments_of(probs, weights, 2 * k)), k)
    law = list(zip(probs, weights, strict=True))
    expected = norm_of_monic_polynomial(solution.probs.tolist(), law)
    assert float(solution.excess) == pytest.approx(expected, rel=1e-6)
    assert float(solution.excess) > float(solution.excess_error)


def test_excess_is_unknown_without_mu_2k():
    solution = solve_moments(tensor(moments_of(*even_coins(2), 3)), 2)
    assert math.isnan(float(solution.excess))


# -- noise ---------------------------------------------------------------------------------


def counts_of(probs, weights, n_flips, n_units, n_sets, seed):
    """Histograms of successes 0..n_flips; one row per data set."""
    h = range(n_flips + 1)
    cells = [
        math.comb(n_flips, a)
        * sum(w * p**a * (1 - p) ** (n_flips - a) for p, w in zip(probs, weights, strict=True))
        for a in h
    ]
    rows = np.random.default_rng(seed).multinomial(n_units, cells, size=n_sets)
    return tensor(list(h)), torch.full((n_flips + 1,), float(n_flips)), tensor(rows)


def centres(k):
    return [(j + 0.5) / k for j in range(k)], [1 / k] * k


@pytest.mark.parametrize(("k", "n_flips"), [(1, 4), (2, 4), (2, 8), (3, 12)])
def test_excess_rejects_enough_coins_as_often_as_its_level_says(k, n_flips):
    rows = counts_of(*centres(k), n_flips, 10**5, 2000, seed=1)
    moments, covariance = factorial_moments(*rows, 2 * k)
    solution = solve_moments(moments, k, covariance=covariance)
    share = float((solution.excess > 1.645 * solution.excess_error).double().mean())
    # .05 with a standard error of .005; measured .048 to .056 over seeds and cases.
    assert 0.03 < share < 0.07


@pytest.mark.parametrize(("k", "n_flips"), [(1, 4), (2, 8), (3, 12)])
def test_excess_sees_one_coin_more(k, n_flips):
    rows = counts_of(*centres(k + 1), n_flips, 10**5, 500, seed=2)
    moments, covariance = factorial_moments(*rows, 2 * k)
    solution = solve_moments(moments, k, covariance=covariance)
    assert bool((solution.excess > 3 * solution.excess_error).all())


@pytest.mark.parametrize(("k", "n_flips"), [(2, 3), (2, 8), (3, 5), (3, 12), (4, 16)])
def test_rank_floor_is_passed_by_noise_as_often_as_two_standard_errors_are(k, n_flips):
    rows = counts_of(*centres(k - 1), n_flips, 10**5, 2000, seed=3)
    moments, covariance = factorial_moments(*rows, 2 * k - 1)
    solution = solve_moments(moments, k, covariance=covariance)
    share = float((solution.status == Status.OK).double().mean())
    # P(z > 2) = .023, standard error .0034; measured .014 to .027.
    assert 0.005 < share < 0.04


@pytest.mark.parametrize(("k", "n_flips"), [(2, 3), (3, 5), (4, 16)])
def test_rank_floor_is_passed_by_well_separated_coins(k, n_flips):
    rows = counts_of(*centres(k), n_flips, 10**5, 200, seed=4)
    moments, covariance = factorial_moments(*rows, 2 * k - 1)
    assert bool((solve_moments(moments, k, covariance=covariance).status == Status.OK).all())


def test_estimated_moments_of_one_coin_less_raise_a_rank_error():
    rows = counts_of([0.3], [1.0], 6, 10**4, 1, seed=5)
    moments, covariance = factorial_moments(*rows, 3)
    with pytest.raises(RankError, match="fewer sources"):
        identify_iid(moments[0], 2, covariance=covariance[0])


# Quantiles of sqrt(N) times the largest error of a probability or weight, moments alone, coins
# (j + 1/2)/k, 4k flips, 60 seeds: (median, largest), at N = 1e4 and 1e6 together.
ERRORS = {2: (0.55, 1.9), 3: (1.2, 2.9), 4: (1.8, 9.5), 5: (5.6, 19.4)}


@pytest.mark.parametrize("k", ERRORS)
def test_error_of_moments_falls_like_the_root_of_the_number_of_units(k):
    probs, weights = (tensor(values) for values in centres(k))
    medians = {}
    for n_units in (10**4, 10**6):
        rows = counts_of(*centres(k), 4 * k, n_units, 60, seed=6)
        solution = solve_moments(factorial_moments(*rows, 2 * k)[0], k)
        errors = torch.maximum(
            (solution.probs - probs).abs().amax(-1), (solution.weights - weights).abs().amax(-1)
        )
        medians[n_units] = float(errors.median()) * n_units**0.5
        assert medians[n_units] < 1.5 * ERRORS[k][0]
        assert float(errors.max()) * n_units**0.5 < 1.5 * ERRORS[k][1]
    assert 0.6 < medians[10**6] / medians[10**4] < 1.6


def test_symmetric_form_has_coins_where_the_unsymmetric_ones_are_complex():
    rows = counts_of(*centres(4), 20, 10**3, 400, seed=5)
    moments, _ = factorial_moments(*rows, 12)
    esprit = solve_moments(moments, 5, method="esprit")
    complex_pair = esprit.status == Status.COMPLEX_PAIR
    assert bool(complex_pair.any())
    hankel = solve_moments(moments, 5)
    assert bool((hankel.status != Status.COMPLEX_PAIR).all())
    with pytest.raises(SeparationError, match="COMPLEX_PAIR"):
        identify_iid(moments[complex_pair][0], 5, method="esprit")


@pytest.mark.parametrize("method", MOMENT_METHODS)
def test_answers_are_probabilities_whatever_the_noise(method):
    rows = counts_of(*centres(3), 9, 50, 500, seed=8)
    solution = solve_moments(factorial_moments(*rows, 8)[0], 4, method=method)
    assert bool(((solution.probs >= 0) & (solution.probs <= 1)).all())
    assert bool((solution.probs.diff(dim=-1) >= 0).all())
    assert bool((solution.weights >= 0).all())
    assert float((solution.weights.sum(-1) - 1).abs().max()) < 1e-12


# -- batches, devices, bad input -----------------------------------------------------------


@pytest.mark.parametrize("method", MOMENT_METHODS)
@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_batching_commutes_with_looping(batch_shape, method):
    moments = moments_of_batch(*separated_coins(3, 11, batch_shape), 6)
    covariance = 1e-12 * torch.eye(7, dtype=torch.float64).expand(*batch_shape, 7, 7)
    stacked = solve_moments(moments, 3, method=method, covariance=covariance)
    assert stacked.probs.shape == stacked.weights.shape == (*batch_shape, 3)
    assert stacked.status.shape == stacked.excess.shape == batch_shape
    for index in itertools.product(*map(range, batch_shape)):
        one = solve_moments(moments[index], 3, method=method, covariance=covariance[index])
        for name in ("probs", "weights", "singular_values", "floor", "excess", "excess_error"):
            torch.testing.assert_close(
                getattr(stacked, name)[index], getattr(one, name), rtol=1e-9, atol=1e-10
            )
        assert int(stacked.status[index]) == int(one.status)


def test_one_bad_element_leaves_the_others_alone():
    good = moments_of([0.2, 0.7], [0.5, 0.5], 4)
    rows = [good, [1, math.nan, 0.3, 0.2, 0.1], moments_of([0.4], [1], 4), [1, 2, 0.3, 0.2, 0.1]]
    solution = solve_moments(tensor([*rows, [0.5 * m for m in good]]), 2)
    assert solution.status.tolist() == [
        Status.OK,
        Status.INVALID_INPUT,
        Status.RANK_TOO_SMALL,
        Status.INVALID_INPUT,
        Status.INVALID_INPUT,
    ]
    torch.testing.assert_close(solution.probs[0], tensor([0.2, 0.7]), rtol=0, atol=1e-13)
    assert bool(solution.probs[1].isnan().all())


def test_front_door_names_the_bad_element():
    good = moments_of([0.2, 0.7], [0.5, 0.5], 3)
    with pytest.raises(RankError, match=r"of element \(1,\)"):
        identify_iid([good, moments_of([0.4], [1], 3)], 2)


@pytest.mark.parametrize(
    "moments",
    [
        [1, math.nan, 0.3, 0.2],
        [1, math.inf, 0.3, 0.2],
        [2, 1, 0.6, 0.4],
        [1, 1.5, 0.6, 0.4],
        [1, 0.5, -0.1, 0.4],
        [0.2, 0.3, 0.5, 1],
        "abcd",
        [[1, 0.5], [1]],
    ],
)
def test_moments_of_no_law_on_the_unit_interval_raise_a_data_error(moments):
    with pytest.raises(DataError, match=r"expected moments|must be numbers"):
        identify_iid(moments, 2)


@pytest.mark.parametrize("k", [0, -1, True, 1.5, "2", None])
def test_unusable_number_of_sources_raises_a_data_error(k):
    with pytest.raises(DataError, match="n_sources must be an integer"):
        check_n_sources(k)


def test_unknown_method_is_named():
    with pytest.raises(QueryError, match="'music'"):
        identify_iid([1, 0.5, 0.3, 0.2], 2, method="music")


@pytest.mark.parametrize("method", MOMENT_METHODS)
def test_no_factory_call_forgets_the_device(method):
    moments = tensor(moments_of(*even_coins(3), 6))
    covariance = 1e-12 * torch.eye(7, dtype=torch.float64)
    with torch.device("meta"):  # a factory call without a device would land there
        probs, _ = identify_iid(moments, 3, method=method, covariance=covariance)
        listed, _ = identify_iid(moments.tolist(), 3, method=method)
    assert probs.device == listed.device == moments.device


@pytest.mark.cuda
def test_cuda_agrees_with_the_cpu():
    moments = moments_of_batch(*separated_coins(3, 11, (50,)), 6)
    for there, here in zip(identify_iid(moments.cuda(), 3), identify_iid(moments, 3), strict=True):
        torch.testing.assert_close(there.cpu(), here, rtol=0, atol=1e-10)


def test_advice_is_given_for_every_status():
    assert all(status.advice for status in Status)
