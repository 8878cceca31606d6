"""Joint diagonalisation of real matrices by similarity."""

from __future__ import annotations

import itertools

import pytest
import torch
from helpers import BATCH_SHAPES
from hypothesis import given, settings
from hypothesis import strategies as st

from pyromix.identify.views.joint_diagonalisation import best_combination, joint_diagonalise


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def commuting(k, r, seed, batch_shape=()):
    """Matrices with common eigenvectors (unit columns), and their eigenvalues (r, k)."""
    basis = normal(*batch_shape, k, k, seed=seed) + 2 * torch.eye(k, dtype=torch.float64)
    basis = basis / basis.norm(dim=-2, keepdim=True)
    values = normal(*batch_shape, r, k, seed=seed + 1)
    matrices = basis.unsqueeze(-3) * values.unsqueeze(-2) @ torch.linalg.inv(basis).unsqueeze(-3)
    return matrices, basis, values


def off_diagonal(matrices, basis):
    turned = torch.linalg.inv(basis).unsqueeze(-3) @ matrices @ basis.unsqueeze(-3)
    return (turned - torch.diag_embed(turned.diagonal(dim1=-2, dim2=-1))).norm()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(1, 5), st.integers(0, 2**31))
def test_common_eigenvectors_are_found(k, r, seed):
    matrices, basis, _ = commuting(k, r, seed)
    start, _, imaginary = best_combination(matrices)
    found, inverse, diagonals, converged = joint_diagonalise(matrices, start)
    condition = float(torch.linalg.cond(basis))
    rounding = 1e-12 * condition**2 * (1 + float(matrices.abs().max()))
    assert float(imaginary) == 0
    assert bool(converged)
    assert float(off_diagonal(matrices, found)) < rounding
    torch.testing.assert_close(
        inverse @ found, torch.eye(k, dtype=torch.float64), rtol=0, atol=1e-10 * condition
    )
    rebuilt = found * diagonals.unsqueeze(-2) @ inverse
    torch.testing.assert_close(rebuilt, matrices, rtol=0, atol=rounding)


def test_the_combination_with_the_widest_gap_is_taken():
    narrow, wide = torch.diag(torch.tensor([1.0, 1.1, 2.0])), torch.diag(torch.tensor([0.0, 1, 2]))
    _, gap, imaginary = best_combination(torch.stack([narrow, wide]).double())
    assert float(gap) == 0.5
    assert float(imaginary) == 0


def test_a_real_spectrum_comes_before_any_complex_one():
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    real = torch.tensor([[1.0, 0.3], [0.0, 1.01]], dtype=torch.float64)
    basis, gap, imaginary = best_combination(torch.stack([turn, real]))
    assert float(imaginary) == 0
    assert float(gap) == pytest.approx(0.01 / 1.01)
    basis, _, imaginary = best_combination(turn.unsqueeze(0))
    assert float(imaginary) == 1
    assert abs(float(torch.linalg.det(basis))) > 0.5


def test_all_matrices_together_beat_the_best_combination_under_noise():
    """The off-diagonal part was smaller in 99 of 100 draws."""
    better = 0
    for seed in range(20):
        matrices, _, _ = commuting(4, 5, seed)
        noisy = matrices + 0.02 * normal(5, 4, 4, seed=1000 + seed)
        start, _, _ = best_combination(noisy)
        found, _, _, _ = joint_diagonalise(noisy, start)
        better += bool(off_diagonal(noisy, found) < off_diagonal(noisy, start))
    assert better >= 19


def test_a_singular_start_is_replaced():
    matrices, _, _ = commuting(3, 4, 5)
    found, inverse, _, _ = joint_diagonalise(matrices, torch.ones(3, 3, dtype=torch.float64))
    assert bool(found.isfinite().all() & inverse.isfinite().all())


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_batching_commutes_with_looping(batch_shape):
    matrices, _, _ = commuting(3, 4, 7, batch_shape)
    start, gap, _ = best_combination(matrices)
    found, _, diagonals, converged = joint_diagonalise(matrices, start)
    assert gap.shape == converged.shape == batch_shape
    for i in itertools.product(*map(range, batch_shape)):
        _, _, one, _ = joint_diagonalise(matrices[i], best_combination(matrices[i])[0])
        torch.testing.assert_close(diagonals[i], one, rtol=0, atol=1e-9)
        assert found[i].shape == (3, 3)


def test_no_tensor_is_made_on_the_default_device():
    matrices, _, _ = commuting(3, 2, 0)
    with torch.device("meta"):
        start, _, _ = best_combination(matrices)
        assert joint_diagonalise(matrices, start)[0].device.type == "cpu"
