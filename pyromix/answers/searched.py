"""The values of a question as one searches them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.answers.natural import Pair
from pyromix.answers.ranges import Found
from pyromix.answers.same_law import Values
from pyromix.exact.elimination import marginal
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import DoQuery


@dataclass(frozen=True)
class Searched:
    """The values of a question as one searches them: of two that add up to a constant, one.

    Attributes:
        query: the question.
        n_joint: joint states of the outcomes.
    """

    query: DoQuery
    n_joint: int

    @property
    def n_arms(self) -> int:
        """Scenarios."""
        return self.query.n_scenarios or 1

    @property
    def halved(self) -> bool:
        """Whether one value of two is searched."""
        return self.n_joint == 2

    @property
    def n_cells(self) -> int:
        """Searched values that are probabilities; differences come after them."""
        return self.n_arms * (1 if self.halved else self.n_joint)

    def __call__(self, mixtures: BayesNetMixture) -> Float[Tensor, "b searched"]:
        """What is searched: probabilities, then of two scenarios the second less the first."""
        found = marginal(mixtures, self.query).flatten(1).unflatten(1, (self.n_arms, self.n_joint))
        if self.n_arms == 2:
            found = torch.cat([found, found[:, 1:] - found[:, :1]], 1)
        return (found[..., 1:] if self.halved else found).flatten(1)

    def only(self, some: slice) -> Values:
        """A part of what is searched, as a function of mixtures."""
        return lambda mixtures: self(mixtures)[:, some]

    def slopes(self, cells: Float[Tensor, "cells p"]) -> Float[Tensor, "searched p"]:
        """Gradients of what is searched, from those of all probabilities."""
        found = cells.unflatten(0, (self.n_arms, self.n_joint))
        if self.n_arms == 2:
            found = torch.cat([found, found[1:] - found[:1]])
        return (found[:, 1:] if self.halved else found).flatten(0, 1)

    def part(self, *, differences: bool) -> slice:
        """Where probabilities, or differences, stand among what is searched."""
        return slice(self.n_cells, None) if differences else slice(0, self.n_cells)

    def unfolded(self, low: Any, high: Any, *, differences: bool) -> Pair:
        """Ends of all probabilities, or of all differences, from those that were searched.

        Args:
            low: lower ends, of that part of what is searched.
            high: upper ends.
            differences: which of both.
        """
        low, high = np.asarray(low), np.asarray(high)
        if not self.halved:
            return low, high
        total = 0.0 if differences else 1.0
        return np.stack([total - high, low], -1).ravel(), np.stack([total - low, high], -1).ravel()

    def counts(self, found: Found, *, differences: bool) -> tuple[np.ndarray, np.ndarray]:
        """How many searches reached each end.

        Args:
            found: by the searches.
            differences: as in ``unfolded``.
        """
        part = self.part(differences=differences)
        low, high = np.array(found.n_low)[part], np.array(found.n_high)[part]
        if not self.halved:
            return low, high
        return np.stack([high, low], -1).ravel(), np.stack([low, high], -1).ravel()
