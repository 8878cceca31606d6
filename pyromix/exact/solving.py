"""Conjugate gradients, several right-hand sides at once, and what they show of the matrix.

After some steps the error of ``b' A^-1 b`` is at most ``|r|^2 / least eigenvalue``, r what is left
of the right-hand side. The steps are those of Lanczos' tridiagonal matrix, whose least eigenvalue
stands for that of A as far as b sees it [M. R. Hestenes, E. Stiefel, Methods of conjugate gradients
for solving linear systems, J. Res. NBS 49, 1952], [G. H. Golub, G. Meurant, Matrices, moments and
quadrature with applications, 2010].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pyromix.exact import linalg

CLOSE = 1e-10
"""Relative error of ``b' A^-1 b`` at which steps end."""

MAX_STEPS = 500
"""Steps at most; so many resolve a matrix whose eigenvalues differ by some 2,000 times."""

CHECKED = 8
"""The least eigenvalue is looked at whenever steps have become an eighth more, and so many."""

ROUNDING = 1e-12
"""A direction along which A is less, relative to one, is one along which it is nothing."""


@dataclass(frozen=True, eq=False)
class Solved:
    """Solutions of ``A x = b``, A symmetric and positive, no eigenvalue far above one.

    Attributes:
        solutions: one row per right-hand side.
        converged: whether the steps ended by ``CLOSE``; nothing is known of the others.
        flat: whether a direction was met along which A is nothing, or negative.
        n_steps: products with A.
    """

    solutions: Float[Tensor, "b q"]
    converged: Bool[Tensor, " b"]
    flat: Bool[Tensor, " b"]
    n_steps: int


def solve(product: Callable[[Tensor], Tensor], right: Float[Tensor, "b q"]) -> Solved:
    """Solve ``A x = b`` for several b.

    Args:
        product: A times the rows of a matrix.
        right: the right-hand sides, one per row.
    """
    solutions, left_over, ahead = torch.zeros_like(right), right.clone(), right.clone()
    size = right.square().sum(-1)
    converged, flat = size == 0, torch.zeros_like(size, dtype=torch.bool)
    lengths, turns = [], []
    active, n, looked = (~converged).nonzero().squeeze(1), 0, 0
    while len(active) and n < MAX_STEPS:
        n += 1
        direction = ahead[active]
        image = product(direction)
        bend = (direction * image).sum(-1)
        firm = bend > ROUNDING * direction.square().sum(-1)
        flat[active] = ~firm
        active, direction, image, bend = (t[firm] for t in (active, direction, image, bend))
        length = size[active] / bend
        solutions[active] += length[:, None] * direction
        left_over[active] -= length[:, None] * image
        new = left_over[active].square().sum(-1)
        turn = new / size[active]
        ahead[active] = left_over[active] + turn[:, None] * direction
        size[active] = new
        lengths.append(torch.ones_like(size).index_copy_(0, active, length))
        turns.append(torch.zeros_like(size).index_copy_(0, active, turn))
        if n >= looked + max(CHECKED, looked // 8) or bool((turn < CLOSE).any()):
            looked = n
            value = (right[active] * solutions[active]).sum(-1)
            least = _least(torch.stack(lengths, 1)[active], torch.stack(turns, 1)[active])
            done = new <= CLOSE * value * least
            converged[active[done]] = True
            active = active[~done]
    return Solved(solutions, converged, flat, n)


def _least(lengths: Float[Tensor, "b n"], turns: Float[Tensor, "b n"]) -> Float[Tensor, " b"]:
    """Least eigenvalues of the tridiagonal matrices of some steps."""
    diagonal = 1 / lengths
    diagonal[:, 1:] += turns[:, :-1] / lengths[:, :-1]
    beside = turns[:, :-1].sqrt() / lengths[:, :-1]
    matrices = torch.diag_embed(diagonal)
    matrices += torch.diag_embed(beside, 1) + torch.diag_embed(beside, -1)
    found = linalg.eigvalsh(matrices).value[:, 0]
    return torch.where(found.isfinite(), found, 0.0).clamp_min(ROUNDING)
