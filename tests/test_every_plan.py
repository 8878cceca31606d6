"""Every plan that a small graph has is found, by an enumeration that knows nothing of the search.

All 302 DAGs of five vertices and larger samples: ``tests/studies/every_plan.py``.
"""

from __future__ import annotations

import numpy as np
import pytest
from exhaustive_plans import Graph, best, dags, drawn_dag, spec_of
from helpers import random_spec

import pyromix as px
from pyromix.identify.graphical import graph_facts
from pyromix.identify.network.search import find_plan, find_plans
from pyromix.model.spec import MixtureSpec


def plans_of(spec):
    try:
        return find_plans(spec)
    except px.PlanError:
        return []


def compare(edges, cards, n_sources, graph):
    """Nothing missed: no plan, no smaller conditioning set, no vertex that the graph recovers."""
    spec = spec_of(edges, cards, n_sources)
    some, size, most = best(spec, graph)
    plans = plans_of(spec)
    whole = [len(plan.runs[0].conditioning) for plan in plans if plan.complete]
    question = (edges, cards, n_sources)
    assert bool(plans) == some, question
    assert (min(whole) if whole else None) == size, question
    if size is None:
        assert len(graph_facts(spec).vertices - {-1}) == most, question
    return some, size is not None


def test_graphs_are_counted_up_to_relabelling():
    assert [len(dags(n)) for n in (1, 2, 3, 4)] == [1, 2, 6, 31]


def test_no_plan_of_a_small_graph_is_missed():
    rng = np.random.default_rng(0)
    sizes = [4] * 6 + [5] * 30 + [6] * 6
    with_plan = with_whole = questions = 0
    for n, share in zip(sizes, rng.uniform(0.05, 0.45, len(sizes)), strict=True):
        edges = drawn_dag(n, rng, share)
        graph = Graph(spec_of(edges, (2,) * n, 2))
        for cards in ((2,) * n, tuple(rng.integers(2, 5, n).tolist())):
            for k in (2, 3, 4):
                some, whole = compare(edges, cards, k, graph)
                questions += 1
                with_plan += some
                with_whole += whole
    assert min(with_whole, questions - with_plan) > 40  # both sides of the boundary


def proxies(*edges):
    """Three binary proxies Z, N, W of three sources, X -> Y, and more edges."""
    parents = {"Y": ["X"]}
    for cause, effect in edges:
        parents[effect] = [*parents.get(effect, []), cause]
    return MixtureSpec.from_parents(dict.fromkeys("ZNWXY", (0, 1)), parents, 3)


@pytest.mark.parametrize("edges", [[], ["ZN"]])
def test_three_proxies_and_a_pair_show_three_sources(edges):
    """Two proxies make one view of four states, as treatment and outcome do."""
    spec = proxies(*edges)
    plan = find_plan(spec)
    assert plan.complete
    sizes = [spec.n_joint(view) for view in plan.runs[0].views]
    assert sizes == [4, 4, 2]
    assert px.check(spec, 3).verdict == "identified"


def test_a_linked_plan_counts_though_another_one_covers_more():
    """Without labels over V4 a plan covers all; with them half of the vertices are recovered."""
    edges = [(0, 3), (0, 4), (0, 6), (1, 4), (1, 5), (2, 4), (2, 6), (3, 4), (3, 6), (3, 7),
             (4, 5), (4, 6), (4, 7), (5, 6)]  # fmt: skip
    spec = spec_of(edges, (2, 3, 3, 2, 2, 3, 2, 3), 2)
    plans = find_plans(spec)
    assert plans[0].unlinked
    assert not plans[0].uncovered
    linked = [plan for plan in plans if not plan.unlinked]
    known = spec.n_variables - min(len(plan.uncovered) for plan in linked)
    assert known == 4
    assert len(graph_facts(spec).vertices) == known + 1


@pytest.mark.parametrize("seed", range(8))
def test_views_of_vertices_that_the_source_does_not_point_at_are_found_whatever_the_order(seed):
    """What names come first decides on ties alone: the same graph, relabelled, has a plan, too."""
    spec = random_spec(seed, 6, 2, edge_probability=0.3, uninfluenced=True)
    names = np.random.default_rng(seed).permutation(spec.variables).tolist()
    other = MixtureSpec.from_parents(
        {name: spec.states_of(spec.vertex(name)) for name in names},
        {spec.name(v): [spec.name(p) for p in found] for v, found in enumerate(spec.parents)},
        2,
        uninfluenced=[spec.name(v) for v in spec.uninfluenced],
    )
    one, two = plans_of(spec), plans_of(other)
    assert bool(one) == bool(two)
    if one:
        assert one[0].complete == two[0].complete
        assert one[0].n_assignments == two[0].n_assignments
        assert len(one[0].uncovered) == len(two[0].uncovered)
