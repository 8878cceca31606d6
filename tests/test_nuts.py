"""NUTS: its potential against Pyro's program and EM's objective, and its draws against Gibbs."""

from __future__ import annotations

import pyro
import pytest
import torch
from helpers import random_spec
from network_cases import fixed_chain, rows_of
from posterior_cases import (
    Footprint,
    expanded,
    flat_prior,
    free,
    invariants,
    invariants_by_quadrature,
    sampled,
    squares,
    standard_errors,
    two_sources_of_one_bit,
    weighted,
    z_scores,
)
from pyro.infer.mcmc.util import initialize_model

import pyromix as px
from pyromix.bridges.pyro import to_pyro
from pyromix.estimate.em import climb
from pyromix.estimate.starts import batch_of
from pyromix.estimate.step import EMMap, Point
from pyromix.exact.rows import CellIndex
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec
from pyromix.posterior.draws import assessed
from pyromix.posterior.gibbs import gibbs
from pyromix.posterior.log_ratio import LogPosterior, LogRatios, helmert
from pyromix.posterior.nuts import Potential, nuts
from pyromix.posterior.svi import site_concentrations

FAR = 4.5
"""Monte Carlo errors: two-sided 7e-6 for each of some dozens of comparisons."""


def density(counts, amount=None):
    spec = counts.spec
    index = CellIndex(spec, counts.rows)
    prior = flat_prior(spec, amount)
    ratios = LogRatios(spec, counts.rows.device)
    return LogPosterior(ratios, index, counts.weights, prior.concentrations)


# -- coordinates ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_basis_is_orthonormal_and_orthogonal_to_ones(n):
    basis = helmert(n)
    torch.testing.assert_close(basis.T @ basis, torch.eye(n - 1, dtype=torch.float64))
    assert float(basis.sum(0).abs().sum()) < 1e-12


@pytest.mark.parametrize("k", [1, 3])
def test_coordinates_go_there_and_back(k):
    spec = random_spec(3, 5, k, uninfluenced=True)
    mixtures = random_mixture(spec, 0, batch_shape=(4,))
    ratios = LogRatios(spec, mixtures.device)
    z = ratios.of(mixtures)
    assert z.shape == (4, spec.n_parameters)
    torch.testing.assert_close(free(ratios.mixtures(z)), free(mixtures), rtol=0, atol=1e-12)


# -- potential -----------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_gradient_is_the_derivative(missing):
    spec = random_spec(3, 4, 2, uninfluenced=True)
    one = density(sampled(spec, 60, missing=missing), 0.5)
    z = one.coordinates.of(random_mixture(spec, 0, batch_shape=(2,)))
    _, gradient = one(z)
    steps = 1e-5 * torch.eye(z.shape[1], dtype=z.dtype)
    for i, at in enumerate(z):
        ahead, _ = one(at + steps)
        behind, _ = one(at - steps)
        torch.testing.assert_close((ahead - behind) / 2e-5, gradient[i], rtol=1e-6, atol=1e-5)


def test_the_density_is_the_objective_of_em_and_the_jacobian():
    """In coordinates: objective + sum of log p, each shared row once."""
    spec = random_spec(3, 4, 2, uninfluenced=True)
    counts = sampled(spec, 60, missing=0.2)
    mixtures = random_mixture(spec, 0, batch_shape=(3,))
    prior = flat_prior(spec, 0.7)
    em = EMMap(spec, CellIndex(spec, counts.rows), counts.weights, prior)
    jacobian = mixtures.weights.log().sum(-1)
    for v, cpt in enumerate(mixtures.cpts):
        own = cpt[:, :1] if v in spec.uninfluenced else cpt
        jacobian = jacobian + own.log().flatten(1).sum(-1)
    one = density(counts, 0.7)
    value, _ = one(one.coordinates.of(mixtures))
    truth = em(Point.of(mixtures)).objective + jacobian
    torch.testing.assert_close(value, truth, rtol=0, atol=1e-8)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_potential_is_that_of_the_pyro_program(missing):
    """Coordinates differ, so Jacobians do: with these taken off, and up to one constant."""
    spec = random_spec(8, 4, 2, uninfluenced=True)
    counts = sampled(spec, 60, missing=missing)
    mixtures = random_mixture(spec, 0, batch_shape=(4,))
    one = density(counts, 0.5)
    named = site_concentrations(spec, one.concentrations)
    program = to_pyro(mixtures[0], prior=named)
    _, potential, transforms, _ = initialize_model(
        program, (), {"counts": counts}, max_plate_nesting=0
    )
    values, _ = one(one.coordinates.of(mixtures))
    gaps = []
    for i, value in enumerate(values):
        theirs, ours = {}, -value
        tables = {"U": mixtures.weights[i]}
        for v, name in enumerate(spec.variables):
            cpt = mixtures.cpts[v][i]
            tables[name] = cpt[0] if v in spec.uninfluenced else cpt
        for name, table in tables.items():
            to_free = transforms[f"theta[{name}]"]
            theirs[f"theta[{name}]"] = to_free(table)
            # theirs = -log p - log |d p / d theirs|; ours = -log p - sum of log p
            ours = ours + table.log().sum()
            ours = ours + to_free.log_abs_det_jacobian(table, to_free(table)).sum()
        gaps.append(float(ours - potential(theirs)))
    assert gaps == pytest.approx([gaps[0]] * 4, abs=1e-8)


