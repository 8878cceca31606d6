"""One order of the sources for all runs: alignment along a tree (THEORY sections 4.2 and 5.4).

Runs that share an alignment variable, a vertex with its boundary, and agree on the assignment of
the boundary have the same within-source table of that vertex; the permutation that makes the tables
equal aligns their sources. Neither a graph nor moments are seen here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.model.match import best_assignments
from pyromix.model.ties import first_largest, ordered, ranks

MOST_ROWS = 1e12
"""Rows beyond which more of them do not count: rounding is worse than their noise."""

DOUBTFUL = 9.0
"""Confidence below which a link says little: three standard errors between two permutations."""


@dataclass(frozen=True)
class AlignmentLink:
    """Two runs with at least one alignment variable in common.

    Attributes:
        first: number of a run.
        second: number of the other.
        variables: numbers of the alignment variables on whose boundaries both agree.
        order: source i of the first is source ``order[i]`` of the second.
        confidence: cost of the second-best permutation less that of the best, in squared standard
            errors.
        in_tree: whether the link belongs to the alignment tree.
        consistent: whether it says what the tree says.
    """

    first: int
    second: int
    variables: tuple[int, ...]
    order: tuple[int, ...]
    confidence: float
    in_tree: bool
    consistent: bool


@dataclass(frozen=True, eq=False)
class Alignment:
    """Sources of all runs in one order.

    Attributes:
        orders: source i is source ``orders[a, i]`` of run a, ``(runs, k)``; between components
            orders have nothing to do with each other.
        component: 0 for the runs of the heaviest tree, then 1, 2, ...; -1 where a run is not
            usable, ``(runs,)``.
        links: within components, those of the trees and those that check them.
    """

    orders: Int[Tensor, "runs k"]
    component: Int[Tensor, " runs"]
    links: tuple[AlignmentLink, ...]

    @property
    def aligned(self) -> Bool[Tensor, " runs"]:
        """Runs that the heaviest tree reaches."""
        return self.component == 0

    @property
    def n_components(self) -> int:
        """Number of trees."""
        return int(self.component.max()) + 1 if len(self.component) else 0

    @property
    def weakest(self) -> float:
        """Least confidence on a tree; infinite where nothing had to be aligned."""
        return min((link.confidence for link in self.links if link.in_tree), default=math.inf)

    @property
    def inconsistent(self) -> tuple[AlignmentLink, ...]:
        """Links that contradict the tree although they are not doubtful."""
        return tuple(
            link for link in self.links if not link.consistent and link.confidence > DOUBTFUL
        )


def align(
    keys: Int[Tensor, "runs variables"],
    tables: Sequence[Float[Tensor, "runs k _"]],
    n_rows: Float[Tensor, "runs k"],
    usable: Bool[Tensor, " runs"],
) -> Alignment:
    """Align the sources of all runs along the tree of the most confident links.

    [gordon23clear] takes one alignment variable, the largest difference and any spanning tree. Here
    all alignment variables of two runs count, squared differences are weighted by inverse variance,
    the tree is the one of maximum confidence, and the links outside it check it. Among runs that
    share a variable and an assignment, the one with most rows is linked with all others; doubtful
    links align nothing.

    Args:
        keys: per run and alignment variable the number of the assignment of the boundary; -1 where
            the run does not have the variable.
        tables: per variable its within-source table in every run; anything where the run does not
            have it.
        n_rows: labelled rows that each source of each run is worth.
        usable: runs that are solved.
    """
    n_runs, k = n_rows.shape
    pairs, shared = _pairs(keys, n_rows.sum(1), usable)
    orders, best, second = best_assignments(
        _costs(pairs, shared, tables, n_rows).cpu(), second=True
    )
    confidence = torch.where(second.isinf(), second, second - best)
    graph = nx.Graph()
    graph.add_nodes_from(usable.nonzero().flatten().tolist())
    ends = [tuple(pair) for pair in pairs.tolist()]
    # Among links of equal confidence the spanning tree takes the first.
    heights_of_links = ranks(confidence.tolist())
    for e in (confidence > DOUBTFUL).nonzero().flatten().tolist():
        graph.add_edge(*ends[e], link=e, height=heights_of_links[e])
    found = torch.arange(k, device="cpu").repeat(n_runs, 1)
    component = torch.full((n_runs,), -1, dtype=torch.int64, device="cpu")
    heights = n_rows.sum(1).clamp_max(MOST_ROWS).tolist()
    parts = sorted(nx.connected_components(graph), key=min)
    trees = [parts[i] for i in ordered([[-sum(heights[a] for a in sorted(c))] for c in parts])]
    in_tree: set[int] = set()
    for number, runs in enumerate(trees):
        inside = sorted(runs)
        root = inside[first_largest(heights[a] for a in inside)]
        component[list(runs)] = number
        branches = nx.maximum_spanning_tree(graph.subgraph(runs), weight="height")
        for a, b in nx.bfs_edges(branches, root):
            link = branches.edges[a, b]["link"]
            order = orders[link] if ends[link] == (a, b) else orders[link].argsort()
            found[b] = order[found[a]]
            in_tree.add(link)
    consistent = (orders.gather(1, found[pairs[:, 0]]) == found[pairs[:, 1]]).all(1)
    links = tuple(
        AlignmentLink(
            first=a,
            second=b,
            variables=tuple(shared[e].nonzero().flatten().tolist()),
            order=tuple(orders[e].tolist()),
            confidence=float(confidence[e]),
            in_tree=e in in_tree,
            consistent=bool(consistent[e]),
        )
        for e, (a, b) in enumerate(ends)
        if component[a] == component[b]
    )
    return Alignment(found.to(n_rows.device), component.to(n_rows.device), links)


def _pairs(
    keys: Int[Tensor, "runs variables"], rows: Float[Tensor, " runs"], usable: Bool[Tensor, " runs"]
) -> tuple[Int[Tensor, "links 2"], Bool[Tensor, "links variables"]]:
    """Pairs of runs to compare, on the CPU, and the variables on which they agree."""
    keys = torch.where(usable.unsqueeze(1), keys, -1).cpu()
    heaviest_first = torch.tensor(
        ordered([[-height] for height in rows.tolist()]), dtype=torch.int64, device="cpu"
    )
    pairs: list[Tensor] = [torch.zeros(0, 2, dtype=torch.int64, device="cpu")]
    for key in keys.unbind(1):
        runs = heaviest_first[key[heaviest_first] >= 0]
        groups, place = key[runs].unique(return_inverse=True)
        count = torch.arange(len(runs), device="cpu")
        hub = torch.zeros_like(groups).scatter_reduce(0, place, count, "amin", include_self=False)
        ends = torch.stack([runs[hub[place]], runs], 1)
        pairs.append(ends[ends[:, 0] != ends[:, 1]].sort(1).values)
    found = torch.cat(pairs).unique(dim=0)
    one, other = keys[found[:, 0]], keys[found[:, 1]]
    return found, (one == other) & (one >= 0)


def _costs(
    pairs: Int[Tensor, "links 2"],
    shared: Bool[Tensor, "links variables"],
    tables: Sequence[Float[Tensor, "runs k _"]],
    rows: Float[Tensor, "runs k"],
) -> Float[Tensor, "links k k"]:
    """Squared differences of tables in squared standard errors, summed over shared variables.

    Pearson's sum over states of squared differences by p / n: for two states this is the squared
    difference by the variance p (1 - p) / n. Probabilities count for at least 1 / n.
    """
    k = rows.shape[1]
    first, second = pairs.to(rows.device).unbind(1)
    rows = rows.clamp(1.0, MOST_ROWS)
    costs = rows.new_zeros(len(pairs), k, k)
    for table, at in zip(tables, shared.to(rows.device).unbind(1), strict=True):
        n = rows.unsqueeze(-1)
        variance = torch.maximum(table, 1 / n) / n
        a, b = first[at], second[at]
        gaps = (table[a].unsqueeze(2) - table[b].unsqueeze(1)).square()
        spread = variance[a].unsqueeze(2) + variance[b].unsqueeze(1)
        costs[at] += (gaps / spread).sum(-1)
    return costs
