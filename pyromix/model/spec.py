"""Structure of a mixture of Bayesian networks: plain, hashable, without numbers."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any

import networkx as nx

from pyromix.errors import SpecError
from pyromix.model.arguments import (
    is_whole,
    keep,
    listed,
    mapping,
    nested,
    plain,
    shown,
    whole,
)
from pyromix.model.schema import Schema, check_names, check_state_names, near_matches

__all__ = ["SOURCE", "MixtureSpec", "near_matches"]

MAX_SOURCES = 2**12
"""Largest number of sources: pairs of them are compared, and tables held for each."""

SOURCE = -1
"""The vertex number of the source U, wherever vertices are given as numbers."""


@dataclass(frozen=True)
class MixtureSpec(Schema):
    """A DAG over discrete variables, with k sources that act on some or all of them.

    A ``Schema`` whose variables stand in a topological order. The source U is vertex ``SOURCE``; it
    is a parent of every vertex that is not in ``uninfluenced``, and ``parents`` does not list it
    [gordon23clear, Sec. 1].

    Attributes:
        variables: names in a topological order.
        states: the ordered state names of each variable, at least two each.
        parents: per variable the numbers of its parents, in the order of the axes of its CPT.
        n_sources: k, the number of states of U.
        source: name of U.
        uninfluenced: vertices without an edge from U.
        source_states: names of the k sources; ``0..k-1`` when not given.
        roles: further labels that a graph carries, as ``(role, vertices)``; pgmpy's ``exposures``
            and ``outcomes`` live here.
        coarse: vertices whose states are bins of a number X, ascending; the graph is about the
            numbers. Bins may stand in a view, since functions of independent variables are
            independent; nothing is conditioned on them, since A independent of B given X does not
            make A independent of B given bin(X) (THEORY section 18.5).

    Raises:
        SpecError: names the offending variables, states or numbers.
    """

    parents: tuple[tuple[int, ...], ...]
    n_sources: int
    source: str = "U"
    uninfluenced: frozenset[int] = frozenset()
    source_states: tuple[Hashable, ...] = ()
    roles: tuple[tuple[str, tuple[int, ...]], ...] = field(default=())
    coarse: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_names(self.variables, (self.source,))
        n = len(self.variables)
        keep(self, "parents", nested("parents", self.parents, "numbers of earlier vertices"))
        if len(self.states) != n or len(self.parents) != n:
            raise SpecError(
                f"expected one state list and one parent list for each of {n} variables, found "
                f"{len(self.states)} and {len(self.parents)}"
            )
        for v, parents in enumerate(self.parents):
            if not all(is_whole(p, 0, v - 1) for p in parents) or len(set(parents)) < len(parents):
                raise SpecError(
                    f"parents of {self.variables[v]!r} must be distinct earlier vertices "
                    f"(0..{v - 1}), found {parents}; MixtureSpec.from_parents sorts names for you"
                )
        keep(self, "parents", tuple(tuple(map(int, parents)) for parents in self.parents))
        keep(self, "n_sources", sources_of(self.n_sources))
        named = listed("source_states", self.source_states, "names of sources")
        keep(self, "source_states", plain(named) or tuple(range(self.n_sources)))
        check_state_names(self.source, self.source_states, minimum=1)
        if len(self.source_states) != self.n_sources:
            raise SpecError(
                f"{self.source!r} has {self.n_sources} states but {len(self.source_states)} state "
                f"names: {list(self.source_states)}"
            )
        keep(self, "uninfluenced", frozenset(_vertices("uninfluenced", self.uninfluenced)))
        roles = nested("roles", self.roles, "a name and its vertices")
        if any(len(pair) != 2 or not isinstance(pair[0], str) for pair in roles):
            raise SpecError(f"roles must be pairs of a name and its vertices, found {shown(roles)}")
        carried = ((role, _vertices(f"vertices of {role!r}", found)) for role, found in roles)
        keep(self, "roles", tuple(carried))
        keep(self, "coarse", tuple(sorted(set(_vertices("coarse", self.coarse)))))
        for label, found in (("uninfluenced", self.uninfluenced), ("coarse", self.coarse)):
            if unknown := [v for v in found if not 0 <= v < n]:
                raise SpecError(f"{label} vertices must lie in 0..{n - 1}, found {unknown}")
        if unknown := [v for _, vs in self.roles for v in vs if not 0 <= v < n]:
            raise SpecError(f"vertices with a role must lie in 0..{n - 1}, found {unknown}")

    @staticmethod
    def from_parents(
        states: Mapping[str, Sequence[Hashable]],
        parents: Mapping[str, Sequence[str]],
        n_sources: int,
        *,
        source: str = "U",
        uninfluenced: Collection[str] = (),
        source_states: Sequence[Hashable] = (),
        roles: Mapping[str, Collection[str]] | None = None,
        coarse: Collection[str] = (),
    ) -> MixtureSpec:
        """Build a spec from names, sorting the variables topologically.

        Among variables whose parents are placed, the order of ``states`` decides.

        Args:
            states: state names of every variable.
            parents: parents of a variable, in the order of the axes of its CPT; variables that
                are missing here are roots.
            n_sources: k.
            source: name of U; it must not be among the variables.
            uninfluenced: names of the variables without an edge from U.
            source_states: names of the sources.
            roles: names of the variables that carry each role.
            coarse: names of the variables whose states are bins of a number.

        Raises:
            SpecError: a name is unknown, the graph has a cycle, or a state list is unusable.
        """
        states = mapping("states", states, "names of variables to lists of states")
        parents = mapping("parents", parents, "names of variables to lists of names")
        carried = mapping("roles", roles, "names of roles to lists of names")
        check_names(tuple(states), (source,))
        for label, names in (
            ("parents given for", parents),
            *((f"parents of {name!r}", given) for name, given in parents.items()),
            ("uninfluenced", uninfluenced),
            ("coarse", coarse),
            *((str(role), given) for role, given in carried.items()),
        ):
            names = listed(label, names, "names of variables")
            if unknown := [n for n in names if not isinstance(n, str) or n not in states]:
                raise SpecError(
                    f"{label}: {shown(unknown)} are not among the variables {list(states)}"
                )
        order = _topological_order(list(states), parents)
        number = {name: v for v, name in enumerate(order)}
        return MixtureSpec(
            variables=tuple(order),
            states=tuple(
                tuple(listed(f"states of {name!r}", states[name], "names of states"))
                for name in order
            ),
            parents=tuple(tuple(number[p] for p in parents.get(name, ())) for name in order),
            n_sources=n_sources,
            source=source,
            uninfluenced=frozenset(number[name] for name in uninfluenced),
            source_states=tuple(listed("source_states", source_states, "names of sources")),
            roles=tuple(
                (role, tuple(sorted(number[name] for name in names)))
                for role, names in sorted(carried.items())
                if names
            ),
            coarse=tuple(number[name] for name in coarse),
        )

    def with_n_sources(self, n_sources: int, source_states: Sequence[Hashable] = ()) -> MixtureSpec:
        """Return the same structure with another number of sources.

        Raises:
            SpecError: as the constructor.
        """
        return replace(self, n_sources=n_sources, source_states=source_states)  # type: ignore[arg-type]

    def without(self, vertices: Collection[int]) -> MixtureSpec:
        """Return the network of the other variables, these summed out within each source.

        A vertex without children simply goes; one with a single child leaves its parents to it.
        One with several would leave these dependent, and no network with the same causal reading.

        Args:
            vertices: to leave out.

        Raises:
            SpecError: one of them has several children that stay, or no variable is left.
        """
        vertices = self._known(vertices)
        parents = {v: list(found) for v, found in enumerate(self.parents)}
        free = set(self.uninfluenced)
        for v in sorted(vertices, reverse=True):
            children = [c for c, found in parents.items() if v in found]
            if len(children) > 1:
                raise SpecError(
                    f"{self.name(v)!r} cannot be left out: it is a common cause of "
                    f"{[self.name(c) for c in children]}"
                )
            own = parents.pop(v)
            for c in children:
                rest = [p for p in parents[c] if p != v]
                parents[c] = [*rest, *(p for p in own if p not in rest)]
                if v not in free:
                    free.discard(c)
        return MixtureSpec.from_parents(
            {self.name(v): self.states[v] for v in parents},
            {self.name(v): [self.name(p) for p in found] for v, found in parents.items()},
            self.n_sources,
            source=self.source,
            uninfluenced=[self.name(v) for v in parents if v in free],
            source_states=self.source_states,
            roles={role: [self.name(v) for v in vs if v in parents] for role, vs in self.roles},
            coarse=[self.name(v) for v in self.coarse if v in parents],
        )

    # -- what the source adds to the schema --------------------------------------------------

    @property
    def schema(self) -> Schema:
        """Variables and states alone, in this order: what a table has to know."""
        return self._schema

    @cached_property
    def _schema(self) -> Schema:
        return Schema(self.variables, self.states)

    def card(self, vertex: int) -> int:
        """Number of states of a vertex, the source included."""
        return self.n_sources if vertex == SOURCE else self.cards[vertex]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {**{name: v for v, name in enumerate(self.variables)}, self.source: SOURCE}

    def name(self, vertex: int) -> str:
        """Name of a vertex, the source included."""
        return self.source if vertex == SOURCE else self.variables[vertex]

    def states_of(self, vertex: int) -> tuple[Hashable, ...]:
        """State names of a vertex, the source included."""
        return self.source_states if vertex == SOURCE else self.states[vertex]

    # -- sizes -------------------------------------------------------------------------------

    def cpt_shape(self, vertex: int) -> tuple[int, ...]:
        """Shape ``(k, *card(parents), card(vertex))`` of a CPT, without batch axes."""
        return self.joint_shape((SOURCE, *self.parents[vertex], vertex))

    @cached_property
    def n_cells_of_tables(self) -> int:
        """Number of probabilities that P(U) and all CPTs hold, those of each source counted."""
        sizes = (prod(self.cpt_shape(v)) for v in range(self.n_variables))
        return self.n_sources + sum(sizes)

    def free_shape(self, vertex: int) -> tuple[int, ...]:
        """Shape ``(copies, *card(parents), card - 1)`` of the free numbers of a table.

        An uninfluenced vertex has one copy of its table, others one per source. P(U) has none of
        these axes but the last, ``(k - 1,)``.
        """
        if vertex == SOURCE:
            return (self.n_sources - 1,)
        copies = 1 if vertex in self.uninfluenced else self.n_sources
        return (copies, *self.joint_shape(self.parents[vertex]), self.cards[vertex] - 1)

    @cached_property
    def n_parameters(self) -> int:
        """Number of free probabilities: k - 1 weights plus the rows of every CPT.

        CPTs of uninfluenced vertices count once, not k times; ``ParameterAxis`` orders them.
        """
        return sum(prod(self.free_shape(v)) for v in range(SOURCE, self.n_variables))

    # -- the graph ---------------------------------------------------------------------------

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """Children of every vertex, ascending."""
        children: list[list[int]] = [[] for _ in self.variables]
        for v, parents in enumerate(self.parents):
            for p in parents:
                children[p].append(v)
        return tuple(tuple(c) for c in children)

    def graph(self, *, with_source: bool = False) -> nx.DiGraph:
        """The DAG over vertex numbers; with U and its edges on request."""
        graph = nx.DiGraph()
        graph.add_nodes_from(range(self.n_variables))
        graph.add_edges_from((p, v) for v, parents in enumerate(self.parents) for p in parents)
        if with_source:
            graph.add_node(SOURCE)
            graph.add_edges_from(
                (SOURCE, v) for v in range(self.n_variables) if v not in self.uninfluenced
            )
        return graph

    def ancestors(self, vertices: Iterable[int], *, removed: Collection[int] = ()) -> set[int]:
        """The vertices and all their ancestors in the DAG without U.

        Args:
            vertices: where to start; the source is passed over.
            removed: vertices whose incoming edges are cut (those under a do).
        """
        seen: set[int] = set()
        stack = [v for v in vertices if v != SOURCE]
        while stack:
            v = stack.pop()
            if v not in seen:
                seen.add(v)
                if v not in removed:
                    stack.extend(self.parents[v])
        return seen

    def descendants(self, vertices: Iterable[int]) -> set[int]:
        """The vertices and all their descendants, also of the source."""
        seen: set[int] = set()
        stack = list(vertices)
        while stack:
            v = stack.pop()
            if v in seen:
                continue
            seen.add(v)
            if v == SOURCE:
                stack.extend(set(range(self.n_variables)) - self.uninfluenced)
            else:
                stack.extend(self.children[v])
        return seen

    def _known(self, vertices: Iterable[int]) -> tuple[int, ...]:
        """Numbers of observed vertices.

        Raises:
            SpecError: one is none.
        """
        listed_ = listed("vertices", vertices, "numbers of vertices")
        last = self.n_variables - 1
        return tuple(whole("a vertex", v, 0, last, SpecError) for v in listed_)

    def markov_boundary(self, vertex: int) -> frozenset[int]:
        """Parents, children and the children's other parents, in the DAG without U."""
        boundary = {*self.parents[vertex], *self.children[vertex]}
        for child in self.children[vertex]:
            boundary.update(self.parents[child])
        return frozenset(boundary - {vertex})

    def d_separated(
        self, left: Iterable[int], right: Iterable[int], given: Iterable[int] = ()
    ) -> bool:
        """Whether U and ``given`` d-separate two disjoint sets of vertices.

        U is always conditioned on: this is independence *within* each source. Equivalent to
        ordinary d-separation in the DAG without U.

        Raises:
            SpecError: the three sets overlap.
        """
        left, right, given = (set(self._known(names)) for names in (left, right, given))
        if left & right or (left | right) & given:
            raise SpecError(
                f"d-separation asks for disjoint sets, found {left}, {right} given {given}"
            )
        if not left or not right:
            return True
        return nx.is_d_separator(self.graph(), left, right, given)


def sources_of(n_sources: Any) -> int:
    """Return a number of sources.

    Raises:
        SpecError: it is none, or more than any table has room for.
    """
    advice = "every source has tables of its own: ask for fewer"
    return whole("n_sources", n_sources, 1, MAX_SOURCES, SpecError, advice)


def _vertices(name: str, given: Iterable[int]) -> tuple[int, ...]:
    """Numbers of vertices.

    Raises:
        SpecError: one is no whole number.
    """
    vertices = listed(name, given, "numbers of vertices")
    return tuple(whole(name, v, SOURCE, error=SpecError) for v in vertices)


def _topological_order(names: list[str], parents: Mapping[str, Sequence[str]]) -> list[str]:
    graph = nx.DiGraph()
    graph.add_nodes_from(names)
    graph.add_edges_from((p, name) for name in names for p in parents.get(name, ()))
    rank = {name: i for i, name in enumerate(names)}
    try:
        return list(nx.lexicographical_topological_sort(graph, key=rank.__getitem__))
    except nx.NetworkXUnfeasible:
        cycle = [edge[0] for edge in nx.find_cycle(graph)]
        raise SpecError(f"the graph has a cycle: {' -> '.join([*cycle, cycle[0]])}") from None
