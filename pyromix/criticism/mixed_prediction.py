"""A fit with numbers against a table: columns, every two together, and residuals given parents.

Rows drawn from the fit stand for its law. A column of numbers is compared by the largest distance
of distribution functions (Kolmogorov and Smirnov), states by their shares, two columns by the
correlation of their normal scores. Quantile residuals of a column given its parents must be normal
and go with no bend of a parent: there a mean shows that is no line. A fit has seen its table, so
p-values of columns and pairs lean to its side: what is said to contradict does, what is not may.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.answers.mixed.simulate import drawn
from pyromix.criticism.mixed_discrepancy import (
    MEAN,
    SHAPE,
    ColumnCheck,
    DependenceCheck,
    MixedPredictiveCheck,
    ResidualCheck,
)
from pyromix.criticism.mixed_residuals import association, quantile_residuals
from pyromix.data.records import Records
from pyromix.fitting.mixed.intake import rows_of
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.identify.product.rank import holm
from pyromix.model.arguments import flag, level_of
from pyromix.model.only_states import without
from pyromix.model.randomness import RandomState, torch_generator

DRAWN = 4
"""Rows drawn from the fit per row of the table: they add an eighth to the noise."""

LEAST_DRAWN, MOST_DRAWN = 20_000, 400_000
"""Rows drawn at least, and at most."""

MOST_SCORES = 2**22
"""Rows times free coordinates up to which it is looked at what the estimate takes up: seconds."""


@without(weights_are="give weights that sum to the rows they stand for")
def predictive_check(
    fit: MixedRecord,
    data: Any = None,
    *,
    sample_weight: Any = None,
    missing_values: Any = None,
    level: float = 0.05,
    residuals: bool = True,
    random_state: RandomState = 0,
) -> MixedPredictiveCheck:
    """Compare a table with the fit: rows drawn from it, and residuals given the parents.

    Each column for itself, every two together, and quantile residuals of each column of numbers,
    whose law must be normal and which must go with no square, cube or product of numeric parents.

    Args:
        fit: to a table with numbers.
        data: a table; the one of the fit when left out.
        sample_weight: column name of ``data`` or one weight per row.
        missing_values: as in ``fit``.
        level: of each family of tests.
        residuals: whether to look at these, which takes about as long as an interval.
        random_state: of the rows drawn, and of the places of counts and zeros.

    Raises:
        DataError: the fit holds no table, or the data do not fit.
    """
    level = level_of(level)
    records = fit.records if data is None else rows_of(
        fit.spec, fit.mixture.units, fit.edges, data, sample_weight, missing_values
    )[0]  # fmt: skip
    records = records.weighted(records.weights)
    n = min(max(DRAWN * records.n_rows, LEAST_DRAWN), MOST_DRAWN)
    generator = torch_generator(random_state)
    drawing, _ = drawn(fit.mixture, n, {}, generator)
    columns = _adjusted([_column(fit, records, v, own) for v, own in enumerate(drawing)])
    pairs = _adjusted(list(_pairs(fit, records, drawing)))
    every: list[ResidualCheck] = []
    if flag("residuals", residuals):
        every = list(_residuals(fit, records, generator, fitted=data is None))
    # Two families: a law that is hardly tested against must not cost a mean its power.
    own = (_adjusted([c for c in every if c.kind == kind]) for kind in (SHAPE, MEAN))
    worst_first = sorted(itertools.chain(*own), key=lambda c: (c.adjusted, c.p_value))
    gaps = int(records.missing().sum())
    notes = []
    if gaps:
        notes.append(
            f"{gaps:,} cells are missing and were left out: which these are may make a difference "
            "of its own"
        )
    if every and data is None and records.n_rows * fit.n_parameters > MOST_SCORES:
        notes.append(
            "the table is too large to look at what the estimate takes up of residuals, so their "
            "means find less than they could"
        )
    found = (tuple(columns), tuple(pairs), tuple(worst_first))
    return MixedPredictiveCheck(*found, level, tuple(notes))


def _column(fit: MixedRecord, records: Records, v: int, own: Tensor) -> ColumnCheck:
    spec, column = fit.spec, records.columns[v]
    told = ~column.isnan() if spec.kind(v).numeric else column >= 0
    values, weights = column[told], records.weights[told]
    if not len(values):
        return ColumnCheck(spec.name(v), "", math.nan, math.nan, 0.0, 1.0)
    n = float(weights.sum())
    n = n * len(own) / (n + len(own))  # of two samples
    if spec.kind(v).numeric:
        place, seen, expected = _farthest(values, weights, own)
        at = float(fit.mixture.units[v].outward(place))
        distance = abs(seen - expected)
        return ColumnCheck(spec.name(v), at, seen, expected, distance, kolmogorov(n, distance))
    card = spec.binned.card(v)
    seen_all = torch.zeros(card, dtype=torch.float64, device=weights.device)
    seen_all = seen_all.index_add(0, values.long(), weights) / weights.sum()
    expected_all = torch.bincount(own.long(), minlength=card) / len(own)
    s = int((seen_all - expected_all).abs().argmax())
    seen, expected = float(seen_all[s]), float(expected_all[s])
    spread = math.sqrt(max(expected * (1 - expected), 1 / n) / n)
    # Of as many states the one that lies farthest off.
    p = min(1.0, card * _two_sided((seen - expected) / spread))
    state: object = spec.binned.states_of(v)[s]
    state = str(state) if isinstance(state, float) else state
    return ColumnCheck(spec.name(v), state, seen, expected, abs(seen - expected), p)


def _farthest(
    values: Float[Tensor, " m"], weights: Float[Tensor, " m"], own: Float[Tensor, " s"]
) -> tuple[Tensor, float, float]:
    """Where two distribution functions lie farthest apart, and both there."""
    values, order = values.sort()
    rising = weights[order].cumsum(0) / weights.sum()
    own = own.sort().values
    expected = torch.searchsorted(own, values, right=True) / len(own)
    last = torch.cat([values[1:] != values[:-1], torch.ones_like(values[:1], dtype=torch.bool)])
    gap = (rising - expected).abs() * last
    # Just below a value both are what they were at the one before, unless draws lie between.
    below = torch.cat([torch.zeros_like(rising[:1]), rising[:-1]])
    first = torch.cat([torch.ones_like(last[:1]), last[:-1]])
    under = torch.searchsorted(own, values) / len(own)
    gap_below = (below - under).abs() * first
    i, j = int(gap.argmax()), int(gap_below.argmax())
    if gap[i] >= gap_below[j]:
        return values[i], float(rising[i]), float(expected[i])
    return (
        own[max(int(torch.searchsorted(own, values[j])) - 1, 0)],
        float(below[j]),
        float(under[j]),
    )


def kolmogorov(n: float, distance: float) -> float:
    """P(sqrt(n) distance or more) as n grows [A. N. Kolmogorov, 1933].

    Args:
        n: rows.
        distance: of the distribution functions, at most.
    """
    x = (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n)) * distance  # Stephens, for small n
    if x < 0.2:
        return 1.0
    total = sum((-1) ** (j - 1) * math.exp(-2 * j * j * x * x) for j in range(1, 101))
    return min(1.0, max(0.0, 2 * total))


def _pairs(
    fit: MixedRecord, records: Records, drawing: Sequence[Tensor]
) -> Iterator[DependenceCheck]:
    """Correlations of every two columns."""
    spec, tables, draws = fit.spec, [], []
    for v, own in enumerate(drawing):
        law = own.double().sort().values
        tables.append(_scores(records.columns[v].double(), law))
        draws.append(_scores(own.double(), law))
    gone = records.missing()
    for v in range(spec.n_variables):
        for w in range(v):
            both = ~(gone[:, v] | gone[:, w])
            weights = records.weights[both]
            if int(both.sum()) < 3:
                continue
            seen, error = _correlation(tables[w][both], tables[v][both], weights)
            expected, other = _correlation(draws[w], draws[v], torch.ones_like(draws[v]))
            spread = math.hypot(error, other)
            z = (seen - expected) / spread if spread > 0 else 0.0
            yield DependenceCheck((spec.name(w), spec.name(v)), seen, expected, _two_sided(z))


def _residuals(
    fit: MixedRecord, records: Records, generator: torch.Generator, *, fitted: bool
) -> Iterator[ResidualCheck]:
    """Law and bends of the residuals of every column of numbers."""
    spec, taken = fit.spec, None
    lines = any(spec.kind(p).numeric for v in spec.numeric for p in spec.parents[v])
    if fitted and lines and records.n_rows * fit.n_parameters <= MOST_SCORES:
        taken = fit.scores @ fit.information.inverse_curvature
    for v in spec.numeric:
        place = torch.rand(records.n_rows, generator=generator, dtype=torch.float64)
        place = place.to(records.device)
        with torch.no_grad():
            found = quantile_residuals(fit.mixture, records, v, place)
        weights = records.weights[found.usable]
        if len(weights) < 2:
            continue
        name = spec.name(v)
        parents = tuple(spec.name(p) for p in spec.parents[v] if spec.kind(p).numeric)
        far = _from_uniform(found.uniform[found.usable], weights)
        p = kolmogorov(float(weights.sum()), far)
        yield ResidualCheck(name, parents, SHAPE, far, "", math.nan, p)
        if (own := association(fit.mixture, records, v, place, taken)) is not None:
            yield ResidualCheck(
                name, parents, MEAN, own.statistic, own.worst, own.correlation, own.p_value
            )


def _from_uniform(values: Float[Tensor, " m"], weights: Float[Tensor, " m"]) -> float:
    """Largest distance of a distribution function from that of the uniform law."""
    values, order = values.sort()
    rising = weights[order].cumsum(0) / weights.sum()
    below = torch.cat([torch.zeros_like(rising[:1]), rising[:-1]])
    return float(torch.maximum(rising - values, values - below).max())


def _scores(values: Float[Tensor, " m"], law: Float[Tensor, " s"]) -> Float[Tensor, " m"]:
    """Normal scores by the ranks among draws, the middle one of equals."""
    low = torch.searchsorted(law, values)
    high = torch.searchsorted(law, values, right=True)
    rank = ((low + high) / 2 + 0.5) / (len(law) + 1)
    return torch.special.ndtri(rank.double())


def _correlation(
    x: Float[Tensor, " m"], y: Float[Tensor, " m"], weights: Float[Tensor, " m"]
) -> tuple[float, float]:
    """Correlation, and its standard error whatever the law, by the influence of each row."""
    total = weights.sum()

    def standard(z: Tensor) -> Tensor:
        z = z - (weights @ z) / total
        return z / (weights @ z.square() / total).sqrt().clamp_min(1e-12)

    x, y = standard(x), standard(y)
    found = weights @ (x * y) / total
    influence = x * y - found / 2 * (x.square() + y.square())
    error = (weights @ influence.square() / total / total).sqrt()
    return float(found), float(error)


def _two_sided(z: float) -> float:
    return math.erfc(abs(z) / math.sqrt(2))


def _adjusted(found: Sequence[Any]) -> list[Any]:
    """With Holm's correction, the worst first."""
    if not found:
        return []
    p = holm(torch.tensor([c.p_value for c in found], dtype=torch.float64)).tolist()
    done = [replace(c, adjusted=own) for c, own in zip(found, p, strict=True)]
    return sorted(done, key=lambda c: (c.adjusted, c.p_value))
