"""What all sections of a report look at, worked out once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pyromix.answers.bounds import Bounds
from pyromix.answers.heard import hear
from pyromix.criticism.candidates import Selection
from pyromix.criticism.checking import IdentifiabilityReport, report_on
from pyromix.criticism.discrepancy import PredictiveCheck
from pyromix.criticism.graph.result import GraphCheck
from pyromix.criticism.prediction import predictive_check
from pyromix.criticism.sensitivity import sensitivity
from pyromix.criticism.variations import Sensitivity
from pyromix.errors import QueryError
from pyromix.fitting.record import Fit
from pyromix.identify.stage import MomentStage
from pyromix.identify.verdict import Findings
from pyromix.model.query import settings
from pyromix.report.advice import PYTHON, Advice
from pyromix.report.facts.bounds import find_bounds
from pyromix.report.facts.effects import Effects, find_effects
from pyromix.report.facts.moments import find_stage
from pyromix.report.facts.question import Question


@dataclass(frozen=True, eq=False)
class Subject:
    """A fit, the question put to it, and everything that was worked out about both.

    Attributes:
        fit: who is reported on; a fit that had no moment stage has that of its table here.
        question: the effect, where there is one.
        identified: the verdict on the effect, or on P(U, V), and its reasons.
        stage: what moments show; None where there are none to look at.
        effects: of the question.
        bounds: of an effect that data do not determine; else, or where they cannot be had, why
            there are none.
        selection: over k, if one was handed in.
        sensitivity: of P(outcome | do(treatment)) in both arms, if wanted.
        check: of the predictions, where there is a table.
        advice: how to go on, at the door the report was asked at.
        graph: the table on the edges of the graph, if one was handed in.
        notes: why something is missing, and warnings on the way.
    """

    fit: Fit
    question: Question | None
    identified: IdentifiabilityReport
    stage: MomentStage | None
    effects: Effects | None
    bounds: Bounds | str
    selection: Selection | None
    sensitivity: Sensitivity | None
    check: PredictiveCheck | None
    advice: Advice = PYTHON
    graph: GraphCheck | None = None
    notes: tuple[str, ...] = ()


def look_at(
    fit: Fit,
    question: Question | None,
    selection: Selection | None,
    graph: GraphCheck | None = None,
    *,
    vary: bool,
    advice: Advice = PYTHON,
    cut_from: Mapping[str, Any] | None = None,
) -> Subject:
    """Work out what the sections of a report tell.

    Args:
        fit: who is reported on.
        question: the effect, where there is one.
        selection: over k.
        graph: of its edges.
        vary: whether the fit is varied.
        advice: of the door.
        cut_from: the table of numbers that columns were cut in, and how it was read: arguments of
            ``sensitivity``.
    """
    try:
        stage = find_stage(fit)
    except QueryError:
        stage = None
    else:
        fit = replace(fit, moments=stage)
    varied, no_table = None, fit.table is None
    if question is not None and vary and not no_table:
        # Both arms of the effect are two scenarios of one question.
        arms = {question.treatment: list(question.contrast)}
        varied = sensitivity(fit, question.outcome, arms, **(cut_from or {}))
    effects = None if question is None else find_effects(fit, question)
    identified = report_on(
        fit.spec,
        outcome=None if question is None else question.outcome,
        treatment=None if question is None else question.treatment,
        findings=_heard(fit, question, stage),
    )
    if fit.graph_was_found:
        identified = replace(identified, found=identified.found.of_found_graph)
    return Subject(
        fit=fit,
        question=question,
        identified=identified,
        stage=stage,
        effects=effects,
        bounds="there is no effect" if effects is None else find_bounds(fit, effects),
        selection=selection,
        graph=graph,
        sensitivity=varied,
        check=None if no_table else predictive_check(fit),
        advice=advice,
    )


def _heard(fit: Fit, question: Question | None, stage: MomentStage | None) -> Findings:
    """What the table shows of the question, or of the sources as such."""
    if question is None:
        return Findings(signal=fit.signal, stage=stage)
    asked = settings(fit.spec, question.outcome, question.treatment)
    return hear(fit, asked, None).verdict.findings or Findings(stage=stage)
