"""Gibbs for mixtures with numbers, by the joint law of parameters and table.

python tests/studies/mixed_posterior_ranks.py [iterations]. Parameters drawn from the prior, rows
drawn given them, one sweep of Gibbs given the rows, rows anew, and so on: where every conditional
is right, parameters have the law of the prior throughout [J. Geweke, Getting it right, JASA 99,
2004]. Each is turned into its rank among draws of the prior, a uniform number; means of ranks and
of their squares are compared by errors of batch means. Every family is there once, with a shared
table, and numbers and states that are missing.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numpy as np
import torch

from pyromix.data.records import Records
from pyromix.estimate.mixed.prior import MixedPrior, prior_of
from pyromix.model.families.linear_gaussian import LinearSums
from pyromix.model.kind import Kind, Unit
from pyromix.model.mixed import MixedMixture, MixedSpec
from pyromix.model.spec import MixtureSpec
from pyromix.posterior.mixed.gibbs import Sweep, name_of
from pyromix.posterior.mixed.laws import Family, draw_law
from pyromix.posterior.variates import standard_gamma

KINDS = {
    "S": "categorical",
    "A": "real",
    "Y": "positive",
    "T": "student-t",
    "B": "categorical",
    "W": "count",
    "H": "hurdle",
}
PARENTS = {"A": ["S"], "Y": ["A", "S"], "B": ["T"], "H": ["S"]}

N = 12
"""Rows of a table."""

FROM_PRIOR = 4000
"""Draws that ranks are taken among."""

STRONGER = 4.0
"""Times the prior of fits: without it rates reach numbers that no row could have."""

BATCHES = 40


def model() -> MixedMixture:
    states = {n: ["a", "b"] if kind == "categorical" else [0, 1] for n, kind in KINDS.items()}
    binned = MixtureSpec.from_parents(states, PARENTS, 2, uninfluenced=["S"])
    spec = MixedSpec(binned, tuple(Kind(KINDS[name]) for name in binned.variables))
    units = tuple(Unit() for _ in spec.kinds)
    cpds = tuple(spec.standard_cpd(v) for v in range(spec.n_variables))
    return MixedMixture(spec, units, torch.tensor([0.5, 0.5], dtype=torch.float64), cpds)


def table(at: MixedMixture, generator: torch.Generator) -> Records:
    """Rows drawn from a mixture, with the same gaps each time."""
    spec = at.spec
    u = torch.multinomial(at.weights, N, replacement=True, generator=generator)
    columns: list[torch.Tensor] = []
    for v, cpd in enumerate(at.cpds):
        columns.append(cpd.sample(u, [columns[p] for p in spec.parents[v]], generator))
    for name, rows in (("A", [0, 1, 2]), ("S", [2, 3]), ("Y", [1, 4]), ("W", [5]), ("B", [6])):
        v = spec.vertex(name)
        columns[v] = columns[v].clone()
        columns[v][rows] = torch.nan if spec.kind(v).numeric else -1
    typed = [c.double() if spec.kind(v).numeric else c for v, c in enumerate(columns)]
    return Records(spec.kinds, at.units, tuple(typed), torch.ones(N, dtype=torch.float64))


def scaled(own):
    """Statistics of so many times the rows."""
    if isinstance(own, torch.Tensor):
        return STRONGER * own
    if isinstance(own, LinearSums):
        return LinearSums(STRONGER * own.weight, STRONGER * own.squares)
    if hasattr(own, "gate"):
        return type(own)(scaled(own.gate), scaled(own.size))
    return type(own)(STRONGER * own.gradient, STRONGER * own.hessian, own.radius)


def from_prior(at: MixedMixture, prior: MixedPrior, generator: torch.Generator) -> MixedMixture:
    """Laws given no rows; those without closed form after some steps from anywhere."""
    spec, cpds = at.spec, []
    none = torch.zeros(0, dtype=torch.long)
    for v, cpd in enumerate(at.cpds):
        above = [none.double() if spec.kind(p).numeric else none for p in spec.parents[v]]
        values = none.double() if spec.kind(v).numeric else none
        empty = Family.of(values, above, none, spec.n_sources)
        cpds.append(draw_law(cpd, at.cpds[v], empty, prior.statistics[v], generator))
    weights = standard_gamma(prior.weights + 1, generator)
    return replace(at, weights=weights / weights.sum(), cpds=tuple(cpds))


def main(n: int) -> None:
    torch.set_num_threads(1)
    start = time.process_time()
    generator = torch.Generator().manual_seed(0)
    plain = model()
    seed = plain.with_parameters(
        0.5 * torch.randn(plain.parameters.shape, generator=generator, dtype=torch.float64)
    )
    full = table(seed, generator)
    learned = prior_of(plain.spec, full)
    prior = MixedPrior(STRONGER * learned.weights, tuple(map(scaled, learned.statistics)))
    # A proposal of a posterior without rows is that of the prior, nearly always taken.
    drawn, at = [], seed
    for _ in range(FROM_PRIOR):
        at = from_prior(at, prior, generator)
        drawn.append(at.parameters)
    sorted_prior = torch.stack(drawn).sort(0).values
    found = []
    for _ in range(n):
        records = table(at, generator)
        sweep = Sweep.of(seed, records, prior)
        at = sweep.laws(at, sweep.complete(at, generator), generator)
        found.append(at.parameters)
    points = torch.stack(found)
    ranks = torch.searchsorted(sorted_prior.mT.contiguous(), points.mT.contiguous()).mT
    ranks = (ranks.double().numpy() + 0.5) / (FROM_PRIOR + 1)
    worst = []
    for power, mean, variance in ((1, 1 / 2, 1 / 12), (2, 1 / 3, 4 / 45)):
        batches = (ranks**power)[: n // BATCHES * BATCHES].reshape(BATCHES, -1, ranks.shape[1])
        means = batches.mean(1)
        error = np.hypot(means.std(0, ddof=1) / np.sqrt(BATCHES), np.sqrt(variance / FROM_PRIOR))
        worst.append((means.mean(0) - mean) / error)
    z = np.stack(worst)
    print(f"{n} iterations, {ranks.shape[1]} coordinates, {time.process_time() - start:.0f} s")
    print(f"root mean square of z {np.sqrt((z**2).mean()):.2f}, largest {np.abs(z).max():.2f}")
    for j in np.abs(z).max(0).argsort()[::-1][:6]:
        print(f"{name_of(plain, int(j)):24} rank {ranks[:, j].mean():.3f}  z {z[0, j]:+.2f} "
              f"and {z[1, j]:+.2f}")  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6000)
