"""Log-likelihood, responsibilities and expected counts of rows, missing cells summed out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.errors import SpecError
from pyromix.exact.logspace import log, logsumexp
from pyromix.exact.rows import CellIndex
from pyromix.model.mixture import BayesNetMixture

MANY_LOGARITHMS = 2**13
"""Logarithms from which it pays to see whether rows share them."""

Tables = tuple[Tensor, Sequence[Tensor]]
"""Weights ``(*batch, k)`` and CPTs as a BayesNetMixture holds them, without its checks."""


def log_joint(mixture: BayesNetMixture | Tables, index: CellIndex) -> Float[Tensor, "*batch m k"]:
    """Return log P(U, observed cells) of every row.

    Differentiable in the tables, to any order; at an entry that is exactly zero the derivative is
    taken as zero. Cells are missing at random and summed out exactly.

    Args:
        mixture: a mixture, or its ``(weights, cpts)``.
        index: the rows, for the same variables, states and parents.

    Returns:
        ``(*batch, rows, k)``; minus infinity where a source cannot produce a row.

    Raises:
        SpecError: the index was made for another structure.
        DataError: missing cells have too many completions.
    """
    if isinstance(mixture, BayesNetMixture):
        _check_structure(mixture, index)
        weights, cpts = mixture.weights, mixture.cpts
    else:
        weights, cpts = mixture
    units = index.unit_table(log(index.axis.stack(cpts)))
    rows = [block.gather_sums(units) for block in index.blocks]
    joint = torch.cat([units[:0], *rows]).T.reshape(*weights.shape, index.n_rows)
    return joint.movedim(-1, -2) + log(weights)[..., None, :]


def log_prob(
    mixture: BayesNetMixture, rows: Int[Tensor, "m variables"] | CellIndex
) -> Float[Tensor, "*batch m"]:
    """Return log P(observed cells) of every row, U and missing cells summed out.

    Args:
        mixture: the mixture.
        rows: state numbers, -1 for a missing cell; or their index, which saves making it anew.

    Raises:
        DataError: the rows have another width, or a number is no state.
    """
    return logsumexp(log_joint(mixture, _indexed(mixture, rows)), -1)


def responsibilities(
    mixture: BayesNetMixture, rows: Int[Tensor, "m variables"] | CellIndex
) -> Float[Tensor, "*batch m k"]:
    """Return P(U | observed cells) of every row; nan where a row is impossible.

    Args:
        mixture: the mixture.
        rows: as for ``log_prob``.

    Raises:
        DataError: the rows have another width, or a number is no state.
    """
    return log_joint(mixture, _indexed(mixture, rows)).softmax(-1)


@dataclass(frozen=True, eq=False)
class ExpectedCounts:
    """What EM needs to know of a table: the E-step, summed over weighted rows.

    Attributes:
        log_likelihood: sum over rows by weight, ``(batch,)``; minus infinity where a row is
            impossible, and then the counts of that element mean nothing.
        sources: expected number of rows of each source, ``(batch, k)``.
        cells: expected number of rows of each CPT cell, ``(cells, batch, k)``; cells that all
            sources share carry what each source contributes. A missing vertex without observed
            descendants counts nowhere: it says nothing, and EM is the faster for not imputing it.
    """

    log_likelihood: Float[Tensor, " batch"]
    sources: Float[Tensor, "batch k"]
    cells: Float[Tensor, "cells batch k"]

    def plus(self, other: ExpectedCounts) -> ExpectedCounts:
        """Of the rows of both."""
        return ExpectedCounts(
            self.log_likelihood + other.log_likelihood,
            self.sources + other.sources,
            self.cells + other.cells,
        )

    @staticmethod
    def of_parts(parts: Sequence[ExpectedCounts]) -> ExpectedCounts:
        """Of all batch elements, from those of some after those of others."""
        if len(parts) == 1:
            return parts[0]
        return ExpectedCounts(
            torch.cat([p.log_likelihood for p in parts]),
            torch.cat([p.sources for p in parts]),
            torch.cat([p.cells for p in parts], 1),
        )


def _weighted_logs(
    total: Float[Tensor, "rows batch"], weight: Float[Tensor, "rows any"]
) -> Float[Tensor, " batch"]:
    """Sum over rows of weight times log, where totals are at most k.

    Rows of one weight, as in tables without repeated rows, share logarithms: 16 to each, where
    there are so many rows that this saves more than to look costs.
    """
    full = len(total) // 16 * 16 if total.numel() >= MANY_LOGARITHMS else 0
    if full and bool((weight[1:] == weight[0]).all()):
        shared = total[:full].view(16, -1, total.shape[1]).prod(0).log().sum(0)
        return (shared + total[full:].log().sum(0)) * weight[0]
    return (weight * total.log()).sum(0)


@torch.no_grad()
def expected_counts(
    weights: Float[Tensor, "batch k"],
    table: Float[Tensor, "cells batch k"],
    index: CellIndex,
    row_weights: Float[Tensor, " m"] | Float[Tensor, "m batch"],
) -> ExpectedCounts:
    """Run the E-step: per block of rows one sparse product, a softmax, and the transpose.

    Nothing of the size of the table is held, whatever the batch.

    Args:
        weights: P(U) of each batch element.
        table: all CPTs on the stacked axis of ``index``.
        index: the rows.
        row_weights: weight of each row, the same for all batch elements or one for each.
    """
    batch, k = weights.shape
    log_table, log_weights = table.reshape(-1, batch * k).log(), weights.log()
    units = index.unit_table(log_table)
    counts = torch.zeros_like(units)
    sources, log_likelihood = torch.zeros_like(weights), torch.zeros_like(weights[:, 0])
    least = torch.finfo(torch.float64).min
    sizes = [block.n_rows for block in index.blocks]
    for block, row_weight in zip(index.blocks, row_weights.split(sizes), strict=True):
        joint = block.gather_sums(units).view(-1, batch, k)
        # Sources first while shares are formed: reducing over a last axis of two or three is slow.
        share = torch.empty_like(joint.movedim(-1, 0), memory_format=torch.contiguous_format)
        torch.add(joint.movedim(-1, 0), log_weights.T[:, None], out=share)
        top = share.amax(0).clamp_min_(least)
        total = share.sub_(top).exp_().sum(0)
        if row_weight.ndim == 1:
            row_weight = row_weight[:, None]
        else:
            # A row that a weighting leaves out may be impossible there: it is no row of it.
            total = torch.where(row_weight > 0, total, 1.0)
        log_likelihood += _weighted_logs(total, row_weight) + (row_weight * top).sum(0)
        torch.mul(share, row_weight / total, out=joint.movedim(-1, 0))
        sources += joint.sum(0)
        counts += block.scatter_sums(joint.view(-1, batch * k))
    cells = index.cell_counts(counts, log_table)
    return ExpectedCounts(log_likelihood, sources, cells.view(-1, batch, k))


def _indexed(mixture: BayesNetMixture, rows: Tensor | CellIndex) -> CellIndex:
    return rows if isinstance(rows, CellIndex) else CellIndex(mixture.spec, rows)


def _check_structure(mixture: BayesNetMixture, index: CellIndex) -> None:
    spec, other = mixture.spec, index.spec
    if (spec.cards, spec.parents) != (other.cards, other.parents):
        raise SpecError(
            "expected an index of the mixture's own structure, found one for variables "
            f"{list(other.variables)} with cardinalities {list(other.cards)}, and parents "
            f"{list(other.parents)}; the mixture has {list(spec.variables)}, {list(spec.cards)}, "
            f"{list(spec.parents)}"
        )
