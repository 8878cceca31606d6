"""Pair margins and blocks against a table: calibrated where the model holds, sharp where not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import random_spec
from network_cases import numbered, rows_of
from product_cases import edgeless
from scipy.stats import chi2_contingency

import pyromix as px
from pyromix.exact.information import scores
from pyromix.exact.likelihood import log_joint
from pyromix.exact.rows import CellIndex

QUIET = pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")


@pytest.mark.parametrize("seed", [0, 1])
def test_scores_are_the_gradient_of_the_log_probability_of_each_row(seed):
    from test_information import log_odds, tables_of

    spec = random_spec(seed, 4, 2 + seed, uninfluenced=True)
    mixture = px.random_mixture(spec, seed)
    rows = rows_of(mixture, 20, seed).rows
    index = CellIndex(spec, rows)
    expected = torch.autograd.functional.jacobian(
        lambda theta: log_joint(tables_of(spec, theta), index).logsumexp(-1), log_odds(mixture)
    )
    torch.testing.assert_close(scores(mixture, rows), expected, rtol=0, atol=1e-12)


def test_without_sources_and_edges_a_pair_is_pearsons_test_of_independence():
    """J is simulated from 20,000 rows, so the statistic agrees to a few per cent."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 3, 4000)
    b = (rng.integers(0, 4, 4000) + (rng.random(4000) < 0.03) * a) % 4
    spec = edgeless((3, 4), 1)
    counts = px.Counts.from_codes(spec, torch.tensor(np.stack([a, b], 1)))
    fit = px.fit(spec, counts, prior=None)
    (pair,) = fit.predictive_check().pairs
    pearson = chi2_contingency(np.histogram2d(a, b, [3, 4])[0].astype(int), correction=False)
    assert pair.dof == pearson.dof == 6
    assert pair.statistic == pytest.approx(pearson.statistic, rel=0.03)
    assert pair.p_value == pytest.approx(pearson.pvalue, rel=0.1)


def test_a_margin_that_is_a_table_of_the_model_has_nothing_to_compare():
    spec = numbered(3, [(0, 1)], 1, card=3)
    counts = rows_of(px.random_mixture(spec, 0), 3000)
    found = {p.names: p for p in px.fit(spec, counts, prior=None).predictive_check().pairs}
    assert found["V0", "V1"].dof == 0
    assert found["V0", "V1"].p_value == 1.0
    assert found["V0", "V2"].dof == 4


def shares(truth, n_rows, repetitions, *, fresh=False):
    """p-values of all pairs over fits to samples of the truth, and how many samples fit."""
    p_values, fits = [], []
    for seed in range(repetitions):
        counts = rows_of(truth, n_rows, seed)
        fit = px.fit(truth.spec, counts, prior=None, n_init=2)
        other = rows_of(truth, n_rows, 1000 + seed) if fresh else None
        check = fit.predictive_check(other)
        p_values += [p.p_value for p in check.pairs if p.dof]
        fits.append(check.fits)
    return np.array(p_values), np.mean(fits)


# Over 40 samples the shares below .05 and .5 were .084, .516 (own rows) and .053, .510 (fresh
# ones), and .95 of the samples fitted (two families of tests, .05 each). Pairs of one sample are
# dependent.
@QUIET
@pytest.mark.parametrize("fresh", [False, True])
def test_p_values_of_pairs_are_uniform_where_the_model_holds(fresh):
    truth = px.random_mixture(numbered(6, [(0, 1)], 2, card=3), 4, separation=0.3)
    p_values, fits = shares(truth, 3000, 15, fresh=fresh)
    assert np.mean(p_values < 0.05) < 0.13
    assert 0.35 < np.mean(p_values < 0.5) < 0.65
    assert fits >= 0.7


@QUIET
def test_too_few_sources_are_contradicted_by_pairs_and_by_blocks():
    truth = px.random_mixture(numbered(6, [(0, 1)], 3, card=3), 1, separation=0.3)
    fit = px.fit(truth.spec.with_n_sources(2), rows_of(truth, 10_000), random_state=0)
    check = fit.predictive_check()
    assert not check.fits
    assert check.pairs[0].adjusted < 1e-6
    assert check.blocks[0].adjusted < 1e-6
    assert check.worst in (check.pairs[0], check.blocks[0])
    assert "contradict the model" in str(check)


