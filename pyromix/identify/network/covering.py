"""What three views of U cover, and who carries their labels: from views to a plan.

A family is covered where what of it lies outside Z is d-separated from views that together can show
k sources (THEORY section 5.3). The fewer vertices a view has, the more it covers.

A number may be in a view, in a family that a view covers, and among what carries labels: given U
and Z, functions phi of a view A and psi of the raw numbers W that A is separated from have

    E[phi(A) psi(W) | z] = sum over u of P(u | z) E[phi(A) | u, z] E[psi(W) | u, z]

whatever psi is, so that the law of raw W within a source is known (section 18.5), and with it that
of a vertex given its parents. A vertex that U does not point at has its law given its parents from
P(V). Neither Z nor the parents of a layer may hold bins of a number: they separate nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

from pyromix.identify.network.plan import Link, Plan, Run, Views
from pyromix.identify.network.separation import (
    Separations,
    bits,
    members,
    rank_bound,
    union,
)
from pyromix.model.spec import MixtureSpec


class Conditioned:
    """A graph given one conditioning set: who is dependent, who tells of U, who carries labels.

    Attributes:
        spec: the structure.
        given: Z.
        near: per vertex the vertices that are dependent on it within sources, as bits.
        families: per vertex what of it and its parents lies outside Z, as bits.
    """

    def __init__(
        self, spec: MixtureSpec, given: Sequence[int], graph: Separations | None = None
    ) -> None:
        """Look at a spec; its ``graph`` may be given where many sets are conditioned on."""
        self.spec, self.given = spec, tuple(given)
        self._graph = graph or Separations(spec.parents, spec.uninfluenced)
        self._ranks: dict[frozenset[int], int] = {}
        self.near = self._graph.near(self.given)
        kept = ~bits(self.given)
        self.families = [(bits(found) | 1 << v) & kept for v, found in enumerate(spec.parents)]

    @cached_property
    def informative(self) -> int:
        """Vertices that say anything about U, as bits."""
        return self._graph.told(self.given, self.near)

    @cached_property
    def three_apart(self) -> bool:
        """Whether there are three informative vertices of which none is dependent on another."""
        for one in members(self.informative):
            rest = self.informative & ~self.near[one] & (-2 << one)
            if any(rest & ~self.near[two] & (-2 << two) for two in members(rest)):
                return True
        return False

    @cached_property
    def carriers(self) -> tuple[int, ...]:
        """Per conditioning variable the informative vertices that its change leaves alone."""
        found = []
        for z in self.given:
            reached = self._graph.near(w for w in self.given if w != z)[z]
            found.append(self.informative & ~reached)
        return tuple(found)

    def touched(self, vertices: Iterable[int]) -> int:
        """The vertices of a set and all that are dependent on one of them, as bits."""
        vertices = tuple(vertices)
        return bits(vertices) | union(self.near, vertices)

    def rank(self, view: Iterable[int]) -> int:
        """Largest rank that a view can have, up to k (``rank_bound``)."""
        if not self.spec.uninfluenced:
            return rank_bound(self.spec, view, self.given)
        wanted = frozenset(view)
        if wanted not in self._ranks:
            self._ranks[wanted] = rank_bound(self.spec, wanted, self.given)
        return self._ranks[wanted]

    def free_of(self, touched: int) -> int:
        """Vertices of whose families nothing is touched, as bits."""
        return bits(v for v, family in enumerate(self.families) if not family & touched)


def covers(here: Conditioned, views: Views) -> tuple[int, ...]:
    """Vertices whose family is covered by three views.

    A vertex that U does not point at needs no run.

    Args:
        here: graph and conditioning set.
        views: mutually d-separated.
    """
    spec, k = here.spec, here.spec.n_sources
    free = [here.free_of(here.touched(view)) for view in views]
    enough: dict[tuple[int, ...], bool] = {(): False}
    found = []
    for v, family in enumerate(here.families):
        apart_ = tuple(i for i in range(3) if free[i] >> v & 1)
        if apart_ not in enough:
            witnesses = [w for i in apart_ for w in views[i]]
            enough[apart_] = here.rank(witnesses) >= k
        if v in spec.uninfluenced or not family or enough[apart_]:
            found.append(v)
    return tuple(found)


def apart(views: Views, vertices: Iterable[int], here: Conditioned) -> tuple[int, ...]:
    """Numbers of the views that are d-separated from a set of vertices, and disjoint from it."""
    wanted = bits(vertices)
    return tuple(i for i, view in enumerate(views) if not here.touched(view) & wanted)


def known_alone(here: Conditioned, views: Views) -> int:
    """Vertices whose own law within a source, given Z, two views cover that do not depend on it."""
    one, two, three = (~here.touched(view) for view in views)
    outside = ~bits(here.given) & ~(-1 << here.spec.n_variables)
    return outside & (one & two | one & three | two & three)


def layers(spec: MixtureSpec, covered: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Vertices that known ancestors cover, round after round (see ``plan``).

    Args:
        spec: the structure.
        covered: vertices whose CPT is known to begin with.
    """
    known, rounds, coarse = set(covered), [], set(spec.coarse)
    ancestral = _ancestral(spec, known)
    while True:
        layer = [
            v
            for v, parents in enumerate(spec.parents)
            if v not in known
            and not coarse.intersection(parents)
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
    here: Conditioned | None = None,
) -> Plan:
    """Add to views and a conditioning set what they cover, the links, and the layers.

    Args:
        spec: the structure.
        views: mutually d-separated given U and Z, the first two with k sources to show.
        given: Z.
        here: the graph given Z; looked at when left out.
    """
    here = here or Conditioned(spec, given)
    run = Run(views, given, covers(here, views))
    alone = known_alone(here, views)
    links = tuple(
        Link(0, z, tuple(members(alone & able)))
        for z, able in zip(here.given, here.carriers, strict=True)
    )
    rounds = layers(spec, run.covers)
    covered = {*run.covers, *(v for layer in rounds for v in layer)}
    uncovered = tuple(v for v in range(spec.n_variables) if v not in covered)
    return Plan(spec, (run,), links, rounds, uncovered)
