"""The largest likelihood that any mixing distribution of binomials can reach, with a certificate.

The likelihood is concave in the mixing distribution G, and its derivative towards a coin p is
D(p) = sum over units of b(p) / f - N, where b is the unit's binomial probability and f its
mixture probability. No G' exceeds G by more than the largest D, so a mixture with D <= 0 is the
nonparametric maximum, and a fit with any number of coins stays below it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.coins.likelihood import (
    BinomialMixtures,
    Flips,
    drop_redundant,
    log_joint,
    refine_binomial,
)

GRID_PER_ROOT_FLIP = 16
"""Grid points per square root of the longest unit, in the angle arcsin(sqrt(p))."""

SMALLEST_GRID = 256

CELLS_AT_ONCE = 1 << 22
"""Largest table of patterns by grid points held at once."""

MAX_ROUNDS = 30
"""Coins are added at most this often; a gap that is left is reported."""

MAX_GROWTH_STEPS = 50
"""Newton steps in a round. A coin that is hardly needed makes a valley too long to walk."""


@dataclass(frozen=True, eq=False)
class NonparametricBound:
    """The nonparametric maximum-likelihood mixture of binomials.

    Attributes:
        mixture: the coins found, a single start.
        gap: no mixture exceeds its log-likelihood by more than this many nats.
    """

    mixture: BinomialMixtures
    gap: float

    @property
    def n_atoms(self) -> int:
        """Number of coins of the nonparametric maximum."""
        return self.mixture.probs.shape[-1]

    @property
    def log_likelihood(self) -> float:
        """Certified upper bound for every mixture of binomials."""
        return float(self.mixture.log_likelihood[0]) + self.gap


def nonparametric_bound(
    flips: Flips, mixture: BinomialMixtures, *, tol: float = 1e-6
) -> NonparametricBound:
    """Add coins where the likelihood still rises until it no longer does.

    Args:
        flips: the data.
        mixture: a single start, at a local maximum for its number of coins.
        tol: wanted gap in nats.
    """
    tol = tol + 1e-10 * abs(float(mixture.log_likelihood[0]))
    peaks, heights = _peaks(flips, mixture)
    best, gap = mixture, max(float(heights.max()), 0.0)
    for _ in range(MAX_ROUNDS):
        if gap <= tol:
            break
        before, last_gap = float(mixture.log_likelihood[0]), float(heights.max())
        started = _insert(flips, mixture, peaks[heights > tol])
        grown = refine_binomial(flips, *started, max_iter=MAX_GROWTH_STEPS, tol=0.01 * tol)
        mixture, _ = drop_redundant(flips, grown, tol=0.1 * tol, max_iter=MAX_GROWTH_STEPS)
        peaks, heights = _peaks(flips, mixture)
        if float(heights.max()) < gap:
            best, gap = mixture, max(float(heights.max()), 0.0)
        stalled = float(mixture.log_likelihood[0]) - before <= tol
        if stalled and float(heights.max()) > last_gap / 2:
            break
    return NonparametricBound(best, gap)


def derivative(
    flips: Flips, mixture: BinomialMixtures, probs: Float[Tensor, " points"]
) -> Float[Tensor, " points"]:
    """D(p) of the module's docstring at every p."""
    fitted = log_joint(flips, mixture.probs[0], mixture.weights[0]).logsumexp(-1, keepdim=True)
    parts = []
    for part in probs.split(max(1, CELLS_AT_ONCE // len(flips.mass))):
        coins = log_joint(flips, part, torch.ones_like(part))
        parts.append(flips.mass @ (coins - fitted).exp())
    return torch.cat(parts) - flips.mass.sum()


def _insert(
    flips: Flips, mixture: BinomialMixtures, peaks: Float[Tensor, " peaks"]
) -> tuple[Float[Tensor, "1 more"], Float[Tensor, "1 more"]]:
    """Add coins where D > 0, each with the weight that gains most when it is added alone.

    A coin may stand for a single unit among millions: with a larger weight it would be drawn to
    the others. Only coins that gain at least half of what the best one gains are added.
    """
    fitted = log_joint(flips, mixture.probs[0], mixture.weights[0]).logsumexp(-1, keepdim=True)
    ratio = (log_joint(flips, peaks, torch.ones_like(peaks)) - fitted).expm1()
    mass = flips.mass.unsqueeze(-1)
    low, high = torch.full_like(peaks, -50.0), torch.full_like(peaks, -0.1)
    for _ in range(50):
        middle = (low + high) / 2
        rising = (mass * ratio / (1 + middle.exp() * ratio)).sum(0) > 0
        low, high = torch.where(rising, middle, low), torch.where(rising, high, middle)
    share = low.exp()
    gains = (mass * torch.log1p(share * ratio)).sum(0)
    chosen = gains >= gains.max() / 2
    share = share[chosen] / chosen.sum()
    probs = torch.cat([mixture.probs[0], peaks[chosen]])
    weights = torch.cat([(1 - share.sum()) * mixture.weights[0], share])
    return probs.unsqueeze(0), weights.unsqueeze(0)


def _peaks(flips: Flips, mixture: BinomialMixtures) -> tuple[Tensor, Tensor]:
    """Local maxima of D, ends included: a grid, then golden-section search in every bracket."""
    size = max(SMALLEST_GRID, int(GRID_PER_ROOT_FLIP * flips.longest**0.5))
    step = torch.pi / 2 / size
    angles = step * torch.arange(size + 1, dtype=torch.float64, device=flips.mass.device)
    heights = derivative(flips, mixture, angles.sin() ** 2)
    left = torch.cat([heights[:1], heights[:-1]])
    right = torch.cat([heights[1:], heights[-1:]])
    top = angles[(heights >= left) & (heights >= right)]
    low, high = (top - step).clamp_min(0.0), (top + step).clamp_max(torch.pi / 2)
    ratio = (5**0.5 - 1) / 2
    for _ in range(40):
        inner = torch.stack([high - ratio * (high - low), low + ratio * (high - low)])
        values = derivative(flips, mixture, inner.flatten().sin() ** 2).view_as(inner)
        rising = values[0] < values[1]
        low, high = torch.where(rising, inner[0], low), torch.where(rising, high, inner[1])
    # The bracket may have closed next to an end; the grid point itself is never worse.
    middle = (low + high) / 2
    both = torch.stack([top, middle])
    values = derivative(flips, mixture, both.flatten().sin() ** 2).view_as(both)
    height, which = values.max(0)
    return both.gather(0, which.unsqueeze(0))[0].sin() ** 2, height
