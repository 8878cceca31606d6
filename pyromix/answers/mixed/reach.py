"""Whether a variable is set to what each source has rows with."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.answers.mixed.predict import posterior
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.model.kind import Kind

FEW_ROWS = 5.0
"""Rows of a source near a number, or in a state, below which it says little of what would be."""

LEAST_WEIGHT = 0.01
"""P(U) of sources that matter."""


def rows_near(
    fit: MixedRecord, vertex: int, value: float
) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
    """Expected rows of each source within one bandwidth of a number, and the bandwidths.

    The bandwidth is Silverman's, 1.06 standard deviations of the source over the fifth root of its
    rows [B. W. Silverman, Density Estimation, 1986, section 3.4.2].

    Args:
        fit: with its table.
        vertex: a variable that is a number.
        value: in the units of its column.
    """
    records, unit = fit.records, fit.mixture.units[vertex]
    shares = posterior(fit, records) * records.weights[:, None]
    column = records.columns[vertex]
    seen = column.isfinite()
    x, shares = column[seen], shares[seen]
    place = unit.inward(torch.tensor(value, dtype=torch.float64, device=x.device))
    total = shares.sum(0).clamp_min(1e-12)
    mean = shares.mT @ x / total
    spread = (shares * (x[:, None] - mean).square()).sum(0) / total
    width = 1.06 * spread.sqrt() * total.clamp_min(1.0) ** -0.2
    near = (x[:, None] - place).abs() <= width
    return (shares * near).sum(0), width


def rows_in(fit: MixedRecord, vertex: int, state: int) -> Float[Tensor, " k"]:
    """Expected rows of each source in a state of a variable."""
    records = fit.records
    shares = posterior(fit, records) * records.weights[:, None]
    return shares[records.columns[vertex] == state].sum(0)


def hardly_reached(fit: MixedRecord, vertex: int, value: float) -> tuple[str, ...]:
    """What is to be said of a setting that a source has few rows with; empty where it has some.

    Args:
        fit: with its table, or nothing can be said.
        vertex: the variable that is set.
        value: a number in the units of its column, or the number of a state.
    """
    if fit.table is None:
        return ()
    if fit.spec.kind(vertex).numeric:
        return extrapolations(fit, vertex, value)
    spec, said = fit.spec, []
    state, names = spec.binned.states_of(vertex)[int(value)], spec.binned.source_states
    for u, n in enumerate(rows_in(fit, vertex, int(value)).tolist()):
        if n < FEW_ROWS and float(fit.mixture.weights[u]) > LEAST_WEIGHT:
            said.append(
                f"{spec.name(vertex)}={state!r}: source {names[u]!r} has {n:.2g} such rows; what "
                "it would do there rests on the prior"
            )
    return tuple(said)


def extrapolations(fit: MixedRecord, vertex: int, value: float) -> tuple[str, ...]:
    """What is to be said of a number far from the rows of a source; empty where there are some."""
    spec = fit.spec
    if fit.table is None or not spec.kind(vertex).numeric:
        return ()
    unit = fit.mixture.units[vertex]
    if spec.kind(vertex) is Kind.HURDLE and value == 0:
        return ()
    near, width = rows_near(fit, vertex, value)
    names, said = spec.binned.source_states, []
    for u, (n, w) in enumerate(zip(near.tolist(), width.tolist(), strict=True)):
        if n < FEW_ROWS and float(fit.mixture.weights[u]) > LEAST_WEIGHT:
            reach = f" (within {w * unit.scale:.3g})" if not unit.logarithmic else ""
            said.append(
                f"{spec.name(vertex)}={value:g}: source {names[u]!r} has {n:.2g} rows near "
                f"it{reach}; there the line of the source extrapolates"
            )
    return tuple(said)
