r"""Whether a table shows that views of U carry signal (THEORY section 15.2).

Where views say nothing of U, a fit of k sources splits noise and is confident of it (15.1). So
signal is tested on the table, before any fit. A *triple* t = (A, B, C | Z) has three blocks of
vertices that U and Z d-separate from each other. For a pair of blocks,

    P(A, B | z) = sum over u of P(u | z) P(A | u, z) P(B | u, z)'

has rank k only where both blocks show k sources; let p_AB be the p-value of the test for rank at
most k - 1 (section 8), strata z summed. A block that can show fewer, say a third view of r < k
states, is tested for rank at most r - 1. With m triples looked at,

    p_t = max(p_AB, p_AC, p_BC),        p_S = min(1, m min over t of p_t).

If no triple has signal in all three of its pairs, then P(p_S <= a) <= a: some pair of each is null,
and p_t is at least its p; the rest is Bonferroni. That columns of a third view of few states are
distinct is not tested here.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial

import networkx as nx
import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.data.asking import Asked, asked
from pyromix.data.moments import MomentSource
from pyromix.identify.graphical import graph_facts
from pyromix.identify.network.plan import Views
from pyromix.identify.network.ranks import Blocks, block_tables
from pyromix.identify.network.separation import dependence, rank_bound, tells
from pyromix.identify.product.rank import RankTest, rank_test
from pyromix.model.spec import MixtureSpec

SIGNAL_LEVEL = 1e-4
"""p_S up to which signal counts as shown (THEORY section 15.4).

