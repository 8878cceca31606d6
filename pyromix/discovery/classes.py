"""Classes of graphs that no table tells apart, P(U, V) known, and the parents their members have.

Two DAGs over U and V have the same laws iff they share skeleton and v-structures [verma90]. U is a
root of all of them and known to be, so it stands in the graph while v-structures are looked for
and Meek's rules R1 to R4 are applied [meek95]: where U points at every vertex the class is the
CPDAG over V, where it does not, more edges are directed (THEORY section 19.3).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from pyromix.errors import SpecError
from pyromix.model.edges import Parents
from pyromix.model.knowledge import Edge, Knowledge
from pyromix.model.spec import SOURCE

MAX_UNDIRECTED = 12
"""Undirected neighbours of a vertex up to which its sets of parents are listed."""


@dataclass(frozen=True)
class GraphClass:
    """A class of DAGs over U and V as one graph of directed and undirected edges.

    Attributes:
        n: observed vertices, ``0..n-1``; the source is ``SOURCE``.
        directed: edges that lead one way in all members, those of the source among them.
        undirected: edges that lead either way, as pairs in ascending order.
    """

    n: int
    directed: frozenset[Edge]
    undirected: frozenset[Edge]

    @staticmethod
    def of(
        parents: Parents, uninfluenced: Iterable[int] = (), knowledge: Knowledge | None = None
    ) -> GraphClass:
        """The class of a DAG, or what knowledge leaves of it.

        Args:
            parents: of every vertex.
            uninfluenced: vertices that the source does not point at.
            knowledge: tiers, required and forbidden edges.

        Raises:
            SpecError: no member of the class is as knowledge says.
        """
        free = set(uninfluenced)
        edges = {(p, v) for v, found in enumerate(parents) for p in found}
        edges |= {(SOURCE, v) for v in range(len(parents)) if v not in free}
        directed = {(a, b) for a, b in edges if a == SOURCE}
        for a, b in _colliders(edges):
            directed.add((a, b))
        undirected = {_pair(a, b) for a, b in edges if (a, b) not in directed}
        start = _closed(GraphClass(len(parents), frozenset(directed), frozenset(undirected)))
        known = start if knowledge is None else start.knowing(knowledge)
        if known is None or not known.keeps(start):
            raise SpecError(
                "no graph with the same laws has the edges that tiers, required and forbidden ask "
                "for: they contradict this class"
            )
        return known

    @cached_property
    def neighbours(self) -> tuple[frozenset[int], ...]:
        """Per vertex those to which an undirected edge leads."""
        found: list[set[int]] = [set() for _ in range(self.n)]
        for a, b in self.undirected:
            found[a].add(b)
            found[b].add(a)
        return tuple(map(frozenset, found))

    @cached_property
    def sure_parents(self) -> tuple[frozenset[int], ...]:
        """Per vertex its observed parents in all members."""
        found: list[set[int]] = [set() for _ in range(self.n)]
        for a, b in self.directed:
            if a != SOURCE:
                found[b].add(a)
        return tuple(map(frozenset, found))

    def directed_by(self, edges: Iterable[Edge]) -> GraphClass | None:
        """Direct undirected edges, and what follows by Meek's rules.

        Args:
            edges: of which some may be directed already.

        Returns:
            The smaller class; None where an edge leads the other way in all members.
        """
        directed, undirected = set(self.directed), set(self.undirected)
        for a, b in edges:
            if (b, a) in directed:
                return None
            undirected.discard(_pair(a, b))
            directed.add((a, b))
        return _closed(GraphClass(self.n, frozenset(directed), frozenset(undirected)))

    def knowing(self, knowledge: Knowledge) -> GraphClass | None:
        """Direct what knowledge directs; None where it contradicts the class."""
        every = [*self.undirected, *(e for e in self.directed if SOURCE not in e)]
        near = {_pair(a, b) for a, b in every}
        if any(_pair(a, b) not in near for a, b in knowledge.required):
            return None
        if any(not knowledge.allows(a, b) for a, b in self.directed if a != SOURCE):
            return None
        wanted = []
        for a, b in sorted(self.undirected):
            ways = [e for e in ((a, b), (b, a)) if knowledge.allows(*e)]
            if not ways:
                return None
            wanted += ways if len(ways) == 1 else []
        return self.directed_by(wanted)

    @cached_property
    def member(self) -> Parents | None:
        """Parents of every vertex in one member, the edges of the source left out.

        None where there is none: every extension has a cycle or another v-structure [dor92].
        """
        directed = {v: {a for a, b in self.directed if b == v} for v in range(self.n)}
        undirected = [set(found) for found in self.neighbours]
        found = [set(parents) for parents in directed.values()]
        left = set(range(self.n))
        while left:
            sink = next((v for v in sorted(left) if _may_be_last(v, left, directed, undirected)),
                        None)  # fmt: skip
            if sink is None:
                return None
            found[sink] |= undirected[sink] & left
            left.discard(sink)
            for v in undirected[sink]:
                undirected[v] = undirected[v] - {sink}
        return tuple(frozenset(parents - {SOURCE}) for parents in found)

    def parent_sets(self, vertex: int) -> tuple[frozenset[int], ...]:
        """All sets of observed parents that a vertex has in members, the smallest first.

        Undirected neighbours are tried, some as parents and the rest as children, each closed under
        Meek's rules and accepted where a member is left [maathuis09], [perkovic17]; members are
        never listed.

        Args:
            vertex: an observed one.

        Raises:
            SpecError: more than ``MAX_UNDIRECTED`` undirected neighbours.
        """
        near = sorted(self.neighbours[vertex])
        if len(near) > MAX_UNDIRECTED:
            raise SpecError(
                f"vertex {vertex} has {len(near)} edges of unknown direction, more than "
                f"{MAX_UNDIRECTED}: tiers direct them"
            )
        sure = self.sure_parents[vertex]
        found = []
        for size in range(len(near) + 1):
            for chosen in itertools.combinations(near, size):
                edges = [(v, vertex) if v in chosen else (vertex, v) for v in near]
                smaller = self.directed_by(edges)
                if smaller is not None and smaller.keeps(self):
                    found.append(sure | frozenset(chosen))
        return tuple(found)

    def keeps(self, larger: GraphClass) -> bool:
        """Whether a member is left, with the v-structures of a larger class and no others."""
        member = self.member
        if member is None:
            return False
        edges = {(a, b) for b, found in enumerate(member) for a in found}
        edges |= {e for e in self.directed if e[0] == SOURCE}
        return set(_colliders(edges)) <= larger.directed

    def members(self) -> Iterator[Parents]:
        """Every member, parents of every vertex: for small classes."""
        for ways in itertools.product((False, True), repeat=len(self.undirected)):
            edges = {
                (b, a) if turned else (a, b)
                for (a, b), turned in zip(sorted(self.undirected), ways, strict=True)
            } | self.directed
            if _acyclic(self.n, edges) and set(_colliders(edges)) <= self.directed:
                yield tuple(
                    frozenset(a for a, b in edges if b == v and a != SOURCE) for v in range(self.n)
                )

    @property
    def skeleton(self) -> frozenset[Edge]:
        """Observed pairs that an edge connects, in ascending order."""
        ends = {_pair(a, b) for a, b in self.directed if a != SOURCE}
        return frozenset(ends | self.undirected)


def _pair(a: int, b: int) -> Edge:
    return (a, b) if a < b else (b, a)


def _colliders(edges: set[Edge]) -> Iterator[Edge]:
    """Edges of v-structures: into a vertex from two that no edge connects."""
    into: dict[int, list[int]] = {}
    for a, b in edges:
        into.setdefault(b, []).append(a)
    for c, tails in into.items():
        for a, b in itertools.combinations(tails, 2):
            if (a, b) not in edges and (b, a) not in edges:
                yield a, c
                yield b, c


def _acyclic(n: int, edges: set[Edge]) -> bool:
    left = set(range(n))
    while left:
        roots = [v for v in left if not any(b == v and a in left for a, b in edges)]
        if not roots:
            return False
        left.difference_update(roots)
    return True


def _may_be_last(
    v: int, left: set[int], directed: dict[int, set[int]], undirected: Sequence[set[int]]
) -> bool:
    """No directed edge out of it, and what is undirected at it is adjacent to all around it."""
    if any(v in directed[w] for w in left):
        return False
    own = undirected[v] & left
    around = (directed[v] & (left | {SOURCE})) | own
    return all(_adjacent(w, x, directed, undirected) for w in own for x in around if x != w)


def _adjacent(
    a: int, b: int, directed: dict[int, set[int]], undirected: Sequence[set[int]]
) -> bool:
    if SOURCE in (a, b):
        other = b if a == SOURCE else a
        return SOURCE in directed[other]
    return a in directed[b] or b in directed[a] or b in undirected[a]


def _closed(graph: GraphClass) -> GraphClass:
    """Meek's rules to a fixed point."""
    arrows: set[Edge] = set(graph.directed)
    lines: set[Edge] = set(graph.undirected)
    near: dict[int, set[int]] = {v: set() for v in range(SOURCE, graph.n)}
    for a, b in itertools.chain(arrows, lines):
        near[a].add(b)
        near[b].add(a)
    changed = True
    while changed:
        changed = False
        for low, high in sorted(lines):
            for a, b in ((low, high), (high, low)):
                if _must(a, b, arrows, lines, near):
                    lines.discard((low, high))
                    arrows.add((a, b))
                    changed = True
                    break
    return GraphClass(graph.n, frozenset(arrows), frozenset(lines))


def _must(a: int, b: int, arrows: set[Edge], lines: set[Edge], near: dict[int, set[int]]) -> bool:
    """Whether a - b has to be a -> b, by one of the four rules."""
    into_a = [c for c in near[a] if (c, a) in arrows]
    into_b = [c for c in near[b] if (c, b) in arrows]
    if any(c not in near[b] for c in into_a):  # R1: c -> a - b
        return True
    if any((a, c) in arrows for c in into_b):  # R2: a -> c -> b
        return True
    between = [c for c in into_b if _pair(a, c) in lines]
    if any(d not in near[c] for c, d in itertools.combinations(between, 2)):  # R3
        return True
    # R4: a - d -> c -> b, a next to c, d not next to b
    return any(
        (d, c) in arrows and _pair(a, d) in lines and d not in near[b]
        for c in into_b
        if c in near[a]
        for d in near[c]
        if d != b
    )
