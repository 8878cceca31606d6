"""The runs of a plan, solved as mixtures of products (THEORY section 4.1), a family at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.data.asking import asked
from pyromix.data.moments import MomentSource
from pyromix.identify.boundary.plan import BoundaryPlan
from pyromix.identify.product.solver import identify_product
from pyromix.model.randomness import RandomState
from pyromix.model.spec import MixtureSpec
from pyromix.model.status import Status


@dataclass(frozen=True, eq=False)
class SolvedRuns:
    """All runs of a plan, in its order.

    Attributes:
        plan: the runs.
        weights: M^a's P(u | cond_a), ``(runs, k)``.
        tables: per alignment variable its within-source table in every run, ``(runs, k, card)``;
            anything where a run does not have the variable.
        keys: per run and alignment variable the number of the assignment of its boundary, in
            row-major order; -1 where the run does not have it.
        mass: rows of each run, or its probability.
        standard_error: of the within-source means of each run, in whitened coordinates; rounding
            where moments are exact, infinite where a run does not count.
        status: a ``Status`` per run.
    """

    plan: BoundaryPlan
    weights: Float[Tensor, "runs k"]
    tables: tuple[Float[Tensor, "runs k _"], ...]
    keys: Int[Tensor, "runs variables"]
    mass: Float[Tensor, " runs"]
    standard_error: Float[Tensor, " runs"]
    status: Int[Tensor, " runs"]

    @property
    def rows(self) -> Float[Tensor, "runs k"]:
        """Labelled rows that each source of each run is worth: as many have that standard error."""
        k = self.weights.shape[1]
        return k * self.weights / self.standard_error.square().unsqueeze(1)

    def relabel(self, orders: Int[Tensor, "runs k"]) -> SolvedRuns:
        """Return the runs with source i of run a being its source ``orders[a, i]``."""
        return replace(
            self,
            weights=self.weights.gather(1, orders),
            tables=tuple(t.gather(1, orders.unsqueeze(-1).expand_as(t)) for t in self.tables),
        )

    def restricted(self, counted: Bool[Tensor, " runs"]) -> SolvedRuns:
        """Return the same runs, of which only some count."""
        return replace(self, standard_error=torch.where(counted, self.standard_error, math.inf))


def solve_runs(moments: MomentSource, plan: BoundaryPlan, random_state: RandomState) -> SolvedRuns:
    """Solve every family of runs as one batch of mixtures of products.

    Args:
        moments: data, or a population.
        plan: the runs.
        random_state: of the solver.
    """
    moments = asked(moments, plan.spec)
    spec, k = plan.spec, plan.spec.n_sources
    number = {variable: i for i, variable in enumerate(plan.alignment_variables)}
    mass = [moments.mass((), torch.zeros(0, 0, dtype=torch.int64, device="cpu"))]
    device, n_runs = mass[0].device, len(plan.runs)
    weights = torch.full((n_runs, k), 1 / k, dtype=torch.float64, device=device)
    errors = torch.full((n_runs,), math.inf, dtype=torch.float64, device=device)
    status = torch.zeros(n_runs, dtype=torch.int64, device=device)
    keys = torch.full((n_runs, len(number)), -1, dtype=torch.int64, device=device)
    tables = tuple(
        torch.full((n_runs, k, spec.card(v)), 0.5, dtype=torch.float64, device=device)
        for v, _ in number
    )
    for family, at in zip(plan.families, plan.slices, strict=True):
        found = family.independent
        given = found.conditioning
        assignments = torch.tensor(family.assignments, dtype=torch.int64, device=device)
        assignments = assignments.reshape(len(family.assignments), len(given))
        solution = identify_product(
            moments,
            k,
            variables=found.members,
            given=given,
            assignments=assignments,
            random_state=random_state,
        )
        mass.append(moments.mass(given, assignments))
        weights[at], status[at] = solution.weights, solution.status
        errors[at] = solution.diagnostics.standard_error
        for variable, table in zip(found.alignment_variables, solution.tables, strict=True):
            tables[number[variable]][at] = table
            keys[at, number[variable]] = _row_numbers(spec, variable[1], given, assignments)
    errors = torch.where(status == Status.OK, errors, math.inf)
    return SolvedRuns(plan, weights, tables, keys, torch.cat(mass), errors, status)


def pooled_table(
    runs: SolvedRuns, vertex: int, boundary: tuple[int, ...]
) -> tuple[Float[Tensor, "k *cards card"], Float[Tensor, "k ..."]]:
    """P_u(vertex | boundary) over all runs that have it, each by the rows it is worth.

    Returns:
        The table, nan where no run has the assignment, and the rows behind each distribution.
    """
    spec = runs.plan.spec
    variable = list(runs.plan.alignment_variables).index((vertex, boundary))
    key, table = runs.keys[:, variable], runs.tables[variable]
    has = key >= 0
    n_keys = spec.n_joint(boundary)
    worth = runs.rows[has].unsqueeze(-1)
    sums = table.new_zeros(n_keys, *table.shape[1:]).index_add_(0, key[has], worth * table[has])
    rows = table.new_zeros(n_keys, table.shape[1], 1).index_add_(0, key[has], worth)
    shape = [spec.n_sources, *spec.joint_shape(boundary)]
    return (sums / rows).movedim(0, 1).reshape(*shape, -1), rows.squeeze(-1).T.reshape(shape)


def _row_numbers(
    spec: MixtureSpec,
    boundary: tuple[int, ...],
    given: tuple[int, ...],
    assignments: Int[Tensor, "r c"],
) -> Int[Tensor, " r"]:
    """Number of the boundary's assignment in each run, in row-major order."""
    total = torch.zeros_like(assignments[:, :1].sum(1))
    for v in boundary:
        total = total * spec.card(v) + assignments[:, given.index(v)]
    return total
