"""What a fit to a table with columns of numbers holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from pyromix.data.records import Records
from pyromix.errors import DataError, QueryError
from pyromix.estimate.mixed.information import Sandwich, row_scores, sandwich
from pyromix.estimate.mixed.prior import MixedPrior
from pyromix.fitting.record import Fit
from pyromix.model.mixed import MixedMixture, MixedSpec
from pyromix.model.note import Note, sentences
from pyromix.posterior.draws import SamplingReport

MOST_SCORES = 2**23
"""Rows times free coordinates up to which scores are kept: 64 MB."""

SAME = 0.05
"""Nats within which two starts ended in one optimum."""


@dataclass(frozen=True)
class Reached:
    """Where a start ended.

    Attributes:
        name: of the start: ``"bins"`` or ``"random"``.
        objective: penalised log-likelihood, in our units.
        converged: whether the tolerance was met.
    """

    name: str
    objective: float
    converged: bool


@dataclass(frozen=True, eq=False)
class MixedDraws:
    """Draws around an estimate, under its labels.

    Attributes:
        points: free coordinates of each.
        method: what drew them: ``"bootstrap"`` or ``"gibbs"``.
        size: how many, for people.
        sampling: whether draws of a Markov chain are to be relied on; None for other draws.
    """

    points: Float[Tensor, "draws free"]
    method: str
    size: str
    sampling: SamplingReport | None = None

    @property
    def n(self) -> int:
        """Number of draws."""
        return len(self.points)

    def __str__(self) -> str:
        """E.g. ``gibbs (4 x 250)``."""
        return f"{self.method} ({self.size})"


@dataclass(frozen=True, eq=False)
class MixedRecord:
    """A mixture fitted to rows of states and numbers.

    Attributes:
        mixture: the estimate; sources by decreasing weight.
        prior: what every source is taken to have seen before.
        log_likelihood: sum over rows (by weight) of the log-density in the user's units, in nats.
        n_rows: number of rows, by weight.
        entropy: of P(U | row), summed over rows, in nats.
        converged: whether the best start met the tolerance.
        n_iter: its steps of EM.
        starts: where every start that climbed to the end got, the best first.
        binned: the fit to the same table in bins; what its views show is what certifies.
        edges: where each column of numbers was cut for it.
        table: the rows; None when saved without.
        notes: what the stages had to say.
        sampled: draws around the estimate; None for a point estimate.
        random_state: the seed, or ``"a generator"``; empty where nobody kept it.
    """

    mixture: MixedMixture
    prior: MixedPrior
    log_likelihood: float
    n_rows: float
    entropy: float
    converged: bool
    n_iter: int
    starts: tuple[Reached, ...]
    binned: Fit
    edges: Mapping[str, tuple[float, ...]]
    table: Records | None = None
    notes: tuple[Note, ...] = ()
    sampled: MixedDraws | None = None
    random_state: str = ""

    @property
    def spec(self) -> MixedSpec:
        """Structure: variables, kinds, states, parents, sources."""
        return self.mixture.spec

    @property
    def records(self) -> Records:
        """The rows it was fitted to.

        Raises:
            DataError: it was saved without.
        """
        if self.table is None:
            raise DataError(
                "this fit holds no table: it was saved with include_data=False; pass the data to "
                "the method instead"
            )
        return self.table

    @cached_property
    def information(self) -> Sandwich:
        """Covariance of the free coordinates, whether or not the noise has the shape assumed.

        Raises:
            DataError: the fit holds no table.
        """
        return sandwich(self.mixture, self.records, self.prior, self.scores)

    @property
    def scores(self) -> Float[Tensor, "rows p"]:
        """Derivatives of the log-density of every row by the free coordinates, in our units.

        Raises:
            DataError: the fit holds no table.
        """
        few = self.records.n_rows * self.n_parameters <= MOST_SCORES
        return self._kept_scores if few else row_scores(self.mixture, self.records)

    @cached_property
    def _kept_scores(self) -> Float[Tensor, "rows p"]:
        return row_scores(self.mixture, self.records)

    @property
    def draws(self) -> Float[Tensor, "draws free"]:
        """Free coordinates of draws around the estimate: replicates or a posterior.

        Raises:
            QueryError: this is a point estimate.
        """
        if self.sampled is None:
            raise QueryError(
                'this fit is a point estimate; fit.bootstrap() and fit.refine(method="gibbs") have '
                "draws"
            )
        return self.sampled.points

    @property
    def n_parameters(self) -> int:
        """Number of free coordinates."""
        return len(self.mixture.parameters)

    @property
    def log_likelihood_per_row(self) -> float:
        """Mean log-likelihood per row, in nats."""
        return self.log_likelihood / self.n_rows

    @property
    def aic(self) -> float:
        """Akaike's criterion, ``2 p - 2 logL``; smaller is better."""
        return 2 * self.n_parameters - 2 * self.log_likelihood

    @property
    def bic(self) -> float:
        """Schwarz's criterion, ``p log N - 2 logL``; smaller is better."""
        return math.log(self.n_rows) * self.n_parameters - 2 * self.log_likelihood

    @property
    def caic(self) -> float:
        """Bozdogan's consistent AIC, ``p (log N + 1) - 2 logL``; smaller is better."""
        return (math.log(self.n_rows) + 1) * self.n_parameters - 2 * self.log_likelihood

    @property
    def sabic(self) -> float:
        """BIC adjusted for the size of the sample, ``p log((N + 2) / 24) - 2 logL``."""
        return math.log((self.n_rows + 2) / 24) * self.n_parameters - 2 * self.log_likelihood

    @property
    def icl(self) -> float:
        """Integrated completed likelihood, ``bic + 2 entropy``; smaller is better."""
        return self.bic + 2 * self.entropy

    @property
    def entropy_r2(self) -> float:
        """``1 - entropy / (N log k)``: 1 when every row is certain, 0 when none is; 1 for k = 1."""
        if self.spec.n_sources == 1:
            return 1.0
        return 1 - self.entropy / (self.n_rows * math.log(self.spec.n_sources))

    @property
    def exact(self) -> bool:
        """Never: a table with numbers is a sample."""
        return False

    @property
    def graph_was_found(self) -> bool:
        """Never: graphs are searched for in tables of states."""
        return False

    @property
    def said(self) -> tuple[str, ...]:
        """What the stages had to say, in sentences."""
        return sentences(self.notes)

    @property
    def n_best(self) -> int:
        """Starts that ended within a twentieth of a nat of the best."""
        best = max(start.objective for start in self.starts)
        return sum(start.objective > best - SAME for start in self.starts)

    @property
    def bins_agree(self) -> bool:
        """Whether the start from bins is one of these."""
        best = max(start.objective for start in self.starts)
        return any(s.name == "bins" and s.objective > best - SAME for s in self.starts)
