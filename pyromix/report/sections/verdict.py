"""The first section: can it be trusted, what was found, what it leans on."""

from __future__ import annotations

import math

from pyromix.answers.gate import figures
from pyromix.criticism.discrepancy import PredictiveCheck
from pyromix.criticism.sensitivity import N_SOURCES, VIEW
from pyromix.errors import NotCertifiedError
from pyromix.identify.stage import RunReport
from pyromix.model.note import sentences
from pyromix.model.query import Certainty
from pyromix.model.ties import ROUNDING, first_largest
from pyromix.posterior.draws import remarks
from pyromix.report.facts.effects import Effects, interval_source, why_no_interval
from pyromix.report.numbers import between, braces, count, finite, ordinal, share, signed, small
from pyromix.report.parts import Badged, Section
from pyromix.report.subject import Subject

BADGES = {
    Certainty.GRAPHICAL: ("PASS", "pass"),
    Certainty.LOCAL: ("PASS, locally", "pass"),
    Certainty.WEAK: ("WEAK", "weak"),
    Certainty.UNCHECKED: ("NOT CHECKED", "weak"),
    Certainty.NONE: ("FAIL", "fail"),
}
"""How each level of certainty is headed, and shown on the page."""

SURE = 10.0
"""Standard errors between two sources from which on mistakes are few."""

MOVED = 0.05
"""Change of a probability under another assumption from which on it is said first."""

AGREEING = 2
"""Starts that must reach the best optimum for it to count as confirmed."""


def verdict_section(subject: Subject) -> Section:
    """Verdict and assumptions."""
    fit, climb = subject.fit, subject.fit.climb
    starts = len(climb.log_likelihoods)
    facts: list[tuple[str, str | Badged]] = [
        ("Identifiability", _identifiability(subject)),
        (
            "Fit",
            f"k = {fit.spec.n_sources}, logL/row {fit.log_likelihood_per_row:.4f}, best of "
            f"{starts} start{'s' * (starts != 1)} reached by {climb.n_best}, entropy R2 "
            f"{fit.entropy_r2:.2f}",
        ),
    ]
    if (asked := subject.effects) is not None:
        of = asked.question
        facts.append((f"Effect {of.treatment} -> {of.outcome}", _effect(subject, asked)))
    if subject.check is not None:
        facts.append(("Model check", _check(subject.check)))
    facts.append(("Leans on", _leaning(subject)))
    doubts = _doubts(subject)
    return Section(
        "verdict",
        "Verdict and assumptions",
        facts=tuple(facts),
        words=(
            f"Assumed, not shown: {fit.spec.source} has {fit.spec.n_sources} "
            f"state{'s' * (fit.spec.n_sources != 1)}; within each of them the variables follow the "
            "given graph (one with more edges will do); rows are independent.",
            *(f"Doubt: {doubt}" for doubt in doubts),
            *(() if doubts else ("No doubts were found by the checks of this report.",)),
        ),
        numbers={
            "verdict": subject.identified.verdict,
            "asked": subject.identified.asked,
            "reasons": list(subject.identified.reasons),
            "log_likelihood_per_row": finite(fit.log_likelihood_per_row),
            "entropy_r2": finite(fit.entropy_r2),
            "doubts": doubts,
        },
    )


def _identifiability(subject: Subject) -> Badged:
    parts = [f"{subject.identified.asked}: {subject.identified.verdict}"]
    source, k = subject.fit.spec.source, subject.fit.spec.n_sources
    if (run := _first_run(subject)) is not None:
        given = f"{source} and {braces(run.given)}" if run.given else source
        views = " ".join(braces(view) for view in run.views)
        parts.append(f"{len(run.views)} views given {given}: {views}")
        parts.append(
            f"{ordinal(k)} singular value {small(run.signal)} (noise up to "
            f"{small(run.noise_floor)})"
        )
    badge, level = BADGES[subject.identified.found.level]
    return Badged(badge, level, "; ".join(parts))


def _first_run(subject: Subject) -> RunReport | None:
    """The run whose figures are told; none where no moments were looked at."""
    if subject.stage is None or not subject.stage.runs:
        return None
    return subject.stage.runs[0]


