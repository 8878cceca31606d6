"""What should keep a reader from trusting the figures of a report, the gravest first."""

from __future__ import annotations

from pyromix.answers.gate import figures
from pyromix.answers.wording import only_shape
from pyromix.criticism.variations import N_SOURCES, Variation
from pyromix.identify.stage import RunReport
from pyromix.model.note import sentences
from pyromix.model.query import Certainty
from pyromix.posterior.draws import remarks
from pyromix.report.facts.effects import why_no_interval
from pyromix.report.numbers import share, small
from pyromix.report.subject import Subject

SURE = 10.0
"""Standard errors between two sources from which on mistakes are few."""

MOVED = 0.05
"""Change of a probability under another assumption from which on it is said first."""

AGREEING = 2
"""Starts that must reach the best optimum for it to count as confirmed."""


def find_doubts(subject: Subject) -> list[str]:
    """The doubts, a clause each."""
    fit, verdict = subject.fit, subject.identified.found
    doubts = []
    if verdict.weak:
        doubts.append(f"the sources are weak: {'; '.join(figures(verdict))}")
    if verdict.level is Certainty.UNCHECKED:
        doubts.append(
            "nobody knows whether the sources are identified: "
            f"{'; '.join(subject.identified.reasons)}"
        )
    if verdict.level is Certainty.BY_SHAPE:
        doubts.append(f"the sources are not identified by views: {only_shape(subject.fit.spec)}")
    if verdict.level is Certainty.NONE:
        doubts.append(f"the sources are not identified: {'; '.join(subject.identified.reasons)}")
    if verdict.level is Certainty.LOCAL:
        doubts.append("a second answer, isolated from this one, might fit as well")
    if not fit.converged:
        doubts.append(
            f"the iterations had not converged after {fit.n_iter}; {subject.advice.iterate}"
        )
    starts, n_best = len(fit.climb.log_likelihoods), fit.climb.n_best
    if fit.spec.n_sources > 1 and starts > 1 and n_best < AGREEING:
        doubts.append(
            f"the best log-likelihood was reached by {n_best} of {starts} starts: "
            f"{subject.advice.start}"
        )
    if fit.sampled is not None and fit.sampled.sampling is not None:
        doubts += sentences(remarks(fit.sampled.sampling))
    if (run := first_run(subject)) is not None and run.separation < SURE:
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


def first_run(subject: Subject) -> RunReport | None:
    """The run whose figures are told; none where no moments were looked at."""
    if subject.stage is None or not subject.stage.runs:
        return None
    return subject.stage.runs[0]


def assumed(variation: Variation) -> str:
    """What differs, in the words of a reader."""
    return variation.words.replace("n_sources=", "k = ")


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
                found.append(f"{assumed(v)}: a probability under the do moves by {share(moved)}")
    return found
