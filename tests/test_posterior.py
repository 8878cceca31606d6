"""Draws of several chains: labels, diagnostics, and what a fit makes of them."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import random_spec
from network_cases import fixed_chain, rows_of
from posterior_cases import free, sampled

import pyromix as px
from pyromix.answers.simulate import simulate_draws
from pyromix.estimate.pooled_prior import pooled_prior
from pyromix.fitting.journal import Draws
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.note import WARNINGS
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec
from pyromix.posterior.draws import Posterior, assessed, relabelled, remarks
from pyromix.posterior.gibbs import gibbs

FAST = {"num_samples": 200, "warmup_steps": 100}


@pytest.fixture(scope="module")
def fit():
    counts = rows_of(fixed_chain(), 3000)
    return px.fit(fixed_chain().spec, counts, n_init=2, prior=1.0)


@pytest.fixture(scope="module")
def sampled_fit(fit):
    return quiet(fit.refine, method="gibbs", num_samples=1500)


def quiet(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.PyromixWarning)
        return function(*arguments, **options)


def around(mixture: BayesNetMixture, shape: tuple[int, ...], seed: int = 0) -> BayesNetMixture:
    """Draws a little off a mixture."""
    other = random_mixture(mixture.spec, seed, batch_shape=shape)
    return BayesNetMixture(
        mixture.spec,
        0.95 * mixture.weights + 0.05 * other.weights,
        tuple(0.95 * a + 0.05 * b for a, b in zip(mixture.cpts, other.cpts, strict=True)),
    )


# -- labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 3, 5])
def test_permuted_draws_are_brought_back_counted_and_then_averaged(k):
    reference = random_mixture(random_spec(4, 5, k), 0, separation=0.2)
    draws = around(reference, (3, 40))
    order = torch.arange(k).expand(3, 40, k).clone()
    order[1, 10:25] = order[1, 10:25].roll(1, -1)  # within a chain: there and back
    order[2] = order[2].roll(1, -1)  # between chains: other labels all along
    found = relabelled(reference, draws.relabel(order), torch.zeros(3, 40).double())
    assert torch.equal(free(found.mixtures), free(draws))
    report = assessed(found, "made up")
    assert (report.n_switched, report.n_exchanges) == (55, 2)
    assert found.switched[1].sum() == 15
    assert found.switched[2].all()
    assert report.n_ambiguous == 0
    note, *_ = [note for note in remarks(report) if "exchanged" in note.sentence]
    assert WARNINGS[note.kind] is px.WeakIdentificationWarning
    assert "55 of 120" in note.sentence


def test_equal_sources_are_matched_with_doubt():
    spec = random_spec(4, 4, 2)
    one = random_mixture(spec.with_n_sources(1), 0)
    twice = BayesNetMixture(
        spec,
        torch.tensor([0.5, 0.5], dtype=torch.float64),
        tuple(c.expand(2, *c.shape[1:]) for c in one.cpts),
    )
    found = relabelled(twice, around(twice, (2, 30)), torch.zeros(2, 30).double())
    report = assessed(found, "made up")
    assert report.n_ambiguous > 40
    assert any("nearly as well" in note.sentence for note in remarks(report))


def test_unreached_rows_do_not_vote():
    """Masses of the estimate's rows decide which differences count."""
    spec = px.MixtureSpec.from_parents({"X": "ab", "Y": "ab"}, {"Y": ["X"]}, 2)
    half = torch.tensor([0.5, 0.5], dtype=torch.float64)
    seen = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    y = torch.tensor([[[0.6, 0.4], [0.1, 0.9]], [[0.4, 0.6], [0.9, 0.1]]], dtype=torch.float64)
    reference = BayesNetMixture(spec, half, (seen, y))
    noisy = y.clone()
    noisy[:, 1] = noisy[:, 1].flip(0)  # the row of X=b, which nobody has
    draws = BayesNetMixture(
        spec, half.expand(1, 4, 2), (seen.expand(1, 4, 2, 2), noisy.expand(1, 4, 2, 2, 2))
    )
    masses = (half, torch.tensor([[50.0, 0.0], [50.0, 0.0]], dtype=torch.float64))
    found = relabelled(reference, draws, torch.zeros(1, 4).double(), row_masses=masses)
    assert not found.switched.any()


