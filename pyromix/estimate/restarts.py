"""How many random starts are enough: more of them until the best optimum has been confirmed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

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

ROUND = 20
"""Random starts of one round, and before which nothing is said of further ones."""

MOST = 200
"""Random starts in all, those that lost a race among them."""

CONFIRMED = 3
"""Winners of races that must have reached the best optimum before they are believed."""

NOTHING_GAINED = 0.05
"""Nats over all rows: where half as many further starts are expected to gain no more than this,
none is run. Along a flat valley every start ends at a hair of its own, and that is no gain."""

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

    The best optimum is confirmed when a start from moments that determine the mixture reached it.
    Else rounds of ``ROUND`` follow as long as half of the starts may be taken to have gained
    anything: starts, so many or more, come in no order, so how far the best of a random half lies
    below the best of all is, on average over halves, an unbiased estimate of what the other half
    gained. The expected largest of n draws is concave in n: half as many further starts gain no
    more than that. Stragglers are left behind. Warnings are those of ``fit_em``.

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
        result = joined(result, run(counts, draw(ROUND), **options))
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
    worth = SAME_OPTIMUM * result.total_weight
    if result.total_weight >= SAMPLE:
        worth = max(worth, NOTHING_GAINED)
    ends = result.start_objectives.tolist()
    return len(ends) >= ROUND and gain_of_last_half(ends) <= worth


def gain_of_last_half(ends: Sequence[float]) -> float:
    """How far the best of a random half of some numbers lies below the best of all, on average.

    The i largest e_1 >= e_2 >= .. of n numbers are all outside a random half of h with probability
    C(n - i, h) / C(n, h), and then e_i - e_(i + 1) is lost.

    Args:
        ends: at least one.
    """
    ordered, n = sorted(ends, reverse=True), len(ends)
    half, outside, lost = n // 2, 1.0, 0.0
    for i, (better, worse) in enumerate(itertools.pairwise(ordered[: n - half + 1])):
        outside *= (n - half - i) / (n - i)
        lost += outside * (better - worse)
    return lost
