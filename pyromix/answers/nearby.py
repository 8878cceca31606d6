"""What sampling leaves open of an answer that data do not determine, around the range of the law.

Profiles go outwards from the mixtures at the ends of the range, which have the law that fits best.
The reference is the best likelihood with k sources for k + 1 sources, too: of these those count
that fit as well as the best with k do. So their interval holds that of k sources.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from pyromix.answers.delta import chi_square_limit
from pyromix.answers.inquiry import INSIDE, SETTLED
from pyromix.answers.profile import Start, profile_ends, round_maps
from pyromix.answers.same_law import Values
from pyromix.data.counts import Counts
from pyromix.estimate.em import climb_replicates
from pyromix.estimate.starts import batch_of, inside_by_rows
from pyromix.estimate.step import Point
from pyromix.estimate.surface import Surface
from pyromix.exact.information import observed_information
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts

Ends = tuple[list[float], list[float]]
"""Lower and upper ends of some values."""


@dataclass(frozen=True, eq=False)
class Nearby:
    """A table, and mixtures at the ends of the range of their law.

    Attributes:
        counts: the table.
        reference: log-likelihood that mixtures are compared with.
        extreme: at the lower ends of some values, then at the upper ones, batch shape ``(2 f,)``.
        known: ends found so far, by level.
    """

    counts: Counts
    reference: float
    extreme: BayesNetMixture
    known: dict[float, Ends] = field(default_factory=dict)

    def ends(self, values: Values, n_probabilities: int, level: float) -> Ends:
        """Least and largest value of each, within the limit of the level.

        Args:
            values: what is asked, ``(b, f)``.
            n_probabilities: how many of them, the first ones, are no differences.
            level: of the interval.
        """
        if level not in self.known:
            self.known[level] = self._found(values, n_probabilities, level)
        return self.known[level]

    def _found(self, values: Values, n_probabilities: int, level: float) -> Ends:
        surface, inner, climbed, best = self._climbed
        with torch.no_grad():
            answers = values(inner)
        f = answers.shape[1]
        limit = chi_square_limit(level) + 2 * max(best - self.reference, 0.0)
        lows, highs = [], []
        for i in range(f):
            least = 0.0 if i < n_probabilities else -1.0
            both = torch.tensor([i, f + i], device=answers.device)
            start = Start(surface.odds(batch_of(climbed, inner[both])), self._map[None])
            reach = profile_ends(
                surface,
                _column(values, i),
                start,
                limit=limit,
                bounds=(least, 1.0),
                error=max(float(answers[f + i, i] - answers[i, i]) / 4, 0.02),
                best=best,
            )
            lows.append(reach.low)
            highs.append(reach.high)
        return lows, highs

    @cached_property
    def _climbed(self) -> tuple[Surface, BayesNetMixture, BayesNetMixture, float]:
        """The likelihood, the ends a little inside, where EM leads from them, and its value."""
        spec, counts = self.extreme.spec, self.counts
        none = PseudoCounts.of(spec, None, counts.device)
        surface = Surface.of(spec, counts, none)
        masses = surface.em(Point.of(self.extreme)).row_masses.mean(1)
        inner = inside_by_rows(self.extreme, surface.em.axis.unstack_rows(masses), INSIDE)
        weights = counts.weights[:, None].expand(-1, inner.batch_shape[0])
        total = float(counts.weights.sum())
        found = climb_replicates(
            counts, inner, weights, prior=none, max_iter=1000, tol=SETTLED / total
        )
        top = int(found.objectives.argmax())
        at = inside_by_rows(
            found.mixtures[top : top + 1], surface.em.axis.unstack_rows(masses), INSIDE
        )
        return surface, inner, at, float(found.objectives[top])

    @cached_property
    def _map(self) -> Tensor:
        """Coordinates in which the log-likelihood is about round."""
        _, _, climbed, _ = self._climbed
        counts = self.counts
        none = PseudoCounts.of(climbed.spec, None, counts.device)
        found = observed_information(climbed[0], counts.rows, counts.weights, none)
        return round_maps(found.values, found.basis)


def _column(values: Values, i: int) -> Values:
    return lambda mixtures: values(mixtures)[:, i]
