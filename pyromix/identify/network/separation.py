"""Which vertices are dependent within each source, given a conditioning set.

U is always conditioned on, so everything here is about the DAG without U, except for `tells`, which
asks what a vertex says about U.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

import networkx as nx

from pyromix.model.spec import SOURCE, MixtureSpec

Neighbours = dict[int, set[int]]
"""Per vertex outside the conditioning set, the vertices it is not d-separated from."""


def dependence(spec: MixtureSpec, given: Collection[int]) -> Neighbours:
    """Return the graph D_Z of THEORY section 5.2: pairs that Z and U do not d-separate.

    v - w is an edge when v and w are d-connected given (Z, U). d-separation satisfies composition
    (A from B and A from C imply A from B and C together), so vertex sets without an edge between
    them in this graph are d-separated as sets.

    Args:
        spec: the DAG.
        given: Z.

    Returns:
        Neighbours of every vertex outside Z. Time n (n + edges).
    """
    observed, above = set(given), spec.ancestors(given)
    return {
        v: _reached(spec.parents, spec.children, v, observed, above) - {v}
        for v in range(spec.n_variables)
        if v not in observed
    }


def tells(spec: MixtureSpec, given: Collection[int]) -> set[int]:
    """Vertices outside Z that are d-connected to U given Z: only those say anything about U."""
    if not spec.uninfluenced:
        return set(range(spec.n_variables)) - set(given)
    graph = spec.graph(with_source=True)
    parents = {v: tuple(graph.predecessors(v)) for v in graph}
    children = {v: tuple(graph.successors(v)) for v in graph}
    above = set(given).union(*(nx.ancestors(graph, z) for z in given))
    return _reached(parents, children, SOURCE, set(given), above) - {SOURCE}


def rank_bound(spec: MixtureSpec, view: Iterable[int], given: Collection[int]) -> int:
    """Largest rank that P(view | u, given) can have, by the graph: bounded by k, never above it.

    Whatever separates U from the view given Z passes on all that the view knows of U: the smallest
    product of cardinalities over such vertex cuts bounds the rank. For vertices that U points at it
    is the number of joint states.

    Args:
        spec: the DAG; cardinalities and k.
        view: vertices outside Z.
        given: Z.
    """
    view, k = set(view), spec.n_sources
    if not view & spec.uninfluenced:
        return min(k, spec.n_joint(view))
    graph = spec.graph(with_source=True)
    relevant = {SOURCE, *view, *given}
    relevant.update(*(nx.ancestors(graph, v) for v in relevant))
    moral = nx.moral_graph(graph.subgraph(relevant)).subgraph(relevant - set(given))
    flow = nx.DiGraph()
    for v in moral:
        # Cutting a vertex costs the logarithm of its cardinality.
        if v != SOURCE:
            flow.add_edge((v, "in"), (v, "out"), capacity=math.log(spec.card(v)))
        for w in moral[v]:
            if w != SOURCE:
                flow.add_edge((v, "out"), (w, "in"))
    flow.add_node((SOURCE, "out"))
    for v in view:
        flow.add_edge((v, "out"), "view")
    cut = nx.minimum_cut_value(flow, (SOURCE, "out"), "view")
    return min(k, round(math.exp(min(cut, math.log(k) + 1))))


def _reached(
    parents: dict[int, tuple[int, ...]] | tuple[tuple[int, ...], ...],
    children: dict[int, tuple[int, ...]] | tuple[tuple[int, ...], ...],
    start: int,
    observed: set[int],
    above: set[int],
) -> set[int]:
    """Vertices that an active path from ``start`` reaches.

    Args:
        parents: of every vertex.
        children: of every vertex.
        start: not observed.
        observed: Z.
        above: Z and its ancestors: a collider among them is open.
    """
    from_child, from_parent, found = {start}, set(), set()
    stack = [(start, True)]
    while stack:
        v, upwards = stack.pop()
        if v not in observed:
            found.add(v)
            for c in children[v]:
                if c not in from_parent:
                    from_parent.add(c)
                    stack.append((c, False))
        if (upwards and v not in observed) or (not upwards and v in above):
            for p in parents[v]:
                if p not in from_child:
                    from_child.add(p)
                    stack.append((p, True))
    return found
