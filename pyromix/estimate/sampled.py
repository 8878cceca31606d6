"""Where EM of all rows is going, as a sample of them in memory foresees it.

EM is slow where much is unseen: near its end a step takes the same small share of what is left. How
small, and along what, the rows in a sample tell. With M(p) the point EM of all rows moves to from
p, and n(q) the expected counts of the sample at q, the point aimed at is where

    q = normalised M(p) (n(q) + d) / (n(p) + d)

holds, cell by cell. To first order that is q - p = (1 - J)^-1 (M(p) - p): Newton's step with the
information of complete rows from all of them, and the share of it that is unseen, J, from the
sample (THEORY section 20). Without end in d the ratio is one, and the step EM's own; so it nearly
is in a cell of which the sample has fewer than d rows. No count becomes negative, and a point that
EM of all rows leaves where it is stays, whatever the sample: it only ever says how counts move.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.estimate.accelerate import FIRST_LIMIT, extrapolate
from pyromix.estimate.starts import batch_of, inside, inside_by_rows
from pyromix.estimate.step import EMMap, Point, Step, WeightedRows
from pyromix.exact.rows import CellIndex
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.spec import MixtureSpec

CLOSE = 1e-3
"""What is left of the first step, as a share of it, when the aim counts as found."""

MOST_LOOKS = 60
"""E-steps of the sample for an aim; one that is not found by then is as good as far as it went."""

GROWN = 2.0
"""An extrapolation is given up where what is left has grown by more."""

ROWS_INSIDE = 3.0
"""Rows of the uniform distribution that join the sample in every CPT row of a start."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A sample of the rows that a climb passes over.

    Attributes:
        em: the EM step of the sample.
        share: of the rows that are in it.
    """

    em: EMMap
    share: float

    @staticmethod
    def of(spec: MixtureSpec, rows: WeightedRows, prior: PseudoCounts, n_rows: float) -> Sample:
        """Make it.

        Args:
            spec: the structure.
            rows: on its variables.
            prior: of the fit to all rows.
            n_rows: sum of the weights of all rows.
        """
        em = EMMap(spec, CellIndex(spec, rows.rows), rows.weights, prior)
        return Sample(em, em.total_weight / n_rows)

    def inside(self, mixture: BayesNetMixture) -> BayesNetMixture:
        """Mix ``ROWS_INSIDE`` rows of the uniform distribution into every CPT row.

        A cell at zero stays there, and one near it takes many passes to grow.
        """
        masses = self.em(Point.of(batch_of(inside(mixture)))).row_masses[:, 0]
        return inside_by_rows(mixture, self.em.axis.unstack_rows(masses), ROWS_INSIDE)

    def aim(self, point: Point, target: Point, doubt: float) -> Point:
        """Where EM of all rows is going.

        Args:
            point: one point.
            target: where EM of all rows moves from there.
            doubt: d, in rows of the sample.
        """
        return _fixed(self.em, self._map(point, target, doubt), point, target)

    def _map(self, point: Point, target: Point, doubt: float) -> Callable[[Point], Point]:
        sources, cells = self._counts(point)

        def moved(there: Point) -> Point:
            sources_there, cells_there = self._counts(there)
            weights = target.weights * (sources_there + doubt) / (sources + doubt)
            table = target.table * (cells_there + doubt) / (cells + doubt)
            sums = self.em.spread(self.em.row_sums(table))
            return Point(weights / weights.sum(-1, keepdim=True), table / sums)

        return moved

    def _counts(self, point: Point) -> tuple[Tensor, Tensor]:
        """Expected counts of the sample, with its share of the pseudo-counts."""
        found = self.em.expected(point)
        cells = self.em.pooled(found.cells)
        if self.em.prior.is_zero:
            return found.sources, cells
        pseudo, prior = self.em.pseudo_cells, self.em.prior.weights
        return found.sources + self.share * prior, cells + self.share * pseudo


def foreseen(em: EMMap, point: Point, step: Step, aim: Point) -> float:
    """Nats that a quadratic gains from a point to its maximum: half the slope along the way.

    Logarithms of ratios are taken as the difference over the mean, so that a cell on its way to
    zero does not count without end.

    Args:
        em: of all rows.
        point: one point.
        step: what a pass found there.
        aim: the maximum.
    """
    behind = em.spread(step.row_masses + em.pseudo_rows)
    slope = behind * (step.target.table - point.table) * _ratio(point.table, aim.table)
    slope[em.shared] /= em.spec.n_sources  # pooled over sources, in each of which they stand
    total = em.total_weight + em.prior.weights.sum()
    sources = total * (step.target.weights - point.weights) * _ratio(point.weights, aim.weights)
    return float(slope.sum() + sources.sum()) / 2


def _ratio(start: Float[Tensor, ...], end: Float[Tensor, ...]) -> Float[Tensor, ...]:
    return 2 * (end - start) / (end + start).clamp_min(torch.finfo(torch.float64).tiny)


def _fixed(em: EMMap, moved: Callable[[Point], Point], start: Point, first: Point) -> Point:
    """Where a map leads from a point and its image: SQUAREM, kept where what is left shrinks."""
    at, ahead, limit = start, first, FIRST_LIMIT
    enough = CLOSE * float(ahead.distance(at))
    for _ in range(MOST_LOOKS // 2):
        beyond = moved(ahead)
        left = float(beyond.distance(ahead))
        guess, length = extrapolate(em, at, ahead, beyond, torch.tensor([limit]).double())
        leads_to = moved(guess)
        left_of_guess = float(leads_to.distance(guess))
        if left_of_guess <= GROWN * left:
            at, ahead, left = guess, leads_to, left_of_guess
            limit *= 4.0 if float(length) >= limit else 1.0
        else:
            at, ahead, limit = ahead, beyond, max(limit / 2, 1.0)
        if left <= enough:
            break
    return ahead
