"""A race of random starts: many for a few steps on few rows, the best to the end on all.

Successive halving [K. Jamieson, A. Talwalkar, Non-stochastic best arm identification and
hyperparameter optimization, AISTATS 2016]: after a few steps of EM most random starts are already
seen to lose. What is left are the likeliest of a few thousand rows, and they finish on the whole
table, where several may reach one optimum and confirm it.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.estimate.indexed import index_of
from pyromix.estimate.starts import inside
from pyromix.estimate.step import EMMap, Point, WeightedRows
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.ties import ordered

HEAT_ROWS = 2000
"""Rows that heats are run on; tables with no more distinct ones are not raced on."""

ENTRANTS = 40
"""Random starts of a race."""

ENTRANTS_BESIDE_MOMENTS = 10
"""The same beside a start from moments that determine the mixture."""

HEATS = (8, 25)
"""Steps of EM of each heat."""

KEPT = 4
"""Of so many starts the first heat leaves one."""

FINALISTS = 5
"""Starts that a race leaves."""

FINALISTS_BESIDE_MOMENTS = 2
"""The same beside a start from moments that determine the mixture."""


def race(
    rows: WeightedRows, entrants: BayesNetMixture, n_finalists: int = FINALISTS
) -> BayesNetMixture:
    """Run starts against each other by plain EM, and return those that lead at the end.

    Args:
        rows: a thinned table.
        entrants: batch shape ``(n,)``.
        n_finalists: how many to leave.

    Returns:
        Batch shape ``(n_finalists,)``, the likeliest first, mixed with a little of the uniform
        distribution: rows that the heats did not see stay possible.
    """
    spec = entrants.spec
    none = PseudoCounts.of(spec, None, entrants.device)
    em, point = EMMap(spec, index_of(spec, rows), rows.weights, none), Point.of(entrants)
    leave = (max(len(point) // KEPT, n_finalists), n_finalists)
    for n_steps, n_kept in zip(HEATS, leave, strict=True):
        if n_kept == len(point):
            break
        objective: Float[Tensor, " n"] = point.weights[:, 0]
        for _ in range(n_steps):
            step = em(point)
            point, objective = step.target, step.objective
        leading = ordered([(-value,) for value in objective.tolist()])[:n_kept]
        point = point[torch.tensor(leading, device=entrants.device)]
    return inside(point.mixture(spec))
