"""Which vertices are dependent within each source, given a conditioning set.

U is always conditioned on, so everything here is about the DAG without U, except for `tells`, which
asks what a vertex says about U. Sets of vertices are bits of an int, since plans ask for the
dependence of thousands of conditioning sets.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence

import networkx as nx

from pyromix.model.spec import SOURCE, MixtureSpec

Neighbours = dict[int, set[int]]
"""Per vertex outside the conditioning set, the vertices it is not d-separated from."""


class Separations:
    """Who is d-connected to whom in one DAG, for one conditioning set after the other.

    v - w is an edge of the graph D_Z of THEORY section 5.2 when v and w are d-connected given
    (Z, U). With An(Z) the ancestors of Z, Z included,

        within An(Z) paths are those of the moral graph without Z, since every collider is open;
        outside no collider is open, and no vertex has a descendant in An(Z).

    So a path leaves An(Z) downwards and stays below, or comes up into it and goes where its
    component of the moral graph leads.
    """

    def __init__(
        self, parents: Sequence[Sequence[int]], uninfluenced: Collection[int] = ()
    ) -> None:
        self.parents = parents
        self._influenced = [v for v in range(len(parents)) if v not in uninfluenced]
        self._above: list[int] = []
        self._below = [1 << v for v in range(len(parents))]
        self._children = [0] * len(parents)
        for v, found in enumerate(parents):  # topological order
            self._above.append(1 << v | union(self._above, found))
        for v in reversed(range(len(parents))):
            for p in parents[v]:
                self._below[p] |= self._below[v]
                self._children[p] |= 1 << v

    def near(self, given: Iterable[int]) -> list[int]:
        """Per vertex the vertices that Z and U do not d-separate from it, as bits, itself left out.

        Args:
            given: Z; its own vertices have no neighbours.

        Returns:
            Bits of every vertex. Time n + edges, in operations on n bits.
        """
        given = tuple(given)
        observed, ancestral = bits(given), union(self._above, given)
        components: list[int] = []
        for v in members(ancestral):
            joined = (bits(self.parents[v]) | 1 << v) & ~observed
            apart = [c for c in components if not c & joined]
            components = [*apart, joined | union(components) & ~union(apart)]
        reached = [0] * len(self.parents)
        for component in components:
            left = union(self._children, members(component)) & ~ancestral
            everything = component | union(self._below, members(left))
            for v in members(component):
                reached[v] = everything
        for v in members(~ancestral & ~(-1 << len(self.parents))):
            reached[v] = self._below[v] | union(reached, self.parents[v])
        return [found & ~(1 << v) for v, found in enumerate(reached)]

    def told(self, given: Iterable[int], near: Sequence[int]) -> int:
        """Vertices that Z does not d-separate from U, as bits.

        A path from U begins with a child c. It goes on below c; also above it, where c is an
        ancestor of Z; and only above it, where c is in Z.

        Args:
            given: Z.
            near: of Z, as ``near`` gives it.
        """
        given = tuple(given)
        observed, ancestral, found = bits(given), union(self._above, given), 0
        for c in self._influenced:
            if observed >> c & 1:
                above = bits(self.parents[c]) & ~observed
                found |= above | union(near, members(above))
            else:
                found |= 1 << c | near[c] if ancestral >> c & 1 else self._below[c]
        return found


def bits(vertices: Iterable[int]) -> int:
    """A set of vertices as bits of an int."""
    found = 0
    for v in vertices:
        found |= 1 << v
    return found


def members(found: int) -> Iterator[int]:
    """Numbers of the bits that are set, ascending."""
    while found:
        lowest = found & -found
        yield lowest.bit_length() - 1
        found ^= lowest


def union(sets: Sequence[int], chosen: Iterable[int] | None = None) -> int:
    """Union of sets that are bits, or of the chosen ones among them."""
    found = 0
    for one in sets if chosen is None else (sets[i] for i in chosen):
        found |= one
    return found


def dependence(spec: MixtureSpec, given: Collection[int]) -> Neighbours:
    """Return the graph D_Z of THEORY section 5.2: pairs that Z and U do not d-separate.

    d-separation satisfies composition (A from B and A from C imply A from B and C together), so
    vertex sets without an edge between them in this graph are d-separated as sets.

    Args:
        spec: the DAG.
        given: Z.

    Returns:
        Neighbours of every vertex outside Z.
    """
    near = Separations(spec.parents).near(given)
    return {v: set(members(found)) for v, found in enumerate(near) if v not in given}


def tells(spec: MixtureSpec, given: Collection[int]) -> set[int]:
    """Vertices outside Z that are d-connected to U given Z: only those say anything about U."""
    graph = Separations(spec.parents, spec.uninfluenced)
    return set(members(graph.told(given, graph.near(given))))


def rank_bound(spec: MixtureSpec, view: Iterable[int], given: Collection[int]) -> int:
    """Largest rank that P(view | u, given) can have, by the graph: bounded by k, never above it.

    Whatever separates U from the view given Z passes on all that the view knows of U: the smallest
    product of cardinalities over such vertex cuts bounds the rank. Vertices that U points at are in
    every cut: where all are, it is the number of joint states.

    Args:
        spec: the DAG; cardinalities and k.
        view: vertices outside Z.
        given: Z.
    """
    view, k = set(view), spec.n_sources
    least = math.prod(spec.cards[v] for v in view - spec.uninfluenced)
    if least >= k or not view & spec.uninfluenced:
        return min(k, least)
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
