"""Kinds of searches of a profile likelihood: each pulls an answer to a goal, and then moves it.

See ``profile``, which minimises -l + strength/2 (q - goal)^2 for all searches at once.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

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

REACHED = 0.1
"""Share of the interval's width within which a start has reached an end."""


@runtime_checkable
class Pulls(Protocol):
    """Searches of one kind.

    Attributes:
        basin: where each begins, by number.
        z: round coordinates in which it begins.
        goal: of each answer.
        strength: of each pull.
    """

    basin: Int[Tensor, " s"]
    z: Float[Tensor, "s p"]
    goal: Float[Tensor, " s"]
    strength: Float[Tensor, " s"]

    def look(
        self,
        which: Int[Tensor, " some"],
        z: Float[Tensor, "some p"],
        answers: Float[Tensor, " some"],
        values: Float[Tensor, " some"],
    ) -> Bool[Tensor, " some"]:
        """Which of some searches that have ended go on; may change their goals and strengths.

        Args:
            which: their numbers.
            z: round coordinates where they have ended.
            answers: their answers there.
            values: their log-likelihoods there.
        """
        ...


class Outwards:
    """Searches that move outwards until T meets the limit."""

    def __init__(
        self,
        basin: Int[Tensor, " s"],
        side: Float[Tensor, " s"],
        z: Float[Tensor, "s p"],
        answers: Float[Tensor, " s"],
        values: Float[Tensor, " s"],
        error: Float[Tensor, " s"],
        best: float,
        root: float,
        bounds: tuple[float, float],
    ) -> None:
        self.basin, self.side, self.z = basin, side, z
        self.best, self.root = best, root
        # What is aimed at lies a little inside: what lies outside is not kept.
        self.within = root * (1 - CLOSE / 2)
        least, most = bounds
        self.edge = torch.where(side > 0, most, -least)
        self.range = most - least
        self.origin = side * answers
        self.inner, self.inner_root = self.origin.clone(), self._root(values)
        self.outer = torch.full_like(self.inner, math.inf)
        self.outer_root = torch.full_like(self.inner, math.inf)
        self.feasible = self.inner_root <= root
        ahead = error * (root - self.inner_root).clamp_min(0.1)
        aimed = (self.origin + ahead).minimum(self.edge)
        self.strength = STIFF / error.square()
        self.goal = side * (aimed + root / error / self.strength)
        self.rounds = torch.zeros_like(basin)

    def look(self, which: Tensor, z: Tensor, answers: Tensor, values: Tensor) -> Tensor:
        """Close in on the limit from both sides of it."""
        side, root = self.side[which], self._root(values)
        q = side * answers
        pulled = (self.strength[which] * (side * self.goal[which] - q)).clamp_min(1e-12)
        inside = root <= self.root
        ahead = inside & (q >= self.inner[which])
        closer = ~inside & (q <= self.outer[which])
        self.inner[which] = inner = torch.where(ahead, q, self.inner[which])
        self.inner_root[which] = inner_root = torch.where(ahead, root, self.inner_root[which])
        self.feasible[which] |= inside
        self.outer[which] = outer = torch.where(closer, q, self.outer[which])
        self.outer_root[which] = torch.where(closer, root, self.outer_root[which])
        # Newton in the root of T, whose slope is the pull over the root.
        step = (self.within - root) * root.clamp_min(1e-3) / pulled
        newton = q + step.clamp(-0.5, 0.5)
        share = (self.within - inner_root) / (self.outer_root[which] - inner_root)
        secant = inner + share.clamp(0.05, 0.95) * (outer - inner)
        unbounded = outer.isfinite() & ((newton <= inner) | (newton >= outer))
        aim = torch.where(unbounded, secant, newton).minimum(self.edge[which])
        force = pulled * (self.root / root.clamp_min(0.1 * self.root))
        away = (q - self.origin[which]).abs().clamp_min(1e-9)
        stiff = torch.maximum(self.strength[which] / 3, STIFF * pulled / away)
        self.strength[which] = stiff
        self.goal[which] = side * (aim + force / stiff)
        self.rounds[which] += 1
        met = (self.root - inner_root <= CLOSE * self.root) & self.feasible[which]
        met |= inner >= self.edge[which] - 1e-7
        met |= outer - inner <= 1e-6
        # Its end lies between inner and outer: behind what another has, by more than is counted.
        met |= outer < self._lead(side) - REACHED * self.range
        return ~met & (self.rounds[which] < ROUNDS)

    def ends(self) -> tuple[Float[Tensor, " s"], Float[Tensor, " s"], Bool[Tensor, " s"]]:
        """Outermost answers, sides, and whether anything feasible was found."""
        # Log-odds reach a probability of 0 or 1 at infinity only.
        near = self.inner >= self.edge - EDGE
        free = self.feasible & (self.inner_root < self.within) & near
        answers = self.side * torch.where(free, self.edge, self.inner)
        return answers, self.side, self.feasible

    def _root(self, values: Tensor) -> Tensor:
        """Root of T."""
        return (2 * (self.best - values)).clamp_min(0).sqrt()

    def _lead(self, side: Tensor) -> Tensor:
        """The outermost feasible answer of each one's side, as yet."""
        reached = torch.where(self.feasible, self.inner, -math.inf)
        lead = [torch.where(self.side == s, reached, -math.inf).amax() for s in (1.0, -1.0)]
        return torch.where(side > 0, *lead)


class Ladder:
    """Pulls from far on both sides, that let go a little at a time: they find further basins."""

    def __init__(
        self,
        middle: Float[Tensor, ""],
        bounds: tuple[float, float],
        limit: float,
        best: float,
        n_parameters: int,
    ) -> None:
        shares = torch.tensor(LADDER, dtype=torch.float64, device=middle.device)
        least, most = bounds
        goals = (middle + shares * (most - middle), middle + shares * (least - middle))
        self.goal = torch.cat(goals)
        self.side = torch.ones_like(self.goal)
        self.side[len(shares) :] = -1
        self.basin = torch.zeros(len(self.goal), dtype=torch.int64, device=middle.device)
        self.z = self.goal.new_zeros(len(self.goal), n_parameters)
        self.stiffness = self.goal.new_tensor(LADDER_STIFFNESS)
        self.strength = self.stiffness[:1].repeat(len(self.goal))
        self.rounds = torch.zeros_like(self.basin)
        self.limit, self.best = limit, best
        self.seen: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def look(self, which: Tensor, z: Tensor, answers: Tensor, values: Tensor) -> Tensor:
        """Keep what is feasible; let go."""
        new = 2 * (self.best - values) <= self.limit
        self.seen.append((self.side[which][new], z[new], answers[new], values[new]))
        self.rounds[which] += 1
        last = len(self.stiffness) - 1
        self.strength[which] = self.stiffness[self.rounds[which].clamp_max(last)]
        return self.rounds[which] <= last

    def outside(self, found: Outwards) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sides, places, answers and values of what lies outside what others have found."""
        side, z, q, value = (torch.cat(parts) for parts in zip(*self.seen, strict=True))
        answers, sides, feasible = found.ends()
        inner = torch.stack([(s * answers[(sides == s) & feasible]).amax() for s in (-1.0, 1.0)])
        outside = side * q > inner[(side > 0).long()] + 0.01
        return side[outside], z[outside], q[outside], value[outside]
