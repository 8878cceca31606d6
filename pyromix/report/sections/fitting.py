"""The table, the number of sources, and how the fit came about."""

from __future__ import annotations

import math
from dataclasses import asdict

from pyromix.estimate.result import SAME_OPTIMUM
from pyromix.fitting.journal import ABOUT_DATA
from pyromix.model.note import NoteKind, sentences
from pyromix.report.numbers import count, finite, p_value, small
from pyromix.report.parts import Drawing, Section, Table
from pyromix.report.subject import Subject


def data_section(subject: Subject) -> Section:
    """Rows, patterns, what is missing, dropped, read otherwise."""
    fit, title = subject.fit, "Data accounting"
    if fit.exact:
        return Section("data", title, words=("Fitted to a population: exact moments, no rows.",))
    if fit.table is None:
        return Section(
            "data",
            title,
            facts=(("Total weight", count(fit.n_rows)),),
            words=("The fit was saved without its table.",),
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
    return Section(
        "data",
        title,
        facts=tuple(facts),
        words=tuple(dict.fromkeys(read)) or ("Nothing was renamed, repaired or added.",),
        numbers=asdict(report),
    )


def k_section(subject: Subject) -> Section:
    """Numbers of sources side by side, or what to run for that."""
    fit, title = subject.fit, "Number of sources"
    own = {"n_sources": fit.spec.n_sources, "bic": finite(fit.bic), "icl": finite(fit.icl)}
    if (found := subject.selection) is None:
        return Section(
            "n_sources",
            title,
            facts=(
                (
                    f"k = {fit.spec.n_sources}",
                    f"{fit.n_parameters} parameters, AIC {fit.aic:,.1f}, BIC {fit.bic:,.1f}, ICL "
                    f"{fit.icl:,.1f}",
                ),
            ),
            words=(
                "k was given, not chosen: px.select_n_sources(model, data) puts numbers of sources "
                "side by side, and fit.report(selection=...) prints its table here.",
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
    other = (
        (f"This fit has {fit.spec.n_sources}; BIC chooses {found.best}.",)
        if found.best != fit.spec.n_sources
        else ()
    )
    return Section(
        "n_sources",
        title,
        facts=(("Chosen", chosen),),
        words=(verdict, *other, *found.notes),
        tables=(Table(header, tuple(rows), n_left=2),),
        numbers={
            **own,
            "choices": found.choices,
            "candidates": [
                {n: finite(v) if isinstance(v, float) else v for n, v in asdict(c).items()}
                for c in found.candidates
            ],
        },
    )


def starts_section(subject: Subject) -> Section:
    """Where starts ended, and how the iterations went."""
    fit, climb, prior = subject.fit, subject.fit.climb, subject.fit.chosen_prior
    method = fit.diagnostics.method
    ends = [e for e in climb.log_likelihoods if math.isfinite(e)]
    facts = [("Method", method), ("Prior", prior.words)]
    if ends:
        best = max(ends)
        facts.append(
            (
                "Starts",
                f"{len(climb.log_likelihoods)}, best optimum reached by {climb.n_best}",
            )
        )
        same = SAME_OPTIMUM * fit.n_rows if math.isfinite(fit.n_rows) else SAME_OPTIMUM
        lower = [best - e for e in ends if best - e > same]
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
    priors = tuple((name, f"{value:.4f}") for name, value in prior.held_out)
    tables = (
        (Table(("prior", "held-out logL/row"), priors, title="Priors on held-out rows"),)
        if priors
        else ()
    )
    return Section(
        "starts",
        "Starts and convergence",
        facts=tuple(facts),
        words=tuple(sentence for sentence in told if sentence != str(sampling)),
        tables=tables,
        drawings=(
            (Drawing("trace", "Log-likelihood of every start, or of every draw."),) if ends else ()
        ),
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
