"""One step for coefficients whose likelihood has no closed optimum, that never lowers it.

Logistic and Poisson likelihoods satisfy ``|f'''| <= M |h| f''`` along every direction h, with M a
multiple of the longest row. Hence, with ``beta = M |h|`` of the Newton direction h, the step
``log(1 + beta) / beta`` of it gains at least what the quadratic model with that bound gains: proof
in three lines by integrating twice [T. Sun, Q. Tran-Dinh, Generalized self-concordant functions,
Mathematical Programming 178, 2019, section 3]. Near the optimum it is Newton's own step. Nobody
need look at the rows again, so statistics stay additive.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.model.families.sweep import sweep

SMALL = 16
"""Table rows up to which each is summed by matrix products of its own."""


@dataclass(frozen=True, eq=False)
class Slopes:
    """Gradient and negative Hessian of a log-likelihood at a point.

    As a prior it is a normal law of the coefficients: the same of its logarithm at zero.

    Attributes:
        gradient: ``(*batch, k, rows, p)``.
        hessian: ``(*batch, k, rows, p, p)``, positive semidefinite.
        radius: length of the longest row z, ``(*batch, k, rows)``.
    """

    gradient: Float[Tensor, "*batch k rows p"]
    hessian: Float[Tensor, "*batch k rows p p"]
    radius: Float[Tensor, "*batch k rows"]

    def __add__(self, other: Slopes) -> Slopes:
        return Slopes(
            self.gradient + other.gradient,
            self.hessian + other.hessian,
            self.radius.maximum(other.radius),
        )

    def pooled(self) -> Slopes:
        """All sources together, as one."""
        axis = self.radius.ndim - 2
        return Slopes(
            self.gradient.sum(axis, keepdim=True),
            self.hessian.sum(axis, keepdim=True),
            self.radius.amax(axis, keepdim=True),
        )

    @staticmethod
    def ridge(strength: float, like: Float[Tensor, "k rows p"]) -> Slopes:
        """The prior N(0, 1 / strength) of every coefficient."""
        p = like.shape[-1]
        eye = torch.eye(p, dtype=like.dtype, device=like.device)
        return Slopes(
            torch.zeros_like(like),
            (strength * eye).expand(*like.shape, p).clone(),
            torch.zeros_like(like[..., 0]),
        )


def summed(
    z: Float[Tensor, "m q"],
    row: Int[Tensor, " m"],
    n_rows: int,
    gap: Float[Tensor, "*lead m f"],
    bend: Float[Tensor, "*lead m f f"],
) -> Slopes:
    """Sum the slopes of data rows, each into the row of the table that it stands in.

    Coordinates run over columns of z, then over the f predictors.

    Args:
        z: one and the numbers of each data row.
        row: of the table.
        n_rows: of the table.
        gap: slope of each data row by its predictors, weight included.
        bend: minus the second derivatives by its predictors, weight included.
    """
    (q, f), lead = (z.shape[-1], gap.shape[-1]), gap.shape[:-2]
    gradient = z.new_zeros(*lead, n_rows, q, f)
    hessian = z.new_zeros(*lead, n_rows, q, f, q, f)
    radius = z.new_zeros(n_rows).scatter_reduce(0, row, z.norm(dim=-1), "amax")
    if n_rows > SMALL:
        gradient.index_add_(-3, row, z[..., None] * gap[..., None, :])
        outer = z[:, :, None, None, None] * z[:, None, None, :, None]
        hessian.index_add_(-5, row, outer * bend[..., None, :, None, :])
    for d in range(n_rows if n_rows <= SMALL else 0):
        where = (row == d).nonzero().flatten() if n_rows > 1 else slice(None)
        some = z[where]
        gradient[..., d, :, :] = some.mT @ gap[..., where, :]
        weighted = bend[..., where, :, :].movedim(-3, -1)[..., None, :] * some.mT
        hessian[..., d, :, :, :, :] = (weighted @ some).movedim((-4, -3), (-3, -1))
    n = q * f
    return Slopes(
        gradient.reshape(*lead, n_rows, n),
        hessian.reshape(*lead, n_rows, n, n),
        radius.expand(*lead, n_rows).clone(),
    )


def stepped(
    at: Float[Tensor, "*batch k rows p"],
    slopes: Slopes,
    prior: Slopes | None,
    spread: float,
) -> Float[Tensor, "*batch k rows p"]:
    """Take one damped Newton step.

    Args:
        at: where the slopes were found.
        slopes: of the rows.
        prior: a normal law of the coefficients.
        spread: M over the radius.
    """
    gradient, hessian = slopes.gradient, slopes.hessian
    if prior is not None:
        gradient = gradient + prior.gradient - (prior.hessian @ at[..., None])[..., 0]
        hessian = hessian + prior.hessian
    both = torch.cat([hessian, gradient[..., None]], -1)
    last = torch.cat([gradient, torch.zeros_like(gradient[..., :1])], -1)[..., None, :]
    move = sweep(torch.cat([both, last], -2), hessian.shape[-1]).lines[..., 0]
    beta = spread * slopes.radius * move.norm(dim=-1)
    # log(1 + beta) / beta, whose limit at zero is one.
    length = torch.where(beta > 1e-8, beta.log1p() / beta.clamp_min(1e-8), 1.0)
    return at + length[..., None] * move


def log_prior(at: Float[Tensor, "*batch k rows p"], prior: Slopes) -> Float[Tensor, "*batch"]:
    """Logarithm of a normal law of coefficients, up to a constant."""
    bent = (at[..., None, :] @ prior.hessian @ at[..., :, None])[..., 0, 0]
    return ((at * prior.gradient).sum(-1) - 0.5 * bent).sum((-1, -2))
