"""Three views in whitened coordinates: from third moments to the sources.

A view is a vector of functions of its variables. Whitened by its own second moments and rotated to
the singular vectors of the first two views, it has k coordinates in which

    core[c, i, j] = E[z_c z_i z_j] = sum over u of pi_u third[u, c] left[u, i] right[u, j],

and ``core[0]`` is diagonal with the canonical correlations of the first two views, because
coordinate 0 of the third view is the constant one. Noise is nearly the same in every entry, so
plain least squares is nearly efficient. Views may be joint tables (``tables.identify_tables``) or
any features (``views``): what follows does not ask.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.exact import linalg
from pyromix.identify.views.joint_diagonalisation import best_combination, joint_diagonalise
from pyromix.identify.views.simplex import simplex_least_squares
from pyromix.model.randomness import RandomState, torch_generator
from pyromix.model.status import Status, mark

COMBINATIONS = 20
"""Random combinations of the third view's slices, of which the best is the start."""

EXACT_NOISE = 1e-14
"""Standard error of a whitened moment that is exact but for rounding."""

IMAGINARY_TOLERANCE = 1e-7
"""Imaginary parts up to here are rounding of nearly equal eigenvalues."""

ALTERNATIONS = 30
"""Rounds of alternating least squares after the joint diagonalisation."""

LOOK_EVERY = 5
"""Rounds between looks at the misfit; a divisor of ``ALTERNATIONS``."""

NO_PROGRESS = 1e-4
"""Share of the misfit by which it must fall between two looks, so that the rounds go on."""

EXACT_RESIDUAL = 1e-8
"""Relative misfit below which the joint diagonalisation is left as it is: normal equations would
square the rounding."""


@dataclass(frozen=True, eq=False)
class CoreSolution:
    """Sources in whitened coordinates.

    Attributes:
        weights: on the simplex, ``(*batch, k)``.
        left: within-source means of the first view's coordinates, ``(*batch, k, k)``, scaled so
            that the constant has mean one.
        right: the same for the second view.
        third: the same for the third, ``(*batch, k, c)``.
        status: a ``Status`` per element: OK, COMPLEX_PAIR, MERGED or NOT_CONVERGED; INVALID_INPUT
            where what is given is not finite. Sources are nan where a step had no answer.
        eigen_gap: smallest distance between two sources in the third view; infinite for one
            source.
        separation: that distance in standard errors.
        imaginary: largest imaginary part of an eigenvalue of the best combination, relative.
        residual: root mean square misfit of the core in units of its noise.
        standard_error: root mean square standard error of the within-source means, by the
            derivative of the core; infinite where that lacks rank or is not finite.
    """

    weights: Float[Tensor, "*batch k"]
    left: Float[Tensor, "*batch k i"]
    right: Float[Tensor, "*batch k j"]
    third: Float[Tensor, "*batch k c"]
    status: Int[Tensor, "*batch"]
    eigen_gap: Float[Tensor, "*batch"]
    separation: Float[Tensor, "*batch"]
    imaginary: Float[Tensor, "*batch"]
    residual: Float[Tensor, "*batch"]
    standard_error: Float[Tensor, "*batch"]


