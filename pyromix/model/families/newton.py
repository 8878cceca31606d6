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
from jaxtyping import Float
from torch import Tensor

from pyromix.model.families.sweep import sweep


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
