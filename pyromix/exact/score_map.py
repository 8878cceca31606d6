"""Scores of rows as a linear map: products at the price of an E-step, no matrix of scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.exact.likelihood import log_joint
from pyromix.exact.rows import CellIndex
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.parameters import ParameterAxis


@dataclass(frozen=True, eq=False)
class ScoreMap:
    """The gradients of log P(row) in the log-odds, one row each: ``information.scores``, implicit.

    Attributes:
        mixture: without batch axes, no probability zero.
        index: the rows, no cell missing.
    """

    mixture: BayesNetMixture
    index: CellIndex

    @cached_property
    def axis(self) -> ParameterAxis:
        """Positions of the log-odds."""
        return ParameterAxis(self.mixture.spec)

    @cached_property
    def _shares(self) -> Float[Tensor, "m k"]:
        return log_joint(self.mixture, self.index).softmax(-1)

    @cached_property
    def _logs(self) -> Float[Tensor, "cells k"]:
        return self.index.axis.stack(self.mixture.cpts).log()

    def times(self, direction: Float[Tensor, " p"]) -> Float[Tensor, " m"]:
        """How the log-probability of every row moves along a direction."""
        padded = self.axis.padded(direction[None])
        moved = [
            z - (table * z).sum(-1, keepdim=True)
            for z, table in zip(padded, self.mixture.tables, strict=True)
        ]
        cells = self.index.axis.stack(moved[1:])
        units = self.index.unit_changes(cells, self._logs)
        rows = torch.cat([block.gather_sums(units) for block in self.index.blocks])
        return ((rows + moved[0]) * self._shares).sum(-1)

    def back(self, rows: Float[Tensor, " m"]) -> Float[Tensor, " p"]:
        """The sum of the scores of rows, so many times each: the transpose."""
        sources, cells = self._summed(self._shares * rows[:, None])
        found = [
            n - table * n.sum(-1, keepdim=True)
            for n, table in zip((sources, *cells), self.mixture.tables, strict=True)
        ]
        return self.axis.gradients([table[None] for table in found])[0]

    def squares(self) -> Float[Tensor, " p"]:
        """Of every parameter the sum of its squared scores; sources apart where they share it."""
        _, cells = self._summed(self._shares.square())
        sources = (self._shares - self.mixture.weights).square().sum(0)
        found = [
            n * (1 - 2 * table) + table.square() * n.sum(-1, keepdim=True)
            for n, table in zip(cells, self.mixture.cpts, strict=True)
        ]
        return self.axis.gradients([table[None] for table in (sources, *found)])[0]

    def _summed(
        self, shares: Float[Tensor, "m k"]
    ) -> tuple[Float[Tensor, " k"], tuple[Float[Tensor, ...], ...]]:
        """Sums over the rows, per source and per CPT cell."""
        units = shares.new_zeros(self.index.n_units, shares.shape[1])
        sizes = [block.n_rows for block in self.index.blocks]
        for block, part in zip(self.index.blocks, shares.split(sizes), strict=True):
            units += block.scatter_sums(part)
        cells = self.index.cell_counts(units, self._logs)
        return shares.sum(0), self.index.axis.unstack(cells)
