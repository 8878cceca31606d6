"""A count, Poisson distributed, its rate log-linear in numbers within each source and row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Distribution, Poisson

from pyromix.errors import SpecError
from pyromix.model.cpd import permuted
from pyromix.model.families.layout import ALONE, Layout
from pyromix.model.families.linear_gaussian import places
from pyromix.model.families.newton import Slopes, log_prior, stepped, summed

DECAYS = (0.05, 0.2, 0.8, 3.0)
"""Rates of the exponentials of a count that tell sources apart."""


@dataclass(frozen=True, eq=False)
class PoissonCPD:
    """P(y | u, d, x) = Poisson with log-rate b(u, d) (1, x)'.

    Attributes:
        coefficients: ``(*batch, k, rows, columns)``, the intercept first.
        layout: of the parents.
        shared: whether U does not act on the vertex; then the k slices are equal.

    Raises:
        SpecError: a shape does not fit.
    """

    coefficients: Float[Tensor, "*batch k rows columns"]
    layout: Layout = ALONE
    shared: bool = False

    def __post_init__(self) -> None:
        rows, columns = self.layout.n_rows, self.layout.n_columns
        if self.coefficients.ndim < 3 or self.coefficients.shape[-2:] != (rows, columns):
            raise SpecError(
                f"expected coefficients (*batch, k, {rows}, {columns}), found "
                f"{tuple(self.coefficients.shape)}"
            )

    @staticmethod
    def standard(
        k: int, layout: Layout, *, shared: bool = False, device: torch.device | str = "cpu"
    ) -> PoissonCPD:
        """Rate 1 in every source and row: where an estimate may start."""
        shape = (k, layout.n_rows, layout.n_columns)
        return PoissonCPD(torch.zeros(shape, dtype=torch.float64, device=device), layout, shared)

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the leading axes."""
        return self.coefficients.shape[:-3]

    @property
    def n_sources(self) -> int:
        """Number of sources k."""
        return self.coefficients.shape[-3]

    @property
    def parameters(self) -> Float[Tensor, "*batch free"]:
        """Coefficients; of what sources share, once."""
        own = self.coefficients[..., :1, :, :] if self.shared else self.coefficients
        return own.flatten(-3)

    def with_parameters(self, parameters: Float[Tensor, "*batch free"]) -> PoissonCPD:
        """Return the distribution at other coordinates."""
        lead, tail = parameters.shape[:-1], self.coefficients.shape[-2:]
        copies = 1 if self.shared else self.n_sources
        found = parameters.reshape(*lead, copies, *tail).expand(*lead, self.n_sources, *tail)
        return replace(self, coefficients=found)

    def log_prob(self, values: Tensor, parents: Sequence[Tensor]) -> Float[Tensor, "*batch m k"]:
        """Return the log-probability of every count under every source."""
        log_rate = self._log_rates(parents, values.shape)
        counts = values.to(log_rate.dtype)
        logs = counts * log_rate - log_rate.exp() - torch.lgamma(counts + 1)
        return logs.movedim(-1, -2)

    def statistics(
        self, values: Tensor, parents: Sequence[Tensor], shares: Float[Tensor, "*batch m k"]
    ) -> Slopes:
        """Return gradient and Hessian at the present coefficients."""
        z = self.layout.design(parents, values.shape)
        row = self.layout.row(parents, values.shape)
        rate = self._log_rates(parents, values.shape).exp()
        weights = shares.movedim(-1, -2)
        gap, bend = weights * (values.to(z.dtype) - rate), weights * rate
        return summed(z, row, self.layout.n_rows, gap[..., None], bend[..., None, None])

    def estimate(self, statistics: Slopes, prior: Slopes | None = None) -> PoissonCPD:
        """Take one damped Newton step, which lowers nothing."""
        slopes, at = statistics, self.coefficients
        if self.shared:
            slopes, at = slopes.pooled(), at[..., :1, :, :]
        found = stepped(at, slopes, prior, 1.0)
        return replace(self, coefficients=found.expand_as(self.coefficients))

    def expected(self, prior: Slopes) -> Float[Tensor, "*batch"]:
        """Logarithm of a prior at these coefficients, up to a constant."""
        own = self.coefficients[..., :1, :, :] if self.shared else self.coefficients
        return log_prior(own, prior)

    def sample(
        self, sources: Int[Tensor, "*rows"], parents: Sequence[Tensor], generator: torch.Generator
    ) -> Float[Tensor, "*rows"]:
        """Draw a count for each row."""
        rate = self._rows(sources, parents).exp().to(generator.device)
        return torch.poisson(rate, generator=generator).to(sources.device)

    def features(self, values: Tensor) -> Float[Tensor, "m d"]:
        """Return one, and decaying exponentials of the count."""
        decays = torch.tensor((0.0, *DECAYS), dtype=torch.float64, device=values.device)
        return (-values.to(torch.float64)[:, None] * decays).exp()

    def distribution(
        self, sources: Int[Tensor, "*rows"], parents: Sequence[Tensor]
    ) -> Distribution:
        """The law of each row."""
        return Poisson(self._rows(sources, parents).exp(), validate_args=False)

    def relabel(self, order: Sequence[int] | Int[Tensor, "*batch k"]) -> PoissonCPD:
        """Return the distribution whose source j is source ``order[j]`` of this one."""
        index = torch.as_tensor(order, device=self.coefficients.device, dtype=torch.long)
        index = index.expand(*self.batch_shape, self.n_sources)
        return replace(self, coefficients=permuted(self.coefficients, index))

    def _log_rates(
        self, parents: Sequence[Tensor], shape: Sequence[int]
    ) -> Float[Tensor, "*batch k m"]:
        z = self.layout.design(parents, shape)
        if self.layout.n_rows == 1:
            return self.coefficients[..., 0, :] @ z.mT
        lines = self.coefficients.index_select(-2, self.layout.row(parents, shape))
        return (lines * z).sum(-1)

    def _rows(self, sources: Tensor, parents: Sequence[Tensor]) -> Float[Tensor, "*rows"]:
        lines = self.coefficients[places(self.batch_shape, self.layout, sources, parents)]
        return (lines * self.layout.design(parents, sources.shape)).sum(-1)
