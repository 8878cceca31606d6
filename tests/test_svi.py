"""SVI: the bound of patterns and of rows, the mode, the spread, guides, mini-batches, errors."""

from __future__ import annotations

import math
import warnings
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from helpers import random_spec
from network_cases import fixed_chain, rows_of
from posterior_cases import (
    Footprint,
    expanded,
    expectation,
    flat_prior,
    free,
    invariants_by_quadrature,
    sampled,
    two_sources_of_one_bit,
    weighted,
)
from pyro.infer.autoguide import AutoDelta, AutoMultivariateNormal

import pyromix as px
from pyromix.bridges.pyro import to_pyro
from pyromix.bridges.pyro_start import init_loc_fn
from pyromix.estimate.em import fit_em
from pyromix.estimate.starts import batch_of
from pyromix.exact.likelihood import log_prob
from pyromix.model.prior import PseudoCounts
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec
from pyromix.posterior.guides import LowRank, Normal
from pyromix.posterior.svi import _parts, svi


@pytest.fixture(scope="module")
def fit():
    return px.fit(fixed_chain().spec, rows_of(fixed_chain(), 3000), n_init=2, prior=1.0)


def quiet(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.PyromixWarning)
        return function(*arguments, **options)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_bound_of_patterns_is_that_of_rows(missing):
    spec = random_spec(3, 4, 2, uninfluenced=True)
    counts, start = sampled(spec, 60, missing=missing), random_mixture(spec, 0)
    one, other = (
        svi(table, start, prior=flat_prior(spec, 0.5), guide="delta", num_steps=3).elbo
        for table in (counts, expanded(counts))
    )
    assert one == pytest.approx(other, abs=1e-8)


def test_the_bound_of_a_point_is_the_objective_of_em():
    """Up to the constant of the Dirichlet densities: differences of both are equal."""
    spec = random_spec(3, 4, 2)
    counts = sampled(spec, 60)
    found, prior = [], flat_prior(spec, 0.5)
    for seed in (0, 1):
        start = random_mixture(spec, seed)
        objective = float(log_prob(start, counts.rows) @ counts.weights)
        objective += 0.5 * float(free(start).log().sum())
        bound = svi(counts, start, prior=prior, guide="delta", num_steps=1).elbo[0]
        found.append(bound - objective)
    assert found[0] == pytest.approx(found[1], abs=1e-8)


def test_a_point_guide_goes_to_the_mode_that_em_finds():
    spec = random_spec(5, 3, 2)
    counts = sampled(spec, 300)
    truth = fit_em(
        counts, batch_of(random_mixture(spec, 0, separation=0.4)), prior=1.0, tol=1e-12
    ).mixture
    start = random_mixture(spec, 1)
    near = px.BayesNetMixture(
        spec,
        0.8 * truth.weights + 0.2 * start.weights,
        tuple(0.8 * a + 0.2 * b for a, b in zip(truth.cpts, start.cpts, strict=True)),
    )
    found = svi(
        counts, near, prior=flat_prior(spec, 1.0), guide="delta", num_steps=600, learning_rate=0.05
    )
    assert found.point
    mine = found.mixtures[0]
    assert float((free(mine) - free(truth)).abs().max()) < 0.01
    bounds = found.elbo
    assert max(bounds) - bounds[-1] < 1e-3


@pytest.mark.parametrize("guide", ["normal", "lowrank"])
def test_a_normal_guide_has_mean_and_spread_of_a_dirichlet_posterior(guide):
    """k = 1 and many rows, where the posterior is nearly normal."""
    spec = MixtureSpec.from_parents({"X": "ab"}, {}, 1)
    counts = weighted(spec, torch.tensor([[0], [1]]), torch.tensor([80.0, 120.0]))
    found = svi(
        counts, random_mixture(spec, 0), prior=flat_prior(spec, 1.0), guide=guide, num_steps=300,
        learning_rate=0.04,
        num_samples=400, num_particles=2,
    )  # fmt: skip
    assert found.mixtures.batch_shape == (400,)
    p = found.mixtures.cpts[0][:, 0, 0]
    mean, deviation = 82 / 204, math.sqrt(82 * 122 / 204**2 / 205)
    assert float(p.mean()) == pytest.approx(mean, abs=0.3 * deviation)
    assert float(p.std()) == pytest.approx(deviation, rel=0.25)


def test_a_full_guide_is_near_quadrature():
    counts, prior = two_sources_of_one_bit()
    found = svi(
        counts, random_mixture(counts.spec, 1), prior=prior, guide=AutoMultivariateNormal,
        num_steps=500, num_samples=800,
    )  # fmt: skip
    w, p = found.mixtures.weights[:, 0], found.mixtures.cpts[0][..., 0]
    one = w * p[:, 0] + (1 - w) * p[:, 1]
    truth = invariants_by_quadrature(counts, prior)
    assert float(one.mean()) == pytest.approx(float(truth[0]), abs=0.03)
    assert float((one**2).mean()) == pytest.approx(float(truth[1]), abs=0.03)


