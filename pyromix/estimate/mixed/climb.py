"""Climbing from a start until it has converged, steps of EM taken many at a time.

SQUAREM as in ``accelerate``, on free coordinates, where nothing leaves its range; a guess is kept
only where the objective is no lower than that of the last plain step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.data.records import Part
from pyromix.errors import RefinementError
from pyromix.estimate.mixed.prior import MixedPrior
from pyromix.estimate.mixed.step import MixedStep, em_step
from pyromix.estimate.progress import Tell
from pyromix.model.mixed import MixedMixture

FIRST_LIMIT = 4.0
"""Longest first extrapolation, in steps of EM."""

FARTHEST = 30.0
"""Largest move of a coordinate in one extrapolation: logits of vanishing states run far."""


@dataclass(frozen=True, eq=False)
class MixedEnd:
    """Where a start ended.

    Attributes:
        mixture: the point.
        log_likelihood: of the table, in our units.
        objective: the same with the logarithm of the prior.
        n_iter: steps of EM.
        converged: whether the tolerance was met.
    """

    mixture: MixedMixture
    log_likelihood: float
    objective: float
    n_iter: int
    converged: bool


def climb_mixed(
    mixture: MixedMixture,
    parts: Sequence[Part],
    prior: MixedPrior,
    *,
    max_iter: int = 2000,
    tol: float = 1e-9,
    tell: Tell = lambda done, words: None,
) -> MixedEnd:
    """Maximise the penalised likelihood from a start.

    Args:
        mixture: the start.
        parts: the table.
        prior: rows seen before.
        max_iter: limit on steps of EM.
        tol: converged when a step gains at most so many nats per row.
        tell: told of every round.

    Raises:
        RefinementError: a log-likelihood is not finite.
    """
    threshold = tol * sum(float(part.weights.sum()) for part in parts)
    at, n_iter, limit = mixture, 0, FIRST_LIMIT
    while True:
        first = _checked(em_step(at, parts, prior))
        second = _checked(em_step(first.target, parts, prior))
        n_iter += 2
        tell(n_iter, f"logL {second.log_likelihood:.3f}")
        done = second.objective - first.objective <= threshold
        if done or n_iter >= max_iter:
            # The point valued last, so that what is said of it is its own.
            return MixedEnd(first.target, second.log_likelihood, second.objective, n_iter, done)
        guess, length = _guess(at, first.target, second.target, limit)
        third = em_step(guess, parts, prior)
        n_iter += 1
        accepted = third.objective >= second.objective
        at = third.target if accepted else second.target
        if not accepted:
            limit = max(limit / 2, 1.0)
        elif length >= limit:
            limit *= 4


def _guess(
    start: MixedMixture, one: MixedMixture, two: MixedMixture, limit: float
) -> tuple[MixedMixture, float]:
    x, y, z = (m.parameters for m in (start, one, two))
    step, turn = y - x, z - y - (y - x)
    length = _length(step, turn, limit)
    ahead = x + 2 * length * step + length**2 * turn
    ahead = torch.where(ahead.isfinite(), ahead, z)
    ahead = z + (ahead - z).clamp(-FARTHEST, FARTHEST)
    return two.with_parameters(ahead), length


def _length(step: Float[Tensor, " p"], turn: Float[Tensor, " p"], limit: float) -> float:
    known = step.isfinite() & turn.isfinite()
    bend = float(turn[known].norm())
    ratio = float(step[known].norm()) / bend if bend > 0 else math.inf
    return min(max(ratio, 1.0), limit)


def _checked(step: MixedStep) -> MixedStep:
    if not math.isfinite(step.objective):
        raise RefinementError(
            f"the log-likelihood must stay finite, found {step.log_likelihood}; a row has "
            "probability zero under the start, or a column holds numbers of unlike magnitude"
        )
    return step


def in_order(end: MixedEnd) -> MixedEnd:
    """Sources by decreasing weight."""
    order = end.mixture.weights.argsort(descending=True, stable=True)
    return replace(end, mixture=end.mixture.relabel(order))
