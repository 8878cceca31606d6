"""BayesNetMixture and random_mixture against the enumeration oracle."""

from __future__ import annotations

import itertools

import pytest
import torch
from helpers import BATCH_SHAPES, Oracle, distance_up_to_relabelling, random_spec, structures
from hypothesis import given, settings
from hypothesis import strategies as st

from pyromix.errors import SpecError
from pyromix.model.mixture import BayesNetMixture, ProductMixture
from pyromix.model.randomness import random_mixture


@settings(max_examples=40, deadline=None)
@given(structures(), st.integers(0, 2**31))
def test_joint_table_is_the_product_of_the_factors(structure, seed):
    spec = random_spec(**structure)
    mixture = random_mixture(spec, seed)
    oracle, joint = Oracle(mixture), mixture.joint_table(with_source=True)
    assert joint.shape == (spec.n_sources, *spec.cards)
    for u, x in oracle.worlds():
        assert float(joint[(u, *x)]) == pytest.approx(oracle.prob(u, x), abs=1e-14)


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_joint_table_batching_commutes_with_looping(batch_shape):
    mixture = random_mixture(random_spec(3, 4, 2), 1, batch_shape=batch_shape)
    joint = mixture.joint_table()
    for index in itertools.product(*map(range, batch_shape)):
        one = BayesNetMixture(
            mixture.spec, mixture.weights[index], tuple(c[index] for c in mixture.cpts)
        )
        torch.testing.assert_close(joint[index], one.joint_table(), rtol=0, atol=1e-15)


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_relabelling_leaves_the_law_of_the_observed_variables(batch_shape):
    mixture = random_mixture(random_spec(5, 4, 3), 2, batch_shape=batch_shape)
    torch.testing.assert_close(
        mixture.relabel([2, 0, 1]).joint_table(), mixture.joint_table(), rtol=0, atol=1e-15
    )


def test_relabel_is_a_group_action():
    mixture = random_mixture(random_spec(7, 3, 3), 0)
    p, q = torch.tensor([2, 0, 1]), torch.tensor([1, 0, 2])
    twice, once = mixture.relabel(p).relabel(q), mixture.relabel(p[q])
    assert torch.equal(twice.weights, once.weights)
    assert all(torch.equal(a, b) for a, b in zip(twice.cpts, once.cpts, strict=True))
    assert distance_up_to_relabelling(mixture, twice) == 0.0


def test_relabel_takes_one_permutation_per_batch_element():
    mixture = random_mixture(random_spec(7, 3, 3), 0, batch_shape=(2,))
    orders = torch.tensor([[2, 0, 1], [0, 2, 1]])
    result = mixture.relabel(orders)
    for i in range(2):
        assert torch.equal(result[i].cpts[1], mixture[i].relabel(orders[i]).cpts[1])


def test_relabel_refuses_what_is_no_permutation():
    with pytest.raises(SpecError, match=r"permutation of 0\.\.2"):
        random_mixture(random_spec(7, 3, 3), 0).relabel([0, 0, 1])


@pytest.mark.parametrize(("k", "zeta"), [(2, 0.7), (3, 0.3), (10, 0.1)])
def test_separation_holds_in_every_row(k, zeta):
    mixture = random_mixture(random_spec(1, 5, k), 4, separation=zeta, batch_shape=(3,))
    for cpt in mixture.cpts:
        for i, j in itertools.combinations(range(k), 2):
            variation = (cpt[:, i] - cpt[:, j]).abs().sum(-1) / 2
            assert float(variation.min()) >= zeta - 1e-12


def test_separation_beyond_one_over_k_minus_one_is_refused():
    with pytest.raises(SpecError, match=r"\[0, 0\.5\]"):
        random_mixture(random_spec(1, 3, 3), 0, separation=0.6)


def test_same_seed_same_mixture():
    spec = random_spec(1, 4, 2)
    assert torch.equal(random_mixture(spec, 5).cpts[0], random_mixture(spec, 5).cpts[0])
    assert not torch.equal(random_mixture(spec, 5).cpts[0], random_mixture(spec, 6).cpts[0])


def test_rows_that_do_not_sum_to_one_are_refused():
    mixture = random_mixture(random_spec(1, 3, 2), 0)
    with pytest.raises(SpecError, match="sum to one"):
        BayesNetMixture(mixture.spec, mixture.weights, tuple(2 * c for c in mixture.cpts))


def test_wrong_shape_names_the_variable_and_both_shapes():
    mixture = random_mixture(random_spec(1, 3, 2), 0)
    bad = (mixture.cpts[0][..., :1], *mixture.cpts[1:])
    with pytest.raises(SpecError, match=mixture.spec.variables[0]):
        BayesNetMixture(mixture.spec, mixture.weights, bad)


def test_product_mixture_is_the_edgeless_network():
    spec = random_spec(1, 3, 2, edge_probability=0.0)
    mixture = random_mixture(spec, 0)
    product = ProductMixture(mixture.weights, mixture.cpts)
    assert torch.equal(product.as_bayes_net(spec).joint_table(), mixture.joint_table())
    with pytest.raises(SpecError, match="without edges"):
        product.as_bayes_net(random_spec(1, 3, 2, edge_probability=1.0))
