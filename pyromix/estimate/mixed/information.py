"""How far an estimate may be off, without leaning on the shape of the noise.

With s_i the score of row i (weight w_i) and H minus the Hessian of the penalised log-likelihood,
estimates vary about their limit as ``H^-1 (sum w_i s_i s_i') H^-1`` [P. J. Huber, The behavior of
maximum likelihood estimates under nonstandard conditions, 1967]. Both are taken by forward
derivatives of the log-density of every row, a coordinate at a time; H by central differences of the
gradient, which reverse mode gives.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.autograd.forward_ad as forward
from jaxtyping import Float
from torch import Tensor

from pyromix.data.records import Records
from pyromix.errors import SpecError
from pyromix.estimate.mixed.prior import MixedPrior
from pyromix.estimate.mixed.step import log_likelihood, look
from pyromix.exact import linalg
from pyromix.model.mixed import MixedMixture

MAX_PARAMETERS = 1500
"""Free coordinates up to which the covariance is formed."""

STEP = 1e-4
"""Of the differences; coordinates are log-odds, logarithms, and lines in standard units."""

FLAT = 1e-8
"""Share of the largest curvature below which a direction is not determined."""


@dataclass(frozen=True, eq=False)
class Sandwich:
    """Covariance of free coordinates.

    Attributes:
        covariance: ``(p, p)``.
        n_flat: directions along which the likelihood has no curvature, or the wrong one.
        flat: an orthonormal basis of them, ``(n_flat, p)``.
        inverse_curvature: of minus the Hessian, along the other directions: what a row adds to the
            coordinates is this times its score.
    """

    covariance: Float[Tensor, "p p"]
    n_flat: int
    flat: Float[Tensor, "n p"]
    inverse_curvature: Float[Tensor, "p p"]

    def errors(self, gradients: Float[Tensor, "n p"]) -> Float[Tensor, " n"]:
        """Standard errors of values with these gradients; infinite where a flat direction moves."""
        variance = ((gradients @ self.covariance) * gradients).sum(-1).clamp_min(0.0)
        if self.n_flat:
            moved = (gradients @ self.flat.mT).square().sum(-1)
            size = gradients.square().sum(-1).clamp_min(1e-300)
            variance = torch.where(moved > 1e-6 * size, torch.inf, variance)
        return variance.sqrt()


def row_scores(
    mixture: MixedMixture, records: Records, directions: Float[Tensor, "n p"] | None = None
) -> Float[Tensor, "rows n"]:
    """Derivatives of the log-density of every row, by free coordinates or along directions."""
    at = mixture.parameters.detach()
    wanted = torch.eye(len(at), dtype=at.dtype, device=at.device)
    wanted = wanted if directions is None else directions
    parts = list(records.parts())
    scores = at.new_zeros(records.n_rows, len(wanted))
    with torch.no_grad(), _dual_level():
        for j, direction in enumerate(wanted):
            here = mixture.with_parameters(forward.make_dual(at, direction))
            for part in parts:
                slope = forward.unpack_dual(look(here, part).log_prob()).tangent
                if slope is not None:
                    scores[part.rows, j] = slope
    return scores


@contextmanager
def _dual_level() -> Iterator[None]:
    """A level of forward derivatives, without the deprecation that torch sets off inside itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=r"`torch\.jit\.script`", category=DeprecationWarning
        )
        with forward.dual_level():
            yield


def sandwich(
    mixture: MixedMixture,
    records: Records,
    prior: MixedPrior,
    scores: Float[Tensor, "rows p"] | None = None,
) -> Sandwich:
    """Covariance of the free coordinates.

    Args:
        mixture: the estimate.
        records: the rows.
        prior: what every source is taken to have seen before.
        scores: of the rows, where they are known.

    Raises:
        SpecError: too many of them.
    """
    at = mixture.parameters.detach()
    if len(at) > MAX_PARAMETERS:
        raise SpecError(
            f"expected at most {MAX_PARAMETERS:,} free numbers for standard errors, found "
            f'{len(at):,}; fit.bootstrap() and fit.refine(method="gibbs") give intervals'
        )
    scores = row_scores(mixture, records) if scores is None else scores
    meat = (scores * records.weights[:, None]).mT @ scores
    bread = curvature(mixture, records, prior)
    found = linalg.eigh(bread)
    values, vectors = found.values, found.vectors
    kept = values > FLAT * values.max().clamp_min(1.0)
    inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].mT
    flat = vectors[:, ~kept].mT
    return Sandwich(inverse @ meat @ inverse, len(flat), flat, inverse)


def curvature(
    mixture: MixedMixture,
    records: Records,
    prior: MixedPrior | None,
    directions: Float[Tensor, "n p"] | None = None,
) -> Float[Tensor, "n p"]:
    """Minus the Hessian of the penalised log-likelihood, or its products with some directions.

    Args:
        mixture: where.
        records: the table.
        prior: rows seen before; None for the likelihood alone.
        directions: in free coordinates; by default each coordinate.
    """
    parts, at = list(records.parts()), mixture.parameters.detach()

    def gradient(point: Tensor) -> Tensor:
        point = point.detach().requires_grad_()
        with torch.enable_grad():
            here = mixture.with_parameters(point)
            value = log_likelihood(here, parts)
            if prior is not None:
                value = value + prior.log_density(here)
            (found,) = torch.autograd.grad(value, point)
        return found

    wanted = torch.eye(len(at), dtype=at.dtype, device=at.device)
    wanted = wanted if directions is None else directions
    rows = [(gradient(at - STEP * d) - gradient(at + STEP * d)) / (2 * STEP) for d in wanted]
    bent = torch.stack(rows)
    return (bent + bent.mT) / 2 if directions is None else bent