def test_the_potential_of_patterns_is_that_of_rows():
    spec = random_spec(3, 4, 2, uninfluenced=True)
    counts = sampled(spec, 60, missing=0.2)
    z = LogRatios(spec, counts.rows.device).of(random_mixture(spec, 0, batch_shape=(3,)))
    (left, first), (right, second) = (density(c, 0.5)(z) for c in (counts, expanded(counts)))
    torch.testing.assert_close(left, right, rtol=0, atol=1e-8)
    torch.testing.assert_close(first, second, rtol=0, atol=1e-8)


def test_the_objective_of_em_on_patterns_is_that_on_rows():
    spec = random_spec(3, 4, 2, uninfluenced=True)
    counts = sampled(spec, 60, missing=0.2)
    start = batch_of(random_mixture(spec, 0))
    one, other = (
        climb(table, start, prior=0.5, max_iter=20, check_saddle=False)
        for table in (counts, expanded(counts))
    )
    assert one.objective == pytest.approx(other.objective, abs=1e-8)


def test_the_curvature_is_that_of_the_likelihood():
    spec = random_spec(3, 3, 2)
    counts = sampled(spec, 200)
    one = density(counts, 1.0)
    (z,) = one.coordinates.of(batch_of(random_mixture(spec, 0)))

    def value(at):
        point, logs = one.coordinates.point(at[None])
        mixture = (point.weights, one.coordinates.axis.unstack(point.table))
        joint = px.exact.likelihood.log_joint(mixture, one.index).logsumexp(-1)
        prior = (one._prior_cells * logs.table).sum() + logs.weights @ one.concentrations.weights
        return (joint @ counts.weights + prior).sum()

    truth = -torch.autograd.functional.hessian(value, z)
    torch.testing.assert_close(one.curvature(z), truth, rtol=1e-5, atol=1e-5)


