"""Maximum likelihood for a mixture of binomials: EM, then Newton, batched over starts.

The coins of k-MixIID at the end of THEORY section 2.3. Everything works on distinct patterns
(successes, trials) with a mass, never on units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor
from torch.nn.functional import logsigmoid

from pyromix.exact import linalg
from pyromix.model.status import Status
from pyromix.model.ties import first_largest

EQUAL_ENDS = 1e-8
"""Nats up to which two starts ended in one optimum: Newton stops closer to it."""

EQUAL_SUMS = 1e-12
"""The same, relative to the log-likelihood: what rounding does to a sum over units."""

EM_STEPS = 30
"""Plain EM steps before Newton: enough to leave the worst of a random start."""

CORRECTOR_STEPS = 8
"""EM steps after each Newton step."""

LARGEST_LOGIT = 40.0
"""Logits of coins stay within this: beyond, the coin is 0 or 1 to the last digit."""

BORDER_LOGIT = 16.0
"""A coin past this logit is tried as exactly 0 or 1."""

LARGEST_LOG_ODDS_STEP = 4.0
"""Longest Newton step in any logit."""


@dataclass(frozen=True, eq=False)
class Flips:
    """Distinct patterns of successes among trials.

    Attributes:
        successes: h per pattern.
        trials: n per pattern.
        mass: how many units show each pattern, float64.
    """

    successes: Num[Tensor, " m"]
    trials: Num[Tensor, " m"]
    mass: Float[Tensor, " m"]

    @classmethod
    def from_units(
        cls,
        successes: Int[Tensor, " units"],
        trials: Int[Tensor, " units"],
        mass: Float[Tensor, " units"],
    ) -> Flips:
        """Collapse units to distinct patterns, in ascending order; units without mass go."""
        kept = mass > 0
        successes, trials, mass = successes[kept], trials[kept], mass[kept]
        width = int(trials.max()) + 1
        codes, where = torch.unique(trials * width + successes, return_inverse=True)
        total = torch.zeros_like(codes, dtype=mass.dtype).index_add(0, where, mass)
        return cls(codes % width, codes // width, total)

    @cached_property
    def n_units(self) -> float:
        """Total mass."""
        return float(self.mass.sum())

    @cached_property
    def longest(self) -> int:
        """Largest number of trials."""
        return int(self.trials.max())

    @cached_property
    def log_coefficients(self) -> float:
        """Sum over units of the logarithm of the binomial coefficient."""
        h, n = self.successes.to(self.mass), self.trials.to(self.mass)
        terms = torch.lgamma(n + 1) - torch.lgamma(h + 1) - torch.lgamma(n - h + 1)
        return float(self.mass @ terms)


@dataclass(frozen=True, eq=False)
class BinomialMixtures:
    """Mixtures of binomials after refinement, one per start.

    Attributes:
        probs: success probabilities, ascending, ``(starts, k)``.
        weights: ``(starts, k)``.
        log_likelihood: sum over units, binomial coefficients included, ``(starts,)``.
        converged: whether the predicted gain of another step is below the tolerance.
        n_iter: Newton steps taken until the last start converged.
    """

    probs: Float[Tensor, "starts k"]
    weights: Float[Tensor, "starts k"]
    log_likelihood: Float[Tensor, " starts"]
    converged: Bool[Tensor, " starts"]
    n_iter: int

    @property
    def best(self) -> int:
        """Number of the first start with the largest likelihood, but for rounding."""
        return first_largest(self.log_likelihood.tolist(), EQUAL_ENDS, relative=EQUAL_SUMS)

    def __getitem__(self, index: slice | Tensor) -> BinomialMixtures:
        """Select starts."""
        return replace(
            self,
            probs=self.probs[index],
            weights=self.weights[index],
            log_likelihood=self.log_likelihood[index],
            converged=self.converged[index],
        )


def log_joint(
    flips: Flips, probs: Float[Tensor, "*batch k"], weights: Float[Tensor, "*batch k"]
) -> Float[Tensor, "*batch m k"]:
    """Log P(source, pattern) without the binomial coefficient; exact at probabilities 0 and 1."""
    h = flips.successes.to(probs).unsqueeze(-1)
    misses = (flips.trials - flips.successes).to(probs).unsqueeze(-1)
    p = probs.unsqueeze(-2)
    return weights.log().unsqueeze(-2) + torch.xlogy(h, p) + torch.special.xlog1py(misses, -p)


def log_likelihood(
    flips: Flips, probs: Float[Tensor, "*batch k"], weights: Float[Tensor, "*batch k"]
) -> Float[Tensor, "*batch"]:
    """Sum over units, binomial coefficients included."""
    return log_joint(flips, probs, weights).logsumexp(-1) @ flips.mass + flips.log_coefficients


def refine_binomial(
    flips: Flips,
    probs: Float[Tensor, "starts k"],
    weights: Float[Tensor, "starts k"],
    *,
    max_iter: int = 200,
    tol: float = 1e-9,
) -> BinomialMixtures:
    """Climb from every start to a local maximum of the likelihood.

    A few EM steps, then Newton in the logits of coins and weights with the absolute values of the
    eigenvalues of the Hessian, each step followed by EM steps and damped until it gains. Never
    accepts a loss.

    Args:
        flips: the data.
        probs: starts; a coin at 0 or 1 stays there.
        weights: starts, on the simplex; a weight of zero stays there.
        max_iter: largest number of Newton steps.
        tol: a start has converged when its next step should gain less than this many nats.
    """
    logits = torch.logit(probs).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
    shares = weights.log().clamp_min(-2 * LARGEST_LOGIT)
    for _ in range(EM_STEPS):
        logits, shares = _em_step(flips, logits, shares)
    logits, shares, converged, n_iter = _newton(flips, logits, shares, max_iter, tol)
    probs, weights = torch.sigmoid(logits), shares.softmax(-1)
    value = log_likelihood(flips, probs, weights)
    border = torch.where(logits.abs() > BORDER_LOGIT, probs.round(), probs)
    at_border = log_likelihood(flips, border, weights)
    better = at_border >= value
    probs, order = torch.where(better.unsqueeze(-1), border, probs).sort(-1)
    return BinomialMixtures(
        probs,
        weights.gather(-1, order),
        torch.where(better, at_border, value),
        converged,
        n_iter,
    )


def drop_redundant(
    flips: Flips, mixture: BinomialMixtures, *, tol: float, max_iter: int = 200
) -> tuple[BinomialMixtures, float]:
    """Merge neighbouring coins of one mixture while that costs less than ``tol`` nats.

    Args:
        flips: the data.
        mixture: a single start.
        tol: largest loss of log-likelihood from the mixture given.
        max_iter: largest number of Newton steps after each merger.

    Returns:
        The mixture that is left, and how many nats one coin fewer would cost; inf for one coin.
    """
    floor = float(mixture.log_likelihood[0]) - tol
    while mixture.probs.shape[-1] > 1:
        joined = merge_neighbours(mixture.probs[0], mixture.weights[0])
        merged = refine_binomial(flips, *joined, max_iter=max_iter, tol=0.01 * tol)
        merged = merged[merged.best : merged.best + 1]
        if float(merged.log_likelihood[0]) < floor:
            return mixture, float(mixture.log_likelihood[0] - merged.log_likelihood[0])
        mixture = merged
    return mixture, math.inf


def merge_neighbours(
    probs: Float[Tensor, " k"], weights: Float[Tensor, " k"]
) -> tuple[Float[Tensor, "pairs fewer"], Float[Tensor, "pairs fewer"]]:
    """Every mixture that results from joining two neighbouring coins at their mean."""
    k = len(probs)
    pair = torch.arange(k - 1, device=probs.device)
    target = torch.arange(k, device=probs.device) - (
        torch.arange(k, device=probs.device) > pair.unsqueeze(-1)
    ).to(torch.int64)
    zeros = torch.zeros(k - 1, k - 1, dtype=probs.dtype, device=probs.device)
    joint = zeros.scatter_add(-1, target, weights.expand(k - 1, k))
    sums = zeros.scatter_add(-1, target, (weights * probs).expand(k - 1, k))
    plain = zeros.scatter_add(-1, target, probs.expand(k - 1, k))
    count = zeros.scatter_add(-1, target, torch.ones_like(probs).expand(k - 1, k))
    return torch.where(joint > 0, sums / joint, plain / count), joint


def _log_joint(flips: Flips, logits: Tensor, shares: Tensor) -> Tensor:
    h = flips.successes.to(logits).unsqueeze(-1)
    misses = (flips.trials - flips.successes).to(logits).unsqueeze(-1)
    theta = logits.unsqueeze(-2)
    prior = shares.log_softmax(-1).unsqueeze(-2)
    return prior + h * logsigmoid(theta) + misses * logsigmoid(-theta)


def _em_step(flips: Flips, logits: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    joint = _log_joint(flips, logits, shares)
    expected = joint.softmax(-1) * flips.mass.unsqueeze(-1)
    h = (expected.mT @ flips.successes.to(logits).unsqueeze(-1)).squeeze(-1)
    misses = (expected.mT @ (flips.trials - flips.successes).to(logits).unsqueeze(-1)).squeeze(-1)
    logits = (h.log() - misses.log()).nan_to_num(0.0).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
    return logits, expected.sum(-2).log().clamp_min(-2 * LARGEST_LOGIT)


def _newton(
    flips: Flips, logits: Tensor, shares: Tensor, max_iter: int, tol: float
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Predictor-corrector: a Newton step along the valley, EM steps back to its floor.

    Two coins that nearly merge make a narrow curved valley, in which Newton alone must take tiny
    steps; EM is slow along it but quick across.
    """
    k = logits.shape[-1]
    points = torch.cat([logits, shares.log_softmax(-1)], -1)
    values = _value(flips, points)
    damping = torch.full_like(values, 1e-6 * flips.n_units)
    # Sums of `units` terms of size |value| / units round by about this much.
    finite = torch.where(values.isfinite(), values, 0.0)
    tol = tol + 4 * torch.finfo(values.dtype).eps * float(finite.abs().max())
    converged = torch.zeros_like(values, dtype=torch.bool)
    # Starts without a Newton step stay where they are.
    stuck = torch.zeros_like(converged)
    n_iter = 0
    while n_iter < max_iter and not bool((converged | stuck).all()):
        n_iter += 1
        active = (~(converged | stuck)).nonzero().squeeze(-1)
        point, damp = points[active], damping[active].unsqueeze(-1)
        gradient, curvature = _derivatives(flips, point[:, :k], point[:, k:])
        found = linalg.eigh(curvature)
        stuck[active] = found.status != Status.OK
        eigenvalues, vectors = found.values, found.vectors
        along = (vectors.mT @ gradient.unsqueeze(-1)).squeeze(-1)
        scale = eigenvalues.abs() + damp
        step = (vectors @ (along / scale).unsqueeze(-1)).squeeze(-1)
        step = step * (LARGEST_LOG_ODDS_STEP / step.abs().amax(-1, keepdim=True)).clamp_max(1.0)
        moved = point + step
        logits, shares = moved[:, :k].clamp(-LARGEST_LOGIT, LARGEST_LOGIT), moved[:, k:]
        for _ in range(CORRECTOR_STEPS):
            logits, shares = _em_step(flips, logits, shares)
        moved = torch.cat([logits, shares.log_softmax(-1)], -1)
        gained = _value(flips, moved)
        accepted = gained >= values[active]
        points[active] = torch.where(accepted.unsqueeze(-1), moved, point)
        values[active] = torch.where(accepted, gained, values[active])
        damping[active] = torch.where(accepted, damp[:, 0] / 10, damp[:, 0] * 10).clamp(
            1e-15 * flips.n_units, 1e3 * flips.n_units
        )
        converged[active] = (along**2 / scale).sum(-1) < 2 * tol
    return points[:, :k], points[:, k:], converged, n_iter


