"""Onto the simplex: projection, and least squares whose unknowns are distributions.

All problems of one call are solved together. Where the least-squares solution on the hyperplane of
the right sums is already a distribution it is returned as it is, so exact moments lose nothing;
elsewhere the zeros are found by pivoting, and where that does not end, or a design lacks rank, an
interior point method solves the constrained problem. Linear systems are k x k, one per state,
however many states a table has.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.exact import linalg
from pyromix.identify.views.pivoting import pivoted

FEASIBLE = 1e-10
"""Entries that lie this little below zero count as rounding, and are set to zero."""

MAX_ITERATIONS = 60
"""Steps of the interior point method; about fifteen are used."""

STALLED = 1e-6
"""Gap of a problem that can go no further beyond which it counts as not solved."""

DUALITY_GAP = 1e-15
"""Mean product of an entry and its multiplier at which to stop, the normal matrix scaled to one."""


def project_to_simplex(points: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
    """Nearest distribution to each point, in Euclidean distance.

    Args:
        points: ``(*batch, n)``; a nan stays one.

    Returns:
        ``(*batch, n)``; entries not negative, last axis sums to one. Time n log n.
    """
    n = points.shape[-1]
    descending = points.sort(-1, descending=True).values
    excess = descending.cumsum(-1) - 1
    count = torch.arange(1, n + 1, dtype=points.dtype, device=points.device)
    kept = (descending * count > excess).sum(-1, keepdim=True).clamp_min(1)
    clipped = (points - excess.gather(-1, kept - 1) / kept).clamp_min(0)
    return clipped / clipped.sum(-1, keepdim=True)


def simplex_least_squares(
    design: Float[Tensor, "*batch m k"], target: Float[Tensor, "*batch m"]
) -> Float[Tensor, "*batch k"]:
    """Weights ``w`` on the simplex that minimise ``|design w - target|``.

    Args:
        design: a column per source.
        target: what is to be fitted.

    Returns:
        ``(*batch, k)``; entries not negative, last axis sums to one. Where the design lacks rank,
        one of the minimisers. nan where numbers given are not finite, or no minimum was found.
    """
    design, target = _comparable(design, target.unsqueeze(-1))
    inverse, free = _least_squares(design, target)
    # From the free solution to sum one, along the direction that costs least.
    step = inverse @ inverse.mT.sum(-1, keepdim=True)
    lost = 1 - free.sum(-2, keepdim=True)
    flat = free + step * lost / step.sum(-2, keepdim=True)
    sums = torch.ones_like(flat)
    point = project_to_simplex(flat.squeeze(-1)).unsqueeze(-1)
    return _constrained(design, target, flat, point, sums).squeeze(-1)


def stochastic_least_squares(
    design: Float[Tensor, "*batch m k"], targets: Float[Tensor, "*batch m c"]
) -> Float[Tensor, "*batch k c"]:
    """Within-source table whose rows are distributions, minimising ``|design table - targets|``.

    This is the cover of THEORY section 5.3: ``P(A, W) = (M_A diag(pi)) P(W | u)`` solved for
    ``P(W | u)``.

    Args:
        design: a column per source.
        targets: a column per state.

    Returns:
        ``(*batch, k, c)``; entries not negative, last axis sums to one. Where the design lacks
        rank, one of the minimisers. nan where numbers given are not finite, or no minimum was
        found.
    """
    [table], _ = stochastic_tables(design, [targets])
    return table


def stochastic_tables(
    design: Float[Tensor, "*batch m k"], targets: Sequence[Float[Tensor, "*batch m _"]]
) -> tuple[list[Float[Tensor, "*batch k _"]], Float[Tensor, "*batch"]]:
    """The same for several tables of one design, and how far from it they would be without bounds.

    Args:
        design: a column per source.
        targets: a column per state of each table.

    Returns:
        The tables, and the largest amount by which a probability differs from the solution that
        may be negative, whose rows sum to one, too.
    """
    sizes = [target.shape[-1] for target in targets]
    design, together = _comparable(design, torch.cat(list(targets), -1))
    _, free = _least_squares(design, together)
    parts = list(zip(together.split(sizes, -1), free.split(sizes, -1), strict=True))
    tables: dict[int, Tensor] = {}
    moved = torch.zeros_like(design[..., 0, 0])
    for size in sorted(set(sizes)):
        alike = [i for i, n in enumerate(sizes) if n == size]
        wanted, flat = (torch.stack([parts[i][j] for i in alike]) for j in (0, 1))
        # Sums over states and differences between states do not interact: shift rows alike.
        flat = flat + (1 - flat.sum(-1, keepdim=True)) / size
        sums = torch.eye(flat.shape[-2], dtype=flat.dtype, device=flat.device)
        sums = sums.expand(*flat.shape[:-1], flat.shape[-2])
        each = design.expand(len(alike), *design.shape)
        found = _constrained(each, wanted, flat, project_to_simplex(flat), sums)
        moved = torch.maximum(moved, (found - flat).abs().amax((0, -2, -1)))
        tables.update(zip(alike, found.unbind(0), strict=True))
    return [tables[i] for i in range(len(sizes))], moved


def _comparable(design: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The same problem, scaled by a power of two where squares would leave the range of numbers."""
    design, scale = linalg.rescaled(design, (-2, -1))
    return design, targets if scale is None else targets * scale[..., None, None]


