"""The search for a plan: small separators first, views grown greedily, ties by what they cover."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence

from pyromix.errors import PlanError
from pyromix.identify.network.plan import Link, Plan, Run, Views
from pyromix.identify.network.separation import Neighbours, dependence, rank_bound, tells
from pyromix.model.spec import MixtureSpec

MAX_SEPARATOR = 3
"""Largest conditioning set tried: every further variable splits the rows again."""

MAX_ASSIGNMENTS = 4096
"""Largest number of assignments of a conditioning set."""

SEPARATORS = 1500
"""Conditioning sets of one size that are tried; beyond, only vertices with many neighbours."""

VERTICES_OF_A_SMALL_GRAPH = 20
"""Vertices up to which a refusal looks at conditioning sets of every size tried."""

ORDERS = 6
"""Orders in which views are grown from one conditioning set."""

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

    Args:
        spec: the structure.
        limit: how many at most.

    Raises:
        PlanError: there is none.
    """
    found: dict[tuple[Views, tuple[int, ...]], Plan] = {}
    sizes = range(max(0, min(MAX_SEPARATOR, spec.n_variables - 3)) + 1)
    for given in itertools.chain.from_iterable(separators(spec, size) for size in sizes):
        complete = [plan for plan in found.values() if plan.complete]
        if complete and len(given) > min(len(p.runs[0].conditioning) for p in complete):
            break
        if len(complete) >= max(limit, ENOUGH):
            break
        near = dependence(spec, given)
        for views in _views(spec, given, near):
            if (views, given) not in found:
                found[views, given] = complete_plan(spec, views, given, near)
    if not found:
        raise _no_plan(spec)
    return sorted(found.values(), key=_merit, reverse=True)[:limit]


def covers(
    spec: MixtureSpec, given: Sequence[int], views: Views, near: Neighbours
) -> tuple[int, ...]:
    """Vertices whose family is covered by the views of a run (THEORY section 5.3).

    What of the family lies outside Z must be d-separated from views that together can show k
    sources. A vertex that U does not point at needs no run.

    Args:
        spec: the structure.
        given: Z.
        views: of the run.
        near: dependence given Z.
    """
    found = []
    for v, parents in enumerate(spec.parents):
        outside = {v, *parents} - set(given)
        witnesses = [w for i in apart(views, outside, near) for w in views[i]]
        if (
            v in spec.uninfluenced
            or not outside
            or (witnesses and rank_bound(spec, witnesses, given) >= spec.n_sources)
        ):
            found.append(v)
    return tuple(found)


def apart(views: Views, vertices: set[int], near: Neighbours) -> tuple[int, ...]:
    """Numbers of the views that are d-separated from a set of vertices, and disjoint from it."""
    return tuple(
        i
        for i, view in enumerate(views)
        if vertices.isdisjoint(view) and not any(near[w] & vertices for w in view)
    )


