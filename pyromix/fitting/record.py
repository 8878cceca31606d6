"""What a fit is: the mixture, the table, and what every stage on the way found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Bool, Float
from torch import Tensor

from pyromix.data.counts import Counts
from pyromix.errors import DataError, QueryError
from pyromix.estimate.result import Ends
from pyromix.exact.curvature import Curvature
from pyromix.exact.implicit import ImplicitInformation
from pyromix.exact.information import Information, observed_information
from pyromix.exact.rows import CellIndex
from pyromix.fitting.journal import ChosenPrior, Climb, Course, Draws, FitDiagnostics
from pyromix.identify.signal import Signal, signal_of
from pyromix.identify.stage import MomentStage
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.note import Note, NoteKind, sentences
from pyromix.model.prior import PseudoCounts
from pyromix.model.spec import MixtureSpec


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted mixture of Bayesian networks as a record of stages; ``api`` gives it verbs.

    Attributes:
        mixture: the estimate, without batch axes; sources by decreasing weight.
        n_rows: number of rows it was fitted to, the effective one where weights are not whole
            (``DataReport.row_weight``); infinite for a Population.
        log_likelihood: sum over rows (by weight), in nats; for a Population the expected one per
            row, nan where the joint table is too large.
        row_masses: per vertex the expected number of data rows behind each CPT row,
            ``(k, *card(parents))``; for uninfluenced vertices, of all sources together.
        reached_mass: mass from which a CPT row counts as reached by data.
        entropy: entropy of P(U | row), summed over rows, in nats: 0 when every row is certain.
        course: the method asked for, and the stages that ran.
        climb: where the starts of EM ended.
        chosen_prior: the prior, and what chose it.
        moments: what the moment stage found, its plan included; None where there was none.
        sampled: draws around the estimate; None for a point estimate.
        table: the table it was fitted to; None for a population, or when saved without.
        notes: what the stages had to say.
        random_state: the seed, or ``"a generator"``; empty where nobody kept it.
        ends: of the starts of EM that fit about as well as the best; None where nobody kept them.
        heard: what the table showed of the views of U, of a fit without its table.
        summed: observed information, of a fit to a stream of rows; None where there is the table.
    """

    mixture: BayesNetMixture
    n_rows: float
    log_likelihood: float
    row_masses: tuple[Float[Tensor, ...], ...]
    reached_mass: float
    entropy: float
    course: Course
    climb: Climb
    chosen_prior: ChosenPrior
    moments: MomentStage | None = None
    sampled: Draws | None = None
    table: Counts | None = None
    notes: tuple[Note, ...] = ()
    random_state: str = ""
    ends: Ends | None = None
    heard: Signal | None = None
    summed: Information | None = None

    @cached_property
    def signal(self) -> Signal | None:
        """Whether the table shows that views of U carry signal; None where nothing can be tested.

        Raises:
            DataError: a table of the test cannot be decomposed.
        """
        if self.heard is not None or self.table is None or self.spec.n_sources == 1:
            return self.heard
        return signal_of(self.table, self.spec)

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
        if self.table is None:
            raise DataError(
                "this fit holds no table: it was saved with include_data=False, or fitted to a "
                "population or a stream of rows; pass the data to the method instead"
            )
        return self.table

    @property
    def graph_was_found(self) -> bool:
        """Whether a search in the table found the graph, and nobody drew it."""
        return any(note.kind is NoteKind.DISCOVERED for note in self.notes)

    @property
    def log_likelihood_moments(self) -> float:
        """Log-likelihood of the moment stage; nan for a fit that did not start from moments."""
        return math.nan if self.moments is None else self.moments.log_likelihood

    @property
    def converged(self) -> bool:
        """Whether the iterations ended by the tolerance."""
        return self.climb.converged

    @property
    def n_iter(self) -> int:
        """Iterations of the best start."""
        return self.climb.n_iter

    @property
    def prior(self) -> PseudoCounts:
        """Pseudo-counts of the fit; zeros for maximum likelihood."""
        return self.chosen_prior.counts

    @property
    def diagnostics(self) -> FitDiagnostics:
        """Which stage gave what, in plain numbers and sentences."""
        drawn = self.sampled
        return FitDiagnostics(
            method=str(self.course) if drawn is None else f"{self.course}; {drawn}",
            start_log_likelihoods=self.climb.log_likelihoods,
            n_best=self.climb.n_best,
            prior=self.chosen_prior.words,
            notes=sentences(self.notes),
            moments=() if self.moments is None else (self.moments,),
            prior_held_out=self.chosen_prior.held_out,
            sampling=() if drawn is None or drawn.sampling is None else (drawn.sampling,),
            elbo=self.climb.bound if drawn is None else drawn.bound,
            random_state=self.random_state,
        )

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
            DataError: the fit holds no table, or one with too many missing cells.
            SpecError: too many parameters for the dense matrix.
        """
        if self.summed is not None:
            return self.summed
        counts = self.counts.to(self.mixture.device)
        return observed_information(self.mixture, counts.rows, counts.weights, self.prior)

    @cached_property
    def implicit_information(self) -> ImplicitInformation:
        """The same, solved with and never formed: for models of any size.

        Raises:
            DataError: the fit holds no table.
        """
        counts = self.counts.to(self.mixture.device)
        index = CellIndex(self.spec, counts.rows)
        return ImplicitInformation(Curvature(self.mixture, index, counts.weights, self.prior))

    @property
    def draws(self) -> BayesNetMixture:
        """Draws around the estimate, batch shape ``(n,)``: replicates or a posterior.

        Raises:
            QueryError: this is a point estimate.
        """
        if self.sampled is None:
            raise QueryError(
                "this fit is a point estimate; fit.bootstrap() and fit.refine(method=...) have "
                "draws"
            )
        return self.sampled.mixture

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
    def caic(self) -> float:
        """Bozdogan's consistent AIC, ``p (log N + 1) - 2 logL``; smaller is better.

        [H. Bozdogan, Model selection and Akaike's information criterion, Psychometrika 52, 1987];
        nan for a population.
        """
        return self._penalised(math.log(self.n_rows) + 1)

    @property
    def sabic(self) -> float:
        """BIC adjusted for the size of the sample, ``p log((N + 2) / 24) - 2 logL``.

        [S. L. Sclove, Application of model-selection criteria to some problems in multivariate
        analysis, Psychometrika 52, 1987]; smaller is better; nan for a population.
        """
        return self._penalised(math.log((self.n_rows + 2) / 24))

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
