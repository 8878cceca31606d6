"""EM by several processes: each sums over its share of the patterns, and all hold every sum.

Whoever starts processes by ``torchrun`` and calls ``init_process_group`` has this without asking:
every process calls the same function on the same table. Control flow hangs on sums alone, which
are the same bits in every process, so that all take the same steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import torch
from torch import Tensor

from pyromix.errors import DataError
from pyromix.estimate.indexed import index_of
from pyromix.estimate.result import REACHED_ROWS
from pyromix.estimate.step import EMMap, Point, WeightedRows
from pyromix.exact.likelihood import ExpectedCounts
from pyromix.exact.rows import CellIndex
from pyromix.model.prior import PseudoCounts
from pyromix.model.spec import MixtureSpec

LEAST = 64
"""Patterns of a process; where there are fewer, each sums over all of them."""


@dataclass(frozen=True, eq=False)
class ShardedMap(EMMap):
    """The EM step of a share of the rows, summed over all processes.

    Attributes:
        whole_weight: sum of the weights of all rows.
        lightest: weight of the lightest.
    """

    whole_weight: float
    lightest: float

    @property
    def total_weight(self) -> float:  # type: ignore[override]
        """Number of data rows, of all processes together."""
        return self.whole_weight

    @property
    def reached_mass(self) -> float:  # type: ignore[override]
        """Mass from which a CPT row counts as reached, see ``REACHED_ROWS``."""
        return REACHED_ROWS * min(1.0, self.lightest)

    def expected(self, point: Point) -> ExpectedCounts:
        """The E-step of this share, and the sum over all: one vector goes round."""
        own = super().expected(point)
        parts = (own.log_likelihood, own.sources, own.cells)
        flat = torch.cat([part.flatten() for part in parts])
        torch.distributed.all_reduce(flat)
        sums = flat.split([part.numel() for part in parts])
        summed = [total.view_as(part) for total, part in zip(sums, parts, strict=True)]
        return ExpectedCounts(*summed)


def map_of(spec: MixtureSpec, counts: WeightedRows, prior: PseudoCounts) -> EMMap:
    """The EM step of a table: of this process alone, or shared among all where there are several.

    Args:
        spec: the structure.
        counts: distinct rows and their weights, in each process the same.
        prior: pseudo-counts.

    Raises:
        DataError: processes hold different tables or models.
    """
    n, rank = _processes()
    m = len(counts.rows)
    if n == 1 or m < n * LEAST:
        return EMMap(spec, index_of(spec, counts), counts.weights, prior)
    _check_alike(spec, counts.rows, counts.weights)
    share = slice(rank * m // n, (rank + 1) * m // n)
    rows, weights = counts.rows[share], counts.weights[share]
    whole, lightest = float(counts.weights.sum()), float(counts.weights.min())
    return ShardedMap(spec, CellIndex(spec, rows), weights, prior, whole, lightest)


def _processes() -> tuple[int, int]:
    """How many processes there are, and which this one is."""
    group = torch.distributed
    if not (group.is_available() and group.is_initialized()):
        return 1, 0
    return group.get_world_size(), group.get_rank()


def _check_alike(spec: MixtureSpec, rows: Tensor, weights: Tensor) -> None:
    """Refuse processes that do not do the same: their sums would be nobody's.

    Raises:
        DataError: names the processes that differ from the first.
    """
    found = sha256(repr((spec.variables, spec.states, spec.parents, spec.n_sources)).encode())
    for tensor in (rows, weights):
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    own = torch.frombuffer(bytearray(found.digest()[:8]), dtype=torch.int64)
    every = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(every, own)
    if others := [i for i, key in enumerate(every) if not torch.equal(key, every[0])]:
        raise DataError(
            "expected the same table and model in every process, found others in processes "
            f"{others} than in process 0; give each process the whole table, in one order"
        )
