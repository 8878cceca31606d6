"""What users hold: a fit with its verbs, and the doors that make one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from os import PathLike
from typing import TYPE_CHECKING, Any, overload

import torch

from pyromix.answers import ask, bounding, predict
from pyromix.answers import classification as sorting
from pyromix.answers import distal as outcomes
from pyromix.answers import profiles as portraits
from pyromix.answers import simulate as simulation
from pyromix.api_mixed import MixedFit
from pyromix.api_regression import RegressionFit
from pyromix.bridges import arviz, pgmpy
from pyromix.criticism import prediction
from pyromix.criticism import sensitivity as variation
from pyromix.criticism.graph import asking as graph
from pyromix.data.weights import COUNTS
from pyromix.estimate.pooled_prior import POOLED
from pyromix.fitting import bundle, description, engine
from pyromix.fitting import refine as refinement
from pyromix.fitting.inputs import without_edges
from pyromix.fitting.mixed import bundle as mixed_bundle
from pyromix.fitting.mixed.doors import numbers_in, refuse_options
from pyromix.fitting.mixed.engine import fit_mixed
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.fitting.record import Fit
from pyromix.fitting.regression import Regression, regress
from pyromix.identify.certificate import Certificate
from pyromix.identify.certify import certify
from pyromix.identify.identifiers import Identifier
from pyromix.model.printed import as_html, as_text
from pyromix.model.prior import Prior
from pyromix.model.randomness import RandomState
from pyromix.report import compose, plotting

if TYPE_CHECKING:
    from xarray import DataTree

    from pyromix.bridges.pyro import PyroProgram
    from pyromix.bridges.pyro_start import ProgramStart


@dataclass(frozen=True, eq=False)
class MixtureFit(Fit):
    """A fitted mixture of Bayesian networks; answers carry how certain they are.

    Attributes:
        mixture: the estimate, without batch axes; sources by decreasing weight.
        n_rows: number of rows it was fitted to: the sum of weights that are counts, the effective
            number of sampling weights (``DataReport.row_weight``); infinite for a Population.
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

    @staticmethod
    def of(record: Fit) -> MixtureFit:
        """Give a record its verbs; one that has them stays as it is."""
        if isinstance(record, MixtureFit):
            return record
        return MixtureFit(**{f.name: getattr(record, f.name) for f in fields(record)})

    query = ask.query
    effect = ask.effect
    bounds = bounding.bounds
    predict_proba = predict.predict_proba
    score = predict.score
    simulate = simulation.simulate
    profiles = portraits.profiles
    classification = sorting.classification
    membership = sorting.membership
    distal = outcomes.distal

    predictive_check = prediction.predictive_check
    sensitivity = variation.sensitivity
    graph_check = graph.check_fit

    plot = plotting.plot
    report = compose.make_report

    refine = refinement.refine
    bootstrap = refinement.bootstrap

    save = bundle.save
    to_pgmpy = pgmpy.to_pgmpy

    summary = description.in_numbers

    _printed = description.printed
    __str__ = __repr__ = as_text
    _repr_html_ = as_html

    def to_pyro(self, **options: Any) -> PyroProgram:
        """Return a Pyro program, one site per vertex plus the source; as ``px.to_pyro``."""
        from pyromix.bridges import pyro  # imports Pyro

        return pyro.to_pyro(self, **options)

    def init_loc_fn(
        self, for_model: Callable[..., Any] | None = None, *args: Any, **options: Any
    ) -> ProgramStart:
        """Return an ``init_loc_fn`` for Pyro's autoguides and MCMC, at this estimate.

        Args:
            for_model: a Pyro program of your own, run as ``for_model(*args)`` to see which of its
                Dirichlet and Beta sites holds which table, whatever their names and layout; the
                program of ``to_pyro(prior=...)`` when left out.
            *args: arguments of the program.
            **options: ``sites={"X": "x_site"}`` for vertices that the program calls otherwise and
                that its edges do not tell apart; the others are keyword arguments of the program.

        Returns:
            What Pyro calls; printed, it says which site got what and which none. Sites that got
            none are warned of (UnmatchedSitesWarning), and start where Pyro puts them.

        Raises:
            SpecError: no site of the program gets anything.
        """
        from pyromix.bridges import pyro_start  # imports Pyro

        if for_model is None:
            return pyro_start.init_loc_fn(self.mixture)
        return pyro_start.start_of(
            for_model, self.mixture, *args, row_masses=self.row_masses, **options
        )

    def to_arviz(self) -> DataTree:
        """Return the draws of this fit as today's ArviZ object, chains apart; extra ``arviz``.

        The group ``posterior`` has one variable ``theta[NAME]`` per table, with state names; its
        attributes say what drew them. Draws of the bootstrap and of SVI are one chain.

        Raises:
            QueryError: this is a point estimate, or ``arviz-base`` is not installed.
            SpecError: a name has a slash, or is ``"chain"`` or ``"draw"``.
        """
        draws = self.draws
        drawn = self.sampled
        report = None if drawn is None else drawn.sampling
        return arviz.to_arviz(
            draws,
            1 if report is None else report.n_chains,
            inference_library="pyromix",
            drawn_by="" if drawn is None else f"{drawn}",
        )

    @property
    def certificate(self) -> Certificate:
        """What this graph, these cardinalities and this k identify.

        Raises:
            SpecError: the model is too large for the dense certificate.
        """
        return certify(self.spec)


