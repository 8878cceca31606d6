"""One run on data: every assignment of its conditioning set solved at once, the best plan chosen.

Each z is one mixture of products (THEORY section 5.1),
T_z[a, b, c] = sum over u of P(u | z) P(a | u, z) P(b | u, z) P(c | u, z), solved as in
[gordon24colt] and [cardoso96] (THEORY sections 3.2 and 3.3; ``views/three_views.py``).

The views of a plan may hold many vertices. Data with rows use as many as there are features for;
exact moments of a large network use the few that show k sources, since tables grow with every one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.data.asking import Asked, asked
from pyromix.data.moments import MomentSource, Rows
from pyromix.identify.network.covering import complete_plan
from pyromix.identify.network.plan import Plan, Run
from pyromix.identify.network.separation import rank_bound
from pyromix.identify.product.search import (
    GOOD_SEPARATION,
    Trial,
    judged,
    most_precise,
    sharpened,
    tried,
    view_tables,
)
from pyromix.identify.views.patterns import (
    Patterns,
    all_assignments,
    patterns_of,
    thinned,
)
from pyromix.identify.views.solution import ProductDiagnostics
from pyromix.identify.views.splits import Views
from pyromix.identify.views.views import (
    MAX_FEATURES,
    SolvedViews,
    indicator_features,
    solve_views,
)
from pyromix.model.spec import MixtureSpec
from pyromix.model.status import Status

TRIMS = 3
"""Choices of view vertices that are tried where not all of them can be used."""

VIEW_CELLS = 2**12
"""Joint states of all views and assignments where there are no rows: tables hold families too."""

ROWS_OF_A_FIRST_LOOK = 2048
"""Rows on which plans are compared, where a table has twice as many distinct ones."""

ROWS_PER_ASSIGNMENT = 512
"""The same per assignment of the conditioning set."""

ENOUGH_SHOWN = 0.8
"""Share of the rows, in assignments that show all sources, at which a plan is good enough."""

MAX_TRIALS = 6
"""Plans and choices that are solved before the best goes on."""

MAX_PATTERN_WORK = 2**20
"""Distinct rows over all trials after which no further one is made."""


@dataclass(frozen=True, eq=False)
class SolvedRun:
    """The assignments of one run, solved.

    Attributes:
        plan: with the views that were used.
        columns: the vertex of each column of the patterns.
        patterns: rows, one stratum per assignment that has any.
        assignments: ``(r, c)`` state numbers of the conditioning set, per stratum.
        mass: P(assignment), ``(r,)``, sums to one.
        solved: views and sources per stratum.
        singles: per vertex of a view its table ``(r, k, card)``, the missing state included.
        status: a ``Status`` per stratum.
        diagnostics: per stratum.
        n_drawn: how many rows of the table were drawn for it; 0 where it saw all of them.
    """

    plan: Plan
    columns: tuple[int, ...]
    patterns: Patterns
    assignments: Int[Tensor, "r c"]
    mass: Float[Tensor, " r"]
    solved: SolvedViews
    singles: dict[int, Float[Tensor, "r k _"]]
    status: Int[Tensor, " r"]
    diagnostics: ProductDiagnostics
    n_drawn: int = 0

    @property
    def run(self) -> Run:
        """Views, conditioning set, what they cover."""
        return self.plan.runs[0]

    @property
    def ok(self) -> Bool[Tensor, " r"]:
        """Which strata are solved."""
        return self.status == Status.OK

    @property
    def solved_mass(self) -> float:
        """Probability of the assignments that are solved."""
        return float(self.mass[self.ok].sum())


def solve_plans(
    moments: MomentSource,
    plans: Sequence[Plan],
    rng: np.random.Generator,
    *,
    settle: bool = False,
) -> SolvedRun:
    """Solve the runs of several plans, and keep the one with the most precise sources.

    Args:
        moments: data, or a population.
        plans: of one spec; complete ones first.
        rng: of the choice of view vertices and of random combinations.
        settle: for the first complete plan whose first look shows all sources ``GOOD_SEPARATION``
            standard errors apart, and for that look: a start for EM need not be more precise.
    """
    moments = asked(moments, plans[0].spec)
    looks: list[_Solved] = []
    work, enough = 0, False
    for plan in plans:
        if looks and looks[0].plan.complete and not plan.complete:
            break
        for views in _choices(moments, plan, rng):
            chosen = complete_plan(plan.spec, views, plan.runs[0].conditioning)
            looks.append(_solve(moments, chosen, rng, ROWS_OF_A_FIRST_LOOK))
            work += looks[-1].trial.patterns.rows.shape[0]
            enough = len(looks) >= MAX_TRIALS or work > MAX_PATTERN_WORK
            enough = enough or (settle and plan.complete and looks[-1].sharp)
            if enough:
                break
        if enough:
            break
    settled = settle and looks[-1].plan.complete and looks[-1].sharp
    best = looks[-1] if settled else _best(moments, looks, rng)
    plan, first, assignments = best.plan, best.trial, best.assignments
    final = first if settled else most_precise([first, sharpened(first, first.patterns, rng)])
    singles, moved = view_tables(final.solved, final.patterns)
    status, diagnostics = judged(first.solved, final.solved, final.patterns.n_rows, moved)
    mass = moments.mass(plan.runs[0].conditioning, assignments)
    return SolvedRun(
        plan,
        final.columns,
        final.patterns,
        assignments,
        mass / mass.sum(),
        final.solved,
        {final.columns[c]: table for c, table in singles.items()},
        status,
        diagnostics,
        0 if best.on_all_rows else int(first.patterns.n_rows.sum()),
    )


@dataclass(frozen=True, eq=False)
class _Solved:
    """A plan, solved: on all rows or on some."""

    plan: Plan
    trial: Trial
    assignments: Int[Tensor, "r c"]
    on_all_rows: bool

    @property
    def sharp(self) -> bool:
        """Whether it shows all sources, and far apart."""
        return self.trial.shown >= ENOUGH_SHOWN and self.trial.separation > GOOD_SEPARATION


def _best(moments: Asked, looks: list[_Solved], rng: np.random.Generator) -> _Solved:
    """The most precise of the plans, solved on all rows.

    What a first look prefers is enough where it shows all sources; else the others are solved in
    full, too.
    """
    if looks[0].on_all_rows:
        return looks[_most_precise(looks)]
    solved: list[_Solved] = []
    while looks:
        chosen = looks.pop(_most_precise(looks))
        solved.append(_solve(moments, chosen.plan, rng))
        if solved[-1].trial.shown >= ENOUGH_SHOWN:
            break
    return solved[_most_precise(solved)]


def _most_precise(solved: Sequence[_Solved]) -> int:
    trials = [one.trial for one in solved]
    best = most_precise(trials)
    return next(i for i, trial in enumerate(trials) if trial is best)


def _solve(
    moments: Asked, plan: Plan, rng: np.random.Generator, n_rows: int | None = None
) -> _Solved:
    """One plan: the assignments that occur, stacked; on so many rows drawn at random, if asked."""
    run, spec = plan.runs[0], plan.spec
    assignments = all_assignments(spec.joint_shape(run.conditioning))
    mass = moments.mass(run.conditioning, assignments)
    assignments = assignments[(mass > 0).to(assignments.device)]
    columns = tuple(v for view in run.views for v in view)
    if isinstance(moments, Rows):
        columns = tuple(v for v in range(spec.n_variables) if v not in run.conditioning)
    patterns = patterns_of(moments, columns, run.conditioning, assignments)
    some = n_rows is not None and isinstance(moments, Rows)
    if some and n_rows is not None:
        n_rows = max(n_rows, ROWS_PER_ASSIGNMENT * len(assignments))
        some = patterns.rows.shape[0] > 2 * n_rows
        if some:
            patterns = thinned(patterns, n_rows, int(rng.integers(2**62)))
    place = {v: i for i, v in enumerate(columns)}
    one, two, three = (tuple(place[v] for v in view) for view in run.views)
    views: Views = (one, two, three)
    features = indicator_features(patterns, views, spec.n_sources)
    seed = int(rng.integers(2**62))
    solved = solve_views(patterns, views, features, spec.n_sources, seed)
    return _Solved(plan, tried(columns, patterns, solved), assignments, not some)


def _choices(moments: Asked, plan: Plan, rng: np.random.Generator) -> list[Views]:
    """The views of a plan, or random smaller ones where they are too large."""
    run, spec = plan.runs[0], plan.spec
    strata = spec.n_joint(run.conditioning)
    if isinstance(moments, Rows):
        if all(sum(spec.card(v) - 1 for v in view) < MAX_FEATURES // 2 for view in run.views):
            return [run.views]
        return [_few(spec, run, rng, math.inf) for _ in range(TRIMS)]
    cells = spec.n_joint(v for view in run.views for v in view) * strata
    if cells <= VIEW_CELLS:
        return [run.views]
    return [_few(spec, run, rng, VIEW_CELLS / strata) for _ in range(TRIMS)]


def _few(spec: MixtureSpec, run: Run, rng: np.random.Generator, cells: float) -> Views:
    """Random vertices of each view: enough for k sources, and more while tables stay small."""
    chosen: list[list[int]] = []
    rest: list[list[int]] = []
    for number, view in enumerate(run.views):
        order = rng.permutation(view).tolist()
        wanted = spec.n_sources if number < 2 else min(2, spec.n_sources)
        n = 1
        while n < len(order) and rank_bound(spec, order[:n], run.conditioning) < wanted:
            n += 1
        chosen.append(order[:n])
        rest.append(order[n:])
    used = spec.n_joint(v for view in chosen for v in view)
    features = [sum(spec.card(v) - 1 for v in view) for view in chosen]
    while any(rest):
        number = min((i for i in range(3) if rest[i]), key=lambda i: len(chosen[i]))
        v = rest[number].pop()
        if used * spec.card(v) <= cells and features[number] < MAX_FEATURES // 4:
            used *= spec.card(v)
            features[number] += spec.card(v) - 1
            chosen[number].append(v)
    one, two, three = (tuple(sorted(view)) for view in chosen)
    return one, two, three
