"""What a fit is: the mixture, what it was fitted to, how it got there, and its answers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from pyromix.answering import Answering
from pyromix.data.counts import Counts
from pyromix.describe import in_lines, in_numbers
from pyromix.diagnostics import FitDiagnostics
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.randomness import RandomState
from pyromix.model.threads import one_thread_unless
from pyromix.predictive import PredictiveCheck, check_predictions
from pyromix.query.predict import counted, predict_proba, score
from pyromix.query.simulate import simulate, simulate_draws

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from pgmpy.models import DiscreteBayesianNetwork

    from pyromix.bridges.pyro import PyroProgram
    from pyromix.report.document import Report
    from pyromix.selection import Selection
    from pyromix.sensitivity import Sensitivity


@dataclass(frozen=True, eq=False)
class MixtureFit(Answering):
    """A fitted mixture of Bayesian networks; answers carry how certain they are.

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

    # -- rows --------------------------------------------------------------------------------

    def predict_proba(self, data: Any, *, level: float | None = None) -> pd.DataFrame:
        """P(U | row) of every row of a table.

        Args:
            data: whatever ``fit`` accepts as a table; missing cells are summed out.
            level: also the ends of an equal-tailed interval over the draws of this fit.

        Returns:
            One row per data row, one column per source, named by the source states; nan, with a
            NumericalWarning, where a row is impossible in every source. With a level the columns
            have two levels: ``estimate``, ``low`` and ``high``, and the sources under each.

        Raises:
            DataError: a column is missing or a value is no state.
            QueryError: a level without draws, or one not between 0 and 1.
        """
        if level is None:
            return predict_proba(self.mixture, data)
        return predict_proba(self.mixture, data, level=level, draws=self.draws)

    def score(self, data: Any, sample_weight: Any = None) -> float:
        """Mean log-likelihood per row, in nats, U and missing cells summed out.

        Raises:
            DataError: a column is missing, a value is no state, a weight is unusable.
        """
        return score(self.mixture, data, sample_weight)

    def simulate(
        self,
        n_samples: int,
        do: Mapping[str, Any] | None = None,
        evidence: Mapping[str, Hashable] | None = None,
        include_latents: bool = False,
        random_state: RandomState = 0,
        *,
        posterior: bool = False,
    ) -> pd.DataFrame:
        """Draw rows from P(V | do, evidence), exactly; arguments and errors of ``px.simulate``.

        With ``posterior=True`` every row comes from a draw of this fit, itself drawn (the
        posterior predictive distribution); without, all rows come from the estimate.

        Raises:
            QueryError: a posterior is asked for and this is a point estimate.
        """
        if posterior:
            return simulate_draws(
                self.draws, n_samples, do, evidence, include_latents, random_state
            )
        return simulate(self.mixture, n_samples, do, evidence, include_latents, random_state)

    # -- doubts ------------------------------------------------------------------------------

    def predictive_check(
        self,
        data: Any = None,
        *,
        sample_weight: Any = None,
        level: float = 0.05,
        random_state: RandomState = 0,
    ) -> PredictiveCheck:
        """Compare the fitted mixture with a table: pair margins, ranks of d-separated blocks.

        Args:
            data: a table; the one of the fit when left out. Rows that the fit has not seen test it
                more sharply; to a fit that was saved without its table every table is new.
            sample_weight: column name of ``data`` or one weight per row.
            level: of each family of tests.
            random_state: of simulated rows and of the blocks.

        Raises:
            DataError: the fit holds no table, or the data do not fit.
        """
        own = self.counts if data is None else counted(data, self.spec, sample_weight)
        counts = own.to(self.mixture.device)
        with one_thread_unless(counts.rows.numel()):
            return check_predictions(
                self.mixture,
                counts,
                n_fitted=self.n_rows,
                prior=self.prior,
                fresh=not (self.stored and self.stored[0].same_rows(counts)),
                level=level,
                random_state=random_state,
            )

    def sensitivity(
        self,
        variables: str | Sequence[str],
        do: Mapping[str, Any] | None = None,
        evidence: Mapping[str, Hashable] | None = None,
        **options: Any,
    ) -> Sensitivity:
        """Ask the same question under other assumptions that one could have made.

        With one source less and one more, without each of the views of U (as far as it can be left
        out), and at other optima that fit as well.

        Args:
            variables: as in ``query``.
            do: as in ``query``.
            evidence: as in ``query``.
            **options: ``n_starts`` random starts that look for other optima, ``within`` nats of
                the best that count as fitting as well, ``random_state``.

        Raises:
            QueryError: a name, state or option is unknown.
            DataError: the fit holds no table.
        """
        from pyromix.sensitivity import sensitivity

        return sensitivity(self, variables, do, evidence, **options)

    # -- to look at --------------------------------------------------------------------------

    def plot(
        self,
        kind: str,
        *,
        treatment: str | None = None,
        outcome: str | None = None,
        contrast: Sequence[Hashable] | None = None,
        outcome_state: Any = ...,
        ax: Any = None,
    ) -> Axes:
        """Draw one kind of plot; save it by ``.figure.savefig(path)``.

        Args:
            kind: ``"network"`` (views, treatment and outcome marked), ``"spectrum"`` (singular
                values and noise), ``"sources"`` (margins within each), ``"effect"`` (naive, do, per
                source), ``"responsibilities"`` (how certain rows are), ``"residuals"`` (misfit of
                pair margins) or ``"trace"`` (starts, or draws).
            treatment: by default the model's one exposure.
            outcome: by default the model's one outcome.
            contrast: ``(from, to)`` states of the treatment; the first and the last when left out.
            outcome_state: as in ``effect``.
            ax: where to draw; by default a new figure, which pyplot does not know.

        Returns:
            The matplotlib Axes that were drawn on.

        Raises:
            QueryError: the kind or a name is unknown, or there is nothing of this kind to draw.
            NotCertifiedError, PositivityError: the effect to draw is refused.
        """
        from pyromix.report.plots.draw import plot

        return plot(
            self,
            kind,
            treatment=treatment,
            outcome=outcome,
            contrast=contrast,
            outcome_state=outcome_state,
            ax=ax,
        )

    def report(
        self,
        path: str | PathLike[str] | None = None,
        *,
        treatment: str | None = None,
        outcome: str | None = None,
        contrast: Sequence[Hashable] | None = None,
        outcome_state: Any = ...,
        selection: Selection | None = None,
        sensitivity: bool = True,
        show: bool | None = None,
    ) -> Report:
        """Report on this fit: verdict first, then what it rests on, what it says, how it fits.

        Args:
            path: a file ending in ``.html``, one page that needs nothing else, or in ``.txt``.
            treatment: by default the model's one exposure; without any there is no effect.
            outcome: by default the model's one outcome.
            contrast: ``(from, to)`` states of the treatment; the first and the last when left out.
            outcome_state: as in ``effect``.
            selection: of ``px.select_n_sources``, for the table over k.
            sensitivity: also fit what ``sensitivity`` varies, a few times the work of the fit.
            show: whether the text is printed; by default where no path is given.

        Returns:
            The report: ``str(report)``, ``.to_html()``, ``.save(path)``, ``.summary()``.

        Raises:
            QueryError: a name or state is unknown.
            FileError: another ending, or the path cannot be written to.
        """
        from pyromix.report.compose import make_report

        return make_report(
            self,
            path,
            treatment=treatment,
            outcome=outcome,
            contrast=contrast,
            outcome_state=outcome_state,
            selection=selection,
            sensitivity=sensitivity,
            show=show,
        )

    # -- onwards -----------------------------------------------------------------------------

    def refine(self, data: Any = None, method: str = "em", **options: Any) -> MixtureFit:
        """Continue from this estimate on a table: to a better estimate, or to a posterior.

        All methods see one density: the likelihood times ``p ** c`` for every source and cell with
        pseudo-count c, that is the Dirichlet prior with concentrations c + 1. EM and
        ``guide="delta"`` go to its mode. The others keep the estimate as the point of every answer
        and attach draws, from which all intervals come; on another table, or under another prior,
        the estimate is first taken on by EM. Draws carry the labels of the estimate.

        Args:
            data: a table; the one of the fit when left out.
            method: ``"em"``; ``"gibbs"``, exact in the limit, at the cost of an EM step per draw;
                ``"nuts"``, the same posterior by Pyro's NUTS, with fewer draws better mixed, for up
                to a thousand parameters; ``"svi"``, an approximation by Pyro's SVI.
            **options: ``prior``, by default that of this fit, ``sample_weight`` (of ``data``), and

                - em: ``max_iter``, ``tol``, ``accelerate``, ``check_saddle``, ``progress``;
                - gibbs: ``num_samples``, ``warmup_steps``, ``num_chains``, ``thinning``,
                  ``random_state``, ``show_progress``;
                - nuts: ``num_samples``, ``warmup_steps``, ``num_chains``, ``target_accept_prob``,
                  ``max_tree_depth``, ``random_state``, ``show_progress``;
                - svi: ``guide`` (``"delta"``, ``"normal"``, ``"lowrank"`` or one's own),
                  ``num_steps``, ``learning_rate``, ``num_samples``, ``num_particles``,
                  ``batch_size`` (patterns), ``random_state``, ``show_progress``.

        Returns:
            A fit; ``diagnostics.sampling`` has the worst R-hat, the smallest effective number of
            draws, exchanged labels and divergences, ``diagnostics.elbo`` the bound of SVI. What is
            doubtful is warned of (SamplingWarning, WeakIdentificationWarning) and kept as a note.

        Raises:
            QueryError: an unknown method or option, or a number out of range.
            DataError: the data do not fit, or weights are no whole numbers (gibbs).
            RefinementError: the density or a draw is not finite.
        """
        from pyromix.refinement import refine

        return refine(self, data, method, **options)

    def bootstrap(self, data: Any = None, n: int = 200, **options: Any) -> MixtureFit:
        """Return this fit with n replicates on reweighted tables as its draws.

        All replicates are one batched EM from this estimate, under its prior; their sources are
        matched to this fit's, and a doubtful matching is said.

        Args:
            data: a table; the one of the fit when left out.
            n: number of replicates.
            **options: ``kind`` (``"multinomial"`` or ``"dirichlet"``), ``sample_weight`` (of
                ``data``), ``random_state``, ``max_iter``.

        Raises:
            QueryError: an option is unknown, or n is no positive integer.
            DataError: the fit holds no table, or the data do not fit.
        """
        from pyromix.refinement import bootstrap

        return bootstrap(self, data, n, **options)

    def to_pgmpy(self) -> DiscreteBayesianNetwork:
        """Return a pgmpy network with the source as latent vertex, every CPD and state name."""
        from pyromix.bridges.pgmpy import to_pgmpy

        return to_pgmpy(self.mixture)

    def to_pyro(self, **options: Any) -> PyroProgram:
        """Return a Pyro program: one site per vertex plus the source (see ``bridges.pyro``)."""
        from pyromix.bridges.pyro import to_pyro

        return to_pyro(self.mixture, **options)

    def save(self, path: str | PathLike[str], *, include_data: bool = True) -> None:
        """Write the fit as a ``.pyromix`` bundle; ``px.load`` reads it back.

        Args:
            path: where; must end in ``.pyromix``.
            include_data: keep the distinct rows and weights it was fitted to.

        Raises:
            FileError: another ending, or the path cannot be written to.
        """
        from pyromix.fit_bundle import save

        save(self, path, include_data=include_data)

    def init_loc_fn(self) -> Callable[[Mapping[str, Any]], Tensor]:
        """Return an ``init_loc_fn`` for Pyro's autoguides and MCMC, at this estimate.

        It sets the sites ``theta[NAME]`` of ``to_pyro(prior=...)``.
        """
        from pyromix.bridges.pyro import init_loc_fn

        return init_loc_fn(self.mixture)

    def __str__(self) -> str:
        """Three lines: size, fit, sources."""
        return in_lines(self)

    def summary(self) -> dict[str, Any]:
        """The same as plain numbers and texts, ready for JSON."""
        return in_numbers(self)
