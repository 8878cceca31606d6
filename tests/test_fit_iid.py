"""fit_iid: real sets with independently computed references, laws, rates, and bad input."""

from __future__ import annotations

import csv
import itertools
import json
import math
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyromix.coins.door import fit_iid
from pyromix.coins.moments import MOMENT_METHODS
from pyromix.coins.result import IIDFit
from pyromix.errors import (
    ConvergenceWarning,
    DataError,
    IdentificationError,
    PositivityError,
    PyromixWarning,
    QueryError,
    StartsDisagreeWarning,
    WeakIdentificationWarning,
)
from pyromix.model.status import Status

ROOT = Path(__file__).parents[1]
DATA = Path(__file__).parent / "data"
PUBLISHED = ("mice_litters", "rats_litters", "tacks")
MADE = ("leaves", "marks", "scores")
CARDS = (*PUBLISHED, *MADE)
TOO_SHORT = {("leaves", 6)}

THUMBTACKS = [0, 3, 13, 18, 48, 47, 67, 54, 51, 19]
"""Series with 0..9 successes in nine flips: Beckett and Diaconis (1994), Table 1."""


def quiet_fit(*args, **kwargs) -> IIDFit:
    """Fit without the warnings about weak identification, which other tests expect."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PyromixWarning)
        return fit_iid(*args, **kwargs)


def load_card(name):
    """Successes, trials, counts, and the reference of a published or a made set."""
    card = DATA / ("collection/mixiid" if name in PUBLISHED else "tables") / f"{name}.json"
    with card.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    columns = [[int(row[c]) for row in rows] for c in ("x", "n", "count")]
    return columns, json.loads(card.read_text())["reference"]


def loop_log_likelihood(successes, trials, weights, fit):
    """Sum over units in plain numbers."""
    total = 0.0
    for h, n, m in zip(successes, trials, weights, strict=True):
        terms = [
            w * p**h * (1 - p) ** (n - h)
            for p, w in zip(fit.probs.tolist(), fit.weights.tolist(), strict=True)
        ]
        if m:
            total += m * math.log(math.comb(n, h) * math.fsum(terms))
    return total


def draw(k, n_flips, n_units, seed):
    """Histogram of successes 0..n_flips of units with coins (j + 1/2)/k."""
    probs, h = [(j + 0.5) / k for j in range(k)], range(n_flips + 1)
    cells = [
        math.comb(n_flips, a) * sum(p**a * (1 - p) ** (n_flips - a) for p in probs) / k for a in h
    ]
    return list(h), n_flips, np.random.default_rng(seed).multinomial(n_units, cells)


# -- real sets -----------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("name", CARDS)
def test_a_set_reaches_the_reference(name, k):
    (h, n, counts), reference = load_card(name)
    expected = reference[f"k{k}"]
    fit = quiet_fit(h, n, k, sample_weight=counts)
    assert abs(fit.log_likelihood - expected["loglik"]) < 1e-3
    assert fit.log_likelihood <= (
        reference["npmle"]["loglik"] + reference["npmle"].get("certified_gap", 0.0) + 1e-7
    )
    assert expected["identifiable"] == (max(n) >= 2 * k - 1)
    if expected.get("parameters_comparable"):
        np.testing.assert_allclose(fit.probs, expected["p"], rtol=0, atol=2e-3)
        np.testing.assert_allclose(fit.weights, expected["weights"], rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", CARDS)
def test_bound_of_a_set_is_the_nonparametric_maximum(name):
    (h, n, counts), reference = load_card(name)
    fit = quiet_fit(h, n, 2, sample_weight=counts)
    npmle = reference["npmle"]
    gap = npmle.get("certified_gap", 0.0)
    assert npmle["loglik"] - 1e-6 < fit.diagnostics.bound < npmle["loglik"] + gap + 1e-4
    assert fit.diagnostics.bound_atoms == npmle["n_atoms"]


@pytest.mark.parametrize("spare", [1, 2])
@pytest.mark.parametrize("name", CARDS)
def test_more_coins_than_the_nonparametric_maximum_has_are_reported_merged(name, spare):
    (h, n, counts), reference = load_card(name)
    atoms = reference["npmle"]["n_atoms"]
    if max(n) < 2 * (atoms + spare) - 1:  # the units are too short for that many coins
        assert (name, atoms + spare) in TOO_SHORT
        return
    with pytest.warns(WeakIdentificationWarning, match=rf"n_sources={atoms} reaches the same"):
        fit = fit_iid(h, n, atoms + spare, sample_weight=counts)
    assert fit.status is Status.MERGED
    assert fit.diagnostics.n_distinct == atoms
    assert fit.diagnostics.separation == 0.0
    assert len(fit.probs.unique()) == atoms
    np.testing.assert_allclose(fit.probs.unique(), reference["npmle"]["support"], atol=2e-3)


@pytest.mark.parametrize("name", CARDS)
def test_as_many_coins_as_the_nonparametric_maximum_has_are_not_merged(name):
    (h, n, counts), reference = load_card(name)
    fit = quiet_fit(h, n, reference["npmle"]["n_atoms"], sample_weight=counts)
    assert fit.status is not Status.MERGED
    assert fit.diagnostics.separation > 0.01


def test_three_thumbtacks_are_those_that_liu_printed():
    fit = quiet_fit(range(10), 9, 3, sample_weight=THUMBTACKS)
    np.testing.assert_allclose(fit.probs, [0.4385, 0.6013, 0.8144], atol=4e-4)


def test_two_thumbtacks_are_shown_by_the_data_and_three_are_not():
    assert fit_iid(range(10), 9, 2, sample_weight=THUMBTACKS).status is Status.OK
    with pytest.warns(WeakIdentificationWarning, match=r"one coin fewer fits within 0\.205 nats"):
        fit = fit_iid(range(10), 9, 3, sample_weight=THUMBTACKS)
    assert fit.status is Status.RANK_TOO_SMALL
    moments = fit.diagnostics.moments
    assert float(moments.singular_values[-1]) < float(moments.floor)


def test_single_thumbtack_is_refuted_by_the_second_moment():
    fit = fit_iid(range(10), 9, 1, sample_weight=THUMBTACKS)
    assert fit.diagnostics.excess_p_value < 1e-8
    assert "n_sources=1 is too small, by moment 2" in str(fit)
    assert fit_iid(range(10), 9, 2, sample_weight=THUMBTACKS).diagnostics.excess_p_value > 0.05


def test_shipped_thumbtacks_are_the_table_of_the_paper():
    path = ROOT / "models" / "thumbtacks" / "data.csv"
    frame = pd.read_csv(path)
    fit = fit_iid(frame["successes"], frame["trials"], 2, sample_weight=frame["count"])
    assert fit.log_likelihood == pytest.approx(-640.4808223967, abs=1e-6)


# -- laws ----------------------------------------------------------------------------------


def units(seed, n_units=200, longest=8):
    rng = np.random.default_rng(seed)
    trials = rng.integers(1, longest + 1, n_units)
    return rng.binomial(trials, rng.choice([0.15, 0.5, 0.85], n_units)), trials


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 3))
def test_log_likelihood_is_the_sum_over_units_with_the_binomial_coefficient(seed, k):
    h, n = units(seed)
    fit = quiet_fit(h, n, k)
    expected = loop_log_likelihood(h.tolist(), n.tolist(), [1] * len(h), fit)
    assert fit.log_likelihood == pytest.approx(expected, rel=1e-12)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4))
def test_coins_are_ordered_probabilities_on_the_simplex(seed, k):
    h, n = units(seed)
    fit = quiet_fit(h, n, k, n_init=2)
    for probs, weights in ((fit.probs, fit.weights), fit.moments_start):
        assert bool(((probs >= 0) & (probs <= 1)).all())
        assert bool((probs.diff() >= 0).all())
        assert bool((weights >= 0).all())
        assert float(weights.sum()) == pytest.approx(1.0, abs=1e-12)


def assert_same(left, right, tolerance):
    assert left.log_likelihood == pytest.approx(right.log_likelihood, abs=tolerance)
    torch.testing.assert_close(left.probs, right.probs, rtol=0, atol=tolerance)
    torch.testing.assert_close(left.weights, right.weights, rtol=0, atol=tolerance)
    assert left.status is right.status


@pytest.mark.parametrize("k", [1, 2, 3])
def test_order_of_units_does_not_matter(k):
    h, n = units(0)
    order = np.random.default_rng(1).permutation(len(h))
    assert_same(quiet_fit(h[order], n[order], k), quiet_fit(h, n, k), 1e-10)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_weights_are_repeated_units(k):
    h, n = units(2)
    times = np.random.default_rng(3).integers(0, 4, len(h))
    weighted = quiet_fit(h, n, k, sample_weight=times)
    repeated = quiet_fit(np.repeat(h, times), np.repeat(n, times), k)
    assert_same(weighted, repeated, 1e-8)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_calling_failure_success_mirrors_the_fit(k):
    h, n = units(4, n_units=2000)
    one, other = quiet_fit(h, n, k), quiet_fit(n - h, n, k)
    assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-6)
    torch.testing.assert_close(one.probs, (1 - other.probs).flip(-1), rtol=0, atol=1e-5)
    torch.testing.assert_close(one.weights, other.weights.flip(-1), rtol=0, atol=1e-4)


def test_a_coin_more_never_lowers_the_likelihood():
    h, n = units(5)
    values = [quiet_fit(h, n, k).log_likelihood for k in (1, 2, 3, 4)]
    assert all(b >= a - 1e-6 for a, b in itertools.pairwise(values))


@pytest.mark.parametrize("method", MOMENT_METHODS)
def test_every_moment_method_starts_a_climb_to_the_same_optimum(method):
    h, n, counts = draw(3, 12, 10**4, seed=0)
    default = fit_iid(h, n, 3, sample_weight=counts)
    assert_same(fit_iid(h, n, 3, sample_weight=counts, method=method), default, 1e-5)


def test_same_random_state_gives_the_same_fit_and_no_global_state_changes():
    h, n = units(6)
    before = torch.random.get_rng_state()
    one, other = (quiet_fit(h, n, 3, random_state=7) for _ in range(2))
    assert one.diagnostics.start_log_likelihoods == other.diagnostics.start_log_likelihoods
    assert torch.equal(torch.random.get_rng_state(), before)


def test_single_coin_is_the_share_of_successes():
    h, n = units(7)
    fit = fit_iid(h, n, 1)
    assert float(fit.probs[0]) == pytest.approx(h.sum() / n.sum(), abs=1e-9)
    assert fit.diagnostics.gain == math.inf


def test_responsibilities_are_bayes_rule():
    h, n = units(8)
    fit = quiet_fit(h, n, 2)
    found = fit.predict_proba(h, n).tolist()
    pairs = list(zip(fit.probs.tolist(), fit.weights.tolist(), strict=True))
    for row, a, b in zip(found, h.tolist(), n.tolist(), strict=True):
        joint = [w * p**a * (1 - p) ** (b - a) for p, w in pairs]
        np.testing.assert_allclose(row, np.array(joint) / math.fsum(joint), atol=1e-12)


def test_unit_that_no_coin_can_produce_is_named():
    fit = fit_iid([3] * 10, 3, 1)
    with pytest.raises(PositivityError, match="the first at 1: successes 2, trials 3"):
        fit.predict_proba([3, 2], 3)


def test_criteria_count_two_k_minus_one_parameters():
    fit = fit_iid(range(10), 9, 2, sample_weight=THUMBTACKS)
    assert fit.n_parameters == 3
    assert fit.aic == pytest.approx(6 - 2 * fit.log_likelihood)
    assert fit.bic == pytest.approx(3 * math.log(320) - 2 * fit.log_likelihood)


# -- rates ---------------------------------------------------------------------------------

# Quantiles of sqrt(N) times the largest error of a probability or weight; 4k flips, 60 seeds,
# N = 1e4 and 1e6 together: (median, largest).
ERRORS = {2: (0.55, 2.2), 3: (1.0, 2.7), 4: (1.55, 4.1), 5: (2.9, 10.4)}


@pytest.mark.parametrize("k", ERRORS)
def test_error_falls_like_the_root_of_the_number_of_units(k):
    probs = (torch.arange(k, dtype=torch.float64) + 0.5) / k
    medians = {}
    for n_units in (10**4, 10**6):
        errors = []
        for seed in range(5):
            h, n, counts = draw(k, 4 * k, n_units, seed)
            fit = quiet_fit(h, n, k, sample_weight=counts, n_init=2)
            found = float((fit.probs - probs).abs().max()), float((fit.weights - 1 / k).abs().max())
            errors.append(max(found) * n_units**0.5)
        medians[n_units] = float(np.median(errors))
        assert medians[n_units] < 2 * ERRORS[k][0]
        assert max(errors) < 1.5 * ERRORS[k][1]
    # Were the error to fall like N^(-1/4) or not at all, this would be 3.2 or 10.
    assert 0.4 < medians[10**6] / medians[10**4] < 2.5


@pytest.mark.parametrize("k", [2, 3])
def test_likelihood_is_no_worse_than_moments_on_average(k):
    probs = (torch.arange(k, dtype=torch.float64) + 0.5) / k
    total = {"moments": 0.0, "likelihood": 0.0}
    for seed in range(8):
        h, n, counts = draw(k, 4 * k, 10**4, 100 + seed)
        fit = fit_iid(h, n, k, sample_weight=counts, n_init=2)
        total["moments"] += float(((fit.moments_start[0] - probs) ** 2).sum())
        total["likelihood"] += float(((fit.probs - probs) ** 2).sum())
    assert total["likelihood"] < total["moments"]


def test_units_of_unequal_length_are_used_together():
    h, n = units(11, n_units=20_000, longest=20)
    fit = fit_iid(h, n, 3)
    # Standard errors are about .005; the largest error over 40 seeds was .016.
    np.testing.assert_allclose(fit.probs, [0.15, 0.5, 0.85], atol=0.025)
    np.testing.assert_allclose(fit.moments_start[0], [0.15, 0.5, 0.85], atol=0.06)


# -- refusals and warnings -----------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 3, 5])
def test_units_of_2k_minus_2_flips_are_refused_and_one_flip_more_is_enough(k):
    short = 2 * k - 2
    with pytest.raises(IdentificationError, match=rf"n_sources <= {k - 1}"):
        fit_iid([0, 1, short] * 20, short, k)
    assert quiet_fit([0, 1, short, short + 1] * 20, short + 1, k).probs.shape == (k,)


def test_a_single_long_unit_is_enough_and_its_weight_must_not_be_zero():
    h, n = [0, 1, 2, 1, 2], [2, 2, 2, 2, 3]
    assert quiet_fit(h, n, 2).probs.shape == (2,)
    with pytest.raises(IdentificationError, match="found 2 flips at most"):
        fit_iid(h, n, 2, sample_weight=[1, 1, 1, 1, 0])


def test_units_without_flips_change_nothing_but_their_number():
    h, n = units(12)
    plain = quiet_fit(h, n, 2)
    padded = quiet_fit(np.append(h, [0, 0]), np.append(n, [0, 0]), 2)
    assert padded.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-8)
    assert padded.n_units == plain.n_units + 2


def test_only_successes_make_one_coin():
    with pytest.warns(WeakIdentificationWarning, match="n_sources=1 reaches the same"):
        fit = fit_iid([3] * 10, 3, 2)
    assert fit.status is Status.MERGED
    assert fit.probs.tolist() == [1.0, 1.0]
    assert fit.log_likelihood == 0.0


def test_iteration_limit_is_said_when_it_is_reached():
    h, n, counts = draw(4, 16, 10**5, seed=1)
    with pytest.warns(ConvergenceWarning, match="after 1 Newton steps"):
        fit = fit_iid(h, n, 3, sample_weight=counts, max_iter=1)
    assert fit.status is Status.NOT_CONVERGED
    assert fit_iid(h, n, 3, sample_weight=counts).status is Status.OK


def test_best_optimum_that_a_single_start_reached_is_said():
    h, n = units(38, n_units=60, longest=20)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = fit_iid(h, n, 4, n_init=3)
    assert fit.diagnostics.n_best == 1
    assert fit.diagnostics.bound - fit.log_likelihood > 0.01
    assert StartsDisagreeWarning in {w.category for w in caught}


def test_single_start_that_reached_the_bound_needs_no_warning():
    # The start from the nonparametric mixture finds what quantiles, moments and draws miss.
    h, n = units(10, n_units=60, longest=20)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = fit_iid(h, n, 4, n_init=3)
    assert fit.diagnostics.n_best == 1
    assert fit.diagnostics.bound - fit.log_likelihood < 1e-5
    assert StartsDisagreeWarning not in {w.category for w in caught}


BAD = [
    ([], 3, None, "found shapes"),
    ([[1, 2]], 3, None, "found shapes"),
    ([1, 2], [3, 3, 3], None, "found shapes"),
    ([1, 4], 3, None, "the first at 1: successes 4, trials 3"),
    ([-1, 2], 3, None, "the first at 0"),
    ([1.5, 2], 3, None, "the first at 0"),
    ([1, math.nan], 3, None, "the first at 1"),
    ([1, 2], [3, math.inf], None, "the first at 1"),
    ([1, 2], 3, [1], "one weight per unit, 2"),
    ([1, 2], 3, [1, -1], "weights must be finite"),
    ([1, 2], 3, [1, math.nan], "weights must be finite"),
    ([1, 2], 3, [0, 0], "not all zero"),
    (["one", "two"], 3, None, "successes must be numbers"),
]


@pytest.mark.parametrize(("successes", "trials", "weight", "message"), BAD)
def test_unusable_units_raise_a_data_error_that_names_them(successes, trials, weight, message):
    with pytest.raises(DataError, match=message):
        fit_iid(successes, trials, 2, sample_weight=weight)


@pytest.mark.parametrize("name", ["n_init", "max_iter"])
@pytest.mark.parametrize("value", [-1, True])
def test_unusable_option_raises_a_data_error_that_names_it(name, value):
    with pytest.raises(DataError, match=name):
        fit_iid([1, 2], 3, 1, **{name: value})


def test_unknown_moment_method_is_named():
    with pytest.raises(QueryError, match="'music'"):
        fit_iid([1, 2, 3], 3, 2, method="music")


# -- kinds of input, devices ---------------------------------------------------------------


def test_lists_arrays_series_and_tensors_are_the_same_units():
    h, n = units(13, n_units=50)
    reference = quiet_fit(h, n, 2)
    kinds = (list, tuple, pd.Series, torch.tensor, lambda x: np.asarray(x, dtype=np.float32))
    for kind in kinds:
        values = kind(h.tolist()) if kind in (list, tuple) else kind(h)
        assert_same(quiet_fit(values, n, 2), reference, 1e-10)


def test_no_factory_call_forgets_the_device():
    h, n = (torch.tensor(x) for x in units(14, n_units=60))
    with torch.device("meta"):  # a factory call without a device would land there
        fit = quiet_fit(h, n, 2)
        listed = quiet_fit(h.tolist(), n.tolist(), 2)
        shares = fit.predict_proba(h, n)
    assert fit.probs.device == shares.device == listed.probs.device == h.device


@pytest.mark.cuda
def test_cuda_agrees_with_the_cpu():
    h, n = (torch.tensor(x) for x in units(15, n_units=500))
    here, there = quiet_fit(h, n, 2), quiet_fit(h.cuda(), n.cuda(), 2)
    torch.testing.assert_close(there.probs.cpu(), here.probs, rtol=0, atol=1e-8)


def test_summary_prints_coins_likelihood_and_notes():
    text = str(quiet_fit(range(10), 9, 4, sample_weight=THUMBTACKS))
    assert text.startswith("4 coin(s) from 320 units: MERGED")
    assert "coin 1: P(success) = 0.4388" in text
    assert "no mixture exceeds -640.2757" in text
    assert "n_sources=3 reaches the same likelihood" in text


@pytest.mark.slow
def test_millions_of_units_of_many_lengths_are_fitted():
    rng = np.random.default_rng(0)
    n = rng.integers(5, 15, 3 * 10**6)
    h = rng.binomial(n, rng.choice([0.2, 0.7], 3 * 10**6))
    fit = fit_iid(h, n, 2)
    # Standard errors are about 3e-4.
    np.testing.assert_allclose(fit.probs, [0.2, 0.7], atol=2e-3)


def test_a_coin_of_a_handful_of_units_is_said_to_be_light():
    heavy = [2, 3, 4, 5, 3, 2, 1, 4] * 50
    light = quiet_fit([*heavy, 20, 20, 19], 20, 2)
    assert "the lightest coin stands for 3 units" in str(light)
    assert "lightest" not in str(quiet_fit([*heavy, *[20, 20, 19] * 5], 20, 2))
