"""Independent sets and what makes them independent (THEORY section 4.1); graph only.

COND(I) = union of MB(X) over X in I, disjoint from I, makes the members of I independent within
each source [gordon23clear, Sec. 4]. Everything is within each source: U is conditioned on
throughout, and the DAG is the one without U.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pyromix.identify.views.splits import candidate_splits
from pyromix.model.spec import MixtureSpec

AlignmentVariable = tuple[int, tuple[int, ...]]
"""A vertex and its boundary: with equal assignments of it, two runs have equal tables of it."""

BEAM = 64
"""Conditioning sets with which each round of the search for the cheapest ones goes on."""


@dataclass(frozen=True)
class IndependentSet:
    """Vertices that are independent within each source, given what they are conditioned on.

    A member is *clean* when it is no ancestor of any other vertex of the run, that is of
    COND and the other members. By the local Markov property it is then independent of all of them
    given its parents, and its table is a row of its CPT. Otherwise it is conditioned on its Markov
    boundary. This corrects slip S2 of THEORY section 4.7: [gordon23clear, Sec. 4.2] goes by depth,
    although COND may hold descendants of a vertex at the bottom.

    Attributes:
        members: ascending.
        boundaries: per member, ascending: its parents where it is clean, else its Markov boundary.
        clean: the clean members.
    """

    members: tuple[int, ...]
    boundaries: tuple[tuple[int, ...], ...]
    clean: frozenset[int]

    @cached_property
    def conditioning(self) -> tuple[int, ...]:
        """COND, the union of the boundaries, ascending."""
        return tuple(sorted({v for boundary in self.boundaries for v in boundary}))

    @property
    def independent(self) -> bool:
        """Whether the members are independent: none of them is conditioned on."""
        return not set(self.members) & set(self.conditioning)

    @property
    def alignable(self) -> bool:
        """Whether the runs on all assignments of COND can be aligned with each other.

        Changing one vertex of COND leaves the table of a member as it is when the vertex lies
        outside the member's boundary; so no vertex may lie in all boundaries. Centres with disjoint
        boundaries, as in [gordon23clear], are a special case.
        """
        return not set(self.conditioning).intersection(*self.boundaries)

    @property
    def alignment_variables(self) -> tuple[AlignmentVariable, ...]:
        """The members with their boundaries."""
        return tuple(zip(self.members, self.boundaries, strict=True))


def influenced(spec: MixtureSpec) -> tuple[int, ...]:
    """Vertices whose CPT depends on U: those that U points at, none for a single source."""
    if spec.n_sources == 1:
        return ()
    return tuple(v for v in range(spec.n_variables) if v not in spec.uninfluenced)


class BoundaryGraph:
    """A spec with sets of vertices as bits of integers, so that many of them can be tried."""

    def __init__(self, spec: MixtureSpec) -> None:
        vertices = range(spec.n_variables)
        self.spec = spec
        self.influenced = influenced(spec)
        self._shows: dict[tuple[int, ...], bool] = {}
        self._parents = [_bits(spec.parents[v]) for v in vertices]
        self._boundaries = [_bits(spec.markov_boundary(v)) for v in vertices]
        self._logs = [math.log2(spec.card(v)) for v in range(spec.n_variables)]
        self._descendants = [_bits(spec.descendants([v]) - {v}) for v in vertices]
        self._coarse = _bits(spec.coarse)

    def independent_set(self, members: Iterable[int]) -> IndependentSet:
        """Find what a set is conditioned on, perhaps to see that it is not independent."""
        ordered = tuple(sorted(members))
        given = self._conditioned(ordered)
        boundaries = [self._boundary(v, given) for v in ordered]
        clean = [v for v in ordered if not self._descendants[v] & given]
        return IndependentSet(
            ordered, tuple(tuple(_vertices(b)) for b in boundaries), frozenset(clean)
        )

    def shows_sources(self, members: Iterable[int]) -> bool:
        """Whether a run on these can show k sources: N_mp-independent, in the paper's words.

        Two views with k joint states each and a third variable are what the solver of products
        needs at generic parameters.
        """
        cards = tuple(sorted(self.spec.joint_shape(members)))
        if cards not in self._shows:
            rng = np.random.default_rng(0)
            self._shows[cards] = bool(candidate_splits(cards, self.spec.n_sources, rng, 1))
        return self._shows[cards]

    @property
    def n_needed(self) -> int:
        """Least number of variables that show k sources: those of most states, and more like them.

        What is missing to k sources is taken to have as many states as the smallest has.
        """
        cards = sorted(self.spec.joint_shape(self.influenced), reverse=True)
        rng = np.random.default_rng(0)
        padded = [*cards, *cards[-1:] * (2 * self.spec.n_sources + 1)]
        return next(
            n
            for n in range(3, len(padded) + 1)
            if candidate_splits(padded[:n], self.spec.n_sources, rng, 1)
        )

    def independent_sets(self, vertex: int) -> list[IndependentSet]:
        """Independent sets with a vertex, fewest assignments of COND first.

        A set is determined by its COND: all members are taken that it makes independent. Each round
        adds one vertex and its boundary, and goes on with the ``BEAM`` cheapest conditioning sets:
        exact where there are no more, as good as greedy where there are. Sets that show k sources
        and can be aligned are not extended.
        """
        found: dict[IndependentSet, float] = {}
        given = self._conditioned([vertex])
        frontier = {given: (vertex,)} if self._separates(given, [vertex]) else {}
        while frontier:
            grown: dict[int, tuple[int, ...]] = {}
            for given, chosen in frontier.items():
                members = self._members(given)
                candidate = self._completed(members)
                found[candidate] = self._cost(_bits(candidate.conditioning))
                if candidate.alignable and self.shows_sources(candidate.members):
                    continue
                for v in self.influenced:
                    if v not in members and not given >> v & 1:
                        larger = self._conditioned([*chosen, v], given)
                        if not larger & _bits([*chosen, v]) and self._separates(
                            larger, [*chosen, v]
                        ):
                            grown.setdefault(larger, (*chosen, v))
            costs = {given: self._cost(given) for given in grown}
            cheapest = sorted(grown, key=lambda g, costs=costs: (costs[g], g))[:BEAM]
            frontier = {given: grown[given] for given in cheapest}
        return sorted(found, key=lambda s: (found[s], -len(s.members), s.members))

    def _conditioned(self, members: Iterable[int], given: int = 0) -> int:
        """COND of a set, besides what is given already.

        All are taken for clean first. A boundary that enters COND can make others unclean, whose
        boundaries enter in turn.
        """
        members = tuple(members)
        while True:
            larger = given
            for v in members:
                larger |= self._boundary(v, given)
            if larger == given:
                return given
            given = larger

    def _boundary(self, v: int, given: int) -> int:
        """Parents of a vertex without descendants in COND, else its Markov boundary.

        Another member can be a descendant only if its parents, in COND, are.
        """
        return self._boundaries[v] if self._descendants[v] & given else self._parents[v]

    def _members(self, given: int) -> tuple[int, ...]:
        """All influenced vertices that a COND makes independent."""
        return tuple(
            v
            for v in self.influenced
            if not given >> v & 1
            and not self._boundary(v, given) & ~given
            and self._separates(given, [v])
        )

    def _separates(self, given: int, members: Iterable[int]) -> bool:
        """Whether COND, and what unzipping its members divides by, is free of bins of numbers.

        Bins separate nothing; and the table of a number given its Markov boundary is divided by
        those of its children given the number.
        """
        bins = (v for v in members if self._coarse >> v & 1)
        return not given & self._coarse and not any(given & self._descendants[v] for v in bins)

    def _completed(self, members: tuple[int, ...]) -> IndependentSet:
        """Drop from COND what no member needs, then take all members that what is left admits."""
        return self.independent_set(self._members(self._conditioned(members)))

    def _cost(self, given: int) -> float:
        """Log of the number of assignments."""
        return math.fsum(self._logs[v] for v in _vertices(given))


def _bits(vertices: Iterable[int]) -> int:
    total = 0
    for v in vertices:
        total |= 1 << v
    return total


def _vertices(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
