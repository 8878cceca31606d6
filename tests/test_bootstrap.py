"""Bootstrap replicates against single fits to the same reweighted tables, and their spread."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from network_cases import numbered, pooled_hard, rows_of

import pyromix as px
from pyromix.data.counts import Counts
from pyromix.estimate.em import fit_em
from pyromix.estimate.starts import batch_of, inside
from pyromix.model.match import match_sources
from pyromix.model.prior import PseudoCounts
from pyromix.model.randomness import numpy_generator
from pyromix.posterior.bootstrap import _weights, replicate

QUIET = pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")


@pytest.fixture(scope="module")
def toy():
    model, frame, _ = px.datasets.load("hidden-group")
    return px.fit(model, frame, 2, random_state=0)


@pytest.mark.parametrize("kind", ["multinomial", "dirichlet"])
def test_every_replicate_is_the_estimate_of_its_reweighted_table(toy, kind):
    """The same weights, drawn again, and a fit of its own for each."""
    found = replicate(toy.counts, toy.mixture, 4, kind=kind, prior=toy.prior, tol=1e-12)
    weights = _weights(toy.counts, 4, kind, numpy_generator(0))
    for number in range(4):
        column = torch.from_numpy(weights[:, number].copy())
        alone = fit_em(
            Counts.from_codes(toy.spec, toy.counts.rows, column),
            batch_of(inside(toy.mixture)),
            prior=toy.prior,
            tol=1e-12,
        ).mixture
        alone = alone.relabel(match_sources(toy.mixture, alone))
        mine = found.mixtures[number]
        torch.testing.assert_close(mine.weights, alone.weights, rtol=0, atol=1e-4)
        for a, b in zip(mine.cpts, alone.cpts, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["multinomial", "dirichlet"])
def test_weights_have_the_total_and_the_spread_of_their_law(toy, kind):
    weights = _weights(toy.counts, 2000, kind, np.random.default_rng(1))
    total = toy.counts.n_rows
    np.testing.assert_allclose(weights.sum(0), total)
    share = toy.counts.weights.numpy() / total
    # Variance N p (1 - p) for counts; for a Dirichlet law N^2 p (1 - p) / (N + 1).
    expected = total * share * (1 - share) * (1 if kind == "multinomial" else total / (total + 1))
    assert (abs(weights.mean(1) - total * share) < 5 * np.sqrt(expected / 2000)).all()
    np.testing.assert_allclose(weights.var(1) / expected, 1, atol=0.2)


def test_the_spread_of_an_effect_is_that_of_the_delta_method(toy):
    """Two estimates of one standard error; 400 replicates know it to 3.5 per cent."""
    replicates = toy.bootstrap(n=400, random_state=1)
    asked = {"contrast": ("control", "treated")}
    by_draws = replicates.effect("X", "Y", **asked).do
    by_delta = toy.effect("X", "Y", **asked).do
    ratio = by_draws.standard_error[-1] / by_delta.standard_error[-1]
    assert 0.85 < ratio < 1.2
    low, high = by_draws.interval(0.95)
    assert low[-1] < float(by_draws) < high[-1]
    np.testing.assert_array_equal(by_draws.values, by_delta.values)


def test_replicates_keep_the_labels_of_the_estimate(toy):
    """Otherwise the mean over draws would be one table for all sources."""
    draws = toy.bootstrap(n=50).draws
    for v, cpt in enumerate(toy.mixture.cpts):
        torch.testing.assert_close(draws.cpts[v].mean(0), cpt, rtol=0, atol=0.05)


@QUIET
def test_doubtful_labels_are_said():
    spec = numbered(4, [])
    truth = px.random_mixture(spec.with_n_sources(1), 0)
    fit = px.fit(spec, rows_of(truth, 300), prior=None, n_init=3)
    with pytest.warns(px.WeakIdentificationWarning, match="matched otherwise"):
        doubtful = fit.bootstrap(n=20)
    assert any("matched otherwise" in note for note in doubtful.diagnostics.notes)


def test_a_replicate_that_stops_early_is_said(toy):
    with pytest.warns(px.WeakIdentificationWarning, match="of 5 replicates stopped at max_iter=2"):
        toy.bootstrap(n=5, max_iter=2)


@pytest.mark.parametrize(
    ("options", "match"),
    [({"n": 0}, "integer >= 1"), ({"n": True}, "integer"), ({"kind": "row"}, "kind must be one")],
)
def test_what_makes_no_sense_is_refused(toy, options, match):
    with pytest.raises(px.QueryError, match=match):
        toy.bootstrap(**options)


def test_the_same_seed_draws_the_same(toy):
    one, other = (toy.bootstrap(n=3, random_state=5).draws for _ in range(2))
    assert torch.equal(one.weights, other.weights)


def test_every_tensor_is_where_the_data_are(toy):
    none = PseudoCounts.of(toy.spec, None)
    with torch.device("meta"):
        found = replicate(toy.counts, toy.mixture, 2, prior=none, max_iter=5)
    assert found.mixtures.weights.device.type == "cpu"


@QUIET
def test_rows_that_a_replicate_leaves_out_may_be_impossible_in_it():
    """A state seen once, maximum likelihood: without that row it has probability zero."""
    spec = numbered(4, [(0, 1)], card=3)
    counts = rows_of(px.random_mixture(spec, 0, separation=0.3), 150)
    fit = px.fit(spec, counts, prior=None, n_init=3)
    draws = fit.bootstrap(n=40).draws
    assert all(bool(t.isfinite().all()) for t in (draws.weights, *draws.cpts))
    assert any(bool((c == 0).any()) for c in draws.cpts)


@QUIET
def test_the_place_of_learned_pseudo_counts_is_learned_by_every_replicate():
    """A vertex that sources do not move, pooled hard: the binomial spread of all rows."""
    truth, counts, prior = pooled_hard()
    assert prior.learned[6] > 1e4
    estimate = fit_em(counts, batch_of(truth), prior=prior).mixture
    draws = replicate(counts, estimate, 300, prior=prior).mixtures
    spread = draws.cpts[6][:, :, 1].std(0)
    binomial = (0.21 / 2000) ** 0.5
    assert bool((abs(spread / binomial - 1) < 0.15).all())
    fixed = PseudoCounts(prior.weights, prior.cpts)
    narrow = replicate(counts, estimate, 50, prior=fixed).mixtures.cpts[6][:, :, 1].std(0)
    assert bool((narrow < 0.3 * binomial).all())


@pytest.mark.parametrize("kind", ["multinomial", "dirichlet"])
def test_weights_of_light_rows_sum_to_the_weight_of_the_table(kind):
    spec = numbered(2, [], 1)
    rows = torch.tensor([[0, 0], [0, 1], [1, 1]])
    counts = Counts.from_codes(spec, rows, torch.tensor([0.25, 1.5, 0.75], dtype=torch.float64))
    drawn = _weights(counts, 6, kind, numpy_generator(0))
    assert drawn.sum(0) == pytest.approx([float(counts.weights.sum())] * 6, rel=1e-12)
