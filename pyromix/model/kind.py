"""Kinds of variables: states, or numbers and the units in which these are reckoned with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.errors import SpecError
from pyromix.model.arguments import mapping, near_matches, shown


class Kind(StrEnum):
    """What the cells of a column are, and the law of what a source does to them."""

    CATEGORICAL = "categorical"
    """States; a table, or a multinomial logit where a parent is a number."""

    REAL = "real"
    """Any number; linear with normal noise."""

    HEAVY_TAILED = "student-t"
    """Any number; linear with the noise of Student's t, four degrees of freedom."""

    POSITIVE = "positive"
    """A number above zero; its logarithm is linear with normal noise."""

    HURDLE = "hurdle"
    """Zero, or a number above; whether it is above, and its logarithm where it is."""

    COUNT = "count"
    """0, 1, 2, ... without a bound; Poisson, log-linear."""

    @property
    def numeric(self) -> bool:
        """Whether cells are numbers."""
        return self is not Kind.CATEGORICAL

    @property
    def logarithmic(self) -> bool:
        """Whether it is reckoned with in logarithms."""
        return self in (Kind.POSITIVE, Kind.HURDLE)

    @property
    def gaussian(self) -> bool:
        """Whether its law is normal given its parents."""
        return self in (Kind.REAL, Kind.POSITIVE)


@dataclass(frozen=True)
class Unit:
    """How a number is reckoned with: ``(x - centre) / scale``, x perhaps a logarithm first.

    Attributes:
        centre: subtracted.
        scale: divided by, positive.
        logarithmic: whether the logarithm is taken first; that of zero is ``-inf``.
    """

    centre: float = 0.0
    scale: float = 1.0
    logarithmic: bool = False

    @staticmethod
    def of(kind: Kind, values: Float[Tensor, " m"]) -> Unit:
        """The unit in which values have mean 0 and standard deviation 1; counts stay counts.

        Args:
            kind: of the variable.
            values: raw; missing cells are nan.
        """
        if not kind.numeric or kind is Kind.COUNT:
            return Unit()
        x = values.log() if kind.logarithmic else values
        x = x[x.isfinite()]
        spread = float(x.std()) if len(x) > 1 else 0.0
        centre = float(x.mean()) if len(x) else 0.0
        return Unit(centre, spread if spread > 0 else 1.0, kind.logarithmic)

    def inward(self, values: Float[Tensor, "*m"]) -> Float[Tensor, "*m"]:
        """From the user's numbers to ours."""
        return ((values.log() if self.logarithmic else values) - self.centre) / self.scale

    def outward(self, values: Float[Tensor, "*m"]) -> Float[Tensor, "*m"]:
        """From our numbers to the user's."""
        x = values * self.scale + self.centre
        return x.exp() if self.logarithmic else x

    def log_slope(self, values: Float[Tensor, "*m"]) -> Float[Tensor, "*m"]:
        """Logarithm of d(inward) / d(value), at the user's numbers: densities take it along.

        Zero where a logarithmic value is zero, which has a probability of its own.
        """
        slope = torch.full_like(values, self.scale).log().neg()
        if self.logarithmic:
            slope = torch.where(values > 0, slope - values.log(), torch.zeros_like(values))
        return slope


def kinds_of(given: Mapping[str, str | Kind] | None) -> dict[str, Kind]:
    """Read kinds as users write them.

    Args:
        given: names of variables to names of kinds.

    Raises:
        SpecError: not a mapping, or an unknown kind; the kinds are named.
    """
    known = [str(kind) for kind in Kind]
    found = {}
    for name, kind in mapping("kinds", given, "names of variables to kinds").items():
        if not isinstance(kind, str) or kind not in known:
            raise SpecError(
                f"kind of {name!r}: expected one of {known}, found {shown(kind)}"
                f"{near_matches(kind, known)}"
            )
        found[name] = Kind(kind)
    return found
