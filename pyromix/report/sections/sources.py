"""What the sources look like."""

from __future__ import annotations

from pyromix.fitting.record import Fit
from pyromix.report.facts.profile import Margin, TableDifference, margins, table_differences
from pyromix.report.numbers import between, count, finite, share
from pyromix.report.parts import Drawing, Section, Table
from pyromix.report.subject import Subject

TABLES_SHOWN = 10
"""Variables written, those that differ most."""

LEAST_SHOWN = 5e-4
"""Distance below which two tables are one as far as three digits show."""


def sources_section(subject: Subject) -> Section:
    """Sizes, certainty of rows, margins and tables that differ most."""
    fit, spec = subject.fit, subject.fit.spec
    title = "Sources"
    if spec.n_sources == 1:
        return Section("sources", title, "One source: an ordinary network.")
    found = margins(fit, TABLES_SHOWN)
    tables = table_differences(fit)
    weights = fit.mixture.weights.tolist()
    sizes = tuple(
        (str(u), share(w), "-" if fit.exact else count(round(w * fit.n_rows)))
        for u, w in zip(spec.source_states, weights, strict=True)
    )
    shown = [t for t in tables if t.mean > LEAST_SHOWN][:TABLES_SHOWN]
    header = ("P(state | source)", *(f"{spec.source}={u}" for u in spec.source_states), "distance")
    drawn = all(margin.interval is not None for margin in found)
    with_ends = ", with 95% intervals" if drawn else ""
    drawings = [
        Drawing(
            "sources",
            f"Share of each state within each source{with_ends}, what differs most on top.",
        )
    ]
    if fit.table is not None:
        said = "Largest P(source | row): 1 where a row's source is certain."
        drawings.append(Drawing("responsibilities", said))
    return Section(
        "sources",
        title,
        f"{spec.n_sources} groups, the largest {max(weights):.0%} of the rows, the smallest "
        f"{min(weights):.0%}; most apart in {spec.name(found[0].vertex)}.",
        facts=(
            (
                "Entropy",
                f"R2 {fit.entropy_r2:.2f}: 1 where every row's source is certain, 0 where none is",
            ),
        ),
        tables=(
            Table("How large each source is.", (f"source {spec.source}", "share", "rows"), sizes),
            Table(
                "How often a state occurs within each source, what differs most first; the "
                "distance is total variation.",
                header,
                _margin_rows(fit, found),
            ),
            Table(
                "Conditional tables (CPT) that differ most between sources: total variation, "
                "averaged over the rows of a table as data use them, and the largest.",
                ("table", "distance", "largest", "in the row"),
                tuple(_difference_row(fit, t) for t in shown),
            ),
        ),
        drawings=tuple(drawings),
        numbers={
            "weights": weights,
            "entropy": finite(fit.entropy),
            "entropy_r2": finite(fit.entropy_r2),
            "margins": {
                spec.name(m.vertex): {
                    str(s): m.values[:, i].tolist() for i, s in enumerate(spec.states_of(m.vertex))
                }
                for m in found
            },
            "tables": {spec.name(t.vertex): t.mean for t in tables},
        },
    )


def _margin_rows(fit: Fit, found: tuple[Margin, ...]) -> tuple[tuple[str, ...], ...]:
    """A row per state; of binary variables the second state only."""
    spec, rows = fit.spec, []
    for margin in found:
        states = spec.states_of(margin.vertex)
        shown = [1] if len(states) == 2 else range(len(states))
        for s in shown:
            cells = [share(p) for p in margin.values[:, s]]
            if margin.interval is not None:
                low, high = margin.interval
                cells = [
                    f"{cell} {between(low[u, s], high[u, s], '.2f')}"
                    for u, cell in enumerate(cells)
                ]
            distance = share(margin.distance) if s == shown[0] else ""
            rows.append((f"{spec.name(margin.vertex)}={states[s]}", *cells, distance))
    return tuple(rows)


def _difference_row(fit: Fit, found: TableDifference) -> tuple[str, ...]:
    spec, v = fit.spec, found.vertex
    parents = spec.parents[v]
    names = ", ".join(spec.name(p) for p in parents)
    where = ", ".join(
        f"{spec.name(p)}={spec.states_of(p)[s]}" for p, s in zip(parents, found.where, strict=False)
    )
    head = f"P({spec.name(v)} | {names})" if names else f"P({spec.name(v)})"
    return head, share(found.mean), share(found.largest), where or "-"
