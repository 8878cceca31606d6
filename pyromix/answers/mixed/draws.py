"""Laws of numbers that were drawn, where an outcome is not known by its law given its parents."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.answers.mixed.parts import Hurdles, LogNormals, Normals, Parts
from pyromix.model.kind import Unit


@dataclass(frozen=True, eq=False)
class Draws:
    """Single numbers that were drawn, a bell around each where a density is asked for.

    Attributes:
        values: of the draws.
        bells: laws around them, narrow.
    """

    values: Float[Tensor, " c"]
    bells: Normals | LogNormals | Hurdles
    discrete = False

    @property
    def mean(self) -> Float[Tensor, " c"]:
        """The draws."""
        return self.values

    @property
    def variance(self) -> Float[Tensor, " c"]:
        """None within a draw."""
        return torch.zeros_like(self.values)

    @property
    def zero(self) -> Float[Tensor, " c"] | None:
        """Whether a draw is zero, where zero has a probability."""
        return self.bells.zero

    @property
    def positive(self) -> bool:
        """Whether the number is never negative."""
        return self.bells.positive

    @property
    def start(self) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
        """Those of the bells."""
        return self.bells.start

    def cdf(self, at: Float[Tensor, "*at"]) -> Float[Tensor, "*at c"]:
        """Probability of numbers up to some under the bells."""
        return self.bells.cdf(at)

    def density(self, at: Float[Tensor, "*at"]) -> Float[Tensor, "*at c"]:
        """Density of the bells."""
        return self.bells.density(at)


@dataclass(frozen=True, eq=False)
class CountDraws:
    """Single counts that were drawn.

    Attributes:
        values: of the draws.
    """

    values: Float[Tensor, " c"]
    zero = None
    discrete = True
    positive = True

    @property
    def mean(self) -> Float[Tensor, " c"]:
        """The draws."""
        return self.values

    @property
    def variance(self) -> Float[Tensor, " c"]:
        """None within a draw."""
        return torch.zeros_like(self.values)

    @property
    def start(self) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
        """The draws, and one."""
        return self.values, torch.ones_like(self.values)

    def cdf(self, at: Float[Tensor, "*at"]) -> Float[Tensor, "*at c"]:
        """Whether a draw is at most some number."""
        return (self.values <= at[..., None]).to(self.values.dtype)

    def density(self, at: Float[Tensor, "*at"]) -> Float[Tensor, "*at c"]:
        """Whether a draw is some number."""
        return (self.values == at[..., None]).to(self.values.dtype)


def parts_of_draws(
    unit: Unit, *, count: bool, hurdle: bool, values: Float[Tensor, " c"], effective: float
) -> Parts:
    """Draws of a number as parts.

    Bells are as wide as is best for the distribution function, about ``sd n^(-1/3)``.

    Args:
        unit: of the vertex.
        count: whether the number is one.
        hurdle: whether zero has a probability.
        values: as they are reckoned with.
        effective: number n of draws that they are worth.
    """
    raw = unit.outward(values)
    if count:
        return CountDraws(raw)
    inside = values > -torch.inf
    line = torch.where(inside, values, torch.zeros_like(values)) * unit.scale + unit.centre
    seen = line.detach()[inside]
    spread = float(seen.std()) if len(seen) > 1 else 0.0
    width = (spread or unit.scale) * max(effective, 1.0) ** (-1 / 3)
    bells = Normals(line, torch.full_like(line, width))
    if hurdle:
        return Draws(raw, Hurdles((~inside).to(line.dtype), LogNormals(bells)))
    return Draws(raw, LogNormals(bells) if unit.logarithmic else bells)
