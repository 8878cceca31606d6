"""Minimise many functions of the same parameters at once: L-BFGS with a batch axis.

Two-loop recursion of [J. Nocedal, Updating quasi-Newton matrices with limited storage, Mathematics
of Computation 35, 1980], an own memory and an own step length for every batch element, and a
backtracking line search, so that no value ever rises. Every round evaluates each batch element
once: one may try a shorter step while another takes its next one. An element that has ended is no
longer evaluated, unless it is given another function to go on with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SUFFICIENT = 1e-4
"""Share of the decrease that the slope promises, and that a step must keep (Armijo)."""

HALVINGS = 12
"""Shorter steps that are tried before a batch element is left where it is."""

CURVED = 1e-10
"""Least curvature along a step, relative to its lengths, for which the step is remembered."""

TINY = 1e-300
"""Length in place of zero."""

Function = Callable[[Float[Tensor, "some p"], Int[Tensor, " some"]], tuple[Tensor, ...]]
"""From points and the numbers of their batch elements to values, gradients, and whatever else was
found there."""

Onwards = Callable[..., tuple[Int[Tensor, " again"], Tensor, Tensor]]
"""From points where batch elements have ended, their numbers, and what else the function found
there, to those that go on from there with another function, and its values and gradients."""


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where a descent ended.

    Attributes:
        point: ``(batch, p)``.
        value: of the function there.
        n_iter: rounds of the descent.
        converged: whether by the tolerance.
    """

    point: Float[Tensor, "batch p"]
    value: Float[Tensor, " batch"]
    n_iter: int
    converged: Bool[Tensor, " batch"]


def minimise(
    function: Function,
    start: Float[Tensor, "batch p"],
    *,
    tol: float = 1e-3,
    max_iter: int = 100,
    memory: int = 8,
    longest: float = 4.0,
    onwards: Onwards | None = None,
) -> Minimum:
    """Minimise a smooth function from every start.

    Args:
        function: values and gradients at points, one row per point in whatever follows them; a
            value that is not finite is a step too far.
        start: where to begin; values there are finite.
        tol: a batch element has converged when the decrease that its next step promises is below
            this, in units of the function.
        max_iter: limit on the steps of a batch element.
        memory: steps remembered.
        longest: limit on the length of a step, in units of the parameters.
        onwards: asked where batch elements end; those that it returns begin anew from there.
    """
    n, p = start.shape
    point, which = start.clone(), torch.arange(n, device=start.device)
    value, gradient, *found = function(point, which)
    kept = (point, value, gradient, *found)
    past = Memory.empty(memory, n, p, start)
    ahead, slope = torch.zeros_like(start), torch.zeros_like(value)
    length, trials, steps = torch.ones_like(value), torch.zeros(n), torch.zeros(n)
    trials, steps = trials.to(which), steps.to(which)
    converged = torch.zeros(n, dtype=torch.bool, device=start.device)
    n_iter = 0
    # Those that stand where they have not yet chosen a direction.
    fresh = which
    while len(which):
        n_iter += 1
        ahead[fresh], slope[fresh] = _directed(past, gradient[fresh], fresh, longest)
        length[fresh], trials[fresh] = 1.0, 0
        converged[fresh] = -slope[fresh] <= tol
        over = converged[which] | (steps[which] >= max_iter) | (trials[which] >= HALVINGS)
        ended, which = which[over], which[~over]
        fresh = ended[:0]
        if len(which):
            taken = _tried(function, kept, which, ahead, slope, length, past)
            trials[which] += 1
            fresh = which[taken]
            steps[fresh] += 1
        if onwards is not None and len(ended):
            there = (each[ended] for each in found)
            again, values, gradients = onwards(point[ended], ended, *there)
            value[again], gradient[again] = values, gradients
            past.forget(again)
            steps[again] = 0
            which, fresh = torch.cat([which, again]), torch.cat([fresh, again])
    return Minimum(point, value, n_iter, converged)


