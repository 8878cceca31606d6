"""Gibbs: closed forms, quadrature, rows against patterns, missing cells, errors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers import random_spec
from network_cases import pooled_hard
from posterior_cases import (
    Footprint,
    expanded,
    expectation,
    flat_prior,
    free,
    grid,
    invariants,
    invariants_by_quadrature,
    sampled,
    squares,
    two_sources_of_one_bit,
    weighted,
    z_scores,
)

import pyromix as px
from pyromix.estimate.starts import batch_of
from pyromix.estimate.step import Point
from pyromix.exact.likelihood import expected_counts
from pyromix.model.prior import PseudoCounts
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec
from pyromix.posterior.gibbs import Sweep, gibbs
from pyromix.posterior.variates import multinomial

FAR = 4.5
"""Monte Carlo errors: two-sided 7e-6 for each of some dozens of comparisons."""


def test_one_source_has_the_dirichlet_posterior():
    """k = 1: every row of every table is Dirichlet(n + c + 1), mean and variance known."""
    spec = MixtureSpec.from_parents({"X": "ab", "Y": "abc"}, {"Y": ["X"]}, 1)
    rows = torch.tensor([[0, 0], [0, 1], [0, 2], [1, 0], [1, 2]])
    counts = weighted(spec, rows, torch.tensor([8.0, 3.0, 1.0, 2.0, 9.0]))
    found = gibbs(counts, random_mixture(spec, 0), prior=flat_prior(spec, 0.5), num_samples=2000)
    n = torch.tensor([[[8.0, 3.0, 1.0], [2.0, 0.0, 9.0]]], dtype=torch.float64) + 1.5
    mean = n / n.sum(-1, keepdim=True)
    variance = mean * (1 - mean) / (n.sum(-1, keepdim=True) + 1)
    series = found.mixtures.cpts[1].flatten(2)
    assert float(z_scores(series, mean.flatten()).max()) < FAR
    assert float(z_scores(squares(series), variance.flatten()).max()) < FAR


def test_two_patterns_and_two_sources_agree_with_quadrature():
    counts, prior = two_sources_of_one_bit()
    found = gibbs(counts, random_mixture(counts.spec, 1), prior=prior, num_samples=2500)
    truth = invariants_by_quadrature(counts, prior)
    assert float(z_scores(invariants(found), truth).max()) < FAR


def test_missing_parents_are_filled_in_as_quadrature_sums_them_out():
    """X -> Y, k = 1, X missing in most rows: the likelihood is P(Y) there."""
    spec = MixtureSpec.from_parents({"X": "ab", "Y": "ab"}, {"Y": ["X"]}, 1)
    rows = torch.tensor([[0, 0], [1, 1], [1, 0], [-1, 0], [-1, 1]])
    counts = weighted(spec, rows, torch.tensor([4.0, 3.0, 1.0, 12.0, 4.0]))
    found = gibbs(counts, random_mixture(spec, 0), prior=flat_prior(spec, 1.0), num_samples=2000)
    x, p, q = grid(3, 80).T  # P(X=a), P(Y=a | X=a), P(Y=a | X=b)
    y = x * p + (1 - x) * q
    density = 4 * (x * p).log() + 3 * ((1 - x) * (1 - q)).log() + ((1 - x) * q).log()
    density = density + 12 * y.log() + 4 * (1 - y).log()
    for one in (x, p, q):
        density = density + one.log() + (1 - one).log()
    truth = expectation(density, torch.stack([x, p, q, p * q, x * p], 1))
    a, b = found.mixtures.cpts[0][..., 0, 0], found.mixtures.cpts[1][..., 0, :, 0]
    series = torch.stack([a, b[..., 0], b[..., 1], b.prod(-1), a * b[..., 0]], -1)
    assert float(z_scores(series, truth).max()) < FAR


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_completed_rows_are_those_of_the_e_step_in_the_mean(missing):
    """At a fixed point: patterns, rows one by one, and expected counts are one conditional."""
    spec = random_spec(3, 4, 3, uninfluenced=True)
    counts = sampled(spec, 60, missing=missing)
    at = Point.of(batch_of(random_mixture(spec, 1)))
    many = Point(at.weights.expand(800, -1), at.table.expand(-1, 800, -1).contiguous())
    for table in (counts, expanded(counts)):
        sweep = Sweep.of(table, flat_prior(spec), spec)
        truth = expected_counts(at.weights, at.table, sweep.em.index, table.weights)
        drawn = sweep.complete(many, torch.Generator().manual_seed(0))
        assert drawn.log_likelihood.tolist() == pytest.approx(
            [float(truth.log_likelihood)] * 800, abs=1e-8
        )
        assert torch.equal(drawn.cells, drawn.cells.round())
        assert torch.equal(drawn.sources.sum(-1), table.weights.sum().expand(800))
        for mine, expected in ((drawn.sources, truth.sources), (drawn.cells, truth.cells)):
            mine = mine.movedim(-2, 0)
            expected = expected.squeeze(-2)
            error = (mine.var(0) / 800).sqrt().clamp_min(1e-9)
            assert float(((mine.mean(0) - expected) / error).abs().max()) < 5


def test_rows_and_patterns_have_the_same_log_likelihood_and_posterior():
    spec = random_spec(5, 3, 2)
    counts = sampled(spec, 40)
    start = random_mixture(spec, 0)
    one, other = (
        gibbs(table, start, prior=flat_prior(spec, 2.0), num_samples=1000, random_state=seed)
        for seed, table in enumerate((counts, expanded(counts)))
    )
    series = [p.mixtures.joint_table().flatten(2) for p in (one, other)]
    from posterior_cases import standard_errors

    (left, first), (right, second) = map(standard_errors, series)
    assert float(((left - right) / (first**2 + second**2).sqrt()).abs().max()) < FAR


def test_shared_tables_stay_shared_and_every_draw_is_a_mixture():
    spec = random_spec(3, 4, 3, uninfluenced=True)
    assert spec.uninfluenced
    counts = sampled(spec, 50, missing=0.2)
    found = gibbs(counts, random_mixture(spec, 0), prior=flat_prior(spec), num_samples=20)
    assert found.mixtures.batch_shape == found.log_likelihood.shape == (4, 20)
    for v in spec.uninfluenced:
        cpt = found.mixtures.cpts[v]
        assert torch.equal(cpt, cpt[:, :, :1].expand_as(cpt))


def test_the_log_likelihood_kept_is_that_of_the_draw():
    spec = random_spec(5, 3, 2)
    counts = sampled(spec, 50)
    found = gibbs(
        counts, random_mixture(spec, 0), prior=flat_prior(spec), num_samples=6, thinning=3
    )
    from pyromix.exact.likelihood import log_prob

    truth = log_prob(found.mixtures, counts.rows) @ counts.weights
    torch.testing.assert_close(found.log_likelihood, truth, rtol=0, atol=1e-8)


def test_a_seed_repeats_and_another_does_not():
    spec = random_spec(5, 3, 2)
    counts, start = sampled(spec, 50), random_mixture(spec, 0)
    runs = [
        free(gibbs(counts, start, prior=flat_prior(spec), num_samples=5, random_state=s).mixtures)
        for s in (0, 0, 1)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_gibbs_leaves_no_trace():
    spec = random_spec(5, 3, 2)
    footprint = Footprint()
    gibbs(sampled(spec, 50), random_mixture(spec, 0), prior=flat_prior(spec), num_samples=5)
    footprint.check()


def test_the_device_of_the_tensors_is_kept():
    spec = random_spec(8, 5, 3, uninfluenced=True)
    counts, start = sampled(spec, 50, missing=0.2), random_mixture(spec, 0)
    with torch.device("meta"):  # a factory call that names no device would fail
        found = gibbs(counts, start, prior=flat_prior(spec).to("cpu"), num_samples=5)
    assert found.mixtures.device == torch.device("cpu")


@pytest.mark.cuda
def test_cuda_draws_from_the_same_posterior():
    spec = random_spec(5, 3, 2, uninfluenced=True)
    counts, start = sampled(spec, 60, missing=0.1), random_mixture(spec, 0)
    here, there = (
        gibbs(
            counts.to(device), start.to(device), prior=flat_prior(spec, 1.0).to(device),
            num_samples=2000,
        )
        for device in ("cpu", "cuda")
    )  # fmt: skip
    assert there.mixtures.device.type == "cuda"
    from posterior_cases import standard_errors

    (left, first), (right, second) = (
        standard_errors(p.mixtures.to("cpu").joint_table().flatten(2)) for p in (here, there)
    )
    assert float(((left - right) / (first**2 + second**2).sqrt()).abs().max()) < FAR


def test_fractional_weights_are_refused_with_a_way_out():
    spec = MixtureSpec.from_parents({"X": "ab"}, {}, 1)
    counts = weighted(spec, torch.tensor([[0], [1]]), torch.tensor([1.0, 2.5]))
    with pytest.raises(px.DataError, match=r"found 1 of 2 patterns.*2\.5.*nuts.*bootstrap"):
        gibbs(counts, random_mixture(spec, 0), prior=flat_prior(spec))


def test_weights_are_taken_in_rows():
    spec = MixtureSpec.from_parents({"X": "ab"}, {}, 1)
    rows, weights = torch.tensor([[0], [1]]), torch.tensor([2.0, 6.0])
    counts = weighted(spec, rows, weights)
    light = replace(
        counts, weights=counts.weights / 128, report=replace(counts.report, row_weight=1 / 128)
    )
    one, other = (
        gibbs(c, random_mixture(spec, 0), prior=flat_prior(spec)) for c in (counts, light)
    )
    assert torch.equal(free(one.mixtures), free(other.mixtures))


@pytest.mark.parametrize(
    ("option", "value", "match"),
    [
        ("num_samples", 0, "num_samples must be an integer >= 4, found 0"),
        ("num_chains", 0, "num_chains"),
        ("thinning", 0, "thinning"),
        ("warmup_steps", -1, "warmup_steps"),
    ],
)
def test_numbers_out_of_range_are_refused(option, value, match):
    spec = random_spec(5, 3, 2)
    with pytest.raises(px.QueryError, match=match):
        gibbs(sampled(spec, 5), random_mixture(spec, 0), prior=flat_prior(spec), **{option: value})


def test_starts_that_do_not_fit_are_refused():
    spec = random_spec(5, 3, 2)
    counts = sampled(spec, 5)
    with pytest.raises(px.SpecError, match="batch"):
        gibbs(counts, random_mixture(spec, 0, batch_shape=(2,)), prior=flat_prior(spec))
    with pytest.raises(px.SpecError, match="with_spec"):
        gibbs(counts, random_mixture(random_spec(6, 4, 2), 0), prior=flat_prior(spec))


@pytest.mark.parametrize("m", [1, 2, 3, 5, 8])
def test_a_multinomial_draw_has_its_mean_and_variance(m):
    shares = torch.rand(m, dtype=torch.float64, generator=torch.Generator().manual_seed(m))
    shares[: m // 3] = 0.0
    counts = torch.tensor([0.0, 1.0, 7.0, 300.0], dtype=torch.float64)
    drawn = multinomial(
        counts.expand(20_000, 4), shares.expand(20_000, 4, m), torch.Generator().manual_seed(0)
    )
    assert torch.equal(drawn.sum(-1), counts.expand(20_000, 4))
    p = shares / shares.sum()
    truth, variance = counts[:, None] * p, counts[:, None] * p * (1 - p)
    error = (variance / 20_000).sqrt().clamp_min(1e-9)
    assert float(((drawn.mean(0) - truth) / error).abs().max()) < FAR
    assert drawn.var(0).flatten().tolist() == pytest.approx(
        variance.flatten().tolist(), rel=0.15, abs=1e-9
    )
    assert bool((drawn[..., p == 0] == 0).all())


def test_concentrations_are_pseudo_counts_plus_one():
    spec = random_spec(5, 3, 2)
    prior = PseudoCounts.of(spec, 0.5).concentrations
    assert all(bool((t == 1.5).all()) for t in (prior.weights, *prior.cpts))


def test_the_place_of_learned_pseudo_counts_is_drawn_too():
    """Sources told apart, a vertex they do not move, pooled hard: the binomial spread."""
    truth, counts, prior = pooled_hard()
    assert prior.learned[6] > 1e4
    options = {"num_samples": 250, "warmup_steps": 50, "num_chains": 2}
    draws = gibbs(counts, truth, prior=prior, **options).flat
    binomial = (0.21 / 2000) ** 0.5
    assert bool((abs(draws.cpts[6][:, :, 1].std(0) / binomial - 1) < 0.2).all())
    known = PseudoCounts(prior.weights, prior.cpts)
    narrow = gibbs(counts, truth, prior=known, **options).flat
    assert bool((narrow.cpts[6][:, :, 1].std(0) < 0.4 * binomial).all())
