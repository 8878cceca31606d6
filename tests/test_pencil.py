"""The two-slice pencil, line by line, and what it refuses."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from helpers import BATCH_SHAPES
from product_cases import identical_bits, joint_by_loops, random_product, separated_bits

from pyromix.errors import DataError
from pyromix.identify.product.hadamard import multilinear_extension, multilinear_moments
from pyromix.identify.product.pencil import (
    line_1,
    line_2,
    line_3,
    line_4,
    misfit,
    search_pencil,
    two_slice_pencil,
)
from pyromix.model.status import Status


def means_of(tables):
    return torch.stack([t[..., 1] for t in tables], -1)


def exact_moments(mixture):
    weights, tables = mixture
    extension = multilinear_extension(means_of(tables))
    return (weights.unsqueeze(-2) @ extension).squeeze(-2)


def solve(mixture, k):
    """S and T the first and the next k - 1 variables, the pivot the last."""
    n = len(mixture[1])
    return two_slice_pencil(exact_moments(mixture), k, range(k - 1), range(k - 1, n - 1), n - 1)


def worst_error(solution, mixture):
    """Sources ascend in the mean of the last variable."""
    weights, tables = mixture
    means = means_of(tables)
    order = means[:, -1].argsort()
    return max(
        float((solution.weights - weights[order]).abs().max()),
        float((solution.means - means[order]).abs().max()),
    )


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_exact_moments_of_separated_bits_are_solved_to_1e_12(k):
    """THEORY, E3: n = 2k - 1, thirty models."""
    for seed in range(30):
        mixture = separated_bits(k, 2 * k - 1, seed)
        solution = solve(mixture, k)
        assert int(solution.status) == Status.OK
        assert worst_error(solution, mixture) < 1e-12


@pytest.mark.parametrize(("k", "size"), [(3, 2), (4, 2)])
def test_blocks_of_log2_k_variables_suffice_for_generic_sources(k, size):
    mixture = random_product((2,) * (2 * size + 1), k, 11)
    solution = two_slice_pencil(
        exact_moments(mixture), k, range(size), range(size, 2 * size), 2 * size
    )
    assert worst_error(solution, mixture) < 1e-10


def test_line_1_takes_moments_of_unions():
    weights, tables = random_product((2, 2, 2, 2), 3, 0)
    joint = joint_by_loops(weights, tables)

    def g(subset):
        cells = itertools.product((0, 1), repeat=4)
        return math.fsum(float(joint[x]) for x in cells if all(x[i] for i in subset))

    c, c1 = line_1(multilinear_moments(joint.flatten()), [3, 0], [1], 2)
    for a, left in enumerate([(), (0,), (3,), (3, 0)]):
        for b, right in enumerate([(), (1,)]):
            assert float(c[a, b]) == pytest.approx(g({*left, *right}), abs=1e-15)
            assert float(c1[a, b]) == pytest.approx(g({*left, *right, 2}), abs=1e-15)


def test_line_2_spans_the_columns_of_the_extensions():
    mixture = separated_bits(3, 5, 1)
    extension = multilinear_extension(means_of(mixture[1])[:, :2]).T
    u, values, _ = line_2(line_1(exact_moments(mixture), [0, 1], [2, 3], 4)[0], 3)
    assert float(values[3]) < 1e-15 < float(values[2])
    torch.testing.assert_close(u @ (u.T @ extension), extension, rtol=0, atol=1e-13)


def test_line_3_pairs_eigenvectors_by_the_means_of_the_pivot():
    mixture = separated_bits(3, 5, 1)
    c, c1 = line_1(exact_moments(mixture), [0, 1], [2, 3], 4)
    u, _, v = line_2(c, 3)
    s, t, eigenvalues = line_3(u.T @ c @ v, u.T @ c1 @ v)
    means = means_of(mixture[1])
    order = means[:, 4].argsort()
    torch.testing.assert_close(eigenvalues.real, means[order, 4], rtol=0, atol=1e-13)
    for basis, vectors, block in ((u, s.real, [0, 1]), (v, t.real, [2, 3])):
        found = basis @ vectors
        expected = multilinear_extension(means[order][:, block]).T
        torch.testing.assert_close(found / found[0], expected, rtol=0, atol=1e-12)


def test_line_4_ignores_the_scale_of_the_eigenvectors():
    mixture = separated_bits(3, 5, 1)
    moments = exact_moments(mixture)
    c, c1 = line_1(moments, [0, 1], [2, 3], 4)
    u, _, v = line_2(c, 3)
    s, t, _ = line_3(u.T @ c @ v, u.T @ c1 @ v)
    scale = torch.tensor([-2.0, 0.5, 7.0], dtype=torch.float64)
    weights, means = line_4(moments, [0, 1], [2, 3], u, v, s.real * scale, t.real / scale)
    order = means_of(mixture[1])[:, 4].argsort()
    torch.testing.assert_close(weights, mixture[0][order], rtol=0, atol=1e-12)
    torch.testing.assert_close(means, means_of(mixture[1])[order], rtol=0, atol=1e-12)


def test_search_finds_the_separated_variables_among_useless_ones():
    """Line 5: variables 0 and 3 are the same in every source and cannot be in a block."""
    weights, tables = separated_bits(3, 7, 3)
    for i in (0, 3):
        tables[i] = torch.full((3, 2), 0.5, dtype=torch.float64)
    moments = exact_moments((weights, tables))
    solution, distance = search_pencil(moments, 3, 2)
    assert distance < 1e-12
    assert int(solution.status) == Status.OK
    torch.testing.assert_close(
        solution.weights.sort().values, weights.sort().values, rtol=0, atol=1e-11
    )
    torch.testing.assert_close(
        (solution.weights @ multilinear_extension(solution.means)), moments, rtol=0, atol=1e-12
    )


def test_misfit_is_the_largest_error_over_all_subsets():
    mixture = separated_bits(2, 3, 0)
    moments = exact_moments(mixture)
    solution = solve(mixture, 2)
    shifted = moments.clone()
    shifted[5] += 0.25
    assert float(misfit(shifted, solution)) == pytest.approx(0.25, abs=1e-13)


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_batching_commutes_with_looping(batch_shape):
    mixture = random_product((2,) * 5, 3, 2, batch_shape)
    moments = exact_moments(mixture)
    solution = two_slice_pencil(moments, 3, [0, 1], [2, 3], 4)
    assert solution.means.shape == (*batch_shape, 3, 5)
    assert solution.status.shape == batch_shape
    for i in itertools.product(*map(range, batch_shape)):
        one = two_slice_pencil(moments[i], 3, [0, 1], [2, 3], 4)
        torch.testing.assert_close(solution.means[i], one.means, rtol=0, atol=1e-9)
        torch.testing.assert_close(solution.weights[i], one.weights, rtol=0, atol=1e-9)


def test_identical_columns_are_flagged_as_too_small_a_rank():
    """THEORY, E5."""
    weights, tables = separated_bits(3, 5, 0)
    for table in tables:
        table[1] = table[0]
    solution = solve((weights, tables), 3)
    assert int(solution.status) == Status.RANK_TOO_SMALL
    assert bool(solution.weights.isnan().all())


def test_sources_with_the_same_mean_of_the_pivot_are_merged():
    weights, tables = separated_bits(3, 5, 0)
    tables[4][1] = tables[4][0]
    assert int(solve((weights, tables), 3).status) == Status.MERGED


def test_blocks_with_too_few_subsets_are_too_many_sources():
    moments = exact_moments(separated_bits(3, 3, 0))
    assert int(two_slice_pencil(moments, 3, [0], [1], 2).status) == Status.TOO_MANY_SOURCES


def test_a_complex_pair_is_a_status_and_no_number():
    """Moments that no mixture of two has: C^-1 C_1 is a rotation."""
    c = torch.tensor([[1.0, 0.5], [0.5, 0.5]], dtype=torch.float64)
    turn = torch.tensor([[0.5, -0.4], [0.4, 0.5]], dtype=torch.float64)
    c1 = turn @ c
    moments = torch.stack([c, c1], -1).flatten()
    solution = two_slice_pencil(moments, 2, [0], [1], 2)
    assert int(solution.status) == Status.COMPLEX_PAIR
    assert bool(solution.means.isnan().all())


def test_moments_that_are_not_finite_are_invalid_in_their_element_only():
    moments = exact_moments(random_product((2,) * 3, 2, 0, (2,)))
    moments[0, 3] = torch.nan
    solution = two_slice_pencil(moments, 2, [0], [1], 2)
    assert solution.status.tolist() == [Status.INVALID_INPUT, Status.OK]


def test_overlapping_blocks_are_refused():
    moments = exact_moments(separated_bits(2, 3, 0))
    with pytest.raises(DataError, match="disjoint"):
        two_slice_pencil(moments, 2, [0], [0], 2)
    with pytest.raises(DataError, match=r"0\.\.2"):
        two_slice_pencil(moments, 2, [0], [3], 2)
    with pytest.raises(DataError, match="found 3 variables"):
        search_pencil(moments, 2, 2)


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_lower_bound_instance_moves_far_while_its_moments_stay(k):
    """THEORY, E6: pi moves along the last right singular vector of H."""
    eps = 1e-3
    weights, tables = identical_bits(k, 2 * k - 1, 1 / (8 * k))
    extension = multilinear_extension(means_of(tables)[:, : k - 1])
    _, values, right = torch.linalg.svd(extension.T)
    move = right[-1].clone()
    move[0] -= right[-1].sum()
    direction = eps * move / move.abs().max()
    moved = weights + direction
    assert float(moved.min()) > 0
    assert float(moved.sum()) == pytest.approx(1, abs=1e-14)
    assert float((moved - weights).abs().max()) == pytest.approx(eps)
    gap = (moved - weights) @ extension
    assert float(gap.abs().max()) <= 4 * k * float(values[-1]) * eps


def test_no_tensor_is_made_on_the_default_device():
    moments = exact_moments(separated_bits(3, 5, 0))
    with torch.device("meta"):
        assert two_slice_pencil(moments, 3, [0, 1], [2, 3], 4).means.device.type == "cpu"
        assert two_slice_pencil(moments, 9, [0, 1], [2, 3], 4).means.device.type == "cpu"
        assert search_pencil(moments, 3, 2)[1] < 1e-12
