"""EM on many reweightings of one stream of rows: a pass is a step of all of them.

Every row of weight w has a weight of its own in each replicate, drawn anew in every pass from a
generator that its replicate always starts alike: Poisson(w) is the multinomial law without its sum
[N. Chamandy, O. Muralidharan, A. Najmi and S. Naidu, Estimating uncertainty for massive data
streams, Google technical report, 2012], Gamma(w) the Dirichlet law without its sum. Draws go by the
place of a row, so a pass with rows in another order is refused.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from pyromix.errors import DataError, RefinementError
from pyromix.estimate.step import Point
from pyromix.estimate.streamed import Batches, StreamedMap
from pyromix.exact.likelihood import ExpectedCounts, expected_counts
from pyromix.exact.rows import CellIndex
from pyromix.model.prior import PseudoCounts
from pyromix.model.spec import MixtureSpec

LAWS = {"multinomial": "poisson", "dirichlet": "standard_gamma"}
"""What draws the weights of a replicate, by the law that they have given their sum."""

AT_ONCE = 32
"""Replicates whose weights of a batch are held at a time."""

Pass = tuple[ExpectedCounts, int]
"""What a pass sums, and a checksum of its rows in their order."""

KeepPass = Callable[[int, Callable[[], Pass]], Pass]
"""Told the number of a pass, and what takes it."""


@dataclass(frozen=True, eq=False)
class ReplicatedMap(StreamedMap):
    """The EM step of reweightings of a stream, one for each batch element.

    Attributes:
        law: see ``LAWS``.
        seed: of all draws.
        numbers: of the replicates.
        keep: runs a pass, or takes from a checkpoint what it found.
    """

    law: str
    seed: int
    numbers: tuple[int, ...]
    keep: KeepPass
    _passes: list[int] = field(default_factory=list, repr=False)

    @staticmethod
    def drawn(
        spec: MixtureSpec,
        stream: Batches,
        n_rows: float,
        prior: PseudoCounts,
        law: str,
        seed: int,
        n: int,
        keep: KeepPass,
    ) -> ReplicatedMap:
        """Make the map of n replicates; columns of the stream have the order of the spec."""
        plain = StreamedMap.of(spec, stream, n_rows, prior)
        return ReplicatedMap(**vars(plain), law=law, seed=seed, numbers=tuple(range(n)), keep=keep)

    def only(self, chosen: Bool[Tensor, " batch"]) -> ReplicatedMap:
        """The map of some replicates; it counts its passes on."""
        numbers = tuple(n for n, c in zip(self.numbers, chosen.tolist(), strict=True) if c)
        prior = self.prior[chosen] if self.prior.batched else self.prior
        return replace(self, numbers=numbers, prior=prior)

    def expected(self, point: Point) -> ExpectedCounts:
        """The E-step of every replicate, summed over the batches of one pass.

        Raises:
            DataError: rows or their order are not those of the first pass.
        """
        found, checksum = self.keep(len(self._passes) + 1, lambda: self._checked(point))
        self._passes.append(checksum)
        return found

    def _checked(self, point: Point) -> Pass:
        """A pass, before it is kept."""
        found, checksum = self._passed(point)
        if self._passes and checksum != self._passes[0]:
            raise DataError(
                "the weights of a bootstrap go by the place of a row, and rows came in another "
                "order, or are others, than in the first pass; pass a snapshot whose engine keeps "
                "an order, such as Parquet files"
            )
        return found, checksum

    def _passed(self, point: Point) -> Pass:
        laws = [
            getattr(np.random.default_rng([self.seed, n]), LAWS[self.law]) for n in self.numbers
        ]
        total: list[ExpectedCounts | None] = [None] * -(-len(point) // AT_ONCE)
        checksum = 0
        for rows, weights in self.stream():
            if not len(rows):
                continue
            index, own = CellIndex(self.spec, rows), weights.numpy()
            checksum = zlib.crc32(own.tobytes(), zlib.crc32(rows.numpy().tobytes(), checksum))
            for place in range(len(total)):
                some = slice(place * AT_ONCE, (place + 1) * AT_ONCE)
                columns = np.stack([draw(own) for draw in laws[some]], 1).astype(np.float64)
                part = point[some]
                found = expected_counts(part.weights, part.table, index, torch.from_numpy(columns))
                before = total[place]
                total[place] = found if before is None else before.plus(found)
        parts = [part for part in total if part is not None]
        if not parts:
            raise RefinementError("expected rows in a pass over the table, found none")
        return ExpectedCounts.of_parts(parts), checksum
