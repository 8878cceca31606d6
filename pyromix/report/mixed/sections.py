"""The sections of a report on a fit with numbers."""

from __future__ import annotations

from pyromix.report.mixed.hashes import mixed_model_hash, records_hash
from pyromix.report.mixed.letter import MixedSubject, certified
from pyromix.report.mixed.parameters import LAWS, parameter_tables
from pyromix.report.numbers import count, p_value, small
from pyromix.report.parts import Drawing, Section, Table
from pyromix.report.sections.fitting import number_of_sources
from pyromix.report.sections.graph import tested_edges
from pyromix.report.sections.record import reproducible

LINES = 12
"""Columns, pairs and residuals written, the worst."""


def verdict_section(subject: MixedSubject) -> Section:
    """What certifies: views, or nothing."""
    verdict, fit = subject.verdict, subject.fit
    found = verdict.facts.plan
    views = () if found is None else tuple(str(found).splitlines())
    edges = "; ".join(
        f"{n} at {', '.join(f'{c:.4g}' for c in cuts)}" for n, cuts in fit.edges.items()
    )
    return Section(
        "verdict",
        "What is certain",
        certified(verdict),
        facts=(("Level", verdict.word), ("Bins", f"for this alone numbers were cut: {edges}")),
        words=views,
        drawings=(Drawing("network", "The graph; views of the hidden source are filled."),),
        numbers={"certainty": verdict.level.value},
    )


def data_section(subject: MixedSubject) -> Section:
    """Rows, kinds, what was repaired."""
    fit, spec = subject.fit, subject.fit.spec
    gaps = {} if fit.table is None else dict(
        zip(spec.variables, fit.table.missing().sum(0).tolist(), strict=True)
    )  # fmt: skip
    rows = tuple(
        (name, str(kind), LAWS.get(kind, "states: a table, or log-odds linear in numbers"),
         str(gaps.get(name, "-")))
        for name, kind in zip(spec.variables, spec.kinds, strict=True)
    )  # fmt: skip
    said = "What each variable is, what is assumed of it within a source, and missing cells."
    return Section(
        "data",
        "The table",
        f"{count(fit.n_rows)} rows, {len(spec.numeric)} of {spec.n_variables} variables numbers.",
        words=fit.said,
        tables=(Table(said, ("variable", "kind", "within a source", "missing"), rows, n_left=3),),
        numbers={"n_rows": fit.n_rows, "kinds": {r[0]: r[1] for r in rows}},
    )


def starts_section(subject: MixedSubject) -> Section:
    """Where the starts ended."""
    fit = subject.fit
    best = max(start.objective for start in fit.starts)
    rows = tuple(
        (s.name, small(best - s.objective), "yes" if s.converged else "no") for s in fit.starts
    )
    drawn: tuple[tuple[str, str], ...] = ()
    if fit.sampled is not None:
        drawn = (("Draws", f"{fit.sampled.n}"),)
        if fit.sampled.sampling is not None:
            drawn = (*drawn, ("Sampling", str(fit.sampled.sampling)))
    said = "Starts that climbed to the end: penalised log-likelihood below the best, in nats."
    ended = "converged" if fit.converged else "had NOT converged"
    return Section(
        "starts",
        "Starts",
        f"{fit.n_best} of {len(fit.starts)} starts reached the best optimum, the one from bins "
        f"{'among them' if fit.bins_agree else 'NOT among them'}; EM {ended} after {fit.n_iter} "
        "steps.",
        facts=(
            ("logL per row", f"{fit.log_likelihood_per_row:.4f} nats, in the units of the table"),
            ("Parameters", str(fit.n_parameters)),
            ("BIC", f"{fit.bic:.1f}"),
            *drawn,
        ),
        tables=(Table(said, ("start", "below the best", "converged"), rows),),
        numbers={
            "log_likelihood": fit.log_likelihood,
            "bic": fit.bic,
            "n_best": fit.n_best,
            "converged": fit.converged,
        },
    )


def sources_section(subject: MixedSubject) -> Section:
    """Parameters of each source."""
    fit = subject.fit
    sizes = ", ".join(
        f"{u}: {w:.3f}"
        for u, w in zip(fit.spec.binned.source_states, fit.mixture.weights.tolist(), strict=True)
    )
    return Section(
        "sources",
        "What each source does",
        f"P({fit.spec.source}) = {sizes}.",
        tables=parameter_tables(fit.mixture),
        drawings=(Drawing("sources", "What the variables look like in each source."),),
        numbers={"weights": fit.mixture.weights.tolist()},
    )


