"""The smallest views: every triple that is worth looking at, one after the other.

Whatever three views cover and link, smaller ones cover and link too, as long as their ranks suffice
(``covering``): what is d-separated from a view is so from every part of it. So a graph has a
complete plan given Z only if some triple of smallest sets is one. Of these a set is left out where
all that another one touches is touched by it: the other may always take its place.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pyromix.identify.network.covering import Conditioned, layers
from pyromix.identify.network.growing import host, ranked
from pyromix.identify.network.plan import Views
from pyromix.identify.network.separation import bits, members, union
from pyromix.model.spec import MixtureSpec

MAX_SETS = 400
"""Sets of vertices that are compared given one conditioning set, those of few neighbours first."""

MAX_LOOKS = 20_000
"""Pairs and triples that are looked at given one conditioning set."""

MAX_ALIKE = 2
"""Triples with an outcome that others have, too, which one conditioning set contributes."""


class Outcome(NamedTuple):
    """What views leave open; fewer is better, and uncovered CPTs weigh more.

    Attributes:
        uncovered: number of CPTs that neither views nor known ancestors show.
        unlinked: number of conditioning variables over whose change nothing carries labels.
    """

    uncovered: int
    unlinked: int


class Candidate(NamedTuple):
    """A set of vertices that may be a view.

    Attributes:
        vertices: as they were added.
        own: the same as bits.
        touched: they, and all that are dependent on one of them.
        covers: vertices whose family this view covers alone.
    """

    vertices: tuple[int, ...]
    own: int
    touched: int
    covers: int


class Ancestry:
    """What known ancestors add to covered vertices; asked for again and again."""

    def __init__(self, spec: MixtureSpec) -> None:
        """Look at a spec."""
        self._spec = spec
        self._found: dict[int, int] = {}

    def uncovered(self, covered: int) -> int:
        """Number of vertices that neither are covered nor follow, layer after layer."""
        if covered not in self._found:
            rounds = layers(self._spec, tuple(members(covered)))
            known = covered.bit_count() + sum(map(len, rounds))
            self._found[covered] = self._spec.n_variables - known
        return self._found[covered]


def smallest_views(
    here: Conditioned, ancestry: Ancestry, wanted: Callable[[Outcome], bool]
) -> Iterator[Views]:
    """Triples whose outcome is wanted, grown as far as that stays what it is.

    Args:
        here: graph and conditioning set.
        ancestry: of the graph.
        wanted: whether an outcome is; asked anew for each triple.
    """
    if not here.three_apart:
        return
    spec = here.spec
    always = bits(spec.uninfluenced) | bits(v for v, f in enumerate(here.families) if not f)

    def outcome(triple: Sequence[Candidate]) -> Outcome:
        uncovered = ancestry.uncovered(always | union([one.covers for one in triple]))
        one, two, three = (~candidate.touched for candidate in triple)
        alone = one & two | one & three | two & three
        return Outcome(uncovered, sum(not alone & able for able in here.carriers))

    k = spec.n_sources
    full = undominated(here, k, room=k * min(2, k))
    most = ancestry.uncovered(always | union([one.covers for one in full]))
    if len(full) < 2 or not wanted(Outcome(most, 0)):
        return
    third = full if k <= 2 else [*full, *undominated(here, 2, room=k * k)]
    seen: dict[Outcome, int] = {}
    for triple in _triples(full, third):
        found = outcome(triple)
        if seen.get(found, 0) < MAX_ALIKE and wanted(found):
            seen[found] = seen.get(found, 0) + 1
            views = ranked(here, [one.vertices for one in _grown(here, triple, outcome)])
            if views is not None:
                yield views


def undominated(here: Conditioned, least: int, room: int) -> list[Candidate]:
    """Small sets of a rank, without those in whose place another one may stand.

    Args:
        here: graph and conditioning set.
        least: the rank.
        room: joint states that what a set does not touch must have: two more views.

    Returns:
        Those that touch few vertices first.
    """
    found = []
    for chosen, touched in itertools.islice(_of_rank(here, least, room), MAX_SETS):
        found.append((touched.bit_count(), len(chosen), chosen, touched))
    kept: list[Candidate] = []
    for _, _, chosen, touched in sorted(found):
        if all(other.touched & ~touched for other in kept):
            kept.append(_candidate(here, chosen, touched))
    return kept


def _of_rank(here: Conditioned, least: int, room: int) -> Iterator[tuple[tuple[int, ...], int]]:
    """Sets of informative vertices that reach a rank with the last one added; what they touch."""
    spec, near = here.spec, here.near
    order = sorted(members(here.informative), key=lambda v: near[v].bit_count())
    sets: list[tuple[tuple[int, ...], int, int, int]] = [((), 0, 0, 0)]
    while sets:
        larger = []
        for chosen, touched, rank, start in sets:
            for place in range(start, len(order)):
                v = order[place]
                wider = touched | 1 << v | near[v]
                if not _has_states(spec, here.informative & ~wider, room):
                    continue
                grown = (*chosen, v)
                reached = here.rank(grown)
                if reached >= least:
                    yield grown, wider
                elif reached > rank and len(larger) < MAX_SETS:
                    larger.append((grown, wider, reached, place + 1))
        sets = larger


def _has_states(spec: MixtureSpec, vertices: int, least: int) -> bool:
    """Whether vertices have so many joint states."""
    states = 1
    for v in members(vertices):
        states *= spec.cards[v]
        if states >= least:
            return True
    return states >= least


def _candidate(here: Conditioned, chosen: tuple[int, ...], touched: int) -> Candidate:
    full = here.rank(chosen) >= here.spec.n_sources
    return Candidate(chosen, bits(chosen), touched, here.free_of(touched) if full else 0)


def _triples(full: list[Candidate], third: list[Candidate]) -> Iterator[tuple[Candidate, ...]]:
    """Three that do not touch each other, two of them of full rank."""
    looks = 0
    for i, one in enumerate(full):
        for j in range(i + 1, len(full)):
            two, looks = full[j], looks + 1
            if two.own & one.touched:
                continue
            for three in third[j + 1 :]:
                looks += 1
                if not three.own & (one.touched | two.touched):
                    yield one, two, three
            if looks > MAX_LOOKS:
                return


def _grown(
    here: Conditioned,
    triple: tuple[Candidate, ...],
    outcome: Callable[[Sequence[Candidate]], Outcome],
) -> tuple[Candidate, ...]:
    """Add vertices to views, those of few neighbours first, as long as no less is known."""
    least = outcome(triple)
    inside = union([one.own for one in triple])
    rest = sorted(members(here.informative & ~inside), key=lambda v: here.near[v].bit_count())
    for v in rest:
        place = host(here, [one.vertices for one in triple], v)
        if place is None:
            continue
        one = triple[place]
        larger = _candidate(here, (*one.vertices, v), one.touched | 1 << v | here.near[v])
        grown = (*triple[:place], larger, *triple[place + 1 :])
        found = outcome(grown)
        if found.uncovered <= least.uncovered and found.unlinked <= least.unlinked:
            triple = grown
    return triple
