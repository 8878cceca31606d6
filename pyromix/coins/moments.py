"""k-MixIID: from the moments of k coins to the coins (THEORY section 2).

One success probability x in [0, 1] is drawn per unit from k values, and a unit shows flips of it:
mu_i = E[x^i] = sum over u of pi_u x_u^i. The Hankel matrix [mu_{i+j}], i, j = 0..k, has rank k, and
the polynomial in its kernel has the x_u as roots (Prony; [gordon21colt, Sec. 2], THEORY 2.1), which
are also the generalised eigenvalues of ([mu_{i+j+1}], [mu_{i+j}]), i, j < k ([kim19], THEORY 2.2).
``solve_moments`` is batched and returns an outcome code per element;
``identify_iid`` is the front door and raises.

Median Wasserstein-1 error (times 1e4) of the methods when k coins are asked for, 1e5 units of 4k
flips, coins (j + 1/2)/r with equal weights; tests/benchmarks/test_bench_iid.py prints it again::

                    r = k coins there            r = k - 1 coins there
    k             2     3     4     5             2     3     4     5
    hankel       15    26    59   132             6    15    23    45
    prony        15    27    56   132             6    15    26    57
    pencil       15    26    59   132             8    17    33    68
    esprit       25    41    64   132            17    32    48    70   (1 to 5% complex)
    likelihood   14    19    42    64             9    18    23    42

With 2k - 1 flips and moments that k coins can have, the first three are the same function. The
symmetric form has real atoms and weights on the simplex whatever the moments are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.coins.prony import (
    legendre_transform,
    linearisation,
    multiplication,
    orthogonal_polynomials,
    project,
    quadrature,
    rounding,
    square_coefficients,
)
from pyromix.errors import (
    DataError,
    IdentificationError,
    NumericalWarning,
    RankError,
    SeparationError,
    warn,
)
from pyromix.exact import linalg
from pyromix.model.arguments import numbers_as_tensor, one_of, shown, whole
from pyromix.model.status import Status, followed_by, mark

MOMENT_METHODS = ("hankel", "prony", "pencil", "esprit")

MAX_COINS = 1000
"""Largest k: the matrices of its moments have k^2 entries, and rounding ends far below."""

NOISE_FLOOR = 2.0
"""Standard errors by which the k-th singular value must exceed zero."""

MOMENT_TOLERANCE = 1e-9
"""How far mu_0 may lie from one."""

COMPLEX_TOLERANCE = 1e-7
"""Imaginary parts up to here are rounding of a double eigenvalue."""

PROJECTION_TOLERANCE = 1e-8
"""Moments of the answer may differ by this much from those given without a warning."""


@dataclass(frozen=True, eq=False)
class MomentSolution:
    """Coins recovered from moments, and how far they can be trusted.

    Attributes:
        probs: atoms in [0, 1], ascending, ``(*batch, k)``; nan where the input was invalid, or
            where the method has no answer.
        weights: on the simplex, ``(*batch, k)``; nan likewise.
        status: a ``Status`` per element.
        singular_values: of the k x k Hankel matrix in the Legendre basis, descending.
        floor: what the k-th singular value must exceed: the rounding of the moments, or
            ``NOISE_FLOOR`` standard errors where their covariance is known.
        residual: largest difference of mu_0..mu_{2k-1} from the moments of the answer: how far
            they had to be projected.
        excess: mu_2k minus the least it can be given mu_0..mu_{2k-1}, in units of the square of a
            monic polynomial; zero if and only if k coins suffice. nan without mu_2k.
        excess_error: its standard error, by the covariance of the moments; the rounding where
            that is not known.
    """

    probs: Float[Tensor, "*batch k"]
    weights: Float[Tensor, "*batch k"]
    status: Int[Tensor, "*batch"]
    singular_values: Float[Tensor, "*batch k"]
    floor: Float[Tensor, "*batch"]
    residual: Float[Tensor, "*batch"]
    excess: Float[Tensor, "*batch"]
    excess_error: Float[Tensor, "*batch"]


def identify_iid(
    moments: Any,
    n_sources: int,
    *,
    method: str = "hankel",
    covariance: Any = None,
) -> tuple[Float[Tensor, "*batch k"], Float[Tensor, "*batch k"]]:
    """Recover k coins from the moments mu_0..mu_m of their mixture, m >= 2k - 1.

    Args:
        moments: any sequence of numbers, or an array or tensor ``(*batch, m + 1)``.
        n_sources: k.
        method: ``"hankel"``, the symmetric eigenproblem after projection onto the moment space;
            or, to compare, ``"prony"`` [gordon21colt], ``"pencil"`` [kim19], or ``"esprit"``,
            shift invariance of the rectangular Hankel matrix of all moments.
        covariance: of the moments, ``(*batch, m + 1, m + 1)``, when they are estimates. Then rank
            is judged against noise; otherwise against rounding.

    Returns:
        probs, ascending, and weights, both ``(*batch, k)``.

    Raises:
        DataError: the moments are not finite, not in [0, 1], or do not begin with 1.
        QueryError: unknown method.
        IdentificationError: fewer than 2k moments.
        RankError: the moments are those of fewer than k coins, up to rounding or noise.
        SeparationError: coins merged in the projection, or are a complex pair.
    """
    values = as_float_tensor(moments, "moments")
    spread = None if covariance is None else as_float_tensor(covariance, "covariance")
    if not values.ndim:
        raise DataError(
            f"moments must be a list mu_0, mu_1, ..., found one number {shown(moments)}"
        )
    if spread is not None and spread.shape != (*values.shape, values.shape[-1]):
        raise DataError(
            f"covariance must have a row and a column for each of {values.shape[-1]} moments, "
            f"found {shown(spread)}"
        )
    solution = solve_moments(values, n_sources, method=method, covariance=spread)
    bad = (solution.status != Status.OK).nonzero()
    if len(bad):
        _raise(solution, tuple(bad[0].tolist()), values, n_sources)
    moved = float(solution.residual.max()) if solution.residual.numel() else 0.0
    if moved > PROJECTION_TOLERANCE:
        warn(
            f"expected moments of a law on [0, 1]; found none with k={n_sources} coins, and moved "
            f"a moment by {moved:.3g} to reach one; pass `covariance` to have this judged against "
            "noise, or use px.fit_iid on the counts",
            NumericalWarning,
        )
    return solution.probs, solution.weights


def solve_moments(
    moments: Float[Tensor, "*batch moments"],
    n_sources: int,
    *,
    method: str = "hankel",
    covariance: Float[Tensor, "*batch moments moments"] | None = None,
) -> MomentSolution:
    """Recover k coins from every batch element; never raises for one bad element.

    Args:
        moments: mu_0..mu_m, m >= 2k - 1. "hankel" and "pencil" use 2k of them, "prony" one more
            if it is there, "esprit" all; mu_2k also checks that k suffices.
        n_sources: k.
        method: as in ``identify_iid``.
        covariance: of the moments, or None when they are exact.

    Raises:
        QueryError: unknown method.
        DataError: k is not a positive integer.
        IdentificationError: fewer than 2k moments.
    """
    k, order = n_sources, moments.shape[-1] - 1
    one_of("method", method, MOMENT_METHODS)
    k = check_n_sources(k)
    if order < 2 * k - 1:
        raise IdentificationError(
            f"k={k} coins need the moments mu_0..mu_{2 * k - 1}, found only up to mu_{order}: two "
            f"mixtures of {k} coins can share all of these; bring units with {2 * k - 1} flips, "
            f"or ask for n_sources <= {(order + 1) // 2}"
        )
    valid = _valid(moments)
    # A fair coin stands in for invalid elements, so that no nan reaches an eigenvalue routine.
    fair = 0.5 ** torch.arange(order + 1, dtype=torch.float64, device=moments.device)
    moments = torch.where(valid.unsqueeze(-1), moments, fair)
    legendre = moments @ legendre_transform(order, moments.device).mT
    gram = _gram(legendre, k)
    polynomials, centres, norms = orthogonal_polynomials(gram, k)
    floors = rounding(polynomials, moments[..., : 2 * k + 1])

    codes = torch.zeros_like(valid, dtype=torch.int64)
    codes = mark(codes, ~valid, Status.INVALID_INPUT)
    spectrum = linalg.eigh(gram[..., :k, :k])
    codes = followed_by(codes, spectrum.status)
    singular_values, least = spectrum.values, spectrum.vectors[..., 0]
    errors = _standard_errors(least.unsqueeze(-2), moments, k, covariance)[..., 0]
    codes = mark(codes, singular_values[..., 0] <= errors, Status.RANK_TOO_SMALL)
    if method == "hankel":
        jacobi, linked = project(centres, norms, floors)
        probs, weights = quadrature(jacobi, linked)
        codes = mark(codes, ~linked.all(-1), Status.MERGED)
        codes = mark(codes, ~probs.isfinite().all(-1), Status.NOT_CONVERGED)
    else:
        probs, imaginary = _ROOTS[method](moments, legendre, k)
        codes = mark(codes, ~probs.isfinite().all(-1), Status.RANK_TOO_SMALL)
        codes = mark(codes, (imaginary.abs() > COMPLEX_TOLERANCE).any(-1), Status.COMPLEX_PAIR)
        probs, weights = _weigh(probs.clamp(0.0, 1.0), moments, k)
        codes = mark(codes, ~weights.isfinite().all(-1), Status.NOT_CONVERGED)

    if order >= 2 * k:
        excess = norms[..., k]
        excess_error = _standard_errors(polynomials[..., k:, :], moments, k, covariance)[..., 0]
        if covariance is not None:
            excess_error = excess_error / NOISE_FLOOR
    else:
        excess = excess_error = torch.full_like(norms[..., 0], torch.nan)
    powers = probs.unsqueeze(-1) ** torch.arange(2 * k, device=moments.device)
    fitted = (weights.unsqueeze(-2) @ powers).squeeze(-2)
    nan = torch.where(valid, 0.0, torch.nan)
    return MomentSolution(
        probs=probs + nan.unsqueeze(-1),
        weights=weights + nan.unsqueeze(-1),
        status=codes,
        singular_values=singular_values.flip(-1) + nan.unsqueeze(-1),
        floor=errors + nan,
        residual=(fitted - moments[..., : 2 * k]).abs().amax(-1) + nan,
        excess=excess + nan,
        excess_error=excess_error + nan,
    )


def as_float_tensor(values: Any, name: str) -> Float[Tensor, ...]:
    """Read numbers; a tensor keeps its device.

    Raises:
        DataError: not numbers, or a ragged nesting.
    """
    if isinstance(values, Tensor):
        return numbers_as_tensor(name, values, values.device, DataError)
    if isinstance(values, Sequence) and any(isinstance(v, Tensor) for v in values):
        values = [v.tolist() if isinstance(v, Tensor) else v for v in values]
    if isinstance(values, np.ndarray) and np.iscomplexobj(values):
        raise DataError(f"{name} must be real numbers, found {shown(values)}")
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{name} must be numbers, found {shown(values)}") from error
    return torch.tensor(array, dtype=torch.float64, device="cpu")


def check_n_sources(n_sources: Any) -> int:
    """Return k, a positive integer.

    Raises:
        DataError: it is none, or so large that its moments would not fit.
    """
    return whole("n_sources", n_sources, 1, MAX_COINS, DataError, "ask for fewer coins")


def _valid(moments: Tensor) -> Tensor:
    finite = moments.isfinite().all(-1)
    inside = ((moments >= -MOMENT_TOLERANCE) & (moments <= 1 + MOMENT_TOLERANCE)).all(-1)
    return finite & inside & ((moments[..., 0] - 1).abs() <= MOMENT_TOLERANCE)


def _gram(legendre: Tensor, k: int) -> Tensor:
    """``E[P_i P_j]``, i, j = 0..k; without mu_2k its last entry is what the others imply of it."""
    table = linearisation(k, legendre.device)[: legendre.shape[-1]]
    return torch.einsum("...l,lij->...ij", legendre[..., : 2 * k + 1], table)


def _standard_errors(
    polynomials: Tensor, moments: Tensor, k: int, covariance: Tensor | None
) -> Tensor:
    """What ``E[q^2]`` must exceed: the rounding, and the noise where it is known.

    A singular value and the excess of mu_2k are minima of ``E[q^2]`` over polynomials q, so to
    first order they move with the moments as if q were fixed.
    """
    moments = moments[..., : 2 * k + 1]
    floors = rounding(polynomials, moments)
    if covariance is None:
        return floors
    squares = square_coefficients(polynomials)[..., : moments.shape[-1]]
    size = squares.shape[-1]
    powers = squares @ legendre_transform(size - 1, moments.device)
    variance = (powers @ covariance[..., :size, :size] * powers).sum(-1)
    return torch.maximum(floors, NOISE_FLOOR * variance.clamp_min(0).sqrt())


def _prony(moments: Tensor, legendre: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Roots of the polynomial that the Hankel matrix sends to zero [gordon21colt, Sec. 2].

    With mu_2k it is the eigenvector of the least eigenvalue of the square matrix; without, the
    last right singular vector of the k x (k + 1) one.
    """
    if moments.shape[-1] > 2 * k:
        q = linalg.eigh(_hankel(moments, k + 1, k + 1)).vectors[..., :, 0]
    else:
        q = linalg.svd(_hankel(moments, k, k + 1), full_matrices=True).vh[..., -1, :]
    companion = torch.diag_embed(torch.ones_like(q[..., 1:k]), -1)
    companion[..., :, -1] = -q[..., :k] / q[..., k:]
    return _eigenvalues(companion)


