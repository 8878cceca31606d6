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
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.linalg import eigvalsh_tridiagonal
from torch import Tensor

CLOSE = 1e-10
"""Relative error of ``b' A^-1 b`` at which steps end."""

MAX_STEPS = 500
"""Steps at most; so many resolve a matrix whose eigenvalues differ by some 2,000 times."""

CHECKED = 5
"""The least eigenvalue is looked at every so many steps."""

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
    steps: list[list[tuple[float, float]]] = [[] for _ in right]
    active, n = (~converged).nonzero().squeeze(1), 0
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
        taken = torch.stack([length, turn], 1).tolist()
        for i, (one, other) in zip(active.tolist(), taken, strict=True):
            steps[i].append((one, other))
        if n % CHECKED == 0 or bool((turn < CLOSE).any()):
            value = (right[active] * solutions[active]).sum(-1)
            least = value.new_tensor([_least(steps[i]) for i in active.tolist()])
            done = new <= CLOSE * value * least
            converged[active[done]] = True
            active = active[~done]
    return Solved(solutions, converged, flat, n)


def _least(steps: list[tuple[float, float]]) -> float:
    """Least eigenvalue of the tridiagonal matrix of some steps, (length, turn) each."""
    diagonal = [1 / steps[0][0]]
    beside = []
    for (length, turn), (following, _) in pairwise(steps):
        diagonal.append(1 / following + turn / length)
        beside.append(turn**0.5 / length)
    found = eigvalsh_tridiagonal(
        np.array(diagonal), np.array(beside), select="i", select_range=(0, 0)
    )
    return max(float(found[0]), ROUNDING)