def _value(flips: Flips, points: Tensor) -> Tensor:
    """Log-likelihood without the binomial coefficients."""
    logits, shares = points.chunk(2, -1)
    return _log_joint(flips, logits, shares).logsumexp(-1) @ flips.mass


def _derivatives(flips: Flips, logits: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient and negative Hessian of the log-likelihood in (coin logits, log weights).

    With responsibilities r and scores s = h - n p of each coin's logit.
    """
    weights, probs = shares.softmax(-1), torch.sigmoid(logits)
    r = _log_joint(flips, logits, shares).softmax(-1)
    h = flips.successes.to(logits).unsqueeze(-1)
    n = flips.trials.to(logits).unsqueeze(-1)
    mass = flips.mass.unsqueeze(-1)
    s = h - n * probs.unsqueeze(-2)
    rs, weighted = r * s, r * mass
    total = weighted.sum(-2)
    units = flips.mass.sum()
    gradient = torch.cat([(rs * mass).sum(-2), total - units * weights], -1)
    spread = (probs * (1 - probs)).unsqueeze(-2)
    coins = (rs * mass).mT @ rs - torch.diag_embed((weighted * (s**2 - n * spread)).sum(-2))
    mixed = (rs * mass).mT @ r - torch.diag_embed((rs * mass).sum(-2))
    prior = torch.diag_embed(weights) - weights.unsqueeze(-1) * weights.unsqueeze(-2)
    mixing = weighted.mT @ r - torch.diag_embed(total) + units * prior
    upper = torch.cat([coins, mixed], -1)
    lower = torch.cat([mixed.mT, mixing], -1)
    return gradient, torch.cat([upper, lower], -2)
