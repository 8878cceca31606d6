"""A second CPD, for tests of the seam: a float column, linear in float parents within a cell.

One line and one variance for every source and joint state of the discrete parents; statistics
and prior as in THEORY section 18.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.distributions import Normal


@dataclass(frozen=True, eq=False)
class Sums:
    """Weight ``(*batch, k, cells)`` and sum of ``(z, y)(z, y)'``, z with a leading one."""

    weight: Tensor
    squares: Tensor

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.weight + other.weight, self.squares + other.squares)


@dataclass(frozen=True, eq=False)
class LinearGaussianCPD:
    """``lines (*batch, k, *cards, 1 + q)``, ``log_variance (*batch, k, *cards)``.

    ``parent_cards`` has the number of states of a discrete parent and 0 for a numeric one.
    """

    lines: Tensor
    log_variance: Tensor
    parent_cards: tuple[int, ...] = ()
    cuts: tuple[float, ...] = (-0.9, 0.1, 1.2)

    @property
    def cards(self) -> tuple[int, ...]:
        return tuple(c for c in self.parent_cards if c)

    @property
    def batch_shape(self) -> torch.Size:
        return self.log_variance.shape[: self.log_variance.ndim - len(self.cards) - 1]

    @property
    def n_sources(self) -> int:
        return self.log_variance.shape[len(self.batch_shape)]

    @property
    def parameters(self) -> Tensor:
        lead = len(self.batch_shape)
        return torch.cat([self.lines.flatten(lead), self.log_variance.flatten(lead)], -1)

    def with_parameters(self, parameters: Tensor) -> LinearGaussianCPD:
        lead, n = parameters.shape[:-1], self.lines.shape[-1]
        shape = (*lead, self.n_sources, *self.cards)
        cells = self.n_sources * math.prod(self.cards)
        lines, logs = parameters.split([cells * n, cells], -1)
        return replace(self, lines=lines.reshape(*shape, n), log_variance=logs.reshape(shape))

    def _split(self, parents: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        both = list(zip(parents, self.parent_cards, strict=True))
        return [p.long() for p, c in both if c], [p for p, c in both if not c]

    def log_prob(self, values: Tensor, parents: Sequence[Tensor]) -> Tensor:
        cells, numbers = self._split(parents)
        z = torch.stack([torch.ones_like(values), *numbers], -1)
        if cells:
            lines, logs = self.lines[(..., *cells, slice(None))], self.log_variance[(..., *cells)]
        else:
            lines, logs = self.lines.unsqueeze(-2), self.log_variance.unsqueeze(-1)
        gap = values - (lines * z).sum(-1)
        found = -0.5 * (math.log(2 * math.pi) + logs + gap.square() / logs.exp())
        return found.movedim(-1, -2)

    def statistics(self, values: Tensor, parents: Sequence[Tensor], shares: Tensor) -> Sums:
        cells, numbers = self._split(parents)
        row = torch.stack([torch.ones_like(values), *numbers, values], -1)
        cell = torch.zeros_like(values, dtype=torch.long)
        for column, card in zip(cells, self.cards, strict=True):
            cell = cell * card + column
        by_source = shares.movedim(-1, -2)
        shape, d = by_source.shape[:-1], row.shape[-1]
        squares = by_source[..., None, None] * (row[:, :, None] * row[:, None, :])
        n = math.prod(self.cards)
        return Sums(
            shares.new_zeros(*shape, n).index_add_(-1, cell, by_source),
            shares.new_zeros(*shape, n, d, d).index_add_(-3, cell, squares),
        )

    def estimate(self, statistics: Sums, prior: Sums | None = None) -> LinearGaussianCPD:
        sums = statistics if prior is None else statistics + prior
        zz, zy = sums.squares[..., :-1, :-1], sums.squares[..., :-1, -1]
        lines = torch.linalg.solve(zz, zy)
        variance = (sums.squares[..., -1, -1] - (lines * zy).sum(-1)) / sums.weight
        shape = (*sums.weight.shape[:-1], *self.cards)
        return replace(
            self, lines=lines.reshape(*shape, -1), log_variance=variance.log().reshape(shape)
        )

    def _rows(self, sources: Tensor, parents: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        cells, numbers = self._split(parents)
        batch = self.batch_shape
        index = [
            torch.arange(length).reshape(-1, *(1 for _ in batch[i:]))
            for i, length in enumerate(batch)
        ]
        place = (*index, sources.long(), *cells)
        lines = self.lines[place]
        mean = lines[..., 0]
        for i, x in enumerate(numbers, 1):
            mean = mean + lines[..., i] * x
        return mean, (0.5 * self.log_variance[place]).exp()

    def sample(
        self, sources: Tensor, parents: Sequence[Tensor], generator: torch.Generator
    ) -> Tensor:
        mean, scale = self._rows(sources, parents)
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
        return mean + scale * noise

    def features(self, values: Tensor) -> Tensor:
        place = torch.bucketize(values, torch.tensor(self.cuts, dtype=values.dtype))
        return torch.nn.functional.one_hot(place, len(self.cuts) + 1).to(values.dtype)

    def distribution(self, sources: Tensor, parents: Sequence[Tensor]) -> Normal:
        return Normal(*self._rows(sources, parents))

    def relabel(self, order: Sequence[int] | Tensor) -> LinearGaussianCPD:
        index = torch.as_tensor(order).expand(*self.batch_shape, self.n_sources)

        def moved(table: Tensor) -> Tensor:
            tail = table.shape[index.ndim :]
            where = index.reshape(*index.shape, *(1 for _ in tail)).expand(*index.shape, *tail)
            return table.gather(index.ndim - 1, where)

        return replace(self, lines=moved(self.lines), log_variance=moved(self.log_variance))
