"""Hadamard extensions and multilinear moments against sums in plain loops."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from helpers import BATCH_SHAPES
from hypothesis import given, settings
from hypothesis import strategies as st
from product_cases import joint_by_loops, random_product, separated_bits

from pyromix.errors import DataError
from pyromix.identify.product.hadamard import (
    hadamard_extension,
    multilinear_extension,
    multilinear_moments,
)


def bound(k, zeta):
    """THEORY, E4: [gordon24colt, Thm 13]."""
    return (zeta / (2 * math.sqrt(5))) ** (k - 1) / math.sqrt(k)


def smallest_singular_value(means):
    return float(torch.linalg.svdvals(multilinear_extension(means))[-1])


@pytest.mark.parametrize("cards", [(2,), (2, 3), (3, 2, 4), (2, 2, 2, 2)])
def test_extension_is_the_product_over_variables_cell_by_cell(cards):
    _, tables = random_product(cards, 3, 1)
    extension = hadamard_extension(tables)
    assert extension.shape == (3, math.prod(cards))
    for u in range(3):
        for s, states in enumerate(itertools.product(*map(range, cards))):
            product = math.prod(float(t[u, x]) for t, x in zip(tables, states, strict=True))
            assert float(extension[u, s]) == pytest.approx(product, abs=1e-16)


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_extension_and_moments_of_a_batch_are_those_of_its_elements(batch_shape):
    weights, tables = random_product((2, 2, 2), 2, 3, batch_shape)
    extension = hadamard_extension(tables)
    joint = (weights.unsqueeze(-2) @ extension).squeeze(-2)
    moments = multilinear_moments(joint)
    assert extension.shape == (*batch_shape, 2, 8)
    for i in itertools.product(*map(range, batch_shape)):
        torch.testing.assert_close(extension[i], hadamard_extension([t[i] for t in tables]))
        torch.testing.assert_close(moments[i], multilinear_moments(joint[i]))


def test_rows_of_an_extension_sum_to_one():
    _, tables = random_product((3, 2, 5), 4, 2)
    sums = hadamard_extension(tables).sum(-1)
    torch.testing.assert_close(sums, torch.ones(4, dtype=torch.float64), rtol=0, atol=1e-15)


def test_extension_of_nothing_is_refused():
    with pytest.raises(DataError, match="found none"):
        hadamard_extension([])


def test_moments_are_the_probabilities_that_all_of_a_subset_are_one():
    weights, tables = random_product((2, 2, 2), 3, 5)
    joint = joint_by_loops(weights, tables)
    moments = multilinear_moments(joint.flatten())
    for code, present in enumerate(itertools.product((0, 1), repeat=3)):
        cells = [x for x in itertools.product((0, 1), repeat=3) if all(map(int.__ge__, x, present))]
        expected = math.fsum(float(joint[x]) for x in cells)
        assert float(moments[code]) == pytest.approx(expected, abs=1e-15)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(0, 4), st.integers(0, 2**31))
def test_moments_of_a_mixture_are_weights_times_the_extension(k, n, seed):
    """g = H(m) pi."""
    weights, tables = random_product((2,) * n, k, seed)
    means = torch.stack([t[:, 1] for t in tables], -1) if n else torch.zeros(k, 0).double()
    joint = joint_by_loops(weights, tables).flatten()
    fitted = weights @ multilinear_extension(means)
    torch.testing.assert_close(fitted, multilinear_moments(joint), rtol=0, atol=1e-14)


def test_moments_of_a_number_of_cells_that_is_no_power_of_two_are_refused():
    with pytest.raises(DataError, match="found 6"):
        multilinear_moments(torch.ones(6, dtype=torch.float64) / 6)


def test_singular_values_of_identical_rows_are_those_of_theory():
    """THEORY section 3, table: k - 1 identical rows, zeta = 1 / (k - 1)."""
    for k, value, least in [
        (2, 0.618, 0.158),
        (3, 0.165, 0.0072),
        (4, 0.0365, 2.1e-4),
        (5, 0.0074, 4.4e-6),
    ]:
        levels = torch.arange(k, dtype=torch.float64) / (k - 1)
        means = levels.unsqueeze(1).expand(k, k - 1)
        assert smallest_singular_value(means) == pytest.approx(value, rel=0.01)
        assert bound(k, 1 / (k - 1)) == pytest.approx(least, rel=0.02)


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 6), st.integers(0, 2**31), st.floats(0, 1))
def test_singular_value_bound_of_separated_rows(k, seed, share):
    """THEORY, E4: any k - 1 rows in [0, 1] whose entries differ by at least zeta."""
    generator = torch.Generator().manual_seed(seed)
    zeta = share / (k - 1)
    rows = []
    for _ in range(k - 1):
        gaps = torch.rand(k + 1, generator=generator, dtype=torch.float64)
        slack = (gaps / gaps.sum() * (1 - zeta * (k - 1))).cumsum(0)[:k]
        row = (slack + zeta * torch.arange(k)).clamp(0, 1)
        rows.append(row[torch.randperm(k, generator=generator)])
    means = torch.stack(rows, -1)
    value = smallest_singular_value(means)
    assert value > bound(k, zeta) * (1 - 1e-12) - 1e-14


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_singular_value_of_the_lower_bound_instance(k):
    """THEORY, E6: means 0, z, .., (k-1) z of k - 1 rows, z = 1 / (8k)."""
    expected = {2: 4.4e-2, 3: 1.4e-3, 4: 4.1e-5, 5: 1.1e-6}[k]
    levels = torch.arange(k, dtype=torch.float64) / (8 * k)
    means = levels.unsqueeze(1).expand(k, k - 1)
    assert smallest_singular_value(means) == pytest.approx(expected, rel=0.05)


def test_no_tensor_is_made_on_the_default_device():
    _, tables = separated_bits(3, 3, 0)
    with torch.device("meta"):
        assert hadamard_extension(tables).device.type == "cpu"
        assert multilinear_extension(tables[0]).device.type == "cpu"
        assert multilinear_moments(tables[0]).device.type == "cpu"
