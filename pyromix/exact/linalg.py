"""The one door to LAPACK: factorisations of stacks in which no matrix harms another.

``torch.linalg`` takes a stack of matrices and raises for all of them when one holds a nan, or when
the iteration fails for one; others it lets through to answers that are no numbers. Here each
matrix of a stack is by itself:

- one that is not finite never reaches LAPACK; a harmless one stands in for it;
- one so large or so small that squares of its entries leave the range of numbers is scaled by a
  power of two, which is exact, and what was found is scaled back;
- where the iteration fails for a stack, its matrices are factorised one by one;
- what could not be had is nan, with a ``Status`` that says why: INVALID_INPUT for entries that are
  not finite, or answers too large for a number; NOT_CONVERGED; RANK_TOO_SMALL for a singular
  matrix where an inverse is asked for.

The others have the numbers that LAPACK gives for them alone. A test forbids ``torch.linalg``
elsewhere in the library. Everything is differentiable where LAPACK's answer is, on the device of
the input; a sound stack costs two reductions besides.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Inexact, Int
from torch import Tensor

from pyromix.exact.sizes import largest, usual, within_limits
from pyromix.model.status import Status, mark

Matrices = Float[Tensor, "*batch m n"]

_Factorise = Callable[..., tuple[Tensor, ...]]
"""From a stack, and perhaps a stack of right-hand sides, to stacks of factors."""

_NoConvergence = torch.linalg.LinAlgError  # pyright: ignore[reportPrivateImportUsage]


@dataclass(frozen=True, eq=False)
class Eigh:
    """Symmetric eigenproblems.

    Attributes:
        values: ascending.
        vectors: orthonormal, a column per value.
        status: a ``Status`` per matrix; the others are nan where it is not OK.
    """

    values: Float[Tensor, "*batch n"]
    vectors: Float[Tensor, "*batch n n"]
    status: Int[Tensor, "*batch"]


@dataclass(frozen=True, eq=False)
class Eig:
    """Eigenproblems of any real matrices.

    Attributes:
        values: in no order.
        vectors: of length one, a column per value.
        status: as for ``Eigh``.
    """

    values: Complex[Tensor, "*batch n"]
    vectors: Complex[Tensor, "*batch n n"]
    status: Int[Tensor, "*batch"]


@dataclass(frozen=True, eq=False)
class Svd:
    """Singular value decompositions ``u diag(values) vh``.

    Attributes:
        u: orthonormal columns.
        values: descending.
        vh: orthonormal rows.
        status: as for ``Eigh``.
    """

    u: Float[Tensor, "*batch m p"]
    values: Float[Tensor, "*batch q"]
    vh: Float[Tensor, "*batch r n"]
    status: Int[Tensor, "*batch"]


@dataclass(frozen=True, eq=False)
class Lu:
    """Factors of square matrices, for ``lu_solve``.

    Attributes:
        factor: both triangles in one.
        pivots: interchanges of rows.
        scale: what solutions are multiplied by: one, or a power of two; nan where there is none.
        status: as for ``Eigh``.
    """

    factor: Float[Tensor, "*batch n n"]
    pivots: Int[Tensor, "*batch n"]
    scale: Float[Tensor, "*batch"]
    status: Int[Tensor, "*batch"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """One tensor per matrix.

    Attributes:
        value: eigenvalues, an inverse, a solution or a triangle; nan where the status is not OK.
        status: a ``Status`` per matrix.
    """

    value: Inexact[Tensor, ...]
    status: Int[Tensor, ...]


def eigh(stack: Float[Tensor, "*batch n n"]) -> Eigh:
    """Eigenvalues and eigenvectors of symmetric matrices, read from the lower triangles."""
    (values, vectors), status = _factorised(torch.linalg.eigh, (1, 0), (stack,))
    return Eigh(values, vectors, status)


def eigvalsh(stack: Float[Tensor, "*batch n n"]) -> Outcome:
    """Eigenvalues of symmetric matrices, ascending, ``(*batch, n)``."""
    (values,), status = _factorised(lambda a: (torch.linalg.eigvalsh(a),), (1,), (stack,))
    return Outcome(values, status)


def eig(stack: Float[Tensor, "*batch n n"]) -> Eig:
    """Complex eigenvalues and eigenvectors."""
    (values, vectors), status = _factorised(torch.linalg.eig, (1, 0), (stack,))
    return Eig(values, vectors, status)


def eigvals(stack: Float[Tensor, "*batch n n"]) -> Outcome:
    """Complex eigenvalues, ``(*batch, n)``."""
    (values,), status = _factorised(lambda a: (torch.linalg.eigvals(a),), (1,), (stack,))
    return Outcome(values, status)


def svd(stack: Matrices, *, full_matrices: bool = False) -> Svd:
    """Singular values and vectors.

    Args:
        stack: matrices.
        full_matrices: square ``u`` and ``vh``, else only as many vectors as there are values.
    """

    def factorise(a: Tensor) -> tuple[Tensor, ...]:
        u, values, vh = torch.linalg.svd(a, full_matrices=full_matrices)
        return values, u, vh

    (values, u, vh), status = _factorised(factorise, (1, 0, 0), (stack,))
    return Svd(u, values, vh, status)


def triangle(stack: Matrices) -> Outcome:
    """The upper triangle R of a QR factorisation, ``(*batch, min(m, n), n)``."""
    (r,), status = _factorised(lambda a: (torch.linalg.qr(a, mode="r").R,), (1,), (stack,))
    return Outcome(r, status)


def pinv(stack: Matrices) -> Outcome:
    """Pseudo-inverses, ``(*batch, n, m)``; singular values at rounding count as zero."""
    (inverse,), status = _factorised(lambda a: (torch.linalg.pinv(a),), (-1,), (stack,))
    return Outcome(inverse, status)


def inv(stack: Float[Tensor, "*batch n n"]) -> Outcome:
    """Inverses, ``(*batch, n, n)``."""

    def factorise(a: Tensor) -> tuple[Tensor, ...]:
        inverse, info = torch.linalg.inv_ex(a)
        return (_unless_singular(inverse, info),)

    (inverse,), status = _factorised(factorise, (-1,), (stack,), Status.RANK_TOO_SMALL)
    return Outcome(inverse, status)


def solve(
    stack: Float[Tensor, "*batch n n"], right: Float[Tensor, "*batch a b"], *, left: bool = True
) -> Outcome:
    """Solve ``stack x = right``, or ``x stack = right`` where not ``left``.

    Args:
        stack: square matrices.
        right: of the same batch shape.
        left: on which side of x the matrix stands.
    """

    def factorise(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        solution, info = torch.linalg.solve_ex(a, b, left=left)
        return (_unless_singular(solution, info),)

    (solution,), status = _factorised(factorise, (-1,), (stack, right), Status.RANK_TOO_SMALL)
    return Outcome(solution, status)


def solve_triangular(
    stack: Float[Tensor, "*batch n n"], right: Float[Tensor, "*batch n b"], *, upper: bool
) -> Outcome:
    """Solve ``stack x = right`` with triangular matrices.

    Args:
        stack: square matrices; the other triangle is zero.
        right: of the same batch shape.
        upper: which triangle is filled.
    """

    def factorise(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        return (torch.linalg.solve_triangular(a, b, upper=upper),)

    (solution,), status = _factorised(factorise, (-1,), (stack, right), Status.RANK_TOO_SMALL)
    return Outcome(solution, status)


def lu(stack: Float[Tensor, "*batch n n"]) -> Lu:
    """Factors for several right-hand sides that are not known at once."""

    def factorise(a: Tensor) -> tuple[Tensor, ...]:
        factor, pivots, info = torch.linalg.lu_factor_ex(a)
        return _unless_singular(factor, info), pivots, factor.new_ones(a.shape[:-2])

    # The factors are those of the scaled matrix; a one, taken along as if it were an inverse,
    # becomes what is left to multiply by. It is nan where the factors are: these alone would not
    # reach a solution whose right-hand side is zero.
    (factor, pivots, scale), status = _factorised(
        factorise, (0, 0, -1), (stack,), Status.RANK_TOO_SMALL, look=False
    )
    return Lu(factor, pivots, scale, status)


def lu_solve(factors: Lu, right: Float[Tensor, "*batch n b"]) -> Float[Tensor, "*batch n b"]:
    """Solutions x of ``stack x = right``; nan where the status of the factors is not OK."""
    solution = torch.linalg.lu_solve(factors.factor, factors.pivots, right)
    return solution * factors.scale[..., None, None]


def rescaled(
    stack: Float[Tensor, "*batch _ _"] | Float[Tensor, "*batch _ _ _"], dims: tuple[int, ...]
) -> tuple[Tensor, Tensor | None]:
    """Multiply what is out of range by powers of two: exact, but for entries that vanish beside.

    Args:
        stack: any numbers.
        dims: the axes of one element.

    Returns:
        The stack with the largest entries of such elements between 2 and 4, and the factors
        ``(*batch)``, one for all others; the stack itself and None where there is none.
    """
    if usual(stack, dims):
        return stack, None
    size = largest(stack, dims)
    scale = within_limits(size)
    return stack * scale[(..., *(None for _ in dims))], scale


# -- the door ----------------------------------------------------------------------------------


def _factorised(
    factorise: _Factorise,
    degrees: tuple[int, ...],
    stacks: tuple[Tensor, ...],
    no_number: Status = Status.INVALID_INPUT,
    *,
    look: bool = True,
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Factorise a stack at once where all is well, else with care.

    Args:
        factorise: of a stack, by LAPACK; the first factor has a nan where there is no answer.
        degrees: the power of the matrix's scale that each factor has.
        stacks: matrices ``(*batch, m, n)``, and perhaps right-hand sides.
        no_number: what a matrix is called whose entries are finite and whose factor is not.
        look: at the matrices first; otherwise only at the factor, where it shows all that is amiss.

    Returns:
        The factors, nan where the status is not OK, and the status.
    """
    if not stacks[0].numel():
        return factorise(*stacks), _all_ok(stacks[0])
    if not look or usual(stacks[0]):
        try:
            found = factorise(*stacks)
        except _NoConvergence:
            return _with_care(factorise, degrees, stacks, no_number)
        # A finite sum has finite terms; one that overflows is looked at again and comes to no harm.
        if cmath.isfinite(found[0].detach().sum().item()):
            return found, _all_ok(stacks[0])
    return _with_care(factorise, degrees, stacks, no_number)


