"""Matching of sources against a search over all permutations with costs in plain loops."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from helpers import BATCH_SHAPES, Oracle, random_spec, structures
from hypothesis import given, settings
from hypothesis import strategies as st

from pyromix.errors import SpecError
from pyromix.model.match import best_assignments, canonical_order, match_costs, match_sources
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec


def polytree():
    """A graph in which the parents of a vertex are independent within each source."""
    states = {"A": ("0", "1"), "B": ("0", "1", "2"), "C": ("0", "1"), "D": ("0", "1", "2")}
    return MixtureSpec.from_parents(states, {"C": ["A", "B"], "D": ["C"]}, 3)


def exact_row_masses(mixture):
    """P(U, parents) of every CPT row, by the oracle."""
    oracle = Oracle(mixture)
    return [oracle.table([-1, *parents]) for parents in mixture.spec.parents]


def loop_cost(reference, mixture, order):
    """Cost of calling source ``order[i]`` of the mixture source i of the reference."""
    spec, masses = reference.spec, exact_row_masses(reference)
    terms = []
    for i, j in enumerate(order):
        terms.append(abs(float(reference.weights[i] - mixture.weights[j])))
        for v, parents in enumerate(spec.parents):
            for row in itertools.product(*(range(spec.cards[p]) for p in parents)):
                use = float(masses[v][(i, *row)]) / float(reference.weights[i])
                gaps = reference.cpts[v][(i, *row)] - mixture.cpts[v][(j, *row)]
                terms.append(use * float(gaps.abs().sum()) / 2)
    return math.fsum(terms)


@settings(max_examples=50, deadline=None)
@given(structures(), st.integers(0, 2**31))
def test_a_relabelled_mixture_is_brought_back(structure, seed):
    spec = random_spec(**structure)
    mixture = random_mixture(spec, seed)
    order = torch.randperm(spec.n_sources, generator=torch.Generator().manual_seed(seed))
    other = mixture.relabel(order)
    back = other.relabel(match_sources(mixture, other))
    assert torch.equal(back.weights, mixture.weights)
    assert all(torch.equal(a, b) for a, b in zip(back.cpts, mixture.cpts, strict=True))
    assert match_costs(mixture, other)[0] == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_best_and_second_best_are_those_of_all_permutations(seed):
    spec = polytree()
    one, other = random_mixture(spec, seed), random_mixture(spec, seed + 100)
    costs = sorted((loop_cost(one, other, p), p) for p in itertools.permutations(range(3)))
    best, second = match_costs(one, other)
    assert tuple(match_sources(one, other).tolist()) == costs[0][1]
    assert float(best) == pytest.approx(costs[0][0], rel=1e-12)
    assert float(second) == pytest.approx(costs[1][0], rel=1e-12)


def test_given_row_masses_take_the_place_of_independent_parents():
    spec = random_spec(12, 5, 3, edge_probability=0.9)
    one, other = random_mixture(spec, 0), random_mixture(spec, 1)
    best, _ = match_costs(one, other, row_masses=exact_row_masses(one))
    order = match_sources(one, other, row_masses=exact_row_masses(one))
    assert float(best) == pytest.approx(loop_cost(one, other, order.tolist()), rel=1e-12)


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
@pytest.mark.parametrize("batched_reference", [False, True])
def test_batching_commutes_with_looping(batch_shape, batched_reference):
    spec = random_spec(3, 4, 4)
    mixture = random_mixture(spec, 1, batch_shape=batch_shape)
    reference = random_mixture(spec, 2, batch_shape=batch_shape if batched_reference else ())
    orders, (best, second) = match_sources(reference, mixture), match_costs(reference, mixture)
    assert orders.shape == (*batch_shape, 4)
    assert best.shape == second.shape == batch_shape
    for index in itertools.product(*map(range, batch_shape)):
        one, target = (
            BayesNetMixture(spec, m.weights[i], tuple(c[i] for c in m.cpts))
            for m, i in ((mixture, index), (reference, index if batched_reference else ()))
        )
        assert torch.equal(orders[index], match_sources(target, one))
        assert float(best[index]) == pytest.approx(float(match_costs(target, one)[0]), rel=1e-12)


def test_one_source_has_no_second_best():
    spec = random_spec(3, 4, 1)
    best, second = match_costs(random_mixture(spec, 0), random_mixture(spec, 1))
    assert math.isfinite(best)
    assert second == math.inf


def test_equal_sources_make_the_matching_ambiguous():
    spec = random_spec(3, 4, 3)
    mixture = random_mixture(spec, 0)
    twice = BayesNetMixture(
        spec,
        torch.tensor([0.3, 0.3, 0.4], dtype=torch.float64),
        tuple(torch.stack([c[0], c[0], c[2]]) for c in mixture.cpts),
    )
    best, second = match_costs(twice, twice)
    assert float(best) == float(second) == 0.0


def test_mixtures_of_other_sizes_or_batches_cannot_be_matched():
    spec = random_spec(3, 4, 2)
    with pytest.raises(SpecError, match="with 2 sources and 4 with 3"):
        match_sources(random_mixture(spec, 0), random_mixture(spec.with_n_sources(3), 0))
    with pytest.raises(SpecError, match=r"those of the mixture \(3,\), found \(2,\)"):
        match_sources(
            random_mixture(spec, 0, batch_shape=(2,)), random_mixture(spec, 0, batch_shape=(3,))
        )


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_canonical_order_forgets_the_labels(order):
    mixture = random_mixture(random_spec(3, 4, 3), 5)
    first, second = (m.relabel(canonical_order(m)) for m in (mixture, mixture.relabel(order)))
    assert bool((first.weights.diff() <= 0).all())
    assert torch.equal(first.weights, second.weights)
    assert all(torch.equal(a, b) for a, b in zip(first.cpts, second.cpts, strict=True))


def test_sources_of_equal_weight_are_ordered_by_their_tables():
    spec = random_spec(3, 4, 3)
    cpts = random_mixture(spec, 5).cpts
    weights = torch.tensor([1 / 3 + 1e-13, 1 / 3 - 1e-13, 1 / 3], dtype=torch.float64)
    mixture = BayesNetMixture(spec, weights, cpts)
    first = mixture.relabel(canonical_order(mixture)).cpts[0][:, 0]
    assert bool((first.diff() > 0).all())


def test_the_device_of_the_tensors_is_kept():
    spec = random_spec(3, 4, 3)
    one, other = random_mixture(spec, 0), random_mixture(spec, 1, batch_shape=(2,))
    with torch.device("meta"):  # a factory call that names no device would fail
        devices = {match_sources(one, other).device, canonical_order(one).device}
        devices |= {cost.device for cost in match_costs(one, other)}
    assert devices == {torch.device("cpu")}


@pytest.mark.parametrize("k", [1, 3, 5, 6])
def test_assignments_are_the_two_cheapest_that_a_search_through_all_finds(k):
    """The runner-up differs in a pair: that is every other permutation."""
    generator = torch.Generator().manual_seed(k)
    costs = torch.rand(2, 3, k, k, generator=generator, dtype=torch.float64)
    orders, best, second = best_assignments(costs, second=True)
    for index in itertools.product(range(2), range(3)):
        table = costs[index].tolist()
        found = sorted(
            (sum(table[u][p[u]] for u in range(k)), p) for p in itertools.permutations(range(k))
        )
        assert tuple(orders[index].tolist()) == found[0][1]
        assert float(best[index]) == pytest.approx(found[0][0], abs=1e-12)
        runner_up = found[1][0] if k > 1 else math.inf
        assert float(second[index]) == pytest.approx(runner_up, abs=1e-12)
