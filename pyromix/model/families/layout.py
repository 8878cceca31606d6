"""What stands behind a vertex: a row of a table for its categorical parents, numbers for others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.errors import SpecError


class Numbers(StrEnum):
    """How a numeric parent enters a linear predictor."""

    VALUE = "value"
    HURDLE = "hurdle"
    """Two columns: whether it is above zero, and the value where it is. Zero is ``-inf``."""


WIDTHS = {Numbers.VALUE: 1, Numbers.HURDLE: 2}
"""Columns of z that such a parent makes."""

Parent = int | Numbers
"""A number of states, or how a numeric parent enters."""


@dataclass(frozen=True)
class Layout:
    """The parents of a vertex, in their order.

    Attributes:
        parents: of each its number of states, or how its number enters.
    """

    parents: tuple[Parent, ...] = ()

    @property
    def cards(self) -> tuple[int, ...]:
        """Numbers of states of the categorical parents."""
        return tuple(p for p in self.parents if not isinstance(p, Numbers))

    @property
    def n_rows(self) -> int:
        """Configurations d of the categorical parents; one without any."""
        return prod(self.cards)

    @property
    def n_columns(self) -> int:
        """Length of z = (1, numbers): the intercept, and the columns of the numeric parents."""
        return 1 + sum(WIDTHS[p] for p in self.parents if isinstance(p, Numbers))

    @property
    def linear(self) -> tuple[int, ...]:
        """Places, among all parents, of those that enter by their value alone."""
        return tuple(i for i, p in enumerate(self.parents) if p is Numbers.VALUE)

    def column(self, place: int) -> int:
        """Place in z of a parent that enters by its value.

        Args:
            place: of the parent, among all.
        """
        return 1 + sum(WIDTHS[p] for p in self.parents[:place] if isinstance(p, Numbers))

    def row(self, parents: Sequence[Tensor], shape: Sequence[int] = ()) -> Int[Tensor, "*rows"]:
        """Number of the configuration d of every data row; the last parent runs fastest.

        Args:
            parents: columns.
            shape: of the result where there is no categorical parent.
        """
        self._check(parents)
        row = torch.zeros(tuple(shape), dtype=torch.long, device=_device(parents))
        for column, parent in zip(parents, self.parents, strict=True):
            if not isinstance(parent, Numbers):
                row = row * parent + column.long()
        return row

    def design(
        self, parents: Sequence[Tensor], shape: Sequence[int] = ()
    ) -> Float[Tensor, "*rows columns"]:
        """Z = (1, numbers) of every data row.

        Args:
            parents: columns.
            shape: of the rows where there is no numeric parent.
        """
        self._check(parents)
        columns = list(self._columns(parents))
        one = torch.ones(tuple(shape), dtype=torch.float64, device=_device(parents))
        return torch.stack(torch.broadcast_tensors(one, *columns), -1)

    def _columns(self, parents: Sequence[Tensor]) -> Iterator[Float[Tensor, "*rows"]]:
        for column, parent in zip(parents, self.parents, strict=True):
            if parent is Numbers.VALUE:
                yield column
            elif parent is Numbers.HURDLE:
                positive = column > -torch.inf
                yield positive.to(column.dtype)
                yield torch.where(positive, column, torch.zeros_like(column))

    def _check(self, parents: Sequence[Tensor]) -> None:
        if len(parents) != len(self.parents):
            raise SpecError(f"expected {len(self.parents)} columns, found {len(parents)}")


def _device(parents: Sequence[Tensor]) -> torch.device:
    return parents[0].device if parents else torch.device("cpu")


ALONE = Layout()
"""No parents."""