@pytest.mark.parametrize("guide", ["normal", "lowrank"])
@pytest.mark.parametrize("rows", [(8.0, 12.0), (5.0, 9.0, 30.0)])
def test_the_bound_is_below_the_evidence_and_its_weights_average_to_it(rows, guide):
    """k = 1: the evidence is a ratio of Beta functions, whatever the guide."""
    spec = MixtureSpec.from_parents({"X": range(len(rows))}, {}, 1)
    counts = weighted(spec, torch.arange(len(rows))[:, None], torch.tensor(rows))
    found = svi(
        counts, random_mixture(spec, 0), prior=flat_prior(spec, 1.0), num_steps=300, guide=guide,
        learning_rate=0.1,
    )  # fmt: skip

    def log_beta(a):
        return sum(math.lgamma(x) for x in a) - math.lgamma(sum(a))

    evidence = log_beta([n + 2 for n in rows]) - log_beta([2] * len(rows))
    assert evidence - 0.1 < found.last < evidence + 0.02
    weights = torch.tensor(found.elbo[100:], dtype=torch.float64)
    assert float(weights.logsumexp(0)) - math.log(200) == pytest.approx(evidence, abs=0.02)


@pytest.mark.parametrize("family", [Normal, partial(LowRank, generator=torch.Generator())])
def test_a_family_knows_its_own_density(family):
    """Against torch, at parameters of no particular kind."""
    draw = torch.Generator().manual_seed(1)
    given = family(torch.randn(7, dtype=torch.float64, generator=draw))
    with torch.no_grad():
        for parameter in given.parameters:
            parameter += torch.randn(parameter.shape, dtype=torch.float64, generator=draw)
    at, log_scale = given.parameters[:2]
    factor = given.parameters[2] if len(given.parameters) > 2 else torch.zeros(7, 1).double()
    covariance = torch.diag((2 * log_scale).exp()) + factor @ factor.T
    oracle = torch.distributions.MultivariateNormal(at.detach(), covariance.detach())
    z = torch.randn(4, 7, dtype=torch.float64, generator=draw).requires_grad_()
    value, gradient = given.density(z)
    torch.testing.assert_close(value, oracle.log_prob(z))
    (truth,) = torch.autograd.grad(oracle.log_prob(z).sum(), z)
    torch.testing.assert_close(gradient, truth)
    drawn = given.draw(4000, draw).detach()
    torch.testing.assert_close(drawn.T.cov(), covariance.detach(), rtol=0.2, atol=1.0)


# -- guides --------------------------------------------------------------------------------------


def test_a_guide_of_ones_own_is_fitted_and_keeps_its_parameters():
    spec = random_spec(5, 3, 2)
    counts, start = sampled(spec, 100), random_mixture(spec, 0)
    program = to_pyro(start, prior=2.0)
    guide = AutoDelta(program, init_loc_fn=init_loc_fn(start))
    found = svi(counts, start, prior=flat_prior(spec, 1.0), guide=guide, num_steps=30)
    assert found.point
    fitted = guide(counts=counts)["theta[U]"]
    torch.testing.assert_close(fitted, found.mixtures.weights[0])


def test_a_guide_may_be_a_function():
    spec = MixtureSpec.from_parents({"X": "ab"}, {}, 1)
    counts = weighted(spec, torch.tensor([[0], [1]]), torch.tensor([30.0, 10.0]))

    def guide(counts=None):
        a = pyro.param("a", torch.ones(1, 2).double(), constraint=dist.constraints.positive)
        pyro.sample("theta[X]", dist.Dirichlet(a).to_event(1))
        pyro.sample("theta[U]", dist.Delta(torch.ones(1).double(), event_dim=1))

    found = svi(
        counts, random_mixture(spec, 0), prior=flat_prior(spec), guide=lambda program: guide,
        num_steps=400, learning_rate=0.2, num_particles=2,
    )  # fmt: skip
    assert float(found.mixtures.cpts[0][:, 0, 0].mean()) == pytest.approx(31 / 42, abs=0.02)


def test_a_guide_that_leaves_a_table_out_is_refused():
    spec = MixtureSpec.from_parents({"X": "ab", "Y": "ab"}, {}, 1)
    counts = weighted(spec, torch.tensor([[0, 0], [1, 0]]), torch.tensor([3.0, 1.0]))

    def guide(counts=None):
        pyro.sample("theta[X]", dist.Dirichlet(torch.ones(1, 2).double()).to_event(1))

    with (
        pytest.warns(UserWarning, match="not guide"),
        pytest.raises(px.QueryError, match=r"theta\[U\].*theta\[Y\]"),
    ):
        svi(
            counts, random_mixture(spec, 0), prior=flat_prior(spec), guide=lambda program: guide,
            num_steps=1,
        )  # fmt: skip


def test_unknown_guides_are_refused():
    spec = random_spec(5, 3, 2)
    arguments = sampled(spec, 5), random_mixture(spec, 0)
    with pytest.raises(px.QueryError, match="did you mean 'normal'"):
        svi(*arguments, prior=flat_prior(spec), guide="norml")
    with pytest.raises(px.QueryError, match="wrap it"):
        svi(*arguments, prior=flat_prior(spec), guide=lambda program: 3)
    with pytest.raises(px.QueryError, match="learning_rate"):
        svi(*arguments, prior=flat_prior(spec), learning_rate=0.0)
    with pytest.raises(px.QueryError, match="batch_size"):
        svi(*arguments, prior=flat_prior(spec), batch_size=0)


