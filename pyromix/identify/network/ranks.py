"""How many sources a network's data show: rank tests of d-separated blocks (THEORY section 8).

For blocks A and B that U and Z d-separate [mazaheri26discovery],

    P(A, B | z) = sum over u of P(u | z) P(A | u, z) P(B | u, z)'

has rank at most k for every z, whatever the rest of the network does. So a rank above k contradicts
k or the graph. The statistic is that of [ratsimalahelo01], see ``product/rank.py``; strata z are
independent, so statistics and degrees of freedom add.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pyromix.data.asking import asked
from pyromix.data.moments import MomentSource
from pyromix.identify.network.search import separators
from pyromix.identify.network.separation import dependence, tells
from pyromix.identify.product.rank import (
    RankEstimate,
    RankTest,
    estimate_rank,
    merge_rare,
    rank_test,
    rows_seen,
)
from pyromix.identify.views.patterns import all_assignments
from pyromix.model.randomness import RandomState, numpy_generator
from pyromix.model.spec import MixtureSpec

MAX_TESTED_SEPARATOR = 2
"""Largest conditioning set: strata split the rows."""

MAX_STRATA = 64

TRIES = 200
"""Conditioning sets of one size that are tried."""


@dataclass(frozen=True)
class Blocks:
    """Two sets of vertices that are independent given U and the conditioning set.

    Attributes:
        one: vertices, ascending.
        other: vertices, ascending.
        given: the conditioning set.
    """

    one: tuple[int, ...]
    other: tuple[int, ...]
    given: tuple[int, ...]


def separated_blocks(
    spec: MixtureSpec, max_rank: int, n_pairs: int, random_state: RandomState = 0
) -> list[Blocks]:
    """Find pairs of d-separated blocks, small conditioning sets first.

    Args:
        spec: the graph.
        max_rank: blocks are given more than so many joint states where there are vertices enough.
        n_pairs: how many at most.
        random_state: of the order in which blocks are filled.

    Returns:
        Those that can contradict most come first; perhaps none.
    """
    rng = numpy_generator(random_state)
    found: dict[Blocks, int] = {}
    for size in range(MAX_TESTED_SEPARATOR + 1):
        for given in separators(spec, size)[:TRIES]:
            if spec.n_joint(given) > MAX_STRATA:
                continue
            for _ in range(2):
                if (pair := _grown(spec, given, max_rank, rng)) is not None:
                    found.setdefault(pair, _visible(spec, pair, max_rank))
        if sum(visible > max_rank for visible in found.values()) >= n_pairs:
            break
    ranked = sorted(found, key=lambda b: (-found[b], len(b.given)))
    best = found[ranked[0]] if ranked else 0
    return [b for b in ranked if found[b] == best][:n_pairs]


def network_rank(
    moments: MomentSource,
    spec: MixtureSpec | None = None,
    *,
    max_rank: int = 6,
    n_pairs: int = 8,
    level: float = 0.05,
    random_state: RandomState = 0,
) -> tuple[RankEstimate, ...]:
    """Estimate the number of sources from d-separated blocks of a graph.

    Args:
        moments: data, or a population: then ranks are exact.
        spec: the graph; the one that the data carry when left out.
        max_rank: the largest rank to be tested.
        n_pairs: how many pairs of blocks at most.
        level: of the family of tests at each rank.
        random_state: of the blocks.

    Returns:
        One estimate; none where no two blocks are d-separated.
    """
    moments = asked(moments, spec)
    blocks = separated_blocks(moments.spec, max_rank, n_pairs, random_state)
    if not blocks:
        return ()
    pairs = [block_tables(moments, pair) for pair in blocks]
    return (estimate_rank(pairs, max_rank=max_rank, level=level),)


def block_tests(moments: MomentSource, blocks: Sequence[Blocks], rank: int) -> list[RankTest]:
    """Test for every pair of blocks whether its tables have at most some rank, strata pooled.

    Args:
        moments: data, or a population.
        blocks: d-separated pairs.
        rank: the largest rank under the hypothesis.
    """
    return [
        rank_test(tables, rows, rank).pooled()
        for tables, rows in (block_tables(moments, pair) for pair in blocks)
    ]


def block_tables(
    moments: MomentSource, blocks: Blocks
) -> tuple[Float[Tensor, "strata m n"], Float[Tensor, " strata"]]:
    """P(one, other | z) with rare states merged, and the rows behind each."""
    moments = asked(moments)
    schema = moments.schema
    assignments = all_assignments(schema.joint_shape(blocks.given))
    vertices = (*blocks.one, *blocks.other)
    rows = rows_seen(moments, vertices, blocks.given, assignments)
    size = schema.n_joint(blocks.one)
    table = moments.table(vertices, blocks.given, assignments)
    return merge_rare(table.reshape(len(rows), size, -1), rows), rows


def _grown(
    spec: MixtureSpec, given: tuple[int, ...], max_rank: int, rng: np.random.Generator
) -> Blocks | None:
    """Two random blocks that Z d-separates, as large as the rank asks for; None without any."""
    near = dependence(spec, given)
    order = rng.permutation(sorted(tells(spec, given))).tolist()
    blocks: tuple[list[int], list[int]] = ([], [])
    for v in order:
        sizes = [spec.n_joint(block) for block in blocks]
        if min(sizes) > max_rank:
            break
        touching = [bool(near[v] & set(block)) for block in blocks]
        if all(touching):
            continue
        place = touching.index(True) if any(touching) else sizes.index(min(sizes))
        if sizes[place] <= max_rank:
            blocks[place].append(v)
    if not blocks[0] or not blocks[1]:
        return None
    one, other = sorted(tuple(sorted(block)) for block in blocks)
    return Blocks(one, other, given)


def _visible(spec: MixtureSpec, blocks: Blocks, max_rank: int) -> int:
    """Largest rank that the tables of two blocks can have, cut above ``max_rank``."""
    sizes = [spec.n_joint(block) for block in (blocks.one, blocks.other)]
    return min(*sizes, max_rank + 1)