def _effect(subject: Subject, effects: Effects) -> str:
    if (effect := effects.found) is None:
        last = effects.errors[-1]
        if isinstance(last, NotCertifiedError) and last.found == Certainty.UNCHECKED.value:
            return "refused: nobody knows whether data determine it, see below"
        return "refused: data do not determine it, see below"
    s = effect.headline
    if s < 0:
        s = first_largest(abs(effect.do.values).tolist(), ROUNDING)
    outcome = subject.fit.spec.states_of(effect.outcome)[s]
    one, other = effects.question.contrast
    words = [
        f"P({effects.question.outcome}={outcome}), {other} less {one}: naive "
        f"{signed(float(effect.naive.values[s]))}",
        f"do {signed(float(effect.do.values[s]))}",
    ]
    if effect.do.has_interval:
        low, high = effect.interval()
        words[-1] += f" {between(float(low[s]), float(high[s]))}"
        words.append(interval_source(subject.fit, effect))
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


def _leaning(subject: Subject) -> str:
    spec = subject.fit.spec
    if spec.n_sources == 1:
        return "nothing unmeasured links the variables beyond the given graph"
    seen = _first_run(subject) is not None
    links = "links these views" if seen else "links the variables beyond the given graph"
    said = f"{spec.source} has {spec.n_sources} states; nothing else unmeasured {links}"
    if subject.sensitivity is None:
        return said
    needed = [
        braces(v.dropped)
        for v in subject.sensitivity.variations
        if v.kind == VIEW and not v.identified
    ]
    said += (
        f"; without {' or without '.join(needed)} the effect is not determined" if needed else ""
    )
    return f"{said} -> sensitivity: drop a view, k+-1"


def _doubts(subject: Subject) -> list[str]:
    """What should keep a reader from trusting the figures, the gravest first."""
    fit, verdict = subject.fit, subject.identified.found
    doubts = []
    if verdict.weak:
        doubts.append(f"the sources are weak: {'; '.join(figures(verdict))}")
    if verdict.level is Certainty.UNCHECKED:
        doubts.append(
            "nobody knows whether the sources are identified: "
            f"{'; '.join(subject.identified.reasons)}"
        )
    if verdict.level is Certainty.NONE:
        doubts.append(f"the sources are not identified: {'; '.join(subject.identified.reasons)}")
    if verdict.level is Certainty.LOCAL:
        doubts.append("a second answer, isolated from this one, might fit as well")
    if not fit.converged:
        doubts.append(f"the iterations had not converged after {fit.n_iter}; raise max_iter")
    starts, n_best = len(fit.climb.log_likelihoods), fit.climb.n_best
    if fit.spec.n_sources > 1 and starts > 1 and n_best < AGREEING:
        doubts.append(
            f"the best log-likelihood was reached by {n_best} of {starts} starts: raise n_init"
        )
    if fit.sampled is not None and fit.sampled.sampling is not None:
        doubts += sentences(remarks(fit.sampled.sampling))
    if (run := _first_run(subject)) is not None and run.separation < SURE:
        doubts.append(
            f"sources lie {small(run.separation)} standard errors apart in the moments; below "
            f"{SURE:g} some are mistaken for one another"
        )
    if subject.check is not None and not subject.check.fits:
        doubts.append(f"the model does not reproduce the table: worst, {subject.check.worst}")
    effect = None if subject.effects is None else subject.effects.found
    if effect is not None and (why := why_no_interval(effect)):
        doubts.append(f"the effect has no interval: {why}")
    return [*doubts, *_moves(subject), *subject.notes]


def _moves(subject: Subject) -> list[str]:
    """Other assumptions under which a probability moves by much."""
    if subject.sensitivity is None:
        return []
    own, (fitted, *others) = subject.fit.spec.n_sources, subject.sensitivity.variations
    found = []
    for v in others:
        # Fewer sources are fewer explanations: that the answer moves with them is no doubt.
        if v.found and not (v.kind == N_SOURCES and v.answer.spec.n_sources < own):
            moved = float(abs(v.answer.values - fitted.answer.values).max())
            if moved > MOVED:
                found.append(f"{v.words}: a probability under the do moves by {share(moved)}")
    return found
