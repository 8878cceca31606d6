"""What all sections of a report look at, worked out once."""

from __future__ import annotations

from dataclasses import dataclass

from pyromix.criticism.checking import NOT, WEAK, IdentifiabilityReport, check
from pyromix.criticism.margins import PredictiveCheck
from pyromix.criticism.prediction import predictive_check
from pyromix.criticism.selection import Selection
from pyromix.criticism.sensitivity import Sensitivity, sensitivity
from pyromix.errors import QueryError
from pyromix.fitting.record import Fit
from pyromix.identify.stage import MomentStage
from pyromix.report.facts.effects import Effects, find_effects
from pyromix.report.facts.moments import find_stage
from pyromix.report.facts.question import Question


@dataclass(frozen=True, eq=False)
class Subject:
    """A fit, the question put to it, and everything that was worked out about both.

    Attributes:
        fit: who is reported on.
        question: the effect, where there is one.
        identified: the verdict of the graph on the effect, or on P(U, V).
        verdict: the same, ``"weak"`` where moments of the table do not show it.
        stages: what moments show; empty where there are none to look at.
        effects: of the question.
        selections: over k, if one was handed in.
        sensitivities: of P(outcome | do(treatment)) in both arms, if wanted.
        checks: of the predictions, where there is a table.
        notes: why something is missing, and warnings on the way.
    """

    fit: Fit
    question: tuple[Question, ...]
    identified: IdentifiabilityReport
    verdict: str
    stages: tuple[MomentStage, ...]
    effects: tuple[Effects, ...]
    selections: tuple[Selection, ...]
    sensitivities: tuple[Sensitivity, ...]
    checks: tuple[PredictiveCheck, ...]
    notes: tuple[str, ...] = ()


def look_at(
    fit: Fit,
    question: tuple[Question, ...],
    selection: Selection | None,
    *,
    sensitivity: bool,
) -> Subject:
    """Work out what the sections of a report tell.

    Args:
        fit: who is reported on.
        question: the effect, where there is one.
        selection: over k.
        sensitivity: whether the fit is varied.
    """
    treatment, outcome = next(((q.treatment, q.outcome) for q in question), (None, None))
    identified = check(fit.spec, treatment=treatment, outcome=outcome)
    try:
        stages = (find_stage(fit),)
    except QueryError:
        stages = ()
    verdict = identified.verdict
    if stages and not stages[0].ok and verdict != NOT and identified.plans:
        verdict = WEAK
    table = bool(fit.stored) and not fit.exact
    return Subject(
        fit=fit,
        question=question,
        identified=identified,
        verdict=verdict,
        stages=stages,
        effects=tuple(find_effects(fit, q) for q in question),
        selections=() if selection is None else (selection,),
        sensitivities=tuple(_varied(fit, q) for q in question if sensitivity and table),
        checks=(predictive_check(fit),) if table else (),
    )


def _varied(fit: Fit, question: Question) -> Sensitivity:
    """Both arms of the effect as two scenarios of one question."""
    return sensitivity(fit, question.outcome, {question.treatment: list(question.contrast)})