# -- mini-batches --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 7, 20])
def test_parts_are_the_table_in_the_mean(size):
    counts = sampled(random_spec(5, 4, 2), 300)
    parts = _parts(counts, size, torch.Generator().manual_seed(0))
    total = torch.zeros(*counts.spec.cards, dtype=torch.float64)
    for part in parts:
        assert len(part.rows) <= size
        total.index_put_(tuple(part.rows.long().T), part.weights, accumulate=True)
    truth = torch.zeros_like(total)
    truth[tuple(counts.rows.long().T)] = counts.weights
    torch.testing.assert_close(total / len(parts), truth)


def test_heavy_patterns_are_in_every_part():
    spec = MixtureSpec.from_parents({"X": "abcdef"}, {}, 1)
    rows = torch.arange(6)[:, None]
    counts = weighted(spec, rows, torch.tensor([1.0, 500.0, 1.0, 1.0, 1.0, 400.0]))
    for part in _parts(counts, 3, torch.Generator().manual_seed(0)):
        assert part.rows[:2].flatten().tolist() == [1, 5]
        assert part.weights[:2].tolist() == [500.0, 400.0]
        assert part.weights[2:].tolist() == [4.0]


def test_mini_batches_end_where_the_whole_table_does(fit):
    found = svi(
        fit.counts, fit.mixture, prior=fit.prior, guide="delta", num_steps=800, batch_size=20
    )
    assert float((free(found.mixtures[0]) - free(fit.mixture)).abs().max()) < 0.02


# -- a fit ---------------------------------------------------------------------------------------


def test_a_point_guide_gives_a_fit_and_the_others_draws(fit):
    point = quiet(fit.refine, method="svi", guide="delta", num_steps=50)
    assert point.sampled is None
    assert point.log_likelihood == pytest.approx(fit.log_likelihood, abs=0.5)
    assert len(point.diagnostics.elbo) == 50
    spread = quiet(fit.refine, method="svi", num_steps=50, num_samples=30)
    assert spread.mixture is fit.mixture
    assert spread.draws.batch_shape == (30,)
    assert len(spread.diagnostics.elbo) == 50
    assert spread.diagnostics.sampling == ()


def test_a_saved_fit_keeps_the_bound(fit, tmp_path):
    found = quiet(fit.refine, method="svi", num_steps=20, num_samples=5)
    found.save(tmp_path / "fit.pyromix")
    assert px.load(tmp_path / "fit.pyromix").diagnostics == found.diagnostics


def test_a_bound_that_still_rises_is_warned_of(fit):
    far = px.random_mixture(fit.spec, 5)
    from dataclasses import replace

    with pytest.warns(px.SamplingWarning, match="still rose"):
        replace(fit, mixture=far).refine(method="svi", guide="delta", num_steps=20)


def test_a_bound_that_is_not_finite_is_an_error():
    spec = random_spec(5, 3, 2)
    with pytest.raises(px.RefinementError, match="lower learning_rate"):
        svi(
            sampled(spec, 50), random_mixture(spec, 0), prior=flat_prior(spec), num_steps=50,
            learning_rate=1e6,
        )  # fmt: skip


def test_svi_leaves_no_trace():
    spec = random_spec(5, 3, 2)
    footprint = Footprint()
    svi(
        sampled(spec, 50), random_mixture(spec, 0), prior=flat_prior(spec), num_steps=3,
        num_samples=3,
    )  # fmt: skip
    footprint.check()


def test_a_seed_repeats_whatever_the_global_one():
    spec = random_spec(5, 3, 2)
    counts, start = sampled(spec, 50), random_mixture(spec, 0)
    runs = []
    for seed, state in ((1, 0), (2, 0), (1, 1)):
        pyro.set_rng_seed(seed)
        found = svi(
            counts, start, prior=flat_prior(spec), num_steps=5, num_samples=3, random_state=state
        )
        runs.append(free(found.mixtures))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_progress_is_silent_off_a_terminal(capfd):
    spec = random_spec(5, 3, 2)
    arguments = sampled(spec, 50), random_mixture(spec, 0)
    svi(*arguments, prior=flat_prior(spec), num_steps=3, num_samples=2)
    assert capfd.readouterr().err == ""
    svi(*arguments, prior=flat_prior(spec), num_steps=3, num_samples=2, show_progress=True)
    assert "SVI" in capfd.readouterr().err


def test_quadrature_itself_is_right():
    """Beta moments on the grid that the other tests trust."""
    x = ((torch.arange(400, dtype=torch.float64) + 0.5) / 400)[:, None]
    found = expectation(4 * x[:, 0].log() + 2 * (1 - x[:, 0]).log(), x)
    assert float(found) == pytest.approx(5 / 8, abs=1e-4)
    assert PseudoCounts.of(MixtureSpec.from_parents({"X": "ab"}, {}, 1), None).is_zero
