"""k-MixProd from moments: exact statistics in, exact mixture out, and what is refused."""

from __future__ import annotations

import pytest
import torch
from helpers import distance_up_to_relabelling

import pyromix as px
from pyromix.identify.product.hadamard import hadamard_extension, multilinear_moments
from pyromix.identify.product.pencil import two_slice_pencil
from pyromix.identify.product.solver import identify_product, identify_tables
from pyromix.model.status import Status


def products(n: int, k: int, card: int = 2) -> px.MixtureSpec:
    """Variables without edges."""
    return px.MixtureSpec.from_parents({f"V{i:02}": tuple(range(card)) for i in range(n)}, {}, k)


def distance(solution, truth: px.BayesNetMixture) -> float:
    weights = solution.weights.reshape(truth.weights.shape)
    tables = [t.reshape(c.shape) for t, c in zip(solution.tables, truth.cpts, strict=True)]
    return distance_up_to_relabelling(truth, px.BayesNetMixture(truth.spec, weights, tuple(tables)))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("k", "n", "card"), [(2, 3, 2), (3, 5, 2), (4, 7, 2), (5, 9, 2), (3, 4, 3)]
)
def test_exact_moments_give_the_mixture_back(k, n, card, seed):
    truth = px.random_mixture(products(n, k, card), seed, separation=0.8 / (k - 1))
    solution = identify_product(px.population(truth), k)
    assert bool((solution.status == Status.OK).all())
    assert distance(solution, truth) < 1e-11  # E3 asks for 1e-12 on its own, better spread, rows


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_two_slice_pencil_on_the_rows_of_the_theory_manual(k):
    """E3: rows are permutations of (j + 1/2) / k, n = 2k - 1."""
    generator = torch.Generator().manual_seed(k)
    n = 2 * k - 1
    points = (torch.arange(k, dtype=torch.float64) + 0.5) / k
    rows = [points[torch.randperm(k, generator=generator)] for _ in range(n)]
    tables = tuple(torch.stack([1 - row, row], -1) for row in rows)
    weights = torch.arange(1, k + 1, dtype=torch.float64) / (k * (k + 1) / 2)
    truth = px.BayesNetMixture(products(n, k), weights, tables)
    moments = multilinear_moments(truth.joint_table().flatten())
    left, right = tuple(range(k - 1)), tuple(range(k - 1, 2 * k - 2))
    solution = two_slice_pencil(moments, k, left, right, n - 1)
    order = solution.weights.argsort()
    torch.testing.assert_close(solution.weights[order], weights, rtol=0, atol=1e-11)


def test_stacked_tables_are_solved_as_one_by_one():
    truth = px.random_mixture(products(3, 2, 3), 0, separation=0.6, batch_shape=(2, 3))
    stacked = identify_tables(truth.joint_table(), 2)
    assert stacked.weights.shape == (2, 3, 2)
    for i in range(2):
        for j in range(3):
            single = px.BayesNetMixture(
                truth.spec, truth.weights[i, j], tuple(c[i, j] for c in truth.cpts)
            )
            found = px.BayesNetMixture(
                truth.spec, stacked.weights[i, j], tuple(t[i, j] for t in stacked.tables)
            )
            assert distance_up_to_relabelling(single, found) < 1e-11


def test_equal_sources_are_not_passed_off_as_two():
    """E5: identical columns have rank k - 1."""
    truth = px.random_mixture(products(5, 2), 0, separation=0.6)
    same = px.BayesNetMixture(
        truth.spec, truth.weights, tuple(c[:1].expand_as(c).clone() for c in truth.cpts)
    )
    solution = identify_product(px.population(same), 2)
    assert not bool((solution.status == Status.OK).any())


def test_goodmans_four_items_with_three_classes_are_refused():
    """E7: 15 moments, 14 parameters, Jacobian rank 13."""
    truth = px.random_mixture(products(4, 3), 0, separation=0.35)
    solution = identify_product(px.population(truth), 3)
    assert bool((solution.status == Status.TOO_MANY_SOURCES).all())


def test_thirty_variables_are_recovered_from_rows():
    truth = px.random_mixture(products(30, 3), 1, separation=0.4)
    counts = px.Counts.from_codes(truth.spec, px.exact.sampling.sample(truth, 20_000)[0])
    # largest table error over seeds 0..4: 0.009 to 0.019
    assert distance(identify_product(counts, 3), truth) < 0.03


def test_hadamard_extension_is_the_joint_law_within_a_source():
    truth = px.random_mixture(products(3, 2, 3), 0)
    extended = hadamard_extension(truth.cpts)
    joint = truth.joint_table(with_source=True) / truth.weights.reshape(2, 1, 1, 1)
    torch.testing.assert_close(extended, joint.flatten(1), rtol=0, atol=1e-15)
