"""How many random starts are enough: more of them until the best optimum has been confirmed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from pyromix.estimate.em import climb
from pyromix.estimate.result import SAME_OPTIMUM, EMResult, joined, warned
from pyromix.estimate.step import WeightedRows
from pyromix.model.mixture import BayesNetMixture

STARTS_AT_ONCE = 20
"""Random starts of one round."""

MOST = 200
"""Random starts in all."""

CONFIRMED = 3
"""Starts that must have reached the best optimum before random starts are believed."""

UNSEEN = 0.05
"""Probability up to which the next start may end in an optimum that no start has reached yet."""

ROWS_OF_A_SMALL_TABLE = 2**15
"""Distinct rows times sources up to which further rounds are worth their time: seconds in all."""

Draw = Callable[[int], BayesNetMixture]
"""Draws so many random starts, new ones at every call."""


def climb_until_confirmed(
    counts: WeightedRows, starts: BayesNetMixture, draw: Draw, **options: Any
) -> EMResult:
    """Run EM from given starts, then from further random ones while the best stands alone.

    The best optimum is confirmed when a start from moments that determine the mixture reached it,
    or when ``CONFIRMED`` starts did and few optima were reached once only: their share of the
    starts estimates the probability of one not reached yet (I. J. Good, The population frequencies
    of species and the estimation of population parameters, Biometrika 40, 1953). On tables with
    more than ``ROWS_OF_A_SMALL_TABLE`` distinct rows times sources no start is added.
    Warnings are those of ``fit_em``.

    Args:
        counts: as for ``fit_em``.
        starts: the first ones, ``(n,)``; those from moments lead.
        draw: of further starts.
        **options: as for ``climb``.

    Raises:
        SpecError: as ``climb``.
        DataError: as ``climb``.
        RefinementError: as ``climb``.
    """
    result = climb(counts, starts, **options)
    small = counts.rows.shape[0] * starts.n_sources <= ROWS_OF_A_SMALL_TABLE
    options["n_identified"] = 0
    while small and not _confirmed(result) and len(result.start_objectives) < MOST:
        result = joined(result, climb(counts, draw(STARTS_AT_ONCE), **options))
    return warned(result)


def _confirmed(result: EMResult) -> bool:
    if result.identified_is_best or result.mixture.n_sources == 1:
        return True
    ends = result.start_objectives.sort().values
    apart = ends.diff() > SAME_OPTIMUM * result.total_weight
    optimum = torch.cat([apart.new_zeros(1), apart]).cumsum(0)
    once = int((optimum.bincount() == 1).sum())
    return result.n_best >= CONFIRMED and once <= UNSEEN * len(ends)