def solve_core(
    core: Float[Tensor, "*batch c k k"],
    values: Float[Tensor, "*batch k"],
    left_one: Float[Tensor, "*batch k"],
    right_one: Float[Tensor, "*batch k"],
    noise: Float[Tensor, "*batch"],
    random_state: RandomState = 0,
) -> CoreSolution:
    """Find the sources behind whitened third moments.

    Eigenvectors of the best of several random combinations of the slices [leurgans93], then joint
    diagonalisation of all slices, then alternating least squares on the core, then the weights on
    the simplex.

    Args:
        core: third moments; slice 0 belongs to the constant.
        values: canonical correlations of the first two views, positive.
        left_one: coordinates of the constant one in the first view.
        right_one: in the second view.
        noise: standard error of an entry of the core.
        random_state: of the random combinations.
    """
    k = values.shape[-1]
    root = values.sqrt()
    slices = core[..., 1:, :, :] / (root.unsqueeze(-1) * root.unsqueeze(-2)).unsqueeze(-3)
    start, _, imaginary = best_combination(_combinations(slices, random_state))
    basis, inverse, diagonals, converged = joint_diagonalise(slices, start)
    left = (root.unsqueeze(-1) * basis).mT
    right = inverse * root.unsqueeze(-2)
    ones = torch.ones_like(diagonals[..., :1, :]) if slices.shape[-3] else torch.ones_like(values)
    third = torch.cat([ones.reshape(*values.shape[:-1], 1, k), diagonals], -2).mT
    gap, separation = _separation(third, basis, inverse, root, noise)

    status = torch.full(noise.shape, Status.OK, dtype=torch.int64, device=core.device)
    given = _finite(noise.ndim, core, values, left_one, right_one)
    status = mark(status, ~given, Status.INVALID_INPUT)
    status = mark(status, imaginary.isnan(), Status.NOT_CONVERGED)
    status = mark(status, imaginary > IMAGINARY_TOLERANCE, Status.COMPLEX_PAIR)
    status = mark(status, separation < 1, Status.MERGED)
    status = mark(status, ~converged, Status.NOT_CONVERGED)

    left, right, third = alternating_least_squares(core, left, right, third)
    left = _scaled(left, left @ left_one.unsqueeze(-1))
    right = _scaled(right, right @ right_one.unsqueeze(-1))
    third = _scaled(third, third[..., :1])
    weights = fit_weights(core, left, right, third)
    misfit = core - assemble(weights, left, right, third)
    residual = misfit.square().mean((-3, -2, -1)).sqrt() / noise
    # The misfit has a nan wherever a source has one.
    status = mark(status, ~residual.isfinite(), Status.NOT_CONVERGED)
    error = noise * error_factor(weights, left, right, third)
    return CoreSolution(
        weights, left, right, third, status, gap, separation, imaginary, residual, error
    )


def third_coordinates(
    core: Float[Tensor, "*batch c k k"], one: Float[Tensor, "*batch c"], n_sources: int
) -> Float[Tensor, "*batch c d"]:
    """Coordinates of the third view that the sources span: the constant, then k - 1 directions.

    Args:
        core: whitened third moments.
        one: coordinates of the constant in the third view, of length one.
        n_sources: k.

    Returns:
        Orthonormal columns, ``d = min(k, c)``; nan but for the first where the core is not finite.
    """
    flat = core.flatten(-2)
    rest = flat - one.unsqueeze(-1) * (one.unsqueeze(-2) @ flat)
    directions = linalg.svd(rest).u
    n = min(n_sources, core.shape[-3]) - 1
    return torch.cat([one.unsqueeze(-1), directions[..., :n]], -1)


def signal_values(values: Float[Tensor, "*batch q"], n_sources: int) -> Float[Tensor, "*batch k"]:
    """The first k singular values, none below rounding, so that dividing by them is safe."""
    return values[..., :n_sources].clamp_min(torch.finfo(values.dtype).eps)


