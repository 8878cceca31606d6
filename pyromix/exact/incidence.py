"""Matrices of zeros and ones with few ones per row: sums over index sets, and their transpose."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.exact.threads import one_thread_unless


@dataclass(frozen=True, eq=False)
class Incidence:
    """A 0/1 matrix that is stored by rows, and by columns from the first time that is needed.

    As two compressed matrices one product takes about the time of reading the indices once;
    ``embedding_bag`` and ``index_add_`` took tens of times as long.

    Attributes:
        starts: where the ones of each row begin in ``columns``, and the end, ``(rows + 1,)``.
        columns: column of each one, ``(ones,)``, row after row.
        n_columns: width of the matrix.
    """

    starts: Int[Tensor, " starts"]
    columns: Int[Tensor, " ones"]
    n_columns: int

    @staticmethod
    def from_slots(slots: Int[Tensor, "rows slots"], n_columns: int) -> Incidence:
        """Read the ones of each row from a padded table.

        Args:
            slots: column numbers, int32; negative where a slot is not used. A column occurs at
                most once in a row.
            n_columns: width of the matrix.
        """
        used = slots >= 0
        columns = slots.flatten() if bool(used.all()) else slots[used]
        return Incidence(_starts(used.sum(1)), columns, n_columns)

    @property
    def n_rows(self) -> int:
        """Height of the matrix."""
        return len(self.starts) - 1

    @cached_property
    def _by_row(self) -> Tensor:
        return _compressed(self.starts, self.columns, (self.n_rows, self.n_columns))

    @cached_property
    def _by_column(self) -> Tensor:
        transpose = _transposed if self.columns.device.type == "cpu" else _transposed_by_sorting
        return _compressed(*transpose(self), (self.n_columns, self.n_rows))

    def gather_sums(self, dense: Float[Tensor, "n_columns width"]) -> Float[Tensor, "rows width"]:
        """Return for every row of the matrix the sum of ``dense`` over its ones.

        Minus infinity is fine: entries off the ones are not touched. Differentiable to any order.
        """
        return _Product.apply(dense, self, False) if dense.requires_grad else _sums(dense, self)

    def scatter_sums(self, dense: Float[Tensor, "rows width"]) -> Float[Tensor, "n_columns width"]:
        """Return for every column of the matrix the sum of ``dense`` over the rows it is in."""
        if dense.requires_grad:
            return _Product.apply(dense, self, True)
        return _sums(dense, self, transposed=True)


class _Product(torch.autograd.Function):
    """Incidence times dense, or its transpose times dense; each is the other's derivative."""

    @staticmethod
    def forward(ctx: Any, dense: Tensor, incidence: Incidence, transposed: bool) -> Tensor:
        ctx.incidence, ctx.transposed = incidence, transposed
        return _sums(dense, incidence, transposed)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _Product.apply(grads[0], ctx.incidence, not ctx.transposed), None, None


def _sums(dense: Tensor, incidence: Incidence, transposed: bool = False) -> Tensor:
    """The product alone: to write down a derivative that nobody takes is half of a small one."""
    matrix = incidence._by_column if transposed else incidence._by_row
    dense = dense.contiguous()
    # Asked here, too: on one thread already, as in every climb, entering a context costs as much as
    # a small product.
    if torch.get_num_threads() == 1:
        return matrix @ dense
    with one_thread_unless(len(incidence.columns) * dense.shape[-1]):
        return matrix @ dense


def _starts(counts: Int[Tensor, " rows"]) -> Int[Tensor, " starts"]:
    """Where runs of these lengths begin, and the end of the last."""
    return torch.nn.functional.pad(counts.cumsum(0, dtype=torch.int32), (1, 0))


def _transposed(incidence: Incidence) -> tuple[Tensor, Tensor]:
    """The same ones by columns: scipy counts them into place, in half the time of a sort."""
    starts, columns = incidence.starts.numpy(), incidence.columns.numpy()
    nothing = np.zeros(len(columns), np.int8)
    shape = (incidence.n_rows, incidence.n_columns)
    found = scipy.sparse.csr_array((nothing, columns, starts), shape).tocsc()
    return torch.from_numpy(found.indptr), torch.from_numpy(found.indices)


def _transposed_by_sorting(incidence: Incidence) -> tuple[Tensor, Tensor]:
    """The same, on any device."""
    order = incidence.columns.argsort(stable=True)
    starts = _starts(torch.bincount(incidence.columns, minlength=incidence.n_columns))
    rows = torch.arange(incidence.n_rows, dtype=torch.int32, device=order.device)
    return starts, torch.repeat_interleave(rows, incidence.starts.diff())[order]


@lru_cache(maxsize=8)
def _ones(size: int, device: torch.device) -> Tensor:
    """Ones that matrices of about one size share: in the cache, they cost no memory traffic."""
    return torch.ones(size, dtype=torch.float64, device=device)


def _compressed(starts: Tensor, columns: Tensor, shape: tuple[int, int]) -> Tensor:
    room = 1 << max(len(columns) - 1, 0).bit_length()
    ones = _ones(room, columns.device)[: len(columns)]
    with warnings.catch_warnings():
        # PyTorch announces once per process that compressed tensors are in beta.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            starts, columns, ones, shape, device=columns.device, check_invariants=False
        )
