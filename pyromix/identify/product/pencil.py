"""The two-slice pencil of [gordon24colt] for binary variables, line by line (THEORY section 3.2).

It is what the paper analyses, kept readable against it: two blocks S and T of variables, one pivot,
no whitening, no projection. ``product.identify_tables`` is the robust form for data.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.errors import DataError
from pyromix.exact import linalg
from pyromix.identify.product.hadamard import multilinear_extension, number_of_bits
from pyromix.model.status import Status, mark
from pyromix.model.ties import first_smallest

PENCIL_RANK_TOLERANCE = 1e-13
"""A k-th singular value below this share of the first is rounding."""

GAP_TOLERANCE = 1e-9
"""Values of the pivot closer than this are one."""

EQUAL_MISFITS = 1e-14
"""Errors of two splits that differ by less are rounding: the first split is kept."""

PENCIL_IMAGINARY_TOLERANCE = 1e-9
"""Imaginary parts up to here are rounding of nearly equal eigenvalues."""


@dataclass(frozen=True, eq=False)
class PencilSolution:
    """What the two-slice pencil makes of one set of moments.

    Attributes:
        weights: ``(*batch, k)``, as the linear system gives them: neither clipped nor scaled.
        means: P(X_i = 1 | u), ``(*batch, k, n)``, as the linear systems give them. Sources ascend
            in the mean of the pivot.
        status: a ``Status`` per element; weights and means are nan where it is COMPLEX_PAIR,
            RANK_TOO_SMALL, TOO_MANY_SOURCES, NOT_CONVERGED or INVALID_INPUT.
        singular_values: of C, descending, ``(*batch, q)``.
        gap: smallest distance between two sources in the mean of the pivot, ``(*batch)``.
    """

    weights: Float[Tensor, "*batch k"]
    means: Float[Tensor, "*batch k n"]
    status: Int[Tensor, "*batch"]
    singular_values: Float[Tensor, "*batch q"]
    gap: Float[Tensor, "*batch"]


def two_slice_pencil(
    moments: Float[Tensor, "*batch subsets"],
    n_sources: int,
    left: Sequence[int],
    right: Sequence[int],
    pivot: int,
) -> PencilSolution:
    """Recover a mixture of products of binary variables from its multilinear moments.

    Args:
        moments: ``g(A)`` for every subset of n variables, as ``multilinear_moments`` orders them.
        n_sources: k.
        left: S, the variables whose subsets index the rows of C; at least ``log2(k)``.
        right: T, those that index its columns.
        pivot: x, the variable whose means are the eigenvalues.

    Raises:
        DataError: moments of a wrong number, or S, T and x overlap or are unknown.
    """
    n = number_of_bits(moments.shape[-1])
    named = [*left, *right, pivot]
    if len(set(named)) != len(named) or any(not 0 <= i < n for i in named):
        raise DataError(
            f"expected disjoint blocks and a pivot among the variables 0..{n - 1}, found "
            f"left {list(left)}, right {list(right)} and pivot {pivot}"
        )
    status = torch.full(moments.shape[:-1], Status.OK, dtype=torch.int64, device=moments.device)
    status = mark(status, ~moments.isfinite().all(-1), Status.INVALID_INPUT)
    safe = moments.where((status == Status.OK).unsqueeze(-1), 0.0)
    c, c1 = line_1(safe, left, right, pivot)
    if n_sources > min(c.shape[-2:]):
        return _unsolved(moments, n_sources, n, mark(status, status == 0, Status.TOO_MANY_SOURCES))
    u, values, v = line_2(c, n_sources)
    low_rank = values[..., n_sources - 1] <= PENCIL_RANK_TOLERANCE * values[..., 0]
    status = mark(status, low_rank, Status.RANK_TOO_SMALL)
    status = mark(status, ~values.isfinite().all(-1), Status.NOT_CONVERGED)
    solvable = (status == Status.OK)[..., None, None]
    eye = torch.eye(n_sources, dtype=c.dtype, device=c.device)
    reduced = torch.where(solvable, u.mT @ c @ v, eye)
    reduced_1 = torch.where(solvable, u.mT @ c1 @ v, torch.diag(eye.diagonal().cumsum(0)))
    s, t, eigenvalues = line_3(reduced, reduced_1)
    lost = ~eigenvalues.isfinite().all(-1)
    status = mark(status, lost, Status.NOT_CONVERGED)
    size = eigenvalues.abs().amax(-1).clamp_min(1.0)
    paired = eigenvalues.imag.abs().amax(-1) > PENCIL_IMAGINARY_TOLERANCE * size
    status = mark(status, paired, Status.COMPLEX_PAIR)
    solvable = (status == Status.OK)[..., None, None]
    s, t = (torch.where(solvable, x.real, eye) for x in (s, t))
    weights, means = line_4(safe, left, right, u, v, s, t)
    steps = eigenvalues.real.diff(dim=-1)
    gap = steps.amin(-1) if n_sources > 1 else torch.ones_like(size)
    # Sources are equal, or have no weight to divide by.
    finite = weights.isfinite().all(-1) & means.isfinite().flatten(-2).all(-1)
    status = mark(status, (gap < GAP_TOLERANCE) | ~finite, Status.MERGED)
    nan = torch.full_like(weights, torch.nan)
    return PencilSolution(
        torch.where(solvable.squeeze(-1), weights, nan),
        torch.where(solvable, means, nan.unsqueeze(-1)),
        status,
        values,
        gap,
    )


def search_pencil(
    moments: Float[Tensor, " subsets"], n_sources: int, size: int
) -> tuple[PencilSolution, float]:
    """Line 5: the split into blocks of ``size`` and a pivot whose model fits all moments best.

    Args:
        moments: of one mixture.
        n_sources: k.
        size: variables per block; k - 1 always suffices, ``log2(k)`` usually.

    Returns:
        The best solution and its largest error over the moments; infinite where no split can be
        solved. Cost grows with the number of splits.

    Raises:
        DataError: fewer than ``2 size + 1`` variables.
    """
    n = number_of_bits(moments.shape[-1])
    if n < 2 * size + 1:
        raise DataError(
            f"expected two blocks of {size} variables and a pivot, {2 * size + 1} in all, found "
            f"{n} variables; take smaller blocks"
        )
    results = []
    for pivot in range(n):
        rest = [i for i in range(n) if i != pivot]
        for left in itertools.combinations(rest, size):
            others = [i for i in rest if i not in left and i > left[0]]
            for right in itertools.combinations(others, size):
                solution = two_slice_pencil(moments, n_sources, left, right, pivot)
                results.append((solution, float(misfit(moments, solution).nan_to_num(torch.inf))))
    return results[first_smallest((error for _, error in results), EQUAL_MISFITS)]


def misfit(
    moments: Float[Tensor, "*batch subsets"], solution: PencilSolution
) -> Float[Tensor, "*batch"]:
    """Largest difference ``|H(m) pi - g|`` over all subsets."""
    extension = multilinear_extension(solution.means)
    fitted = (solution.weights.unsqueeze(-2) @ extension).squeeze(-2)
    return (fitted - moments).abs().amax(-1)


# -- the lines of the algorithm --------------------------------------------------------------


def line_1(
    moments: Float[Tensor, "*batch subsets"],
    left: Sequence[int],
    right: Sequence[int],
    pivot: int,
) -> tuple[Float[Tensor, "*batch s t"], Float[Tensor, "*batch s t"]]:
    """``C[A, B] = g(A + B)`` and ``C_1[A, B] = g(A + B + x)`` over subsets A of S and B of T."""
    return _moments_of(moments, left, right), _moments_of(moments, left, right, pivot)


def line_2(
    c: Float[Tensor, "*batch s t"], n_sources: int
) -> tuple[Float[Tensor, "*batch s k"], Float[Tensor, "*batch q"], Float[Tensor, "*batch t k"]]:
    """Top-k left singular vectors of C, all singular values, top-k right singular vectors."""
    found = linalg.svd(c)
    return found.u[..., :n_sources], found.values, found.vh.mT[..., :n_sources]


def line_3(
    c: Float[Tensor, "*batch k k"], c1: Float[Tensor, "*batch k k"]
) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenvectors of ``C_1 C^-1`` and of ``C_1' C^-T``, paired by their common eigenvalues.

    Returns:
        S and T, ``(*batch, k, k)``, a column per source, and the eigenvalues ``(*batch, k)``,
        ascending; all complex, since noise can make them so.
    """
    s, ascending = _eigenvectors(linalg.solve(c, c1, left=False).value)
    t, _ = _eigenvectors(linalg.solve(c.mT, c1.mT.contiguous(), left=False).value)
    return s, t, ascending


