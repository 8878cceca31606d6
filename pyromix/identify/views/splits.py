"""Splits of many variables into three views.

The first two views need k joint states each, or their moments cannot have rank k; the third only
has to tell the sources apart.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from pyromix.model.ties import first_smallest

Views = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Positions of the variables of each view."""

MANY_VARIABLES = 24
"""Number of variables beyond which only views of equal size are tried."""


def candidate_splits(
    cards: Sequence[int], n_sources: int, rng: np.random.Generator, n: int
) -> list[Views]:
    """Different splits of all variables into three views, the first two with k joint states.

    From three views of equal size to a single variable as the third view, a few of each kind: for
    generic sources equal views are best, for the worst case k - 1 binary variables are needed in
    each of the first two [gordon24colt].

    Args:
        cards: number of proper states per variable.
        n_sources: k.
        rng: of the random order.
        n: how many at most.

    Returns:
        Perhaps none: then no split shows k sources.
    """
    found: dict[Views, None] = {}
    if (sure := _certain_split(cards, n_sources)) is None:
        return []
    n_variables = len(cards)
    largest = (n_variables - 1) // 2
    third = max(1, n_variables // 3)
    sizes = range(third, largest + 1) if n_variables <= MANY_VARIABLES else [third]
    for _ in range(n):
        for size in sizes:
            order = rng.permutation(n_variables).tolist()
            views = (order[:size], order[size : 2 * size], order[2 * size :])
            one, two, three = (tuple(sorted(view)) for view in views)
            if min(math.prod(cards[v] for v in view) for view in (one, two)) >= n_sources:
                found[(min(one, two), max(one, two), three)] = None
        if len(found) >= n:
            break
    found[sure] = None
    return list(found)[:n] if n < len(found) else list(found)


def dealt_splits(
    cards: Sequence[int],
    n_sources: int,
    association: np.ndarray,
    rng: np.random.Generator,
    n: int,
) -> list[Views]:
    """Splits that deal variables which say the same to different views.

    A view shows k sources only if its variables differ in what they say. Where few splits are good,
    such as when every variable marks one source, random ones miss them.

    Args:
        cards: number of proper states per variable.
        n_sources: k.
        association: ``(n, n)``, squared dependence of every pair; the diagonal plays no role.
        rng: of the order in which variables are dealt.
        n: how many at most.
    """
    n_variables = len(cards)
    if n_variables < 3:
        return []
    third = max(1, n_variables // 3)
    found: dict[Views, None] = {}
    for _ in range(2 * n):
        size = int(rng.integers(third, max(third, (n_variables - 1) // 2) + 1))
        rooms = [size, size, n_variables - 2 * size]
        dealt: list[list[int]] = [[], [], []]
        for v in rng.permutation(n_variables).tolist():
            open_views = [i for i in range(3) if len(dealt[i]) < rooms[i]]
            alike = [association[v, dealt[i]].sum() for i in open_views]
            dealt[open_views[first_smallest(alike)]].append(v)
        one, two, last = (tuple(sorted(view)) for view in dealt)
        if min(math.prod(cards[v] for v in view) for view in (one, two)) >= n_sources:
            found[(min(one, two), max(one, two), last)] = None
        if len(found) >= n:
            break
    return list(found)


def _certain_split(cards: Sequence[int], n_sources: int) -> Views | None:
    """A split whose first two views have k joint states, or none where there is no such split.

    The variable with the fewest states is the third view. Two views of the others exist if and
    only if some subset and its complement both have k joint states; with many variables filling
    the smaller view first finds one.
    """
    order = sorted(range(len(cards)), key=lambda v: -cards[v])
    if len(order) < 3:
        return None
    *rest, third = order
    if len(rest) <= 12:
        for size in range(1, len(rest)):
            for one in itertools.combinations(rest, size):
                two = tuple(v for v in rest if v not in one)
                if min(math.prod(cards[v] for v in view) for view in (one, two)) >= n_sources:
                    return tuple(sorted(one)), tuple(sorted(two)), (third,)
        return None
    views: tuple[list[int], list[int]] = ([], [])
    for v in rest:
        min(views, key=lambda view: math.prod(cards[w] for w in view)).append(v)
    if min(math.prod(cards[v] for v in view) for view in views) < n_sources:
        return None
    return tuple(sorted(views[0])), tuple(sorted(views[1])), (third,)