A pretest selects tables that overfit, so it is strict: at .001, of 300 tables with hardly any
signal 17 passed, and intervals of .18 of those covered.
"""

MAX_STATES = 16
"""Joint states up to which blocks are tested whole; at least twice k."""

MAX_CELLS = 2**20
"""Cells over all strata of the largest table of a pair."""

NUMBERS_OF_A_TEST = 2**22
"""Numbers that the tests of some strata hold at a time."""

MAX_OWN = 4
"""Triples of the plans, per conditioning set, after which no further plan is looked at."""

MAX_OTHERS = 10
"""Triples made of atoms, per conditioning set: all that single atoms give where they are five."""

ORDERS = 100
"""Orders of the atoms from which triples are made."""

NEIGHBOURS = 16
"""Atoms on either side, in the order of their vertices, of which an atom's independence is tested;
all others where atoms are few."""

Block = tuple[int, ...]
Test = Callable[[Blocks, int], float]
"""The p-value of a pair of blocks for the largest rank under the hypothesis."""


@dataclass(frozen=True)
class Triple:
    """Three blocks, mutually d-separated given U and Z, and what their pairs show.

    Attributes:
        views: vertices of each block; the first two can show k sources.
        given: Z, ascending.
        p_values: of the pairs (first, second), (first, third), (second, third); small where the
            pair shows as many sources as it can.
    """

    views: Views
    given: tuple[int, ...]
    p_values: tuple[float, float, float]

    @property
    def p_value(self) -> float:
        """The largest: a triple shows the sources where all its pairs do."""
        return max(self.p_values)


@dataclass(frozen=True)
class Signal:
    """What a table shows of U.

    Attributes:
        triples: those tested, the most telling first; at least one.
        n_triples: how many there are to look at; all were tested unless signal was shown before.
        atoms: sets of vertices, d-separated given U and the conditioning set of the best triple,
            the least dependent first: all that tell of U, or else the views of that triple. Empty
            where signal is shown: then nobody asks which views are silent.
        atom_p_values: per atom of its independence of the others; large where it is silent.
    """

    triples: tuple[Triple, ...]
    n_triples: int
    atoms: tuple[tuple[int, ...], ...] = ()
    atom_p_values: tuple[float, ...] = ()

    @property
    def p_value(self) -> float:
        """p_S: of the hypothesis that in every triple some pair lacks signal.

        Where not all triples were tested, at most as large as this.
        """
        return min(1.0, self.n_triples * self.triples[0].p_value)

    @property
    def shown(self) -> bool:
        """Whether signal is beyond doubt, p_S <= ``SIGNAL_LEVEL``."""
        return self.p_value <= SIGNAL_LEVEL


def signal_of(moments: MomentSource, spec: MixtureSpec | None = None) -> Signal | None:
    """Test whether data show that views of U carry signal.

    Triples are those of the plans, and others made of the same atoms; they are tested one after the
    other until one shows signal, whatever the others show. Cells missing from a table leave the
    rows in which a pair of blocks and Z are seen.

    Args:
        moments: data, or a population: then p-values are zero or one.
        spec: graph and k; those that the data carry when left out.

    Returns:
        None where there is one source, or the graph has no three views that could be tested.

    Raises:
        DataError: the data are over other variables or states.
        NoModelError: no spec is given, and the data carry none.
    """
    moments = asked(moments, spec)
    spec = moments.spec
    own: dict[Block, list[Views]] = {}
    for plan in graph_facts(spec).plans:
        for run in plan.runs:
            own.setdefault(run.conditioning, []).append(run.views)

    test = cache(partial(_p_value, moments))
    to_test = [
        (views, given)
        for given, of_plans in own.items()
        for views in _triples(spec, given, of_plans)
    ]
    if not to_test:
        return None
    tested: list[Triple] = []
    for views, given in to_test:
        tested.append(_tested(test, spec, views, given))
        if (found := Signal((tested[-1],), len(to_test))).shown:
            return found
    triples = sorted(tested, key=lambda triple: triple.p_value)
    atoms = _atoms(spec, triples[0].given)
    # Views of which a plan leaves vertices out may all be parts of one atom.
    sets = atoms if len(atoms) >= 3 else list(triples[0].views)
    silence = sorted(
        ((_independence(test, spec, sets, i, triples[0].given), a) for i, a in enumerate(sets)),
        key=lambda found: -found[0],
    )
    sets, silences = tuple(a for _, a in silence), tuple(p for p, _ in silence)
    return Signal(tuple(triples), len(to_test), sets, silences)


def _tested(test: Test, spec: MixtureSpec, views: Views, given: Block) -> Triple:
    """Test the pairs of three views for one rank less than they can show."""
    most = [rank_bound(spec, view, given) for view in views]

    def pair(i: int, j: int) -> float:
        return test(_pair(views[i], views[j], given), min(most[i], most[j]) - 1)

    return Triple(views, given, (pair(0, 1), pair(0, 2), pair(1, 2)))


def _independence(
    test: Test, spec: MixtureSpec, atoms: Sequence[Block], number: int, given: Block
) -> float:
    """The p-value of one atom's independence of others: Pearson's tests, Bonferroni."""
    n = len(atoms)
    places = {(number + step) % n for step in range(-NEIGHBOURS, NEIGHBOURS + 1)} - {number}
    found = [
        test(_pair(part, other, given), 1)
        for part in _parts(spec, atoms[number])
        for place in sorted(places)
        for other in _parts(spec, atoms[place])
        if _affordable(spec, (part, other), given)
    ]
    return min(1.0, len(found) * min(found, default=1.0))


def _pair(one: Block, other: Block, given: Block) -> Blocks:
    """A pair in one order, so that it is tested once."""
    return Blocks(min(one, other), max(one, other), given)


def _p_value(moments: Asked, blocks: Blocks, rank: int) -> float:
    """Test a pair of blocks for a rank, strata summed; one where nothing can be tested."""
    tables, rows = block_tables(moments, blocks)
    tables = _folded(tables, _most_states(moments.spec) + 1)
    m, n = tables.shape[-2:]
    size = max(1, NUMBERS_OF_A_TEST // (m * n * m * n))
    # Given its margins a table of N rows has (N - 1) / N of the chi-square that it is expected to
    # have; over many small strata that adds up.
    strata = zip(tables.split(size), (rows - 1).clamp_min(0).split(size), strict=True)
    tests = [rank_test(some, behind, rank) for some, behind in strata]
    statistics = torch.cat([found.statistic for found in tests])
    dof = torch.cat([found.dof for found in tests])
    found = float(RankTest(statistics, dof, statistics).pooled().p_value)
    return 1.0 if math.isnan(found) else found


def _folded(tables: Float[Tensor, "strata m n"], most: int) -> Float[Tensor, "strata _ _"]:
    """Merge all but the commonest states of each block; this never raises a rank."""
    for axis, other in ((1, 2), (2, 1)):
        if tables.shape[axis] > most:
            order = tables.sum((0, other)).argsort(descending=True, stable=True)
            ordered = tables.index_select(axis, order)
            first, rest = ordered.split([most - 1, len(order) - most + 1], axis)
            tables = torch.cat([first, rest.sum(axis, keepdim=True)], axis)
    return tables


# -- triples -----------------------------------------------------------------------------------


def _triples(spec: MixtureSpec, given: Block, of_plans: Sequence[Views]) -> list[Views]:
    """Triples to be looked at for one conditioning set, those of the plans first."""
    k = spec.n_sources
    bound = cache(lambda block: rank_bound(spec, block, given))
    found: dict[Views, None] = {}

    def add(blocks: Sequence[Block]) -> None:
        one, two, three = sorted(blocks, key=lambda block: (-bound(block), block))
        enough = bound(two) >= k and bound(three) >= min(2, k)
        if enough and _affordable(spec, blocks, given):
            found[one, two, three] = None

    for views in of_plans:
        if len(found) >= MAX_OWN:
            break
        parts = [_parts(spec, view) for view in views]
        for i in range(max(map(len, parts))):
            add([some[i % len(some)] for some in parts])
    most = len(found) + MAX_OTHERS
    for blocks in _groupings(spec, _atoms(spec, given), lambda block: bound(block) >= k):
        if len(found) >= most:
            break
        add(blocks)
    return list(found)


def _groupings(
    spec: MixtureSpec, atoms: Sequence[Block], full: Callable[[Block], bool]
) -> Iterator[list[Block]]:
    """Three blocks of atoms, or of a part of a large one, no larger than it takes to be full."""
    rng = random.Random(0)
    for _ in range(ORDERS):
        blocks: list[Block] = []
        block: Block = ()
        for atom in rng.sample(atoms, len(atoms)):
            part = rng.choice(_parts(spec, atom))
            grown = tuple(sorted((*block, *part)))
            block = grown if spec.n_joint(grown) <= _most_states(spec) else part
            if full(block):
                blocks.append(block)
                block = ()
        if block:
            blocks.append(block)
        yield from (blocks[i : i + 3] for i in range(0, len(blocks) - 2, 3))


def _atoms(spec: MixtureSpec, given: Block) -> list[Block]:
    """Smallest sets of vertices that tell of U, d-separated from each other given U and Z."""
    graph = nx.Graph()
    told = tells(spec, given)
    graph.add_nodes_from(told)
    for v, near in dependence(spec, given).items():
        graph.add_edges_from((v, w) for w in near & told if v in told)
    return sorted(tuple(sorted(atom)) for atom in nx.connected_components(graph))


def _parts(spec: MixtureSpec, block: Block) -> list[Block]:
    """Deal the vertices of a block into as few parts as makes each small enough to be tested."""
    for n in range(1, len(block)):
        parts = [block[i::n] for i in range(n)]
        if max(map(spec.n_joint, parts)) <= _most_states(spec):
            return parts
    return [(v,) for v in block]


def _most_states(spec: MixtureSpec) -> int:
    return max(MAX_STATES, 2 * spec.n_sources)


def _affordable(spec: MixtureSpec, blocks: Sequence[Block], given: Block) -> bool:
    """Whether the table of the two largest blocks is small enough, over all strata."""
    *_, second, first = sorted(map(spec.n_joint, blocks))
    return first * second * spec.n_joint(given) <= MAX_CELLS
