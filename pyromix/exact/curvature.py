"""Products of the observed information with vectors, at the price of an E-step each.

In log-odds the gradient of the log-likelihood in a row of a table is n_s - theta_s sum n, n the
expected counts (``surface``), and the information is minus its derivative. Along a direction in
which the logarithms of cells move by t, a row's shares move by

    dw_c = w_c (t_c - sum of w t),    t_c the sum of t over the cells of a completion c

(its source included), expected counts by the sums of dw: the matrix of ``information`` times a
vector [louis82] (THEORY section 17). Missing cells are summed out in the same way, unit by unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.exact.incidence import Incidence
from pyromix.exact.labelled import law_of
from pyromix.exact.likelihood import log_joint
from pyromix.exact.rows import CellIndex
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.parameters import ParameterAxis
from pyromix.model.prior import PseudoCounts


@dataclass(frozen=True, eq=False)
class Curvature:
    """Minus the second derivative of a log-likelihood, with pseudo-counts, as a linear map.

    Attributes:
        mixture: the estimate, without batch axes.
        index: the rows of the table; missing cells are taken to be missing at random.
        row_weights: their weights.
        prior: pseudo-counts, as in ``observed_information``.
    """

    mixture: BayesNetMixture
    index: CellIndex
    row_weights: Float[Tensor, " m"]
    prior: PseudoCounts

    @cached_property
    def axis(self) -> ParameterAxis:
        """Positions of the log-odds."""
        return ParameterAxis(self.mixture.spec)

    @property
    def n_numbers(self) -> int:
        """Numbers that a product with one vector reads, about."""
        spec, index = self.mixture.spec, self.index
        completed = len(index.open.completions.columns)
        cells = index.n_rows * spec.n_variables + completed + index.axis.n_cells
        return cells * spec.n_sources

    @cached_property
    def masses(self) -> tuple[Float[Tensor, ""], Float[Tensor, "cells k"]]:
        """Labelled rows, pseudo-counts among them, behind P(U), and behind the row of each cell."""
        prior, spec = self.prior, self.mixture.spec
        cells = self.index.cell_counts(self._unit_counts, self._logs)
        pseudo = self.index.axis.stack(prior.cpts)
        learned = torch.zeros_like(pseudo)
        for v, t in enumerate(self.learned):
            learned[self._of_vertex(v)] = t
        more = (self._spread(self._row_sums(pseudo)) - learned).clamp_min(0.0)
        # Those of an uninfluenced vertex count once, not once for every source.
        more[self.index.axis.uninfluenced(self.index.device)] /= spec.n_sources
        sources = self.row_weights.sum() + prior.weights.sum()
        return sources, self._spread(self._row_sums(cells)) + more

    @cached_property
    def learned(self) -> tuple[float, ...]:
        """Pseudo-counts of a row of each vertex that lie at a learned place."""
        return self.prior.learned or (0.0,) * self.mixture.spec.n_variables

    @torch.no_grad()
    def __call__(self, vectors: Float[Tensor, "b p"]) -> Float[Tensor, "b p"]:
        """The information times vectors."""
        b = len(vectors)
        head, table = self.mixture.weights, self._table
        padded = torch.cat([vectors, vectors.new_zeros(b, 1)], 1).T
        to_head, to_cells = self._places
        z = padded[to_head].T
        logs = z - (head * z).sum(-1, keepdim=True)
        z = padded[to_cells].movedim(-1, 1)
        cells = z - self._spread(self._row_sums(table * z))
        sources, change = self._count_changes(logs, cells)
        behind, rows_behind = self.masses
        shift = self._spread(self._row_sums(change))
        of_cells = table * (cells * rows_behind.unsqueeze(1) + shift) - change
        of_head = head * (logs * behind + sources.sum(-1, keepdim=True)) - sources
        total = torch.zeros_like(padded).index_add_(0, to_head, of_head.T)
        flat = of_cells.movedim(1, -1).reshape(-1, b)
        total = total.index_add_(0, to_cells.flatten(), flat)[:-1].T
        for v, t in enumerate(self.learned):
            if t > 0:
                part = self.axis.block(v)
                total[:, part] += self._drawn_together(v, t, vectors[:, part])
        return total

    # -- the axis of cells -----------------------------------------------------------------------

    @cached_property
    def _places(self) -> tuple[Int[Tensor, " k"], Int[Tensor, "cells k"]]:
        """Of P(U) and of every cell the position of its log-odds; behind all, of last states."""
        size = self.axis.size
        numbers = torch.arange(size, dtype=torch.float64, device=self.index.device) - size
        head, *cpts = self.axis.padded(numbers)
        return head.long() + size, self.index.axis.stack(cpts).long() + size

    @cached_property
    def _table(self) -> Float[Tensor, "cells 1 k"]:
        return self.index.axis.stack(self.mixture.cpts).unsqueeze(1)

    @cached_property
    def _cpt_rows(self) -> Incidence:
        return self.index.axis.rows(self.index.device)

    def _row_sums(self, cells: Float[Tensor, "cells ..."]) -> Float[Tensor, "rows ..."]:
        found = self._cpt_rows.scatter_sums(cells.flatten(1))
        return found.unflatten(1, cells.shape[1:])

    def _spread(self, rows: Float[Tensor, "rows ..."]) -> Float[Tensor, "cells ..."]:
        return self._cpt_rows.gather_sums(rows.flatten(1)).unflatten(1, rows.shape[1:])

    def _of_vertex(self, v: int) -> slice:
        start = self.index.axis.offsets[v]
        return slice(start, start + self.index.axis.sizes[v])

    # -- the rows --------------------------------------------------------------------------------

    @cached_property
    def _logs(self) -> Float[Tensor, "cells k"]:
        return self.index.axis.stack(self.mixture.cpts).log()

    @cached_property
    def _shares(self) -> Float[Tensor, "m k"]:
        """P(U | row), times the weight of the row."""
        joint = log_joint(self.mixture, self.index)
        return joint.softmax(-1) * self.row_weights[:, None]

    @cached_property
    def _unit_counts(self) -> Float[Tensor, "units k"]:
        counts = self._logs.new_zeros(self.index.n_units, self.mixture.n_sources)
        sizes = [block.n_rows for block in self.index.blocks]
        for block, shares in zip(self.index.blocks, self._shares.split(sizes), strict=True):
            counts += block.scatter_sums(shares)
        return counts

    def _count_changes(
        self, logs: Float[Tensor, "b k"], moved_cells: Float[Tensor, "cells b k"]
    ) -> tuple[Float[Tensor, "b k"], Float[Tensor, "cells b k"]]:
        """How expected counts move where logarithms of P(U) and of cells do."""
        index, (b, k) = self.index, logs.shape
        cells = moved_cells.flatten(1)
        units = index.unit_changes(cells, self._logs)
        counts = torch.zeros_like(units)
        sources = torch.zeros_like(logs)
        sizes = [block.n_rows for block in index.blocks]
        for block, share in zip(index.blocks, self._shares.split(sizes), strict=True):
            moved = block.gather_sums(units).view(-1, b, k) + logs
            share = share[:, None]
            weight = share.sum(-1, keepdim=True).clamp_min(torch.finfo(share.dtype).tiny)
            mean = (share * moved).sum(-1, keepdim=True) / weight
            change = share * (moved - mean)
            sources += change.sum(0)
            counts += block.scatter_sums(change.flatten(1))
        found = index.cell_changes(counts, self._unit_counts, cells, self._logs)
        return sources, found.view(-1, b, k)

    # -- what was learned --------------------------------------------------------------------------

    def _drawn_together(
        self, v: int, t: float, vectors: Float[Tensor, "b q"]
    ) -> Float[Tensor, "b q"]:
        """The precision of learned pseudo-counts times vectors, as ``information`` has it."""
        copies = self.axis.copies(v)
        table = self.mixture.cpts[v][:copies]
        laws = law_of(table)
        rows = vectors.reshape(len(vectors), *laws.shape[:3])
        over = 1 if copies > 1 else 2
        law = t * laws.mean(over - 1)
        apart = rows - rows.mean(over, keepdim=True)
        equation = "rij,burj->buri" if copies > 1 else "uij,burj->buri"
        return torch.einsum(equation, law, apart).reshape_as(vectors)
