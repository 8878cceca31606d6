"""The letter of a report on a fit with numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pyromix.answers.gate import cure, figures
from pyromix.answers.mixed.effect import Change, MixedEffect
from pyromix.answers.mixed.spread import Spread
from pyromix.answers.mixed.two_step import TwoStep
from pyromix.answers.wording import only_shape
from pyromix.criticism.candidates import Selection
from pyromix.criticism.graph.result import GraphCheck
from pyromix.criticism.mixed_discrepancy import MixedPredictiveCheck
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.identify.verdict import NO_VIEW, Verdict
from pyromix.model.note import NoteKind, sentences
from pyromix.model.query import Certainty
from pyromix.posterior.draws import remarks
from pyromix.report.letter.groups import FOUND, UNKNOWN
from pyromix.report.letter.leaning import how_chosen
from pyromix.report.mixed.parameters import LAWS
from pyromix.report.mixed.question import MixedQuestion
from pyromix.report.numbers import count, points
from pyromix.report.parts import Drawing, Headline, Letter

CERTIFIED = {
    Certainty.GRAPHICAL: "certified by views: the arrows say which variables are independent given "
    "the source, the table cut into bins shows it; no shape of noise is leaned on",
    Certainty.LOCAL: "certified locally: with every number cut into bins, free tables in place of "
    "shapes, no answer near this one fits as well",
    Certainty.BY_SHAPE: "by shape only: the views do not determine it, and another shape of the "
    "noise would give another answer",
    Certainty.WEAK: "not certified: the graph would do, and this table does not show it",
    Certainty.NONE: "not certified: other answers fit the table exactly as well",
}


UNHIDDEN = "the law of what is observed answers it, whatever is hidden: no view, no shape of noise"
"""What is said where no source is leaned on."""


def certified(verdict: Verdict) -> str:
    """What certifies, by views or only by shape, in a sentence."""
    if verdict.ground in NO_VIEW:
        return UNHIDDEN
    return CERTIFIED.get(verdict.level, UNKNOWN)


@dataclass(frozen=True, eq=False)
class MixedSubject:
    """What a report is about, worked out once.

    Attributes:
        fit: who is reported on.
        question: the effect, where there is one.
        verdict: on the question, or on all sources.
        effect: of the question; None where asking failed.
        failed: why it did.
        check: the predictive check; None without a table.
        selection: over k, if one was handed in.
        graph: the table on the edges of the graph, if one was handed in.
        two_step: an effect that leans on no law of noise, if one was handed in.
        notes: what was warned of in between.
    """

    fit: MixedRecord
    question: MixedQuestion | None
    verdict: Verdict
    effect: MixedEffect | None
    failed: str
    check: MixedPredictiveCheck | None
    selection: Selection | None = None
    graph: GraphCheck | None = None
    two_step: TwoStep | None = None
    notes: tuple[str, ...] = ()

    @property
    def certain(self) -> bool:
        """Whether the answer is determined."""
        return self.verdict.level.at_least(Certainty.LOCAL)


def write_mixed_letter(subject: MixedSubject) -> Letter:
    """Say what was found to somebody who reads one page."""
    told = {"certainty": subject.verdict.level.value}
    helps = "" if subject.certain else cure(subject.verdict)
    if subject.effect is None:
        sentence, headlines = _groups(subject), ()
        drawing = Drawing("sources", "What the variables look like in each source.")
    else:
        sentence, headlines, numbers = _effect(subject, subject.effect)
        told |= numbers
        numeric = subject.fit.spec.kind(subject.effect.treatment).numeric
        caption = "The outcome along the treatment: set, with its band, and as it is seen."
        drawing = Drawing("dose_response", caption) if numeric and subject.certain else None
    told["sentence"] = sentence
    return Letter(sentence, headlines, _leaning(subject), _doubts(subject), helps, drawing, told)


def _effect(
    subject: MixedSubject, effect: MixedEffect
) -> tuple[str, tuple[Headline, ...], dict[str, Any]]:
    fit, question = subject.fit, subject.question
    assert question is not None
    cell, what, states = _cell(fit, effect)
    form = points if states else _number
    unit = " percentage points" if states else ""
    naive = float(effect.naive.values[cell])
    one, other = question.settings
    seen = Headline(f"seen: {other} against {one}", form(naive), f"{what}{unit}", "aside")
    numbers: dict[str, Any] = {"naive": _summary(effect.naive, effect.spread_naive, cell, effect)}
    if not subject.certain:
        sentence = (
            f"The table does not determine what going from {one} to {other} does to {what}; those "
            f"seen with the one and with the other differ by {form(naive)}{unit}."
        )
        fail = Headline(f"set: {one} to {other}", "not determined", what, "fail")
        return sentence, (fail, seen), numbers
    numbers["do"] = _summary(effect.do, effect.spread, cell, effect)
    made = float(effect.do.values[cell])
    low, high, said = numbers["do"]["low"], numbers["do"]["high"], ""
    if low is not None and high is not None:
        said = f" (95% interval {form(low)} to {form(high)})"
    sentence = (
        f"Setting {other} in place of {one} changes {what} by {form(made)}{unit}{said}; those seen "
        f"with the one and with the other differ by {form(naive)}{unit}."
    )
    level = "pass" if subject.verdict.level is Certainty.GRAPHICAL else "weak"
    head = Headline(f"set: {one} to {other}", form(made), f"{what}{unit}{said}", level)
    return sentence, (head, seen), numbers


def _cell(fit: MixedRecord, effect: MixedEffect) -> tuple[int, str, bool]:
    """Which number of the outcome is told, in words, and whether it is a probability."""
    name = fit.spec.name(effect.outcome)
    if fit.spec.kind(effect.outcome).numeric:
        return 0, f"the {effect.do.summary.words} of {name}", False
    cell = effect.do.headline
    if cell < 0:
        cell = int(np.abs(effect.do.values).argmax())
    return cell, f"P({name} = {fit.spec.binned.states_of(effect.outcome)[cell]})", True


def _summary(
    change: Change, spread: Spread | None, cell: int, effect: MixedEffect
) -> dict[str, float | None]:
    low: float | None = None
    high: float | None = None
    if spread is not None and not spread.refused:
        ends = spread.interval(effect.level)
        if np.isfinite([ends[0][cell], ends[1][cell]]).all():
            low, high = float(ends[0][cell]), float(ends[1][cell])
    return {"difference": float(change.values[cell]), "low": low, "high": high}


def _groups(subject: MixedSubject) -> str:
    fit = subject.fit
    if fit.spec.n_sources == 1:
        return f"The {count(fit.n_rows)} rows are described by one network, nothing hidden."
    sizes = ", ".join(f"{w:.0%}" for w in fit.mixture.weights.tolist())
    return (
        f"The {count(fit.n_rows)} rows are described as {fit.spec.n_sources} hidden groups of "
        f"{sizes}; {FOUND.get(subject.verdict.level, UNKNOWN)}."
    )


def _leaning(subject: MixedSubject) -> tuple[tuple[str, str], ...]:
    fit, spec = subject.fit, subject.fit.spec
    laws: dict[str, list[str]] = {}
    for v in spec.numeric:
        laws.setdefault(LAWS[spec.kind(v)], []).append(spec.name(v))
    shapes = "; ".join(f"{', '.join(names)}: {law}" for law, names in laws.items())
    edges = sum(map(len, spec.parents))
    return (
        ("Graph", f"{edges} arrows among {spec.n_variables} variables, drawn by who knows them"),
        (
            "Hidden",
            f"{spec.source} has {spec.n_sources} states and causes the rest as drawn; "
            f"{how_chosen(subject.selection)}",
        ),
        ("Certainty", certified(subject.verdict)),
        (
            "Shape",
            f"within each source {shapes}. The size of an effect leans on these lines; its "
            f"interval {_leans(fit)}",
        ),
        ("Rows", f"{count(fit.n_rows)}, taken to be alike and independent"),
    )


def _leans(fit: MixedRecord) -> str:
    """Whether intervals lean on the shape of the noise."""
    if fit.sampled is not None and fit.sampled.method == "gibbs":
        return "is from draws of the posterior, which lean on the shape of the noise, too"
    return "does not lean on the shape of the noise"


def _doubts(subject: MixedSubject) -> tuple[str, ...]:
    fit, level = subject.fit, subject.verdict.level
    found: list[str] = []
    if level is Certainty.BY_SHAPE:
        found.append(only_shape(fit.spec.binned))
    if level is Certainty.WEAK:
        found.append(f"the sources are weak: {'; '.join(figures(subject.verdict))}")
    if level is Certainty.NONE:
        found.append("the sources are not identified: other answers fit the table as well")
    if level is Certainty.LOCAL:
        found.append("a second answer, isolated from this one, might fit as well")
    if subject.failed:
        found.append(subject.failed)
    grave = (NoteKind.CONVERGENCE, NoteKind.STARTS, NoteKind.EMPTY)
    found += [note.sentence for note in fit.notes if note.kind in grave]
    if fit.sampled is not None and fit.sampled.sampling is not None:
        found += sentences(remarks(fit.sampled.sampling))
    if fit.n_best < 2 and len(fit.starts) > 1:
        found.append(f"the best optimum was reached by {fit.n_best} of {len(fit.starts)} starts")
    if subject.check is not None and not subject.check.fits:
        worst = subject.check.contradictions[0]
        found.append(f"the fit does not reproduce the table: {worst}")
    if (steps := subject.two_step) is not None and steps.laws_fail:
        found.append(
            f"an estimate that leans on no law of noise lies {abs(steps.distance):.1f} standard "
            "errors away"
        )
    found += subject.notes
    return tuple(dict.fromkeys(found))


def _number(value: float) -> str:
    return f"{value:+.4g}"
