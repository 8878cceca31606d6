"""The log-likelihood of a table as a function of log-odds, with its gradient.

Of a row of a table with expected counts n_s + a_s the gradient in the log-odds of state s is
(n_s + a_s) - theta_s sum (n + a): what a step of EM computes anyway (``step``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.estimate.indexed import index_of
from pyromix.estimate.step import EMMap, Point, WeightedRows
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.parameters import ParameterAxis
from pyromix.model.prior import PseudoCounts
from pyromix.model.spec import MixtureSpec


@dataclass(frozen=True, eq=False)
class Surface:
    """Log-likelihood plus log-density of pseudo-counts, over mixtures of one structure.

    Attributes:
        em: the table and the pseudo-counts, as a step of EM sees them.
    """

    em: EMMap

    @staticmethod
    def of(spec: MixtureSpec, counts: WeightedRows, prior: PseudoCounts) -> Surface:
        """The surface of a table.

        Args:
            spec: the structure.
            counts: distinct rows and their weights, on its variables.
            prior: pseudo-counts; zeros for the likelihood alone.
        """
        return Surface(EMMap(spec, index_of(spec, counts), counts.weights, prior))

    @cached_property
    def axis(self) -> ParameterAxis:
        """Positions of the log-odds."""
        return ParameterAxis(self.em.spec)

    def mixtures(self, odds: Float[Tensor, "batch p"]) -> BayesNetMixture:
        """Mixtures with these log-odds; differentiable."""
        return mixtures_of(self.axis, odds)

    def odds(self, mixtures: BayesNetMixture) -> Float[Tensor, "batch p"]:
        """Log-odds of mixtures with one batch axis."""
        return self.axis.log_odds(mixtures.tables)

    def __call__(
        self, odds: Float[Tensor, "batch p"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch p"]]:
        """Values, in nats over all rows, and gradients in the log-odds."""
        return self.at(self.mixtures(odds))

    @torch.no_grad()
    def at(
        self, mixtures: BayesNetMixture
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch p"]]:
        """The same at mixtures with one batch axis."""
        em, point = self.em, Point.of(mixtures)
        step = em(point)
        behind = em.spread(step.row_masses + em.pseudo_rows)
        total = em.total_weight + em.prior.weights.sum(-1)
        change = em.axis.unstack(behind * (step.target.table - point.table))
        sources = total * (step.target.weights - point.weights)
        return step.objective, self.axis.free([sources, *change])


def mixtures_of(axis: ParameterAxis, odds: Float[Tensor, "*lead p"]) -> BayesNetMixture:
    """Mixtures with these log-odds; differentiable."""
    tables: Sequence[Tensor] = axis.tables_of_log_odds(odds)
    return BayesNetMixture.unchecked(axis.spec, tables)
