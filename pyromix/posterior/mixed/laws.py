"""Draws of the distribution of one vertex, given rows whose sources are known.

A prior is statistics of rows seen before, those that EM has (THEORY section 18.2), read as follows:

- a table: pseudo-counts c, so Dirichlet with concentrations c + 1, as for tables of states;
- a line with variance v: normal-inverse-gamma. n0 rows whose squares are s^2 and a ridge K on the
  coefficients make ``v ~ n0 s^2 / chi^2(n0)`` and ``b | v ~ N(b0, v K^-1)``. Given rows the law is
  of the same kind, with the sums of both; its mode in b and, b integrated out, in log v is what an
  M-step returns [A. Gelman et al., Bayesian Data Analysis, 3rd ed., 2013, section 14.8];
- logits and log-rates: a normal law of the coefficients, as it stands;
- Student's t: the precision of each row is drawn first, gamma distributed; given these a line is
  that of weighted rows [lange89; THEORY section 18.1];
- a hurdle: its two parts, which share no parameter.

Logits and rates have no closed form: a value is proposed by a wide bell (Student's t) around the
optimum for the rows at hand, and taken or left [L. Tierney, Markov chains for exploring posterior
distributions, Annals of Statistics 22, 1994, section 2.3.3]. The steps towards the optimum begin at
the estimate of the fit, never at the value to be replaced: so the bell depends on the rows alone,
and the posterior is left as it is wherever the steps end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.exact import linalg
from pyromix.model.cpd import TableCPD
from pyromix.model.families.hurdle import HurdleCPD
from pyromix.model.families.linear_gaussian import LinearGaussianCPD, LinearSums
from pyromix.model.families.logistic import LogisticCPD
from pyromix.model.families.newton import Slopes
from pyromix.model.families.poisson import PoissonCPD
from pyromix.model.families.student_t import StudentTCPD
from pyromix.posterior.variates import standard_gamma

STEPS = 12
"""Newton steps towards the optimum, at most."""

SETTLED = 1e-4
"""Move of a coefficient below which a step is the last."""

DEGREES = 5.0
"""Of the bell that proposes: its tails are wider than those of logits and rates."""


@dataclass(frozen=True, eq=False)
class Family:
    """Rows of a vertex and its parents, no cell missing, each in one source.

    Attributes:
        values: of the vertex.
        parents: columns.
        sources: of each row.
        shares: one in the source of a row, zero elsewhere.
    """

    values: Tensor
    parents: tuple[Tensor, ...]
    sources: Int[Tensor, " m"]
    shares: Float[Tensor, "m k"]

    @staticmethod
    def of(values: Tensor, parents: Sequence[Tensor], sources: Int[Tensor, " m"], k: int) -> Family:
        """Rows of k sources."""
        shares = torch.nn.functional.one_hot(sources, k).to(torch.float64)
        return Family(values, tuple(parents), sources, shares)

    def only(self, rows: Bool[Tensor, " m"]) -> Family:
        """Some rows."""
        return replace(
            self,
            values=self.values[rows],
            parents=tuple(column[rows] for column in self.parents),
            sources=self.sources[rows],
            shares=self.shares[rows],
        )


def draw_law(
    cpd: Any, estimate: Any, family: Family, prior: Any, generator: torch.Generator
) -> Any:
    """Draw the distribution of a vertex given rows, or move it so that this law stays as it is.

    Args:
        cpd: where it stands.
        estimate: that of the fit, around which optima are looked for.
        family: the rows.
        prior: statistics of rows seen before; None for none, which only tables can do without.
        generator: draws.
    """
    match cpd:
        case TableCPD():
            return _table(cpd, family, prior, generator)
        case HurdleCPD():
            gate, size = (None, None) if prior is None else (prior.gate, prior.size)
            above = family.values > -torch.inf
            whether = replace(family, values=above.long())
            return HurdleCPD(
                draw_law(cpd.gate, estimate.gate, whether, gate, generator),
                draw_law(cpd.size, estimate.size, family.only(above), size, generator),
            )
        case LogisticCPD() | PoissonCPD():
            return _proposed(cpd, estimate, family, prior, generator)
        case StudentTCPD():
            return draw_line(cpd, _weighted(cpd, family, generator), prior, generator)
    sums = cpd.statistics(family.values, family.parents, family.shares)
    return draw_line(cpd, sums, prior, generator)


def _table(cpd: TableCPD, family: Family, prior: Any, generator: torch.Generator) -> TableCPD:
    counts = cpd.statistics(family.values, family.parents, family.shares)
    counts = counts if prior is None else counts + prior
    if cpd.shared:
        counts = counts.sum(0, keepdim=True)
    drawn = standard_gamma(counts + 1, generator)
    drawn = drawn / drawn.sum(-1, keepdim=True)
    return replace(cpd, values=drawn.expand_as(cpd.values))


def _weighted(cpd: StudentTCPD, family: Family, generator: torch.Generator) -> LinearSums:
    """Sums of rows whose precisions are drawn: gamma given the distance from the line."""
    mean, variance = cpd.moments(family.parents, family.values.shape)
    own = family.sources[None]
    gap = (family.values - mean.gather(0, own)[0]).square() / variance.gather(0, own)[0]
    shape = torch.full_like(gap, (cpd.degrees + 1) / 2)
    precision = standard_gamma(shape, generator) / ((cpd.degrees + gap) / 2)
    z = cpd.layout.design(family.parents, family.values.shape)
    rows = torch.cat([z, family.values[:, None]], -1)
    return cpd.sums(rows, family.parents, family.shares * precision[:, None], family.shares)


def draw_line(
    cpd: LinearGaussianCPD, sums: LinearSums, prior: LinearSums, generator: torch.Generator
) -> LinearGaussianCPD:
    """Normal-inverse-gamma: the variance, then the line given it."""
    if cpd.shared:
        sums, prior = sums.pooled(), prior.pooled()
    both = sums + prior
    q = cpd.layout.n_columns
    root, _ = _root(both.squares[..., :q, :q])
    turned = _apply(root.mT, both.squares[..., :q, q])
    left = both.squares[..., q, q] - turned.square().sum(-1)
    variances = left / (2 * standard_gamma(both.weight / 2, generator))
    bell = variances.sqrt()[..., None] * _normal(turned.shape, generator, turned.device)
    lines = _apply(root, turned + bell)
    return replace(
        cpd,
        coefficients=lines.expand_as(cpd.coefficients),
        variances=variances.expand_as(cpd.variances),
    )


def _proposed(
    cpd: Any, estimate: Any, family: Family, prior: Slopes, generator: torch.Generator
) -> Any:
    """Take or leave a value proposed around the optimum, each source and row by itself."""
    shares = family.shares
    slopes = estimate.statistics(family.values, family.parents, shares)
    for _ in range(STEPS):
        before = estimate.parameters
        estimate = estimate.estimate(slopes, prior)
        slopes = estimate.statistics(family.values, family.parents, shares)
        if float((estimate.parameters - before).abs().max()) < SETTLED:
            break
    if cpd.shared:
        slopes = slopes.pooled()
    root, curve = _root(slopes.hessian + prior.hessian)
    at, centre = _flat(cpd), _flat(estimate)
    p, lead = at.shape[-1], at.shape[:-1]
    wide = 2 * standard_gamma(torch.full_like(at[..., 0], DEGREES / 2), generator) / DEGREES
    bell = _apply(root, _normal(at.shape, generator, at.device)) / wide.sqrt()[..., None]
    new = centre + bell
    other = _with_flat(cpd, new)

    def bell_log(point: Tensor) -> Tensor:
        apart = (_apply(curve, point - centre)).square().sum(-1)
        return -(DEGREES + p) / 2 * (apart / DEGREES).log1p()

    gain = _log_law(other, new, family, prior) - _log_law(cpd, at, family, prior)
    gain = gain + bell_log(at) - bell_log(new)
    uniform = torch.rand(lead, dtype=at.dtype, generator=generator, device=generator.device)
    # A gain that is nan leaves the old value.
    taken = uniform.to(at.device).log() < gain
    return _with_flat(cpd, torch.where(taken[..., None], new, at))


def _log_law(
    cpd: Any, at: Float[Tensor, "copies rows p"], family: Family, prior: Slopes
) -> Float[Tensor, "copies rows"]:
    """Log-density of rows and prior, each source and row of the table by itself."""
    own = cpd.log_prob(family.values, family.parents).gather(-1, family.sources[:, None])[:, 0]
    n_rows = cpd.layout.n_rows
    place = cpd.layout.row(family.parents, family.values.shape)
    if not cpd.shared:
        place = family.sources * n_rows + place
    total = at.new_zeros(at.shape[0] * n_rows).index_add_(0, place, own)
    bent = (at[..., None, :] @ prior.hessian @ at[..., :, None])[..., 0, 0]
    return total.reshape(at.shape[:-1]) + (at * prior.gradient).sum(-1) - 0.5 * bent


def _flat(cpd: Any) -> Float[Tensor, "copies rows p"]:
    """Coefficients, coordinates of a row along one axis; of what sources share, once."""
    own = cpd.coefficients[:1] if cpd.shared else cpd.coefficients
    return own.flatten(2)


def _with_flat(cpd: Any, flat: Float[Tensor, "copies rows p"]) -> Any:
    found = flat.reshape(flat.shape[0], *cpd.coefficients.shape[1:])
    return replace(cpd, coefficients=found.expand_as(cpd.coefficients))


def _root(precision: Float[Tensor, "*b p p"]) -> tuple[Tensor, Tensor]:
    """Roots of symmetric matrices above zero: ``(R, C)`` with R R' the inverse, C' C the matrix."""
    if precision.shape[-1] == 1:  # no number above: the most frequent
        size = precision.sqrt()
        return 1 / size, size
    found = linalg.eigh(precision)
    size = found.values.clamp_min(1e-300).sqrt()
    return found.vectors / size[..., None, :], (found.vectors * size[..., None, :]).mT


def _apply(matrix: Float[Tensor, "*b p q"], vector: Float[Tensor, "*b q"]) -> Tensor:
    return (matrix @ vector[..., None])[..., 0]


def _normal(shape: Sequence[int], generator: torch.Generator, device: torch.device) -> Tensor:
    noise = torch.randn(
        tuple(shape), dtype=torch.float64, generator=generator, device=generator.device
    )
    return noise.to(device)
