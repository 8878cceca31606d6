"""What users hold of a table with columns of numbers: a fit with its verbs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NoReturn

from pyromix.answers.mixed import ask, predict
from pyromix.answers.mixed import classification as sorting
from pyromix.answers.mixed import simulate as simulation
from pyromix.answers.mixed import two_step as steps
from pyromix.bridges import arviz_mixed, pgmpy
from pyromix.criticism import mixed_prediction
from pyromix.criticism.graph import numbers
from pyromix.errors import StatesOnlyError
from pyromix.fitting.mixed import bootstrap as replicates
from pyromix.fitting.mixed import bundle, description
from pyromix.fitting.mixed import refine as refinement
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.identify.certificate import Certificate
from pyromix.identify.certify import certify
from pyromix.model.only_states import A_FIT_OF_STATES, without
from pyromix.model.printed import as_html, as_text
from pyromix.report.mixed import compose, plotting

if TYPE_CHECKING:
    from xarray import DataTree

    from pyromix.bridges.pyro_mixed import MixedProgram

STARTS = "fit.starts and fit.n_best tell where the starts ended, fit.converged and fit.n_iter how"
IN_BINS = "fit.binned is the fit to the same table in bins, and has one"

ABSENT = {
    "bounds": A_FIT_OF_STATES,
    "sensitivity": "px.select_n_sources(model, data) with pyromix select --effect asks under every "
    f"k; for views, optima and cut points {A_FIT_OF_STATES}",
    "profiles": 'fit.plot("sources") and fit.report() tell what each source looks like; '
    f"{A_FIT_OF_STATES}",
    "distal": "draw the outcome as a variable of the model, and ask fit.query with U in the "
    f"evidence; {A_FIT_OF_STATES}",
    "init_loc_fn": f"fit.to_pyro() is a program with the estimates as constants; {A_FIT_OF_STATES}",
    "counts": "fit.records are the rows, numbers in units of their own",
    "row_masses": IN_BINS,
    "reached": IN_BINS,
    "reached_mass": IN_BINS,
    "moments": IN_BINS,
    "log_likelihood_moments": IN_BINS,
    "signal": IN_BINS,
    "heard": IN_BINS,
    "implicit_information": "fit.information is the covariance of the free coordinates",
    "summed": "fit.information is the covariance of the free coordinates",
    "chosen_prior": "fit.prior is what every source is taken to have seen before",
    "climb": STARTS,
    "ends": STARTS,
    "course": f"{STARTS}; fit.said has what the stages had to say",
    "diagnostics": "fit.summary() has the figures, fit.said what the stages had to say; "
    "fit.binned.diagnostics is of the table in bins",
}
"""What fits of states have and this one has not, and what to do instead."""


@dataclass(frozen=True, eq=False)
class MixedFit(MixedRecord):
    """A mixture fitted to a table with columns of numbers; answers carry how certain they are.

    Attributes:
        mixture: the estimate, numbers in units of its own; sources by decreasing weight.
        prior: what every source is taken to have seen before.
        log_likelihood: sum over rows (by weight) of the log-density in the units of the table, in
            nats.
        n_rows: number of rows, by weight.
        entropy: entropy of P(U | row), summed over rows, in nats.
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

    @staticmethod
    def of(record: MixedRecord) -> MixedFit:
        """Give a record its verbs."""
        return MixedFit(**{f.name: getattr(record, f.name) for f in fields(record)})

    query = ask.query
    effect = ask.effect_of
    dose_response = ask.dose_response
    two_step = steps.two_step

    predict_proba = predict.predict_proba
    score = predict.score
    classification = sorting.classification
    membership = sorting.membership
    simulate = simulation.simulate
    refine = refinement.refine
    bootstrap = replicates.bootstrap

    predictive_check = mixed_prediction.predictive_check
    graph_check = numbers.check_numbers

    plot = plotting.plot
    report = compose.make_mixed_report

    save = bundle.save
    to_pgmpy = pgmpy.to_pgmpy

    @without(prior="laws of numbers are no tables; the program has the estimates as constants")
    def to_pyro(self) -> MixedProgram:
        """Return a Pyro program, sites of numbers in the units of the table; as ``px.to_pyro``."""
        from pyromix.bridges import pyro_mixed  # imports Pyro

        return pyro_mixed.mixed_program(self.mixture)

    def to_arviz(self) -> DataTree:
        """Return the draws of this fit as today's ArviZ object, chains apart; extra ``arviz``.

        The group ``posterior`` has ``theta[NAME]`` per table, ``line[NAME]`` and ``sd[NAME]`` per
        line, in the units of the table; its attributes say what drew them. Replicates of the
        bootstrap are one chain.

        Raises:
            QueryError: this is a point estimate, or ``arviz-base`` is not installed.
            SpecError: a name has a slash, or is ``"chain"`` or ``"draw"``.
        """
        points, drawn = self.draws, self.sampled
        report = None if drawn is None else drawn.sampling
        n_chains = 1 if report is None else report.n_chains
        told = {"inference_library": "pyromix", "drawn_by": f"{drawn}"}
        return arviz_mixed.mixed_to_arviz(self.mixture, points, n_chains, **told)

    @property
    def certificate(self) -> Certificate:
        """What this graph and this k identify, each number a variable of k + 1 free states.

        Raises:
            SpecError: the model is too large for the dense certificate.
        """
        return certify(self.spec.binned)

    def __getattr__(self, name: str) -> NoReturn:
        """Say what to do instead of what only fits of states have.

        Raises:
            StatesOnlyError: they have it.
            AttributeError: nobody has.
        """
        if name in ABSENT:
            raise StatesOnlyError(
                f"{name!r} is of fits of states, and this one has numbers; {ABSENT[name]}"
            )
        raise AttributeError(f"a MixedFit has no attribute {name!r}")

    summary = description.in_numbers

    _printed = description.printed
    __str__ = __repr__ = as_text
    _repr_html_ = as_html
