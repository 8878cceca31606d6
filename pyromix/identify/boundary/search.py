"""The search for a good collection of runs (THEORY section 4.3); graph, cardinalities, k only.

It takes O(n 2^gamma) runs, gamma = max |MB(X)| <= Delta^2 [gordon23clear, Theorem 17] (THEORY
section 4.7, slip S1). Where the print of [gordon23clear] and perfect statistics part, statistics
win:

- A clean member (slip S2, see ``IndependentSet``) is conditioned on its parents alone, and COND is
  not reset to the whole boundary afterwards, as Alg. 4 does (slip S3).
- Boundaries of centres may overlap as long as no vertex lies in all of them. A path of 2 N_mp
  vertices has no N_mp disjoint boundaries, only ODD and EVEN runs with LINK and TAIL runs between
  them: both constructions are results of the one search below.
- A family of runs ranges over all assignments of COND where these are few, so that every row of
  data belongs to one of its runs; else over those of the good collection alone.

A vertex without an edge from U, and any vertex when k = 1, needs no run: its CPT is an ordinary
conditional probability.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import networkx as nx

from pyromix.errors import PlanError
from pyromix.identify.boundary.plan import BoundaryPlan, RunFamily, given_text, set_text
from pyromix.identify.boundary.sets import BoundaryGraph, IndependentSet
from pyromix.model.spec import MixtureSpec

MAX_RUNS = 1024
"""Assignments of COND up to which a family of runs has all of them."""

FAMILIES = 2
"""Families that every vertex is in, where the graph has as many. On a path of 9 binary vertices
(k = 2, CPT rows 0.3 apart, 20 mixtures) a second family brought the median over mixtures of the
root mean square error from .030 to .020 at 2e4 rows and from .0077 to .0056 at 2e5, and mixtures
with a CPT row that no run determines from 5 to 2 at 2e4. A third changed nothing."""

SETS_TRIED = 32
"""Cheapest independent sets around each vertex among which a collection is looked for."""


def plan_boundaries(
    spec: MixtureSpec, default: Sequence[int] = (), *, max_runs: int = MAX_RUNS
) -> BoundaryPlan:
    """Find a good collection of runs (THEORY section 4.3).

    The cheapest alignable independent set gives the centres. Every other vertex is then reached on
    the cheapest way from families that are there already to one that has it, over families that
    share an alignment variable: where the paper replaces a centre by the vertex, or adds it, this
    is one step; where it asks for LINK runs there are more. Then every vertex gets a second family
    where there is one: a single assignment at which sources are not separated (Obs. 14) makes
    others fail where there is but one.

    Args:
        spec: graph, cardinalities and k.
        default: the state of every vertex in the default run; state 0 where left out.
        max_runs: assignments up to which a family has all of them.

    Raises:
        PlanError: no good collection is found; the vertices it cannot reach are named.
    """
    graph = BoundaryGraph(spec)
    sets = {v: graph.independent_sets(v) for v in graph.influenced}
    candidates = _candidates(graph, sets, max_runs)
    roads = _roads(spec, candidates, max_runs)
    chosen = _centres(roads, candidates)
    for n_families in range(1, FAMILIES + 1):
        chosen = _extended(chosen, roads, candidates, graph.influenced, n_families)
    found = [candidates[c] for c in chosen]
    missing = [v for v in graph.influenced if not any(v in s.members for s in found)]
    if missing or (spec.n_sources > 1 and not found):
        raise _no_plan(graph, missing, sets, candidates)
    states = tuple(default) or (0,) * spec.n_variables
    return BoundaryPlan(spec, tuple(_family(spec, s, states, max_runs) for s in found), states)


def _candidates(
    graph: BoundaryGraph, sets: dict[int, list[IndependentSet]], max_runs: int
) -> list[IndependentSet]:
    """The cheapest sets around every vertex that show k sources and have not too many runs."""
    candidates: dict[IndependentSet, None] = {}
    for found in sets.values():
        showing = (s for s in found if graph.shows_sources(s.members))
        usable = (s for s in showing if _n_runs(graph.spec, s, max_runs))
        candidates.update(dict.fromkeys(itertools.islice(usable, SETS_TRIED)))
    return list(candidates)


def _roads(spec: MixtureSpec, candidates: Sequence[IndependentSet], max_runs: int) -> nx.DiGraph:
    """From candidates to alignment variables and back; entering a candidate costs its runs."""
    roads = nx.DiGraph()
    for c, candidate in enumerate(candidates):
        n_runs = _n_runs(spec, candidate, max_runs)
        roads.add_node(c, runs=n_runs)
        for variable in candidate.alignment_variables:
            roads.add_edge(c, variable, runs=0)
            roads.add_edge(variable, c, runs=n_runs)
    return roads


def _centres(roads: nx.DiGraph, candidates: Sequence[IndependentSet]) -> list[int]:
    """The alignable set from which most vertices can be reached, the cheapest of equals, if any."""
    ranks = {}
    for part in nx.weakly_connected_components(roads):
        inside = [c for c in part if isinstance(c, int)]
        n_reached = len({v for c in inside for v in candidates[c].members})
        for c in inside:
            if candidates[c].alignable:
                ranks[c] = (-n_reached, roads.nodes[c]["runs"], -len(candidates[c].members), c)
    return [min(ranks, key=ranks.__getitem__)] if ranks else []


def _extended(
    chosen: list[int],
    roads: nx.DiGraph,
    candidates: Sequence[IndependentSet],
    vertices: Sequence[int],
    n_families: int,
) -> list[int]:
    """Add the nearest candidates until every vertex that can be is in as many as asked."""
    while chosen:
        counts = Counter(v for c in chosen for v in candidates[c].members)
        missing = {v for v in vertices if counts[v] < n_families}
        found: Any = nx.multi_source_dijkstra(roads, set(chosen), weight="runs")
        distance, path = found
        useful = {
            c: (distance[c], -len(s.members), -len(s.clean), c)
            for c, s in enumerate(candidates)
            if c not in chosen and c in distance and missing.intersection(s.members)
        }
        if not useful:
            break
        nearest = min(useful, key=useful.__getitem__)
        chosen = [*chosen, *(c for c in path[nearest] if isinstance(c, int) and c not in chosen)]
    return chosen


def _n_runs(spec: MixtureSpec, independent: IndependentSet, max_runs: int) -> int:
    """Number of runs of a family; zero where even those of the good collection are too many."""
    everything = spec.n_joint(independent.conditioning)
    if everything <= max_runs:
        return everything
    some = sum(spec.n_joint(boundary) for boundary in independent.boundaries)
    return some if some <= max_runs else 0


def _family(
    spec: MixtureSpec, independent: IndependentSet, default: Sequence[int], max_runs: int
) -> RunFamily:
    """All assignments of COND, or those that differ from the default in one member's boundary."""
    given = independent.conditioning
    complete = spec.n_joint(given) <= max_runs
    assignments: dict[tuple[int, ...], None] = {}
    for free in [given] if complete else independent.boundaries:
        options = [range(spec.card(v)) if v in free else (default[v],) for v in given]
        assignments.update(dict.fromkeys(itertools.product(*options)))
    return RunFamily(independent, tuple(assignments), complete)