def noise_floor(
    m: Int[Tensor, "*batch"],
    n: Int[Tensor, "*batch"],
    n_sources: int,
    noise: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch"]:
    """What noise alone makes of the k-th singular value when there are k - 1 sources.

    The k - 1 sources leave an (m - k + 1) x (n - k + 1) block of noise, whose largest singular
    value is about the sum of the roots of its sides. For k near m / 2 this is the
    ``sqrt((m + n) / N)`` of THEORY section 9, which does not depend on k.

    Args:
        m: number of states, or of independent features, of the first view.
        n: of the second.
        n_sources: k.
        noise: standard error of an entry.
    """
    sides = ((size - n_sources + 1).clamp_min(1).sqrt() for size in (m, n))
    return sum(sides, torch.zeros_like(noise)) * noise


def assemble(
    weights: Float[Tensor, "*batch k"],
    left: Float[Tensor, "*batch k i"],
    right: Float[Tensor, "*batch k j"],
    third: Float[Tensor, "*batch k c"],
) -> Float[Tensor, "*batch c i j"]:
    """Third moments of a mixture: sum over u of the outer products."""
    pairs = (weights.unsqueeze(-1) * third).mT @ khatri_rao(left, right)
    return pairs.unflatten(-1, (left.shape[-1], right.shape[-1]))


def khatri_rao(
    one: Float[Tensor, "*batch k i"], other: Float[Tensor, "*batch k j"]
) -> Float[Tensor, "*batch k ij"]:
    """Outer products of the rows of two matrices, flattened, the first index slowest."""
    return (one.unsqueeze(-1) * other.unsqueeze(-2)).flatten(-2)


def error_factor(
    weights: Float[Tensor, "*batch k"],
    left: Float[Tensor, "*batch k i"],
    right: Float[Tensor, "*batch k j"],
    third: Float[Tensor, "*batch k c"],
) -> Float[Tensor, "*batch"]:
    """How much least squares magnifies noise: standard error of the means per noise of the core.

    The root mean square over directions of the inverse singular values of the derivative of the
    core in all three views, weights absorbed in the third. Two scales per source are free, so that
    many singular values are zero and left out. Infinite where the others are too, or cannot be
    found: nothing is then known of the error.
    """
    views = (left, right, weights.unsqueeze(-1) * third)
    grams = [view @ view.mT for view in views]
    blocks: list[list[Tensor]] = [[], [], []]
    for a, view in enumerate(views):
        eye = torch.eye(view.shape[-1], dtype=view.dtype, device=view.device)
        for b, other in enumerate(views):
            if a == b:
                rest = grams[a - 1] * grams[a - 2]
                block = rest[..., :, None, :, None] * eye[:, None, :]
            else:
                # In axes of sources and coordinates of the rows, then of the columns.
                block = grams[3 - a - b][..., :, None, :, None] * other[..., :, None, None, :]
                block = block * view.mT[..., None, :, :, None]
            blocks[a].append(block.flatten(-2).flatten(-3, -2))
    normal = torch.cat([torch.cat(row, -1) for row in blocks], -2)
    values = linalg.eigvalsh(normal).value[..., 2 * weights.shape[-1] :]
    least = torch.finfo(values.dtype).eps * values[..., -1:]
    return torch.where(values > least, values.reciprocal(), torch.inf).mean(-1).sqrt()


def fit_weights(
    core: Float[Tensor, "*batch c i j"],
    left: Float[Tensor, "*batch k i"],
    right: Float[Tensor, "*batch k j"],
    third: Float[Tensor, "*batch k c"],
) -> Float[Tensor, "*batch k"]:
    """Weights on the simplex that fit the third moments best."""
    design = khatri_rao(third, khatri_rao(left, right))
    return simplex_least_squares(design.mT, core.flatten(-3))


def alternating_least_squares(
    core: Float[Tensor, "*batch c i j"],
    left: Float[Tensor, "*batch k i"],
    right: Float[Tensor, "*batch k j"],
    third: Float[Tensor, "*batch k c"],
) -> tuple[Float[Tensor, "*batch k i"], Float[Tensor, "*batch k j"], Float[Tensor, "*batch k c"]]:
    """Lower ``|core - sum of outer products|``, one view at a time.

    Joint diagonalisation divides by the singular values and so weighs the faintest directions
    most; here every entry counts alike. Elements that fit to rounding are left alone.

    Returns:
        Left, right and third, weights absorbed in any of them.
    """
    ones = torch.ones_like(left[..., 0])
    size = core.square().sum((-3, -2, -1)).clamp_min(torch.finfo(core.dtype).tiny)

    def misfit(left: Tensor, right: Tensor, third: Tensor) -> Tensor:
        return (core - assemble(ones, left, right, third)).square().sum((-3, -2, -1)) / size

    before = misfit(left, right, third)
    noisy = before > EXACT_RESIDUAL**2
    if not bool(noisy.any()):
        return left, right, third
    views = (left, right, third)
    by_left, by_right = (core.movedim(axis, -3).flatten(-2) for axis in (-2, -1))
    by_third = core.flatten(-2)
    now = before
    for number in range(1, ALTERNATIONS + 1):
        left = _solve_view(by_left, third, right)
        right = _solve_view(by_right, third, left)
        third = _solve_view(by_third, left, right)
        if number % LOOK_EVERY == 0:
            last, now = now, misfit(left, right, third)
            if not bool((noisy & (now < (1 - NO_PROGRESS) * last)).any()):
                break
    better = noisy & (now < before)
    chosen = better[..., None, None]
    new = (left, right, third)
    first, second, last = (torch.where(chosen, b, a) for a, b in zip(views, new, strict=True))
    return first, second, last


def _solve_view(unfolded: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Least squares for one view: the normal matrix is a product of two k x k Gram matrices.

    Args:
        unfolded: the core, the coordinates of the view sought first, those of the others joined.
        one: means of the view whose coordinates run slowest.
        other: means of the third view.
    """
    gram = (one @ one.mT) * (other @ other.mT)
    ridge = 1e-12 * gram.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    products = khatri_rao(one, other) @ unfolded.mT
    return linalg.solve(gram + ridge.clamp_min(1e-300) * eye, products).value


def _combinations(slices: Float[Tensor, "*batch r k k"], random_state: RandomState) -> Tensor:
    """The slices themselves and random combinations of them; zeros where there is none."""
    n = slices.shape[-3]
    if n <= 1:
        return slices if n else torch.zeros_like(slices.sum(-3, keepdim=True))
    generator = torch_generator(random_state)
    draws = torch.randn(
        COMBINATIONS, n, dtype=slices.dtype, generator=generator, device=generator.device
    )
    draws = (draws / draws.norm(dim=1, keepdim=True)).to(slices.device)
    return torch.cat([slices, torch.einsum("rc,...cij->...rij", draws, slices)], -3)


def _separation(
    third: Tensor, basis: Tensor, inverse: Tensor, root: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Smallest distance between two sources in the third view, and in standard errors.

    An eigenvalue of slice c moves by ``y core_c x``, where y and x are the dual eigenvectors
    divided by the roots of the singular values; entries of the core move independently.
    """
    k = root.shape[-1]
    if k == 1:
        return torch.full_like(noise, torch.inf), torch.full_like(noise, torch.inf)
    error = (inverse / root.unsqueeze(-2)).norm(dim=-1) * (basis / root.unsqueeze(-1)).norm(dim=-2)
    error = error * noise.unsqueeze(-1) * max(third.shape[-1] - 1, 1) ** 0.5
    apart = (third.unsqueeze(-2) - third.unsqueeze(-3)).norm(dim=-1)
    pair_error = torch.hypot(error.unsqueeze(-1), error.unsqueeze(-2))
    infinite = torch.diag_embed(torch.full_like(root, torch.inf))
    return (
        (apart + infinite).amin((-2, -1)),
        (apart / pair_error.clamp_min(1e-300) + infinite).amin((-2, -1)),
    )


def _finite(n_batch: int, *parts: Tensor) -> Tensor:
    """Whether all numbers of each element are finite."""
    return torch.stack([part.isfinite().flatten(n_batch).all(-1) for part in parts]).all(0)


def _scaled(view: Tensor, scale: Tensor) -> Tensor:
    """Divide by the mean of the constant; a source without any keeps a finite direction."""
    least = 1e-10
    return view / torch.where(
        scale.abs() < least, torch.copysign(scale.new_tensor(least), scale), scale
    )