def _with_care(
    factorise: _Factorise, degrees: tuple[int, ...], stacks: tuple[Tensor, ...], no_number: Status
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Factorise what is finite, scaled where out of range, one by one where the stack fails."""
    size = largest(stacks[0])
    finite = torch.stack([largest(s).isfinite() for s in stacks]).all(0)
    scale = within_limits(size)
    safe = [_standing_in(stacks[0] * scale[..., None, None], finite)]
    safe += [_standing_in(s, finite) for s in stacks[1:]]
    try:
        found, converged = factorise(*safe), torch.ones_like(finite)
    except _NoConvergence:
        found, converged = _one_by_one(factorise, safe)
    found = [
        f * _aligned(scale if degree < 0 else scale.reciprocal(), f, size.ndim) if degree else f
        for f, degree in zip(found, degrees, strict=True)
    ]
    numbers = found[0].detach().isfinite().flatten(size.ndim).all(-1)
    status = mark(_all_ok(stacks[0]), ~finite, Status.INVALID_INPUT)
    status = mark(status, ~converged, Status.NOT_CONVERGED)
    status = mark(status, ~numbers, no_number)
    bad = status != Status.OK
    return tuple(_nan_where(bad, f) for f in found), status


def _one_by_one(
    factorise: _Factorise, stacks: Sequence[Tensor]
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Factorise every matrix by itself; also whether that worked."""
    batch = stacks[0].shape[:-2]
    singles = [s.reshape(-1, *s.shape[-2:]).unbind(0) for s in stacks]
    nothing = torch.zeros((), dtype=torch.bool, device=stacks[0].device)
    spare = factorise(*(_standing_in(parts[0], nothing) for parts in singles))
    rows, converged = [], []
    for parts in zip(*singles, strict=True):
        try:
            rows.append(factorise(*parts))
            converged.append(True)
        except _NoConvergence:
            rows.append(spare)
            converged.append(False)
    found = tuple(torch.stack(f).reshape(*batch, *f[0].shape) for f in zip(*rows, strict=True))
    worked = torch.tensor(converged, device=stacks[0].device).reshape(batch)
    return found, worked


def _unless_singular(factor: Tensor, info: Tensor) -> Tensor:
    """The factor, nan where LAPACK met a pivot that is zero."""
    return _nan_where(info != 0, factor) if bool(info.any()) else factor


def _nan_where(bad: Tensor, found: Tensor) -> Tensor:
    """Numbers that are none; pivots, which are whole, stay."""
    if not (found.is_floating_point() or found.is_complex()):
        return found
    nan = complex(math.nan, math.nan) if found.is_complex() else math.nan
    return torch.where(_aligned(bad, found, bad.ndim), nan, found)


def _standing_in(stack: Tensor, finite: Tensor) -> Tensor:
    """The stack with diag(1, 2, ..) where it is not finite: derivatives of that exist too."""
    m, n = stack.shape[-2:]
    diagonal = torch.arange(1, min(m, n) + 1, dtype=stack.dtype, device=stack.device)
    other = stack.new_zeros(m, n)
    other.diagonal().copy_(diagonal)
    return torch.where(finite[..., None, None], stack, other)


def _aligned(per_matrix: Tensor, found: Tensor, n_batch: int) -> Tensor:
    """One number per matrix, with axes of length one for those of a factor."""
    return per_matrix[(..., *(None for _ in range(found.ndim - n_batch)))]


def _all_ok(stack: Tensor) -> Tensor:
    return torch.zeros(stack.shape[:-2], dtype=torch.int64, device=stack.device)
