"""What k sources gain over a reduced model in which views are silent, where that one holds.

With l_k and l_R the largest log-likelihoods of both, the law of 2 (l_k - l_R) under R has no
closed form: the k-source fit spends parameters on the noise of the views. It does not depend on
what R leaves open, and is simulated from R's fit (THEORY 14.5). A gamma law with the mean and the
variance of the draws gives its quantiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import gammaincc, gammaincinv
from torch import Tensor

from pyromix.data.counts import Counts
from pyromix.estimate.em import climb, climb_replicates
from pyromix.estimate.result import Ends
from pyromix.estimate.starts import batch_of, random_starts
from pyromix.estimate.step import WeightedRows
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.schema import Schema
from pyromix.model.spec import MixtureSpec
from pyromix.posterior.simulated import simulated, together

N_REPLICATES = 60
"""Simulated tables."""

N_STARTS = 6
"""Starts of EM on each, with k sources."""

N_REDUCED_STARTS = 8
"""Starts of EM with the reduced model on the table itself."""

SIMULATED_ROWS = 20_000
"""Rows of a simulated table at most: from some hundreds on the law does not depend on them."""

LISTED_CELLS = 2**12
"""Cells up to which tables are drawn as one multinomial draw each."""

SHARED_ROWS = 2**12
"""Distinct rows of all simulated tables together up to which they climb as one batch."""

NUMBERS = 2**28
"""Numbers (rows times variables times sources, starts and replicates) one EM step may touch in all
replicates together; beyond, there are fewer replicates, but at least ``FEWEST``."""

FEWEST = 12

STEPS = 600
"""EM steps of a start."""

GAIN = 1e-4
"""Nats that a step of EM must gain."""


@dataclass(frozen=True, eq=False)
class Reduced:
    """A reduced model fitted to a table, by maximum likelihood.

    Attributes:
        spec: the reduced graph.
        ends: where starts of EM ended; the best one leads.
    """

    spec: MixtureSpec
    ends: Ends

    @property
    def log_likelihood(self) -> float:
        """The largest."""
        return float(self.ends.objectives.max())

    @property
    def best(self) -> BayesNetMixture:
        """The estimate."""
        return self.ends.mixtures[int(self.ends.objectives.argmax())]


@dataclass(frozen=True)
class Excess:
    """2 (l_k - l_R), of the table and where the reduced model holds.

    Attributes:
        observed: of the table.
        mean: of simulated tables.
        variance: of simulated tables.
        n_replicates: how many.
    """

    observed: float
    mean: float
    variance: float
    n_replicates: int

    def limit(self, level: float) -> float:
        """The quantile at a level."""
        shape, scale = self._law
        return float(scale * gammaincinv(shape, level))

    @property
    def p_value(self) -> float:
        """Probability of as large an excess as the table's, were the reduced model to hold."""
        shape, scale = self._law
        return float(gammaincc(shape, self.observed / scale))

    @property
    def _law(self) -> tuple[float, float]:
        """Shape and scale of the gamma law."""
        mean, variance = max(self.mean, 1e-6), max(self.variance, 1e-9)
        return mean**2 / variance, variance / mean


def fit_reduced(specs: Sequence[MixtureSpec], counts: Counts) -> Reduced:
    """Fit reduced models by maximum likelihood, and return the one that fits best.

    Args:
        specs: at least one.
        counts: the table.
    """
    found = []
    for spec in specs:
        starts = random_starts(spec, N_REDUCED_STARTS, 0, device=counts.rows.device, counts=counts)
        result = climb(counts, starts, check_saddle=False, max_iter=STEPS, tol=_tol(counts))
        found.append(Reduced(spec, result.ends))
    return max(found, key=lambda reduced: reduced.log_likelihood)


def excess(reduced: Reduced, spec: MixtureSpec, counts: Counts, log_likelihood: float) -> Excess:
    """Simulate tables from a reduced model, and see what k sources gain on each.

    Args:
        reduced: the fitted reduced model.
        spec: the model itself.
        counts: the table; simulated ones have as many rows, and cells missing as in its rows.
        log_likelihood: the largest of the model itself on the table.
    """
    n_rows = max(1, min(round(counts.n_rows), SIMULATED_ROWS))
    gains = torch.cat(
        [
            _gains(reduced, spec, rows, weights)
            for rows, weights in _tables(reduced.best, counts, n_rows)
        ]
    )
    observed = 2 * (log_likelihood - reduced.log_likelihood)
    return Excess(max(observed, 0.0), float(gains.mean()), float(gains.var()), len(gains))


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of all tables of a group; which table has which, its own weights say."""

    rows: Int[Tensor, "m variables"]
    weights: Float[Tensor, " m"]
    schema: Schema


def _gains(
    reduced: Reduced,
    spec: MixtureSpec,
    rows: Int[Tensor, "m variables"],
    weights: Float[Tensor, "m replicates"],
) -> Float[Tensor, " replicates"]:
    """2 (l_k - l_R) of each column of weights."""
    n = weights.shape[1]
    table = _Rows(rows, torch.ones_like(weights[:, 0]), spec.schema)
    options = {"max_iter": STEPS, "tol": GAIN / float(weights.sum(0).mean())}
    alone = climb_replicates(
        table,
        batch_of(reduced.best)[torch.zeros(n, dtype=torch.int64)],
        weights,
        prior=PseudoCounts.of(reduced.spec, None, rows.device),
        **options,
    )
    pooled = _Rows(rows, weights.mean(1), spec.schema)
    starts = batch_of(
        replace(reduced.best, spec=spec),
        random_starts(spec, N_STARTS - 1, 0, device=rows.device, counts=pooled),
    )
    climbed = climb_replicates(
        table,
        starts[torch.arange(N_STARTS).repeat(n)],
        weights.repeat_interleave(N_STARTS, 1),
        prior=PseudoCounts.of(spec, None, rows.device),
        **options,
    )
    best = climbed.objectives.reshape(n, N_STARTS).amax(1)
    return (2 * (best - alone.objectives)).clamp_min(0.0)


def _tables(
    mixture: BayesNetMixture, counts: Counts, n_rows: int
) -> Iterator[tuple[Int[Tensor, "m variables"], Float[Tensor, "m replicates"]]]:
    """Rows and weights of simulated tables, in groups that share their rows."""
    spec, device = mixture.spec, counts.rows.device
    if counts.complete and spec.n_cells <= LISTED_CELLS:
        law = mixture.joint_table().reshape(-1).cpu().numpy()
        drawn = np.random.default_rng(0).multinomial(n_rows, law / law.sum(), size=N_REPLICATES)
        seen = drawn.any(0)
        cells = np.unravel_index(np.flatnonzero(seen), spec.cards)
        rows = torch.from_numpy(np.stack(cells, 1)).to(device, counts.rows.dtype)
        yield rows, torch.from_numpy(drawn[:, seen].T.astype(np.float64)).to(device)
        return
    size = counts.n_patterns * spec.n_variables * spec.n_sources * N_STARTS
    n = int(np.clip(NUMBERS // size, FEWEST, N_REPLICATES))
    drawn = (simulated(mixture, counts, n_rows, seed) for seed in range(n))
    if counts.n_patterns > SHARED_ROWS:
        yield from drawn
        return
    apart = list(drawn)
    shared = together(apart, SHARED_ROWS)
    yield from apart if shared is None else [shared]


def _tol(counts: WeightedRows) -> float:
    return GAIN / float(counts.weights.sum())
