"""The table, the number of sources, and how the fit came about."""

from __future__ import annotations

import math
from dataclasses import asdict

from pyromix.criticism.candidates import Selection
from pyromix.estimate.result import SAME_OPTIMUM
from pyromix.fitting.description import starts_in_words
from pyromix.fitting.journal import ABOUT_DATA
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.fitting.record import Fit
from pyromix.model.note import NoteKind, sentences
from pyromix.report.advice import PYTHON, Advice
from pyromix.report.numbers import count, finite, p_value, small
from pyromix.report.parts import Drawing, Section, Table
from pyromix.report.subject import Subject


def data_section(subject: Subject) -> Section:
    """Rows, patterns, what is missing, dropped, read otherwise."""
    fit, title = subject.fit, "Data accounting"
    if fit.exact:
        said = "Fitted to a population: exact moments, no rows."
        return Section("data", title, said)
    if fit.table is None:
        return Section(
            "data",
            title,
            "The fit was saved without its table.",
            facts=(("Total weight", count(fit.n_rows)),),
            numbers={"n_rows": fit.n_rows},
        )
    report = fit.counts.report
    kept = report.n_rows - report.n_dropped_rows - report.n_zero_weight_rows
    cells = max(kept * report.n_variables, 1)
    facts = [
        ("Rows", f"{report.n_rows:,} given, {kept:,} kept, {fit.counts.n_patterns:,} distinct"),
        ("Total weight", count(fit.n_rows)),
        ("Variables", f"{report.n_variables:,}"),
        (
            "Missing cells",
            f"{report.n_missing_cells:,} ({report.n_missing_cells / cells:.2%}), summed out as "
            "missing at random"
            if report.n_missing_cells
            else "none",
        ),
        ("Rows left out", f"{report.n_dropped_rows:,}" if report.n_dropped_rows else "none"),
    ]
    if report.n_zero_weight_rows:
        facts.append(("Rows of weight 0", f"{report.n_zero_weight_rows:,}, left out"))
    if report.unused:
        facts.append(("Columns unused", ", ".join(report.unused)))
    added = sentences(n for n in fit.notes if n.kind is NoteKind.ADDED_SOURCE)
    read = [*report.repairs, *added]
    told = tuple(dict.fromkeys(read))
    return Section(
        "data",
        title,
        f"{kept:,} rows of {report.n_variables:,} variables were used; "
        + ("see what was read otherwise." if told else "nothing was renamed, repaired or added."),
        facts=tuple(facts),
        words=told,
        numbers=asdict(report),
    )


def k_section(subject: Subject) -> Section:
    """Numbers of sources side by side, or what to run for that."""
    return number_of_sources(subject.fit, subject.selection, subject.advice)


def number_of_sources(
    fit: Fit | MixedRecord, found: Selection | None, advice: Advice = PYTHON
) -> Section:
    """The same of any fit.

    Args:
        fit: who is reported on.
        found: numbers of sources side by side, if they were handed in.
        advice: of the door.
    """
    title = "Number of sources"
    own = {"n_sources": fit.spec.n_sources, "bic": finite(fit.bic), "icl": finite(fit.icl)}
    if found is None:
        return Section(
            "n_sources",
            title,
            f"k = {fit.spec.n_sources} was given, not chosen.",
            facts=(
                (
                    f"k = {fit.spec.n_sources}",
                    f"{fit.n_parameters} parameters, AIC {fit.aic:,.1f}, BIC {fit.bic:,.1f}, ICL "
                    f"{fit.icl:,.1f}",
                ),
            ),
            words=(
                f"{advice.choose} puts numbers of sources side by side, and "
                f"{advice.show_choice} prints its table here.",
            ),
            numbers=own,
        )
    header = (
        "k",
        "identified",
        "params",
        "logL",
        "BIC",
        "ICL",
        "R2",
        "held-out",
        "rank p",
        "fit p",
    )
    rows = [
        (
            str(c.n_sources),
            c.identified,
            str(c.n_parameters),
            f"{c.log_likelihood:,.2f}",
            f"{c.bic:,.1f}",
            f"{c.icl:,.1f}",
            f"{c.entropy_r2:.2f}",
            f"{c.held_out:.4f}",
            "-" if math.isnan(c.rank_p_value) else p_value(c.rank_p_value),
            p_value(c.fit_p_value),
        )
        for c in found.candidates
    ]
    chosen = ", ".join(f"{name} {k}" for name, k in found.choices.items())
    verdict = (
        "Rank tests, BIC and held-out likelihood agree."
        if found.agree
        else "The criteria disagree: compare the answers under each."
    )
    said = (
        "Each number of sources, a line each: of BIC and ICL the least is best, of the held-out "
        "log-likelihood per row the largest; small p-values contradict that k."
    )
    other = (
        (f"This fit has {fit.spec.n_sources}; BIC chooses {found.best}.",)
        if found.best != fit.spec.n_sources
        else ()
    )
    return Section(
        "n_sources",
        title,
        verdict,
        facts=(("Chosen", chosen),),
        words=(
            *other,
            *(f"{reason[0].upper()}{reason[1:]}." for reason in found.reasons),
            *found.notes,
            *_stopped(found),
        ),
        tables=(Table(said, header, tuple(rows), n_left=2),),
        numbers={
            **own,
            "choices": found.choices,
            "candidates": [
                {n: finite(v) if isinstance(v, float) else v for n, v in asdict(c).items()}
                for c in found.candidates
            ],
        },
    )