def _directed(
    past: Memory, gradient: Float[Tensor, "some p"], which: Int[Tensor, " some"], longest: float
) -> tuple[Float[Tensor, "some p"], Float[Tensor, " some"]]:
    """Where to go from some points, and the slopes there."""
    ahead = past.direction(gradient, which)
    slope = (ahead * gradient).sum(-1)
    # A direction that does not descend tells of a useless memory: the steepest one does.
    uphill = slope >= 0
    ahead = torch.where(uphill[:, None], -gradient, ahead)
    slope = torch.where(uphill, -gradient.square().sum(-1), slope)
    short = (longest / ahead.norm(dim=-1).clamp_min(TINY)).clamp_max(1.0)
    return ahead * short[:, None], slope * short


def _tried(
    function: Function,
    kept: tuple[Tensor, ...],
    which: Int[Tensor, " some"],
    ahead: Float[Tensor, "batch p"],
    slope: Float[Tensor, " batch"],
    length: Float[Tensor, " batch"],
    past: Memory,
) -> Bool[Tensor, " some"]:
    """Try one step of each, in place: keep what keeps its promise, else shorten; which kept.

    What is kept is a point, its value and gradient, and whatever else the function finds there.
    """
    point, value, gradient, *_ = kept
    step = length[which, None] * ahead[which]
    there = point[which] + step
    new = function(there, which)
    values, gradients, *_ = new
    rise, promised = values - value[which], length[which] * slope[which]
    # Written so that nan fails.
    good = rise <= SUFFICIENT * promised
    good &= gradients.isfinite().all(-1)
    taken = which[good]
    past.remember(taken, step[good], gradients[good] - gradient[taken])
    for each, found in zip(kept, (there, *new), strict=True):
        each[taken] = found[good]
    # The parabola through value, slope and the value that was too large.
    parabola = -promised / (2 * (rise - promised))
    parabola = torch.where(parabola.isfinite(), parabola, 0.1).clamp(0.1, 0.5)
    length[which] *= parabola
    return good


@dataclass(eq=False)
class Memory:
    """The last steps of every batch element, and how its gradient turned along them."""

    steps: Float[Tensor, "memory batch p"]
    turns: Float[Tensor, "memory batch p"]
    reciprocal: Float[Tensor, "memory batch"]  # of step times turn; zero where there is nothing
    scale: Float[Tensor, " batch"]
    n_kept: Int[Tensor, " batch"]

    @staticmethod
    def empty(memory: int, n: int, p: int, like: Tensor) -> Memory:
        """Nothing yet, of so many steps of so many batch elements and parameters."""
        return Memory(
            like.new_zeros(memory, n, p),
            like.new_zeros(memory, n, p),
            like.new_zeros(memory, n),
            like.new_ones(n),
            torch.zeros(n, dtype=torch.int64, device=like.device),
        )

    def remember(self, which: Tensor, step: Tensor, turn: Tensor) -> None:
        """Keep a step of some batch elements, and how much their gradients turned."""
        place, curvature = self.n_kept[which] % len(self.steps), (step * turn).sum(-1)
        useful = curvature > CURVED * step.norm(dim=-1) * turn.norm(dim=-1)
        self.steps[place, which], self.turns[place, which] = step, turn
        self.reciprocal[place, which] = torch.where(useful, 1 / curvature, 0.0)
        ratio = curvature / turn.square().sum(-1)
        self.scale[which] = torch.where(useful, ratio, self.scale[which])
        self.n_kept[which] += 1

    def forget(self, which: Tensor) -> None:
        """Keep nothing of some batch elements."""
        self.reciprocal[:, which] = 0.0
        self.scale[which] = 1.0
        self.n_kept[which] = 0

    def direction(self, gradient: Tensor, which: Tensor) -> Float[Tensor, "some p"]:
        """Minus the gradient over the curvature that the remembered steps tell."""
        kept = self.n_kept[which]
        most = min(int(kept.max()), len(self.steps)) if len(which) else 0
        age = torch.arange(most, device=which.device)[:, None]
        place = (kept - 1 - age) % len(self.steps)  # the newest first
        steps, turns = self.steps[place, which], self.turns[place, which]
        reciprocal = self.reciprocal[place, which]
        left, shares = gradient, []
        for step, turn, inverse in zip(steps, turns, reciprocal, strict=True):
            shares.append(inverse * (step * left).sum(-1))
            left = left - shares[-1][:, None] * turn
        left = self.scale[which, None] * left
        for i in reversed(range(most)):
            share = reciprocal[i] * (turns[i] * left).sum(-1)
            left = left + (shares[i] - share)[:, None] * steps[i]
        return -left
