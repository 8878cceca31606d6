"""What a fit answers: criteria, and questions gated by what data determine, with an interval."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from pyromix.data.counts import Counts
from pyromix.diagnostics import FitDiagnostics
from pyromix.errors import DataError, QueryError
from pyromix.identify.certify import MAX_PARAMETERS, certify, graphical_vertices
from pyromix.model.certificate import Certificate, graph_covers
from pyromix.model.information import Information, observed_information
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.query import Certainty, DoQuery
from pyromix.model.spec import SOURCE, MixtureSpec
from pyromix.query.answer import Answer
from pyromix.query.do import query
from pyromix.query.effect import Effect, effect
from pyromix.query.gate import admit

CHEAP_INFORMATION = 2**31
"""Rows times squared parameters up to which standard errors are worked out unasked: a second."""


class Answering:
    """What a fit answers; the fields are those of ``MixtureFit``."""

    mixture: BayesNetMixture
    n_rows: float
    log_likelihood: float
    row_masses: tuple[Float[Tensor, ...], ...]
    reached_mass: float
    entropy: float
    diagnostics: FitDiagnostics
    prior: PseudoCounts
    stored: tuple[Counts, ...]
    drawn: tuple[BayesNetMixture, ...]

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
    def certificate(self) -> Certificate:
        """What this graph, these cardinalities and this k identify.

        Raises:
            SpecError: the model is too large for the dense certificate.
        """
        return certify(self.spec)

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

    # -- questions ---------------------------------------------------------------------------

    def query(
        self,
        variables: str | Sequence[str],
        do: Mapping[str, Any] | None = None,
        evidence: Mapping[str, Hashable] | None = None,
        *,
        require: str = "local",
        engine: str = "auto",
        interval: bool | None = None,
    ) -> Answer:
        """Answer P(variables | do, evidence).

        Args:
            variables: outcome or outcomes, in the order of the answer's axes.
            do: per variable a state name, a mapping from states to probabilities, or a list of
                either (scenarios).
            evidence: per variable a state name.
            require: least certainty, ``"graphical"``, ``"local"`` or ``"none"``.
            engine: ``"auto"``, ``"elimination"`` or ``"pyro"``.
            interval: whether a point estimate's answer comes with standard errors (draws always
                give an interval); by default where the information matrix is cheap.

        Raises:
            QueryError: a name, state or option is unknown.
            DataError, SpecError: an interval was asked for that cannot be had.
            NotCertifiedError: the certainty falls short of ``require``.
            PositivityError: the evidence is impossible under the do, or every world of the answer
                uses rows no data reached.
        """
        certainty = self._certainty(DoQuery.from_names(self.spec, variables, do, evidence), require)
        return query(
            self._asked,
            variables,
            do,
            evidence,
            engine,
            certainty=certainty,
            reached=self.reached,
            point=self.mixture,
            information=self._informed(interval),
        )

    def effect(
        self,
        treatment: str | None = None,
        outcome: str | None = None,
        *,
        contrast: Sequence[Hashable] | None = None,
        evidence: Mapping[str, Hashable] | None = None,
        per_source: bool = False,
        require: str = "local",
        interval: bool | None = None,
        **options: Any,
    ) -> Effect:
        """Compare the naive difference of an outcome with the difference under a do.

        Args:
            treatment: the variable intervened on; by default the model's one exposure.
            outcome: the variable looked at; by default the model's one outcome.
            contrast: ``(from, to)`` states of the treatment; may be left out for two states.
            evidence: conditions of both arms.
            per_source: also ask within each source, which data determine less often.
            require: least certainty, as in ``query``, of all arms under the do.
            interval: as in ``query``.
            **options: ``outcome_state`` and ``engine``, as in ``px.effect``.

        Raises:
            QueryError: a name, state or option is unknown.
            NotCertifiedError: the certainty falls short of ``require``.
            PositivityError: an arm has no support.
        """
        treatment = self._role("exposures", "treatment") if treatment is None else treatment
        outcome = self._role("outcomes", "outcome") if outcome is None else outcome
        states = self.spec.states_of(self.spec.vertex(treatment))
        probe = DoQuery.from_names(self.spec, outcome, {treatment: states[0]}, evidence)
        certainty = source_certainty = self._certainty(probe, require)
        if per_source and SOURCE not in (*probe.outcomes, *probe.do, *probe.evidence):
            within = replace(probe, evidence={**probe.evidence, SOURCE: 0})
            source_certainty = self._certainty(within, require)
        return effect(
            self._asked,
            treatment,
            outcome,
            contrast=contrast,
            evidence=evidence,
            per_source=per_source,
            certainty=certainty,
            source_certainty=source_certainty,
            reached=self.reached,
            point=self.mixture,
            information=self._informed(interval),
            **options,
        )

    @property
    def _asked(self) -> BayesNetMixture:
        """The draws, or the estimate where there are none."""
        return self.drawn[0] if self.drawn else self.mixture

    def _informed(self, interval: bool | None) -> tuple[Information, ...]:
        """What an interval of a point estimate needs, where it is wanted, or cheap."""
        if interval is None:
            stored, p = self.stored, self.n_parameters
            # The information is that of a maximum of the likelihood, which moments alone are not.
            cheap = bool(stored) and stored[0].complete and not self.diagnostics.by_moments_alone
            interval = cheap and stored[0].n_patterns * p**2 <= CHEAP_INFORMATION
        return (self.information,) if interval and not self.drawn and not self.exact else ()

    def _certainty(self, query: DoQuery, require: str) -> Certainty:
        """How certain an answer is, or a refusal; a certificate too large to take is no bar."""
        graphical = graphical_vertices(self.spec)
        if (
            require == Certainty.NONE.value
            and self.n_parameters > MAX_PARAMETERS
            and not graph_covers(self.spec, graphical, query)
        ):
            return Certainty.NONE
        return admit(self.spec, graphical, lambda: self.certificate, query, require)

    def _role(self, role: str, argument: str) -> str:
        """The one variable that carries a role."""
        vertices = dict(self.spec.roles).get(role, ())
        if len(vertices) != 1:
            names = [self.spec.name(v) for v in vertices]
            raise QueryError(
                f"{argument} is not given and the model declares {names} as {role}; name one of "
                f"{list(self.spec.variables)}"
            )
        return self.spec.name(vertices[0])
