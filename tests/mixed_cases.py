"""Random mixtures in which some variables are numbers, and their answers by grids of numbers.

The oracle shares no code with the package: it lays a grid over every number that is not known,
multiplies densities of scipy, and adds up.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import stats

from pyromix.model.kind import Kind, Unit
from pyromix.model.mixed import MixedMixture, MixedSpec
from pyromix.model.spec import MixtureSpec

UNITS = (Unit(0.5, 1.3), Unit(0.2, 0.6, logarithmic=True))


def mixture(kinds, parents, k=2, seed=0, spread=0.5):
    """A random mixture; variables are given in a topological order, states are a, b(, c)."""
    states = {n: ["a", "b", "c"] if kind == "categorical" else [0, 1] for n, kind in kinds.items()}
    binned = MixtureSpec.from_parents(states, parents, k)
    spec = MixedSpec(binned, tuple(Kind(kinds[name]) for name in binned.variables))
    units = [
        Unit() if kind is Kind.COUNT or not kind.numeric else UNITS[kind.logarithmic]
        for kind in spec.kinds
    ]
    cpds = tuple(spec.standard_cpd(v) for v in range(spec.n_variables))
    weights = torch.full((k,), 1 / k, dtype=torch.float64)
    plain = MixedMixture(spec, tuple(units), weights, cpds)
    at = plain.parameters
    noise = torch.randn(
        at.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return plain.with_parameters(at + spread * noise)


def inner(unit, raw):
    with np.errstate(divide="ignore"):
        x = np.log(raw) if unit.logarithmic else np.asarray(raw, float)
    return (x - unit.centre) / unit.scale


def outer(unit, x):
    raw = np.asarray(x) * unit.scale + unit.centre
    return np.exp(raw) if unit.logarithmic else raw


def points(kind, card):
    """Values of a vertex and what each stands for, as they are reckoned with."""
    line = np.linspace(-16, 16, 201)
    steps = np.full(201, 0.16)
    match kind:
        case Kind.CATEGORICAL:
            return np.arange(card), np.ones(card)
        case Kind.COUNT:
            return np.arange(80.0), np.ones(80)
        case Kind.HURDLE:
            return np.append(-np.inf, line), np.append(1.0, steps)
        case Kind.HEAVY_TAILED:
            t = np.linspace(-12, 12, 601)  # x = sinh t reaches 8e4
            return np.sinh(t), np.cosh(t) * 0.04
        case _:
            return line, steps


def predictor(coefficients, spec, v, u, values):
    """Lines of every point, the axis of states last where there is one."""
    row, z = np.zeros((), int), [np.ones(())]
    for p in spec.parents[v]:
        x, kind = values[p], spec.kinds[p]
        if not kind.numeric:
            row = row * spec.binned.card(p) + x
        elif kind is Kind.HURDLE:
            z += [(x > -np.inf).astype(float), np.where(x > -np.inf, x, 0.0)]
        else:
            z.append(x)
    lines = coefficients.detach().numpy()[u, row]
    extra = (None,) * (coefficients.ndim - 3)
    return sum(np.asarray(zj)[(..., *extra)] * lines[..., j, *(slice(None) for _ in extra)]
               for j, zj in enumerate(z))  # fmt: skip


def chances(gate, spec, v, u, values):
    """Probabilities of states at every point, states last."""
    if not hasattr(gate, "coefficients"):
        return gate.values.detach().numpy()[(u, *(values[p] for p in spec.parents[v]))]
    scores = predictor(gate.coefficients, spec, v, u, values)
    scores = np.concatenate([scores, np.zeros_like(scores[..., :1])], -1)
    odds = np.exp(scores - scores.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def picked(table, y):
    shape = np.broadcast_shapes(table.shape[:-1], np.shape(y))
    table = np.broadcast_to(table, (*shape, table.shape[-1]))
    return np.take_along_axis(table, np.broadcast_to(y, shape)[..., None].astype(int), -1)[..., 0]


def conditional(m, v, u, values):
    """P(v | u, parents) at every point."""
    spec, cpd, y, kind = m.spec, m.cpds[v], values[v], m.spec.kinds[v]
    if kind is Kind.CATEGORICAL:
        return picked(chances(cpd, spec, v, u, values), y)
    size = cpd.size if kind is Kind.HURDLE else cpd
    line = predictor(size.coefficients, spec, v, u, values)
    if kind is Kind.COUNT:
        return stats.poisson.pmf(y, np.exp(line))
    row = np.zeros((), int)
    for p in spec.parents[v]:
        if not spec.kinds[p].numeric:
            row = row * spec.binned.card(p) + values[p]
    sd = np.sqrt(size.variances.detach().numpy()[u, row])
    if kind is Kind.HEAVY_TAILED:
        return stats.t.pdf(y, 4, line, sd)
    if kind is Kind.HURDLE:
        above = y > -np.inf
        law = stats.norm.pdf(np.where(above, y, 0.0), line, sd)
        return picked(chances(cpd.gate, spec, v, u, values), above) * np.where(above, law, 1.0)
    return stats.norm.pdf(y, line, sd)


class Oracle:
    """P(outcome, evidence | do) on a grid; names and raw values as users give them."""

    def __init__(self, m, outcome, do=None, evidence=None):
        spec, do, evidence = m.spec, do or {}, evidence or {}
        names = [*spec.variables, "U"]
        fixed = {names.index(n): value for n, value in {**do, **evidence}.items()}
        done = {names.index(n) for n in do}
        stack, relevant = [names.index(n) for n in (outcome, *evidence)], set()
        while stack:
            v = stack.pop()
            if v not in relevant and v < spec.n_variables:
                relevant.add(v)
                stack += [] if v in done else spec.parents[v]
        self.mass, values, order = np.ones(()), {}, [*sorted(relevant), len(names) - 1]
        for axis, v in enumerate(order):
            shape = [1] * len(order)
            shape[axis] = -1
            kind = None if v == spec.n_variables else spec.kinds[v]
            if v in fixed:
                if kind is None:
                    x = [int(fixed[v])]
                elif not kind.numeric:
                    x = [spec.binned.states[v].index(fixed[v])]
                else:
                    x = [inner(m.units[v], fixed[v])]
                x, w = np.array(x), np.ones(1)
            elif kind is None:
                x, w = np.arange(spec.n_sources), np.ones(spec.n_sources)
            else:
                x, w = points(kind, spec.binned.cards[v])
            values[v] = x.reshape(shape)
            self.mass = self.mass * w.reshape(shape)
        u = values[spec.n_variables]
        self.mass = self.mass * m.weights.detach().numpy()[u]
        for v in sorted(relevant - done):
            self.mass = self.mass * conditional(m, v, u, values)
        y = names.index(outcome)
        self.axis = order.index(y)
        self.grid = values[y].ravel()
        self.total = float(self.mass.sum())
        self.unit = None if y == spec.n_variables else m.units[y]
        others = tuple(i for i in range(len(order)) if i != self.axis)
        self.law = self.mass.sum(others) / self.total

    @property
    def probs(self):
        return self.law

    @property
    def raw(self):
        return outer(self.unit, self.grid)

    @property
    def mean(self):
        return float((self.law * self.raw).sum())

    @property
    def sd(self):
        return math.sqrt(float((self.law * (self.raw - self.mean) ** 2).sum()))


def density(m, outcome, at, do=None, evidence=None):
    """Density at a number, by the probability of the evidence with and without it."""
    unit = m.units[m.spec.variables.index(outcome)]
    slope = 1 / (unit.scale * (at if unit.logarithmic else 1.0))
    seen = Oracle(m, "U", do, {**(evidence or {}), outcome: at}).total
    return seen / Oracle(m, outcome, do, evidence).total * slope
