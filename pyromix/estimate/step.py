"""One step of EM as a map from points to points, batched over starts.

[A. P. Dempster, N. M. Laird, D. B. Rubin, Maximum likelihood from incomplete data via the EM
algorithm, JRSS B 39, 1977] for P(u, x) = pi_u product over v of theta_v[u, pa, x_v], rows x of
weight w(x) and pseudo-counts a. E-step, missing cells summed out as U is:

    r_u(x) = P(u, x) / sum over u' of P(u', x),
    n_u = sum over x of w(x) r_u(x),   n_v[u, pa, s] = sum over the x with (pa, s) of w(x) r_u(x);

M-step:

    pi_u = (n_u + a_u) / sum over u' of (n_u' + a_u'),
    theta_v[u, pa, s] = (n_v + a_v)[u, pa, s] / sum over s' of (n_v + a_v)[u, pa, s'].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.estimate.result import REACHED_ROWS
from pyromix.exact.cells import CellAxis
from pyromix.exact.incidence import Incidence
from pyromix.exact.likelihood import ExpectedCounts, expected_counts
from pyromix.exact.rows import CellIndex
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.spec import MixtureSpec

TABLE_BYTES = 2**30
"""Starts are worked on in groups whose tables over units and completions stay below this."""

NO_MASS = 1e-200
"""A CPT row with less expected mass than this is one no data reached: its counts are rounding."""


@runtime_checkable
class WeightedRows(Protocol):
    """What a likelihood needs to know of a table; ``Counts`` is one.

    Beside these it says of which variables, by ``schema`` or ``spec`` (``moments.schema_of``).
    """

    @property
    def rows(self) -> Int[Tensor, "patterns variables"]:
        """State numbers, -1 where a cell is missing."""
        ...

    @property
    def weights(self) -> Float[Tensor, " patterns"]:
        """Weight of each row, positive."""
        ...


@dataclass(frozen=True, eq=False)
class Point:
    """Mixtures of one batch axis as EM works on them.

    Attributes:
        weights: P(U).
        table: every CPT on the stacked axis of cells.
    """

    weights: Float[Tensor, "batch k"]
    table: Float[Tensor, "cells batch k"]

    @staticmethod
    def of(mixture: BayesNetMixture) -> Point:
        """Stack a mixture with one batch axis."""
        table = CellAxis(mixture.spec).stack(mixture.cpts)
        return Point(mixture.weights, table.reshape(-1, *mixture.weights.shape))

    def mixture(self, spec: MixtureSpec) -> BayesNetMixture:
        """The inverse of ``of``."""
        cpts = CellAxis(spec).unstack(self.table)
        return BayesNetMixture.unchecked(spec, (self.weights, *cpts))

    def __len__(self) -> int:
        """Number of batch elements."""
        return len(self.weights)

    def __getitem__(self, index: Tensor | slice) -> Point:
        """Select batch elements."""
        return Point(self.weights[index], self.table[:, index])

    def distance(self, other: Point) -> Float[Tensor, " batch"]:
        """Root of the sum of squared differences of all probabilities."""
        weights, table = self.weights - other.weights, self.table - other.table
        return (weights.square().sum(-1) + table.square().sum((0, 2))).sqrt()

    def where(self, chosen: Bool[Tensor, " batch"], other: Point) -> Point:
        """This point at the chosen batch elements, the other elsewhere."""
        return Point(
            torch.where(chosen[:, None], self.weights, other.weights),
            torch.where(chosen[:, None], self.table, other.table),
        )

    def put(self, index: Int[Tensor, " some"], part: Point) -> Point:
        """Replace some batch elements."""
        return Point(
            self.weights.index_copy(0, index, part.weights),
            self.table.index_copy(1, index, part.table),
        )


@dataclass(frozen=True, eq=False)
class Step:
    """A point seen by the data, and where EM moves it.

    Attributes:
        log_likelihood: sum over rows by weight, at the point itself.
        objective: the same plus the log-density of the prior.
        row_masses: expected number of data rows behind each CPT row; for a vertex that sources
            share, of all sources together.
        target: the point EM moves to.
    """

    log_likelihood: Float[Tensor, " batch"]
    objective: Float[Tensor, " batch"]
    row_masses: Float[Tensor, "cpt_rows batch k"]
    target: Point

    def __getitem__(self, index: slice) -> Step:
        """Select batch elements."""
        return Step(
            self.log_likelihood[index],
            self.objective[index],
            self.row_masses[:, index],
            self.target[index],
        )

    def put(self, index: Int[Tensor, " some"], part: Step) -> Step:
        """Replace some batch elements."""
        return Step(
            self.log_likelihood.index_copy(0, index, part.log_likelihood),
            self.objective.index_copy(0, index, part.objective),
            self.row_masses.index_copy(1, index, part.row_masses),
            self.target.put(index, part.target),
        )


@dataclass(frozen=True, eq=False)
class EMMap:
    """The EM step of a table of weighted rows.

    Attributes:
        spec: the structure.
        index: the rows.
        row_weights: their weights, the same for all batch elements or one column for each.
        prior: pseudo-counts of every source and CPT cell, perhaps others for each batch element.
    """

    spec: MixtureSpec
    index: CellIndex
    row_weights: Float[Tensor, " rows"] | Float[Tensor, "rows batch"]
    prior: PseudoCounts

    @cached_property
    def total_weight(self) -> float:
        """Number of data rows; the mean where batch elements differ."""
        columns = 1 if self.row_weights.ndim == 1 else self.row_weights.shape[1]
        return float(self.row_weights.sum()) / columns

    @cached_property
    def reached_mass(self) -> float:
        """Mass from which a CPT row counts as reached, see ``REACHED_ROWS``."""
        positive = self.row_weights[self.row_weights > 0]
        return REACHED_ROWS * min(1.0, float(positive.min()))

    def only(self, chosen: Bool[Tensor, " batch"]) -> EMMap:
        """The map of some batch elements."""
        if bool(chosen.all()) or (self.row_weights.ndim == 1 and not self.prior.batched):
            return self
        weights = self.row_weights if self.row_weights.ndim == 1 else self.row_weights[:, chosen]
        prior = self.prior[chosen] if self.prior.batched else self.prior
        return replace(self, row_weights=weights, prior=prior)

    @cached_property
    def _maximum_likelihood(self) -> bool:
        return self.prior.is_zero

    @cached_property
    def pseudo_cells(self) -> Float[Tensor, "cells any k"]:
        """Pseudo-counts of each CPT cell."""
        shape = self.prior.weights.shape if self.prior.batched else (1, self.spec.n_sources)
        return self.axis.stack(self.prior.cpts).reshape(-1, *shape)

    @cached_property
    def pseudo_rows(self) -> Float[Tensor, "cpt_rows any k"]:
        """Pseudo-counts of each CPT row."""
        return self.row_sums(self.pseudo_cells)

    @property
    def axis(self) -> CellAxis:
        """The stacked axis of CPT cells."""
        return self.index.axis

    @cached_property
    def _cpt_rows(self) -> Incidence:
        return self.axis.rows(self.row_weights.device)

    @cached_property
    def shared(self) -> Int[Tensor, " cells"]:
        """Cells of tables that all sources share."""
        return self.axis.uninfluenced(self.row_weights.device)

    @cached_property
    def _cards(self) -> Float[Tensor, "cpt_rows 1 1"]:
        """Number of cells of each CPT row."""
        ones = torch.ones(self.axis.n_cells, 1, 1, dtype=torch.float64, device=self.index.device)
        return self.row_sums(ones)

    def row_sums(self, table: Float[Tensor, "cells batch k"]) -> Float[Tensor, "cpt_rows batch k"]:
        """Sum over the cells of each CPT row."""
        return self._cpt_rows.scatter_sums(table.flatten(1)).unflatten(1, table.shape[1:])

    def spread(self, cpt_rows: Float[Tensor, "cpt_rows batch k"]) -> Float[Tensor, "cells batch k"]:
        """Repeat a number per CPT row for each of its cells."""
        return self._cpt_rows.gather_sums(cpt_rows.flatten(1)).unflatten(1, cpt_rows.shape[1:])

    def __call__(self, point: Point) -> Step:
        """Run the E-step at a point and the M-step from it."""
        counts = self.expected(point)
        cells = self.pooled(counts.cells)
        masses = self.row_sums(cells)
        sources = counts.sources + self.prior.weights
        weights = sources / sources.sum(-1, keepdim=True)
        return Step(
            counts.log_likelihood,
            counts.log_likelihood + self._log_prior(point),
            masses,
            Point(weights, self._normalised(cells, masses)),
        )

    def expected_cells(self, point: Point) -> Float[Tensor, "cells batch k"]:
        """Expected number of rows of each cell; of all sources together where they share it."""
        return self.pooled(self.expected(point).cells)

    def pooled(self, cells: Float[Tensor, "cells batch k"]) -> Float[Tensor, "cells batch k"]:
        """Expected counts, of all sources together where they share a cell; in place."""
        if len(self.shared):
            pooled = cells[self.shared].sum(-1, keepdim=True)
            cells[self.shared] = pooled.expand(-1, -1, cells.shape[-1])
        return cells

    def expected(self, point: Point) -> ExpectedCounts:
        """The E-step, in groups of starts where memory asks for them.

        The one place where rows are summed over: ``streamed`` and ``sharded`` sum over others.
        """
        n_numbers = self.index.n_units + self.index.open.completions.n_rows
        size = max(1, TABLE_BYTES // (24 * n_numbers * self.spec.n_sources))
        shared = self.row_weights.ndim == 1
        parts = []
        for i in range(0, len(point), size):
            part = point[i : i + size]
            weights = self.row_weights if shared else self.row_weights[:, i : i + size]
            parts.append(expected_counts(part.weights, part.table, self.index, weights))
        return ExpectedCounts.of_parts(parts)

    def _normalised(self, cells: Tensor, masses: Tensor) -> Float[Tensor, "cells batch k"]:
        """Expected counts as probabilities.

        A row that no data reached is that of all sources together, and uniform where no source
        reached it: any choice has the same likelihood, and this one is sharper in nothing.
        """
        totals = masses
        if not self._maximum_likelihood:
            cells = cells + self.pseudo_cells
            totals = self.row_sums(cells)
        table = cells / self.spread(totals)
        if not bool((totals <= NO_MASS).any()):
            return table
        pooled = totals.sum(-1, keepdim=True)
        common = torch.where(
            self.spread(pooled) > NO_MASS,
            cells.sum(-1, keepdim=True) / self.spread(pooled),
            1 / self.spread(self._cards),
        )
        return torch.where(self.spread(totals) > NO_MASS, table, common)

    def _log_prior(self, point: Point) -> Float[Tensor, " batch"]:
        """Log-density of the pseudo-counts, up to a constant; shared cells count once."""
        if self._maximum_likelihood:
            return torch.zeros_like(point.weights[:, 0])
        tiny = torch.finfo(torch.float64).tiny
        terms = self.pseudo_cells * point.table.clamp_min(tiny).log()
        if len(self.shared):
            terms[self.shared, :, 1:] = 0.0
        weights = self.prior.weights * point.weights.clamp_min(tiny).log()
        return terms.sum((0, 2)) + weights.sum(-1)