def _stopped(found: Selection) -> tuple[str, ...]:
    """What is said of candidates that were not climbed to their end."""
    numbers = [str(c.n_sources) for c in found.candidates if c.stopped]
    if not numbers:
        return ()
    return (
        f"With {', '.join(numbers)} sources EM was stopped, since no criterion but AIC could "
        "choose them any more: their logL may be higher, and their AIC lower.",
    )


def starts_section(subject: Subject) -> Section:
    """Where starts ended, and how the iterations went."""
    fit, climb, prior = subject.fit, subject.fit.climb, subject.fit.chosen_prior
    method = fit.diagnostics.method
    ends = [e for e in climb.log_likelihoods if math.isfinite(e)]
    facts = [("Method", method), ("Prior", prior.words)]
    n_starts, n_lower = len(climb.log_likelihoods), 0
    if ends:
        best = max(ends)
        facts.append(
            (
                "Starts",
                f"{starts_in_words(fit)}, best optimum reached by {climb.n_best}",
            )
        )
        same = SAME_OPTIMUM * fit.n_rows if math.isfinite(fit.n_rows) else SAME_OPTIMUM
        lower = [best - e for e in ends if best - e > same]
        n_lower = len(lower)
        if lower:
            facts.append(
                ("Next optimum", f"{small(min(lower))} nats lower ({len(lower)} starts below)")
            )
        if math.isfinite(fit.log_likelihood_moments):
            gap = best - fit.log_likelihood_moments
            facts.append(("Moments alone", f"{gap:,.2f} nats below the best optimum"))
    facts.append(
        (
            "Convergence",
            f"{'converged' if fit.converged else 'NOT converged'} after {fit.n_iter} iterations",
        )
    )
    facts.append(("logL", f"{fit.log_likelihood:,.3f}, {fit.log_likelihood_per_row:.5f} per row"))
    sampling = None if fit.sampled is None else fit.sampled.sampling
    if fit.sampled is not None:
        facts.append(("Draws", f"{fit.sampled.n}"))
    if sampling is not None:
        facts.append(("Sampling", str(sampling)))
    if bound := climb.bound if fit.sampled is None else fit.sampled.bound:
        facts.append(("Bound of SVI", f"{bound[-1]:,.2f} after {len(bound)} steps"))
    told = sentences(n for n in fit.notes if n.kind not in ABOUT_DATA)
    lead, caption = _lead(n_starts, climb.n_best, n_lower), _caption(fit, n_lower)
    priors = tuple((name, f"{value:.4f}") for name, value in prior.held_out)
    tables = (
        (
            Table(
                "Priors were compared by the log-likelihood of rows that had been held out, in "
                "nats per row; the largest is best.",
                ("prior", "held-out logL/row"),
                priors,
            ),
        )
        if priors
        else ()
    )
    return Section(
        "starts",
        "Starts and convergence",
        lead,
        facts=tuple(facts),
        words=tuple(sentence for sentence in told if sentence != str(sampling)),
        tables=tables,
        drawings=((Drawing("trace", caption),) if caption else ()),
        numbers={
            "method": method,
            "prior": prior.words,
            "start_log_likelihoods": [finite(e) for e in climb.log_likelihoods],
            "n_best": climb.n_best,
            "converged": fit.converged,
            "n_iter": fit.n_iter,
            "log_likelihood": finite(fit.log_likelihood),
        },
    )


def _lead(n_starts: int, n_best: int, n_lower: int) -> str:
    """Where the starts ended, in a sentence; where all agree it takes the place of a plot."""
    if n_starts == 1:
        return "One start was made."
    if not n_lower:
        return f"All {n_starts} starts ended at the same optimum."
    return f"{n_best} of {n_starts} starts reached the best optimum, {n_lower} ended lower."


def _caption(fit: Fit, n_lower: int) -> str:
    """Of the plot of starts or draws; empty where it would say nothing."""
    if fit.sampled is not None and fit.table is not None:
        return f"Log-likelihood of the table under each of {fit.sampled.n} draws."
    if not n_lower:
        return ""
    return "How far below the best log-likelihood each start ended; those at zero agree."