def _no_plan(
    graph: BoundaryGraph,
    missing: Sequence[int],
    sets: dict[int, list[IndependentSet]],
    candidates: Sequence[IndependentSet],
) -> PlanError:
    """Say which vertex fails and why, what it would take, and what to try."""
    spec = graph.spec
    if not missing:
        return PlanError(
            f"expected variables that {spec.source!r} points at, found none: the data say nothing "
            f"of {spec.n_sources} sources; look at `uninfluenced`"
        )
    every = [s for found in sets.values() for s in found]
    largest = max(every, key=lambda s: len(s.members), default=None)
    held = "none" if largest is None else f"{len(largest.members)}, {given_text(spec, largest)}"
    stuck = {v: [s for s in sets[v] if s in candidates] for v in missing}
    reasons = [_too_small(graph, v, sets[v]) for v, found in stuck.items() if not found]
    reasons += [
        f"runs around {spec.name(v)} exist but cannot be aligned with the others"
        for v, found in stuck.items()
        if found
    ]
    more = f", and {len(reasons) - 3} more variables" if len(reasons) > 3 else ""
    return PlanError(
        f"expected, around every variable, an independent set that shows {spec.n_sources} sources, "
        f"at least {graph.n_needed} variables here; the largest found has {held}. "
        f"{'; '.join(reasons[:3])}{more}. Ask for fewer sources, "
        'observe more variables, or use method="auto" or "em", which need no disjoint Markov '
        "boundaries",
        uncovered=tuple(spec.name(v) for v in missing),
    )


def _too_small(graph: BoundaryGraph, v: int, found: Sequence[IndependentSet]) -> str:
    """Why no run around a vertex shows k sources."""
    spec = graph.spec
    if not found:
        bins = set_text(spec, spec.coarse)
        return f"every run around {spec.name(v)} would condition on bins of a number, of {bins}"
    if any(graph.shows_sources(s.members) for s in found):
        return f"every run around {spec.name(v)} has too many assignments"
    largest = max(found, key=lambda s: len(s.members))
    return f"around {spec.name(v)} there are {len(largest.members)}: {given_text(spec, largest)}"
