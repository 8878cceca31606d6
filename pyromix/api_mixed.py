"""What users hold of a table with columns of numbers: a fit with its verbs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from pyromix.answers.mixed import ask, predict
from pyromix.answers.mixed import simulate as simulation
from pyromix.bridges import pgmpy
from pyromix.criticism import mixed_prediction
from pyromix.criticism.graph import numbers
from pyromix.fitting.mixed import bootstrap as replicates
from pyromix.fitting.mixed import bundle, description
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.model.printed import as_html, as_text
from pyromix.report.mixed import compose, plotting

if TYPE_CHECKING:
    from pyromix.bridges.pyro_mixed import MixedProgram


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
        sampled: free coordinates of draws around the estimate; None for a point estimate.
    """

    @staticmethod
    def of(record: MixedRecord) -> MixedFit:
        """Give a record its verbs."""
        return MixedFit(**{f.name: getattr(record, f.name) for f in fields(record)})

    query = ask.query
    effect = ask.effect_of
    dose_response = ask.dose_response

    predict_proba = predict.predict_proba
    score = predict.score
    simulate = simulation.simulate
    bootstrap = replicates.bootstrap

    predictive_check = mixed_prediction.predictive_check
    graph_check = numbers.check_numbers

    plot = plotting.plot
    report = compose.make_mixed_report

    save = bundle.save
    to_pgmpy = pgmpy.to_pgmpy

    def to_pyro(self) -> MixedProgram:
        """Return a Pyro program, sites of numbers in the units of the table; as ``px.to_pyro``."""
        from pyromix.bridges import pyro_mixed  # imports Pyro

        return pyro_mixed.mixed_program(self.mixture)

    summary = description.in_numbers

    _printed = description.printed
    __str__ = __repr__ = as_text
    _repr_html_ = as_html