def line_4(
    moments: Float[Tensor, "*batch subsets"],
    left: Sequence[int],
    right: Sequence[int],
    u: Float[Tensor, "*batch s k"],
    v: Float[Tensor, "*batch t k"],
    s: Float[Tensor, "*batch k k"],
    t: Float[Tensor, "*batch k k"],
) -> tuple[Float[Tensor, "*batch k"], Float[Tensor, "*batch k n"]]:
    """Scale the columns, solve for the weights, then for every row of m.

    The row of the empty set is one in H(m): the scale that the paper leaves implicit.
    """
    s = s / (u[..., :1, :] @ s)
    t = t / (v[..., :1, :] @ t)
    subsets = _moments_of(moments, left, ())
    weights = linalg.solve(s, u.mT @ subsets).value.squeeze(-1)
    n = number_of_bits(moments.shape[-1])
    rows = []
    for i in range(n):
        block, basis, columns = (left, u, s) if i in right else (right, v, t)
        seen = _moments_of(moments, block, (), i).mT @ basis
        rows.append(linalg.solve(columns.mT, seen, left=False).value.squeeze(-2))
    return weights, torch.stack(rows, -1) / weights.unsqueeze(-1)


def _eigenvectors(matrix: Float[Tensor, "*batch k k"]) -> tuple[Tensor, Tensor]:
    found = linalg.eig(matrix)
    order = found.values.real.argsort(-1)
    columns = order.unsqueeze(-2).expand_as(found.vectors)
    return found.vectors.gather(-1, columns), found.values.gather(-1, order)


