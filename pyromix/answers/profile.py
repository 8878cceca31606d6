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

from pyromix.estimate.descent import minimise
from pyromix.estimate.surface import Surface, mixtures_of
from pyromix.model.gradients import gradients
from pyromix.model.mixture import BayesNetMixture

Target = Callable[[BayesNetMixture], Tensor]
"""The answer, one number per batch element of a mixture; differentiable."""

Look = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""From the numbers of searches that have ended, and round coordinates, answers and log-likelihoods
where they did, to which of them go on."""

STIFF = 3.0
"""How much stiffer than T itself the pull is: at 3 an answer gives way by a quarter."""

CLOSE = 0.004
"""A search ends when the root of T falls short of that of the limit by at most this share."""

EDGE = 1e-3
"""Distance from the end of an answer's range within which a search that the likelihood does not
stop has arrived there."""

ROUNDS = 12
"""Pulls on the way to an end."""

LADDER = (1.0, 0.75, 0.5, 0.25)
"""Shares of the way to the end of the range, at which further basins are looked for."""

LADDER_STIFFNESS = (2e3, 2e2, 2e1)
"""Strengths of these pulls, one after the other, in nats: at the first, a tenth short of the goal
costs ten."""

BETTER = 0.02
"""Nats by which a search must have risen above the best start, for it to begin anew from there."""

REACHED = 0.1
"""Share of the interval's width within which a start has reached an end."""

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
        best = top if best is None else max(best, top)
        self.best, self.best_odds = best, self.start.odds[int(values.argmax())]
        assumed = best
        basin = torch.arange(n, device=values.device).repeat(2)
        side = values.new_ones(2 * n)
        side[n:] = -1
        z, inward = self.directed(basin, side, slopes[basin], error)
        found = self.outwards(basin, side, z, answers[basin], values[basin], inward, assumed)
        if explore:
            found = self.explored(found, answers[0], assumed)
        return _Found(*found, assumed, self.best, self.best_odds)

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

    def pull(self, basin: Tensor, z: Tensor, goal: Tensor, strength: Tensor, look: Look) -> None:
        """Minimise -l + strength/2 (q - goal)^2, and again where goals or strengths are new.

        Args:
            basin: of each search.
            z: where it begins, in round coordinates.
            goal: of each answer.
            strength: of each pull.
            look: shown where searches have ended, it may change goals and strengths in place.
        """
        top = self.best

        def loss(parts: tuple[Tensor, ...], which: Tensor) -> tuple[Tensor, Tensor]:
            value, score, answer, slope = parts
            gap = answer - goal[which]
            gradient = (strength[which] * gap)[:, None] * slope - score
            away = strength[which] / 2 * gap.square() + (top - value)
            return away, self.start.back(basin[which], gradient)

        def function(points: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
            return loss(self.both(self.start.out(basin[which], points)), which)

        def onwards(points: Tensor, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            odds = self.start.out(basin[which], points)
            parts = self.both(odds)
            values, _, answers, _ = parts
            highest = int(values.argmax())
            if float(values[highest]) > self.best:
                self.best, self.best_odds = float(values[highest]), odds[highest]
            on = look(which, points, answers, values)
            again = which[on]
            return again, *loss(tuple(part[on] for part in parts), again)

        minimise(function, z, tol=TOLERANCE, max_iter=80, onwards=onwards)

    def outwards(
        self,
        basin: Tensor,
        side: Tensor,
        z: Tensor,
        answers: Tensor,
        values: Tensor,
        error: Tensor,
        best: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Move every search outwards until T meets the limit."""
        least, most = self.bounds
        edge = torch.where(side > 0, most, -least)
        origin = side * answers
        inner, inner_root = origin.clone(), (2 * (best - values)).clamp_min(0).sqrt()
        outer, outer_root = torch.full_like(inner, math.inf), torch.full_like(inner, math.inf)
        feasible = inner_root <= self.root
        aimed = (origin + error * (self.root - inner_root).clamp_min(0.1)).minimum(edge)
        # What is aimed at lies a little inside: what lies outside is not kept.
        within = self.root * (1 - CLOSE / 2)
        strength = STIFF / error.square()
        goal = side * (aimed + self.root / error / strength)
        rounds = torch.zeros_like(basin)

        def look(left: Tensor, z: Tensor, q: Tensor, value: Tensor) -> Tensor:
            q, root = side[left] * q, (2 * (best - value)).clamp_min(0).sqrt()
            pulled = (strength[left] * (side[left] * goal[left] - q)).clamp_min(1e-12)
            inside = root <= self.root
            ahead = inside & (q >= inner[left])
            closer = ~inside & (q <= outer[left])
            inner[left] = torch.where(ahead, q, inner[left])
            inner_root[left] = torch.where(ahead, root, inner_root[left])
            feasible[left] |= inside
            outer[left] = torch.where(closer, q, outer[left])
            outer_root[left] = torch.where(closer, root, outer_root[left])
            # Newton in the root of T, whose slope is the pull over the root.
            step = (within - root) * root.clamp_min(1e-3) / pulled
            newton = q + step.clamp(-0.5, 0.5)
            between = outer[left].isfinite()
            share = (within - inner_root[left]) / (outer_root[left] - inner_root[left])
            secant = inner[left] + share.clamp(0.05, 0.95) * (outer[left] - inner[left])
            unbounded = between & ((newton <= inner[left]) | (newton >= outer[left]))
            aim = torch.where(unbounded, secant, newton).minimum(edge[left])
            force = pulled * (self.root / root.clamp_min(0.1 * self.root))
            away = (q - origin[left]).abs().clamp_min(1e-9)
            strength[left] = torch.maximum(strength[left] / 3, STIFF * pulled / away)
            goal[left] = side[left] * (aim + force / strength[left])
            rounds[left] += 1
            met = (self.root - inner_root[left] <= CLOSE * self.root) & feasible[left]
            met |= inner[left] >= edge[left] - 1e-7
            met |= outer[left] - inner[left] <= 1e-6
            return ~met & (rounds[left] < ROUNDS)

        self.pull(basin, z, goal, strength, look)
        # Log-odds reach a probability of 0 or 1 at infinity only.
        free = feasible & (inner_root < within) & (inner >= edge - EDGE)
        return side * torch.where(free, edge, inner), side, feasible

    def explored(
        self, found: tuple[Tensor, Tensor, Tensor], middle: Tensor, best: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pull from far on both sides, let go a little, and search on from what lies outside."""
        answers, sides, feasible = found
        shares = torch.tensor(LADDER, dtype=torch.float64, device=middle.device)
        least, most = self.bounds
        goals = torch.cat([middle + shares * (most - middle), middle + shares * (least - middle)])
        side = torch.ones_like(goals)
        side[len(shares) :] = -1
        inner = torch.stack([(s * answers[(sides == s) & feasible]).amax() for s in (1.0, -1.0)])
        inner = inner.repeat_interleave(len(shares))
        basin = torch.zeros(len(goals), dtype=torch.int64, device=goals.device)
        z = goals.new_zeros(len(goals), self.start.odds.shape[1])
        ladder = goals.new_tensor(LADDER_STIFFNESS)
        strength = ladder[:1].repeat(len(goals))
        rounds, outside = torch.zeros_like(basin), []

        def look(which: Tensor, z: Tensor, q: Tensor, value: Tensor) -> Tensor:
            own = side[which]
            new = (2 * (best - value) <= self.limit) & (own * q > inner[which] + 0.01)
            outside.append((own[new], z[new], q[new], value[new]))
            rounds[which] += 1
            strength[which] = ladder[rounds[which].clamp_max(len(ladder) - 1)]
            return rounds[which] < len(ladder)

        self.pull(basin, z, goals, strength, look)
        side, z, q, value = (torch.cat(parts) for parts in zip(*outside, strict=True))
        if not len(side):
            return found
        error = (q - middle).abs().clamp_min(0.02) / self.root
        zero = torch.zeros(len(side), dtype=torch.int64, device=side.device)
        more = self.outwards(zero, side, z, q, value, error, best)
        return (
            torch.cat([answers, more[0]]),
            torch.cat([sides, more[1]]),
            torch.cat([feasible, more[2]]),
        )


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
