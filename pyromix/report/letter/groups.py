"""The answer of a report that was asked about no effect: what the hidden groups are."""

from __future__ import annotations

import math

from pyromix.model.query import Certainty
from pyromix.report.facts.profile import margins
from pyromix.report.numbers import count
from pyromix.report.parts import Headline
from pyromix.report.subject import Subject

SIZES = 6
"""Groups whose sizes are told first."""

FOUND = {
    Certainty.GRAPHICAL: "the table determines them",
    Certainty.LOCAL: "no groups near these fit the table as well",
    Certainty.DISCOVERED: "with a graph that was searched for in the same table",
    Certainty.BY_SHAPE: "but only the shapes assumed of the numbers tell them apart",
    Certainty.WEAK: "but the table hardly shows them",
    Certainty.NONE: "but other groups would fit the table exactly as well",
}

UNKNOWN = "nobody knows whether the table determines them"
"""What is said of any other level."""


def groups_sentence(subject: Subject) -> str:
    """How many groups, how large, what tells them apart, and whether to believe it."""
    fit, spec = subject.fit, subject.fit.spec
    rows = f"The {count(fit.n_rows)} rows" if math.isfinite(fit.n_rows) else "The population"
    many = rows.endswith("rows")
    if spec.n_sources == 1:
        be = "are" if many else "is"
        return f"{rows} {be} described by one network, without anything hidden."
    verb = "are" if many else "is"
    *first, last = (f"{w:.0%}" for w in fit.mixture.weights.tolist())
    sizes = f"{', '.join(first)} and {last}"
    if spec.n_sources > SIZES:
        sizes = f"{', '.join(first[:SIZES])} and so on"
    said = f"{rows} {verb} described as {spec.n_sources} hidden groups of {sizes}"
    most = margins(fit, 1)
    if most:
        v = most[0].vertex
        s = 1 if spec.card(v) == 2 else int(most[0].values.std(0).argmax())
        shares = most[0].values[:, s]
        said += (
            f", most apart in {spec.name(v)} = {spec.states_of(v)[s]} (from "
            f"{float(shares.min()):.0%} to {float(shares.max()):.0%})"
        )
    return f"{said}; {FOUND.get(subject.identified.found.level, UNKNOWN)}."


def group_headlines(subject: Subject) -> tuple[Headline, ...]:
    """Sizes of the groups."""
    spec, level = subject.fit.spec, subject.identified.found.level
    if spec.n_sources == 1:
        return ()
    shown = "pass" if level.at_least(Certainty.LOCAL) else "weak"
    shown = "fail" if level is Certainty.NONE else shown
    weights = subject.fit.mixture.weights.tolist()[:SIZES]
    return tuple(
        Headline(f"{spec.source} = {u}", f"{w:.0%}", "of the rows", shown)
        for u, w in zip(spec.source_states, weights, strict=False)
    )
