"""What to measure next: the smallest changes of a graph after which a question is certified.

Each change is made on paper and certified like any other graph (THEORY section 7): a new child of
U, one that depends on an observed variable as well, two or three new children, or an edge that is
absent. A child of observed variables alone would tell nothing of U that they do not.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pyromix.identify.district import confounded_part
from pyromix.identify.verdict import judge, rank_tells
from pyromix.model.query import Certainty, DoQuery
from pyromix.model.spec import SOURCE, MixtureSpec

MOST_MEASURED = 3
"""New variables that are thought of together."""

MOST_TRIED = 300
"""Graphs that are certified in one search."""

Asking = Callable[[MixtureSpec], tuple[DoQuery, ...]]
"""The question, in the vertex numbers of a spec."""


@dataclass(frozen=True)
class NewVariable:
    """A variable nobody has measured yet, a child of U.

    Attributes:
        n_states: number of states.
        parents: names of observed variables it may depend on beside U.
    """

    n_states: int
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Addition:
    """One change of the graph, and what it makes of the question.

    Attributes:
        measured: new variables.
        absent: edges, by name, that would have to be absent.
        certainty: of the question once it is made.
    """

    measured: tuple[NewVariable, ...]
    absent: tuple[tuple[str, str], ...]
    certainty: Certainty

    @property
    def size(self) -> tuple[int, int, int]:
        """Smallest first: new variables, their states, what they depend on; absent edges last."""
        states = sum(v.n_states for v in self.measured)
        others = sum(len(v.parents) for v in self.measured)
        return (len(self.measured) + MOST_MEASURED * len(self.absent), states, others)


def additions(spec: MixtureSpec, asking: Asking) -> tuple[tuple[Addition, ...], bool]:
    """Find changes of a graph after which a question is certified, the smallest first.

    Of new children of U alone the fewest and smallest are listed; beside a single one, for which
    observed variables it may depend on them, too; and every single edge whose absence would do.

    Args:
        spec: a graph that does not certify the question.
        asking: the question.

    Returns:
        The changes, and whether all candidates were tried.
    """
    search = _Search(spec, asking)
    found = list(search.first(_children(spec.n_sources, 1)))
    if found:
        (one,) = found[0].measured
        for v in range(spec.n_variables):
            larger = range(one.n_states, spec.n_sources + 1)
            found += search.first([(NewVariable(c, (spec.name(v),)),) for c in larger])
    for n in range(2, MOST_MEASURED + 1):
        if not found:
            found += search.first(_children(spec.n_sources, n))
    for edge in _edges(spec, asking(spec)):
        found += search.certified((), (edge,))
    return tuple(sorted(found, key=lambda one: one.size)), search.n_tried <= MOST_TRIED


def smallest(spec: MixtureSpec, queries: Sequence[DoQuery]) -> Addition | None:
    """The fewest and smallest new children of U that certify a question; None where none do.

    Args:
        spec: a graph that does not certify the question.
        queries: the question, in its vertex numbers.
    """
    search = _Search(spec, lambda changed: tuple(renumbered(spec, changed, q) for q in queries))
    for n in range(1, MOST_MEASURED + 1):
        if found := search.first(_children(spec.n_sources, n)):
            return found[0]
    return None


def renumbered(spec: MixtureSpec, other: MixtureSpec, query: DoQuery) -> DoQuery:
    """A question in the vertex numbers of another graph over the same variables and more."""
    return query.renumbered(lambda v: other.vertex(spec.name(v)))


@dataclass(eq=False)
class _Search:
    """Certificates of changed graphs, as many as there is time for."""

    spec: MixtureSpec
    asking: Asking
    n_tried: int = 0

    def first(self, candidates: Sequence[tuple[NewVariable, ...]]) -> list[Addition]:
        """The first of several sets of new variables that does, if any."""
        for measured in candidates:
            if found := self.certified(measured, ()):
                return found
        return []

    def certified(
        self, measured: tuple[NewVariable, ...], absent: tuple[tuple[str, str], ...]
    ) -> list[Addition]:
        """The change, if it does."""
        self.n_tried += 1
        if self.n_tried > MOST_TRIED:
            return []
        changed = changed_graph(self.spec, measured, absent)
        asked = self.asking(changed)
        # Of a large graph a small part says no at once.
        part, on_part = confounded_part(changed, asked)
        if part is not changed and not (
            rank_tells(part, on_part) or judge(part, on_part).level.at_least(Certainty.LOCAL)
        ):
            return []
        level = judge(changed, asked).level
        return [Addition(measured, absent, level)] if level.at_least(Certainty.LOCAL) else []


def changed_graph(
    spec: MixtureSpec,
    measured: Sequence[NewVariable] = (),
    absent: Sequence[tuple[str, str]] = (),
) -> MixtureSpec:
    """A graph with new children of U, and without some edges.

    Args:
        spec: the graph.
        measured: new variables; they are called W1, W2, ..., or what is free of such names.
        absent: edges by name, those from U among them.

    Raises:
        SpecError: a parent is unknown.
    """
    states = dict(zip(spec.variables, spec.states, strict=True))
    gone = set(absent)
    parents = {
        spec.name(v): [n for n in map(spec.name, found) if (n, spec.name(v)) not in gone]
        for v, found in enumerate(spec.parents)
    }
    free = {spec.name(v) for v in spec.uninfluenced} | {b for a, b in gone if a == spec.source}
    taken = {*spec.variables, spec.source}
    names: Iterator[str] = (n for n in (f"W{i}" for i in itertools.count(1)) if n not in taken)
    for new in measured:
        name = next(names)
        states[name] = tuple(range(new.n_states))
        parents[name] = list(new.parents)
    return MixtureSpec.from_parents(
        states,
        parents,
        spec.n_sources,
        source=spec.source,
        uninfluenced=sorted(free),
        source_states=spec.source_states,
        roles={role: [spec.name(v) for v in vs] for role, vs in spec.roles},
        coarse=[spec.name(v) for v in spec.coarse],
    )


def _children(n_sources: int, n: int) -> list[tuple[NewVariable, ...]]:
    """Sets of n new children of U, of 2 to k states each, those of fewer states first."""
    sizes = itertools.combinations_with_replacement(range(2, max(n_sources, 2) + 1), n)
    return [tuple(map(NewVariable, some)) for some in sorted(sizes, key=lambda s: (sum(s), s))]


def _edges(spec: MixtureSpec, queries: Sequence[DoQuery]) -> list[tuple[str, str]]:
    """Edges that may be thought away: not the one whose effect is asked for."""
    asked = {(x, y) for query in queries for x in query.do for y in query.outcomes}
    found = [
        (spec.name(p), spec.name(v))
        for v, parents in enumerate(spec.parents)
        for p in parents
        if (p, v) not in asked
    ]
    influenced = (v for v in range(spec.n_variables) if v not in spec.uninfluenced)
    return [*found, *((spec.name(SOURCE), spec.name(v)) for v in influenced)]
