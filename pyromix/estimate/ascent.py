"""Climbing from several starts at once until each has converged, and on from the best of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.errors import RefinementError
from pyromix.estimate.accelerate import FIRST_LIMIT, extrapolate, next_limit
from pyromix.estimate.result import NEAR_BEST, SAME_OPTIMUM, first_in_best
from pyromix.estimate.starts import jittered
from pyromix.estimate.step import EMMap, Point, Step
from pyromix.exact.likelihood import log_prob

Progress = Callable[[int, float], None]
"""Told after each round of steps: EM steps so far, best objective so far."""

FINISH = 1e-3
"""Factor on the tolerance with which the start that was chosen among several climbs on."""

FINEST = 1e-12
"""Nats per row: smaller gains than these are rounding."""

HOPELESS = 200
"""Steps at its present pace after which a start would still not fit about as well as the best: it
is left where it is, if stragglers are. What cannot win is stopped after as many steps, or later."""

FAIR = 20
"""Steps that every start gets."""

WORTH = 1.0
"""Nats over all rows: what cannot win goes on while so much may still be gained."""

JITTERED_COPIES = 2
"""Copies of the best point that are jittered to see whether it was a saddle."""

JITTERED_STEPS = 60
"""EM steps that jittered copies get."""


@dataclass(frozen=True)
class Options:
    """How long and how to climb."""

    max_iter: int
    tol: float
    accelerate: bool
    progress: Progress | None
    leave_behind: bool = False
    needed: float = -math.inf


@dataclass(frozen=True, eq=False)
class Ascent:
    """Where starts ended.

    Attributes:
        point: the points.
        step: EM at these points.
        n_iter: EM steps taken.
        gain: nats that the last step gained.
        converged: whether the tolerance was met.
    """

    point: Point
    step: Step
    n_iter: Int[Tensor, " batch"]
    gain: Float[Tensor, " batch"]
    converged: Bool[Tensor, " batch"]

    def best(self, total_weight: float) -> int:
        """The first start in the best optimum, of those that have converged where any has."""
        return first_in_best(self.step.objective, self.converged, total_weight)

    def records(self, total_weight: float) -> list[int]:
        """Starts that converged in a better optimum than all before them."""
        found, top = [], -math.inf
        ends = zip(self.step.objective.tolist(), self.converged.tolist(), strict=True)
        for start, (objective, converged) in enumerate(ends):
            if converged and objective > top + SAME_OPTIMUM * total_weight:
                found.append(start)
                top = objective
        return found

    def only(self, best: int) -> Ascent:
        """One start as a batch of one."""
        one = slice(best, best + 1)
        return Ascent(
            self.point[one],
            self.step[one],
            self.n_iter[one],
            self.gain[one],
            self.converged[one],
        )

    def put(self, place: int, one: Ascent) -> Ascent:
        """Replace a start by a batch of one."""
        where = torch.tensor([place], device=self.n_iter.device)
        return Ascent(
            self.point.put(where, one.point),
            self.step.put(where, one.step),
            self.n_iter.index_copy(0, where, one.n_iter),
            self.gain.index_copy(0, where, one.gain),
            self.converged.index_copy(0, where, one.converged),
        )


def ascend(em: EMMap, start: Point, options: Options) -> Ascent:
    """Run EM from every start until it has converged or the limit is reached."""
    n, device = len(start), start.weights.device
    tolerance = options.tol * em.total_weight
    ended, n_steps, best = start, 0, -math.inf
    n_iter = torch.zeros(n, dtype=torch.int64, device=device)
    gain = torch.full((n,), math.inf, dtype=torch.float64, device=device)
    converged = torch.zeros(n, dtype=torch.bool, device=device)
    point, active, everything = start, torch.arange(n, device=device), em
    limit = torch.full((n,), FIRST_LIMIT, dtype=torch.float64, device=device)
    while len(active) and n_steps < options.max_iter:
        first = em(point)
        check_finite(em, point, first, active, n_steps)
        second = em(first.target)
        n_steps += 2
        gained = second.objective - first.objective
        change = _largest_change(em, first.target, second)
        done = (gained <= tolerance) & (change <= math.sqrt(options.tol))
        left = done
        if options.leave_behind and n_steps > FAIR:
            apart = max(best, float(second.objective.max())) - second.objective
            left = left | (apart > NEAR_BEST + HOPELESS * gained)
        if n_steps > HOPELESS:
            left = left | _settled_below(options.needed, second.log_likelihood, gained)
        following = second.target
        if options.accelerate and not bool(left.all()):
            guess, length = extrapolate(em, point, first.target, second.target, limit)
            third = em(guess)
            n_steps += 1
            # False as well where the guess has likelihood zero.
            accepted = third.objective >= second.objective
            following = third.target.where(accepted, second.target)
            limit = next_limit(limit, length, accepted)
        ended = ended.put(active, following)
        n_iter[active], gain[active], converged[active] = n_steps, gained, done
        best = max(best, float(second.objective.max()))
        point, active, limit = following[~left], active[~left], limit[~left]
        em = em.only(~left)
        if options.progress is not None:
            options.progress(n_steps, best)
    return Ascent(ended, everything(ended), n_iter, gain, converged)


def escape(em: EMMap, found: Ascent, options: Options) -> Ascent | None:
    """Leave a saddle; None where the point (a batch of one) is an optimum."""
    short = replace(options, max_iter=JITTERED_STEPS, progress=None)
    tried = ascend(em, jittered(em.spec, found.point, JITTERED_COPIES), short)
    best = tried.best(em.total_weight)
    # What more steps of EM alone would gain is no sign of a saddle.
    threshold = max(SAME_OPTIMUM, 100 * options.tol) * em.total_weight
    if float(tried.step.objective[best] - found.step.objective) <= threshold:
        return None
    onwards = ascend(em, tried.point[best : best + 1], replace(options, progress=None))
    return replace(onwards, n_iter=onwards.n_iter + found.n_iter + tried.n_iter[best])


def finished(em: EMMap, found: Ascent, options: Options) -> Ascent:
    """Climb on from one start (a batch of one) that has converged, to a tighter tolerance.

    Which start stands for an optimum must not show in the answer, and starts that have converged
    in one optimum may still differ in the third digit where it is flat.
    """
    left = options.max_iter - int(found.n_iter)
    tol = max(FINISH * options.tol, FINEST)
    if not bool(found.converged) or left < 1 or tol >= options.tol:
        return found
    tighter = replace(options, max_iter=left, tol=tol, progress=None)
    onwards = ascend(em, found.point, tighter)
    return replace(onwards, n_iter=onwards.n_iter + found.n_iter, converged=found.converged)


def _settled_below(
    needed: float, log_likelihood: Float[Tensor, " batch"], gained: Float[Tensor, " batch"]
) -> Bool[Tensor, " batch"]:
    """Whether a start will not reach what is needed, and may gain nothing of account."""
    ahead = HOPELESS * gained
    return (needed - log_likelihood > NEAR_BEST + ahead) & (ahead <= WORTH)


def _largest_change(em: EMMap, before: Point, after: Step) -> Float[Tensor, " batch"]:
    """Largest move of a probability in a row that data reach."""
    reached = em.spread((after.row_masses > em.reached_mass).to(torch.float64))
    table = ((after.target.table - before.table).abs() * reached).amax((0, 2))
    return (after.target.weights - before.weights).abs().amax(-1).maximum(table)


def check_finite(
    em: EMMap, point: Point, step: Step, active: Int[Tensor, " batch"], n_steps: int
) -> None:
    """Refuse starts that give a row probability zero, and numbers that went astray.

    Args:
        em: the map.
        point: where it was applied, a part of all starts.
        step: what it gave there.
        active: which starts these are.
        n_steps: EM steps taken before.

    Raises:
        RefinementError: a log-likelihood is not finite.
    """
    if bool(step.log_likelihood.isfinite().all()):
        return
    bad = (~step.log_likelihood.isfinite()).nonzero().flatten()
    if n_steps:
        raise RefinementError(
            f"the log-likelihood must stay finite, found {step.log_likelihood[bad].tolist()} at "
            f"starts {active[bad].tolist()} after {n_steps} EM steps; please report this table"
        )
    first = point[bad[:1]].mixture(em.spec)
    impossible = (log_prob(first, em.index) == -math.inf)[0].nonzero().flatten()
    if not len(impossible):
        raise RefinementError(
            f"every start must give every row a positive probability; starts {bad.tolist()} do "
            "not, at rows of another process"
        )
    example = dict(zip(em.spec.variables, em.index.rows[impossible[0]].tolist(), strict=True))
    raise RefinementError(
        f"every start must give every row a positive probability; starts {bad.tolist()} do not, "
        f"the first of them at {len(impossible)} rows, e.g. state numbers {example}; mix a little "
        "of the uniform distribution into their tables"
    )