@QUIET
def test_a_missing_edge_is_named():
    truth = px.random_mixture(numbered(6, [(0, 1)], 2, card=3), 2, separation=0.2)
    fit = px.fit(numbered(6, [], 2, card=3), rows_of(truth, 20_000), random_state=0)
    check = fit.predictive_check()
    assert not check.fits
    assert check.pairs[0].names == ("V0", "V1")
    assert "V0, V1" in str(check)


@QUIET
def test_many_parameters_are_not_counted_and_it_is_said(monkeypatch):
    monkeypatch.setattr("pyromix.criticism.margins.MAX_MARGIN_PARAMETERS", 5)
    truth = px.random_mixture(numbered(6, [(0, 1)], 2, card=3), 4, separation=0.3)
    fit = px.fit(truth.spec, rows_of(truth, 3000), n_init=2)
    check = fit.predictive_check()
    assert "the error of the estimate: they are too large" in str(check)
    assert all(pair.dof == 8 for pair in check.pairs)


@QUIET
def test_gaps_are_left_out_pair_by_pair():
    truth = px.random_mixture(numbered(4, [(0, 1)]), 0, separation=0.3)
    frame = px.simulate(truth, 3000).astype("Int64")
    frame.loc[:500, "V0"] = None
    check = px.fit(truth.spec, frame).predictive_check()
    pair = next(p for p in check.pairs if p.names == ("V0", "V1"))
    kept = frame.iloc[501:]
    s, t = pair.cell
    assert pair.observed == pytest.approx(float(((s == kept.V0) & (t == kept.V1)).mean()))


@QUIET
def test_what_is_printed_and_framed_is_what_was_found():
    _, frame, _ = px.datasets.load("hidden-group")
    model, _, _ = px.datasets.load("hidden-group")
    check = px.fit(model, frame, 2).predictive_check()
    assert check.fits
    assert "none contradicts" in str(check)
    framed = check.to_frame()
    assert framed["p_value"].tolist() == [p.p_value for p in check.pairs]
    assert framed["p_value"].is_monotonic_increasing


def test_a_single_variable_has_nothing_to_compare():
    spec = edgeless((3,), 1)
    check = px.fit(
        spec, px.Counts.from_codes(spec, torch.tensor([[0], [1], [2]]))
    ).predictive_check()
    assert check.fits
    with pytest.raises(px.QueryError, match="single variable"):
        _ = check.worst


@QUIET
def test_every_tensor_is_where_the_data_are():
    spec = numbered(4, [(0, 1)])
    counts = rows_of(px.random_mixture(spec, 0), 500)
    fit = px.fit(spec, counts, n_init=2)
    with torch.device("meta"):
        assert fit.predictive_check().pairs[0].dof >= 0


@QUIET
def test_rows_that_the_fit_calls_impossible_contradict_it():
    spec = numbered(5, [(0, 1)], card=3)
    truth = px.random_mixture(spec, 0, separation=0.3)
    rows = px.simulate(truth, 3000)
    fit = px.fit(spec, rows[rows["V4"] != 2], prior=None)
    check = fit.predictive_check(rows)
    assert not check.fits
    assert check.pairs[0].p_value == 0.0
    assert "V4" in check.pairs[0].names


@QUIET
def test_the_pull_of_a_prior_is_no_misfit():
    """One table, a strong prior: the gap is all the prior's."""
    spec = numbered(2, [], 1, card=3)
    counts = rows_of(px.random_mixture(spec, 3), 2000)
    plain = px.fit(spec, counts, prior=None).predictive_check().pairs[0]
    pulled = px.fit(spec, counts, prior=30.0).predictive_check().pairs[0]
    assert pulled.p_value == pytest.approx(plain.p_value, abs=0.1)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_pair_that_a_prior_pulls_away_from_the_table_is_no_misfit_either(seed):
    """Two sources: tables are held by other pairs, and a prior of 100 moves every margin."""
    truth = px.random_mixture(numbered(5, [], 2), seed, separation=0.5)
    counts = rows_of(truth, 4000)
    plain = px.fit(truth.spec, counts, prior=None, n_init=4).predictive_check()
    pulled = px.fit(truth.spec, counts, prior=30.0, n_init=4).predictive_check()
    assert plain.fits
    assert pulled.fits
