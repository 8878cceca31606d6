"""How many random starts are enough: more of them until the best optimum has been confirmed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from pyromix.estimate.em import climb, polished
from pyromix.estimate.race import (
    ENTRANTS,
    ENTRANTS_BESIDE_MOMENTS,
    FINALISTS,
    FINALISTS_BESIDE_MOMENTS,
    race,
)
from pyromix.estimate.result import NEAR_BEST, SAME_OPTIMUM, EMResult, joined, warned
from pyromix.estimate.starts import batch_of
from pyromix.estimate.step import WeightedRows
from pyromix.model.mixture import BayesNetMixture

STARTS_AT_ONCE = 20
"""Random starts of one round."""

MOST = 200
"""Random starts in all, those that lost a race among them."""

CONFIRMED = 3
"""Starts that must have reached the best optimum before random starts are believed."""

UNSEEN = 0.05
"""Probability up to which the next start may end in an optimum that no start has reached yet."""

NOTHING_GAINED = 0.05
"""Nats over all rows within which two ends count as one while starts are added: along a flat valley
every start ends at a hair of its own, and what a further one could gain nobody can tell."""

SAMPLE = 100.0
"""Rows from which that holds; a population has the weight of one."""

Climber = Callable[..., EMResult]
"""Takes what ``climb`` takes, and finds what it finds."""

Draw = Callable[[int], BayesNetMixture]
"""Draws so many random starts, new ones at every call."""


def climb_until_confirmed(
    counts: WeightedRows,
    starts: BayesNetMixture,
    draw: Draw,
    run: Climber = climb,
    **options: Any,
) -> EMResult:
    """Run EM from given starts, then from further random ones while the best stands alone.

    The best optimum is confirmed when a start from moments that determine the mixture reached it,
    or when ``CONFIRMED`` starts did and few optima were reached once only: their share of the
    starts estimates the probability of one not reached yet (I. J. Good, The population frequencies
    of species and the estimation of population parameters, Biometrika 40, 1953). Stragglers are
    left behind. Warnings are those of ``fit_em``.

    Args:
        counts: as for ``fit_em``.
        starts: the first ones, ``(n,)``; those from moments lead.
        draw: of further starts.
        run: EM of one round, as ``climb``.
        **options: as for ``climb``.

    Raises:
        SpecError: as ``climb``.
        DataError: as ``climb``.
        RefinementError: as ``climb``.
    """
    options = {"leave_behind": True, "finish": False, **options}
    result = run(counts, starts, **options)
    options["n_identified"] = 0
    while not (_confirmed(result) or _hopeless(result, options)) and (
        len(result.start_objectives) < MOST
    ):
        result = joined(result, run(counts, draw(STARTS_AT_ONCE), **options))
    return warned(_polished(counts, result, options), options.get("needed", -math.inf))


def climb_raced(
    counts: WeightedRows,
    given: BayesNetMixture | None,
    draw: Draw,
    heat: WeightedRows,
    run: Climber = climb,
    **options: Any,
) -> EMResult:
    """The same on a table of many rows: of random starts only those that win a race run to the end.

    Races go on until the best optimum has been reached by a start from moments that determine the
    mixture, or by ``CONFIRMED`` starts, or ``MOST`` starts have been entered.

    Args:
        counts: as for ``fit_em``.
        given: starts from moments, ``(n,)``; None where there are none.
        draw: of random starts.
        heat: a thinned table to race on.
        run: EM of one round, as ``climb``.
        **options: as for ``climb``; ``n_identified`` of the given starts.

    Raises:
        SpecError: as ``climb``.
        DataError: as ``climb``.
        RefinementError: as ``climb``.
    """
    options = {"leave_behind": True, "finish": False, **options}
    entered, n = ENTRANTS, FINALISTS
    if options.get("n_identified"):
        entered, n = ENTRANTS_BESIDE_MOMENTS, FINALISTS_BESIDE_MOMENTS
    first = race(heat, draw(entered), n)
    starts = first if given is None else batch_of(given, first)
    result = replace(run(counts, starts, **options), n_raced=entered - n)
    options["n_identified"] = 0
    while entered < MOST and not (
        result.identified_is_best or result.n_best >= CONFIRMED or _hopeless(result, options)
    ):
        more = run(counts, race(heat, draw(ENTRANTS)), **options)
        result = joined(result, replace(more, n_raced=ENTRANTS - FINALISTS))
        entered += ENTRANTS
    return warned(_polished(counts, result, options), options.get("needed", -math.inf))


def _polished(counts: WeightedRows, result: EMResult, options: Mapping[str, Any]) -> EMResult:
    """The chosen one of several starts, climbed on from once, after all rounds."""
    if len(result.start_objectives) == 1:
        return result
    passed = {name: options[name] for name in ("max_iter", "tol", "prior") if name in options}
    return polished(counts, result, **passed)


def _hopeless(result: EMResult, options: Mapping[str, Any]) -> bool:
    """Whether further starts are not worth it.

    As far above the best as the others lie below it, and ``NEAR_BEST`` nats more, is then still
    less than is needed.
    """
    ends = result.start_log_likelihoods
    reach = 2 * float(ends.max()) - float(ends.min()) + NEAR_BEST
    return reach < options.get("needed", -math.inf)


def _confirmed(result: EMResult) -> bool:
    if result.identified_is_best or result.mixture.n_sources == 1:
        return True
    alike = SAME_OPTIMUM * result.total_weight
    if result.total_weight >= SAMPLE:
        alike = max(alike, NOTHING_GAINED)
    ends = result.start_objectives.sort().values
    optimum = torch.cat([ends.new_zeros(1), ends.diff() > alike]).cumsum(0).long()
    reached = optimum.bincount()
    return int(reached[-1]) >= CONFIRMED and int((reached == 1).sum()) <= UNSEEN * len(ends)
