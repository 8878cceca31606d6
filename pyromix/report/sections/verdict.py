"""The first section: can it be trusted, what was found, what it leans on."""

from __future__ import annotations

import math

from pyromix.check import IDENTIFIED, LOCAL, NOT, WEAK
from pyromix.model.ties import ROUNDING, first_largest
from pyromix.refine.posterior import remarks
from pyromix.report.document import Section
from pyromix.report.facts.effects import Effects, interval_source
from pyromix.report.numbers import between, braces, count, finite, ordinal, share, signed, small
from pyromix.report.subject import Subject
from pyromix.sensitivity import N_SOURCES, VIEW

BADGES = {IDENTIFIED: "PASS", LOCAL: "PASS, locally", WEAK: "WEAK", NOT: "FAIL"}

SURE = 10.0
"""Standard errors between two sources from which on mistakes are few."""

MOVED = 0.05
"""Change of a probability under another assumption from which on it is said first."""

AGREEING = 2
"""Starts that must reach the best optimum for it to count as confirmed."""


def verdict_section(subject: Subject) -> Section:
    """Verdict and assumptions."""
    fit, found = subject.fit, subject.fit.diagnostics
    starts = len(found.start_log_likelihoods)
    facts = [
        ("Identifiability", _identifiability(subject)),
        (
            "Fit",
            f"k = {fit.spec.n_sources}, logL/row {fit.log_likelihood_per_row:.4f}, best of "
            f"{starts} start{'s' * (starts != 1)} reached by {found.n_best}, entropy R2 "
            f"{fit.entropy_r2:.2f}",
        ),
        *(
            (f"Effect {e.question.treatment} -> {e.question.outcome}", _effect(subject, e))
            for e in subject.effects
        ),
        *(("Model check", _check(subject)) for _ in subject.checks),
        ("Leans on", _leaning(subject)),
    ]
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
            "verdict": subject.verdict,
            "asked": subject.identified.asked,
            "reasons": list(subject.identified.reasons),
            "log_likelihood_per_row": finite(fit.log_likelihood_per_row),
            "entropy_r2": finite(fit.entropy_r2),
            "doubts": doubts,
        },
    )


def _identifiability(subject: Subject) -> str:
    parts = [f"{subject.identified.asked}: {subject.verdict}"]
    source, k = subject.fit.spec.source, subject.fit.spec.n_sources
    for run in [run for stage in subject.stages for run in stage.runs][:1]:
        given = f"{source} and {braces(run.given)}" if run.given else source
        views = " ".join(braces(view) for view in run.views)
        parts.append(f"{len(run.views)} views given {given}: {views}")
        parts.append(
            f"{ordinal(k)} singular value {small(run.signal)} (noise up to "
            f"{small(run.noise_floor)})"
        )
    return f"{BADGES[subject.verdict]}  {'; '.join(parts)}"


def _effect(subject: Subject, effects: Effects) -> str:
    if not effects.found:
        return "refused: data do not determine it, see below"
    effect = effects.found[0]
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


def _check(subject: Subject) -> str:
    check = subject.checks[0]
    if check.fits:
        compared = f"{len(check.pairs)} pair margins and {len(check.blocks)} ranks of blocks"
        return f"PASS  none of {compared} contradicts the model"
    bad = sum(pair.adjusted < check.level for pair in check.pairs)
    blocks = sum(block.adjusted < check.level for block in check.blocks)
    return (
        f"FAIL  {bad} of {len(check.pairs)} pair margins and {blocks} of {len(check.blocks)} ranks "
        "of blocks contradict the model"
    )


def _leaning(subject: Subject) -> str:
    spec = subject.fit.spec
    if spec.n_sources == 1:
        return "nothing unmeasured links the variables beyond the given graph"
    runs = [run for stage in subject.stages for run in stage.runs]
    links = "links these views" if runs else "links the variables beyond the given graph"
    said = f"{spec.source} has {spec.n_sources} states; nothing else unmeasured {links}"
    if not subject.sensitivities:
        return said
    needed = [
        v.words.removeprefix("without ")
        for v in subject.sensitivities[0].variations
        if v.kind == VIEW and v.note.startswith("not identified")
    ]
    said += (
        f"; without {' or without '.join(needed)} the effect is not determined" if needed else ""
    )
    return f"{said} -> sensitivity: drop a view, k+-1"


def _doubts(subject: Subject) -> list[str]:
    """What should keep a reader from trusting the figures, the gravest first."""
    fit, found, own = subject.fit, subject.fit.diagnostics, subject.fit.spec.n_sources
    doubts = []
    if subject.verdict in (WEAK, NOT):
        why = subject.identified.reasons if subject.verdict == NOT else subject.stages[0].notes
        doubts.append(f"the sources are {subject.verdict}: {'; '.join(why)}")
    if subject.verdict == LOCAL:
        doubts.append("a second answer, isolated from this one, might fit as well")
    if not fit.converged:
        doubts.append(f"the iterations had not converged after {fit.n_iter}; raise max_iter")
    starts = len(found.start_log_likelihoods)
    if fit.spec.n_sources > 1 and starts > 1 and found.n_best < AGREEING:
        doubts.append(
            f"the best log-likelihood was reached by {found.n_best} of {starts} starts: raise "
            "n_init"
        )
    doubts += [said for one in found.sampling for _, said in remarks(one)]
    for run in [run for stage in subject.stages for run in stage.runs][:1]:
        if run.separation < SURE:
            doubts.append(
                f"sources lie {small(run.separation)} standard errors apart in the moments; below "
                f"{SURE:g} some are mistaken for one another"
            )
    if subject.checks and not subject.checks[0].fits:
        doubts.append(f"the model does not reproduce the table: worst, {subject.checks[0].worst}")
    for effect in [effect for effects in subject.effects for effect in effects.found]:
        if any(delta.dominated for delta in effect.do.delta):
            doubts.append(
                "the interval of the effect rests mostly on directions that the data hardly "
                "determine"
            )
    for sensitivity in subject.sensitivities:
        first = sensitivity.variations[0].answer.values
        for v in sensitivity.variations[1:]:
            # Fewer sources are fewer explanations: that the answer moves with them is no doubt.
            if v.answers and not (v.kind == N_SOURCES and v.answer.spec.n_sources < own):
                moved = float(abs(v.answer.values - first).max())
                if moved > MOVED:
                    doubts.append(f"{v.words}: a probability under the do moves by {share(moved)}")
    return [*doubts, *subject.notes]
