"""Bayesian unzipping: what the children say is divided out, whatever the number of states."""

from __future__ import annotations

import itertools

import pytest
import torch
from boundary_cases import network
from helpers import BATCH_SHAPES, Oracle

import pyromix as px
from pyromix.identify.boundary.unzip import children_log_likelihood, unzip, unzipped_cpt

FAMILY = {"Y": ["P", "Q"], "C": ["Y", "P"], "D": ["S", "Y"], "E": ["D"]}
"""Y has two parents, a child that shares one of them, and a child with a parent of its own."""

CARDS = {"Y": 3, "P": 2, "Q": 3, "S": 3, "D": 2, "C": 4}


def distributions(*shape):
    table = torch.rand(*shape, dtype=torch.float64)
    return table / table.sum(-1, keepdim=True)


def given_boundary(mixture, vertex, boundary):
    """P_u(vertex | boundary) by sums over the joint table, boundary in the given order."""
    spec, oracle = mixture.spec, Oracle(mixture)
    table = torch.empty([spec.n_sources, *(spec.cards[v] for v in (*boundary, vertex))])
    table = table.to(torch.float64)
    for u, *states in itertools.product(
        range(spec.n_sources), *(range(spec.cards[v]) for v in boundary)
    ):
        evidence = {-1: u, **dict(zip(boundary, states, strict=True))}
        table[(u, *states)] = oracle.table([vertex], evidence=evidence)
    return table


@pytest.fixture
def case():
    """A mixture with its Y, the boundary of Y out of order, and P_u(Y | boundary)."""
    torch.manual_seed(0)
    spec = network(FAMILY, n_sources=2, cards=CARDS)
    mixture = px.random_mixture(spec, 1)
    y = spec.vertex("Y")
    boundary = tuple(sorted(spec.markov_boundary(y), reverse=True))
    return mixture, y, boundary, given_boundary(mixture, y, boundary)


