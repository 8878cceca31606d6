"""How certain an answer of a fit with numbers is: what its table in bins shows of views of U."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyromix.answers.gate import admit
from pyromix.answers.mixed.question import Question, Setting
from pyromix.data.bins import edges_of
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.identify.verdict import Findings, Verdict, judge
from pyromix.model.mixed import MixedSpec
from pyromix.model.query import Certainty, DoQuery
from pyromix.model.spec import SOURCE


def verdict_of(fit: MixedRecord, questions: Sequence[Question]) -> Verdict:
    """Judge questions by the graph, by the rank of its stand-in, and by the views of the table.

    Args:
        fit: whose table in bins is heard.
        questions: one, or one per setting of a treatment.
    """
    asked = tuple(dict.fromkeys(_in_bins(fit.spec, question) for question in questions))
    verdict = judge(fit.spec.binned, asked)
    if not verdict.leans_on_source:
        return verdict
    return verdict.hearing(Findings(signal=fit.binned.signal, stage=fit.binned.moments))


def admitted(fit: MixedRecord, questions: Sequence[Question], require: str) -> Certainty:
    """How certain, or a refusal.

    Raises:
        QueryError: no such level.
        NotCertifiedError: the certainty falls short of it.
    """
    return admit(verdict_of(fit, questions), require)


def _in_bins(spec: MixedSpec, question: Question) -> DoQuery:
    """The same question of the graph whose numbers are cut into bins."""
    return DoQuery(
        outcomes=(question.outcome,),
        do=_settings(spec, question.do),
        evidence=_settings(spec, question.evidence),
    )


def _settings(spec: MixedSpec, settings: Mapping[int, Setting]) -> dict[int, int]:
    return {
        v: _bin(spec, v, value) if v != SOURCE and spec.kind(v).numeric else int(value)
        for v, value in settings.items()
    }


def _bin(spec: MixedSpec, vertex: int, value: float) -> int:
    """The bin that a number lies in; its states are the intervals."""
    return sum(value >= edge for edge in edges_of(spec.binned.states_of(vertex)))
