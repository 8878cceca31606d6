"""Profile likelihood: the largest and the smallest answer of all mixtures that fit well enough.

With the log-likelihood l of a table (plus a log-density of pseudo-counts) and its maximum l* the
set of answers is (THEORY 14.1)

    C = {q : T(q) <= c},   T(q) = 2 (l* - max of l over mixtures whose answer is q).

A Lagrangian path reaches the convex envelope of (q, T) only (THEORY 14.7). A point that minimises

    -l + rho/2 (q - t)^2

lies on T whatever its shape, because it is the best of its own q; there half the slope of T is the
pull rho (t - q). So both ends are roots of T(q) = c, found by moving t outwards, and every point
that is kept is feasible. T may have several basins: the interval is the hull of what was found from
all starts, an inner approximation (THEORY 14.4).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.answers.pulls import REACHED, Ladder, Outwards, Pulls
from pyromix.estimate.descent import minimise
from pyromix.estimate.surface import Surface, mixtures_of
from pyromix.model.gradients import gradients
from pyromix.model.mixture import BayesNetMixture

Target = Callable[[BayesNetMixture], Tensor]
"""The answer, one number per batch element of a mixture; differentiable."""

BETTER = 0.02
"""Nats by which a search must have risen above the best start, for it to begin anew from there."""

TOLERANCE = 5e-4
"""Nats that the next step of a descent must promise."""


@dataclass(frozen=True, eq=False)
class Reach:
    """How far answers reach within a limit of the best likelihood, as far as searches found.

    Attributes:
        low: least answer found.
        high: largest answer found.
        limit: c, of twice the loss of log-likelihood.
        n_down: searches for the lower end.
        n_up: searches for the upper end.
        n_low: how many of the former reached it.
        n_high: how many of the latter reached it.
        best: largest log-likelihood (with pseudo-counts) seen, in nats.
    """

    low: float
    high: float
    limit: float
    n_down: int
    n_up: int
    n_low: int
    n_high: int
    best: float

    def joined(self, more: Reach) -> Reach:
        """The hull of two intervals; counts are of searches in both."""
        near = REACHED * (max(self.high, more.high) - min(self.low, more.low))
        lows, highs = (self, more), (self, more)
        low, high = min(self.low, more.low), max(self.high, more.high)
        return Reach(
            low,
            high,
            max(self.limit, more.limit),
            self.n_down + more.n_down,
            self.n_up + more.n_up,
            sum(e.n_low for e in lows if e.low <= low + near),
            sum(e.n_high for e in highs if e.high >= high - near),
            max(self.best, more.best),
        )


@dataclass(frozen=True, eq=False)
class Start:
    """Where searches begin.

    Attributes:
        odds: ``(b, p)``, one per basin.
        maps: ``(b, p, p)`` or ``(1, p, p)``, coordinates in which the surface is about round.
    """

    odds: Float[Tensor, "b p"]
    maps: Float[Tensor, "_ p p"]

    def out(self, basin: Int[Tensor, " s"], z: Float[Tensor, "s p"]) -> Float[Tensor, "s p"]:
        """Log-odds of points in round coordinates."""
        return self.odds[basin] + self._times(basin, z)

    def back(self, basin: Int[Tensor, " s"], gradient: Float[Tensor, "s p"]) -> Tensor:
        """Gradients in round coordinates."""
        return self._times(basin, gradient, self.maps.mT)

    def _times(
        self,
        basin: Int[Tensor, " s"],
        z: Float[Tensor, "s p"],
        maps: Float[Tensor, "_ p p"] | None = None,
    ) -> Float[Tensor, "s p"]:
        """Each vector times the map of its basin."""
        maps = self.maps if maps is None else maps
        if len(maps) == 1:
            return z @ maps[0].T
        # All maps at once: a copy of its map for every search costs more.
        every = z @ maps.flatten(0, 1).T
        each = torch.arange(len(z), device=z.device)
        return every.unflatten(1, maps.shape[:2])[each, basin]


def profile_ends(
    surface: Surface,
    target: Target,
    start: Start,
    *,
    limit: float,
    bounds: tuple[float, float],
    error: float,
    best: float | None = None,
    explore: bool = False,
) -> Reach:
    """Find the least and the largest answer within a limit of the best log-likelihood.

    Args:
        surface: log-likelihood of the table, with or without pseudo-counts.
        target: the answer of a mixture, as one number.
        start: basins; the one with the largest log-likelihood leads.
        limit: c, of twice the loss of log-likelihood.
        bounds: range of the answer, (0, 1) of a probability, (-1, 1) of a difference.
        error: standard error of the answer, if only roughly.
        best: largest log-likelihood known; by default that of the starts.
        explore: look for further basins by pulls from far, too.
    """
    search = _Search(surface, target, start, limit, bounds)
    found = search.run(error, best, explore)
    if found.best > found.assumed + BETTER:
        again = Start(found.best_odds[None], start.maps[:1])
        joined = Start(
            torch.cat([again.odds, start.odds]), _joined_maps(again.maps, start, len(start.odds))
        )
        found = _Search(surface, target, joined, limit, bounds).run(error, found.best, explore)
    return found.ends(limit)


def _joined_maps(first: Tensor, start: Start, n: int) -> Tensor:
    if len(start.maps) == 1:
        return start.maps
    return torch.cat([first, start.maps.expand(n, -1, -1)])


@dataclass(eq=False)
class _Found:
    """What searches have found: per search the outermost feasible answer."""

    answers: Float[Tensor, " s"]
    side: Float[Tensor, " s"]
    feasible: Bool[Tensor, " s"]
    assumed: float
    best: float
    best_odds: Float[Tensor, " p"]

    def ends(self, limit: float) -> Reach:
        low, high = (
            float((side * self.answers[(self.side == side) & self.feasible]).max() * side)
            for side in (-1.0, 1.0)
        )
        near = REACHED * (high - low)
        n_low = int(((self.side < 0) & self.feasible & (self.answers <= low + near)).sum())
        n_high = int(((self.side > 0) & self.feasible & (self.answers >= high - near)).sum())
        n_up = int((self.side > 0).sum())
        n_down = len(self.side) - n_up
        return Reach(low, high, limit, n_down, n_up, n_low, n_high, self.best)


class _Search:
    """Searches outwards from every basin on both sides, all at once."""

    def __init__(
        self,
        surface: Surface,
        target: Target,
        start: Start,
        limit: float,
        bounds: tuple[float, float],
    ) -> None:
        self.surface, self.target, self.start = surface, target, start
        self.limit, self.root = limit, math.sqrt(limit)
        self.bounds = bounds

    def run(self, error: float, best: float | None, explore: bool) -> _Found:
        """Search from all starts."""
        n = len(self.start.odds)
        values, _, answers, slopes = self.both(self.start.odds)
        top = float(values.max())
        self.best = assumed = top if best is None else max(best, top)
        self.best_odds = self.start.odds[int(values.argmax())]
        basin = torch.arange(n, device=values.device).repeat(2)
        side = values.new_ones(2 * n)
        side[n:] = -1
        z, own = self.directed(basin, side, slopes[basin], error)
        found = self.outwards(basin, side, z, answers[basin], values[basin], own, assumed)
        if not explore:
            self.pull(found)
            return self.found(assumed, found)
        # The ladder asks nothing of the others: it is climbed beside them.
        ladder = Ladder(answers[0], self.bounds, self.limit, assumed, self.start.odds.shape[1])
        self.pull(found, ladder)
        side, z, q, value = ladder.outside(found)
        if not len(side):
            return self.found(assumed, found)
        rough = (q - answers[0]).abs().clamp_min(0.02) / self.root
        more = self.outwards(torch.zeros_like(side).long(), side, z, q, value, rough, assumed)
        self.pull(more)
        return self.found(assumed, found, more)

    def outwards(
        self,
        basin: Tensor,
        side: Tensor,
        z: Tensor,
        answers: Tensor,
        values: Tensor,
        error: Tensor,
        best: float,
    ) -> Outwards:
        """Searches that move outwards until T meets the limit."""
        return Outwards(basin, side, z, answers, values, error, best, self.root, self.bounds)

    def found(self, assumed: float, *searches: Outwards) -> _Found:
        """What they have found."""
        answers, sides, feasible = (
            torch.cat(parts) for parts in zip(*(s.ends() for s in searches), strict=True)
        )
        return _Found(answers, sides, feasible, assumed, self.best, self.best_odds)

    def both(self, odds: Float[Tensor, "s p"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log-likelihoods and answers, each with its gradients in the log-odds."""
        with gradients():
            moved = odds.detach().clone().requires_grad_()
            mixtures = mixtures_of(self.surface.axis, moved)
            answer = self.target(mixtures)
            (slope,) = torch.autograd.grad(answer.sum(), moved)
        value, score = self.surface.at(mixtures)
        return value, score, answer.detach(), torch.where(slope.isfinite(), slope, 0.0)

    def directed(
        self, basin: Tensor, side: Tensor, slopes: Tensor, error: float
    ) -> tuple[Tensor, Tensor]:
        """First guesses by the quadratic approximation, and the standard error of each basin."""
        ahead = self.start.back(basin, slopes)
        length = ahead.norm(dim=-1, keepdim=True)
        z = torch.where(length > 1e-12, ahead / length.clamp_min(1e-12), 0.0)
        rough = min(max(error, 1e-4), 0.3 * (self.bounds[1] - self.bounds[0]))
        own = length.squeeze(-1).clamp(rough / 3, 3 * rough)
        return side[:, None] * z * self.root, own

    def pull(self, *kinds: Pulls) -> None:
        """Minimise -l + strength/2 (q - goal)^2, and again where goals or strengths are new.

        Where searches have ended they are shown to their kind, which may change goals and strengths
        in place.
        """
        basin, goal, strength, z = (
            torch.cat(parts)
            for parts in zip(*((k.basin, k.goal, k.strength, k.z) for k in kinds), strict=True)
        )
        sizes = [len(kind.basin) for kind in kinds]
        parts = zip(kinds, goal.split(sizes), strength.split(sizes), strict=True)
        for kind, own_goal, own_strength in parts:
            kind.goal, kind.strength = own_goal, own_strength
        top = self.best

        def loss(
            which: Tensor, value: Tensor, score: Tensor, answer: Tensor, slope: Tensor
        ) -> tuple[Tensor, Tensor]:
            gap = answer - goal[which]
            gradient = (strength[which] * gap)[:, None] * slope - score
            away = strength[which] / 2 * gap.square() + (top - value)
            return away, self.start.back(basin[which], gradient)

        def function(points: Tensor, which: Tensor) -> tuple[Tensor, ...]:
            parts = self.both(self.start.out(basin[which], points))
            return *loss(which, *parts), *parts

        def onwards(points: Tensor, which: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            values, _, answers, _ = parts
            highest = int(values.argmax())
            if float(values[highest]) > self.best:
                self.best = float(values[highest])
                self.best_odds = self.start.out(basin[which], points)[highest]
            on, first = torch.zeros_like(which, dtype=torch.bool), 0
            for kind, size in zip(kinds, sizes, strict=True):
                own = (which >= first) & (which < first + size)
                if bool(own.any()):
                    on[own] = kind.look(which[own] - first, points[own], answers[own], values[own])
                first += size
            again = which[on]
            return again, *loss(again, *(part[on] for part in parts))

        minimise(function, z, tol=TOLERANCE, max_iter=80, onwards=onwards)


def round_maps(values: Float[Tensor, " p"], basis: Float[Tensor, "p p"]) -> Float[Tensor, "p p"]:
    """Coordinates in which a surface with this information is about round.

    Args:
        values: eigenvalues of the information, in rows.
        basis: its eigenvectors, one per column.

    Returns:
        A matrix from round coordinates to log-odds; directions that a table hardly bends move by
        about one.
    """
    return basis * (values.clamp_min(0) + 1.0).rsqrt()