@pytest.mark.parametrize("batch", BATCH_SHAPES)
def test_two_states_are_unzipped_by_the_formula_of_the_paper(batch):
    """THEORY section 4.4: r_b L_{1-b} / (r_b L_{1-b} + r_{1-b} L_b)."""
    torch.manual_seed(0)
    r, likelihood = distributions(*batch, 2), torch.rand(*batch, 2, dtype=torch.float64)
    expected = r * likelihood.flip(-1)
    expected = expected / (expected + expected.flip(-1))
    torch.testing.assert_close(unzip(r, likelihood.log()), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("card", [2, 3, 7])
def test_unzipping_undoes_the_multiplication_by_what_children_say(card):
    torch.manual_seed(1)
    prior, likelihood = distributions(5, card), torch.rand(5, card, dtype=torch.float64)
    r = prior * likelihood
    r = r / r.sum(-1, keepdim=True)
    torch.testing.assert_close(unzip(r, likelihood.log()), prior, rtol=0, atol=1e-14)


def test_likelihoods_too_small_for_numbers_are_divided_out_in_logarithms():
    prior = torch.tensor([0.2, 0.8], dtype=torch.float64)
    logs = torch.tensor([-1000.0, -1001.0], dtype=torch.float64)
    r = (prior.log() + logs).softmax(-1)
    torch.testing.assert_close(unzip(r, logs), prior, rtol=0, atol=1e-13)


def test_a_state_that_never_occurs_stays_impossible():
    r = torch.tensor([0.0, 0.25, 0.75], dtype=torch.float64)
    assert unzip(r, torch.zeros(3, dtype=torch.float64)).tolist() == pytest.approx(r.tolist())


def test_likelihood_of_the_children_is_the_product_of_their_cpts(case):
    mixture, y, boundary, _ = case
    spec, oracle = mixture.spec, Oracle(mixture)
    cpts = dict(enumerate(mixture.cpts))
    found = children_log_likelihood(spec, y, boundary, cpts)
    for u, *states in itertools.product(range(2), *(range(spec.cards[v]) for v in (*boundary, y))):
        x = dict(zip((*boundary, y), states, strict=True))
        x = [x.get(v, 0) for v in range(spec.n_variables)]
        expected = 1.0
        for child in spec.children[y]:
            expected *= oracle.factor(child, u, x)
        assert float(found[(u, *states)].exp()) == pytest.approx(expected, abs=1e-14)


def test_a_vertex_is_unzipped_to_its_cpt(case):
    mixture, y, boundary, table = case
    rows = torch.rand(table.shape[:-1], dtype=torch.float64)
    found = unzipped_cpt(mixture.spec, y, boundary, table, rows, dict(enumerate(mixture.cpts)))
    # largest error 2e-16 over seeds 0..9
    torch.testing.assert_close(found, mixture.cpts[y], rtol=0, atol=1e-14)


def test_one_assignment_of_the_children_is_enough(case):
    mixture, y, boundary, table = case
    spec = mixture.spec
    rows = torch.zeros(table.shape[:-1], dtype=torch.float64)
    at = [slice(None), *(slice(None) if v in spec.parents[y] else 1 for v in boundary)]
    rows[tuple(at)] = 1.0
    found = unzipped_cpt(spec, y, boundary, table, rows, dict(enumerate(mixture.cpts)))
    torch.testing.assert_close(found, mixture.cpts[y], rtol=0, atol=1e-14)


def test_a_clean_vertex_has_nothing_to_unzip(case):
    mixture, y, *_ = case
    parents = tuple(sorted(mixture.spec.parents[y], reverse=True))
    table = given_boundary(mixture, y, parents)
    rows = torch.ones(table.shape[:-1], dtype=torch.float64)
    found = unzipped_cpt(mixture.spec, y, parents, table, rows, {})
    torch.testing.assert_close(found, mixture.cpts[y], rtol=0, atol=1e-14)


def test_unknown_rows_of_a_child_cost_the_assignments_that_need_them(case):
    mixture, y, boundary, table = case
    spec = mixture.spec
    cpts = dict(enumerate(c.clone() for c in mixture.cpts))
    d = spec.vertex("D")
    cpts[d][:, 0, 1] = torch.nan  # S = 0: two other states of S are left
    rows = torch.ones(table.shape[:-1], dtype=torch.float64)
    found = unzipped_cpt(spec, y, boundary, table, rows, cpts)
    torch.testing.assert_close(found, mixture.cpts[y], rtol=0, atol=1e-14)
    cpts[d][:] = torch.nan
    assert bool(unzipped_cpt(spec, y, boundary, table, rows, cpts).isnan().all())


def test_a_row_without_runs_is_not_a_number_and_leaves_the_others(case):
    mixture, y, boundary, table = case
    spec = mixture.spec
    rows = torch.ones(table.shape[:-1], dtype=torch.float64)
    at = [slice(None) if v != spec.vertex("P") else 1 for v in boundary]
    rows[(0, *at)] = 0.0  # source 0, P = 1
    found = unzipped_cpt(spec, y, boundary, table, rows, dict(enumerate(mixture.cpts)))
    p = spec.parents[y].index(spec.vertex("P"))
    lost = found.movedim(1 + p, 1)[0, 1]
    assert bool(lost.isnan().all())
    assert int(found.isnan().sum()) == lost.numel()


def test_impossible_states_of_a_child_cost_only_the_assignments_that_have_them(case):
    """Structural zeros: r and L are zero together, and say nothing."""
    mixture, y, boundary, _ = case
    spec = mixture.spec
    c = spec.vertex("C")
    cpts = [t.clone() for t in mixture.cpts]
    cpts[c][..., 0] = 0.0
    cpts[c] = cpts[c] / cpts[c].sum(-1, keepdim=True)
    zeros = px.BayesNetMixture(spec, mixture.weights, tuple(cpts))
    kept = [s for s in range(spec.cards[c]) if s]
    table = torch.full(
        [2, *(spec.cards[v] for v in boundary), spec.cards[y]], 1 / 3, dtype=torch.float64
    )
    rows = torch.zeros(table.shape[:-1], dtype=torch.float64)
    oracle = Oracle(zeros)
    for u, *states in itertools.product(
        range(2), *(kept if v == c else range(spec.cards[v]) for v in boundary)
    ):
        evidence = {-1: u, **dict(zip(boundary, states, strict=True))}
        table[(u, *states)] = oracle.table([y], evidence=evidence)
        rows[(u, *states)] = 1.0
    found = unzipped_cpt(spec, y, boundary, table, rows + 1e-3, dict(enumerate(cpts)))
    torch.testing.assert_close(found, zeros.cpts[y], rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("shares", "expected"), [((0.5, 0.3, 0.2), 0.714), ((0.2, 0.3, 0.5), 0.286)]
)
def test_one_hot_bits_do_not_have_the_probabilities_of_the_states(shares, expected):
    """Slip S4: with d - 1 bits P(bit v = 1 | other bits = 0) is p_v / (p_v + p_last), not p_v.

    States are unzipped as states, without bits.
    """
    first, _, last = shares
    assert first / (first + last) == pytest.approx(expected, abs=1e-3)
    prior = torch.tensor(shares, dtype=torch.float64)
    logs = torch.tensor([0.1, 0.7, 0.2], dtype=torch.float64).log()
    found = unzip((prior.log() + logs).softmax(-1), logs)
    assert found.tolist() == pytest.approx(shares, abs=1e-15)


def test_estimates_are_weighed_by_rows_and_by_what_a_row_tells():
    """By loops: A -> Y -> C, a table that C's states do not agree on, rows of all sizes."""
    spec = px.MixtureSpec.from_parents(
        {"A": (0, 1), "Y": (0, 1, 2), "C": (0, 1)}, {"Y": ["A"], "C": ["Y"]}, 2
    )
    generator = torch.Generator().manual_seed(0)
    table = torch.rand(2, 2, 2, 3, generator=generator, dtype=torch.float64) + 0.05
    table = table / table.sum(-1, keepdim=True)
    rows = 100 * torch.rand(2, 2, 2, generator=generator, dtype=torch.float64)
    child = torch.rand(2, 3, 2, generator=generator, dtype=torch.float64) + 0.1
    child = child / child.sum(-1, keepdim=True)
    found = unzipped_cpt(spec, 1, (0, 2), table, rows, {2: child})
    for u, a in itertools.product(range(2), range(2)):
        total, sums = 0.0, [0.0, 0.0, 0.0]
        for c in range(2):
            r = table[u, a, c].tolist()
            divided = [r[y] / float(child[u, y, c]) for y in range(3)]
            weight = float(rows[u, a, c]) / sum(1 / x for x in r)
            total += weight
            for y in range(3):
                sums[y] += weight * divided[y] / sum(divided)
        assert found[u, a].tolist() == pytest.approx([s / total for s in sums], abs=1e-12)
