"""The verdict in figures: identifiability, fit, effect and check, a line each."""

from __future__ import annotations

import math

from pyromix.criticism.discrepancy import PredictiveCheck
from pyromix.errors import NotCertifiedError
from pyromix.fitting.description import starts_in_words
from pyromix.model.query import Certainty
from pyromix.report.facts.doubts import find_doubts, first_run
from pyromix.report.facts.effects import Effects, interval_source, told_state
from pyromix.report.numbers import between, braces, count, finite, ordinal, signed, small
from pyromix.report.parts import Badged, Section
from pyromix.report.subject import Subject

BADGES = {
    Certainty.GRAPHICAL: ("PASS", "pass"),
    Certainty.LOCAL: ("PASS, locally", "pass"),
    Certainty.DISCOVERED: ("DISCOVERED", "weak"),
    Certainty.BY_SHAPE: ("BY SHAPE", "weak"),
    Certainty.WEAK: ("WEAK", "weak"),
    Certainty.UNCHECKED: ("NOT CHECKED", "weak"),
    Certainty.NONE: ("FAIL", "fail"),
}
"""How each level of certainty is headed, and shown on the page."""


def verdict_section(subject: Subject) -> Section:
    """Identifiability, fit, effect and check."""
    fit, climb = subject.fit, subject.fit.climb
    facts: list[tuple[str, str | Badged]] = [
        ("Identifiability", _identifiability(subject)),
        (
            "Fit",
            f"k = {fit.spec.n_sources}, logL/row {fit.log_likelihood_per_row:.4f}, best of "
            f"{starts_in_words(fit)} reached by {climb.n_best}, entropy R2 "
            f"{fit.entropy_r2:.2f}",
        ),
    ]
    if (asked := subject.effects) is not None:
        of = asked.question
        facts.append((f"Effect {of.treatment} -> {of.outcome}", _effect(subject, asked)))
    if subject.check is not None:
        facts.append(("Model check", _check(subject.check)))
    return Section(
        "verdict",
        "Verdict in figures",
        f"{subject.identified.asked} is {subject.identified.verdict}.",
        facts=tuple(facts),
        numbers={
            "verdict": subject.identified.verdict,
            "asked": subject.identified.asked,
            "reasons": list(subject.identified.reasons),
            "log_likelihood_per_row": finite(fit.log_likelihood_per_row),
            "entropy_r2": finite(fit.entropy_r2),
            "doubts": find_doubts(subject),
        },
    )


def _identifiability(subject: Subject) -> Badged:
    parts = [f"{subject.identified.asked}: {subject.identified.verdict}"]
    source, k = subject.fit.spec.source, subject.fit.spec.n_sources
    if (run := first_run(subject)) is not None:
        given = f"{source} and {braces(run.given)}" if run.given else source
        views = " ".join(braces(view) for view in run.views)
        parts.append(f"{len(run.views)} views given {given}: {views}")
        parts.append(
            f"{ordinal(k)} singular value {small(run.signal)} (noise up to "
            f"{small(run.noise_floor)})"
        )
    badge, level = BADGES[subject.identified.found.level]
    return Badged(badge, level, "; ".join(parts))


def _effect(subject: Subject, effects: Effects) -> str:
    if (effect := effects.found) is None:
        last = effects.errors[-1]
        if isinstance(last, NotCertifiedError) and last.found == Certainty.UNCHECKED.value:
            return "refused: nobody knows whether data determine it, see below"
        if isinstance(last, NotCertifiedError) and last.found == Certainty.BY_SHAPE.value:
            return "refused: only the shapes assumed of numbers would determine it, see below"
        return "refused: data do not determine it, see below"
    s = told_state(effect)
    outcome = subject.fit.spec.states_of(effect.outcome)[s]
    one, other = effects.question.contrast
    words = [
        f"P({effects.question.outcome}={outcome}), {other} less {one}: naive "
        f"{signed(float(effect.naive.values[s]))}",
        "do" if effects.weak else f"do {signed(float(effect.do.values[s]))}",
    ]
    if effect.do.has_interval:
        low, high = effect.interval()
        words[-1] += f" {between(float(low[s]), float(high[s]))}"
        words.append(interval_source(subject.fit, effect, subject.advice.refused))
    if math.isfinite(subject.fit.n_rows):
        words.append(f"n = {count(subject.fit.n_rows)}")
    return ", ".join(words)


def _check(check: PredictiveCheck) -> Badged:
    if check.fits:
        compared = f"{len(check.pairs)} pair margins and {len(check.blocks)} ranks of blocks"
        return Badged("PASS", "pass", f"none of {compared} contradicts the model")
    bad = sum(pair.adjusted < check.level for pair in check.pairs)
    blocks = sum(block.adjusted < check.level for block in check.blocks)
    return Badged(
        "FAIL",
        "fail",
        f"{bad} of {len(check.pairs)} pair margins and {blocks} of {len(check.blocks)} ranks of "
        "blocks contradict the model",
    )
