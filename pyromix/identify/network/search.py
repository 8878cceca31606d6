"""The search for a plan: small separators first, large views, then the smallest; ties by cover.

THEORY section 5.2: any three vertex sets without an edge of D_Z between them are views given Z
(``separation``). They show k sources in the constructive case, two views with k joint
states, of the condition min(k_A, k) + min(k_B, k) + min(k_C, k) >= 2 k + 2 of [kruskal77], where
k_A is the number of joint states of view A (THEORY section 5.1).
"""

from __future__ import annotations

import itertools
import math
from functools import cache

from pyromix.errors import PlanError
from pyromix.identify.network.covering import Conditioned, complete_plan
from pyromix.identify.network.growing import grown_views
from pyromix.identify.network.plan import Plan, Views
from pyromix.identify.network.separation import Separations, members, union
from pyromix.identify.network.smallest import Ancestry, Outcome, smallest_views
from pyromix.model.spec import MixtureSpec

MAX_SEPARATOR = 3
"""Largest conditioning set tried: every further variable splits the rows again."""

MAX_ASSIGNMENTS = 4096
"""Largest number of assignments of a conditioning set."""

SEPARATORS = 1500
"""Conditioning sets of one size for which views are grown; beyond, only those of vertices with many
neighbours."""

MORE_SEPARATORS = 4100
"""The same for which the smallest views are gone through: all of three among 30 vertices."""

VERTICES_OF_A_SMALL_GRAPH = 20
"""Vertices up to which a refusal looks at conditioning sets of every size tried."""

ENOUGH = 8
"""Complete plans after which the search stops."""


def find_plan(spec: MixtureSpec) -> Plan:
    """Return the most promising plan for a graph, its cardinalities and k.

    Args:
        spec: the structure.

    Raises:
        PlanError: no three views of U are independent of each other, whatever small set is
            conditioned on; the best that exists is named.
    """
    return find_plans(spec, 1)[0]


def find_plans(spec: MixtureSpec, limit: int = ENOUGH) -> list[Plan]:
    """Return plans, the most promising first, so that data may choose among them.

    Conditioning sets are tried by size; the first size that allows a complete plan ends the search.
    Large views are grown first; where none of one size makes a complete plan, the smallest views
    are gone through.

    Args:
        spec: the structure.
        limit: how many at most.

    Raises:
        PlanError: there is none.
    """
    # Every path from U begins with a child of it, and two views that U reaches through one child
    # depend on each other through that child: three views take three.
    if spec.n_variables - len(spec.uninfluenced) < 3:
        raise _no_plan(spec)
    graph = Separations(spec.parents, spec.uninfluenced)
    ancestry, found = Ancestry(spec), _Found(max(limit, ENOUGH))
    conditioned = cache(lambda given: Conditioned(spec, given, graph))
    for size in range(max(0, min(MAX_SEPARATOR, spec.n_variables - 3)) + 1):
        for given in separators(spec, size):
            if found.enough:
                break
            here = conditioned(given)
            for views in grown_views(here):
                found.add(here, views)
        if found.complete:
            break
        for given in separators(spec, size, MORE_SEPARATORS):
            here = conditioned(given)
            for views in smallest_views(here, ancestry, found.lacks):
                found.add(here, views, grown=False)
        if found.complete:
            break
    plans = found.plans if found.complete else found.plans | found.spare
    if not plans:
        raise _no_plan(spec)
    ordered = sorted(plans.values(), key=_merit, reverse=True)
    # Of linked plans the first leaves the fewest CPTs uncovered: what the graph alone recovers.
    linked = [plan for plan in ordered[limit:] if not plan.unlinked][:1]
    if limit > 1 and linked and all(plan.unlinked for plan in ordered[:limit]):
        return [*ordered[: limit - 1], *linked]
    return ordered[:limit]


