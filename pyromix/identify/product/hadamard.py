"""Hadamard extensions: many variables that are independent within sources, read as one.

Joint states, and subsets of binary variables, run in row-major order, the first variable slowest.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.errors import DataError


def hadamard_extension(
    tables: Sequence[Float[Tensor, "*batch k _"]],
) -> Float[Tensor, "*batch k cells"]:
    """Join within-source tables of variables that are independent within each source.

    Entry ``[u, s]`` is the product of ``tables[i][u, s_i]`` over the variables. Joint states ``s``
    run in row-major order, first variable slowest. For binary variables an invertible change of
    basis of the cell axis turns this into H(m) of [gordon24colt, Def. 4] (transposed here).

    Args:
        tables: one ``(*batch, k, card_i)`` per variable; last axes sum to one.

    Returns:
        ``(*batch, k, prod(card_i))``; last axis sums to one. Memory grows with the product.

    Raises:
        DataError: no table is given.
    """
    if not tables:
        raise DataError("expected at least one table to extend, found none")
    joined = tables[0]
    for table in tables[1:]:
        joined = (joined.unsqueeze(-1) * table.unsqueeze(-2)).flatten(-2)
    return joined


def multilinear_extension(means: Float[Tensor, "*batch k n"]) -> Float[Tensor, "*batch k subsets"]:
    """H(m) of [gordon24colt, Def. 4], transposed: products of the means over every subset.

    Args:
        means: P(X_i = 1 | U = u) of binary variables.

    Returns:
        ``(*batch, k, 2**n)``; the empty subset comes first and has entry one.
    """
    present = torch.stack([torch.ones_like(means), means], -1)
    if not means.shape[-1]:
        return torch.ones((*means.shape[:-1], 1), dtype=means.dtype, device=means.device)
    return hadamard_extension(present.unbind(-2))


def multilinear_moments(joint: Float[Tensor, "*batch cells"]) -> Float[Tensor, "*batch subsets"]:
    """Multilinear moments ``g(S) = E[prod of X_i over S]`` of binary variables.

    Args:
        joint: ``P(X_1..X_n)``, joint states in row-major order.

    Returns:
        ``(*batch, 2**n)``, subsets in the same order: the last cell, where every variable is one,
        becomes the moment of all variables. Time n 2**n.

    Raises:
        DataError: the number of cells is not a power of two.
    """
    n = number_of_bits(joint.shape[-1])
    moments = joint.unflatten(-1, (2,) * n) if n > 1 else joint
    for axis in range(-n, 0):
        absent, present = moments.unbind(axis)
        moments = torch.stack([absent + present, present], axis)
    return moments.reshape(joint.shape)


def number_of_bits(cells: int) -> int:
    """Return n where ``cells`` is ``2**n``.

    Raises:
        DataError: it is not a power of two.
    """
    n = cells.bit_length() - 1
    if cells < 1 or cells != 1 << n:
        raise DataError(
            f"expected one cell for each joint state of n binary variables, 2**n in all, found "
            f"{cells}; identify_tables takes variables with more states"
        )
    return n
