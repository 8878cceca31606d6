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

    def cells(self, mixtures: BayesNetMixture) -> Float[Tensor, "b cells"]:
        """All probabilities."""
        return marginal(mixtures, self.query).flatten(1)

    def differences(self, mixtures: BayesNetMixture) -> Float[Tensor, "b joint"]:
        """Of two scenarios, the second less the first."""
        arms = self.cells(mixtures).unflatten(1, (2, self.n_joint))
        return arms[:, 1] - arms[:, 0]

    def __call__(self, mixtures: BayesNetMixture) -> Float[Tensor, "b searched"]:
        """What is searched."""
        found = self.cells(mixtures).unflatten(1, (self.n_arms, self.n_joint))
        if self.n_arms == 2:
            found = torch.cat([found, found[:, 1:] - found[:, :1]], 1)
        return (found[..., 1:] if self.halved else found).flatten(1)

    def unfolded(self, low: Any, high: Any, *, differences: bool) -> Pair:
        """Ends of all probabilities, or of all differences, from those that were searched.

        Args:
            low: lower ends, ``(searched,)``.
            high: upper ends.
            differences: which of both.
        """
        part = slice(self.n_cells, None) if differences else slice(0, self.n_cells)
        low, high = np.asarray(low)[part], np.asarray(high)[part]
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
        part = slice(self.n_cells, None) if differences else slice(0, self.n_cells)
        low, high = np.array(found.n_low)[part], np.array(found.n_high)[part]
        if not self.halved:
            return low, high
        return np.stack([high, low], -1).ravel(), np.stack([low, high], -1).ravel()