def _moments_of(
    moments: Tensor, rows: Sequence[int], columns: Sequence[int], *present: int
) -> Tensor:
    """Moments of A + B + present, subsets A of ``rows`` by subsets B of ``columns``.

    A variable may be in ``present`` and in a block: its square is itself.
    """
    n = number_of_bits(moments.shape[-1])
    batch = moments.shape[:-1]
    grid = moments.reshape(*batch, *(2 for _ in range(n)))
    for i in range(n):
        axis = len(batch) + i
        if i in present:
            grid = grid.select(axis, 1).unsqueeze(axis)
            grid = grid.expand(*grid.shape[:axis], 2, *grid.shape[axis + 1 :])
        if i not in rows and i not in columns:
            grid = grid.select(axis, 0).unsqueeze(axis)
    spare = [i for i in range(n) if i not in rows and i not in columns]
    order = [len(batch) + i for i in (*rows, *columns, *spare)]
    grid = grid.permute(*range(len(batch)), *order)
    return grid.reshape(*batch, 2 ** len(rows), 2 ** len(columns))


def _unsolved(moments: Tensor, n_sources: int, n: int, status: Tensor) -> PencilSolution:
    nan = torch.full(
        (*moments.shape[:-1], n_sources, n), torch.nan, dtype=moments.dtype, device=moments.device
    )
    return PencilSolution(nan[..., 0], nan, status, nan[..., 0], nan[..., 0, 0])