def effect_section(subject: MixedSubject) -> Section:
    """The effect as it is printed."""
    title = "The effect"
    if subject.effect is None:
        lead = subject.failed or "No effect was asked for."
        return Section("effect", title, lead)
    if not subject.certain:
        return Section(
            "effect", title, "Not told: the table does not determine it.",
            facts=(("Level", subject.verdict.word),),
        )  # fmt: skip
    printed = subject.effect._printed()
    tables = tuple(
        Table(printed.title, tuple(g.header), tuple(map(tuple, g.rows))) for g in printed.grids
    )
    return Section("effect", title, f"{subject.question}.", words=printed.lines, tables=tables)


def two_step_section(subject: MixedSubject) -> Section:
    """The effect by an estimator that leans on no law of noise, if one was handed in."""
    assert subject.two_step is not None
    printed = subject.two_step._printed()
    tables = tuple(
        Table(printed.title, tuple(g.header), tuple(map(tuple, g.rows))) for g in printed.grids
    )
    lead = "Rows weighed by views alone: means and lines of raw numbers, whatever their noise."
    return Section(
        "two_step", "The effect in two steps", lead, words=printed.lines, tables=tables,
        numbers={"distance": subject.two_step.distance, "value": subject.two_step.value},
    )  # fmt: skip


def graph_section(subject: MixedSubject) -> Section:
    """Edges that the table asks for, can do without, or cannot tell."""
    return tested_edges(subject.graph)


def predictive_section(subject: MixedSubject) -> Section:
    """Columns, pairs and residuals against the table."""
    title = "Predictive checks"
    if (found := subject.check) is None:
        return Section("checks", title, "The fit holds no table to compare with.")
    columns = tuple(
        (c.name, f"{c.at:.4g}" if isinstance(c.at, float) else str(c.at), f"{c.observed:.3f}",
         f"{c.expected:.3f}", p_value(c.adjusted))
        for c in found.columns[:LINES]
    )  # fmt: skip
    pairs = tuple(
        (", ".join(c.names), f"{c.observed:+.3f}", f"{c.expected:+.3f}", p_value(c.adjusted))
        for c in found.pairs[:LINES]
    )
    header = ("column", "at", "observed", "expected", "adjusted p")
    said = (
        "Where each column differs most from rows drawn from the fit: share of the rows at or "
        "below a number, or in a state."
    )
    tables = [Table(said, header, columns, n_left=2)]
    if pairs:
        said = "Correlations of normal scores of two columns, in the table and of the fit."
        tables.append(Table(said, ("pair", "observed", "expected", "adjusted p"), pairs))
    residuals = tuple(
        (c.name, ", ".join(c.parents) or "-", c.worst or "their law", f"{c.statistic:.4g}",
         p_value(c.adjusted))
        for c in found.residuals[:LINES]
    )  # fmt: skip
    if residuals:
        said = (
            "Quantile residuals of each number given its parents and what tells of the source: "
            "their law (largest distance), and how they go with bends of the parents (chi-square)."
        )
        header = ("column", "numeric parents", "residuals against", "statistic", "adjusted p")
        tables.append(Table(said, header, residuals, n_left=3))
    lead = "The fit reproduces the table, as far as columns, pairs and residuals show."
    if not found.fits:
        lead = f"The fit does NOT reproduce the table: {len(found.contradictions)} checks fail."
    return Section("checks", title, lead, words=found.notes, tables=tuple(tables),
                   numbers={"fits": found.fits})  # fmt: skip


def k_section(subject: MixedSubject) -> Section:
    """Numbers of sources side by side, or what to run for that."""
    return number_of_sources(subject.fit, subject.selection)


def reproducibility_section(subject: MixedSubject) -> Section:
    """Versions, seed, hashes of the model and of the rows."""
    fit = subject.fit
    hashes = {"model": mixed_model_hash(fit.spec)}
    if fit.table is not None:
        hashes["data"] = records_hash(fit.spec.variables, fit.table)
    said = (
        "The hash of the model is that of graph, kinds, states and k; that of the data is of the "
        "rows with their weights, in any order, numbers to nine digits."
    )
    method = f"bins ({fit.binned.course}), then EM on the numbers from there and from random starts"
    return reproducible(fit.random_state, method, hashes, said)


SECTIONS = (
    verdict_section,
    data_section,
    k_section,
    starts_section,
    sources_section,
    effect_section,
    two_step_section,
    graph_section,
    predictive_section,
    reproducibility_section,
)
