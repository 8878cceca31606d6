"""What each source does to each variable, in the units of the table."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from pyromix.model.cpd import TableCPD
from pyromix.model.families.hurdle import HurdleCPD
from pyromix.model.families.linear_gaussian import LinearGaussianCPD
from pyromix.model.families.logistic import LogisticCPD
from pyromix.model.kind import Kind, Unit
from pyromix.model.mixed import MixedMixture
from pyromix.model.raw_line import raw_line
from pyromix.report.parts import Table

MOST_ROWS = 24
"""Rows of a table that are written."""

LAWS = {
    Kind.REAL: "linear in its causes that are numbers, with normal noise",
    Kind.HEAVY_TAILED: "linear, with the noise of Student's t, 4 degrees of freedom",
    Kind.POSITIVE: "its logarithm is linear, with normal noise",
    Kind.HURDLE: "zero or not by log-odds; above zero its logarithm is linear, with normal noise",
    Kind.COUNT: "Poisson, the logarithm of its rate linear",
}
"""What is assumed of a number within each source and configuration of its categorical causes."""


def parameter_tables(mixture: MixedMixture) -> tuple[Table, ...]:
    """A table or two per variable."""
    spec = mixture.spec
    found: list[Table] = []
    for v in range(spec.n_variables):
        name, cpd = spec.name(v), mixture.cpds[v]
        if isinstance(cpd, HurdleCPD):
            zero = ("zero", "above")
            found.append(_states(mixture, v, cpd.gate, f"{name}: zero or above", zero))
            found.append(_lines(mixture, v, cpd.size, f"log {name} where it is above zero"))
        elif isinstance(cpd, TableCPD | LogisticCPD):
            states = [str(s) for s in spec.binned.states_of(v)]
            found.append(_states(mixture, v, cpd, name, states))
        else:
            kind = spec.kind(v)
            what = {Kind.POSITIVE: f"log {name}", Kind.COUNT: f"log rate of {name}"}.get(kind, name)
            found.append(_lines(mixture, v, cpd, what))
    return tuple(found)


def _lines(mixture: MixedMixture, v: int, cpd: Any, what: str) -> Table:
    rows = []
    for u, d, head in _heads(mixture, v, cpd):
        line = raw_line(mixture, v, cpd.coefficients[u, d].tolist())
        cells = [line.intercept, *(b for _, b in line.terms)]
        if isinstance(cpd, LinearGaussianCPD):
            cells.append(mixture.units[v].scale * float(cpd.variances[u, d]) ** 0.5)
        rows.append((*head, *(f"{x:.4g}" for x in cells)))
    terms = [term for term, _ in raw_line(mixture, v, cpd.coefficients[0, 0].tolist()).terms]
    noise = ["sd of the noise"] if isinstance(cpd, LinearGaussianCPD) else []
    return _table(mixture, v, f"{what}, in the units of the table.", ["constant", *terms, *noise],
                  rows)  # fmt: skip


def _states(mixture: MixedMixture, v: int, cpd: Any, what: str, states: Sequence[str]) -> Table:
    rows: list[tuple[str, ...]] = []
    if isinstance(cpd, TableCPD):
        flat = cpd.values.reshape(cpd.n_sources, -1, cpd.card)
        for u, d, head in _heads(mixture, v, cpd):
            rows.append((*head, *(f"{p:.3f}" for p in flat[u, d].tolist())))
        return _table(mixture, v, f"{what}: probabilities.", states, rows)
    terms: list[str] = []
    for u, d, head in _heads(mixture, v, cpd):
        for s in range(cpd.card - 1):
            line = raw_line(mixture, v, cpd.coefficients[u, d, :, s].tolist(), Unit())
            terms = [term for term, _ in line.terms]
            cells = [line.intercept, *(b for _, b in line.terms)]
            rows.append((*head, states[s], *(f"{x:.4g}" for x in cells)))
    said = f"{what}: log-odds against {states[-1]!r}, in the units of the table."
    return _table(mixture, v, said, ["constant", *terms], rows, ["state"])


def _heads(mixture: MixedMixture, v: int, cpd: Any) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Sources and configurations of the categorical causes; what U does not act on stands once."""
    spec = mixture.spec
    above = [spec.binned.states_of(p) for p in spec.parents[v] if not spec.kind(p).numeric]
    sources = ["every"] if cpd.shared else [str(u) for u in spec.binned.source_states]
    for u, name in enumerate(sources):
        for d, states in enumerate(itertools.product(*above)):
            yield u, d, (name, *map(str, states))


def _table(
    mixture: MixedMixture,
    v: int,
    said: str,
    titles: Sequence[str],
    rows: Sequence[tuple[str, ...]],
    between: Sequence[str] = (),
) -> Table:
    spec = mixture.spec
    above = [spec.name(p) for p in spec.parents[v] if not spec.kind(p).numeric]
    if len(rows) > MOST_ROWS:
        said = f"{said} {MOST_ROWS} of {len(rows)} rows."
    header = (spec.source, *above, *between, *titles)
    return Table(said, header, tuple(rows[:MOST_ROWS]), n_left=1 + len(above) + len(between))
