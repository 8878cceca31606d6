"""One step of EM for rows of states and numbers: sums over parts of the table, then an estimate.

All that is asked of a distribution is the protocol ``CPD`` and, for a prior, ``expected``. Cells
that are missing and have no observed descendant drop out with their factor; other missing states
are summed out by completing the row in every way, other missing numbers by ``gaps``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.data.records import Part
from pyromix.errors import DataError
from pyromix.estimate.mixed.gaps import Gaps, filled_in
from pyromix.estimate.mixed.prior import MixedPrior
from pyromix.model.mixed import MixedMixture, MixedSpec

MAX_COMPLETIONS = 4096
"""Ways to complete the missing states of a row, at most."""


@dataclass(frozen=True, eq=False)
class Seen:
    """Rows of one part, completed, under a mixture.

    Attributes:
        present: vertices that count.
        columns: of the completed rows, ``(m * completions,)`` each.
        joint: log P(U, what is observed and completed), ``(m, completions, k)``.
        gaps: missing numbers; None without any.
    """

    present: tuple[int, ...]
    columns: tuple[Tensor, ...]
    joint: Float[Tensor, "m c k"]
    gaps: Gaps | None

    def log_prob(self) -> Float[Tensor, " m"]:
        """Log-density of the observed cells of every row."""
        return self.joint.flatten(1).logsumexp(-1)

    def posterior(self) -> Float[Tensor, "m k"]:
        """P(U | observed cells) of every row."""
        return self.joint.logsumexp(1).softmax(-1)

    def shares(self, weights: Float[Tensor, " m"]) -> Float[Tensor, "completed k"]:
        """Weight of every completed row under every source."""
        own = self.joint.flatten(1).softmax(-1) * weights[:, None]
        return own.reshape(-1, self.joint.shape[-1])


def present_vertices(spec: MixedSpec, missing: Sequence[int]) -> tuple[int, ...]:
    """Observed vertices and their ancestors."""
    kept = set(range(spec.n_variables)) - set(missing)
    for v in reversed(range(spec.n_variables)):
        if v in kept:
            kept.update(spec.parents[v])
    return tuple(sorted(kept))


def look(mixture: MixedMixture, part: Part) -> Seen:
    """Log-probabilities of the rows of a part under every source.

    Raises:
        DataError: too many states are missing in a row, or numbers that cannot be integrated out.
    """
    spec = mixture.spec
    present = present_vertices(spec, part.missing)
    absent = [v for v in part.missing if v in present]
    numbers = [v for v in absent if spec.kind(v).numeric]
    columns, n_ways = _completed(spec, part, [v for v in absent if v not in numbers])
    gaps = filled_in(mixture, columns, numbers, present) if numbers else None
    done = () if gaps is None else gaps.families
    joint = mixture.weights.log().expand(len(columns[0]), -1)
    if gaps is not None:
        joint = joint + gaps.log_evidence
    for v in present:
        if v not in done:
            above = [columns[p] for p in spec.parents[v]]
            joint = joint + mixture.cpds[v].log_prob(columns[v], above)
    return Seen(present, columns, joint.reshape(-1, n_ways, spec.n_sources), gaps)


def _completed(
    spec: MixedSpec, part: Part, states: Sequence[int]
) -> tuple[tuple[Tensor, ...], int]:
    """Columns with missing states filled in, every way one row, and the number of ways."""
    cards = [spec.binned.card(v) for v in states]
    n_ways = prod(cards)
    if n_ways == 1:
        return part.columns, 1
    if n_ways > MAX_COMPLETIONS:
        names = [spec.name(v) for v in states]
        raise DataError(
            f"expected rows whose missing states can be summed out, found rows that lack {names}, "
            f"{n_ways:,} joint states, more than {MAX_COMPLETIONS:,}; drop these rows, or a column"
        )
    ways = torch.tensor(list(itertools.product(*map(range, cards))), device=part.weights.device)
    m = len(part.weights)
    columns = [column.repeat_interleave(n_ways) for column in part.columns]
    for i, v in enumerate(states):
        columns[v] = ways[:, i].repeat(m)
    return tuple(columns), n_ways


@dataclass(frozen=True, eq=False)
class MixedStep:
    """One step of EM.

    Attributes:
        target: where the step leads.
        log_likelihood: at the point it was taken from, in our units.
        objective: the same with the logarithm of the prior.
    """

    target: MixedMixture
    log_likelihood: float
    objective: float


@torch.no_grad()
def em_step(mixture: MixedMixture, parts: Sequence[Part], prior: MixedPrior) -> MixedStep:
    """Sum over the parts, estimate every distribution, and value the point it came from."""
    n = mixture.spec.n_variables
    value, total = 0.0, torch.zeros_like(mixture.weights)
    sums: list[Any] = [None] * n
    for part in parts:
        seen = look(mixture, part)
        value += float(seen.log_prob() @ part.weights)
        shares = seen.shares(part.weights)
        total += shares.sum(0)
        for v in seen.present:
            own = _statistics(mixture, seen, v, shares)
            sums[v] = own if sums[v] is None else sums[v] + own
    counts = total + prior.weights
    cpds = tuple(
        cpd if own is None else cpd.estimate(own, seen_before)
        for cpd, own, seen_before in zip(mixture.cpds, sums, prior.statistics, strict=True)
    )
    target = replace(mixture, weights=counts / counts.sum(), cpds=cpds)
    return MixedStep(target, value, value + float(prior.log_density(mixture)))


def _statistics(mixture: MixedMixture, seen: Seen, vertex: int, shares: Tensor) -> Any:
    if seen.gaps is not None and vertex in seen.gaps.families:
        return seen.gaps.sums(mixture, vertex, seen.columns, shares)
    above = [seen.columns[p] for p in mixture.spec.parents[vertex]]
    return mixture.cpds[vertex].statistics(seen.columns[vertex], above, shares)


def log_likelihood(mixture: MixedMixture, parts: Sequence[Part]) -> Tensor:
    """Sum over rows of the log-density of what is observed; differentiable in the mixture."""
    total = torch.zeros((), dtype=torch.float64, device=mixture.device)
    for part in parts:
        total = total + look(mixture, part).log_prob() @ part.weights
    return total