def _least_squares(design: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Factor ``F`` with ``F F' = (design' design)^+``, and the least-squares solution.

    By singular values of the design itself, so that its condition number enters once.
    """
    found = linalg.svd(design)
    values = found.values
    cut = values[..., :1] * max(design.shape[-2:]) * torch.finfo(design.dtype).eps
    inverse = found.vh.mT * torch.where(values > cut, values.reciprocal(), 0.0).unsqueeze(-2)
    return inverse, inverse @ (found.u.mT @ targets)


def _constrained(
    design: Float[Tensor, "*batch m k"],
    targets: Float[Tensor, "*batch m c"],
    flat: Float[Tensor, "*batch k c"],
    point: Float[Tensor, "*batch k c"],
    sums: Float[Tensor, "*batch k s"],
) -> Float[Tensor, "*batch k c"]:
    """Keep ``point`` where ``flat``, of which it is the projection, is not negative; else solve."""
    # Where there is no number there is no problem: the projection is nan, and stays.
    outside = (flat < -FEASIBLE).flatten(-2).any(-1) & flat.isfinite().flatten(-2).all(-1)
    if not bool(outside.any()):
        return point
    design, targets, sums = design[outside], targets[outside], sums[outside]
    gram, moment = design.mT @ design, design.mT @ targets
    # Divided by its size, so that one tolerance serves every problem.
    size = gram.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    size = size.clamp_min(torch.finfo(size.dtype).tiny)
    gram, moment = gram / size, moment / size
    found, solved = pivoted(gram, moment, sums, flat[outside] > 0)
    if not bool(solved.all()):
        rest = ~solved
        found[rest] = _interior_point(gram[rest], moment[rest], sums[rest])
    per_source = sums.shape[-1] > 1 or sums.shape[-2] == 1
    result = point.clone()
    result[outside] = found / found.sum(-1 if per_source else -2, keepdim=True)
    return result


def _interior_point(
    gram: Float[Tensor, "b k k"], moment: Float[Tensor, "b k c"], sums: Float[Tensor, "b k s"]
) -> Float[Tensor, "b k c"]:
    """Minimise ``tr(x' gram x) / 2 - tr(x' moment)`` over ``x >= 0`` with ``sums' x 1 = 1``.

    Mehrotra's predictor and corrector. Newton's matrix is ``gram + diag(z_s / x_s)`` for state s
    and nothing between states, so sums are met by a Schur complement of a k x k matrix.
    """
    per_source = sums.shape[-1] > 1 or sums.shape[-2] == 1
    spread = moment.shape[-1] if per_source else moment.shape[-2]
    x = torch.full_like(moment, 1 / spread)
    z = torch.full_like(moment, 1 / spread)
    price = torch.zeros_like(sums[:, :1].mT)
    for _ in range(MAX_ITERATIONS):
        gap = (x * z).mean((-2, -1), keepdim=True)
        if bool((gap < DUALITY_GAP).all()):
            break
        slope = gram @ x - moment - sums @ price - z
        missing = 1 - sums.mT @ x.sum(-1, keepdim=True)
        system = _factored(gram, sums, x, z)
        dx, dz, _ = _newton_step(system, slope, missing, x, z, torch.zeros_like(x))
        ahead = ((x + _reach(x, dx) * dx) * (z + _reach(z, dz) * dz)).mean((-2, -1), keepdim=True)
        target = (ahead / gap) ** 3 * gap - dx * dz
        dx, dz, bid = _newton_step(system, slope, missing, x, z, target)
        length = 0.995 * torch.minimum(_reach(x, dx), _reach(z, dz))
        moving = (gap >= DUALITY_GAP) & length.isfinite()
        # Beside a problem that goes on, one that is solved stays as it is, whatever its steps are.
        x, z, price = (
            torch.where(moving, now + length * step, now)
            for now, step in ((x, dx), (z, dz), (price, bid))
        )
    solved = (x * z).mean((-2, -1), keepdim=True) <= STALLED
    return torch.where(solved, x, torch.nan)


def _factored(gram: Tensor, sums: Tensor, x: Tensor, z: Tensor) -> tuple[linalg.Lu, Tensor, Tensor]:
    """Factors of ``gram + diag(z_s / x_s)``, ``(b, c, k, k)``, and the effect of the sums."""
    newton = gram.unsqueeze(1) + torch.diag_embed((z / x).mT)
    factors = linalg.lu(newton)
    wanted = sums.unsqueeze(1).expand(*newton.shape[:2], *sums.shape[1:])
    return factors, linalg.lu_solve(factors, wanted), sums


def _newton_step(
    system: tuple[linalg.Lu, Tensor, Tensor],
    slope: Tensor,
    missing: Tensor,
    x: Tensor,
    z: Tensor,
    target: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Changes of entries, multipliers and prices of the sums, towards ``x z = target``."""
    factors, effect, sums = system
    right = target / x - z - slope
    alone = linalg.lu_solve(factors, right.mT.unsqueeze(-1))
    need = missing - sums.mT @ alone.sum(1)
    bid = linalg.solve(sums.mT @ effect.sum(1), need).value
    dx = (alone + effect @ bid.unsqueeze(1)).squeeze(-1).mT
    return dx, (target - z * dx) / x - z, bid


def _reach(values: Tensor, step: Tensor) -> Tensor:
    """Largest part of a step, at most one, that keeps every value from being negative."""
    parts = torch.where(step < 0, -values / step, 1.0)
    return parts.amin((-2, -1), keepdim=True).clamp_max(1.0)
