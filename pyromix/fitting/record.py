"""What a fit is: the mixture, the table, and what every stage on the way found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Bool, Float
from torch import Tensor

from pyromix.data.counts import Counts
from pyromix.errors import DataError, QueryError
from pyromix.exact.information import Information, observed_information
from pyromix.fitting.journal import FitDiagnostics
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.spec import MixtureSpec


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted mixture of Bayesian networks as a record; ``api.MixtureFit`` gives it verbs.

    Attributes:
        mixture: the estimate, without batch axes; sources by decreasing weight.
        n_rows: number of rows it was fitted to, the effective one where weights are not whole
            (``DataReport.row_weight``); infinite for a Population.
        log_likelihood: sum over rows (by weight), in nats; for a Population the expected one per
            row, nan where the joint table is too large.
        converged: whether the iterations ended by the tolerance.
        n_iter: iterations of the best start.
        row_masses: per vertex the expected number of data rows behind each CPT row,
            ``(k, *card(parents))``; for uninfluenced vertices, of all sources together.
        reached_mass: mass from which a CPT row counts as reached by data.
        entropy: entropy of P(U | row), summed over rows, in nats: 0 when every row is certain.
        diagnostics: starts, stages and notes.
        prior: pseudo-counts of the fit; zeros for maximum likelihood.
        stored: the table it was fitted to; empty when it was saved without.
        drawn: draws around the estimate as one mixture ``(n,)``; empty for a point estimate.
    """

    mixture: BayesNetMixture
    n_rows: float
    log_likelihood: float
    converged: bool
    n_iter: int
    row_masses: tuple[Float[Tensor, ...], ...]
    reached_mass: float
    entropy: float
    diagnostics: FitDiagnostics
    prior: PseudoCounts
    stored: tuple[Counts, ...] = ()
    drawn: tuple[BayesNetMixture, ...] = ()

    @property
    def spec(self) -> MixtureSpec:
        """Structure: variables, states, parents, sources."""
        return self.mixture.spec

    @property
    def counts(self) -> Counts:
        """The table it was fitted to, as distinct rows.

        Raises:
            DataError: there is none: it was saved without, or fitted to a population.
        """
        if not self.stored:
            raise DataError(
                "this fit holds no table: it was saved with include_data=False, or fitted to a "
                "population; pass the data to the method instead"
            )
        return self.stored[0]

    @property
    def log_likelihood_moments(self) -> float:
        """Log-likelihood of the moment stage; nan for a fit that did not start from moments."""
        return self.diagnostics.log_likelihood_moments

    @property
    def exact(self) -> bool:
        """Whether it was fitted to a population: likelihoods are then expected ones per row."""
        return math.isinf(self.n_rows)

    @property
    def log_likelihood_per_row(self) -> float:
        """Mean log-likelihood per row, in nats."""
        return self.log_likelihood if self.exact else self.log_likelihood / self.n_rows

    @cached_property
    def information(self) -> Information:
        """Observed information at the estimate, prior included.

        Raises:
            DataError: the fit holds no table, or one with missing cells.
            SpecError: too many parameters for the dense matrix.
        """
        counts = self.counts.to(self.mixture.device)
        return observed_information(self.mixture, counts.rows, counts.weights, self.prior)

    @property
    def draws(self) -> BayesNetMixture:
        """Draws around the estimate, batch shape ``(n,)``: replicates or a posterior.

        Raises:
            QueryError: this is a point estimate.
        """
        if not self.drawn:
            raise QueryError(
                "this fit is a point estimate; fit.bootstrap() and fit.refine(method=...) have "
                "draws"
            )
        return self.drawn[0]

    @property
    def reached(self) -> tuple[Bool[Tensor, ...], ...]:
        """Per vertex, which CPT rows data reached, ``(k, *card(parents))``."""
        return tuple(masses > self.reached_mass for masses in self.row_masses)

    @property
    def n_parameters(self) -> int:
        """Number of free probabilities."""
        return self.spec.n_parameters

    # -- criteria ----------------------------------------------------------------------------

    @property
    def aic(self) -> float:
        """Akaike's criterion, ``2 p - 2 logL``; smaller is better; nan for a population."""
        return self._penalised(2.0)

    @property
    def bic(self) -> float:
        """Schwarz's criterion, ``p log N - 2 logL``, N rows; smaller is better.

        Nan for a fit to a population.
        """
        return self._penalised(math.log(self.n_rows))

    @property
    def icl(self) -> float:
        """Integrated completed likelihood, ``bic + 2 entropy``; smaller is better."""
        return self.bic + 2 * self.entropy

    @property
    def entropy_r2(self) -> float:
        """``1 - entropy / (N log k)``: 1 when every row is certain, 0 when none is; 1 for k = 1."""
        if self.spec.n_sources == 1:
            return 1.0
        n_rows = 1.0 if self.exact else self.n_rows
        return 1 - self.entropy / (n_rows * math.log(self.spec.n_sources))

    def _penalised(self, price: float) -> float:
        return math.nan if self.exact else price * self.n_parameters - 2 * self.log_likelihood
