"""Tiny networks of states and numbers, and their log-density in plain loops over scipy's laws."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from scipy import stats

from pyromix.data.records import Records
from pyromix.estimate.mixed.prior import prior_of
from pyromix.model.families.hurdle import HurdleCPD
from pyromix.model.families.logistic import LogisticCPD
from pyromix.model.families.poisson import PoissonCPD
from pyromix.model.families.student_t import StudentTCPD
from pyromix.model.kind import Kind, Unit
from pyromix.model.mixed import MixedMixture, MixedSpec
from pyromix.model.spec import MixtureSpec

KINDS = {
    "C": Kind.CATEGORICAL,
    "A": Kind.REAL,
    "X": Kind.REAL,
    "P": Kind.POSITIVE,
    "B": Kind.CATEGORICAL,
    "W": Kind.COUNT,
    "H": Kind.HURDLE,
    "T": Kind.HEAVY_TAILED,
    "Y": Kind.REAL,
}
PARENTS = {
    "X": ["C", "A"],
    "P": ["A"],
    "B": ["X", "C"],
    "W": ["C", "X"],
    "H": ["X"],
    "T": ["A"],
    "Y": ["H", "X"],
}
"""Every kind, and every kind of parent: states, numbers, and one that may be zero."""


def network(names="CAXPBWHTY", k=2, uninfluenced=("P",)):
    """The part of the network above on some of its vertices."""
    states = {n: range(2 if n == "B" else 3) for n in names}
    parents = {n: [p for p in PARENTS.get(n, ()) if p in names] for n in names}
    coarse = [n for n in names if KINDS[n].numeric]
    inside = [n for n in uninfluenced if n in names]
    plain = MixtureSpec.from_parents(states, parents, k, uninfluenced=inside, coarse=coarse)
    return MixedSpec(plain, tuple(KINDS[n] for n in plain.variables))


def random_mixed(spec, seed=0, size=0.6):
    """A mixture with coordinates drawn at random; positive numbers are in units of their own."""
    cpds = tuple(spec.standard_cpd(v) for v in range(spec.n_variables))
    units = tuple(
        Unit(0.3, 1.5, logarithmic=True) if spec.kind(v).logarithmic else Unit()
        for v in range(spec.n_variables)
    )
    k = spec.n_sources
    flat = MixedMixture(spec, units, torch.full((k,), 1 / k, dtype=torch.float64), cpds)
    generator = torch.Generator().manual_seed(seed)
    at = flat.parameters
    return flat.with_parameters(
        size * torch.randn(len(at), generator=generator, dtype=torch.float64)
    )


def drawn_records(mixture, n, seed=0, missing=0.0, gone=()):
    """Rows of a mixture, a share of the cells of some vertices missing at random."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.multinomial(mixture.weights, n, replacement=True, generator=generator)
    columns = []
    for v, cpd in enumerate(mixture.cpds):
        columns.append(cpd.sample(u, [columns[p] for p in mixture.spec.parents[v]], generator))
    for name in gone:
        v = mixture.spec.vertex(name)
        holes = torch.rand(n, generator=generator) < missing
        empty = math.nan if mixture.spec.kind(v).numeric else -1
        columns[v] = columns[v].masked_fill(holes, empty)
    weights = torch.ones(n, dtype=torch.float64)
    return Records(mixture.spec.kinds, mixture.units, tuple(columns), weights)


def case(names="CAXBHY", n=300, seed=0, missing=0.0, gone=(), k=2):
    """Mixture, rows drawn from it, and the prior that these give."""
    mixture = random_mixed(network(names, k), seed)
    records = drawn_records(mixture, n, seed, missing, gone)
    return mixture, records, prior_of(mixture.spec, records)


# -- the oracle -------------------------------------------------------------


def plain_factor(mixture, v, u, row):
    """log P(v | u, parents) of one row, in our units."""
    return _law(mixture.cpds[v], u, row[v], _entries(mixture.spec, v, row))


def plain_joint(mixture, u, row):
    """log P(u, row)."""
    factors = (plain_factor(mixture, v, u, row) for v in range(len(row)))
    return math.log(mixture.weights.tolist()[u]) + sum(factors)


def plain_log_prob(mixture, row):
    """log P(row), summed over sources."""
    return np.logaddexp.reduce([plain_joint(mixture, u, row) for u in sources(mixture)])


def sources(mixture):
    return range(mixture.n_sources)


def _entries(spec, v, row):
    """Row of the table, and z = (1, numbers)."""
    d, z = 0, [1.0]
    for p in spec.parents[v]:
        kind, x = spec.kind(p), row[p]
        if kind is Kind.CATEGORICAL:
            d = d * spec.binned.card(p) + int(x)
        elif kind is Kind.HURDLE:
            z += [1.0, x] if x > -math.inf else [0.0, 0.0]
        else:
            z.append(x)
    return d, z


def _law(cpd, u, value, entries):
    d, z = entries
    if isinstance(cpd, HurdleCPD):
        above = value > -math.inf
        gate = _law(cpd.gate, u, int(above), entries)
        return gate + (_law(cpd.size, u, value, entries) if above else 0.0)
    if isinstance(cpd, LogisticCPD):
        lines = cpd.coefficients.tolist()[u][d]
        free = len(lines[0])
        scores = [sum(z[i] * lines[i][s] for i in range(len(z))) for s in range(free)] + [0.0]
        return scores[int(value)] - float(np.logaddexp.reduce(scores))
    if isinstance(cpd, PoissonCPD):
        rate = math.exp(_dot(z, cpd.coefficients.tolist()[u][d]))
        return stats.poisson.logpmf(value, rate)
    if hasattr(cpd, "variances"):
        mean = _dot(z, cpd.coefficients.tolist()[u][d])
        scale = math.sqrt(cpd.variances.tolist()[u][d])
        if isinstance(cpd, StudentTCPD):
            return stats.t.logpdf(value, 4, mean, scale)
        return stats.norm.logpdf(value, mean, scale)
    table = cpd.values[u].reshape(-1, cpd.card).tolist()
    return math.log(table[d][int(value)])


def _dot(z, line):
    return sum(x * b for x, b in zip(z, line, strict=True))


# -- integrals over missing cells --------------------------------------------

EDGE, NODES = 12.0, 161
"""Of the grid: smooth laws on it are summed to more digits than doubles hold."""


def completions(spec, row, missing):
    """Every way to fill in missing states, missing numbers on one grid for all of a way.

    Yields rows, of which a number that was missing is an array, and the weight of its points.
    """
    numbers = [v for v in missing if spec.kind(v).numeric]
    states = [v for v in missing if v not in numbers]
    axis = np.linspace(-EDGE, EDGE, NODES)
    grids = np.meshgrid(*[axis] * len(numbers), indexing="ij")
    weight = (axis[1] - axis[0]) ** len(numbers)
    for chosen in itertools.product(*(range(spec.binned.card(v)) for v in states)):
        filled = list(row)
        for v, x in zip((*states, *numbers), (*chosen, *grids), strict=True):
            filled[v] = x
        yield filled, weight
