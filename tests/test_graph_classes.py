"""Classes of graphs against listing: all DAGs, all members, all directions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from network_cases import numbered

from pyromix.discovery.classes import GraphClass
from pyromix.errors import SpecError
from pyromix.model.edges import parents_of
from pyromix.model.knowledge import Knowledge

N = 4


def edges_of(parents, free=()):
    found = {(p, v) for v, ps in enumerate(parents) for p in ps}
    return found | {(-1, v) for v in range(len(parents)) if v not in free}


def dags(n):
    """Every DAG as parents, by every choice for every pair."""
    pairs = list(itertools.combinations(range(n), 2))
    for ways in itertools.product((0, 1, 2), repeat=len(pairs)):
        edges = [(a, b) if w == 1 else (b, a) for (a, b), w in zip(pairs, ways, strict=True) if w]
        if acyclic(n, edges):
            yield tuple(frozenset(a for a, b in edges if b == v) for v in range(n))


def acyclic(n, edges):
    left = set(range(n))
    while left:
        roots = {v for v in left if not any(b == v and a in left for a, b in edges)}
        if not roots:
            return False
        left -= roots
    return True


def signature(parents, free=()):
    """Skeleton and v-structures over U and V: what decides the laws."""
    edges = edges_of(parents, free)
    near = {frozenset(e) for e in edges}
    colliders = {(frozenset((a, b)), c) for a, c in edges for b, d in edges
                 if c == d and a < b and frozenset((a, b)) not in near}  # fmt: skip
    return frozenset(near), frozenset(colliders)


EVERY = list(dags(N))


@pytest.fixture(scope="module", params=[(), (0, 2)], ids=["all", "half"])
def classes(request):
    """Graphs by what decides their laws, the vertices in the first argument not under U."""
    found = {}
    for parents in EVERY:
        found.setdefault(signature(parents, request.param), []).append(parents)
    return request.param, list(found.values())


def test_a_class_is_what_all_graphs_with_the_same_laws_share(classes):
    free, found = classes
    for members in found:
        one = GraphClass.of(members[0], free)
        shared = set.intersection(*(edges_of(m, free) for m in members))
        assert one.directed == shared
        assert all(GraphClass.of(m, free) == one for m in members[1:])
        assert set(one.members()) == set(members)


def test_parent_sets_are_those_of_listed_members(classes):
    free, found = classes
    for members in found:
        one = GraphClass.of(members[0], free)
        for v in range(N):
            assert set(one.parent_sets(v)) == {m[v] for m in members}
            assert one.member in members


def random_case(n, rng):
    edges = [e for e in itertools.combinations(range(n), 2) if rng.random() < 0.55]
    tiers = rng.integers(-1, 3, n)
    # Tiers that the graph itself obeys: no edge leads back.
    tiers = np.where(tiers < 0, -1, np.sort(np.abs(tiers)))
    required = frozenset(e for e in edges if rng.random() < 0.15)
    absent = frozenset((b, a) for a, b in edges if rng.random() < 0.15)
    spec = numbered(n, edges)
    return parents_of(spec), Knowledge(tuple(map(int, tiers)), required, absent)


@pytest.mark.parametrize("n", [4, 5, 6])
def test_what_knowledge_leaves_is_what_brute_force_leaves(n):
    """Meek's rules with tiers, required and forbidden edges, and parent sets after them."""
    rng = np.random.default_rng(n)
    for _ in range(25):
        parents, known = random_case(n, rng)
        free = [v for v in range(n) if rng.random() < 0.25]
        plain = GraphClass.of(parents, free)
        left = [
            m for m in plain.members()
            if all(known.allows(p, v) for v, ps in enumerate(m) for p in ps)
            and all(p in m[v] for p, v in known.required)
        ]  # fmt: skip
        found = GraphClass.of(parents, free, known)
        assert found.directed == set.intersection(*(edges_of(m, free) for m in left))
        for v in range(n):
            assert set(found.parent_sets(v)) == {m[v] for m in left}


def test_the_fourth_rule_is_needed_where_an_edge_is_known():
    """Without R4 the class of a square with a diagonal keeps an edge undirected."""
    parents = (frozenset(), frozenset({0}), frozenset({0, 1}), frozenset({0, 2}))
    plain = GraphClass.of(parents)
    found = plain.directed_by([(3, 2), (2, 1)])
    assert found is not None
    assert (0, 1) in found.directed


def test_knowledge_that_contradicts_is_refused():
    collider = (frozenset(), frozenset(), frozenset({0, 1}))
    with pytest.raises(SpecError, match="contradict this class"):
        GraphClass.of(collider, (), Knowledge((1, 1, 0)))
    chain = (frozenset(), frozenset({0}), frozenset({1}))
    required = Knowledge((-1,) * 3, frozenset({(0, 1), (2, 1)}))
    with pytest.raises(SpecError, match="contradict this class"):
        GraphClass.of(chain, (), required)
    with pytest.raises(SpecError, match="contradict this class"):
        GraphClass.of(chain, (), Knowledge((-1,) * 3, frozenset({(0, 2)})))


def test_a_star_of_unknown_directions_is_too_large_to_list():
    star = (frozenset(), *(frozenset({0}) for _ in range(13)))
    with pytest.raises(SpecError, match="13 edges of unknown direction"):
        GraphClass.of(star).parent_sets(0)