class _Found:
    """Plans so far: the best of them say which ones are still worth while."""

    def __init__(self, limit: int) -> None:
        """Nothing yet; after so many complete plans it is enough."""
        self.plans: dict[tuple[Views, tuple[int, ...]], Plan] = {}
        self.spare: dict[tuple[Views, tuple[int, ...]], Plan] = {}
        self.complete: list[Plan] = []
        self._limit, self._best, self._recovers = limit, Outcome(2**62, 0), 2**62

    @property
    def enough(self) -> bool:
        return len(self.complete) >= self._limit

    def lacks(self, outcome: Outcome) -> bool:
        """Whether a plan with such an outcome would be news, or one more that is complete."""
        if outcome == Outcome(0, 0):
            return not self.enough
        recovers = not outcome.unlinked and outcome.uncovered < self._recovers
        return recovers or outcome < self._best

    def add(self, here: Conditioned, views: Views, *, grown: bool = True) -> None:
        """Keep what three views make; where they are the smallest it may be a spare."""
        if (views, here.given) in self.plans:
            return
        plan = complete_plan(here.spec, views, here.given, here)
        kept = self.plans if grown or plan.complete else self.spare
        kept[views, here.given] = plan
        outcome = Outcome(len(plan.uncovered), len(plan.unlinked))
        self._best = min(self._best, outcome)
        if plan.complete:
            self.complete.append(plan)
        if not outcome.unlinked:
            self._recovers = min(self._recovers, outcome.uncovered)


def _merit(plan: Plan) -> tuple[int, ...]:
    """More is better."""
    spec, run = plan.spec, plan.runs[0]
    sizes = sorted(min(spec.n_joint(view), spec.n_sources**2) for view in run.views)
    return (
        int(plan.complete),
        -len(plan.uncovered),
        -len(plan.unlinked),
        -plan.n_assignments,
        sizes[0] * sizes[1],
        len(run.covers),
    )


def separators(spec: MixtureSpec, size: int, most: int = SEPARATORS) -> list[tuple[int, ...]]:
    """Conditioning sets of one size; where they are many, of the vertices with most neighbours.

    Never of bins of a number: they separate nothing that the number separates.

    Args:
        spec: the graph.
        size: number of vertices.
        most: how many sets at most.
    """
    usable = [v for v in range(spec.n_variables) if v not in spec.coarse]
    degree = [len(found) + len(spec.children[v]) for v, found in enumerate(spec.parents)]
    ranked = sorted(usable, key=lambda v: -degree[v])
    pool = len(usable)
    while pool > size and math.comb(pool, size) > most:
        pool -= 1
    return [
        given
        for given in itertools.combinations(sorted(ranked[:pool]), size)
        if spec.n_joint(given) <= MAX_ASSIGNMENTS
    ]


def _no_plan(spec: MixtureSpec) -> PlanError:
    """Say what there is instead of three views, and what would help."""
    k, source = spec.n_sources, spec.source
    best: tuple[int, tuple[int, ...], list[list[int]]] = (0, (), [])
    graph = Separations(spec.parents, spec.uninfluenced)
    most = MAX_SEPARATOR if spec.n_variables <= VERTICES_OF_A_SMALL_GRAPH else 1
    sizes = range(min(most, spec.n_variables - 1) + 1)
    for given in itertools.chain.from_iterable(separators(spec, size) for size in sizes):
        here = Conditioned(spec, given, graph)
        apart: list[list[int]] = []
        seen = 0
        for v in sorted(members(here.informative), key=lambda v: here.near[v].bit_count()):
            if not seen >> v & 1:
                together = _component(v, here)
                seen |= together
                apart.append(list(members(together)))
        if len(apart) > best[0]:
            best = (len(apart), given, apart)
    n, given, apart = best
    names = ["{" + ", ".join(spec.name(v) for v in view) + "}" for view in apart]
    condition = f" and {', '.join(spec.name(z) for z in given)}" if given else ""
    if n < 3:
        found = f"found {n}{': ' if names else ''}{' and '.join(names)}"
        helps = (
            f"one more variable that depends on {source} and is independent of the others given "
            f"{source}, or a sparser graph if it can be justified"
        )
    else:
        sizes = [spec.n_joint(view) for view in apart]
        found = f"found {' '.join(names)} with {', '.join(map(str, sizes))} joint states"
        helps = f"variables with more states, more variables, or fewer sources than {k}"
    return PlanError(
        f"expected three views of {source}, groups of variables that are independent given "
        f"{source}{condition}, two of them with {k} joint states or more; {found}. What to try: "
        f"{helps}",
        uncovered=spec.variables,
    )


def _component(start: int, here: Conditioned) -> int:
    """Connected component of the graph of dependence, as bits."""
    found, new = 0, 1 << start
    while new:
        found |= new
        new = union(here.near, members(new)) & ~found
    return found
