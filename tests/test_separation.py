"""Dependence within sources against d-separation of networkx, and rank bounds against ranks."""

from __future__ import annotations

import itertools
import math

import networkx as nx
import pytest
import torch
from helpers import Oracle, random_spec, structures
from hypothesis import given, settings
from hypothesis import strategies as st
from network_cases import COLLIDER, chain, numbered, separated

import pyromix as px
from pyromix.identify.network.separation import dependence, rank_bound, tells
from pyromix.model.spec import SOURCE, MixtureSpec

ZERO = 1e-11
"""Singular values below this share of the largest count as none. Over 3,000 random mixtures of 3 to
5 vertices none lay between 4e-16 and 2e-6."""


def subset(data, vertices, label):
    """Any part of some vertices."""
    return [v for v in vertices if data.draw(st.booleans(), label=f"{label} {v}")]


@settings(max_examples=80, deadline=None)
@given(structures(3, 7), st.data())
def test_dependent_pairs_are_those_that_are_not_d_separated(arguments, data):
    spec = random_spec(**arguments)
    graph, vertices = spec.graph(), range(spec.n_variables)
    conditioned = subset(data, vertices, "given")
    for observed in ([], conditioned):
        near = dependence(spec, observed)
        assert set(near) == set(vertices) - set(observed)
        for v in near:
            expected = {
                w for w in near if w != v and not nx.is_d_separator(graph, {v}, {w}, set(observed))
            }
            assert near[v] == expected


@settings(max_examples=60, deadline=None)
@given(structures(4, 7), st.data())
def test_sets_without_an_edge_of_dependence_are_d_separated_as_sets(arguments, data):
    spec = random_spec(**arguments, edge_probability=0.25)
    graph, vertices = spec.graph(), range(spec.n_variables)
    conditioned = subset(data, vertices, "given")
    near = dependence(spec, conditioned)
    parts = {v: data.draw(st.integers(0, 2), label=f"part of {v}") for v in near}
    left, right = ({v for v in near if parts[v] == i} for i in (0, 1))
    apart = not any(near[v] & right for v in left)
    assert apart == separated(graph, left, right, conditioned)


def test_a_collider_is_opened_by_itself_and_by_its_descendants():
    spec = numbered(4, [*COLLIDER, (2, 3)])
    assert dependence(spec, [])[0] == {2, 3}
    assert dependence(spec, [2])[0] == {1}
    assert dependence(spec, [3])[0] == {1, 2}


@settings(max_examples=80, deadline=None)
@given(structures(3, 7), st.data())
def test_vertices_that_tell_of_the_source_are_d_connected_to_it(arguments, data):
    spec = random_spec(**{**arguments, "uninfluenced": True})
    graph, vertices = spec.graph(with_source=True), range(spec.n_variables)
    conditioned = subset(data, vertices, "given")
    expected = {
        v
        for v in set(vertices) - set(conditioned)
        if not nx.is_d_separator(graph, {v}, {SOURCE}, set(conditioned))
    }
    assert tells(spec, conditioned) == expected


def test_every_vertex_with_an_edge_from_the_source_tells_of_it():
    assert tells(numbered(4, chain(4)), [1]) == {0, 2, 3}


def test_a_vertex_behind_a_conditioned_one_tells_nothing():
    spec = numbered(3, chain(3), uninfluenced=[1, 2])
    assert tells(spec, []) == {0, 1, 2}
    assert tells(spec, [0]) == set()
    assert tells(spec, [1]) == {0}


def test_a_cause_tells_of_the_source_once_their_common_effect_is_conditioned_on():
    spec = numbered(3, [(0, 1), (1, 2)], uninfluenced=[0, 2])
    assert tells(spec, []) == {1, 2}
    assert tells(spec, [1]) == {0}
    assert tells(spec, [2]) == {0, 1}


# -- ranks -------------------------------------------------------------------------------------


def ranks(spec, view, conditioned, seed=0):
    """Rank of P(view | u, z), a row per source, for every z of a random mixture."""
    oracle = Oracle(px.random_mixture(spec, seed))
    found = []
    for states in itertools.product(*(range(spec.cards[z]) for z in conditioned)):
        evidence = dict(zip(conditioned, states, strict=True))
        rows = [
            oracle.table(view, evidence={SOURCE: u, **evidence}).flatten()
            for u in range(spec.n_sources)
        ]
        values = torch.linalg.svdvals(torch.stack(rows))
        found.append(int((values > ZERO * values[0]).sum()))
    return found


