"""Zeros and positive values, such as earnings: whether it is above zero, and how much it is then.

Values are standardised logarithms, and zero is ``-inf``, the logarithm of zero. The two parts share
no parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Distribution, Normal

from pyromix.model.cpd import TableCPD
from pyromix.model.families.layout import Layout
from pyromix.model.families.linear_gaussian import LinearGaussianCPD, LinearSums, smooth_features
from pyromix.model.families.logistic import LogisticCPD


@dataclass(frozen=True, eq=False)
class HurdleSums:
    """What the two parts need to know of rows."""

    gate: Any
    size: LinearSums

    def __add__(self, other: HurdleSums) -> HurdleSums:
        return HurdleSums(self.gate + other.gate, self.size + other.size)


@dataclass(frozen=True, eq=False)
class HurdleCPD:
    """P(y = 0 | u, d, x), and the law of log y where y is positive.

    Attributes:
        gate: of two states, at zero and above.
        size: of the standardised logarithm above zero.
    """

    gate: TableCPD | LogisticCPD
    size: LinearGaussianCPD

    @staticmethod
    def standard(
        k: int, layout: Layout, *, shared: bool = False, device: torch.device | str = "cpu"
    ) -> HurdleCPD:
        """Half zeros and N(0, 1) in every source and row."""
        gate: TableCPD | LogisticCPD
        if layout.n_columns > 1:
            gate = LogisticCPD.standard(k, layout, 2, shared=shared, device=device)
        else:
            half = torch.full((k, *layout.cards, 2), 0.5, dtype=torch.float64, device=device)
            gate = TableCPD(half, len(layout.cards), shared)
        return HurdleCPD(gate, LinearGaussianCPD.standard(k, layout, shared=shared, device=device))

    @property
    def layout(self) -> Layout:
        """Of the parents."""
        return self.size.layout

    @property
    def shared(self) -> bool:
        """Whether U does not act on the vertex."""
        return self.size.shared

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the leading axes."""
        return self.size.batch_shape

    @property
    def n_sources(self) -> int:
        """Number of sources k."""
        return self.size.n_sources

    @property
    def parameters(self) -> Float[Tensor, "*batch free"]:
        """Those of the gate, then those of the size."""
        return torch.cat([self.gate.parameters, self.size.parameters], -1)

    def with_parameters(self, parameters: Float[Tensor, "*batch free"]) -> HurdleCPD:
        """Return the distribution at other coordinates."""
        n = self.gate.parameters.shape[-1]
        gate, size = parameters.split([n, parameters.shape[-1] - n], -1)
        return HurdleCPD(self.gate.with_parameters(gate), self.size.with_parameters(size))

    def log_prob(
        self, values: Float[Tensor, " m"], parents: Sequence[Tensor]
    ) -> Float[Tensor, "*batch m k"]:
        """Return the log-probability of zeros, the log-density of values above."""
        above = values > -torch.inf
        size = self.size.log_prob(torch.where(above, values, torch.zeros_like(values)), parents)
        gate = self.gate.log_prob(above.long(), parents)
        return gate + torch.where(above[:, None], size, torch.zeros_like(size))

    def statistics(
        self,
        values: Float[Tensor, " m"],
        parents: Sequence[Tensor],
        shares: Float[Tensor, "*batch m k"],
    ) -> HurdleSums:
        """Return the statistics of both parts."""
        above = values > -torch.inf
        inside = torch.where(above, values, torch.zeros_like(values))
        return HurdleSums(
            self.gate.statistics(above.long(), parents, shares),
            self.size.statistics(inside, parents, shares * above[:, None]),
        )

    def estimate(self, statistics: HurdleSums, prior: HurdleSums | None = None) -> HurdleCPD:
        """Estimate each part."""
        gate, size = (None, None) if prior is None else (prior.gate, prior.size)
        return HurdleCPD(
            self.gate.estimate(statistics.gate, gate), self.size.estimate(statistics.size, size)
        )

    def sample(
        self, sources: Int[Tensor, "*rows"], parents: Sequence[Tensor], generator: torch.Generator
    ) -> Float[Tensor, "*rows"]:
        """Draw a value for each row."""
        above = self.gate.sample(sources, parents, generator)
        size = self.size.sample(sources, parents, generator)
        return torch.where(above.bool(), size, torch.full_like(size, -torch.inf))

    def features(self, values: Float[Tensor, " m"]) -> Float[Tensor, "m d"]:
        """Return the indicator of zero, and smooth functions above it."""
        above = values > -torch.inf
        size = smooth_features(torch.where(above, values, torch.zeros_like(values)))
        return torch.cat([(~above)[:, None].to(size.dtype), size * above[:, None]], -1)

    def distribution(
        self, sources: Int[Tensor, "*rows"], parents: Sequence[Tensor]
    ) -> Distribution:
        """The law of each row."""
        gate: Any = self.gate.distribution(sources, parents)
        mean, scale = self.size._rows(sources, parents)
        return Hurdle(gate.logits.log_softmax(-1), mean, scale)

    def relabel(self, order: Sequence[int] | Int[Tensor, "*batch k"]) -> HurdleCPD:
        """Return the distribution whose source j is source ``order[j]`` of this one."""
        return replace(self, gate=self.gate.relabel(order), size=self.size.relabel(order))


class Hurdle(Distribution):
    """Zero (as ``-inf``) by the first of two log-probabilities, else normal."""

    has_rsample = False

    @property
    def arg_constraints(self) -> dict[str, Any]:
        """None: nobody makes one but a CPD."""
        return {}

    def __init__(self, logs: Float[Tensor, "*rows 2"], mean: Tensor, scale: Tensor) -> None:
        """Keep log-probabilities of zero and above, and the law above."""
        self.logs, self.above = logs, Normal(mean, scale, validate_args=False)
        super().__init__(torch.broadcast_shapes(logs.shape[:-1], mean.shape), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of ``-inf``, log-density elsewhere."""
        above = value > -torch.inf
        size = self.above.log_prob(torch.where(above, value, torch.zeros_like(value)))
        zero, positive = self.logs.unbind(-1)
        return torch.where(above, positive + size, zero.expand_as(size))

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw by the global generator, as any distribution of torch."""
        shape = self._extended_shape(torch.Size(sample_shape))
        size = self.above.sample(sample_shape).expand(shape)
        above = torch.rand(shape, dtype=size.dtype, device=size.device).log() < self.logs[..., 1]
        return torch.where(above, size, torch.full_like(size, -torch.inf))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Hurdle:
        """The same law with another batch shape."""
        shape = torch.Size(batch_shape)
        return Hurdle(
            self.logs.expand(*shape, 2),
            self.above.loc.expand(shape),
            self.above.scale.expand(shape),
        )