def _pencil(moments: Tensor, legendre: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Generalised eigenvalues of (mu_{i+j+1}, mu_{i+j}) [kim19]."""
    first, second = _hankel(moments, k, k), _hankel(moments[..., 1:], k, k)
    return _eigenvalues(linalg.solve(first, second).value)


def _esprit(moments: Tensor, legendre: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Shift invariance of the rectangular Gram matrix of all moments, truncated to rank k."""
    columns = legendre.shape[-1] // 2
    rows = legendre.shape[-1] - columns
    table = linearisation(rows, legendre.device)[: legendre.shape[-1]]
    gram = torch.einsum("...l,lij->...ij", legendre, table[:, : rows + 1, : columns + 1])
    # Row i of the shifted matrix holds E[x P_i P_j]: x P_i reaches one row further.
    shift = multiplication(rows, legendre.device)[:rows]
    found = linalg.svd(gram[..., :rows, :columns])
    left, values, right = found.u[..., :k], found.values[..., :k], found.vh[..., :k, :]
    shifted = left.mT @ (shift @ gram[..., :columns]) @ right.mT
    return _eigenvalues(shifted / values.unsqueeze(-2))


_ROOTS = {"prony": _prony, "pencil": _pencil, "esprit": _esprit}


def _hankel(moments: Tensor, rows: int, columns: int) -> Tensor:
    return moments[..., : rows + columns - 1].unfold(-1, columns, 1)


def _eigenvalues(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary parts by ascending real part; nan where there are none."""
    values = linalg.eigvals(matrix).value
    real, order = values.real.sort(-1)
    return real, values.imag.gather(-1, order)


def _weigh(probs: Tensor, moments: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Weights from the Vandermonde system of k moments; what is negative is cut off."""
    powers = probs.unsqueeze(-2) ** torch.arange(k, device=probs.device).unsqueeze(-1)
    weights = (linalg.pinv(powers).value @ moments[..., :k].unsqueeze(-1)).squeeze(-1)
    weights = weights.clamp_min(0.0)
    total = weights.sum(-1, keepdim=True)
    return probs, torch.where(total == 0, 1 / k, weights / total)


def _raise(solution: MomentSolution, index: tuple[int, ...], moments: Tensor, k: int) -> None:
    """Raise what became of one element."""
    status = Status(int(solution.status[index]))
    where = f" of element {index}" if index else ""
    found = [round(v, 12) for v in moments[index].tolist()]
    if status is Status.INVALID_INPUT:
        raise DataError(
            f"expected moments in [0, 1] that begin with mu_0 = 1; found{where} {found}; divide by "
            "the total mass, and look for nan"
        )
    if status is Status.RANK_TOO_SMALL:
        values = tuple(solution.singular_values[index].tolist())
        floor = float(solution.floor[index])
        raise RankError(
            f"expected {k} coins; the {k}-th singular value{where} is {values[-1]:.3g}, not above "
            f"its floor {floor:.3g}; {status.advice}",
            singular_values=values,
            floor=floor,
        )
    raise SeparationError(
        f"expected {k} coins; found{where} probabilities "
        f"{[round(v, 6) for v in solution.probs[index].tolist()]} ({status.name}); {status.advice}"
    )
