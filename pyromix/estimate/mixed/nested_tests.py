"""Tests of one graph inside a larger one, whose sizes do not lean on the shape of the noise.

Twice a log-likelihood ratio is chi-square only where the noise has the shape assumed: heavy tails
make variances differ that do not. So the score of the larger graph at the estimate of the smaller
one, A, is cleared of what estimating A does to it, and compared with how much it varies from row to
row [H. White, Maximum likelihood estimation of misspecified models, Econometrica 50, 1982]:

    e_i = s_Q,i - s_A,i J_AA^-1 J_AQ,   T = (sum e_i)' (sum e_i e_i')^-1 (sum e_i),

Q the directions that the larger graph adds, J minus the Hessian. Where the larger graph was
estimated, T = (Q' theta)' (Q' C Q)^-1 (Q' theta) with the sandwich C (Wald's).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.data.records import Records
from pyromix.estimate.mixed.information import (
    STEP,
    Sandwich,
    curvature,
    row_scores,
)
from pyromix.exact import linalg
from pyromix.model.mixed import MixedMixture

UNSEEN = 1e-6
"""Share of the variance of a score that must be left after clearing, for a direction to show."""

MOVED = 1e-3
"""Length of a direction that a table does not determine, along what is tested, that spoils it."""

ROUNDING = 1e-12
"""Share of the largest variance below which another one is rounding."""


@dataclass(frozen=True)
class Tested:
    """A statistic and its degrees of freedom; none where the table cannot show a difference."""

    statistic: float
    df: int


@dataclass(frozen=True, eq=False)
class Smaller:
    """An estimate, at which larger graphs are tested.

    Attributes:
        mixture: the estimate.
        records: the table.
        scores: of every row, by the coordinates of the estimate.
        inverse_curvature: along what the table determines; zero elsewhere.
    """

    mixture: MixedMixture
    records: Records
    scores: Float[Tensor, "rows p"]
    inverse_curvature: Float[Tensor, "p p"]

    def score_test(
        self,
        larger: MixedMixture,
        records: Records,
        order: Sequence[int],
        vertex: int,
        tangent: Float[Tensor, "large small"],
    ) -> Tested:
        """Test the estimate, written as a mixture of a larger graph.

        Args:
            larger: the same law; only the family of one vertex has more coordinates.
            records: the table, columns in the order of ``larger``.
            order: of its vertices, in numbers of the smaller graph.
            vertex: whose family it is, in numbers of ``larger``.
            tangent: from coordinates of the family to those of the larger one.
        """
        block, p = larger.block(vertex), len(larger.parameters)
        added = complement(tangent)
        directions = added.new_zeros(added.shape[1], p)
        directions[:, block] = added.mT
        place = self._places(order)
        own = self.scores[:, place]
        new = row_scores(larger, records, directions)
        bent = curvature(larger, records, None, directions)
        across = torch.cat(
            [bent[:, : block.start], bent[:, block] @ tangent, bent[:, block.stop :]], 1
        )
        inverse = self.inverse_curvature[place][:, place]
        clear = new - own @ (inverse @ across.mT)
        weights = self.records.weights[:, None]
        raw = float((weights * new.square()).sum(0).max())
        return quadratic((weights * clear).sum(0), (weights * clear).mT @ clear, UNSEEN * raw)

    def cleared(self, scores: Callable[[MixedMixture], Float[Tensor, "rows q"]]) -> Tensor:
        """What scores of further directions are once cleared of estimating the fit, ``(rows, q)``.

        Args:
            scores: of every row at a mixture; derivatives are by differences.
        """
        at, mixture, weights = self.mixture.parameters, self.mixture, self.records.weights

        def total(point: Tensor) -> Tensor:
            return weights @ scores(mixture.with_parameters(point))

        steps = STEP * torch.eye(len(at), dtype=at.dtype, device=at.device)
        across = torch.stack([(total(at - d) - total(at + d)) / (2 * STEP) for d in steps], 1)
        return scores(mixture) - self.scores @ (self.inverse_curvature @ across.mT)

    def _places(self, order: Sequence[int]) -> Tensor:
        """Places of the coordinates, vertices in another order."""
        p, device = len(self.mixture.parameters), self.mixture.device
        every = torch.arange(p, device=device)
        blocks = [every[self.mixture.block(v)] for v in order]
        return torch.cat([every[: self.mixture.n_sources - 1], *blocks])


def wald_test(
    mixture: MixedMixture, errors: Sandwich, vertex: int, tangent: Float[Tensor, "large small"]
) -> Tested:
    """Test whether the family of a vertex is one of a smaller family.

    Args:
        mixture: the estimate.
        errors: its covariance.
        vertex: whose family it is.
        tangent: from coordinates of the smaller family to those of this one.
    """
    block, added = mixture.block(vertex), complement(tangent)
    if errors.n_flat and float((errors.flat[:, block] @ added).norm(dim=-1).max()) > MOVED:
        return Tested(0.0, 0)
    covariance = added.mT @ errors.covariance[block, block] @ added
    apart = added.mT @ mixture.parameters[block]
    return quadratic(apart, covariance, ROUNDING * float(covariance.diagonal().max()))


def complement(tangent: Float[Tensor, "large small"]) -> Float[Tensor, "large added"]:
    """Orthonormal basis of the directions that the larger family adds."""
    found = linalg.eigh(tangent @ tangent.mT)
    return found.vectors[:, : len(tangent) - tangent.shape[1]]


def quadratic(score: Float[Tensor, " q"], covariance: Float[Tensor, "q q"], least: float) -> Tested:
    """Compare a score with its covariance, along directions whose variance exceeds the least."""
    found = linalg.eigh(covariance)
    kept = found.values > least
    along = found.vectors[:, kept].mT @ score
    return Tested(float((along.square() / found.values[kept]).sum()), int(kept.sum()))
