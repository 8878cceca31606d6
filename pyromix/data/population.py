"""A mixture asked the questions that are put to data: exact moments, no sampling noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.data.asking import cells_as_counts
from pyromix.data.counts import Counts
from pyromix.data.moments import MAX_JOINT_CELLS, check_request, check_same_variables, normalised
from pyromix.errors import DataError
from pyromix.exact.elimination import marginal
from pyromix.model.arguments import shown, whole
from pyromix.model.mixture import BayesNetMixture, mixture_of
from pyromix.model.query import DoQuery
from pyromix.model.schema import Schema
from pyromix.model.spec import MixtureSpec

__all__ = ["MAX_JOINT_CELLS", "Population", "population"]


@dataclass(frozen=True, eq=False)
class Population:
    """The law of a mixture in place of data; see ``moments.Moments``.

    Attributes:
        spec: what an estimator is told: perhaps another graph or number of sources than the truth,
            over the same variables and states.
        mixture: the truth, without batch axes.

    Raises:
        DataError: the mixture has batch axes, or other variables or states than the spec.
    """

    spec: MixtureSpec
    mixture: BayesNetMixture

    def __post_init__(self) -> None:
        if not isinstance(self.mixture, BayesNetMixture):
            raise DataError(
                "a population is that of a mixture, such as fit.mixture, found "
                f"{shown(self.mixture)}"
            )
        if not isinstance(self.spec, MixtureSpec):
            raise DataError(f"expected a MixtureSpec, found {shown(self.spec)}")
        if self.mixture.batch_shape:
            raise DataError(
                "a population is one mixture, found batch axes "
                f"{tuple(self.mixture.batch_shape)}; select one element"
            )
        check_same_variables(self.mixture.spec, self.spec)

    @property
    def schema(self) -> Schema:
        """Variables and states, in the order of the spec."""
        return self.spec.schema

    @property
    def exact(self) -> bool:
        """Always: nothing was sampled."""
        return True

    @property
    def n_rows(self) -> float:
        """Infinite: answers are exact."""
        return math.inf

    @property
    def device(self) -> torch.device:
        """Device of the tables."""
        return self.mixture.device

    def to(self, device: torch.device | str) -> Population:
        """Return the same law on another device."""
        return replace(self, mixture=self.mixture.to(device))

    def with_spec(self, spec: MixtureSpec) -> Population:
        """Return the same law for another graph or number of sources over the same variables.

        Raises:
            DataError: the variables or their states differ.
        """
        return replace(self, spec=spec)

    def table(
        self, variables: Sequence[int], given: Sequence[int], assignments: Int[Tensor, "r c"]
    ) -> Float[Tensor, " r *cards"]:
        """P(variables | given = assignment) for each of r assignments, exactly.

        One joint table of all vertices involved, from which the assignments are gathered.

        Args:
            variables: vertices, one axis each, in this order.
            given: vertices conditioned on, disjoint from ``variables``; perhaps none.
            assignments: ``(r, len(given))`` state numbers, perhaps repeated.

        Returns:
            ``(r, *card(variables))``, float64; zeros where the assignment is impossible.

        Raises:
            DataError: unknown or repeated vertices, states out of range, or a table beyond memory.
            ContractionSizeError: the joint table is beyond memory.
        """
        assignments = check_request(self.spec, variables, given, assignments)
        cards = [self.spec.cards[v] for v in variables]
        chosen = self._joint(given, variables)[self._cells(given, assignments)]
        return normalised(chosen).reshape(-1, *cards)

    def mass(self, given: Sequence[int], assignments: Int[Tensor, "r c"]) -> Float[Tensor, " r"]:
        """Probability of each assignment.

        Args:
            given: vertices; perhaps none.
            assignments: ``(r, len(given))`` state numbers.

        Raises:
            DataError: unknown or repeated vertices, or states out of range.
            ContractionSizeError: the joint table is beyond memory.
        """
        assignments = check_request(self.spec, (), given, assignments)
        return self._joint(given, ())[self._cells(given, assignments)].squeeze(1)

    def noise(self, given: Sequence[int], assignments: Int[Tensor, "r c"]) -> Float[Tensor, " r"]:
        """Infinitely many rows behind each assignment, possible or not.

        Args:
            given: vertices; perhaps none.
            assignments: ``(r, len(given))`` state numbers.

        Raises:
            DataError: unknown or repeated vertices, or states out of range.
        """
        r = len(check_request(self.schema, (), given, assignments))
        return torch.full((r,), math.inf, dtype=torch.float64, device=self.device)

    def counts_on(self, spec: MixtureSpec) -> Counts:
        """The cells of the joint table as patterns, columns in the order of another spec.

        Raises:
            DataError: the variables or their states differ, or the joint table is too large.
        """
        return self.with_spec(spec).as_counts()

    def as_counts(self, max_cells: int = MAX_JOINT_CELLS) -> Counts:
        """Return the cells of the joint table as patterns, their probabilities as weights.

        Total weight is one, so that a likelihood is the expected one per row.

        Args:
            max_cells: largest joint table.

        Raises:
            DataError: the joint table has more cells.
        """
        max_cells = whole("max_cells", max_cells, 1, error=DataError)
        if self.spec.n_cells > max_cells:
            raise DataError(
                f"expected a joint table of at most {max_cells:,} cells, found "
                f"{self.spec.n_cells:,}; fit to a sample of the mixture instead"
            )
        everything = range(self.spec.n_variables)
        return cells_as_counts(self.spec, self._joint((), everything).squeeze(0))

    def _joint(self, given: Sequence[int], variables: Sequence[int]) -> Float[Tensor, "g cells"]:
        """P(given, variables), the joint states of each in row-major order."""
        cards, names = self.spec.cards, self.spec.variables
        vertices = [self.mixture.spec.vertex(names[v]) for v in (*given, *variables)]
        shape = (math.prod(cards[v] for v in given), math.prod(cards[v] for v in variables))
        if not vertices:
            return torch.ones(shape, dtype=torch.float64, device=self.device)
        return marginal(self.mixture, DoQuery(outcomes=tuple(vertices))).reshape(shape)

    def _cells(self, given: Sequence[int], assignments: Tensor) -> Int[Tensor, " r"]:
        """Position of each assignment among the joint states of ``given``."""
        cards = [self.spec.cards[v] for v in given]
        strides = [math.prod(cards[i + 1 :]) for i in range(len(cards))]
        weights = torch.tensor(strides, dtype=torch.int64, device=self.device)
        return (assignments.to(self.device) * weights).sum(1)


def population(mixture: BayesNetMixture) -> Population:
    """Take a mixture where data are expected: exact statistics instead of counts.

    Args:
        mixture: without batch axes.

    Raises:
        DataError: the mixture has batch axes.
    """
    mixture = mixture_of(mixture)
    return Population(mixture.spec, mixture)
