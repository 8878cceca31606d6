"""The door to reports on fits with numbers: ``MixedFit.report``."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

from pyromix.answers.mixed import ask
from pyromix.answers.mixed.certainty import verdict_of
from pyromix.answers.mixed.question import Question
from pyromix.answers.mixed.two_step import TwoStep
from pyromix.criticism.candidates import Selection
from pyromix.criticism.graph.result import GraphCheck
from pyromix.criticism.mixed_prediction import predictive_check
from pyromix.errors import PyromixError, PyromixWarning, QueryError
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.identify.verdict import Findings, Verdict, judge
from pyromix.model.arguments import flag, path_of, shown
from pyromix.model.only_states import A_FIT_OF_STATES, without
from pyromix.report.document import Report, check_ending
from pyromix.report.mixed.letter import MixedSubject, write_mixed_letter
from pyromix.report.mixed.question import MixedQuestion, find_mixed_question
from pyromix.report.mixed.sections import SECTIONS, graph_section, two_step_section
from pyromix.report.numbers import count


@without(
    sensitivity=f"px.select_n_sources asks under every k; for views and optima {A_FIT_OF_STATES}",
    data="no column was cut, so there are no cut points to vary",
    sample_weight="it belongs to data=, which is for columns that were cut",
    missing_values="it belongs to data=, which is for columns that were cut",
    advice="the command line has none to give",
)
def make_mixed_report(
    fit: MixedRecord,
    path: str | PathLike[str] | None = None,
    *,
    treatment: str | None = None,
    outcome: str | None = None,
    contrast: Sequence[Any] | None = None,
    outcome_state: Any = ...,
    selection: Selection | None = None,
    graph: GraphCheck | None = None,
    two_step: TwoStep | None = None,
    show: bool | None = None,
) -> Report:
    """Report on this fit: the answer as a letter, then everything it rests on.

    Args:
        fit: who is reported on.
        path: a file ending in ``.html``, one page that needs nothing else, in ``.md`` or ``.txt``.
        treatment: by default the model's one exposure; without any there is no effect.
        outcome: by default the model's one outcome.
        contrast: ``(from, to)``; of a number by default the quarters that the fit puts it in, of
            states the first and the last.
        outcome_state: as in ``effect``.
        selection: of ``px.select_n_sources``, for the table over k.
        graph: of ``fit.graph_check``, for a section on the edges that the table asks for.
        two_step: of ``fit.two_step``, to stand beside the effect.
        show: whether the text is printed; by default where no path is given.

    Raises:
        QueryError: a name, number, state or option is unknown.
        FileError: the ending is another one, or the path cannot be written to.
    """
    if path is not None:
        check_ending(path_of(path))  # before the work
    if show is not None:
        flag("show", show)
    if selection is not None and not isinstance(selection, Selection):
        raise QueryError(
            f"selection must be what px.select_n_sources returns, found {shown(selection)}"
        )
    if graph is not None and not isinstance(graph, GraphCheck):
        raise QueryError(f"graph must be what fit.graph_check returns, found {shown(graph)}")
    if two_step is not None and not isinstance(two_step, TwoStep):
        raise QueryError(f"two_step must be what fit.two_step returns, found {shown(two_step)}")
    question = find_mixed_question(fit, treatment, outcome, contrast, outcome_state)
    with warnings.catch_warnings(record=True) as caught:
        # A warning in the middle of a report is read by nobody: it becomes a sentence of it.
        warnings.simplefilter("always", PyromixWarning)
        subject = _look_at(fit, question)
    said = [str(w.message) for w in caught if issubclass(w.category, PyromixWarning)]
    notes = tuple(dict.fromkeys(said))
    subject = replace(subject, selection=selection, graph=graph, two_step=two_step, notes=notes)
    title, letter = _title(fit, question), write_mixed_letter(subject)
    wanted = {graph_section: graph, two_step_section: two_step}
    told = [section for section in SECTIONS if wanted.get(section, True) is not None]
    sections = tuple(section(subject) for section in told)
    report = Report(
        title, _about(fit), letter, sections, fit, question, subject.effect, subject.check
    )
    if path is not None:
        report.save(path)
    if path is None if show is None else show:
        sys.stdout.write(f"{report}\n")
    return report


def _look_at(fit: MixedRecord, question: MixedQuestion | None) -> MixedSubject:
    check = None if fit.table is None else predictive_check(fit)
    if question is None:
        return MixedSubject(fit, None, _verdict(fit), None, "", check)
    asked = [
        Question.from_names(fit.spec, question.outcome, {question.treatment: at})
        for at in question.contrast
    ]
    effect, failed = None, ""
    options = {} if question.outcome_state is ... else {"outcome_state": question.outcome_state}
    try:
        effect = ask.effect_of(
            fit,
            question.treatment,
            question.outcome,
            contrast=question.contrast,
            require="none",
            **options,
        )
    except PyromixError as error:
        failed = str(error)
    return MixedSubject(fit, question, verdict_of(fit, asked), effect, failed, check)


def _verdict(fit: MixedRecord) -> Verdict:
    """On all of P(U, V)."""
    verdict = judge(fit.spec.binned)
    if not verdict.leans_on_source:
        return verdict
    return verdict.hearing(Findings(signal=fit.binned.signal, stage=fit.binned.moments))


def _title(fit: MixedRecord, question: MixedQuestion | None) -> str:
    if question is not None:
        return f"Effect of {question.treatment} on {question.outcome}"
    if fit.spec.n_sources == 1:
        return f"A network of {fit.spec.n_variables} variables"
    return f"{fit.spec.n_sources} hidden groups in {fit.spec.n_variables} variables"


def _about(fit: MixedRecord) -> str:
    spec = fit.spec
    hidden = f", {spec.n_sources} states of the hidden {spec.source}" * (spec.n_sources > 1)
    return (
        f"pyromix report: {spec.n_variables} variables, {len(spec.numeric)} of them numbers"
        f"{hidden}, {count(fit.n_rows)} rows"
    )