# -- diagnostics ---------------------------------------------------------------------------------


def chains(values: torch.Tensor) -> Posterior:
    """One binary variable, k = 1, P(X=a) as given ``(chains, draws)``."""
    spec = px.MixtureSpec.from_parents({"X": "ab"}, {}, 1)
    table = torch.stack([values, 1 - values], -1).unsqueeze(2)
    draws = BayesNetMixture(spec, torch.ones(*values.shape, 1, dtype=torch.float64), (table,))
    return relabelled(draws[0][0], draws, torch.zeros(values.shape, dtype=torch.float64))


def test_independent_draws_have_an_r_hat_of_one_and_as_many_effective_draws():
    values = torch.rand(4, 500, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    report = assessed(chains(values), "x")
    assert report.r_hat == pytest.approx(1, abs=0.01)
    assert report.effective > 1600
    assert report.r_hat_of == "P(X=a | U=0)"
    assert remarks(report) == []


def test_chains_apart_and_sticky_chains_are_said_with_numbers_and_advice():
    values = torch.rand(4, 500, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    apart = assessed(chains(values / 2 + torch.arange(4)[:, None] * 0.1), "gibbs")
    (note,) = remarks(apart)
    assert WARNINGS[note.kind] is px.SamplingWarning
    assert "at P(X=a | U=0), expected at most 1.05. Raise warmup_steps" in note.sentence
    sticky = assessed(chains(0.5 + 0.02 * (values - 0.5).cumsum(1)), "gibbs")
    assert sticky.r_hat > 1.05
    assert sticky.effective < 100


def test_a_column_that_never_moves_hides_no_sticky_one():
    spec = px.MixtureSpec.from_parents({"X": "abc"}, {}, 1)
    noise = torch.rand(4, 500, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sticky = 0.5 + 0.02 * (noise - 0.5).cumsum(1)
    table = torch.stack([torch.zeros_like(sticky), sticky, 1 - sticky], -1).unsqueeze(2)
    draws = BayesNetMixture(spec, torch.ones(4, 500, 1, dtype=torch.float64), (table,))
    report = assessed(relabelled(draws[0][0], draws, torch.zeros(4, 500).double()), "gibbs")
    assert report.effective_of == "P(X=b | U=0)"
    assert report.effective < 100


def test_a_column_that_never_moves_is_settled():
    report = assessed(chains(torch.full((2, 10), 1.0, dtype=torch.float64)), "x")
    assert (report.r_hat, report.effective) == (1.0, 20.0)


def test_the_worst_parameter_is_named_by_its_row():
    spec = px.MixtureSpec.from_parents(
        {"A": "ab", "B": "abc", "C": "ab"}, {"B": ["A"], "C": ["A", "B"]}, 2, uninfluenced=["B"]
    )
    reference = random_mixture(spec, 0, separation=0.5)
    draws = around(reference, (2, 50))
    cpt = draws.cpts[2].clone()
    cpt[0, :, 1, 1, 2] = torch.tensor([0.9, 0.1], dtype=torch.float64)
    moved = BayesNetMixture(spec, draws.weights, (*draws.cpts[:2], cpt))
    report = assessed(relabelled(reference, moved, torch.zeros(2, 50).double()), "x")
    assert report.r_hat_of == "P(C=a | U=1, A=b, B=c)"
    shared = draws.cpts[1].clone()
    shared[0, :, :, 0] = torch.tensor([0.9, 0.05, 0.05], dtype=torch.float64)
    moved = BayesNetMixture(spec, draws.weights, (draws.cpts[0], shared, draws.cpts[2]))
    moved = BayesNetMixture(
        spec,
        moved.weights,
        (moved.cpts[0], moved.cpts[1][:, :, :1].expand_as(shared), moved.cpts[2]),
    )
    report = assessed(relabelled(reference, moved, torch.zeros(2, 50).double()), "x")
    assert report.r_hat_of in {f"P(B={s} | A=a)" for s in "ab"}


def test_three_draws_are_too_few():
    with pytest.raises(px.QueryError, match="at least 4 draws"):
        assessed(chains(torch.rand(2, 3, dtype=torch.float64)), "x")


# -- a fit ---------------------------------------------------------------------------------------


def test_a_fit_keeps_its_estimate_and_takes_intervals_from_the_draws(fit, sampled_fit):
    assert sampled_fit.mixture is fit.mixture
    assert sampled_fit.draws.batch_shape == (6000,)
    asked = {"variables": "V4", "do": {"V3": 1}}
    mine, plain = sampled_fit.query(**asked), fit.query(**asked)
    assert np.array_equal(mine.values, plain.values)
    low, high = mine.interval(0.9)
    assert (low < mine.values).all()
    assert (mine.values < high).all()
    (report,) = sampled_fit.diagnostics.sampling
    assert report.n_chains * report.n_draws == 6000
    assert report.r_hat < 1.05
    assert str(report) in sampled_fit.diagnostics.notes
    assert "6000 draws (R-hat 1.0" in str(sampled_fit)
    json.dumps(sampled_fit.summary())
    assert sampled_fit.summary()["sampling"][0]["method"] == "gibbs"


def test_a_saved_fit_keeps_draws_and_diagnostics(sampled_fit, tmp_path):
    sampled_fit.save(tmp_path / "fit.pyromix")
    loaded = px.load(tmp_path / "fit.pyromix")
    assert loaded.diagnostics == sampled_fit.diagnostics
    assert torch.equal(free(loaded.draws), free(sampled_fit.draws))


def test_a_bootstrap_after_a_posterior_drops_its_diagnostics(sampled_fit):
    assert quiet(sampled_fit.bootstrap, n=3).diagnostics.sampling == ()


def test_another_table_moves_the_estimate_first(fit):
    other = rows_of(fixed_chain(), 500, seed=1)
    found = quiet(fit.refine, other, method="gibbs", **FAST)
    climbed = quiet(fit.refine, other)
    assert found.n_rows == 500
    assert torch.equal(free(found.mixture), free(climbed.mixture))


def test_another_prior_is_that_of_the_posterior(fit):
    found = quiet(fit.refine, method="gibbs", prior=20.0, **FAST)
    assert bool((found.prior.weights == 20.0).all())
    assert (
        found.draws.weights.var(0)[0]
        < quiet(fit.refine, method="gibbs", **FAST).draws.weights.var(0)[0]
    )


@pytest.mark.parametrize("method", ["gibbs", "nuts", "svi", "em"])
def test_unknown_options_are_refused_with_near_matches(fit, method):
    with pytest.raises(px.QueryError, match=rf"'pror' of method '{method}' \(did you mean 'prior'"):
        fit.refine(method=method, pror=1.0)
    with pytest.raises(px.QueryError, match="unknown option 'row_masses'"):
        fit.refine(method=method, row_masses=None)


def test_unknown_methods_are_refused_with_near_matches(fit):
    with pytest.raises(px.QueryError, match=r"'gibs'.*did you mean 'gibbs'"):
        fit.refine(method="gibs")


def test_few_draws_are_warned_of_once_and_noted(fit):
    with pytest.warns(px.SamplingWarning) as caught:
        found = fit.refine(method="gibbs", num_samples=20, warmup_steps=0)
    assert len([w for w in caught if w.category is px.SamplingWarning]) == 1
    assert str(caught[0].message) in found.diagnostics.notes


def test_the_prior_of_a_posterior_is_said(fit):
    plain = quiet(fit.refine, method="gibbs", prior=None, **FAST)
    assert any("uniform prior" in note for note in plain.diagnostics.notes)
    assert any(
        "one plus the pseudo-counts" in note
        for note in quiet(fit.refine, method="gibbs", **FAST).diagnostics.notes
    )


def test_nuts_on_many_parameters_points_to_gibbs(fit, monkeypatch):
    monkeypatch.setattr("pyromix.fitting.refine.MANY_PARAMETERS", 5)
    with pytest.warns(px.SamplingWarning) as caught:
        found = fit.refine(method="nuts", num_samples=20, warmup_steps=80, num_chains=1)
    sentence = str(caught[0].message)
    assert sentence.startswith(f"nuts moves all {fit.n_parameters} probabilities at once")
    assert 'method="gibbs"' in sentence
    assert sentence in found.diagnostics.notes


def test_nuts_without_a_warmup_diverges_and_is_refused(fit):
    with pytest.raises(px.RefinementError, match=r"4 of 4 transitions of chain 0 diverged.*warmup"):
        fit.refine(method="nuts", num_samples=4, warmup_steps=2, num_chains=1)


def test_gibbs_refuses_weights_that_are_no_numbers_of_rows(fit):
    counts = fit.counts
    light = px.Counts(
        counts.spec, counts.rows, counts.weights / counts.weights.min() / 100, counts.report
    )
    with pytest.raises(px.DataError, match="whole numbers"):
        quiet(fit.refine, light, method="gibbs", **FAST)


# -- rows from draws -----------------------------------------------------------------------------


def test_predict_proba_with_a_level_has_three_parts(sampled_fit):
    frame = sampled_fit.simulate(50)
    found = sampled_fit.predict_proba(frame, level=0.9)
    assert list(found.columns) == [(p, s) for p in ("estimate", "low", "high") for s in "01"]
    plain = sampled_fit.predict_proba(frame)
    assert np.array_equal(found["estimate"].to_numpy(), plain.to_numpy())
    low, high = found["low"].to_numpy(), found["high"].to_numpy()
    assert (low < high).all()
    assert ((low < plain) & (plain < high)).to_numpy().mean() > 0.8
    wide = sampled_fit.predict_proba(frame, level=0.99)
    assert (wide["low"].to_numpy() <= low).all()


def test_predict_proba_with_a_level_needs_draws(fit):
    with pytest.raises(px.QueryError, match="point estimate"):
        fit.predict_proba(fit.simulate(3), level=0.9)


def test_posterior_predictive_rows_vary_with_the_tables():
    """Two draws, each certain of one state: rows are a fair mixture of both."""
    counts = sampled(random_spec(4, 3, 2), 200)
    fit = quiet(px.fit, counts.spec, counts, n_init=2)
    sure = quiet(fit.refine, method="gibbs", **FAST)
    ends = tuple(
        torch.stack([torch.zeros_like(c).index_fill(-1, torch.tensor([s]), 1.0) for s in (0, 1)])
        for c in fit.mixture.cpts
    )
    draws = BayesNetMixture(fit.spec, fit.mixture.weights.expand(2, -1), ends)
    frame = replace(sure, sampled=replace(sure.sampled, mixture=draws)).simulate(
        400, posterior=True, random_state=1
    )
    codes = frame.apply(lambda column: column.cat.codes).to_numpy()
    assert (codes == codes[:, :1]).all()
    assert codes[:, 0].mean() == pytest.approx(0.5, abs=0.1)


def test_posterior_predictive_honours_do_and_evidence(sampled_fit):
    frame = sampled_fit.simulate(
        200, do={"V3": 1}, evidence={"V0": 0}, include_latents=True, posterior=True
    )
    assert set(frame["V3"]) == {1}
    assert set(frame["V0"]) == {0}
    assert "U" in frame.columns


def test_posterior_predictive_needs_draws(fit):
    with pytest.raises(px.QueryError, match="point estimate"):
        fit.simulate(3, posterior=True)


def test_chains_that_start_elsewhere_still_carry_the_labels_of_the_estimate(fit):
    flipped = fit.mixture.relabel([1, 0])
    found = gibbs(
        fit.counts, flipped, prior=fit.prior, num_samples=50, row_masses=None, warmup_steps=50
    )
    mean = found.mixtures.weights.mean((0, 1))
    assert float((mean - flipped.weights).abs().max()) < 0.1


@pytest.mark.filterwarnings("ignore::pyromix.errors.WeakIdentificationWarning")
@pytest.mark.filterwarnings("ignore:svi. the evidence bound:pyromix.errors.SamplingWarning")
def test_a_method_that_takes_the_place_of_pooled_tables_as_known_says_so():
    model, frame, _ = px.datasets.load("hidden-group")
    fit = px.fit(model, frame, 2, prior=None, n_init=0)
    pooled = fit.refine(prior=pooled_prior(fit.counts, fit.mixture))
    with pytest.warns(px.errors.SamplingWarning, match="intervals may be too narrow"):
        pooled.refine(method="svi", num_steps=3, num_samples=5)


@pytest.mark.filterwarnings("ignore::pyromix.errors.WeakIdentificationWarning")
def test_draws_in_which_evidence_cannot_be_are_left_out_and_counted():
    _, frame, _ = px.datasets.load("hidden-group")
    frame = frame.head(1000).astype(str)
    frame.loc[frame.index[:2], "Z1"] = "odd"
    states = {name: sorted(frame[name].unique()) for name in frame}
    spec = px.MixtureSpec.from_parents(states, {"Y": ["X"]}, 2)
    fit = px.fit(spec, frame, prior=None, n_init=0)
    drawn = fit.bootstrap(n=40)
    with pytest.warns(px.UnsupportedRowsWarning, match="impossible in .* of 40 draws"):
        answer = drawn.query("Y", evidence={"Z1": "odd"}, require="none")
    low, high = answer.interval()
    assert np.isfinite(low).all()
    assert np.isfinite(high).all()
    shares = drawn.predict_proba(frame.head(1), level=0.9)
    assert np.isfinite(shares.to_numpy()).all()
    assert (drawn.simulate(50, evidence={"Z1": "odd"}, posterior=True)["Z1"] == "odd").all()


def test_a_population_is_no_table():
    model, _, _ = px.datasets.load("hidden-group")
    mixture = px.random_mixture(px.from_pgmpy(model, 2), 0)
    fit = px.fit(model, px.population(mixture), 2, method="em", n_init=5)
    for ask in (fit.bootstrap, fit.predictive_check, fit.refine):
        with pytest.raises(px.DataError, match="population"):
            ask()


@pytest.mark.filterwarnings("ignore::pyromix.errors.WeakIdentificationWarning")
def test_moments_alone_have_no_interval_unasked():
    model, frame, _ = px.datasets.load("hidden-group")
    fit = px.fit(model, frame, 2, method="moments")
    assert not fit.query("Y").has_interval
    assert fit.query("Y", interval=True).has_interval


def test_a_prior_in_words_is_for_fit_alone():
    model, frame, _ = px.datasets.load("hidden-group")
    fit = px.fit(model, frame, 2, prior=None, n_init=0)
    with pytest.raises(px.QueryError, match=r"px\.fit alone"):
        fit.refine(prior="pooled")


def certain(share, states):
    """Draws of a mixture of two independent bits: P(A = 1) as given, B sure of a state."""
    spec = MixtureSpec.from_parents({"A": (0, 1), "B": (0, 1)}, {}, 1)
    n = len(share)
    one = torch.tensor(share, dtype=torch.float64)
    sure = torch.nn.functional.one_hot(torch.tensor(states), 2).to(torch.float64)
    cpts = (torch.stack([1 - one, one], -1).unsqueeze(1), sure.unsqueeze(1))
    return BayesNetMixture(spec, torch.ones(n, 1, dtype=torch.float64), cpts)


def test_draws_stand_for_rows_in_proportion_to_what_they_make_of_the_evidence():
    """P(A = 1) is .9 under the draw that is sure of B = 0, .1 under the other: 9 rows to 1."""
    frame = simulate_draws(certain([0.9, 0.1], [0, 1]), 4000, evidence={"A": 1}, random_state=0)
    # Standard error .005.
    assert (frame["B"].astype(int) == 0).mean() == pytest.approx(0.9, abs=0.02)


@pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")
def test_the_interval_of_a_share_is_over_the_draws_in_which_the_row_is_possible():
    spec = MixtureSpec.from_parents({"A": (0, 1), "B": (0, 1)}, {}, 2)
    rng = np.random.default_rng(0)
    p = rng.uniform(0.1, 0.9, (12, 2))
    p[4] = 0.0
    a = torch.tensor(np.stack([1 - p, p], -1))
    draws = BayesNetMixture(spec, torch.full((12, 2), 0.5, dtype=torch.float64), (a, a))
    row = pd.DataFrame({"A": [1, 0], "B": [1, 1]})
    fit = px.fit(spec, px.simulate(draws[0], 50), n_init=1, prior=1.0)
    shares = replace(fit, sampled=Draws(draws, "bootstrap", "12")).predict_proba(row, level=0.8)
    # Drawn out: P(u | A = 1, B = 1) of the eleven draws.
    own = [x[0] ** 2 / (x[0] ** 2 + x[1] ** 2) for i, x in enumerate(p) if i != 4]
    assert shares["low"].iloc[0, 0] == pytest.approx(np.quantile(own, 0.1), abs=1e-12)
    assert shares["high"].iloc[0, 0] == pytest.approx(np.quantile(own, 0.9), abs=1e-12)
