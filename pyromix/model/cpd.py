"""What the conditional distribution of a vertex must be able to do, and tables, which can.

A mixture is P(U) and for every vertex P(vertex | U, parents). Whoever needs no more of such a
distribution than stands in ``CPD`` works for all of them: likelihoods add ``log_prob`` over
vertices, EM adds ``statistics`` over blocks of rows and calls ``estimate``. Where all are tables,
``exact`` does the same on one stacked axis of cells, in sparse products, and is the faster for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Categorical, Distribution

from pyromix.errors import SpecError

SUM_TOLERANCE = 1e-9
"""How far the sum of a probability row may lie from one."""

TINY = 1e-300
"""Probability that stands for zero where a logarithm must be finite."""


@runtime_checkable
class Additive(Protocol):
    """Whatever can be added to its like; a tensor is."""

    def __add__(self, other: Any, /) -> Any:
        """The sum."""
        ...


S = TypeVar("S", bound=Additive)
C = TypeVar("C", bound="CPD[Any]")


@runtime_checkable
class CPD(Protocol[S]):
    """P(vertex | U, parents) of one vertex, for every source and batch element.

    Columns are tensors ``(m,)``, one per parent in the order of the parents: state numbers of a
    discrete vertex, values of a numeric one, no cell missing. ``S`` is the type of the statistics.
    """

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the leading axes."""
        ...

    @property
    def n_sources(self) -> int:
        """Number of sources k."""
        ...

    @property
    def parameters(self) -> Float[Tensor, "*batch free"]:
        """Free coordinates, any real number each; what sources share stands there once."""
        ...

    def with_parameters(self: C, parameters: Float[Tensor, "*batch free"]) -> C:
        """Return the same distribution at other coordinates; differentiable in them."""
        ...

    def log_prob(self, values: Tensor, parents: Sequence[Tensor]) -> Float[Tensor, "*batch m k"]:
        """Return the log-probability, or log-density, of every value under every source."""
        ...

    def statistics(
        self, values: Tensor, parents: Sequence[Tensor], shares: Float[Tensor, "*batch m k"]
    ) -> S:
        """Return what an estimate needs to know of rows; that of more rows is the sum.

        Args:
            values: of the vertex, ``(m,)``.
            parents: columns.
            shares: weight of each row times the probability of each source.
        """
        ...

    def estimate(self: C, statistics: S, prior: S | None = None) -> C:
        """Return the distribution that makes the rows likeliest: the M-step.

        One without closed form takes a step from its own parameters that lowers nothing.

        Args:
            statistics: of all rows.
            prior: those of rows seen before; their number need not be whole.
        """
        ...

    def sample(
        self, sources: Int[Tensor, "*rows"], parents: Sequence[Tensor], generator: torch.Generator
    ) -> Tensor:
        """Draw a value for each row; shapes are those of ``distribution``."""
        ...

    def features(self, values: Tensor) -> Float[Tensor, "m d"]:
        """Return bounded functions of the vertex, whose means tell sources apart in a view."""
        ...

    def distribution(
        self, sources: Int[Tensor, "*rows"], parents: Sequence[Tensor]
    ) -> Distribution:
        """The law of each row, for a Pyro site.

        Args:
            sources: ``(*any, *batch, m)``: the batch axes of the tables stand before the last one.
            parents: columns that broadcast with ``sources``.

        Returns:
            A distribution of a number or state, whose batch shape is that of all of them together.
        """
        ...

    def relabel(self: C, order: Sequence[int] | Int[Tensor, "*batch k"]) -> C:
        """Return the distribution whose source j is source ``order[j]`` of this one."""
        ...