def layers(spec: MixtureSpec, covered: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Vertices that known ancestors cover, round after round (see ``plan``).

    Args:
        spec: the structure.
        covered: vertices whose CPT is known to begin with.
    """
    known, rounds = set(covered), []
    ancestral = _ancestral(spec, known)
    while True:
        layer = [
            v
            for v, parents in enumerate(spec.parents)
            if v not in known
            and ancestral.issuperset(parents)
            and len(ancestral) > len(parents)
            and rank_bound(spec, ancestral.difference(parents), parents) >= spec.n_sources
        ]
        if not layer:
            return tuple(rounds)
        rounds.append(tuple(layer))
        known.update(layer)
        ancestral = _ancestral(spec, known)


def _ancestral(spec: MixtureSpec, known: set[int]) -> set[int]:
    """Known vertices all of whose ancestors are known."""
    ancestral: set[int] = set()
    for v, parents in enumerate(spec.parents):  # topological order
        if v in known and ancestral.issuperset(parents):
            ancestral.add(v)
    return ancestral


def complete_plan(
    spec: MixtureSpec,
    views: Views,
    given: tuple[int, ...],
    near: Neighbours | None = None,
) -> Plan:
    """Add to views and a conditioning set what they cover, the links, and the layers.

    Args:
        spec: the structure.
        views: mutually d-separated given U and Z, the first two with k sources to show.
        given: Z.
        near: dependence given Z; computed when left out.
    """
    near = dependence(spec, given) if near is None else near
    run = Run(views, given, covers(spec, given, views, near))
    links = tuple(Link(0, z, _aligners(spec, run, near, z)) for z in given)
    rounds = layers(spec, run.covers)
    covered = {*run.covers, *(v for layer in rounds for v in layer)}
    uncovered = tuple(v for v in range(spec.n_variables) if v not in covered)
    return Plan(spec, (run,), links, rounds, uncovered)


def _aligners(spec: MixtureSpec, run: Run, near: Neighbours, vertex: int) -> tuple[int, ...]:
    """Vertices whose law given (u, z) is known from the run and does not depend on one z."""
    rest = tuple(z for z in run.conditioning if z != vertex)
    reached = dependence(spec, rest)[vertex]
    informative = tells(spec, run.conditioning)
    return tuple(w for w in known_alone(run.views, near) if w in informative and w not in reached)


def known_alone(views: Views, near: Neighbours) -> tuple[int, ...]:
    """Vertices whose own law within a source, given Z, two views cover that do not depend on it."""
    return tuple(w for w in sorted(near) if len(apart(views, {w}, near)) >= 2)


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


def separators(spec: MixtureSpec, size: int) -> list[tuple[int, ...]]:
    """Conditioning sets of one size; where they are many, of the vertices with most neighbours.

    Args:
        spec: the graph.
        size: number of vertices.
    """
    n = spec.n_variables
    degree = [len(spec.parents[v]) + len(spec.children[v]) for v in range(n)]
    ranked = sorted(range(n), key=lambda v: -degree[v])
    pool = n
    while pool > size and math.comb(pool, size) > SEPARATORS:
        pool -= 1
    return [
        given
        for given in itertools.combinations(sorted(ranked[:pool]), size)
        if spec.n_joint(given) <= MAX_ASSIGNMENTS
    ]


def _views(spec: MixtureSpec, given: tuple[int, ...], near: Neighbours) -> Iterator[Views]:
    """Triples of views grown greedily in several orders: vertices with few neighbours first."""
    informative = sorted(tells(spec, given))
    if len(informative) < 3:
        return
    rng = random.Random(0)
    for number in range(ORDERS):
        key = {v: len(near[v]) * (rng.random() if number else 1.0) for v in informative}
        order = sorted(informative, key=key.__getitem__)
        sets = _grown(spec, order, near)
        if sets is None:
            continue
        ranks = sorted(((rank_bound(spec, s, given), s) for s in sets), reverse=True)
        if ranks[1][0] >= spec.n_sources and ranks[2][0] >= min(2, spec.n_sources):
            one, two, three = (tuple(sorted(s)) for _, s in ranks)
            yield one, two, three


def _grown(spec: MixtureSpec, order: Sequence[int], near: Neighbours) -> list[list[int]] | None:
    """Three sets without an edge of dependence between them; none where there are no seeds."""
    seeds: list[int] = []
    for v in order:
        if len(seeds) < 3 and not near[v] & set(seeds):
            seeds.append(v)
    if len(seeds) < 3:
        return None
    sets = [[seed] for seed in seeds]
    for v in order:
        if v in seeds:
            continue
        touching = [s for s in sets if near[v] & set(s)]
        if not touching:
            touching = [min(sets, key=spec.n_joint)]
        if len(touching) == 1:
            touching[0].append(v)
    return sets


def _no_plan(spec: MixtureSpec) -> PlanError:
    """Say what there is instead of three views, and what would help."""
    k, source = spec.n_sources, spec.source
    best: tuple[int, tuple[int, ...], list[list[int]]] = (0, (), [])
    most = MAX_SEPARATOR if spec.n_variables <= VERTICES_OF_A_SMALL_GRAPH else 1
    sizes = range(min(most, spec.n_variables - 1) + 1)
    for given in itertools.chain.from_iterable(separators(spec, size) for size in sizes):
        near = dependence(spec, given)
        apart: list[list[int]] = []
        seen: set[int] = set()
        for v in sorted(tells(spec, given), key=lambda v: len(near[v])):
            if v not in seen:
                together = _component(v, near)
                seen |= together
                apart.append(sorted(together))
        if len(apart) > best[0]:
            best = (len(apart), given, apart)
    n, given, apart = best
    names = ["{" + ", ".join(spec.name(v) for v in view) + "}" for view in apart]
    condition = f" and {', '.join(spec.name(z) for z in given)}" if given else ""
    if n < 3:
        found = f"found {n}: {' and '.join(names) if names else 'none'}"
        helps = (
            f"One more variable that depends on {source} and is independent of these given "
            f"{source} would do, or a sparser graph if it can be justified."
        )
    else:
        sizes = [spec.n_joint(view) for view in apart]
        found = f"found {' '.join(names)} with {', '.join(map(str, sizes))} joint states"
        helps = f"Variables with more states, or more of them, or fewer sources than {k}."
    return PlanError(
        f"expected three views of {source} that are independent given {source}{condition or ''}, "
        f"two of them with {k} joint states or more; {found}. {helps}",
        uncovered=spec.variables,
    )


def _component(start: int, near: Neighbours) -> set[int]:
    """Connected component of the graph of dependence."""
    seen, stack = {start}, [start]
    while stack:
        for w in near[stack.pop()] - seen:
            seen.add(w)
            stack.append(w)
    return seen
