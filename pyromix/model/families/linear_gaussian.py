"""A number that is linear in numbers, with normal noise, within each source and table row.

THEORY section 18.1. A prior is statistics of rows seen before. With n0 rows whose squares are s^2
and a ridge on the coefficients, the objective gains ``-(n0 log v + (s^2 n0 + ridge) / v) / 2`` per
variance v, which bounds it (section 18.2): v never falls under ``n0 s^2 / (N + n0)``, and no floor
is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Distribution, Normal

from pyromix.errors import SpecError
from pyromix.model.cpd import permuted
from pyromix.model.families.layout import ALONE, Layout
from pyromix.model.families.sweep import sweep

L = TypeVar("L", bound="LinearGaussianCPD")

LOG_TAU = math.log(2 * math.pi)

SMALL = 16
"""Table rows up to which each is summed by a matrix product of its own."""


@dataclass(frozen=True, eq=False)
class LinearSums:
    """What an estimate of lines and variances needs to know of rows.

    Attributes:
        weight: number of rows, ``(*batch, k, rows of the table)``.
        squares: sum of ``(z, y)(z, y)'``, z with a leading one.
    """

    weight: Float[Tensor, "*batch k rows"]
    squares: Float[Tensor, "*batch k rows q q"]

    def __add__(self, other: LinearSums) -> LinearSums:
        return LinearSums(self.weight + other.weight, self.squares + other.squares)

    def pooled(self) -> LinearSums:
        """All sources together, as one."""
        axis = self.weight.ndim - 2
        return LinearSums(self.weight.sum(axis, keepdim=True), self.squares.sum(axis, keepdim=True))


@dataclass(frozen=True, eq=False)
class LinearGaussianCPD:
    """P(y | u, d, x) = N(b(u, d) (1, x)', v(u, d)): d categorical parents, x numbers.

    Attributes:
        coefficients: ``(*batch, k, rows, columns)``, the intercept first.
        variances: ``(*batch, k, rows)``, positive.
        layout: of the parents.
        shared: whether U does not act on the vertex; then the k slices are equal.

    Raises:
        SpecError: a shape does not fit.
    """

    coefficients: Float[Tensor, "*batch k rows columns"]
    variances: Float[Tensor, "*batch k rows"]
    layout: Layout = ALONE
    shared: bool = False

    def __post_init__(self) -> None:
        rows, columns = self.layout.n_rows, self.layout.n_columns
        if self.coefficients.shape != (*self.variances.shape, columns):
            raise SpecError(
                f"expected coefficients (*batch, k, {rows}, {columns}) and variances without the "
                f"last axis, found {tuple(self.coefficients.shape)} and "
                f"{tuple(self.variances.shape)}"
            )
        if self.variances.ndim < 2 or self.variances.shape[-1] != rows:
            raise SpecError(
                f"expected variances (*batch, k, {rows}), found {tuple(self.variances.shape)}"
            )

    @staticmethod
    def standard(
        k: int,
        layout: Layout,
        *,
        shared: bool = False,
        device: torch.device | str = "cpu",
    ) -> LinearGaussianCPD:
        """N(0, 1) in every source and row: where an estimate may start."""
        rows, columns = layout.n_rows, layout.n_columns
        zeros = torch.zeros(k, rows, columns, dtype=torch.float64, device=device)
        return LinearGaussianCPD(zeros, torch.ones_like(zeros[..., 0]), layout, shared)

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the leading axes."""
        return self.variances.shape[:-2]

    @property
    def n_sources(self) -> int:
        """Number of sources k."""
        return self.variances.shape[-2]

    @property
    def parameters(self) -> Float[Tensor, "*batch free"]:
        """Coefficients, then logarithms of variances; of what sources share, once."""
        copies = slice(0, 1) if self.shared else slice(None)
        lines = self.coefficients[..., copies, :, :].flatten(-3)
        return torch.cat([lines, self.variances[..., copies, :].log().flatten(-2)], -1)

    def with_parameters(self: L, parameters: Float[Tensor, "*batch free"]) -> L:
        """Return the distribution at other coordinates."""
        lead, rows, columns = parameters.shape[:-1], self.layout.n_rows, self.layout.n_columns
        copies = 1 if self.shared else self.n_sources
        lines, logs = parameters.split([copies * rows * columns, copies * rows], -1)
        k = self.n_sources
        return replace(
            self,
            coefficients=lines.reshape(*lead, copies, rows, columns).expand(
                *lead, k, rows, columns
            ),
            variances=logs.reshape(*lead, copies, rows).exp().expand(*lead, k, rows),
        )

    def log_prob(
        self, values: Float[Tensor, " m"], parents: Sequence[Tensor]
    ) -> Float[Tensor, "*batch m k"]:
        """Return the log-density of every value under every source."""
        mean = self._means(parents, values.shape)
        # One number per source and table row, spread over the rows of data afterwards.
        constant = -0.5 * (LOG_TAU + self.variances.log())
        precision = -0.5 / self.variances
        if self.layout.n_rows > 1:
            row = self.layout.row(parents, values.shape)
            constant, precision = constant.index_select(-1, row), precision.index_select(-1, row)
        return (constant + (values - mean).square() * precision).movedim(-1, -2)

    def moments(
        self, parents: Sequence[Tensor], shape: Sequence[int]
    ) -> tuple[Float[Tensor, "*batch k m"], Float[Tensor, "*batch k m"]]:
        """Mean and variance of every row under every source."""
        mean = self._means(parents, shape)
        if self.layout.n_rows == 1:
            return mean, self.variances.expand_as(mean)
        return mean, self.variances.index_select(-1, self.layout.row(parents, shape))

    def _means(self, parents: Sequence[Tensor], shape: Sequence[int]) -> Float[Tensor, "*b k m"]:
        """Mean of every row under every source."""
        layout = self.layout
        if layout.n_columns == 1:
            lines = self.coefficients[..., 0]
            if layout.n_rows == 1:
                return lines.expand(*lines.shape[:-1], *shape)
            return lines.index_select(-1, layout.row(parents, shape))
        z = layout.design(parents, shape)
        if layout.n_rows == 1:
            return self.coefficients[..., 0, :] @ z.mT
        return (self.coefficients.index_select(-2, layout.row(parents, shape)) * z).sum(-1)

    def statistics(
        self,
        values: Float[Tensor, " m"],
        parents: Sequence[Tensor],
        shares: Float[Tensor, "*batch m k"],
    ) -> LinearSums:
        """Return weights and squares of the rows of every table row."""
        z = self.layout.design(parents, values.shape)
        return self.sums(torch.cat([z, values[:, None]], -1), parents, shares, shares)

    def sums(
        self,
        family: Float[Tensor, "m q"],
        parents: Sequence[Tensor],
        weights: Float[Tensor, "*batch m k"],
        shares: Float[Tensor, "*batch m k"],
    ) -> LinearSums:
        """Sum rows ``(z, y)``, the squares with weights of their own.

        Args:
            family: z and y of every row.
            parents: columns, of which the categorical ones are read.
            weights: of the squares.
            shares: of the rows.
        """
        rows = self.layout.n_rows
        if rows == 1:
            return LinearSums(shares.sum(-2)[..., None], _squares(family, weights)[..., None, :, :])
        row = self.layout.row(parents, family.shape[:1])
        lead, q = (*shares.shape[:-2], shares.shape[-1], rows), family.shape[-1]
        weight = shares.new_zeros(lead).index_add_(-1, row, shares.movedim(-1, -2))
        squares = shares.new_zeros(*lead, q, q)
        if rows <= SMALL:
            for d in range(rows):
                where = (row == d).nonzero().flatten()
                squares[..., d, :, :] = _squares(
                    family.index_select(0, where), weights.index_select(-2, where)
                )
            return LinearSums(weight, squares)
        outer = family[:, :, None] * family[:, None, :]
        terms = weights.movedim(-1, -2)[..., None, None] * outer
        return LinearSums(weight, squares.index_add_(-3, row, terms))

    def sums_of_moments(
        self,
        first: Float[Tensor, "m k q"],
        covariance: Float[Tensor, "m k q q"],
        parents: Sequence[Tensor],
        shares: Float[Tensor, "m k"],
    ) -> LinearSums:
        """Sum rows ``(z, y)`` of which some cells are known by mean and covariance only.

        The covariance belongs to the squares: without it variances and slopes are biased
        (THEORY section 18.3).

        Args:
            first: expected z and y, per source.
            covariance: of z and y, per source; zero in cells that were observed.
            parents: columns, of which the categorical ones are read.
            shares: of the rows.
        """
        k, q, rows = first.shape[1], first.shape[2], self.layout.n_rows
        row = self.layout.row(parents, first.shape[:1])
        squares = shares[..., None, None] * (first[..., :, None] * first[..., None, :] + covariance)
        return LinearSums(
            shares.new_zeros(k, rows).index_add_(-1, row, shares.mT),
            shares.new_zeros(k, rows, q, q).index_add_(1, row, squares.transpose(0, 1)),
        )

    def estimate(self: L, statistics: LinearSums, prior: LinearSums | None = None) -> L:
        """Return the likeliest lines and variances: weighted least squares per source and row."""
        sums = statistics.pooled() if self.shared else statistics
        if prior is not None:
            sums = sums + (prior.pooled() if self.shared else prior)
        lines, variances = _solved(sums)
        if self.shared:
            lines = lines.expand_as(self.coefficients)
            variances = variances.expand_as(self.variances)
        return replace(self, coefficients=lines, variances=variances)

    def expected(self, sums: LinearSums) -> Float[Tensor, "*batch"]:
        """Log-density of rows with these sums, without the constant ``-n log(2 pi) / 2``."""
        own = slice(0, 1) if self.shared else slice(None)
        if self.shared:
            sums = sums.pooled()
        lines, variances = self.coefficients[..., own, :, :], self.variances[..., own, :]
        gap = torch.cat([-lines, torch.ones_like(lines[..., :1])], -1)
        left = (gap[..., None, :] @ sums.squares @ gap[..., :, None])[..., 0, 0]
        return -0.5 * (sums.weight * variances.log() + left / variances).sum((-1, -2))

    def sample(
        self, sources: Int[Tensor, "*rows"], parents: Sequence[Tensor], generator: torch.Generator
    ) -> Float[Tensor, "*rows"]:
        """Draw a value for each row."""
        mean, scale = self._rows(sources, parents)
        noise = torch.randn(
            mean.shape, generator=generator, dtype=mean.dtype, device=generator.device
        )
        return mean + scale * noise.to(mean.device)

    def features(self, values: Float[Tensor, " m"]) -> Float[Tensor, "m d"]:
        """Return Legendre polynomials of normal ranks."""
        return smooth_features(values)

    def distribution(
        self, sources: Int[Tensor, "*rows"], parents: Sequence[Tensor]
    ) -> Distribution:
        """The law of each row."""
        return Normal(*self._rows(sources, parents), validate_args=False)

    def relabel(self: L, order: Sequence[int] | Int[Tensor, "*batch k"]) -> L:
        """Return the distribution whose source j is source ``order[j]`` of this one."""
        index = torch.as_tensor(order, device=self.variances.device, dtype=torch.long)
        index = index.expand(*self.batch_shape, self.n_sources)
        return replace(
            self,
            coefficients=permuted(self.coefficients, index),
            variances=permuted(self.variances, index),
        )

    def _rows(
        self, sources: Int[Tensor, "*rows"], parents: Sequence[Tensor]
    ) -> tuple[Float[Tensor, "*rows"], Float[Tensor, "*rows"]]:
        """Mean and standard deviation of every row."""
        place = self.places(sources, parents)
        z = self.layout.design(parents, sources.shape)
        lines = self.coefficients[place]
        return (lines * z).sum(-1), self.variances[place].sqrt()

    def places(self, sources: Tensor, parents: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Index of the line of every row among the leading axes."""
        return places(self.batch_shape, self.layout, sources, parents)


def places(
    batch: torch.Size, layout: Layout, sources: Tensor, parents: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Index of batch element, source and table row, broadcast over data rows."""
    leading = []
    for i, length in enumerate(batch):
        numbers = torch.arange(length, device=sources.device)
        leading.append(numbers.reshape(-1, *(1 for _ in batch[i:])))
    return (*leading, sources.long(), layout.row(parents, sources.shape))


def smooth_features(values: Float[Tensor, " m"], degree: int = 5) -> Float[Tensor, "m d"]:
    """Legendre polynomials of ``2 Phi(y) - 1``, y in units in which it is about standard normal."""
    x = torch.special.ndtr(values) * 2 - 1
    found = [torch.ones_like(x), x]
    for n in range(1, degree):
        found.append(((2 * n + 1) * x * found[-1] - n * found[-2]) / (n + 1))
    return torch.stack(found, -1)


def _squares(
    family: Float[Tensor, "m q"], weights: Float[Tensor, "*batch m k"]
) -> Float[Tensor, "*batch k q q"]:
    # A product per source: faster than one of many small matrices, whatever their number.
    each = [(family * weights[..., u : u + 1]).mT @ family for u in range(weights.shape[-1])]
    return torch.stack(each, -3)


def _solved(
    sums: LinearSums,
) -> tuple[Float[Tensor, "*batch k rows columns"], Float[Tensor, "*batch k rows"]]:
    """Least squares; where no weight is, lines are zero and variances one."""
    found = sweep(sums.squares, sums.squares.shape[-1] - 1)
    reached = sums.weight > 0
    variance = found.left[..., 0, 0] / torch.where(reached, sums.weight, 1.0)
    return found.lines[..., 0], torch.where(reached, variance, 1.0)
