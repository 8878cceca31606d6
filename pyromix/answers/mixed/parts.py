"""Laws of a number, many side by side, in the units of the user.

Each class is one family with a law per component; a mixture of them is the law of an outcome. Axes
of numbers that are asked about stand before the axis of components, and go with those that laws
have before it: ``(m,)`` numbers and ``(m, k)`` laws make ``(m, k)`` values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Normal, Poisson, StudentT

from pyromix.model.families.hurdle import Hurdle
from pyromix.model.kind import Unit

HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)

HIGHEST = 1e300
"""Rates beyond are this one where a probability is asked for."""


@runtime_checkable
class Parts(Protocol):
    """Laws of one number, ``c`` of them."""

    @property
    def mean(self) -> Float[Tensor, "*c"]:
        """Expectations."""
        ...

    @property
    def variance(self) -> Float[Tensor, "*c"]:
        """Variances."""
        ...

    @property
    def zero(self) -> Float[Tensor, "*c"] | None:
        """Probability of exactly zero, where the number has a density elsewhere; None for none."""
        ...

    @property
    def discrete(self) -> bool:
        """Whether the number is whole; its density is then the probability of a number."""
        ...

    @property
    def positive(self) -> bool:
        """Whether the number is never negative."""
        ...

    @property
    def start(self) -> tuple[Float[Tensor, "*c"], Float[Tensor, "*c"]]:
        """Centres and spreads, from which a search for quantiles may set out.

        Of the logarithm where the number is positive with a density.
        """
        ...

    def cdf(self, at: Float[Tensor, "*at"]) -> Float[Tensor, ...]:
        """Probability of numbers up to and including some."""
        ...

    def density(self, at: Float[Tensor, "*at"]) -> Float[Tensor, ...]:
        """Density, that above zero where zero has a probability; of whole numbers probability."""
        ...


@dataclass(frozen=True, eq=False)
class Normals:
    """Normal laws.

    Attributes:
        centre: means.
        spread: standard deviations.
    """

    centre: Float[Tensor, "*c"]
    spread: Float[Tensor, "*c"]
    zero = None
    discrete = False
    positive = False

    @property
    def mean(self) -> Float[Tensor, "*c"]:
        """Expectations."""
        return self.centre

    @property
    def variance(self) -> Float[Tensor, "*c"]:
        """Variances."""
        return self.spread.square()

    @property
    def start(self) -> tuple[Float[Tensor, "*c"], Float[Tensor, "*c"]]:
        """Means and standard deviations."""
        return self.centre, self.spread

    def cdf(self, at: Float[Tensor, "*at"]) -> Float[Tensor, ...]:
        """Probability of numbers up to some."""
        return torch.special.ndtr((at[..., None] - self.centre) / self.spread)

    def density(self, at: Float[Tensor, "*at"]) -> Float[Tensor, ...]:
        """Density."""
        z = (at[..., None] - self.centre) / self.spread
        return (-0.5 * z.square() - HALF_LOG_TAU - self.spread.log()).exp()


@dataclass(frozen=True, eq=False)
class LogNormals:
    """Laws of a number whose logarithm is normal.

    The mean is ``exp(m + s^2 / 2)``, of which a large s makes a number far beyond all medians; the
    variance grows as ``exp(2 s^2)``.

    Attributes:
        log: of the logarithm.
    """

    log: Normals
    zero = None
    discrete = False
    positive = True

    @property
    def mean(self) -> Float[Tensor, "*c"]:
        """Expectations."""
        return (self.log.centre + 0.5 * self.log.variance).exp()

    @property
    def variance(self) -> Float[Tensor, "*c"]:
        """Variances."""
        return self.log.variance.expm1() * self.mean.square()

    @property
    def start(self) -> tuple[Float[Tensor, "*c"], Float[Tensor, "*c"]]:
        """Those of the logarithm."""
        return self.log.start

    def cdf(self, at: Float[Tensor, "*at"]) -> Float[Tensor, ...]:
        """Probability of numbers up to some."""
        above = at > 0
        found = self.log.cdf(torch.where(above, at, 1.0).log())
        return torch.where(above[..., None], found, torch.zeros_like(found))

    def density(self, at: Float[Tensor, "*at"]) -> Float[Tensor, ...]:
        """Density; zero for numbers that are not positive."""
        above = at > 0
        safe = torch.where(above, at, 1.0)
        found = self.log.density(safe.log()) / safe[..., None]
        return torch.where(above[..., None], found, torch.zeros_like(found))


@dataclass(frozen=True, eq=False)
class Students:
    """Student's t with whole degrees of freedom.

    Attributes:
        centre: locations.
        spread: scales.
        degrees: of freedom, at least 3, so that there is a variance.
    """

    centre: Float[Tensor, "*c"]
    spread: Float[Tensor, "*c"]
    degrees: int
    zero = None
    discrete = False
    positive = False

    @property
    def mean(self) -> Float[Tensor, "*c"]:
        """Expectations."""
        return self.centre

    @property
    def variance(self) -> Float[Tensor, "*c"]:
        """Variances."""
        return self.spread.square() * (self.degrees / (self.degrees - 2))

    @property
    def start(self) -> tuple[Float[Tensor, "*c"], Float[Tensor, "*c"]]:
        """Locations and scales."""
        return self.centre, self.spread

    def cdf(self, at: Float[Tensor, "*at"]) -> Float[Tensor, ...]:
        """Probability of numbers up to some: finite sums of cosines [abramowitz64, 26.7.3-4]."""
        z = (at[..., None] - self.centre) / self.spread
        root = math.sqrt(self.degrees)
        sine, square = z / (z.square() + self.degrees).sqrt(), 1 / (1 + (z / root).square())
        odd = self.degrees % 2
        term = square.sqrt() if odd else torch.ones_like(z)
        total = torch.zeros_like(z)
        for j in range((self.degrees - odd) // 2):
            if j:
                term = term * square * ((2 * j - 1 + odd) / (2 * j + odd))
            total = total + term
        within = sine * total
        if odd:
            within = ((z / root).atan() + within) * (2 / math.pi)
        return 0.5 * (1 + within)

    def density(self, at: Float[Tensor, "*at"]) -> Float[Tensor, ...]:
        """Density."""
        law = StudentT(self.degrees, self.centre, self.spread, validate_args=False)
        return law.log_prob(at[..., None]).exp()


@dataclass(frozen=True, eq=False)
class Poissons:
    """Poisson laws.

    Attributes:
        rate: means.
    """

    rate: Float[Tensor, "*c"]
    zero = None
    discrete = True
    positive = True

    @property
    def mean(self) -> Float[Tensor, "*c"]:
        """Expectations."""
        return self.rate

    @property
    def variance(self) -> Float[Tensor, "*c"]:
        """Variances."""
        return self.rate

    @property
    def start(self) -> tuple[Float[Tensor, "*c"], Float[Tensor, "*c"]]:
        """Means, and standard deviations with one added."""
        rate = self.rate.clamp_max(HIGHEST)
        return rate, rate.sqrt() + 1

    def cdf(self, at: Float[Tensor, "*at"]) -> Float[Tensor, ...]:
        """Probability of counts up to some."""
        shape = (at.detach().floor() + 1).clamp_min(0.0)[..., None]
        above = shape > 0
        safe, rate = torch.broadcast_tensors(
            torch.where(above, shape, 1.0), self.rate.clamp_max(HIGHEST)
        )
        found = torch.special.gammaincc(safe, rate)
        return torch.where(above, found, torch.zeros_like(found))

    def density(self, at: Float[Tensor, "*at"]) -> Float[Tensor, ...]:
        """Probability of each number; zero for what is no count."""
        count = (at >= 0) & (at == at.floor())
        safe = torch.where(count, at, 0.0)[..., None]
        found = (safe * self.rate.log() - self.rate - torch.lgamma(safe + 1)).exp()
        return torch.where(count[..., None], found, torch.zeros_like(found))


@dataclass(frozen=True, eq=False)
class Hurdles:
    """Zero with a probability, and a law above.

    Attributes:
        zero: probability of zero.
        above: the law of what is not zero.
    """

    zero: Float[Tensor, "*c"]
    above: LogNormals
    discrete = False
    positive = True

    @property
    def mean(self) -> Float[Tensor, "*c"]:
        """Expectations, zeros included."""
        return (1 - self.zero) * torch.where(self.zero < 1, self.above.mean, 0.0)

    @property
    def variance(self) -> Float[Tensor, "*c"]:
        """Variances, zeros included."""
        inside = self.above.variance + self.zero * self.above.mean.square()
        return (1 - self.zero) * torch.where(self.zero < 1, inside, 0.0)

    @property
    def start(self) -> tuple[Float[Tensor, "*c"], Float[Tensor, "*c"]]:
        """Those of the logarithm above zero."""
        return self.above.start

    def cdf(self, at: Float[Tensor, "*at"]) -> Float[Tensor, ...]:
        """Probability of numbers up to some."""
        found = self.zero + (1 - self.zero) * self.above.cdf(at)
        return torch.where((at >= 0)[..., None], found, torch.zeros_like(found))

    def density(self, at: Float[Tensor, "*at"]) -> Float[Tensor, ...]:
        """Density above zero, where it has the mass ``1 - zero``."""
        return (1 - self.zero) * self.above.density(at)


def parts_of(unit: Unit, law: Distribution) -> Parts:
    """Laws of a vertex, given the rest, in the units of the user.

    Args:
        unit: of the vertex.
        law: of numbers as they are reckoned with, ``(c,)``, such as a CPD's ``distribution``.

    Raises:
        TypeError: a family that is not known here.
    """
    match law:
        case Hurdle():
            return Hurdles(law.logs[..., 0].exp(), LogNormals(_outward(unit, law.above)))
        case Normal():
            found = _outward(unit, law)
            return LogNormals(found) if unit.logarithmic else found
        case StudentT():
            location = law.loc * unit.scale + unit.centre
            return Students(location, law.scale * unit.scale, round(float(law.df.flatten()[0])))
        case Poisson():
            return Poissons(law.rate)
    raise TypeError(f"no parts for {type(law).__name__}")


def _outward(unit: Unit, law: Normal) -> Normals:
    """A normal law in the user's units; of the logarithm where the unit is one of these."""
    return Normals(law.loc * unit.scale + unit.centre, law.scale * unit.scale)
