"""Expected counts of any family at a mixture, also of edges that its graph has not (THEORY 19.1).

With r(x, u) = P(u | row x) and the weight w(x) of a row,

    C[u, pa, s] = sum over the rows x with (pa, s) of w(x) r(x, u),
    value(v, pa) = sum of C log(C / C summed over s),

which is what EM maximises [friedman98], family by family: a graph whose families are worth more
has, after one M-step, a likelihood that is higher by at least as much.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.errors import DataError
from pyromix.estimate.step import NO_MASS, WeightedRows
from pyromix.exact.likelihood import log_joint
from pyromix.exact.rows import CellIndex
from pyromix.model.edges import with_edges
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.spec import MixtureSpec

MAX_COMPLETIONS = 2**22
"""Complete rows that rows with missing cells may stand for, over the whole table."""

Family = tuple[int, tuple[int, ...], bool]
"""Vertex, parents in ascending order, and whether the source points at it."""


@dataclass(frozen=True, eq=False)
class Families:
    """Expected counts of families, each made once.

    Attributes:
        spec: variables, states and k; its edges play no role.
        columns: states of every variable in the complete rows, a row of it per variable.
        shares: weight of each complete row in each source.
    """

    spec: MixtureSpec
    columns: Int[Tensor, "n m"]
    shares: Float[Tensor, "m k"]
    _known: dict[Family, Tensor] = field(default_factory=dict)
    _values: dict[Family, float] = field(default_factory=dict)

    @staticmethod
    def at(mixture: BayesNetMixture, counts: WeightedRows) -> Families:
        """The posterior of sources, and of missing cells, at a mixture.

        Args:
            mixture: without batch axes.
            counts: on its variables.

        Raises:
            DataError: missing cells have too many completions.
        """
        rows, owner = _complete(mixture.spec, counts.rows)
        joint = log_joint(mixture, CellIndex(mixture.spec, rows))
        if owner is None:
            shares = joint.softmax(-1) * counts.weights[:, None]
        else:
            # Over the completions of a row and the sources together.
            whole = torch.full_like(counts.weights, -math.inf)
            within = joint.logsumexp(-1)
            top = whole.scatter_reduce(0, owner, within, "amax")[owner]
            total = torch.zeros_like(counts.weights).index_add_(0, owner, (within - top).exp())
            shares = (joint - (top + total[owner].log())[:, None]).exp()
            shares = shares * counts.weights[owner, None]
        return Families.of(mixture.spec, rows, shares)

    @staticmethod
    def of(spec: MixtureSpec, rows: Int[Tensor, "m n"], shares: Float[Tensor, "m k"]) -> Families:
        """Of complete rows and what each weighs in each source."""
        return Families(spec, rows.long().T.contiguous(), shares)

    def counts(
        self, vertex: int, parents: Collection[int], influenced: bool = True
    ) -> Float[Tensor, "copies *parents card"]:
        """C of a family, parents ascending; of all sources together where U does not point at it.

        Args:
            vertex: whose family.
            parents: of it, in any order.
            influenced: whether the source is a parent.
        """
        family = (vertex, tuple(sorted(parents)), influenced)
        if family not in self._known:
            members = (*family[1], vertex)
            cards = self.spec.joint_shape(members)
            code = torch.zeros_like(self.columns[0])
            for member, card in zip(members, cards, strict=True):
                code = code * card + self.columns[member]
            shares = self.shares if influenced else self.shares.sum(1, keepdim=True)
            sums = torch.zeros(math.prod(cards), shares.shape[1], dtype=shares.dtype,
                               device=shares.device)  # fmt: skip
            sums.index_add_(0, code, shares)
            self._known[family] = sums.T.reshape(-1, *cards)
        return self._known[family]

    def value(self, vertex: int, parents: Collection[int], influenced: bool = True) -> float:
        """What EM maximises, of one family, in nats.

        Args:
            vertex: whose family.
            parents: of it.
            influenced: whether the source is a parent.
        """
        family = (vertex, tuple(sorted(parents)), influenced)
        if family not in self._values:
            found = self.counts(*family)
            rows = found.sum(-1)
            self._values[family] = float(
                torch.special.xlogy(found, found).sum() - torch.special.xlogy(rows, rows).sum()
            )
        return self._values[family]

    def maximised(
        self, parents: Sequence[Collection[int]], uninfluenced: Collection[int]
    ) -> BayesNetMixture:
        """Return the mixture that an M-step makes with these edges; rows without data are uniform.

        Args:
            parents: per vertex, in the numbers of ``spec``.
            uninfluenced: vertices without an edge from the source.

        Raises:
            SpecError: the edges make a cycle.
        """
        target = with_edges(self.spec, parents, uninfluenced)
        sources = self.shares.sum(0)
        tables = [sources / sources.sum()]
        for i, name in enumerate(target.variables):
            v = self.spec.vertex(name)
            table = _normalised(self.counts(v, parents[v], v not in uninfluenced))
            # Axes ascend in the numbers of this spec; the target's own order may differ.
            own = sorted(parents[v])
            order = [own.index(self.spec.vertex(target.name(p))) for p in target.parents[i]]
            axes = (0, *(1 + place for place in order), table.ndim - 1)
            table = table.permute(axes)
            tables.append(table.expand(self.spec.n_sources, *table.shape[1:]).contiguous())
        return BayesNetMixture.from_tables(target, tables)


def n_free(spec: MixtureSpec, vertex: int, parents: Collection[int], influenced: bool) -> int:
    """Free probabilities of a family."""
    copies = spec.n_sources if influenced else 1
    return copies * spec.n_joint(parents) * (spec.card(vertex) - 1)


def _normalised(counts: Float[Tensor, "copies *parents card"]) -> Tensor:
    """Counts as probabilities; a row that no source reached is uniform."""
    rows, pooled = counts.sum(-1, keepdim=True), counts.sum(0, keepdim=True)
    common = pooled / pooled.sum(-1, keepdim=True)
    common = torch.where(pooled.sum(-1, keepdim=True) > NO_MASS, common, 1 / counts.shape[-1])
    return torch.where(rows > NO_MASS, counts / rows, common)


def _complete(
    spec: MixtureSpec, rows: Int[Tensor, "m n"]
) -> tuple[Int[Tensor, "c n"], Int[Tensor, " c"] | None]:
    """Every completion of every row, and whose it is; None where no cell is missing."""
    missing = rows < 0
    if not bool(missing.any()):
        return rows.long(), None
    cards = torch.tensor(spec.cards, dtype=torch.float64, device=rows.device)
    size = float(torch.where(missing, cards, 1.0).prod(1).sum())
    if size > MAX_COMPLETIONS:
        raise DataError(
            f"expected missing cells of at most {MAX_COMPLETIONS:,} completions in all, found "
            f'{size:.2g}; drop the rows or the variables that lack most (missing="drop")'
        )
    rows, owner = rows.long(), torch.arange(len(rows), device=rows.device)
    for v, card in enumerate(spec.cards):
        times = torch.where(rows[:, v] < 0, card, 1)
        first = times.cumsum(0) - times
        place = torch.arange(len(rows), device=rows.device).repeat_interleave(times)
        states = torch.arange(len(place), device=rows.device) - first[place]
        rows, owner = rows[place], owner[place]
        rows[:, v] = torch.where(rows[:, v] < 0, states, rows[:, v])
    return rows, owner
