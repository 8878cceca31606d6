"""A number that is linear in numbers, with heavy tails.

Student's t is a normal law whose precision is gamma distributed; given a row the expected precision
is ``(df + 1) / (df + gap^2 / v)``, and with it as a weight the estimate is that of a linear
Gaussian: EM within EM, which lowers nothing [lange89; THEORY section 18.1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Distribution, StudentT

from pyromix.model.families.layout import Layout
from pyromix.model.families.linear_gaussian import LinearGaussianCPD, LinearSums

DEGREES = 4.0
"""Degrees of freedom where nobody says."""


@dataclass(frozen=True, eq=False)
class StudentTCPD(LinearGaussianCPD):
    """P(y | u, d, x): Student's t around a line, ``variances`` the squares of its scale.

    Attributes:
        degrees: degrees of freedom, fixed.
    """

    degrees: float = DEGREES

    @staticmethod
    def standard(
        k: int, layout: Layout, *, shared: bool = False, device: torch.device | str = "cpu"
    ) -> StudentTCPD:
        """Centre 0 and scale 1 in every source and row."""
        like = LinearGaussianCPD.standard(k, layout, shared=shared, device=device)
        return StudentTCPD(like.coefficients, like.variances, layout, shared)

    def log_prob(
        self, values: Float[Tensor, " m"], parents: Sequence[Tensor]
    ) -> Float[Tensor, "*batch m k"]:
        """Return the log-density of every value under every source."""
        mean, variance = self.moments(parents, values.shape)
        df = torch.tensor(self.degrees, dtype=torch.float64, device=values.device)
        constant = torch.lgamma((df + 1) / 2) - torch.lgamma(df / 2) - 0.5 * (df * torch.pi).log()
        size = (values - mean).square() / (df * variance)
        return (constant - 0.5 * variance.log() - (df + 1) / 2 * size.log1p()).movedim(-1, -2)

    def statistics(
        self,
        values: Float[Tensor, " m"],
        parents: Sequence[Tensor],
        shares: Float[Tensor, "*batch m k"],
    ) -> LinearSums:
        """Return the sums of a linear Gaussian, squares weighted by the expected precision."""
        mean, variance = self.moments(parents, values.shape)
        size = ((values - mean).square() / variance).movedim(-1, -2)
        precision = (self.degrees + 1) / (self.degrees + size)
        z = self.layout.design(parents, values.shape)
        family = torch.cat([z, values[:, None]], -1)
        return self.sums(family, parents, shares * precision, shares)

    def sample(
        self, sources: Int[Tensor, "*rows"], parents: Sequence[Tensor], generator: torch.Generator
    ) -> Float[Tensor, "*rows"]:
        """Draw a value for each row."""
        mean, scale = self._rows(sources, parents)
        whole = round(self.degrees)
        shape, device = mean.shape, generator.device
        noise = torch.randn((*shape, 1 + whole), generator=generator, dtype=mean.dtype,
                            device=device).to(mean.device)  # fmt: skip
        ratio = noise[..., 1:].square().mean(-1).sqrt()
        return mean + scale * noise[..., 0] / ratio

    def distribution(
        self, sources: Int[Tensor, "*rows"], parents: Sequence[Tensor]
    ) -> Distribution:
        """The law of each row."""
        mean, scale = self._rows(sources, parents)
        return StudentT(self.degrees, mean, scale, validate_args=False)
