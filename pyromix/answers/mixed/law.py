"""The law of an outcome as an engine found it: a finite mixture, or probabilities of states.

Components are configurations of an exact sum, or draws. Draws come in strata, one per source, of
equally many draws each; then whatever is computed has a standard error (Monte Carlo error), from
the spread within strata.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.answers.mixed.parts import Parts
from pyromix.model.cpd import TINY

BISECTIONS = 1200
"""Halvings of an interval: about 60 as a rule; from the largest number to one a thousand more."""


@dataclass(frozen=True, eq=False)
class Weighed:
    """Weights of components.

    Attributes:
        weights: sum to one.
        strata: stratum of every draw; None where components were not drawn.
    """

    weights: Float[Tensor, " c"]
    strata: Int[Tensor, " c"] | None = None

    @property
    def effective(self) -> float | None:
        """Number of equally heavy draws that would say as much; None where nothing was drawn."""
        if self.strata is None:
            return None
        return 1 / float(self.weights.detach().square().sum())

    def mean(self, values: Float[Tensor, "*some c"]) -> Float[Tensor, "*some"]:
        """Weighted mean of some values; those without weight may be anything."""
        return (self.weights * torch.where(self.weights > 0, values, 0.0)).sum(-1)

    def scores(self, values: Float[Tensor, "*some c"]) -> Float[Tensor, "*some c"]:
        """What each component adds to the error of the weighted mean of some values."""
        gap = values - self.mean(values)[..., None]
        return self.weights * torch.where(self.weights > 0, gap, 0.0)

    def error_of(self, scores: Float[Tensor, "*some c"]) -> Float[Tensor, "*some"]:
        """Standard error of a sum of scores; zero where nothing was drawn."""
        scores = scores.detach()
        if self.strata is None:
            return torch.zeros_like(scores[..., 0])
        n = int(self.strata.max()) + 1
        size = torch.bincount(self.strata, minlength=n).to(scores.dtype)
        lead = scores.shape[:-1]
        first = scores.new_zeros(*lead, n).index_add_(-1, self.strata, scores) / size.clamp_min(1)
        gap = scores - first[..., self.strata]
        second = scores.new_zeros(*lead, n).index_add_(-1, self.strata, gap.square())
        found = (second * size / (size - 1).clamp_min(1)).sum(-1).sqrt()
        return found.nan_to_num(nan=torch.inf, posinf=torch.inf)  # of a mean without bound


@dataclass(frozen=True, eq=False)
class StateLaw:
    """Probabilities of the states of an outcome.

    Attributes:
        mix: weights of the components.
        rows: probabilities of states in each of them.
    """

    mix: Weighed
    rows: Float[Tensor, "c card"]

    @property
    def probs(self) -> Float[Tensor, " card"]:
        """Probability of every state."""
        return self.mix.weights @ self.rows

    @property
    def scores(self) -> Float[Tensor, "card c"]:
        """Of every probability, for standard errors."""
        return self.mix.scores(self.rows.mT)


@dataclass(frozen=True, eq=False)
class NumericLaw:
    """The law of a number, in the units of the user.

    Attributes:
        mix: weights of the components.
        parts: their laws.
    """

    mix: Weighed
    parts: Parts

    @property
    def mean(self) -> Float[Tensor, ""]:
        """Expectation.

        Of a number whose logarithm is normal it is ``exp(m + s^2 / 2)`` in each component, and may
        lie far beyond any number in the data; its median does not.
        """
        return self.mix.mean(self.parts.mean)

    @property
    def variance(self) -> Float[Tensor, ""]:
        """Variance; infinite where the mean leaves the range of numbers."""
        gap = self.parts.mean - self.mean
        found = self.mix.mean(self.parts.variance + gap.square())
        return torch.where(self.mean.isfinite(), found, torch.inf)

    @property
    def sd(self) -> Float[Tensor, ""]:
        """Standard deviation."""
        return self.variance.sqrt()

    @property
    def zero(self) -> Float[Tensor, ""] | None:
        """Probability of exactly zero where the number has a density elsewhere."""
        return None if self.parts.zero is None else self.mix.weights @ self.parts.zero

    def cdf(self, at: Float[Tensor, "*at"]) -> Float[Tensor, "*at"]:
        """Probability of numbers up to and including some."""
        return self.parts.cdf(at) @ self.mix.weights

    def above(self, at: Float[Tensor, "*at"]) -> Float[Tensor, "*at"]:
        """Probability of numbers beyond some."""
        return 1 - self.cdf(at)

    def density(self, at: Float[Tensor, "*at"]) -> Float[Tensor, "*at"]:
        """Density; above zero where zero has a probability; of counts their probability."""
        return self.parts.density(at) @ self.mix.weights

    def quantile(self, q: Float[Tensor, "*q"]) -> Float[Tensor, "*q"]:
        """Least numbers up to which probabilities reach some, by bisection.

        Differentiable in parameters: by the implicit function theorem, its slope is minus that of
        the cdf over the density. A count, and a zero, has none.

        Args:
            q: between 0 and 1.
        """
        with torch.no_grad():
            found = self._root(q)
        if self.parts.discrete:
            return found
        slope = self.density(found).detach()
        moved = found - torch.where(slope > 0, self.cdf(found) - q, 0.0) / slope.clamp_min(TINY)
        # The step is one of Newton's; its value is rounding, its slope is wanted.
        moved = found + (moved - moved.detach())
        if self.zero is None:
            return moved
        return torch.where(found > 0, moved, torch.zeros_like(moved))

    @property
    def mean_scores(self) -> Float[Tensor, " c"]:
        """Of the mean, for standard errors."""
        return self.mix.scores(self.parts.mean)

    def quantile_scores(self, q: Float[Tensor, "*q"]) -> Float[Tensor, "*q c"]:
        """Of quantiles, for standard errors; zero at a zero, which nothing small moves."""
        at = self.quantile(q)
        slope = self.density(at)[..., None].clamp_min(TINY)
        if self.parts.discrete:
            return self.mix.scores(self.parts.cdf(at)) * 0
        scores = -self.mix.scores(self.parts.cdf(at)) / slope
        if self.zero is None:
            return scores
        return torch.where((at > 0)[..., None], scores, torch.zeros_like(scores))

    def _root(self, q: Float[Tensor, "*q"]) -> Float[Tensor, "*q"]:
        outward, low, high = self._bracket(q)
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            middle = middle.floor() if self.parts.discrete else middle
            if bool(((middle == low) | (middle == high)).all()):
                break
            reached = self.cdf(outward(middle)) >= q
            low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
        found = outward(high)
        zero = self.zero
        return found if zero is None else torch.where(q <= zero, torch.zeros_like(found), found)

    def _bracket(
        self, q: Float[Tensor, "*q"]
    ) -> tuple[Callable[[Tensor], Tensor], Float[Tensor, "*q"], Float[Tensor, "*q"]]:
        """Two numbers around every quantile, and the way from them to the user's units."""
        centre, spread = self.parts.start
        logs = self.parts.positive and not self.parts.discrete

        def outward(x: Tensor) -> Tensor:
            return x.exp() if logs else x

        low, high = (centre - spread).min().expand_as(q), (centre + spread).max().expand_as(q)
        step = spread.max()
        if self.parts.discrete:
            low, high, step = torch.full_like(q, -1.0), high.ceil(), step.ceil()
        zero = q.new_zeros(()) if self.zero is None else self.zero
        for _ in range(60):
            # Below the probability of zero there is nothing to find.
            short = (self.cdf(outward(low)) >= q) & (q > zero)
            far = self.cdf(outward(high)) < q
            if not bool((short | far).any()):
                break
            low = torch.where(short, low - step, low)
            high, step = torch.where(far, high + step, high), 2 * step
        return outward, low, high
