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
from jaxtyping import Float
from torch import Tensor

from pyromix.exact.information import law_of
from pyromix.exact.likelihood import log_joint
from pyromix.exact.rows import CellIndex
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.parameters import ParameterAxis
from pyromix.model.prior import PseudoCounts
from pyromix.model.spec import SOURCE


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
    def masses(self) -> tuple[Float[Tensor, ...], ...]:
        """Labelled rows, pseudo-counts among them, behind P(U) and every CPT row."""
        return tuple(
            seen + more for seen, more in zip(self._row_masses, self._pseudo_rows, strict=True)
        )

    @cached_property
    def learned(self) -> tuple[float, ...]:
        """Pseudo-counts of a row that lie at a learned place; of P(U) none."""
        return (0.0, *(self.prior.learned or (0.0,) * self.mixture.spec.n_variables))

    @torch.no_grad()
    def __call__(self, vectors: Float[Tensor, "b p"]) -> Float[Tensor, "b p"]:
        """The information times vectors."""
        moved = self.axis.padded(vectors)
        logs = [
            z - (table * z).sum(-1, keepdim=True)
            for z, table in zip(moved, self.mixture.tables, strict=True)
        ]
        sources, cells = self._count_changes(logs)
        changes = [sources, *self.index.axis.unstack(cells)]
        found = []
        for t, change, table, mass in zip(
            logs, changes, self.mixture.tables, self.masses, strict=True
        ):
            # P(U) is one row, that of a CPT one per source and parent states.
            shift = change.sum(-1, keepdim=True)
            found.append(table * (t * mass.unsqueeze(-1) + shift) - change)
        total = self.axis.gradients(found)
        for v, t in enumerate(self.learned, SOURCE):
            if t > 0:
                part = self.axis.block(v)
                total[:, part] += self._drawn_together(v, t, vectors[:, part])
        return total

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

    @cached_property
    def _row_masses(self) -> tuple[Float[Tensor, ...], ...]:
        cells = self.index.cell_counts(self._unit_counts, self._logs)
        tables = self.index.axis.unstack(cells)
        return (self.row_weights.sum(), *(table.sum(-1) for table in tables))

    @cached_property
    def _pseudo_rows(self) -> tuple[Float[Tensor, ...], ...]:
        """Of an uninfluenced vertex, what each source would bring of rows that count once."""
        spec, found = self.mixture.spec, []
        for v, (table, t) in enumerate(zip(self.prior.tables, self.learned, strict=True), SOURCE):
            rows = (table.sum(-1) - t).clamp_min(0.0)
            found.append(rows / spec.n_sources if v in spec.uninfluenced else rows)
        return tuple(found)

    def _count_changes(
        self, logs: list[Float[Tensor, "b k ..."]]
    ) -> tuple[Float[Tensor, "b k"], Float[Tensor, "cells b k"]]:
        """How expected counts move where logarithms of cells do."""
        index, (b, k) = self.index, logs[0].shape
        cells = index.axis.stack(logs[1:])
        units = index.unit_changes(cells, self._logs)
        counts = torch.zeros_like(units)
        sources = torch.zeros_like(logs[0])
        sizes = [block.n_rows for block in index.blocks]
        for block, share in zip(index.blocks, self._shares.split(sizes), strict=True):
            moved = block.gather_sums(units).view(-1, b, k) + logs[0]
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
