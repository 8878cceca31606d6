"""Sweeping symmetric matrices: inverses, least squares and determinants in one pass.

J. H. Goodnight, A tutorial on the SWEEP operator, The American Statistician 33, 1979. Sweeping the
squares of (z, y) on z leaves the coefficients of y on z, and what is left of the squares of y. A
column that depends on those before it is passed over: its coefficient is zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

PASSED_OVER = 1e-12
"""Share of a column's square that must be left for it to be swept."""


@dataclass(frozen=True, eq=False)
class Swept:
    """What is left of symmetric matrices after sweeping.

    Attributes:
        inverted: of the swept block, symmetric; zero in columns that were passed over.
        lines: coefficients of the others on the swept ones, ``(*batch, swept, others)``.
        left: what the swept ones leave of the others' squares.
        log_det: logarithm of the determinant of the swept block without columns passed over.
    """

    inverted: Float[Tensor, "*batch s s"]
    lines: Float[Tensor, "*batch s o"]
    left: Float[Tensor, "*batch o o"]
    log_det: Float[Tensor, "*batch"]


def sweep(squares: Float[Tensor, "*batch n n"], n_swept: int) -> Swept:
    """Sweep the first columns of symmetric positive semidefinite matrices.

    Differentiable. Time n_swept n^2 a matrix.

    Args:
        squares: the matrices.
        n_swept: how many columns.
    """
    at, size = squares, squares.diagonal(dim1=-2, dim2=-1)
    log_det = torch.zeros_like(size[..., 0])
    for p, unit in enumerate(torch.eye(at.shape[-1], dtype=at.dtype, device=at.device)[:n_swept]):
        pivot = at[..., p, p]
        kept = pivot > PASSED_OVER * size[..., p]
        safe = torch.where(kept, pivot, 1.0)
        log_det = log_det + safe.log()
        inverse = torch.where(kept, 1 / safe, 0.0)[..., None]
        others = 1 - unit
        column = at[..., :, p] * others
        lines = column * inverse
        rest = (at - lines[..., :, None] * column[..., None, :]) * others * others[:, None]
        cross = lines[..., :, None] * unit + lines[..., None, :] * unit[:, None]
        at = rest + cross - inverse[..., None] * (unit * unit[:, None])
    swept, rest = slice(0, n_swept), slice(n_swept, None)
    return Swept(-at[..., swept, swept], at[..., swept, rest], at[..., rest, rest], log_det)
