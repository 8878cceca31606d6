"""The cells of all CPTs on one axis: where they lie, and which rows of a table they form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.exact.incidence import Incidence
from pyromix.model.spec import MixtureSpec


@dataclass(frozen=True)
class CellAxis:
    """Positions of the cells of every CPT, vertex after vertex, each in the order of its axes.

    The source is no part of the axis: a table over it has one column per source (and per batch
    element).

    Attributes:
        spec: the structure; its number of sources plays no role.
    """

    spec: MixtureSpec

    @cached_property
    def families(self) -> tuple[tuple[int, ...], ...]:
        """Parents and vertex, in the order of the axes of its CPT."""
        return tuple((*parents, v) for v, parents in enumerate(self.spec.parents))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of cells of each vertex."""
        return tuple(self.spec.n_joint(family) for family in self.families)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Position of the first cell of each vertex."""
        return tuple(accumulate(self.sizes, initial=0))[:-1]

    @property
    def n_cells(self) -> int:
        """Length of the axis."""
        return sum(self.sizes)

    @cached_property
    def strides(self) -> tuple[dict[int, int], ...]:
        """Per vertex, by how many cells a step in the state of each family member moves."""
        return tuple(strides(self.spec, family) for family in self.families)

    def rows(self, device: torch.device) -> Incidence:
        """Which row of a CPT each cell belongs to; rows are numbered along the axis."""
        cards = torch.tensor(self.spec.cards, dtype=torch.int32, device=device)
        sizes = torch.tensor(self.sizes, dtype=torch.int32, device=device)
        lengths = cards.repeat_interleave(sizes // cards)
        numbers = torch.arange(len(lengths), dtype=torch.int32, device=device)
        return Incidence.from_slots(numbers.repeat_interleave(lengths)[:, None], len(lengths))

    def stack(self, cpts: Sequence[Float[Tensor, ...]]) -> Float[Tensor, "cells columns"]:
        """Put CPTs ``(*batch, k, *card(parents), card)`` on the axis, one column per (batch, k)."""
        flat = [c.reshape(-1, size) for c, size in zip(cpts, self.sizes, strict=True)]
        return torch.cat(flat, 1).T

    def unstack(self, table: Float[Tensor, " cells *columns"]) -> tuple[Float[Tensor, ...], ...]:
        """Return ``(*columns, *card(parents), card)`` per vertex, the inverse of ``stack``."""
        columns, spec = table.shape[1:], self.spec
        return tuple(
            part.movedim(0, -1).reshape(*columns, *spec.joint_shape(family))
            for part, family in zip(table.split(self.sizes), self.families, strict=True)
        )

    def unstack_rows(
        self, masses: Float[Tensor, " rows *columns"]
    ) -> tuple[Float[Tensor, ...], ...]:
        """Return ``(*columns, *card(parents))`` per vertex from one number per CPT row."""
        columns, spec = masses.shape[1:], self.spec
        sizes = [spec.n_joint(parents) for parents in spec.parents]
        return tuple(
            part.movedim(0, -1).reshape(*columns, *spec.joint_shape(parents))
            for part, parents in zip(masses.split(sizes), spec.parents, strict=True)
        )

    def uninfluenced(self, device: torch.device) -> Int[Tensor, " shared"]:
        """Cells of the vertices without an edge from the source, which all sources share."""
        ranges = [
            torch.arange(self.offsets[v], self.offsets[v] + self.sizes[v], device=device)
            for v in sorted(self.spec.uninfluenced)
        ]
        return torch.cat([torch.empty(0, dtype=torch.int64, device=device), *ranges])


def strides(spec: MixtureSpec, vertices: Sequence[int]) -> dict[int, int]:
    """Row-major strides of a joint table of some vertices, by vertex."""
    cards = spec.joint_shape(vertices)
    return {v: prod(cards[i + 1 :]) for i, v in enumerate(vertices)}


def joint_states(
    spec: MixtureSpec, vertices: Sequence[int], device: torch.device
) -> dict[int, Int[Tensor, " configurations"]]:
    """Return the state of each vertex in every joint state, in row-major order, int32."""
    numbers = torch.arange(spec.n_joint(vertices), dtype=torch.int32, device=device)
    return {v: numbers // s % spec.card(v) for v, s in strides(spec, vertices).items()}


def row_numbers(
    spec: MixtureSpec, vertex: int, rows: Int[Tensor, "m variables"]
) -> Int[Tensor, " m"]:
    """Return which row of its CPT a vertex uses in each data row, all parents observed."""
    used = torch.zeros_like(rows[:, 0])
    for parent in spec.parents[vertex]:
        used = used * spec.card(parent) + rows[:, parent]
    return used
