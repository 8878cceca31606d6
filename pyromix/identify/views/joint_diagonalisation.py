"""Real matrices with common eigenvectors: one combination to start, then all of them at once.

The slices of the third view share their eigenvectors at exact moments and differ in their
eigenvalues (THEORY section 3.3). The eigenvectors of one combination are a start; the basis that
makes all slices as diagonal as possible uses every eigenvalue gap, not only those of that
combination [cardoso96]. In a similarity transform ``(1 - E) N (1 + E)`` with small E, entry (i, j)
is ``N_ij + (d_i - d_j) E_ij``: least squares over the slices gives E in closed form, a
Gauss-Newton step. Real matrices stay real; a complex pair of the start is reported, and its real
and imaginary parts, which span the same plane, go on in its place.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pyromix.exact import linalg
from pyromix.model.status import Status

MAX_NEWTON_STEPS = 60
"""Gauss-Newton steps; noise-free matrices take about five."""

STEP_TOLERANCE = 1e-12
"""Largest entry of a step at which to stop."""

LOOSE_TOLERANCE = 1e-4
"""Largest entry of the last step that still counts as converged."""

LARGEST_STEP_ENTRY = 0.5
"""Entries of a step beyond this are scaled down to it."""


def best_combination(
    matrices: Float[Tensor, "*batch r k k"],
) -> tuple[Float[Tensor, "*batch k k"], Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Real eigenvectors of the matrix whose eigenvalues are real and relatively farthest apart.

    Args:
        matrices: finite; combinations of matrices with common eigenvectors.

    Returns:
        Basis, a column per eigenvector, of length one; for a complex pair its real and its
        imaginary part. The smallest gap between two eigenvalues, relative to the largest modulus.
        The largest imaginary part, relative likewise: zero unless every matrix has a pair. All nan
        where no matrix has eigenvectors that could be found.
    """
    found = linalg.eig(matrices)
    values, vectors = found.values, found.vectors
    k = values.shape[-1]
    size = values.abs().amax(-1).clamp_min(torch.finfo(matrices.dtype).tiny)
    apart = (values.unsqueeze(-1) - values.unsqueeze(-2)).abs()
    apart = apart + torch.diag_embed(torch.full_like(apart[..., 0], torch.inf))
    gap = apart.amin((-2, -1)) / size if k > 1 else torch.ones_like(size)
    imaginary = values.imag.abs().amax(-1) / size
    # Any real spectrum comes before any complex one.
    worth = torch.where(imaginary > 0, -imaginary, gap)
    worth = torch.where(found.status == Status.OK, worth, -torch.inf)
    best = worth.argmax(-1, keepdim=True)
    real = torch.where(values.imag.unsqueeze(-2) < 0, vectors.imag, vectors.real)
    chosen = best[..., None, None].expand(*best.shape, k, k)
    basis = real.gather(-3, chosen).squeeze(-3)
    return _unit_columns(basis), gap.gather(-1, best)[..., 0], imaginary.gather(-1, best)[..., 0]


def joint_diagonalise(
    matrices: Float[Tensor, "*batch r k k"], start: Float[Tensor, "*batch k k"]
) -> tuple[
    Float[Tensor, "*batch k k"],
    Float[Tensor, "*batch k k"],
    Float[Tensor, "*batch r k"],
    Bool[Tensor, "*batch"],
]:
    """Basis in which all matrices are as diagonal as possible.

    Args:
        matrices: where one is not finite its diagonal is not, and the steps count as going on.
        start: a basis, such as ``best_combination`` gives. Where it is singular or nan it is
            replaced by the identity.

    Returns:
        Basis with columns of length one; its inverse; the diagonals; whether the steps died out.
    """
    # A basis does not depend on the scale of the matrices; squares of their entries do.
    matrices, scale = linalg.rescaled(matrices, (-3, -2, -1))
    k = start.shape[-1]
    eye = torch.eye(k, dtype=start.dtype, device=start.device)
    basis, inverse = _invertible(start, eye)
    small = torch.ones(start.shape[:-2], dtype=torch.bool, device=start.device)
    turned = inverse.unsqueeze(-3) @ matrices @ basis.unsqueeze(-3)
    for _ in range(MAX_NEWTON_STEPS):
        diagonal = turned.diagonal(dim1=-2, dim2=-1)
        gaps = diagonal.unsqueeze(-1) - diagonal.unsqueeze(-2)
        weight = (gaps * gaps).sum(-3)
        step = -(gaps * turned).sum(-3) / weight.clamp_min(torch.finfo(start.dtype).tiny)
        step = torch.where(weight > 0, step, 0.0)
        largest = step.abs().amax((-2, -1), keepdim=True)
        small = (largest < LOOSE_TOLERANCE)[..., 0, 0]
        if bool((largest < STEP_TOLERANCE).all()):
            break
        step = step * (LARGEST_STEP_ENTRY / largest.clamp_min(LARGEST_STEP_ENTRY))
        basis, inverse = _invertible(_unit_columns(basis @ (eye + step)), basis)
        turned = inverse.unsqueeze(-3) @ matrices @ basis.unsqueeze(-3)
    diagonals = turned.diagonal(dim1=-2, dim2=-1)
    small = small & turned.isfinite().flatten(-3).all(-1)
    if scale is not None:
        diagonals = diagonals / scale[..., None, None]
    return basis, inverse, diagonals, small


def _unit_columns(basis: Tensor) -> Tensor:
    length = basis.norm(dim=-2, keepdim=True)
    return basis / length.clamp_min(torch.finfo(basis.dtype).tiny)


def _invertible(basis: Tensor, otherwise: Tensor) -> tuple[Tensor, Tensor]:
    """The basis and its inverse; another basis where it has none."""
    found = linalg.inv(basis)
    singular = found.status != Status.OK
    if not bool(singular.any()):
        return basis, found.value
    basis = torch.where(singular[..., None, None], otherwise, basis)
    return basis, linalg.inv(basis).value
