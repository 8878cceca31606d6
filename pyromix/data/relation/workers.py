"""Sums over the rows of a relation, taken where the rows lie: what travels is the sums.

An engine whose workers run Python gets a function that decodes its words and sums; pyromix must be
installed where they run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from pyromix.data.relation.digits import Packed

if TYPE_CHECKING:
    import pyarrow as pa

Blocks = Iterator[tuple[Int[Tensor, "b n"], Float[Tensor, " b"]]]
"""State numbers and weights of rows, a batch at a time."""

SumOver = Callable[[Blocks], "Float[ndarray, ' m'] | None"]
"""Sums over some rows; None where there are none."""

SCHEMA = "n bigint, checksum bigint, sums array<double>"
"""Of what a worker sends."""

ODD = -7046029254386353131
"""Powers of it spread the bits of words, so that sums over rows tell tables apart."""


@dataclass(frozen=True, eq=False)
class Decoder:
    """From batches of words, and perhaps weights, to rows.

    Attributes:
        packed: what the words hold.
        names: of the words.
        weighted: whether there is a column of weights, ``w``.
    """

    packed: Packed
    names: Sequence[str]
    weighted: bool

    def keys(self, batch: pa.RecordBatch) -> list[ndarray]:
        """The words of a batch."""
        return [batch.column(name).to_numpy(zero_copy_only=False) for name in self.names]

    def rows(
        self, batch: pa.RecordBatch, keys: Sequence[ndarray]
    ) -> tuple[Int[Tensor, "b n"], Float[Tensor, " b"]]:
        """The rows of a batch with an observed cell and a positive weight, and their weights."""
        codes = self.packed.codes(keys)
        weights = torch.ones(len(codes), dtype=torch.float64)
        if self.weighted:
            found = batch.column("w").to_numpy(zero_copy_only=False)
            weights = torch.from_numpy(found.astype(np.float64))
        kept = (codes >= 0).any(1) & (weights > 0)
        return codes[kept], weights[kept]


@dataclass(frozen=True, eq=False)
class Summed:
    """What a worker does with its batches.

    Attributes:
        decoder: of the batches.
        total: sums over the rows.
    """

    decoder: Decoder
    total: SumOver

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """One row of sums, or none where there are no rows."""
        import pyarrow as pa

        torch.set_num_threads(1)  # workers share a machine
        seen = [0, 0]

        def blocks() -> Blocks:
            for batch in batches:
                if batch.num_rows:
                    keys = self.decoder.keys(batch)
                    seen[0] += batch.num_rows
                    seen[1] = wrapped(seen[1], keys)
                    yield self.decoder.rows(batch, keys)

        sums = self.total(blocks())
        if seen[0]:
            found: dict[str, Any] = {"n": [seen[0]], "checksum": [seen[1]]}
            types = pa.list_(pa.float64())
            column = pa.array([[] if sums is None else sums.tolist()], types)
            yield pa.RecordBatch.from_pydict({**found, "sums": column})


def wrapped(checksum: int, keys: Sequence[ndarray]) -> int:
    """The checksum with further rows: a sum, so that their order plays no role."""
    mixed = np.zeros(len(keys[0]), dtype=np.int64)
    for word in keys:
        mixed = (mixed + word.astype(np.int64)) * np.int64(ODD)
        mixed ^= mixed >> np.int64(29)
    return added(checksum, int(mixed.sum()))


def added(one: int, other: int) -> int:
    """A sum of integers of 64 bits that runs over."""
    return (one + other + 2**63) % 2**64 - 2**63
