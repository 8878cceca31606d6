"""What an answer leans on, in plain words: certainty, k, the graph, the table."""

from __future__ import annotations

from pyromix.criticism.candidates import WHAT_HOLDS, Selection
from pyromix.criticism.variations import N_SOURCES, VIEW, Variation
from pyromix.model.query import Certainty
from pyromix.report.facts.effects import told_state
from pyromix.report.numbers import braces, count, points
from pyromix.report.subject import Subject

EDGES = 6
"""Edges that are named, where there are no more."""

PROMISED = {
    Certainty.GRAPHICAL: "the graph is enough: for almost all values of its probabilities no other "
    "{source} of {k} states gives the same table",
    Certainty.LOCAL: "no answer near this one fits the table as well; a second one, far from it, "
    "might",
    Certainty.DISCOVERED: "the graph was searched for in the same table, and others with the same "
    "laws may answer otherwise",
    Certainty.BY_SHAPE: "only the shapes assumed of the numbers tell {source} apart; other shapes "
    "give other answers",
    Certainty.WEAK: "the graph would be enough, but this table hardly shows {source}; the doubts "
    "say what is missing",
    Certainty.NONE: "none: other mixtures fit the table exactly as well, and answer otherwise",
}
"""What each level of certainty means for the reader."""

UNKNOWN = "nobody knows whether this table determines the answer"
"""What any other level means."""


def what_it_leans_on(subject: Subject) -> tuple[tuple[str, str], ...]:
    """Pairs of a label and a sentence."""
    lines = (
        ("Certainty", _certainty(subject)),
        ("How many states", _k(subject)),
        ("The graph", _graph(subject)),
        ("The table", _table(subject)),
    )
    return tuple((label, f"{said[0].upper()}{said[1:]}.") for label, said in lines)


def _certainty(subject: Subject) -> str:
    spec, verdict = subject.fit.spec, subject.identified.found
    if spec.n_sources == 1:
        return "nothing hidden is assumed, so the table shows all there is"
    said = PROMISED.get(verdict.level, UNKNOWN).format(source=spec.source, k=spec.n_sources)
    return said if verdict.level is Certainty.NONE else f"{verdict.level.value}; {said}"


def _k(subject: Subject) -> str:
    k, source = subject.fit.spec.n_sources, subject.fit.spec.source
    said = (
        f"{source}, which nobody measured, is taken to have {k} states"
        if k > 1
        else "nothing unmeasured links the variables beyond the graph: k = 1"
    )
    said += f"; {how_chosen(subject.selection)}"
    if (varied := subject.sensitivity) is not None:
        others = [_under(subject, v) for v in varied.variations if v.kind == N_SOURCES]
        said += "".join(f"; {other}" for other in others)
    return said


def how_chosen(found: Selection | None) -> str:
    """Whether the number of sources was found, and by what; a clause."""
    if found is None:
        return "that number was given, not found"
    if found.agree:
        return f"rank tests, BIC and held-out likelihood agree on {found.best}"
    choices = ", ".join(
        f"{name.replace('_', '-')} {found.choices[name]}"
        for name in found.choices
        if name in (*WHAT_HOLDS, "icl")
    )
    return f"the criteria disagree ({choices})"


def _under(subject: Subject, v: Variation) -> str:
    """The effect under another k."""
    k = v.words.partition("=")[2]
    if v.found is None:
        return f"with {k} the effect is not determined"
    if not v.answer.certainty.at_least(Certainty.LOCAL):
        return f"with {k} the table is too weak to tell"
    s = _state(subject)
    one, other = (float(v.answer.values[arm, s]) for arm in (0, 1))
    return f"with {k} the effect would be {points(other - one)} points"


def _state(subject: Subject) -> int:
    effect = None if subject.effects is None else subject.effects.found
    return 1 if effect is None else told_state(effect)


def _graph(subject: Subject) -> str:
    spec = subject.fit.spec
    within = f"within each state of {spec.source} " if spec.n_sources > 1 else ""
    edges = [f"{spec.name(a)} -> {spec.name(b)}" for a, b in spec.graph().edges]
    drawn = f" ({', '.join(edges) or 'no edges'})" if len(edges) <= EDGES else ""
    said = f"{within}the variables follow the given graph{drawn}; one with more edges would do"
    if (varied := subject.sensitivity) is None:
        return said
    needed = [braces(v.dropped) for v in varied.variations if v.kind == VIEW and not v.identified]
    if needed:
        said += f"; without {' or without '.join(needed)} the effect would not be determined"
    return said


def _table(subject: Subject) -> str:
    fit, check = subject.fit, subject.check
    if fit.exact:
        return "exact probabilities of a population, no rows: nothing is left to chance"
    said = f"{count(fit.n_rows)} rows, taken to be independent of each other"
    if fit.table is None:
        return f"{said}; the fit was saved without them"
    report = fit.counts.report
    if report.n_dropped_rows:
        said += f"; {count(report.n_dropped_rows)} more were left out"
    if report.n_missing_cells:
        said += f"; {count(report.n_missing_cells)} cells are missing, at random given the others"
    if check is None or not (check.pairs or check.blocks):
        return said
    n = len(check.pairs)
    if check.fits:
        return f"{said}; the model reproduces how all {n} pairs of variables go together"
    bad, blocks = (
        sum(found.adjusted < check.level for found in family)
        for family in (check.pairs, check.blocks)
    )
    return (
        f"{said}; the model does NOT reproduce it: {bad} of {n} pairs of variables and {blocks} of "
        f"{len(check.blocks)} comparisons of blocks contradict it"
    )
