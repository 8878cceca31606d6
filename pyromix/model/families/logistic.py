"""A categorical vertex with numbers among its parents: multinomial logit in each source and row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Categorical, Distribution

from pyromix.errors import SpecError
from pyromix.model.cpd import permuted
from pyromix.model.families.layout import Layout
from pyromix.model.families.linear_gaussian import places
from pyromix.model.families.newton import Slopes, log_prior, stepped, summed


@dataclass(frozen=True, eq=False)
class LogisticCPD:
    """P(y = s | u, d, x) = softmax(b(u, d) (1, x)')_s, zero for the last state.

    Attributes:
        coefficients: ``(*batch, k, rows, columns, card - 1)``, log-odds against the last state.
        layout: of the parents.
        shared: whether U does not act on the vertex; then the k slices are equal.

    Raises:
        SpecError: a shape does not fit.
    """

    coefficients: Float[Tensor, "*batch k rows columns free"]
    layout: Layout
    shared: bool = False

    def __post_init__(self) -> None:
        rows, columns = self.layout.n_rows, self.layout.n_columns
        if self.coefficients.ndim < 4 or self.coefficients.shape[-3:-1] != (rows, columns):
            raise SpecError(
                f"expected coefficients (*batch, k, {rows}, {columns}, card - 1), found "
                f"{tuple(self.coefficients.shape)}"
            )

    @staticmethod
    def standard(
        k: int,
        layout: Layout,
        card: int,
        *,
        shared: bool = False,
        device: torch.device | str = "cpu",
    ) -> LogisticCPD:
        """All states alike in every source and row: where an estimate may start."""
        shape = (k, layout.n_rows, layout.n_columns, card - 1)
        return LogisticCPD(torch.zeros(shape, dtype=torch.float64, device=device), layout, shared)

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the leading axes."""
        return self.coefficients.shape[:-4]

    @property
    def n_sources(self) -> int:
        """Number of sources k."""
        return self.coefficients.shape[-4]

    @property
    def card(self) -> int:
        """Number of states."""
        return self.coefficients.shape[-1] + 1

    @property
    def parameters(self) -> Float[Tensor, "*batch free"]:
        """Coefficients; of what sources share, once."""
        own = self.coefficients[..., :1, :, :, :] if self.shared else self.coefficients
        return own.flatten(-4)

    def with_parameters(self, parameters: Float[Tensor, "*batch free"]) -> LogisticCPD:
        """Return the distribution at other coordinates."""
        lead, tail = parameters.shape[:-1], self.coefficients.shape[-3:]
        copies = 1 if self.shared else self.n_sources
        found = parameters.reshape(*lead, copies, *tail).expand(*lead, self.n_sources, *tail)
        return replace(self, coefficients=found)

    def log_prob(
        self, values: Int[Tensor, " m"], parents: Sequence[Tensor]
    ) -> Float[Tensor, "*batch m k"]:
        """Return the log-probability of every state under every source."""
        logs = self._logs(parents, values.shape)
        where = values.long()[:, None].expand(*logs.shape[:-1], 1)
        return logs.gather(-1, where)[..., 0].movedim(-1, -2)

    def statistics(
        self,
        values: Int[Tensor, " m"],
        parents: Sequence[Tensor],
        shares: Float[Tensor, "*batch m k"],
    ) -> Slopes:
        """Return gradient and Hessian at the present coefficients."""
        z = self.layout.design(parents, values.shape)
        row = self.layout.row(parents, values.shape)
        law = self._logs(parents, values.shape).exp()[..., :-1]  # (*batch, k, m, free)
        seen = values.long()[:, None] == torch.arange(law.shape[-1], device=values.device)
        weights = shares.movedim(-1, -2)[..., None]
        spread = torch.diag_embed(law) - law[..., :, None] * law[..., None, :]
        gap = weights * (seen.to(z.dtype) - law)
        return summed(z, row, self.layout.n_rows, gap, weights[..., None] * spread)

    def estimate(self, statistics: Slopes, prior: Slopes | None = None) -> LogisticCPD:
        """Take one damped Newton step, which lowers nothing."""
        slopes, at = statistics, self.coefficients
        if self.shared:
            slopes, at = slopes.pooled(), at[..., :1, :, :, :]
        spread = 1.0 if self.card == 2 else math.sqrt(2)
        found = stepped(at.flatten(-2), slopes, prior, spread).reshape(at.shape)
        return replace(self, coefficients=found.expand_as(self.coefficients))

    def expected(self, prior: Slopes) -> Float[Tensor, "*batch"]:
        """Logarithm of a prior at these coefficients, up to a constant."""
        own = self.coefficients[..., :1, :, :, :] if self.shared else self.coefficients
        return log_prior(own.flatten(-2), prior)

    def sample(
        self, sources: Int[Tensor, "*rows"], parents: Sequence[Tensor], generator: torch.Generator
    ) -> Int[Tensor, "*rows"]:
        """Draw a state for each row."""
        rising = self._rows(sources, parents).softmax(-1).cumsum(-1)
        uniform = torch.rand((*rising.shape[:-1], 1), dtype=torch.float64, generator=generator,
                             device=generator.device).to(rising.device)  # fmt: skip
        return (rising <= uniform * rising[..., -1:]).sum(-1)

    def features(self, values: Int[Tensor, " m"]) -> Float[Tensor, "m card"]:
        """Return the indicators of the states."""
        return torch.nn.functional.one_hot(values.long(), self.card).to(torch.float64)

    def distribution(
        self, sources: Int[Tensor, "*rows"], parents: Sequence[Tensor]
    ) -> Distribution:
        """The law of each row."""
        return Categorical(logits=self._rows(sources, parents), validate_args=False)

    def relabel(self, order: Sequence[int] | Int[Tensor, "*batch k"]) -> LogisticCPD:
        """Return the distribution whose source j is source ``order[j]`` of this one."""
        index = torch.as_tensor(order, device=self.coefficients.device, dtype=torch.long)
        index = index.expand(*self.batch_shape, self.n_sources)
        return replace(self, coefficients=permuted(self.coefficients, index))

    def _logs(
        self, parents: Sequence[Tensor], shape: Sequence[int]
    ) -> Float[Tensor, "*batch k m card"]:
        """Log-probabilities of all states."""
        z = self.layout.design(parents, shape)
        if self.layout.n_rows == 1:
            scores = z @ self.coefficients[..., 0, :, :]
        else:
            lines = self.coefficients.index_select(-3, self.layout.row(parents, shape))
            scores = (z[:, None, :] @ lines)[..., 0, :]
        return torch.cat([scores, torch.zeros_like(scores[..., :1])], -1).log_softmax(-1)

    def _rows(self, sources: Tensor, parents: Sequence[Tensor]) -> Float[Tensor, "*rows card"]:
        """Scores of the states of each row."""
        lines = self.coefficients[places(self.batch_shape, self.layout, sources, parents)]
        z = self.layout.design(parents, sources.shape)
        scores = (z[..., None, :] @ lines)[..., 0, :]
        return torch.cat([scores, torch.zeros_like(scores[..., :1])], -1)
