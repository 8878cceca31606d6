"""What every source is taken to have seen before: a little of what the table shows without U.

Each row of a table has seen ``ROWS`` rows that look as all sources together do; each line
``RIDGE`` rows on the line of all together, and ``VARIANCE_ROWS`` whose variance is that of all
together over k^2. The last bounds the likelihood, which otherwise grows without limit where a
source shrinks to a point (THEORY section 18.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.data.records import Records
from pyromix.model.cpd import TableCPD
from pyromix.model.families.hurdle import HurdleCPD, HurdleSums
from pyromix.model.families.linear_gaussian import LinearGaussianCPD, LinearSums
from pyromix.model.families.logistic import LogisticCPD
from pyromix.model.families.newton import Slopes
from pyromix.model.families.poisson import PoissonCPD
from pyromix.model.mixed import MixedMixture, MixedSpec

ROWS = 1.0
"""Rows that a row of a table has seen."""

RIDGE = 0.1
"""Rows that a line, or a logit or log-rate, has seen on that of all sources together."""

VARIANCE_ROWS = 2.0
"""Rows that a variance has seen."""

SETTLING = 25
"""Steps in which coefficients without closed form settle."""


@dataclass(frozen=True, eq=False)
class MixedPrior:
    """Statistics of rows seen before.

    Attributes:
        weights: rows of every source.
        statistics: per vertex, of its distribution; None for none at all.
    """

    weights: Float[Tensor, " k"]
    statistics: tuple[Any, ...]

    def log_density(self, mixture: MixedMixture) -> Tensor:
        """Logarithm of the prior at a mixture, up to a constant."""
        total = torch.xlogy(self.weights, mixture.weights).sum()
        for cpd, own in zip(mixture.cpds, self.statistics, strict=True):
            if own is not None:
                total = total + _expected(cpd, own)
        return total


def _expected(cpd: Any, own: Any) -> Tensor:
    if isinstance(cpd, TableCPD):
        return torch.xlogy(own, cpd.values).sum()
    if isinstance(cpd, HurdleCPD):
        gate = _expected(cpd.gate, own.gate) if own.gate is not None else 0.0
        return gate + cpd.size.expected(own.size)
    return cpd.expected(own)


def settled(
    given: Any,
    values: Tensor,
    parents: Sequence[Tensor],
    shares: Float[Tensor, "m k"],
    prior: Any = None,
) -> Any:
    """Estimate from rows of known shares; who steps takes as many steps as settle it."""
    closed = isinstance(given, TableCPD) or type(given) is LinearGaussianCPD
    cpd: Any = given
    for _ in range(1 if closed else SETTLING):
        before = cpd.parameters
        cpd = cpd.estimate(cpd.statistics(values, parents, shares), prior)
        if float((cpd.parameters - before).abs().max()) < 1e-6:
            break
    return cpd


def family_rows(
    spec: MixedSpec, records: Records, vertex: int
) -> tuple[Tensor, list[Tensor], Tensor]:
    """Values, parents and weights of the rows whose family has no missing cell."""
    family = [vertex, *spec.parents[vertex]]
    seen = torch.ones_like(records.weights, dtype=torch.bool)
    for v in family:
        column = records.columns[v]
        seen &= ~column.isnan() if spec.kind(v).numeric else column >= 0
    values, *parents = (records.columns[v][seen] for v in family)
    return values, parents, seen


def prior_of(spec: MixedSpec, records: Records, *, tables: bool = True) -> MixedPrior:
    """What the table shows without U, as rows seen before.

    Args:
        spec: the structure.
        records: the table.
        tables: whether tables, logits and rates have seen rows, too; variances and lines always
            have, since the likelihood has no maximum without.
    """
    k, device = spec.n_sources, records.device
    found = tuple(seen_before(spec, records, v, tables=tables) for v in range(spec.n_variables))
    rows = torch.full((k,), ROWS if tables else 0.0, dtype=torch.float64, device=device)
    return MixedPrior(rows, found)


def seen_before(spec: MixedSpec, records: Records, vertex: int, *, tables: bool = True) -> Any:
    """Statistics of the rows that every source has seen at one vertex; as in ``prior_of``."""
    alone = _alone(spec.standard_cpd(vertex, records.device))
    values, parents, seen = family_rows(spec, records, vertex)
    weights = records.weights[seen][:, None]
    if len(values):
        alone = settled(alone, values, parents, weights, _faint(alone))
    return _rows_seen(alone, spec.n_sources, spec.shared(vertex), tables=tables)


def _alone(cpd: Any) -> Any:
    """The same distribution for a single source."""
    if isinstance(cpd, TableCPD):
        return TableCPD(cpd.values[:1], cpd.n_parents)
    if isinstance(cpd, HurdleCPD):
        return HurdleCPD(_alone(cpd.gate), _alone(cpd.size))
    if isinstance(cpd, LogisticCPD | PoissonCPD):
        return type(cpd)(cpd.coefficients[:1], cpd.layout)
    return type(cpd)(cpd.coefficients[:1], cpd.variances[:1], cpd.layout)


def _faint(cpd: Any) -> Any:
    """Rows enough for an estimate in rows of a table that the data do not reach."""
    if isinstance(cpd, TableCPD):
        return torch.full_like(cpd.values, 1 / cpd.card)
    if isinstance(cpd, HurdleCPD):
        return HurdleSums(_faint(cpd.gate), _faint(cpd.size))
    if isinstance(cpd, LogisticCPD):
        return Slopes.ridge(RIDGE, cpd.coefficients.flatten(-2))
    if isinstance(cpd, PoissonCPD):
        return Slopes.ridge(RIDGE, cpd.coefficients)
    q = cpd.layout.n_columns + 1
    squares = torch.diag_embed(torch.full((q,), RIDGE, dtype=torch.float64))
    squares = squares.to(cpd.variances.device).expand(*cpd.variances.shape, q, q)
    return LinearSums(torch.full_like(cpd.variances, RIDGE), squares)


def _rows_seen(alone: Any, k: int, shared: bool, *, tables: bool) -> Any:
    """What each of k sources, or all of them once, have seen."""
    copies = 1 if shared else k
    if isinstance(alone, TableCPD):
        rows = ROWS / k if shared else ROWS
        seen = rows * alone.values.expand(k, *alone.values.shape[1:])
        return seen if tables else None
    if isinstance(alone, HurdleCPD):
        gate = _rows_seen(alone.gate, k, shared, tables=tables)
        return HurdleSums(gate, _rows_seen(alone.size, k, shared, tables=tables))
    if isinstance(alone, LogisticCPD | PoissonCPD):
        if not tables:
            return None
        at = alone.coefficients
        at = at.flatten(-2) if isinstance(alone, LogisticCPD) else at
        ridge = Slopes.ridge(RIDGE, at.expand(copies, *at.shape[1:]))
        return Slopes(RIDGE * at.expand(copies, *at.shape[1:]), ridge.hessian, ridge.radius)
    lines, variances = alone.coefficients, alone.variances
    rest = VARIANCE_ROWS * variances / k**2
    q = lines.shape[-1] + 1
    squares = lines.new_zeros(*variances.shape, q, q)
    squares[..., :-1, :-1] = RIDGE * torch.eye(q - 1, dtype=lines.dtype, device=lines.device)
    squares[..., :-1, -1] = squares[..., -1, :-1] = RIDGE * lines
    squares[..., -1, -1] = rest + RIDGE * lines.square().sum(-1)
    weight = torch.full_like(variances, VARIANCE_ROWS)
    return LinearSums(
        weight.expand(copies, *weight.shape[1:]), squares.expand(copies, *squares.shape[1:])
    )
