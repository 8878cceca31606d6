"""The answers of all mixtures with one law: walks along the set of them.

The set {s : P_s = p}, in roots of probabilities (``exact.law``), is walked by projected gradients
of the answer q with the memory of L-BFGS. A step goes along directions in which the law does not
move,

    d = -(I - J' (J J')^-1 J) B grad q,       J the Jacobian of the gaps, B the memory,

and Gauss-Newton brings it back to the law; it is kept where the answer has moved outwards. So every
point that is kept is on the set, whatever failed, and what is found is an inner approximation.
Problems of this kind have many local ends: walks begin from many mixtures, and how many reached
each end is told (THEORY 14.4, 14.6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.estimate.descent import Memory
from pyromix.exact import linalg
from pyromix.exact.law import LawMap
from pyromix.model.gradients import gradients
from pyromix.model.mixture import BayesNetMixture

Values = Callable[[BayesNetMixture], Tensor]
"""Answers of mixtures with one batch axis, ``(b, values)``; differentiable."""

ON = 1e-8
"""Length of the gaps below which a point has the law: a divergence of 1e-16."""

NEAR = 1e-6
"""The same on the way; ends are brought to the law itself."""

DAMPING = 1e-10
"""Added to squared singular values of the Jacobian: directions below are not told from none."""

SETTLING = 60
"""Steps of Gauss-Newton from a start to the law; what is not there by then, mostly, never is."""

STEPS = 200
"""Steps of a walk."""

HALTED = 1e-5
"""A walk ends when its last ``LAST`` steps have moved the answer by less."""

LAST = 6
"""Steps that are looked back."""

REMEMBERED = 10
"""Steps from which curvature is told."""

LONGEST = 0.5
"""Limit on the length of a step, in roots."""

LONGER = 2.0
"""How much longer than the last step the next one may be."""

SHORTER = 0.3
"""Share of a step that is tried next, where one could not be kept."""

TRIALS = 10
"""Lengths of one step that are tried."""

CHORDS = 6
"""Corrections of a step with the Jacobian from where it began."""

PROMISED = 1e-4
"""Share of what the slope promises, that a step must keep (Armijo)."""

NUMBERS = 2**23
"""Numbers of the Jacobians that are held at once: walks are made in groups."""


@dataclass(frozen=True, eq=False)
class Ends:
    """Where walks ended.

    Attributes:
        points: ``(directions, starts, size)``, normalised roots.
        values: ``(directions, starts, values)``, the answers there.
    """

    points: Float[Tensor, "d s size"]
    values: Float[Tensor, "d s values"]

    def joined(self, more: Ends) -> Ends:
        """Walks in the same directions."""
        return Ends(
            torch.cat([self.points, more.points], 1), torch.cat([self.values, more.values], 1)
        )


def settled(law: LawMap, points: Float[Tensor, "b size"]) -> tuple[Tensor, Bool[Tensor, " b"]]:
    """Bring starts to the law, by Levenberg-Marquardt; which of them got there.

    Args:
        law: to be reached.
        points: normalised roots.
    """
    found = [_settled(law, part) for part in points.split(_group(law))]
    return torch.cat([p for p, _ in found]), torch.cat([there for _, there in found])


def walked(
    law: LawMap,
    values: Values,
    directions: Float[Tensor, "d values"],
    points: Float[Tensor, "s size"],
) -> Ends:
    """Walk from every start as far as the law allows, in every direction.

    Args:
        law: that all points have.
        values: the answers.
        directions: what is to grow, a combination of the answers each.
        points: normalised roots on the law.
    """
    d, s = len(directions), len(points)
    starts, aims = points.repeat(d, 1), directions.repeat_interleave(s, 0)
    group = _group(law)
    ends = [
        _Walk(law, values, aim).run(start)
        for start, aim in zip(starts.split(group), aims.split(group), strict=True)
    ]
    reached = torch.cat([point for point, _ in ends])
    answers = torch.cat([value for _, value in ends])
    return Ends(reached.view(d, s, -1), answers.view(d, s, -1))


def _group(law: LawMap) -> int:
    return max(1, NUMBERS // (len(law.law) * law.axis.size))


@dataclass(frozen=True, eq=False)
class _Tangent:
    """The directions at some points in which the law does not move, and those in which it does.

    Attributes:
        jacobian: of the gaps.
        undoing: the inverse of its smaller Gram matrix, damped.
        damping: per point.
    """

    jacobian: Float[Tensor, "b m size"]
    undoing: Float[Tensor, "b r r"]
    damping: Float[Tensor, " b"]

    @staticmethod
    def at(law: LawMap, points: Float[Tensor, "b size"]) -> _Tangent:
        jacobian = law.jacobian(points)
        return _Tangent.damped(jacobian, jacobian.new_full((len(jacobian),), DAMPING))

    @staticmethod
    def damped(jacobian: Float[Tensor, "b m size"], damping: Float[Tensor, " b"]) -> _Tangent:
        m, n = jacobian.shape[1:]
        gram = jacobian @ jacobian.mT if m <= n else jacobian.mT @ jacobian
        # The trace keeps the floor above rounding.
        floor = damping + 1e-14 * gram.diagonal(dim1=1, dim2=2).sum(-1)
        gram = gram + floor[:, None, None] * torch.eye(
            len(gram[0]), dtype=gram.dtype, device=gram.device
        )
        return _Tangent(jacobian, linalg.inv(gram).value, floor)

    def __getitem__(self, chosen: Tensor) -> _Tangent:
        return _Tangent(self.jacobian[chosen], self.undoing[chosen], self.damping[chosen])

    @property
    def _wide(self) -> bool:
        return self.jacobian.shape[1] <= self.jacobian.shape[2]

    def along(self, vectors: Float[Tensor, "b size"]) -> Float[Tensor, "b size"]:
        """The part of vectors in directions in which the law does not move."""
        if not self._wide:
            return self.damping[:, None] * _times(self.undoing, vectors)
        return vectors - _times(
            self.jacobian.mT, _times(self.undoing, _times(self.jacobian, vectors))
        )

    def back(self, gaps: Float[Tensor, "b m"]) -> Float[Tensor, "b size"]:
        """The step that undoes gaps to first order."""
        if not self._wide:
            return -_times(self.undoing, _times(self.jacobian.mT, gaps))
        return -_times(self.jacobian.mT, _times(self.undoing, gaps))


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices @ vectors[..., None]).squeeze(-1)


def _settled(law: LawMap, points: Tensor) -> tuple[Tensor, Tensor]:
    points = points.clone()
    gaps, jacobian = law.gaps(points), law.jacobian(points)
    sizes = gaps.norm(dim=-1)
    damping = torch.full_like(sizes, 1e-2)
    left = torch.arange(len(points), device=points.device)
    for _ in range(SETTLING):
        left = left[sizes[left] > ON]
        if not len(left):
            break
        ahead = _Tangent.damped(jacobian[left], damping[left]).back(gaps[left])
        there = law.axis.normalised(points[left] + _shortened(ahead, 1.0))
        new = law.gaps(there)
        good = new.norm(dim=-1) < sizes[left]  # nan fails
        damping[left] = (damping[left] * torch.where(good, 0.2, 4.0)).clamp(1e-12, 1e3)
        better = left[good]
        points[better], gaps[better], sizes[better] = there[good], new[good], new[good].norm(dim=-1)
        if len(better):
            jacobian[better] = law.jacobian(points[better])
    return points, sizes <= ON


def _shortened(
    steps: Float[Tensor, "b size"], longest: float | Float[Tensor, "b 1"]
) -> Float[Tensor, "b size"]:
    lengths = steps.norm(dim=-1, keepdim=True).clamp_min(1e-300)
    return steps * (longest / lengths).clamp_max(1.0)


@dataclass(frozen=True, eq=False)
class _Walk:
    """Walks of one group, each in a direction of its own."""

    law: LawMap
    values: Values
    aims: Float[Tensor, "b values"]

    def run(self, points: Float[Tensor, "b size"]) -> tuple[Tensor, Tensor]:
        """From points on the law: where the walks end, and all answers there."""
        points = points.clone()
        n = len(points)
        which = torch.arange(n, device=points.device)
        reached, gradient, tangent = self._looked(points, which)
        memory = Memory.empty(REMEMBERED, n, points.shape[1], points)
        past = torch.full((LAST, n), torch.inf, dtype=reached.dtype, device=points.device)
        radius = torch.full_like(reached, LONGEST)
        for turn in range(STEPS):
            if not len(which):
                break
            ahead = tangent.along(memory.direction(gradient[which], which))
            slope = (ahead * gradient[which]).sum(-1)
            # A direction that does not descend tells of a useless memory: the steepest one does.
            uphill = slope >= 0
            ahead = torch.where(uphill[:, None], -gradient[which], ahead)
            ahead = _shortened(ahead, radius[which, None])
            slope = (ahead * gradient[which]).sum(-1)
            before, turned = points[which], gradient[which]
            earlier, past[turn % LAST] = past[turn % LAST].clone(), reached
            length = self._step(points, reached, which, ahead, slope, tangent)
            kept = length > 0
            moved = which[kept]
            # What had to be shortened is not tried as long again at once.
            gone = (length * ahead.norm(dim=-1))[kept]
            radius[moved] = (LONGER * gone).clamp_max(LONGEST)
            if not len(moved):
                break
            reached[moved], gradient[moved], tangent = self._looked(points[moved], moved)
            memory.remember(moved, points[moved] - before[kept], gradient[moved] - turned[kept])
            going = earlier[moved] - reached[moved] > HALTED
            which, tangent = moved[going], tangent[going]
        points, _ = _settled(self.law, points)
        with torch.no_grad():
            return points, self.values(self.law.axis.mixtures(points))

    def _looked(self, points: Tensor, which: Tensor) -> tuple[Tensor, Tensor, _Tangent]:
        """What is to be small, its gradient along the law, and the directions along the law."""
        with gradients():
            roots = points.detach().clone().requires_grad_()
            found = -(self.values(self.law.axis.mixtures(roots)) * self.aims[which]).sum(-1)
            (gradient,) = torch.autograd.grad(found.sum(), roots)
        tangent = _Tangent.at(self.law, points)
        gradient = torch.where(gradient.isfinite(), gradient, 0.0)
        return found.detach(), tangent.along(gradient), tangent

    def _step(
        self,
        points: Float[Tensor, "b size"],
        reached: Float[Tensor, " b"],
        which: Int[Tensor, " some"],
        ahead: Float[Tensor, "some size"],
        slope: Float[Tensor, " some"],
        tangent: _Tangent,
    ) -> Float[Tensor, " some"]:
        """Go along each direction as far as law and answer allow, in place; by which share."""
        start = points[which]
        length = torch.ones_like(slope)
        left = torch.arange(len(which), device=points.device)
        gone = torch.zeros_like(slope)
        for _ in range(TRIALS):
            there = self.law.axis.normalised(start[left] + length[left, None] * ahead[left])
            there, on = self._brought_back(
                there, tangent if len(left) == len(which) else tangent[left]
            )
            with torch.no_grad():
                answers = self.values(self.law.axis.mixtures(there))
            found = -(answers * self.aims[which[left]]).sum(-1)
            good = on & (found <= reached[which[left]] + PROMISED * length[left] * slope[left])
            points[which[left[good]]] = there[good]
            gone[left[good]] = length[left[good]]
            length[left] *= SHORTER
            left = left[~good]
            if not len(left):
                break
        return gone

    def _brought_back(self, points: Tensor, tangent: _Tangent) -> tuple[Tensor, Tensor]:
        """Correct steps by chords; which points then have the law."""
        gaps = self.law.gaps(points)
        sizes = gaps.norm(dim=-1)
        for _ in range(CHORDS):
            left = (sizes > NEAR).nonzero().flatten()
            if not len(left):
                break
            every = len(left) == len(points)
            ahead = (tangent if every else tangent[left]).back(gaps if every else gaps[left])
            there = self.law.axis.normalised(points[left] + _shortened(ahead, LONGEST))
            new = self.law.gaps(there)
            better = new.norm(dim=-1) < sizes[left]
            if not bool(better.any()):
                break
            kept = left[better]
            points, gaps, sizes = (
                points.index_copy(0, kept, there[better]),
                gaps.index_copy(0, kept, new[better]),
                sizes.index_copy(0, kept, new[better].norm(dim=-1)),
            )
        return points, sizes <= NEAR