def fit(
    model: Any,
    data: Any,
    n_sources: int | None = None,
    *,
    method: str | Identifier = "auto",
    n_init: int | None = None,
    prior: str | Prior | None = POOLED,
    sample_weight: Any = None,
    weights_are: str = COUNTS,
    missing: str = "mar",
    missing_values: Any = None,
    state_names: Mapping[str, Sequence[Hashable]] | None = None,
    kinds: Mapping[str, str] | None = None,
    discretize: Mapping[str, Sequence[float] | str] | None = None,
    device: torch.device | str | None = None,
    random_state: RandomState = 0,
    show_progress: bool | None = None,
    max_iter: int = 2000,
    tol: float = 1e-9,
    checkpoint: str | PathLike[str] | None = None,
    memory_limit: int | float | str | None = None,
) -> MixtureFit | MixedFit:
    """Fit a mixture of Bayesian networks with an unobserved source to a table.

    Args:
        model: pgmpy DiscreteBayesianNetwork or DAG (one latent vertex is the source, and the
            vertices it does not point at are uninfluenced; without one, a source ``"U"`` that
            points at every vertex is added and said so), networkx DiGraph, path to a network
            file, or MixtureSpec; of a fit with numbers its ``spec``, kinds included.
        data: pandas or polars DataFrame, Arrow table, path to csv or parquet, Counts, Population;
            a relation of DuckDB, a table of Ibis, a glob or folder of Parquet or CSV files, which
            stay where they are (extra ``sql``; docs/scale.md);
            or an object of your own that answers moments (``MomentSource``) or hands out rows
            (``Rows``). With moments and no rows the fit stops after moments, and says so.
        n_sources: k; by default the cardinality of the model's latent vertex. Another number than
            that is taken, and the sources are then named 0..k-1.
        method: ``"auto"``, moments, then EM from there and from random starts; ``"moments"``,
            those alone; ``"markov-boundary"``, moments alone by the runs of [gordon23clear];
            ``"em"``, random starts alone; or one's own ``identify.identifiers.Identifier``, whose
            estimate EM goes on from as in ``"auto"``.
        n_init: number of random starts, each run to its end. By default 4 beside a start from
            moments that determine the mixture and 20 without one, and further ones, up to 200,
            until the best optimum has been reached by three starts or by the one from moments. On
            tables with more than 2,000 distinct rows they are raced by default: 40 for a few steps
            on 2,000 rows and the best 5 to the end, or 10 and 2 beside moments that determine it.
        prior: ``"pooled"``, pseudo-counts whose kind and strength held-out rows choose (see
            ``estimate.pooled_prior``); None for maximum likelihood; a number for that pseudo-count
            in every cell and on every source; or a mapping from names of vertices to numbers or
            tables.
        sample_weight: column name of ``data`` or one weight per row.
        weights_are: ``"counts"``, weights are numbers of rows; ``"sampling"``, they say how much
            each row speaks for, as survey weights do, and make Kish's effective number of rows,
            whatever their scale.
        missing: ``"mar"`` keeps rows with missing cells, ``"drop"`` drops and reports them,
            ``"error"`` refuses.
        missing_values: a value, or a list of values, that stand for a missing cell, such as
            ``["?", -9]``; or a mapping from columns to such. Blanks around texts are stripped, and
            a blank cell is missing anyway.
        state_names: states of variables in the order wanted; overrides those of the model.
        kinds: what columns of numbers are, by name: ``"real"``, ``"positive"``, ``"hurdle"`` (zeros
            and numbers above), ``"count"``, ``"student-t"`` (real with heavy tails), or
            ``"categorical"``. A column of numbers with fractions that nobody declared is real, or
            ``"student-t"`` where that fits far better, and that is said; whole numbers are states.
        discretize: columns of numbers to be cut into states, by name: edges such as ``[40, 60]``,
            which make the states ``"<40"``, ``"40-<60"`` and ``"60+"``, or ``"quantile:4"`` for
            four of about equally many rows. Numbers of other tables are read in the same way.
        device: where to compute; by default the CPU, or the device of given Counts.
        random_state: seed of the starts.
        show_progress: None shows a bar on a terminal only.
        max_iter: iteration limit of EM.
        tol: EM stops when an iteration gains less than this many nats per row.
        checkpoint: a file that keeps the climbs of EM that are done, and what held-out rows chose:
            called again with it after a stop (Ctrl-C, a crash), the work goes on, and ends at the
            same digits. Moments are taken anew.
        memory_limit: bytes, or a text such as ``"4GB"``, that the distinct rows of a relation may
            take; by default a quarter of the machine's. Where they need more, EM reads the rows as
            a stream, pass by pass, until less than a nat is left to gain.

    Returns:
        The fit with the best likelihood over the starts; sources by decreasing weight. Where a
        variable is a number, a ``MixedFit``: ``method`` is then ``"auto"``, ``prior`` ``"pooled"``
        or None (variances and lines keep theirs: the likelihood has no maximum without), and there
        is no ``checkpoint``.

    Raises:
        SpecError: the graph, the states, the kinds or k are unusable.
        DataError: the table does not fit the model, a weight is unusable, or ``weights_are`` is
            set without weights.
        FileError: a path cannot be read, or the checkpoint is damaged, or of another table, graph
            or option.
        QueryError: an option is unknown.
        PlanError, IdentificationError: ``"moments"`` or ``"markov-boundary"`` alone, and the graph
            has no plan for it, or moments do not determine the mixture.
        RefinementError: EM diverged.
    """
    numbers = {"kinds": kinds, "discretize": discretize}
    data, states, table = numbers_in(model, data, n_sources, numbers, state_names, missing_values)
    if table is not None:
        refuse_options(method=method, prior=prior, checkpoint=checkpoint)
        found = fit_mixed(
            table,
            n_sources,
            n_init=n_init,
            prior=prior is not None,
            sample_weight=sample_weight,
            weights_are=weights_are,
            missing=missing,
            state_names=states,
            device=device,
            random_state=random_state,
            show_progress=show_progress,
            max_iter=max_iter,
            tol=tol,
        )
        return MixedFit.of(found)
    return MixtureFit.of(
        engine.fit(
            model,
            data,
            n_sources,
            method=method,
            n_init=n_init,
            prior=prior,
            sample_weight=sample_weight,
            weights_are=weights_are,
            missing=missing,
            missing_values=missing_values,
            state_names=states,
            device=device,
            random_state=random_state,
            show_progress=show_progress,
            max_iter=max_iter,
            tol=tol,
            checkpoint=checkpoint,
            memory_limit=memory_limit,
        )
    )