def test_turned_coordinates_are_standard_at_the_mode():
    spec = random_spec(3, 3, 2)
    counts = sampled(spec, 500)
    potential = Potential.at_mode(counts, random_mixture(spec, 0), flat_prior(spec, 1.0))
    x = torch.zeros(spec.n_parameters, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(potential({"z": x}), x)
    assert float(gradient.abs().max()) < 1e-2
    turned = potential.turn.T @ potential.density.curvature(potential.centre) @ potential.turn
    torch.testing.assert_close(turned, torch.eye(len(x), dtype=x.dtype), rtol=0, atol=1e-6)


# -- draws ---------------------------------------------------------------------------------------


def test_one_source_has_the_dirichlet_posterior():
    spec = MixtureSpec.from_parents({"X": "ab", "Y": "abc"}, {"Y": ["X"]}, 1)
    rows = torch.tensor([[0, 0], [0, 1], [0, 2], [1, 0], [1, 2]])
    counts = weighted(spec, rows, torch.tensor([8.0, 3.0, 1.0, 2.0, 9.0]))
    found = nuts(
        counts, random_mixture(spec, 0), prior=flat_prior(spec, 0.5), num_samples=250,
        warmup_steps=60, num_chains=1,
    )  # fmt: skip
    n = torch.tensor([[[8.0, 3.0, 1.0], [2.0, 0.0, 9.0]]], dtype=torch.float64) + 1.5
    mean = n / n.sum(-1, keepdim=True)
    variance = mean * (1 - mean) / (n.sum(-1, keepdim=True) + 1)
    series = found.mixtures.cpts[1].flatten(2)
    assert float(z_scores(series, mean.flatten()).max()) < FAR
    assert float(z_scores(squares(series), variance.flatten()).max()) < FAR
    assert found.mixtures.weights.dtype == torch.float64


def test_two_patterns_and_two_sources_agree_with_quadrature():
    counts, prior = two_sources_of_one_bit()
    found = nuts(
        counts, random_mixture(counts.spec, 1), prior=prior, num_samples=250, warmup_steps=80,
        num_chains=1,
    )  # fmt: skip
    truth = invariants_by_quadrature(counts, prior)
    assert float(z_scores(invariants(found), truth).max()) < FAR


def test_fractional_weights_are_exponents():
    """k = 1: Dirichlet(n + c + 1) with fractional n."""
    spec = MixtureSpec.from_parents({"X": "ab"}, {}, 1)
    counts = weighted(spec, torch.tensor([[0], [1]]), torch.tensor([1.0, 2.5]))
    found = nuts(
        counts, random_mixture(spec, 0), prior=flat_prior(spec), num_samples=200, warmup_steps=50,
        num_chains=1,
    )  # fmt: skip
    mean = torch.tensor([2.0, 3.5], dtype=torch.float64) / 5.5
    assert float(z_scores(found.mixtures.cpts[0][..., 0, :], mean).max()) < FAR


def test_nuts_and_gibbs_agree_on_a_certified_network():
    truth = fixed_chain()
    counts = rows_of(truth, 1500)
    prior = flat_prior(truth.spec, 1.0)
    one = nuts(counts, truth, prior=prior, num_samples=160, warmup_steps=60, num_chains=1)
    other = gibbs(counts, truth, prior=prior, num_samples=2000)
    assert assessed(one, "nuts").r_hat < 1.1
    for change in (lambda x: x, squares):
        (left, first), (right, second) = (
            standard_errors(change(free(p.mixtures))) for p in (one, other)
        )
        gap = (left - right).abs() / (first**2 + second**2).sqrt()
        assert float(gap.max()) < FAR


def test_nuts_leaves_no_trace():
    spec = random_spec(5, 3, 2)
    footprint = Footprint()
    nuts(
        sampled(spec, 50), random_mixture(spec, 0), prior=flat_prior(spec), num_samples=5,
        warmup_steps=5, num_chains=2,
    )  # fmt: skip
    footprint.check()


def test_a_seed_repeats_whatever_the_global_one():
    spec = random_spec(5, 3, 2)
    counts, start = sampled(spec, 50), random_mixture(spec, 0)
    runs = []
    for seed, state in ((1, 0), (2, 0), (1, 1)):
        pyro.set_rng_seed(seed)
        found = nuts(
            counts, start, prior=flat_prior(spec), num_samples=4, warmup_steps=4, num_chains=1,
            random_state=state,
        )  # fmt: skip
        runs.append(free(found.mixtures))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_numbers_out_of_range_are_refused():
    spec = random_spec(5, 3, 2)
    arguments = sampled(spec, 5), random_mixture(spec, 0)
    with pytest.raises(px.QueryError, match="target_accept_prob"):
        nuts(*arguments, prior=flat_prior(spec), target_accept_prob=1.0)
    with pytest.raises(px.QueryError, match="max_tree_depth"):
        nuts(*arguments, prior=flat_prior(spec), max_tree_depth=0)


def test_density_and_coordinates_keep_the_device():
    spec = random_spec(8, 5, 3, uninfluenced=True)
    counts = sampled(spec, 50, missing=0.2)
    with torch.device("meta"):  # a factory call that names no device would fail
        one = density(counts, 0.5)
        z = one.coordinates.of(random_mixture(spec, 0, batch_shape=(2,)))
        one(z)
        one.curvature(z[0])
        potential = Potential.at_mode(counts, random_mixture(spec, 0), flat_prior(spec).to("cpu"))
    assert potential.centre.device == torch.device("cpu")
