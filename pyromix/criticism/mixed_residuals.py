"""Quantile residuals of every column of numbers, given its parents and what tells of U.

Given U and its parents a vertex depends on none of its other non-descendants, so these may tell of
U alone. With q their P(U | cells) and F_u the distribution function in source u, the sum
of q_u F_u(y) is uniform, whatever the parents are [P. K. Dunn, G. K. Smyth, Randomized quantile
residuals, Journal of Computational and Graphical Statistics 5, 1996]. Counts and zeros, which have
probabilities of their own, get a uniform place within these. A law that bends where the model has a
line leaves residuals that go with functions of the parents, though every margin may be right.

Estimates are fitted to the same rows. How a sum of residuals varies all the same is told by what
each row adds to it: its own term, and what it adds to the estimate, times what that moves the sum
by [W. K. Newey, Maximum likelihood specification testing and conditional moment tests, Econometrica
53, 1985].
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from scipy.special import chdtrc
from torch import Tensor

from pyromix.answers.mixed.parts import parts_of
from pyromix.data.records import Records
from pyromix.estimate.mixed.nested_tests import quadratic
from pyromix.model.gradients import gradients
from pyromix.model.kind import Kind
from pyromix.model.mixed import MixedMixture

EDGE = 1e-12
"""Distance from 0 and 1 that a distribution function keeps: residuals end at seven."""

LEAST_ROWS = 20
"""Rows for each function of parents below which nothing is tested."""

FLAT = 1e-10
"""Share of the largest variance of a combination below which it is none."""


@dataclass(frozen=True, eq=False)
class Residuals:
    """Of one vertex.

    Attributes:
        uniform: distribution functions of the rows, ``(N,)``; anything where not usable.
        usable: rows that have the vertex, its parents and all above these.
    """

    uniform: Float[Tensor, " rows"]
    usable: Bool[Tensor, " rows"]

    @property
    def normal(self) -> Float[Tensor, " rows"]:
        """Normal scores; zero where not usable."""
        inside = torch.where(self.usable, self.uniform, 0.5).clamp(EDGE, 1 - EDGE)
        return torch.special.ndtri(inside)


@dataclass(frozen=True)
class Association:
    """How residuals go with functions of the parents.

    Attributes:
        worst: the function that they go with most, in words.
        correlation: with it.
        statistic: chi-square, of all functions together.
        dof: their number.
        p_value: of the statistic.
    """

    worst: str
    correlation: float
    statistic: float
    dof: int
    p_value: float


def quantile_residuals(
    mixture: MixedMixture, records: Records, vertex: int, place: Float[Tensor, " rows"]
) -> Residuals:
    """Distribution functions of the cells of a column, given its parents and non-descendants.

    Differentiable in the parameters of the mixture.

    Args:
        mixture: whose laws.
        records: rows, in its units.
        vertex: a number.
        place: uniform, where a cell lies within the probability that it has of its own.
    """
    spec, device = mixture.spec, records.weights.device
    uniform = torch.full((records.n_rows,), 0.5, dtype=torch.float64, device=device)
    usable = torch.zeros(records.n_rows, dtype=torch.bool, device=device)
    for part in records.parts():
        # What is told with all above it; so no descendant, as the vertex itself is not.
        told: list[int] = []
        for w in range(spec.n_variables):  # in topological order
            untold = w == vertex or w in part.missing
            if not untold and all(p in told for p in spec.parents[w]):
                told.append(w)
        if vertex in part.missing or any(p not in told for p in spec.parents[vertex]):
            continue
        joint = mixture.weights.log().expand(len(part.rows), -1)
        for w in told:
            above = [part.columns[p] for p in spec.parents[w]]
            joint = joint + mixture.cpds[w].log_prob(part.columns[w], above)
        shares = joint.softmax(-1)
        uniform[part.rows] = _distribution(mixture, vertex, part.columns, shares, place[part.rows])
        usable[part.rows] = True
    return Residuals(uniform, usable)


def _distribution(
    mixture: MixedMixture,
    vertex: int,
    columns: Sequence[Tensor],
    shares: Float[Tensor, "m k"],
    place: Float[Tensor, " m"],
) -> Float[Tensor, " m"]:
    """Distribution function of each cell; a place within its probability where it has one."""
    spec, unit = mixture.spec, mixture.units[vertex]
    sources = torch.arange(spec.n_sources, device=shares.device).expand_as(shares)
    above = [columns[p][:, None] for p in spec.parents[vertex]]
    parts = parts_of(unit, mixture.cpds[vertex].distribution(sources, above))
    at = unit.outward(columns[vertex])

    def mixed(values: Tensor) -> Tensor:
        return (shares * values.expand_as(shares)).sum(-1)

    found = mixed(parts.cdf(at))
    if parts.discrete:
        least = mixed(parts.cdf(at - 1))
        return least + place * (found - least)
    if spec.kind(vertex) is Kind.HURDLE:
        return torch.where(at > 0, found, place * found)
    return found


def association(
    mixture: MixedMixture,
    records: Records,
    vertex: int,
    place: Float[Tensor, " rows"],
    taken: Float[Tensor, "rows p"] | None,
) -> Association | None:
    """Whether residuals go with functions of the numeric parents that the model has no term for.

    Args:
        mixture: whose laws.
        records: the rows.
        vertex: the column.
        place: as for its residuals.
        taken: what each row adds to the free coordinates, where the estimate is fitted to the rows;
            where it is and this is None, the test finds less.

    Returns:
        None without a numeric parent, or with too few rows.
    """
    spec = mixture.spec
    parents = [p for p in spec.parents[vertex] if spec.kind(p).numeric]
    with torch.no_grad():
        found = quantile_residuals(mixture, records, vertex, place)
    polynomials = [_legendre(records.columns[p], found.usable) for p in parents]
    told = dict(_functions([spec.name(p) for p in parents], polynomials))
    names = list(told)
    weights = torch.where(found.usable, records.weights, 0.0)
    if not names or float(weights.sum()) < LEAST_ROWS * len(names):
        return None
    h, residual = torch.stack(list(told.values()), -1), found.normal
    h = h - (weights @ h) / weights.sum()
    terms = torch.where(found.usable[:, None], residual[:, None] * h, 0.0)
    own = terms
    if taken is not None:
        own = terms + taken @ _moves(mixture, records, vertex, place, weights[:, None] * h).mT
    total = records.weights @ terms
    variance = (own * records.weights[:, None]).mT @ own
    least = FLAT * float(torch.diagonal(variance).max().clamp_min(1e-300))
    tested = quadratic(total, variance, least)
    z = total / torch.diagonal(variance).clamp_min(1e-300).sqrt()
    worst = int(z.abs().argmax())
    spread = (weights @ h[:, worst].square() * (weights @ residual.square())).sqrt()
    correlation = float(total[worst] / spread.clamp_min(1e-300))
    p = float(chdtrc(tested.df, tested.statistic)) if tested.df else 1.0
    return Association(names[worst], correlation, tested.statistic, tested.df, p)


def _moves(
    mixture: MixedMixture,
    records: Records,
    vertex: int,
    place: Float[Tensor, " rows"],
    factors: Float[Tensor, "rows q"],
) -> Float[Tensor, "q p"]:
    """Derivatives of weighted sums of residuals, by the free coordinates."""
    with gradients():
        at = mixture.parameters.detach().clone().requires_grad_()
        found = quantile_residuals(mixture.with_parameters(at), records, vertex, place)
        sums = found.normal @ factors
        rows = [torch.autograd.grad(one, at, retain_graph=True)[0] for one in sums]
    return torch.stack(rows)


def _functions(
    names: Sequence[str], polynomials: Sequence[Float[Tensor, "3 rows"]]
) -> Iterator[tuple[str, Float[Tensor, " rows"]]]:
    """Bends of each parent, and products of two, in words and by row."""
    for name, (_, second, third) in zip(names, polynomials, strict=True):
        yield f"the square of {name}", second
        yield f"the cube of {name}", third
    for one, other in itertools.combinations(range(len(names)), 2):
        words = f"the product of {names[one]} and {names[other]}"
        yield words, polynomials[one][0] * polynomials[other][0]


def _legendre(
    column: Float[Tensor, " rows"], usable: Bool[Tensor, " rows"]
) -> Float[Tensor, "3 rows"]:
    """Legendre polynomials of the middle ranks of a column, first to third."""
    told = column[usable].sort().values
    low = torch.searchsorted(told, column)
    high = torch.searchsorted(told, column, right=True)
    x = (low + high).double() / max(len(told), 1) - 1
    return torch.stack([x, (3 * x.square() - 1) / 2, (5 * x**3 - 3 * x) / 2]) * math.sqrt(3)
