"""Large views, grown greedily in several orders: the more vertices, the more precise the sources.

Any three vertex sets without an edge of D_Z between them are views given Z (THEORY section 5.2).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from pyromix.identify.network.covering import Conditioned
from pyromix.identify.network.plan import Views
from pyromix.identify.network.separation import bits, members

ORDERS = 6
"""Orders in which views are grown from one conditioning set."""


def grown_views(here: Conditioned) -> Iterator[Views]:
    """Triples of views, vertices with few neighbours first.

    Orders are few, and the same where many vertices have no neighbours: not every triple of views
    that a graph has is found here (``smallest``).

    Args:
        here: graph and conditioning set.
    """
    if not here.three_apart:
        return
    informative = list(members(here.informative))
    rng = random.Random(0)
    for number in range(ORDERS):
        key = {v: here.near[v].bit_count() * (rng.random() if number else 1.0) for v in informative}
        sets = _grown(here, sorted(informative, key=key.__getitem__))
        if sets is not None and (views := ranked(here, sets)) is not None:
            yield views


def ranked(here: Conditioned, sets: Sequence[Sequence[int]]) -> Views | None:
    """Three sets as views, those of the largest rank first; None where two do not show k sources.

    Args:
        here: graph and conditioning set.
        sets: three, without an edge of dependence between them.
    """
    k = here.spec.n_sources
    ranks = sorted(((here.rank(s), list(s)) for s in sets), reverse=True)
    if ranks[1][0] < k or ranks[2][0] < min(2, k):
        return None
    one, two, three = (tuple(sorted(s)) for _, s in ranks)
    return one, two, three


def _grown(here: Conditioned, order: Sequence[int]) -> list[list[int]] | None:
    """Three sets without an edge of dependence between them; none where there are no seeds."""
    seeds: list[int] = []
    for v in order:
        if len(seeds) < 3 and not here.near[v] & bits(seeds):
            seeds.append(v)
    if len(seeds) < 3:
        return None
    sets = [[seed] for seed in seeds]
    for v in order:
        if v not in seeds and (place := host(here, sets, v)) is not None:
            sets[place].append(v)
    return sets


def host(here: Conditioned, sets: Sequence[Sequence[int]], vertex: int) -> int | None:
    """Which of three sets a vertex may join: its neighbours', else the one of fewest states."""
    near = here.near[vertex]
    touching = [i for i, found in enumerate(sets) if near & bits(found)]
    if not touching:
        return min(range(len(sets)), key=lambda i: here.spec.n_joint(sets[i]))
    return touching[0] if len(touching) == 1 else None