@overload
def fit_product(
    data: Any, n_sources: int, *, covariates: None = None, **options: Any
) -> MixtureFit | MixedFit: ...


@overload
def fit_product(
    data: Any, n_sources: int, *, covariates: str | Sequence[str], **options: Any
) -> RegressionFit: ...


def fit_product(
    data: Any, n_sources: int, *, covariates: str | Sequence[str] | None = None, **options: Any
) -> MixtureFit | MixedFit | RegressionFit:
    """Fit a mixture of product distributions: a network without edges, k-MixProd.

    With covariates P(U | covariates) is a multinomial logit, fitted together with the items by EM
    (latent class regression): items depend on covariates through U alone.

    Args:
        data: as in ``fit``; every column is a variable, but for the column of weights, and those
            that are hardly meant as one: constant, empty, with about as many values as rows, or
            called like row numbers or counts. These are left out and said; ``state_names`` asks
            for them all the same.
        n_sources: k.
        covariates: columns that U depends on: numbers as they are, others (and numbers with
            ``state_names``) by their states, the first the reference. Rows without one are dropped
            and said.
        **options: as in ``fit``; the prior is none by default, as latent class analysis has it.
            With covariates ``n_init``, ``sample_weight``, ``weights_are``, ``missing``,
            ``missing_values``, ``state_names``, ``random_state``, ``show_progress``, ``max_iter``
            and ``tol`` alone.

    Returns:
        A ``MixtureFit``, with columns of numbers a ``MixedFit`` (a Gaussian mixture with diagonal
        covariances, where all are); with covariates a ``RegressionFit``.

    Raises:
        SpecError: k is unusable.
        DataError: the table or a weight is unusable.
        QueryError: covariates are none, or there is a prior beside them.
    """
    if covariates is not None:
        return RegressionFit.of(regress(data, n_sources, covariates, **options))
    given = [options.get(name) for name in ("sample_weight", "state_names", "missing_values")]
    numbers = {**(options.get("kinds") or {}), **(options.get("discretize") or {})}
    structure, table = without_edges(data, *given, numbers=numbers)
    options.setdefault("prior", None)
    return fit(structure, table, n_sources, **options)


def load(path: str | PathLike[str]) -> MixtureFit | MixedFit | RegressionFit:
    """Read a fit that ``save`` wrote.

    Returns:
        A ``MixtureFit``; a ``MixedFit`` of numbers, a ``RegressionFit`` with covariates.

    Raises:
        FileError: the path is missing or damaged, or holds a mixture without a fit.
    """
    if isinstance(found := mixed_bundle.load(path), MixedRecord):
        return MixedFit.of(found)
    return RegressionFit.of(found) if isinstance(found, Regression) else MixtureFit.of(found)
