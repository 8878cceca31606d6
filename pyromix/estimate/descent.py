"""Minimise many functions of the same parameters at once: L-BFGS with a batch axis.

Two-loop recursion of [J. Nocedal, Updating quasi-Newton matrices with limited storage, Mathematics
of Computation 35, 1980], an own memory and an own step length for every batch element, and a
backtracking line search, so that no value ever rises. A batch element that has converged is no
longer evaluated.
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

Function = Callable[[Float[Tensor, "some p"], Int[Tensor, " some"]], tuple[Tensor, Tensor]]
"""From points and the numbers of their batch elements to values and gradients."""


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
) -> Minimum:
    """Minimise a smooth function from every start.

    Args:
        function: values and gradients at points; a value that is not finite is a step too far.
        start: where to begin; values there are finite.
        tol: a batch element has converged when the decrease that its next step promises is below
            this, in units of the function.
        max_iter: limit on rounds.
        memory: steps remembered.
        longest: limit on the length of a step, in units of the parameters.
    """
    n, p = start.shape
    point, which = start.clone(), torch.arange(n, device=start.device)
    value, gradient = function(point, which)
    past = Memory.empty(memory, n, p, start)
    converged = torch.zeros(n, dtype=torch.bool, device=start.device)
    n_iter = 0
    while n_iter < max_iter:
        n_iter += 1
        ahead = past.direction(gradient[which], which)
        slope = (ahead * gradient[which]).sum(-1)
        # A direction that does not descend tells of a useless memory: the steepest one does.
        uphill = slope >= 0
        ahead = torch.where(uphill[:, None], -gradient[which], ahead)
        slope = torch.where(uphill, -gradient[which].square().sum(-1), slope)
        short = (longest / ahead.norm(dim=-1).clamp_min(TINY)).clamp_max(1.0)
        ahead, slope = ahead * short[:, None], slope * short
        done = -slope <= tol
        converged[which[done]] = True
        which, ahead, slope = which[~done], ahead[~done], slope[~done]
        if not len(which):
            break
        before, turned = point[which], gradient[which]
        stuck = _search(function, point, value, gradient, which, ahead, slope)
        past.remember(which, point[which] - before, gradient[which] - turned)
        which = which[~stuck]
    return Minimum(point, value, n_iter, converged)


def _search(
    function: Function,
    point: Float[Tensor, "batch p"],
    value: Float[Tensor, " batch"],
    gradient: Float[Tensor, "batch p"],
    which: Int[Tensor, " some"],
    ahead: Float[Tensor, "some p"],
    slope: Float[Tensor, " some"],
) -> Bool[Tensor, " some"]:
    """Go along each direction as far as it keeps its promise, in place; which found no step."""
    length = torch.ones_like(slope)
    left = torch.arange(len(which), device=which.device)
    for _ in range(HALVINGS):
        mine = which[left]
        there = point[mine] + length[left, None] * ahead[left]
        values, gradients = function(there, mine)
        rise = values - value[mine]
        # Written so that nan fails.
        good = rise <= SUFFICIENT * length[left] * slope[left]
        good &= gradients.isfinite().all(-1)
        kept = mine[good]
        point[kept], value[kept], gradient[kept] = there[good], values[good], gradients[good]
        # The parabola through value, slope and the value that was too large.
        parabola = -slope[left] * length[left] / (2 * (rise - slope[left] * length[left]))
        parabola = torch.where(parabola.isfinite(), parabola, 0.1).clamp(0.1, 0.5)
        length[left] = length[left] * parabola
        left = left[~good]
        if not len(left):
            break
    stuck = torch.zeros(len(which), dtype=torch.bool, device=which.device)
    stuck[left] = True
    return stuck


@dataclass(eq=False)
class Memory:
    """The last steps of every batch element, and how its gradient turned along them."""

    steps: Float[Tensor, "memory batch p"]
    turns: Float[Tensor, "memory batch p"]
    reciprocal: Float[Tensor, "memory batch"]  # of step times turn; zero where there is nothing
    scale: Float[Tensor, " batch"]
    n_kept: int = 0

    @staticmethod
    def empty(memory: int, n: int, p: int, like: Tensor) -> Memory:
        """Nothing yet, of so many steps of so many batch elements and parameters."""
        return Memory(
            like.new_zeros(memory, n, p),
            like.new_zeros(memory, n, p),
            like.new_zeros(memory, n),
            like.new_ones(n),
        )

    def remember(self, which: Tensor, step: Tensor, turn: Tensor) -> None:
        """Keep a step of some batch elements, and how much their gradients turned."""
        place, curvature = self.n_kept % len(self.steps), (step * turn).sum(-1)
        useful = curvature > CURVED * step.norm(dim=-1) * turn.norm(dim=-1)
        self.steps[place, which], self.turns[place, which] = step, turn
        self.reciprocal[place] = 0.0
        self.reciprocal[place, which] = torch.where(useful, 1 / curvature, 0.0)
        ratio = curvature / turn.square().sum(-1)
        self.scale[which] = torch.where(useful, ratio, self.scale[which])
        self.n_kept += 1

    def direction(self, gradient: Tensor, which: Tensor) -> Float[Tensor, "some p"]:
        """Minus the gradient over the curvature that the remembered steps tell."""
        newest = [i % len(self.steps) for i in reversed(range(self.n_kept))][: len(self.steps)]
        left, shares = gradient, {}
        for i in newest:
            shares[i] = self.reciprocal[i, which] * (self.steps[i, which] * left).sum(-1)
            left = left - shares[i][:, None] * self.turns[i, which]
        left = self.scale[which, None] * left
        for i in reversed(newest):
            share = self.reciprocal[i, which] * (self.turns[i, which] * left).sum(-1)
            left = left + (shares[i] - share)[:, None] * self.steps[i, which]
        return -left
