"""Steps of EM taken many at a time.

EM approaches an optimum along a line, each step a fixed fraction of the last. From two steps
SQUAREM (R. Varadhan and C. Roland, Simple and globally convergent methods for accelerating the
convergence of any EM algorithm, Scandinavian Journal of Statistics 35, 2008, scheme S3) guesses how
far the line goes. Whether the guess is kept is the caller's to decide, by the likelihood.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pyromix.estimate.step import EMMap, Point

FIRST_LIMIT = 4.0
"""Longest first extrapolation, in EM steps; the limit grows and shrinks with success."""

LEAST_SHARE_KEPT = 0.1
"""An extrapolated probability is at least this fraction of the one EM itself gives.

Estimates on the boundary are common: without a floor nearly every guess leaves the simplex there,
and rejecting those guesses cost up to twice the iterations.
"""


def extrapolate(
    em: EMMap, start: Point, one: Point, two: Point, limit: Float[Tensor, " batch"]
) -> tuple[Point, Float[Tensor, " batch"]]:
    """Guess where EM is going from a point and the next two.

    Args:
        em: knows which cells form a row.
        start: a point.
        one: EM of ``start``.
        two: EM of ``one``.
        limit: longest extrapolation of each batch element.

    Returns:
        Points inside the simplex, and the length of the extrapolation; at length 1 the point is
        ``two`` itself.
    """
    step = Point(one.weights - start.weights, one.table - start.table)
    turn = Point(two.weights - one.weights - step.weights, two.table - one.table - step.table)
    tiny = torch.finfo(torch.float64).tiny
    length = (_norm(step) / _norm(turn).clamp_min(tiny)).clamp_min(1.0).minimum(limit)
    s = length[:, None]
    weights = start.weights + 2 * s * step.weights + s**2 * turn.weights
    table = start.table + 2 * s * step.table + s**2 * turn.table
    weights = weights.maximum(LEAST_SHARE_KEPT * two.weights)
    table = table.maximum(LEAST_SHARE_KEPT * two.table)
    guess = Point(weights / weights.sum(-1, keepdim=True), table / em.spread(em.row_sums(table)))
    return guess, length


def next_limit(
    limit: Float[Tensor, " batch"],
    length: Float[Tensor, " batch"],
    accepted: Bool[Tensor, " batch"],
) -> Float[Tensor, " batch"]:
    """Longer after a success at the limit, shorter after a failure."""
    grown = torch.where(length >= limit, 4 * limit, limit)
    return torch.where(accepted, grown, (limit / 2).clamp_min(1.0))


def _norm(difference: Point) -> Float[Tensor, " batch"]:
    squares = (difference.weights**2).sum(-1) + (difference.table**2).sum((0, 2))
    return squares.sqrt()
