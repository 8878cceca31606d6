"""What the moments of a fit's table show: the run of its own moment stage, or a later look."""

from __future__ import annotations

from pyromix.errors import QueryError
from pyromix.fitting.record import Fit
from pyromix.identify.stage import MomentStage, RunReport
from pyromix.identify.start import start_from_moments
from pyromix.model.note import sentences


def find_stage(fit: Fit) -> MomentStage:
    """The moment stage of a fit; for one that had none, or kept no spectrum, that of its table.

    Raises:
        QueryError: there is one source, no table to look at, or no three views of the source.
    """
    if fit.spec.n_sources == 1:
        raise QueryError("one source needs no views: there is no spectrum to look at; fit with k=2")
    if fit.moments is not None and _shows(fit.moments):
        return fit.moments
    if fit.table is None:
        raise QueryError(
            "this fit has neither a moment stage nor a table to take moments of; fit with "
            'method="auto", or save with the data'
        )
    stage = start_from_moments(fit.table).stage
    if not _shows(stage):
        why = "; ".join(sentences(stage.notes)) or stage.status.name
        raise QueryError(f"there is no spectrum to look at: {why}")
    return stage


def _shows(stage: MomentStage) -> bool:
    """Whether two views were compared."""
    return bool(stage.runs) and bool(stage.runs[0].singular_values) and len(stage.runs[0].views) > 1


def find_run(fit: Fit) -> RunReport:
    """The first run of ``find_stage``; raises as it does."""
    return find_stage(fit).runs[0]
