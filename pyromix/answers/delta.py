"""Standard errors of a point estimate's answers: the delta method."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import expit, logit, ndtri
from torch import Tensor

from pyromix.exact.information import Known
from pyromix.model.arguments import level_of


@dataclass(frozen=True, eq=False)
class Delta:
    """How functions of the tables move with the log-odds, and how sharply data determine these.

    Attributes:
        gradients: one row per value.
        information: at the estimate.
    """

    gradients: Float[Tensor, "values p"]
    information: Known

    @cached_property
    def standard_errors(self) -> np.ndarray:
        """One per value; infinite where data do not determine it."""
        return self.information.variances(self.gradients).sqrt().cpu().numpy()

    def minus(self, other: Delta) -> Delta:
        """Of the differences of two sets of values."""
        return Delta(self.gradients - other.gradients, self.information)


def difference(one: Delta | None, other: Delta | None) -> Delta | None:
    """Of the first set of values minus the second; None where either has none."""
    return None if one is None or other is None else one.minus(other)


def chi_square_limit(level: float) -> float:
    """Quantile of the chi-square law with one degree of freedom: a normal quantile, squared."""
    return float(ndtri((1 + level) / 2) ** 2)


def probability_interval(
    values: np.ndarray, errors: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of probabilities, normal in log-odds, so that it stays between 0 and 1.

    Args:
        values: probabilities.
        errors: their standard errors, of the same shape.
        level: share of the probability between the ends.

    Raises:
        QueryError: the level does not lie between 0 and 1.
    """
    half = _normal_quantile(level)
    spread = values * (1 - values)
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = [expit(logit(values) + sign * half * errors / spread) for sign in (-1, 1)]
    fixed = (spread <= 0) | (errors == 0)
    low, high = (np.where(fixed, values, end) for end in ends)
    lost = np.isinf(errors)
    return np.where(lost, 0.0, low), np.where(lost, 1.0, high)


def difference_interval(
    values: np.ndarray, errors: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of differences of probabilities: normal, cut to -1 and 1.

    Args:
        values: differences.
        errors: their standard errors, of the same shape.
        level: share of the probability between the ends.

    Raises:
        QueryError: the level does not lie between 0 and 1.
    """
    half = _normal_quantile(level)
    return np.clip(values - half * errors, -1, 1), np.clip(values + half * errors, -1, 1)


def _normal_quantile(level: float) -> float:
    return float(ndtri((1 + level_of(level)) / 2))


def finite_gradients(gradients: Float[Tensor, "values p"]) -> Float[Tensor, "values p"]:
    """Zeros where a probability of zero makes a derivative meaningless."""
    return torch.where(gradients.isfinite(), gradients, 0.0)
