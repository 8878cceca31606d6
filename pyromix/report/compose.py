"""The door to reports: ``MixtureFit.report``."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

from pyromix.criticism.candidates import Selection
from pyromix.criticism.graph.result import GraphCheck
from pyromix.errors import PyromixWarning, QueryError
from pyromix.fitting.record import Fit
from pyromix.model.arguments import flag, path_of, shown
from pyromix.report.advice import PYTHON, Advice
from pyromix.report.document import Report, check_ending
from pyromix.report.facts.question import find_question
from pyromix.report.letter.write import write_letter
from pyromix.report.numbers import count
from pyromix.report.sections.answers import effect_section, sensitivity_section
from pyromix.report.sections.fitting import data_section, k_section, starts_section
from pyromix.report.sections.glossary import glossary_section
from pyromix.report.sections.graph import graph_section
from pyromix.report.sections.identification import plan_section, signal_section
from pyromix.report.sections.record import predictive_section, reproducibility_section
from pyromix.report.sections.sources import sources_section
from pyromix.report.sections.verdict import verdict_section
from pyromix.report.subject import Subject, look_at

SECTIONS = (
    verdict_section,
    plan_section,
    signal_section,
    data_section,
    k_section,
    starts_section,
    sources_section,
    effect_section,
    sensitivity_section,
    graph_section,
    predictive_section,
    reproducibility_section,
    glossary_section,
)


def make_report(
    fit: Fit,
    path: str | PathLike[str] | None = None,
    *,
    treatment: str | None = None,
    outcome: str | None = None,
    contrast: Sequence[Hashable] | None = None,
    outcome_state: Any = ...,
    selection: Selection | None = None,
    graph: GraphCheck | None = None,
    sensitivity: bool = True,
    data: Any = None,
    sample_weight: Any = None,
    missing_values: Any = None,
    show: bool | None = None,
    advice: Advice = PYTHON,
) -> Report:
    """Report on this fit: the answer as a letter, then everything it rests on.

    Args:
        fit: who is reported on.
        path: a file ending in ``.html``, one page that needs nothing else, in ``.md`` or ``.txt``.
        treatment: by default the model's one exposure; without any there is no effect.
        outcome: by default the model's one outcome.
        contrast: ``(from, to)`` states of the treatment; the first and the last when left out.
        outcome_state: as in ``effect``.
        selection: of ``px.select_n_sources``, for the table over k.
        graph: of ``fit.graph_check``, for a section on the edges that the table asks for.
        sensitivity: also fit what ``sensitivity`` varies, a few times the work of the fit.
        data: as in ``sensitivity``: the table that was fitted, with its numbers, where columns were
            cut into states; the effect is then told for other cut points, too.
        sample_weight: as in the fit.
        missing_values: as in the fit.
        show: whether the text is printed; by default where no path is given.
        advice: how to go on, in the words of the door that was used.

    Returns:
        The report: ``str(report)``, ``.to_html()``, ``.to_markdown()``, ``.save(path)``,
        ``.summary()``.

    Raises:
        QueryError: a name or state is unknown, or ``data`` comes without an effect to vary.
        DataError: ``data`` is another table, or holds states.
        FileError: another ending, or the path cannot be written to.
    """
    if path is not None:
        check_ending(path_of(path))  # before the work
    flag("sensitivity", sensitivity)
    if show is not None:
        flag("show", show)
    if selection is not None and not isinstance(selection, Selection):
        raise QueryError(
            f"selection must be what px.select_n_sources returns, found {shown(selection)}"
        )
    if graph is not None and not isinstance(graph, GraphCheck):
        raise QueryError(f"graph must be what fit.graph_check returns, found {shown(graph)}")
    question = find_question(fit, treatment, outcome, contrast, outcome_state)
    cut_from = {"data": data, "sample_weight": sample_weight, "missing_values": missing_values}
    if data is not None and (question is None or not sensitivity or fit.table is None):
        raise QueryError(
            "data is for the effect under other cut points, which needs a treatment, an outcome, "
            "sensitivity=True, and a fit that holds its table; leave data out"
        )
    with warnings.catch_warnings(record=True) as caught:
        # A warning in the middle of a report is read by nobody: it becomes a sentence of it.
        warnings.simplefilter("always", PyromixWarning)
        subject = look_at(
            fit, question, selection, graph, vary=sensitivity, advice=advice, cut_from=cut_from
        )
    said = [str(w.message) for w in caught if issubclass(w.category, PyromixWarning)]
    subject = replace(subject, notes=tuple(dict.fromkeys(said)))
    with warnings.catch_warnings():
        # Of the profile of sources: it describes, and answers nothing.
        warnings.simplefilter("ignore", PyromixWarning)
        letter = write_letter(subject).reworded(advice.words)
        asked = [section for section in SECTIONS if section is not graph_section or graph]
        sections = tuple(section(subject).reworded(advice.words) for section in asked)
    report = Report(
        _title(subject),
        _about(subject),
        letter,
        sections,
        subject.fit,
        question,
        subject.effects,
        subject.check,
    )
    if path is not None:
        report.save(path)
    if path is None if show is None else show:
        sys.stdout.write(f"{report}\n")
    return report


def _title(subject: Subject) -> str:
    if (question := subject.question) is not None:
        return f"Effect of {question.treatment} on {question.outcome}"
    spec = subject.fit.spec
    if spec.n_sources == 1:
        return f"A network of {spec.n_variables} variables"
    return f"{spec.n_sources} hidden groups in {spec.n_variables} variables"


def _about(subject: Subject) -> str:
    spec, fit = subject.fit.spec, subject.fit
    rows = "exact probabilities" if fit.exact else f"{count(fit.n_rows)} rows"
    hidden = f", {spec.n_sources} states of the hidden {spec.source}" * (spec.n_sources > 1)
    return f"pyromix report: {spec.n_variables} variables{hidden}, {rows}"
