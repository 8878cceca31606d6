"""Labels that agree: which source of one assignment is which source of another (THEORY 5.4).

Every assignment of a conditioning set is solved with labels of its own. A variable whose law within
a source does not depend on what differs between two assignments tells which labels belong together:
an alignment variable of [gordon23clear, Sec. 4.1]. All such variables count at once, each by its
variance, and the assignments are joined along the spanning tree of the clearest links. Moments are
not seen here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.model.match import best_assignments

LARGEST_MARGIN = 1e12
"""Margins of exact tables are cut here, so that sums of them are numbers."""

EXACT_ROWS = 1e28
"""In place of infinitely many rows, so that none of them times a weight of zero is a number."""

LEAST_VARIANCE = 1e-24
"""Variance of a probability that is exact but for rounding."""

CHECKED_LINKS = 200
"""Links off the tree whose agreement with it is checked."""

MANY_LINKS = 4000
"""Links beyond which assignments are linked to the heaviest with the same key only."""


@dataclass(frozen=True, eq=False)
class Aligner:
    """Laws of one variable, per assignment and source.

    Attributes:
        table: ``(r, k, card)``.
        key: ``(r,)``; assignments with one key have one law.
    """

    table: Float[Tensor, "r k _"]
    key: Int[Tensor, " r"]


@dataclass(frozen=True, eq=False)
class Alignment:
    """Labels of all assignments, as far as they can be joined.

    Attributes:
        order: ``(r, k)``: source j of the joint labelling is source ``order[a, j]`` of assignment
            a.
        component: ``(r,)``; labels of different components have nothing to do with each other.
            Component 0 holds the heaviest assignment; -1 where an assignment was left out.
        weakest: smallest margin on the tree between the best matching and the runner-up, in half
            chi-squares; infinite where nothing had to be joined.
        n_checked: links off the tree that were checked.
        n_inconsistent: how many of these ask for other labels.
    """

    order: Int[Tensor, "r k"]
    component: Int[Tensor, " r"]
    weakest: float
    n_checked: int
    n_inconsistent: int

    @property
    def n_components(self) -> int:
        """Number of components."""
        return int(self.component.max()) + 1 if len(self.component) else 0


def align(
    aligners: Sequence[Aligner],
    weights: Float[Tensor, "r k"],
    n_rows: Float[Tensor, " r"],
    mass: Float[Tensor, " r"],
    usable: Bool[Tensor, " r"],
) -> Alignment:
    """Join the labels of assignments along the clearest links.

    The cost of a pair of sources is the squared difference of their laws over its variance, summed
    over the variables that the two assignments share; Hungarian assignment; a maximum spanning
    tree by a lower bound of the margin over the runner-up. Time r^2 k^2 states.

    Args:
        aligners: variables.
        weights: P(u) within each assignment.
        n_rows: behind each assignment; infinite where tables are exact.
        mass: of each assignment.
        usable: which assignments take part.
    """
    r, k = weights.shape
    cost = weights.new_zeros(r, r, k, k)
    shared = torch.zeros(r, r, dtype=torch.bool, device=weights.device)
    behind = (n_rows.clamp_max(EXACT_ROWS).unsqueeze(-1) * weights).clamp_min(1.0)
    for aligner in aligners:
        table = aligner.table
        variance = (table * (1 - table)).clamp_min(0) / behind.unsqueeze(-1) + LEAST_VARIANCE
        apart = (table[:, None, :, None] - table[None, :, None, :]).square()
        spread = variance[:, None, :, None] + variance[None, :, None, :]
        same = aligner.key[:, None] == aligner.key[None, :]
        cost += torch.where(same[..., None, None], (apart / spread).sum(-1) / 2, 0.0)
        shared |= same
    shared &= usable[:, None] & usable[None, :]
    if int(shared.sum()) > 2 * MANY_LINKS:
        shared &= _hubs([aligner.key for aligner in aligners], mass, usable)
    return _joined(cost, shared, mass, usable)


def _hubs(
    keys: Sequence[Int[Tensor, " r"]], mass: Float[Tensor, " r"], usable: Bool[Tensor, " r"]
) -> Bool[Tensor, "r r"]:
    """Pairs in which one is the heaviest usable assignment of a key."""
    weight = torch.where(usable, mass, -1.0)
    hub = torch.zeros_like(usable)
    for key in keys:
        top = weight.new_full((int(key.max()) + 1,), -1.0).scatter_reduce(0, key, weight, "amax")
        hub |= weight >= top[key]
    return hub[:, None] | hub[None, :]


def _joined(
    cost: Float[Tensor, "r r k k"],
    shared: Bool[Tensor, "r r"],
    mass: Float[Tensor, " r"],
    usable: Bool[Tensor, " r"],
) -> Alignment:
    """Spanning forest of the clearest links, and the labels along it."""
    r, k = cost.shape[0], cost.shape[-1]
    links = shared.triu(1).nonzero()
    orders, margins = _matched(cost[links[:, 0], links[:, 1]])
    graph = nx.Graph()
    graph.add_nodes_from(usable.nonzero().flatten().tolist())
    graph.add_weighted_edges_from(
        (a, b, margin) for (a, b), margin in zip(links.tolist(), margins.tolist(), strict=True)
    )
    place = {(a, b): i for i, (a, b) in enumerate(links.tolist())}
    tree = nx.maximum_spanning_tree(graph)
    order = torch.arange(k, device=cost.device).repeat(r, 1)
    component = torch.full((r,), -1, dtype=torch.int64, device=cost.device)
    heaviest = mass.argsort(descending=True, stable=True).tolist()
    n_components, weakest = 0, torch.inf
    for root in heaviest:
        if root not in tree or int(component[root]) >= 0:
            continue
        component[root] = n_components
        for a, b in nx.bfs_edges(tree, root):
            step = _step(orders, place, a, b)
            order[b] = step[order[a]]
            component[b] = n_components
            weakest = min(weakest, float(tree[a][b]["weight"]))
        n_components += 1
    off = [e for e in links.tolist() if not tree.has_edge(*e)]
    off.sort(key=lambda e: -float(margins[place[tuple(e)]]))
    wrong = sum(
        not torch.equal(_step(orders, place, a, b)[order[a]], order[b])
        for a, b in off[:CHECKED_LINKS]
    )
    return Alignment(order, component, weakest, len(off[:CHECKED_LINKS]), wrong)


def _matched(
    costs: Float[Tensor, "links k k"],
) -> tuple[Int[Tensor, "links k"], Float[Tensor, " links"]]:
    """Best assignment per link, and by how much it beats the runner-up."""
    if costs.shape[-1] == 1:
        zero = torch.zeros(len(costs), 1, dtype=torch.int64, device=costs.device)
        return zero, torch.full_like(costs[:, 0, 0], LARGEST_MARGIN)
    order, best, second = best_assignments(costs, second=True)
    return order, (second - best).clamp(0.0, LARGEST_MARGIN)


def _step(
    orders: Int[Tensor, "links k"], place: dict[tuple[int, int], int], a: int, b: int
) -> Int[Tensor, " k"]:
    """For every source of assignment a, the source of b that it is."""
    if (a, b) in place:
        return orders[place[a, b]]
    return orders[place[b, a]].argsort()
