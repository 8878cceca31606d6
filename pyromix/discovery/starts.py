"""Where a search starts: posteriors of the source from models of other kinds than a product.

A product mixture explains every dependence by the source, and a search that starts there keeps
doing so. Trees, one of them or one in each source, random graphs, and the graph of the strongest
dependences alone do not (THEORY section 19.1).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from torch import Tensor

from pyromix.data.counts import Counts
from pyromix.discovery.moves import Room, State
from pyromix.estimate.em import climb
from pyromix.estimate.families import Families
from pyromix.estimate.starts import random_starts
from pyromix.model.edges import reaches, with_edges
from pyromix.model.mixture import BayesNetMixture

TREE, TREES, RANDOM = "tree", "mixture of trees", "random graph"
STRONGEST = "strongest edges"
KINDS = (TREE, TREES, RANDOM, STRONGEST)

STEPS = 40
"""EM steps of a start."""

TREE_STEPS = 12
"""EM steps of a mixture of trees."""

DEAREST = (0.5, 2.0)
"""Range of the decimal logarithm of how many times dearer a probability is where only the strongest
edges are wanted: what U does is weaker than these, or there is no telling it apart."""

DRAWN = 4
"""Random mixtures on the graph of the strongest edges, of which the best is taken."""

SMOOTHED = 0.5
"""Pseudo-counts of a pair margin."""


def start_of(kind: str, room: Room, whole: Families, counts: Counts, seed: int) -> Families:
    """A posterior of the source to start from.

    Args:
        kind: of ``KINDS``.
        room: where the search may go.
        whole: complete rows, each with its weight in one source.
        counts: the table.
        seed: of the start.
    """
    rng = np.random.default_rng((seed, KINDS.index(kind)))
    if kind == TREES:
        return _mixture_of_trees(room, whole, rng)
    graphs = {
        RANDOM: lambda: room.random(rng),
        TREE: lambda: _tree(room, whole, rng),
        STRONGEST: lambda: _strongest(room, whole, rng),
    }
    state = graphs[kind]()
    spec = with_edges(room.spec, state.parents, state.free)
    n = DRAWN if kind == STRONGEST else 1
    drawn = random_starts(spec, n, int(rng.integers(2**62)), device=counts.device,
                          counts=counts.with_spec(spec))  # fmt: skip
    return families_of(room, climbed(counts, drawn, STEPS)[0], counts)


def climbed(
    counts: Counts, starts: BayesNetMixture, steps: int, gain: float = 1e-3
) -> tuple[BayesNetMixture, float]:
    """A mixture after some steps of EM, and its log-likelihood.

    Args:
        counts: the table.
        starts: one batch axis, the best of which is taken.
        steps: of EM.
        gain: nats over all rows that a step must gain.
    """
    found = climb(
        counts.with_spec(starts.spec),
        starts,
        max_iter=steps,
        tol=gain / counts.n_rows,
        check_saddle=False,
        finish=False,
    )
    return found.mixture, found.log_likelihood


def families_of(room: Room, mixture: BayesNetMixture, counts: Counts) -> Families:
    """Expected counts at a mixture, in the numbers of the room whatever the order of its own.

    Args:
        room: whose numbers they are.
        mixture: without batch axes.
        counts: the table.
    """
    other = Families.at(mixture, counts.with_spec(mixture.spec))
    order = [mixture.spec.vertex(name) for name in room.spec.variables]
    return Families(room.spec, other.columns[order], other.shares)


def _strongest(room: Room, whole: Families, rng: np.random.Generator) -> State:
    """The graph without a hidden source where every free probability costs many times more."""
    price = room.price * 10 ** rng.uniform(*DEAREST)
    seen = replace(room, spec=room.spec.with_n_sources(1), price=price, source_moves=False)
    rows = Families(seen.spec, whole.columns, whole.shares.sum(1, keepdim=True))
    return seen.climbed(rows, room.random(rng))


def _tree(room: Room, whole: Families, rng: np.random.Generator) -> State:
    """The Chow-Liu tree of all rows, rooted at random, as far as knowledge allows its edges."""
    state = room.least
    weights = whole.shares.sum(1, keepdim=True)
    parent = _chow_liu(room, _one_hot(room, whole), weights[:, 0], rng)[0]
    for v, p in enumerate(parent):
        for a, b in ((p, v), (v, p)):
            near = p < 0 or a in state.parents[b] or b in state.parents[a]
            room_left = len(state.parents[b]) < room.max_parents
            if near or not room_left or not room.knowledge.allows(a, b):
                continue
            if not reaches(state.parents, b, a):
                state = state.having(b, state.parents[b] | {a})
    return state


def _mixture_of_trees(room: Room, whole: Families, rng: np.random.Generator) -> Families:
    """EM on a mixture whose sources have a Chow-Liu tree each [meila00], from random shares."""
    weights, k = whole.shares.sum(1).cpu(), room.spec.n_sources
    marks, m = _one_hot(room, whole), len(weights)
    # Shares from a random direction of the marks: rows that are alike go together.
    lean = torch.from_numpy(rng.normal(size=(marks.shape[1], k)))
    shares = (2 * (marks @ lean) / np.sqrt(room.spec.n_variables)).softmax(-1)
    for _ in range(TREE_STEPS):
        logs = torch.empty(m, k, dtype=torch.float64, device="cpu")
        for u in range(k):
            own = weights * shares[:, u]
            _, log_p = _chow_liu(room, marks, own, rng)
            logs[:, u] = log_p + (own.sum() / weights.sum()).log()
        shares = logs.softmax(-1)
    return Families(room.spec, whole.columns, (weights[:, None] * shares).to(whole.shares.device))


def _one_hot(room: Room, whole: Families) -> Float[Tensor, "m states"]:
    parts = [
        torch.nn.functional.one_hot(column, card)
        for column, card in zip(whole.columns.cpu(), room.spec.cards, strict=True)
    ]
    return torch.cat(parts, 1).double()


def _chow_liu(
    room: Room, marks: Float[Tensor, "m states"], weights: Float[Tensor, " m"],
    rng: np.random.Generator,
) -> tuple[list[int], Float[Tensor, " m"]]:  # fmt: skip
    """The tree of the largest mutual informations [chowliu68], and the log-probability of rows."""
    cards, n = room.spec.cards, room.spec.n_variables
    pairs = marks.T @ (weights.cpu()[:, None] * marks)
    blocks = [list(part) for part in _ranges(cards)]
    total = float(weights.sum())
    margins = [(pairs[b[0] : b[-1] + 1, b[0] : b[-1] + 1].diagonal() + SMOOTHED) for b in blocks]
    margins = [margin / margin.sum() for margin in margins]
    worth = np.zeros((n, n))
    joints: dict[tuple[int, int], Tensor] = {}
    for a in range(n):
        for b in range(a + 1, n):
            table = pairs[blocks[a][0] : blocks[a][-1] + 1, blocks[b][0] : blocks[b][-1] + 1]
            table = (table + SMOOTHED / (cards[a] * cards[b])) / (total + SMOOTHED)
            joints[a, b] = table
            product = table.sum(1, keepdim=True) * table.sum(0, keepdim=True)
            worth[a, b] = max(float((table * (table / product).log()).sum()), 0.0) + 1e-12
    spanning = minimum_spanning_tree(csr_array(-worth))
    root = int(rng.integers(n))
    _, before = breadth_first_order(spanning, root, directed=False)
    parent = [int(p) if p >= 0 else -1 for p in before]
    log_p = torch.zeros(len(marks), dtype=torch.float64, device="cpu")
    for v, p in enumerate(parent):
        own = marks[:, blocks[v]]
        if p < 0:
            log_p += own @ margins[v].log()
            continue
        table = joints[p, v] if p < v else joints[v, p].T
        given = (table / table.sum(1, keepdim=True)).log()
        log_p += ((marks[:, blocks[p]] @ given) * own).sum(1)
    return parent, log_p


def _ranges(cards: tuple[int, ...]) -> list[range]:
    found, start = [], 0
    for card in cards:
        found.append(range(start, start + card))
        start += card
    return found