@dataclass(frozen=True, eq=False)
class TableCPD:
    """A probability for every source, joint state of the parents, and state.

    Statistics are expected counts, ``(*batch, k, *card(parents), card)``; a prior is pseudo-counts
    in the same shape. Where sources share a table, their counts are added in the estimate.

    Attributes:
        values: ``(*batch, k, *card(parents), card)``, float64; last axis sums to one.
        n_parents: how many of the axes are those of parents.
        shared: whether U does not act on the vertex; then the k slices are equal.

    Raises:
        SpecError: too few axes, another dtype, or a row is not a probability distribution.
    """

    values: Float[Tensor, ...]
    n_parents: int = 0
    shared: bool = False

    def __post_init__(self) -> None:
        if self.values.ndim < self.n_parents + 2:
            raise SpecError(
                f"expected axes for the sources, {self.n_parents} parents and the states, found "
                f"shape {tuple(self.values.shape)}; give one axis to each"
            )
        check_table("a vertex", self.values, tuple(self.values.shape))

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the leading axes."""
        return self.values.shape[: self._source_axis]

    @property
    def n_sources(self) -> int:
        """Number of sources k."""
        return self.values.shape[self._source_axis]

    @property
    def card(self) -> int:
        """Number of states."""
        return self.values.shape[-1]

    @property
    def parameters(self) -> Float[Tensor, "*batch free"]:
        """Log-odds against the last state, row after row; those of a shared table once."""
        own = self.values.narrow(self._source_axis, 0, 1) if self.shared else self.values
        return logits(own)[..., :-1].flatten(self._source_axis)

    def with_parameters(self, parameters: Float[Tensor, "*batch free"]) -> TableCPD:
        """Return the table at other log-odds."""
        copies = 1 if self.shared else self.n_sources
        rows = self.values.shape[self._source_axis + 1 : -1]
        free = parameters.reshape(*parameters.shape[:-1], copies, *rows, self.card - 1)
        table = torch.cat([free, torch.zeros_like(free[..., :1])], -1).softmax(-1)
        expanded = table.expand(*parameters.shape[:-1], self.n_sources, *rows, self.card)
        return replace(self, values=expanded)

    def log_prob(
        self, values: Int[Tensor, " m"], parents: Sequence[Int[Tensor, " m"]]
    ) -> Float[Tensor, "*batch m k"]:
        """Return the log-probability of every state under every source."""
        cells = self.values[(..., *(p.long() for p in parents), values.long())]
        return cells.log().movedim(-1, -2)

    def statistics(
        self,
        values: Int[Tensor, " m"],
        parents: Sequence[Int[Tensor, " m"]],
        shares: Float[Tensor, "*batch m k"],
    ) -> Float[Tensor, ...]:
        """Return the expected number of rows of every cell."""
        cards = self.values.shape[self._source_axis + 1 :]
        cell = torch.zeros_like(values, dtype=torch.long)
        for column, card in zip((*parents, values), cards, strict=True):
            cell = cell * card + column.long()
        lead = shares.shape[:-2]
        counts = shares.new_zeros(*lead, self.n_sources, prod(cards))
        counts.index_add_(-1, cell, shares.movedim(-1, -2))
        return counts.reshape(*lead, self.n_sources, *cards)

    def estimate(
        self, statistics: Float[Tensor, ...], prior: Float[Tensor, ...] | None = None
    ) -> TableCPD:
        """Return counts as probabilities.

        A row that nothing reached is that of all sources together, and uniform where no source
        reached it, as in EM on the stacked axis.
        """
        counts = statistics if prior is None else statistics + prior
        axis = counts.ndim - self.n_parents - 2
        pooled = counts.sum(axis, keepdim=True)
        whole = pooled.sum(-1, keepdim=True)
        common = torch.where(whole > 0, pooled / whole, 1 / self.card)
        if self.shared:
            return replace(self, values=common.expand_as(counts))
        total = counts.sum(-1, keepdim=True)
        return replace(self, values=torch.where(total > 0, counts / total, common))

    def sample(
        self,
        sources: Int[Tensor, "*rows"],
        parents: Sequence[Int[Tensor, "*rows"]],
        generator: torch.Generator,
    ) -> Int[Tensor, "*rows"]:
        """Draw a state for each row."""
        rising = self._rows(self.values, sources, parents).cumsum(-1)
        shape = (*rising.shape[:-1], 1)
        uniform = torch.rand(shape, dtype=torch.float64, generator=generator,
                             device=generator.device)  # fmt: skip
        # "<=" passes over states of probability zero, also where the uniform number is zero.
        return (rising <= uniform.to(rising.device) * rising[..., -1:]).sum(-1)

    def features(self, values: Int[Tensor, " m"]) -> Float[Tensor, "m card"]:
        """Return the indicators of the states."""
        return torch.nn.functional.one_hot(values.long(), self.card).to(self.values.dtype)

    def distribution(
        self, sources: Int[Tensor, "*rows"], parents: Sequence[Int[Tensor, "*rows"]]
    ) -> Categorical:
        """The law of each row."""
        # Logits, since Categorical(probs=...) lifts zeros to 2e-16.
        return Categorical(logits=self._rows(self.values.log(), sources, parents))

    def relabel(self, order: Sequence[int] | Int[Tensor, "*batch k"]) -> TableCPD:
        """Return the table whose source j is source ``order[j]`` of this one."""
        index = torch.as_tensor(order, device=self.values.device, dtype=torch.long)
        return replace(
            self, values=permuted(self.values, index.expand(*self.batch_shape, self.n_sources))
        )

    @property
    def _source_axis(self) -> int:
        return self.values.ndim - self.n_parents - 2

    def _rows(self, table: Tensor, sources: Tensor, parents: Sequence[Tensor]) -> Tensor:
        """The row of the table that each data row uses, ``(*rows, card)``."""
        batch = self.batch_shape
        index = []
        for i, length in enumerate(batch):
            numbers = torch.arange(length, device=table.device)
            index.append(numbers.reshape(-1, *(1 for _ in batch[i:])))
        return table[(*index, sources.long(), *(p.long() for p in parents))]


def logits(table: Float[Tensor, "*rows card"]) -> Float[Tensor, "*rows card"]:
    """Log-odds of every state against the last; zeros count as ``TINY``."""
    logs = table.clamp_min(TINY).log()
    return logs - logs[..., -1:]


def permuted(
    table: Float[Tensor, "*batch k ..."], index: Int[Tensor, "*batch k"]
) -> Float[Tensor, "*batch k ..."]:
    """Put source ``index[.., j]`` of a table in place j."""
    tail = table.shape[index.ndim :]
    where = index.reshape(*index.shape, *(1 for _ in tail)).expand(*index.shape, *tail)
    return table.gather(index.ndim - 1, where)


def check_table(name: str, table: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse what is no table of probabilities of a shape.

    Raises:
        SpecError: a shape or dtype is wrong, or a row is not a probability distribution.
    """
    if tuple(table.shape) != shape:
        raise SpecError(f"table of {name!r}: expected shape {shape}, found {tuple(table.shape)}")
    if table.dtype != torch.float64:
        raise SpecError(f"table of {name!r}: expected float64, found {table.dtype}")
    if table.is_meta:
        return
    values = table.detach()
    if not bool(values.isfinite().all()):
        raise SpecError(
            f"table of {name!r} has {int((~values.isfinite()).sum())} entries not finite"
        )
    if bool((values < 0).any()):
        raise SpecError(f"table of {name!r} has negative entries, least {float(values.min()):.3g}")
    error = float((values.sum(-1) - 1).abs().max()) if values.numel() else 0.0
    if error > SUM_TOLERANCE:
        raise SpecError(
            f"rows of the table of {name!r} must sum to one, found a row off by {error:.3g}; "
            "divide by the sum over the last axis"
        )