@settings(max_examples=60, deadline=None)
@given(structures(3, 5), st.integers(2, 4), st.data())
def test_no_rank_is_above_its_bound(arguments, k, data):
    spec = random_spec(**{**arguments, "uninfluenced": True, "n_sources": k})
    parts = {v: data.draw(st.integers(0, 2), label=f"part of {v}") for v in range(spec.n_variables)}
    view, conditioned = ([v for v in parts if parts[v] == i] for i in (0, 1))
    if view:
        assert max(ranks(spec, view, conditioned)) <= rank_bound(spec, view, conditioned)


@settings(max_examples=40, deadline=None)
@given(structures(3, 5), st.integers(2, 5), st.data())
def test_the_bound_is_attained_where_the_source_points_at_the_whole_view(arguments, k, data):
    spec = random_spec(**{**arguments, "uninfluenced": True, "n_sources": k})
    parts = {v: data.draw(st.integers(0, 2), label=f"part of {v}") for v in range(spec.n_variables)}
    view = [v for v in parts if parts[v] == 0 and v not in spec.uninfluenced]
    conditioned = [v for v in parts if parts[v] == 1]
    if view:
        bound = min(k, math.prod(spec.cards[v] for v in view))
        assert rank_bound(spec, view, conditioned) == bound
        assert set(ranks(spec, view, conditioned)) == {bound}


def small_cuts():
    """Name, spec, view, Z, rank: vertices without an edge from U pass on what reaches them."""

    def spec(parents, cards, k, uninfluenced):
        states = {name: tuple(range(cards.get(name, 2))) for name in parents}
        return MixtureSpec.from_parents(states, parents, k, uninfluenced=list(uninfluenced))

    behind_two = {"A": [], "B": ["A"], "C": ["A"]}
    merged = {"A": [], "B": [], "C": ["A", "B"], "D": ["C"], "E": ["C"]}
    collider = {"A": [], "B": [], "Z": ["A", "B"]}
    return [
        ("two copies of one bit", spec(behind_two, {}, 4, "BC"), "BC", "", 2),
        ("two copies of three states", spec(behind_two, {"A": 3}, 4, "BC"), "BC", "", 3),
        ("one copy and the original", spec(behind_two, {}, 4, "BC"), "AB", "", 2),
        ("nothing behind a conditioned bit", spec(behind_two, {}, 4, "BC"), "BC", "A", 1),
        ("two bits joined in three states", spec(merged, {"C": 3}, 5, "CDE"), "DE", "", 3),
        ("two bits joined in four states", spec(merged, {"C": 4}, 5, "CDE"), "DE", "", 4),
        ("nothing without the collider", spec(collider, {"B": 3}, 4, "BZ"), "B", "", 1),
        ("an open collider with one bit", spec(collider, {"B": 3}, 4, "BZ"), "B", "Z", 2),
        ("an open collider of U itself", spec(collider, {"B": 3}, 4, "B"), "B", "Z", 3),
        ("a bit of U beside one behind", spec(behind_two, {"A": 3}, 5, "B"), "BC", "", 4),
        ("the same with fewer sources", spec(behind_two, {"A": 3}, 3, "B"), "BC", "", 3),
    ]


@pytest.mark.parametrize(
    ("spec", "view", "conditioned", "rank"),
    [case[1:] for case in small_cuts()],
    ids=[case[0] for case in small_cuts()],
)
def test_the_bound_is_the_smallest_cut(spec, view, conditioned, rank):
    numbers, observed = [spec.vertex(v) for v in view], [spec.vertex(v) for v in conditioned]
    assert rank_bound(spec, numbers, observed) == rank
    assert set(ranks(spec, numbers, observed)) == {rank}


def test_a_bound_does_not_ask_for_an_order_of_vertices():
    spec = random_spec(3, 6, 4, uninfluenced=True)
    for view in itertools.permutations([1, 3, 5]):
        assert rank_bound(spec, view, [0, 2]) == rank_bound(spec, (1, 3, 5), [2, 0])
