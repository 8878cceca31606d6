"""Mixtures in free coordinates, and the log-density of their posterior there, with its gradient.

A row of probabilities p of length c has the c - 1 coordinates ``H' log p``, where the columns of H
are an orthonormal basis of what is orthogonal to ones (isometric log-ratios: no state is singled
out). The Jacobian of p in them is, up to a constant, the product of the entries of p, so that the
Dirichlet density with concentrations a becomes ``sum of a log p``; and since the gradient of the
log-likelihood in ``log p`` is the table of expected counts n, the whole gradient is one E-step:

    H' (n + a - sum(n + a) p).

No graph of the computation is kept, and missing cells are summed out exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.estimate.step import TABLE_BYTES, Point
from pyromix.exact.cells import CellAxis
from pyromix.exact.incidence import Incidence
from pyromix.exact.likelihood import expected_counts
from pyromix.exact.rows import CellIndex
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.parameters import ParameterAxis
from pyromix.model.prior import PseudoCounts
from pyromix.model.spec import MixtureSpec

LEAST_LOGGED = 1e-12
"""Least probability of a mixture that is put into coordinates; zeros have none."""

STEP = 1e-4
"""Of the central differences of the gradient."""


@dataclass(frozen=True, eq=False)
class LogRatios:
    """The coordinates of one structure: P(U), then vertex after vertex its rows, by source.

    Attributes:
        spec: the structure.
        device: of the coordinates.
    """

    spec: MixtureSpec
    device: torch.device

    @cached_property
    def axis(self) -> CellAxis:
        """The stacked axis of CPT cells."""
        return CellAxis(self.spec)

    @property
    def n_coordinates(self) -> int:
        """Number of free probabilities."""
        return self.spec.n_parameters

    @cached_property
    def rows(self) -> Incidence:
        """Which row of a CPT each cell belongs to."""
        return self.axis.rows(self.device)

    @cached_property
    def shared(self) -> Int[Tensor, " cells"]:
        """Cells that all sources share."""
        return self.axis.uninfluenced(self.device)

    @cached_property
    def _weights_basis(self) -> Float[Tensor, "k free"]:
        return helmert(self.spec.n_sources).to(self.device)

    @cached_property
    def _basis(self) -> tuple[Tensor, Tensor]:
        """H of all rows of all CPTs as one sparse matrix (cells, free), and its transpose."""
        cells, columns, values = [], [], []
        first_cell = first_column = 0
        for v, size in enumerate(self.axis.sizes):
            card = self.spec.card(v)
            row = torch.arange(size // card, device="cpu")[:, None, None]
            cell = first_cell + row * card + torch.arange(card, device="cpu")[:, None]
            column = first_column + row * (card - 1) + torch.arange(card - 1, device="cpu")
            cell, column = torch.broadcast_tensors(cell, column)
            cells.append(cell.flatten())
            columns.append(column.flatten())
            values.append(helmert(card).expand(cell.shape).flatten())
            first_cell += size
            first_column += size // card * (card - 1)
        place = torch.stack([torch.cat(cells), torch.cat(columns)])
        matrix = torch.sparse_coo_tensor(
            place,
            torch.cat(values),
            (first_cell, first_column),
            device="cpu",
            check_invariants=False,
        ).coalesce()
        return matrix.to(self.device), matrix.T.coalesce().to(self.device)

    @cached_property
    def _slots(self) -> Int[Tensor, "free k"]:
        """Which coordinate each free number of a CPT row is, for every source."""
        axis = ParameterAxis(self.spec)
        slots = torch.cat([axis.slots(v) for v in range(self.spec.n_variables)], 1)
        return slots.T.contiguous().to(self.device)

    def point(self, z: Float[Tensor, "batch p"]) -> tuple[Point, Point]:
        """Return the tables at some coordinates, and their logarithms."""
        batch, k = len(z), self.spec.n_sources
        log_weights = (z[:, : k - 1] @ self._weights_basis.T).log_softmax(-1)
        free = z.T[self._slots].transpose(1, 2).reshape(-1, batch * k)
        log_table = self._basis[0] @ free
        # The largest entry of a row is not negative, so no row vanishes as a whole.
        log_total = self.rows.scatter_sums(log_table.exp()).log()
        log_table = (log_table - self.rows.gather_sums(log_total)).view(-1, batch, k)
        return Point(log_weights.exp(), log_table.exp()), Point(log_weights, log_table)

    def mixtures(self, z: Float[Tensor, "batch p"]) -> BayesNetMixture:
        """Return the mixtures at some coordinates, batch shape ``(batch,)``."""
        return self.point(z)[0].mixture(self.spec)

    def of(self, mixture: BayesNetMixture) -> Float[Tensor, "batch p"]:
        """Return the coordinates of mixtures ``(batch,)``; zeros are lifted to ``LEAST_LOGGED``."""
        at = Point.of(mixture)
        logs = Point(
            at.weights.clamp_min(LEAST_LOGGED).log(), at.table.clamp_min(LEAST_LOGGED).log()
        )
        z = at.weights.new_zeros(len(at), self.n_coordinates)
        z[:, : self.spec.n_sources - 1] = logs.weights @ self._weights_basis
        free = (self._basis[1] @ logs.table.flatten(1)).unflatten(1, at.weights.shape)
        z[:, self._slots] = free.transpose(0, 1)
        return z

    def pull_back(self, weights: Tensor, table: Tensor) -> Float[Tensor, "batch p"]:
        """Turn a gradient in log-odds of weights and cells into one in the coordinates."""
        z = weights.new_zeros(self.n_coordinates, len(weights))
        z[: self.spec.n_sources - 1] = self._weights_basis.T @ weights.T
        free = (self._basis[1] @ table.flatten(1)).unflatten(1, weights.shape)
        return z.index_add_(0, self._slots.flatten(), free.transpose(1, 2).flatten(0, 1)).T


@dataclass(frozen=True, eq=False)
class LogPosterior:
    """Log-density of the posterior in coordinates, up to a constant, with its gradient.

    Attributes:
        coordinates: of the structure.
        index: the rows.
        row_weights: rows behind each pattern; fractions are exponents of the likelihood.
        concentrations: of the Dirichlet prior of every row of every table.
    """

    coordinates: LogRatios
    index: CellIndex
    row_weights: Float[Tensor, " rows"]
    concentrations: PseudoCounts

    @cached_property
    def _prior_cells(self) -> Float[Tensor, "cells 1 k"]:
        """Concentrations on the axis of cells; shared ones count once."""
        cells = self.coordinates.axis.stack(self.concentrations.cpts).unsqueeze(1).clone()
        cells[self.coordinates.shared, :, 1:] = 0.0
        return cells

    @torch.no_grad()
    def __call__(
        self, z: Float[Tensor, "batch p"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch p"]]:
        """Return the log-density and its gradient at some coordinates."""
        rows, (at, log_at) = self.coordinates.rows, self.coordinates.point(z)
        found = expected_counts(at.weights, at.table, self.index, self.row_weights)
        prior_sources = self.concentrations.weights
        sources, cells = found.sources + prior_sources, found.cells + self._prior_cells
        value = found.log_likelihood + log_at.weights @ prior_sources
        value = value + (self._prior_cells * log_at.table).sum((0, 2))
        totals = rows.gather_sums(rows.scatter_sums(cells.flatten(1))).view_as(cells)
        gradient = self.coordinates.pull_back(
            sources - sources.sum(-1, keepdim=True) * at.weights, cells - totals * at.table
        )
        return value, gradient

    def log_likelihood(self, z: Float[Tensor, "batch p"]) -> Float[Tensor, " batch"]:
        """Return the log-likelihood at some coordinates."""
        parts = []
        for some in z.split(self._at_once):
            at, _ = self.coordinates.point(some)
            found = expected_counts(at.weights, at.table, self.index, self.row_weights)
            parts.append(found.log_likelihood)
        return torch.cat(parts)

    def curvature(self, z: Float[Tensor, " p"]) -> Float[Tensor, "p p"]:
        """Return minus the second derivatives, by central differences of the gradient."""
        steps = STEP * torch.eye(len(z), dtype=z.dtype, device=z.device)
        found = []
        for some in steps.split(max(1, self._at_once // 2)):
            _, ends = self(torch.cat([z + some, z - some]))
            ahead, behind = ends.chunk(2)
            found.append((behind - ahead) / (2 * STEP))
        matrix = torch.cat(found)
        return (matrix + matrix.T) / 2

    @property
    def _at_once(self) -> int:
        """Points whose tables over units are held together."""
        n_numbers = self.index.n_units + self.index.open.completions.n_rows
        return max(1, TABLE_BYTES // (64 * n_numbers * self.coordinates.spec.n_sources))


def helmert(n: int) -> Float[Tensor, "n free"]:
    """An orthonormal basis of the vectors of length n that sum to zero, as columns."""
    matrix = torch.zeros(n, n - 1, dtype=torch.float64, device="cpu")
    for j in range(1, n):
        matrix[:j, j - 1] = 1.0 / (j * (j + 1)) ** 0.5
        matrix[j, j - 1] = -j / (j * (j + 1)) ** 0.5
    return matrix
