"""Projection onto the simplex and simplex least squares against scipy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from helpers import BATCH_SHAPES
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, nnls

from pyromix.identify.views import simplex
from pyromix.identify.views.pivoting import pivoted
from pyromix.identify.views.simplex import (
    project_to_simplex,
    simplex_least_squares,
    stochastic_least_squares,
    stochastic_tables,
)

CONDITIONS = [1.0, 1e3, 1e6]


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def design_of_condition(condition, k, rows=12, seed=0):
    """A random design whose singular values run from one down to 1 / condition."""
    left, _, right = torch.linalg.svd(normal(rows, k, seed=seed), full_matrices=False)
    return left * torch.logspace(0, -np.log10(condition), k, dtype=torch.float64) @ right


def nearest_by_bisection(point):
    """The projection by its definition: one shift for all entries, clipped, found by bisection."""
    low, high = min(point) - 1.0, max(point)
    for _ in range(200):
        middle = (low + high) / 2
        if sum(max(x - middle, 0.0) for x in point) > 1:
            low = middle
        else:
            high = middle
    return [max(x - high, 0.0) for x in point]


def weights_by_nnls(design, target):
    """|D w - p| over the simplex is non-negative least squares in the cone over the simplex."""
    cone = np.vstack([design - target[:, None], np.ones(design.shape[1])])
    solution, _ = nnls(cone, np.append(np.zeros(len(target)), 1.0))
    return solution / solution.sum()


def table_by_slsqp(design, targets):
    k, c = design.shape[1], targets.shape[1]

    def misfit(x):
        return ((design @ x.reshape(k, c) - targets) ** 2).sum()

    def slope(x):
        return (2 * design.T @ (design @ x.reshape(k, c) - targets)).ravel()

    result = minimize(
        misfit,
        np.full(k * c, 1 / c),
        jac=slope,
        method="SLSQP",
        bounds=[(0, 1)] * (k * c),
        constraints={"type": "eq", "fun": lambda x: x.reshape(k, c).sum(1) - 1},
        options={"maxiter": 1000, "ftol": 1e-15},
    )
    return result.x.reshape(k, c)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(0, 2**31), st.sampled_from([0.01, 1.0, 100.0]))
def test_projection_is_the_nearest_distribution(n, seed, scale):
    point = normal(n, seed=seed) * scale
    expected = nearest_by_bisection(point.tolist())
    assert project_to_simplex(point).tolist() == pytest.approx(expected, abs=1e-12)


def test_projection_leaves_a_distribution_alone():
    point = normal(4, 7).abs()
    point = point / point.sum(-1, keepdim=True)
    torch.testing.assert_close(project_to_simplex(point), point, rtol=0, atol=1e-15)


@pytest.mark.parametrize("k", [1, 2, 6, 10])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_weights_are_those_of_nonnegative_least_squares(condition, k):
    for seed in range(10):
        design, target = design_of_condition(condition, k, seed=seed), 0.3 * normal(12, seed=seed)
        weights = simplex_least_squares(design, target).numpy()
        expected = weights_by_nnls(design.numpy(), target.numpy())
        assert weights.min() >= 0
        assert weights.sum() == pytest.approx(1, abs=1e-14)
        assert weights == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("k", "c"), [(1, 3), (2, 2), (3, 4), (5, 2)])
@pytest.mark.parametrize("condition", [1.0, 30.0])
def test_tables_are_no_worse_than_those_of_a_general_solver(condition, k, c):
    for seed in range(5):
        design = design_of_condition(condition, k, seed=seed)
        targets = 0.5 * normal(12, c, seed=100 + seed)
        table = stochastic_least_squares(design, targets)
        expected = table_by_slsqp(design.numpy(), targets.numpy())
        assert float(table.min()) >= 0
        torch.testing.assert_close(table.sum(-1), torch.ones(k).double(), rtol=0, atol=1e-14)
        assert table.numpy() == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_no_feasible_direction_lowers_the_misfit_of_a_table(condition):
    """Optimality: within a row, mass sits on the states of least slope."""
    k, c = 6, 5
    for seed in range(20):
        design = design_of_condition(condition, k, seed=seed)
        targets = 0.3 * normal(12, c, seed=seed)
        table = stochastic_least_squares(design, targets)
        slope = design.T @ (design @ table - targets)
        waste = (table * (slope - slope.amin(-1, keepdim=True))).sum(-1)
        assert float(waste.max()) < 1e-11


@pytest.mark.parametrize("condition", CONDITIONS)
def test_attainable_targets_are_met_to_rounding_times_condition(condition):
    design = design_of_condition(condition, 5)
    truth = normal(5, 4).abs() + 0.01
    truth = truth / truth.sum(-1, keepdim=True)
    weights = truth[:, 0] / truth[:, 0].sum()
    tolerance = 50 * condition * torch.finfo(torch.float64).eps
    found = stochastic_least_squares(design, design @ truth)
    torch.testing.assert_close(found, truth, rtol=0, atol=tolerance)
    found = simplex_least_squares(design, design @ weights)
    torch.testing.assert_close(found, weights, rtol=0, atol=tolerance)


def test_a_weight_of_zero_at_the_boundary_is_recovered():
    design, weights = (
        design_of_condition(10.0, 3),
        torch.tensor([0.3, 0.7, 0.0], dtype=torch.float64),
    )
    found = simplex_least_squares(design, design @ weights)
    torch.testing.assert_close(found, weights, rtol=0, atol=1e-9)


def test_a_design_without_full_rank_still_gives_a_minimiser():
    design = design_of_condition(1.0, 2)[:, [0, 1, 1]]
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    found = simplex_least_squares(design, design @ weights)
    torch.testing.assert_close(design @ found, design @ weights, rtol=0, atol=1e-12)
    assert float(stochastic_least_squares(torch.zeros(4, 3).double(), normal(4, 2)).min()) >= 0


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_batching_commutes_with_looping(batch_shape):
    design, targets = normal(*batch_shape, 8, 3), 0.4 * normal(*batch_shape, 8, 4, seed=1)
    tables = stochastic_least_squares(design, targets)
    weights = simplex_least_squares(design, targets[..., 0])
    assert tables.shape == (*batch_shape, 3, 4)
    assert weights.shape == (*batch_shape, 3)
    for i in itertools.product(*map(range, batch_shape)):
        one = stochastic_least_squares(design[i], targets[i])
        torch.testing.assert_close(tables[i], one, rtol=0, atol=1e-9)
        one = simplex_least_squares(design[i], targets[i][..., 0])
        torch.testing.assert_close(weights[i], one, rtol=0, atol=1e-9)


def test_order_of_sources_and_states_does_not_matter():
    design, targets = design_of_condition(5.0, 4), 0.5 * normal(12, 3)
    order, states = [2, 0, 3, 1], [1, 2, 0]
    table = stochastic_least_squares(design, targets)
    permuted = stochastic_least_squares(design[:, order], targets[:, states])
    torch.testing.assert_close(permuted, table[order][:, states], rtol=0, atol=1e-7)


def test_no_tensor_is_made_on_the_default_device():
    design, targets = normal(8, 3), normal(8, 2)
    with torch.device("meta"):
        assert project_to_simplex(targets).device.type == "cpu"
        assert stochastic_least_squares(design, targets).device.type == "cpu"
        assert simplex_least_squares(design, targets[:, 0]).device.type == "cpu"


@pytest.mark.parametrize(("k", "c"), [(2, 2), (3, 6), (5, 4), (8, 3)])
def test_pivoting_finds_what_the_interior_point_method_finds(k, c, monkeypatch):
    """Both solve the same problems; where pivoting says that it solved one, it has."""
    design = normal(40, 2 * k, k, seed=k)
    truth = torch.rand(40, k, c, dtype=torch.float64) ** 4
    targets = design @ (truth / truth.sum(-1, keepdim=True)) + 0.2 * normal(40, 2 * k, c, seed=c)
    gram, moment = design.mT @ design, design.mT @ targets
    size = gram.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
    sums = torch.eye(k, dtype=torch.float64).expand(40, k, k)
    guess = torch.ones(40, k, c, dtype=torch.bool)
    table, solved = pivoted(gram / size, moment / size, sums, guess)
    assert float(solved.double().mean()) > 0.8
    monkeypatch.setattr(
        simplex,
        "pivoted",
        lambda g, m, s, free: (torch.zeros_like(m), torch.zeros(len(m), dtype=torch.bool)),
    )
    other = stochastic_least_squares(design, targets)
    torch.testing.assert_close(table[solved], other[solved], rtol=0, atol=1e-7)
    assert bool((table[solved] == 0).any())


def test_pivoting_does_not_claim_what_it_has_not_solved():
    """A design that lacks rank has no single answer, and singular equations none at all."""
    gram = torch.ones(1, 2, 2, dtype=torch.float64) / 2
    moment = torch.tensor([[[0.3, -0.1], [0.3, -0.1]]], dtype=torch.float64)
    sums = torch.eye(2, dtype=torch.float64)[None]
    table, solved = pivoted(gram, moment, sums, torch.ones(1, 2, 2, dtype=torch.bool))
    assert not bool(solved.any()) or bool(table.isfinite().all())
    nothing = torch.zeros(1, 2, 2, dtype=torch.bool)
    assert not bool(pivoted(gram, moment, sums, nothing)[1].any())


def test_tables_of_one_design_are_those_of_each_alone_and_say_how_far_they_were_moved():
    design = normal(5, 9, 3).abs()
    targets = [design @ normal(5, 3, c, seed=c).abs() for c in (2, 4, 2, 3)]
    found, moved = stochastic_tables(design, targets)
    farthest = torch.zeros(5, dtype=torch.float64)
    for table, target in zip(found, targets, strict=True):
        torch.testing.assert_close(table, stochastic_least_squares(design, target))
        free = torch.linalg.lstsq(design, target).solution
        free = free + (1 - free.sum(-1, keepdim=True)) / free.shape[-1]
        farthest = farthest.maximum((table - free).abs().amax((-2, -1)))
    assert float(farthest.min()) > 0.1
    torch.testing.assert_close(moved, farthest)
