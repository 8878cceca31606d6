"""Tables, posteriors by closed form or quadrature, comparisons within Monte Carlo error."""

from __future__ import annotations

import itertools

import pyro
import torch
from pyro.ops.stats import effective_sample_size
from torch import Tensor

from pyromix.data.counts import Counts
from pyromix.data.intake_report import DataReport
from pyromix.exact.sampling import sample
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec
from pyromix.posterior.draws import Posterior


def weighted(spec: MixtureSpec, rows: Tensor, weights: Tensor) -> Counts:
    """Counts of these rows in this order, repeated ones included."""
    report = DataReport(n_rows=len(rows), n_variables=spec.n_variables, n_patterns=len(rows))
    return Counts(spec, rows, weights.double(), report)


def sampled(spec: MixtureSpec, n: int, *, missing: float = 0.0, seed: int = 0) -> Counts:
    """Rows of a random mixture, as distinct patterns."""
    rows, _ = sample(random_mixture(spec, seed, separation=0.4), n, seed)
    gaps = torch.rand(rows.shape, generator=torch.Generator().manual_seed(seed)) < missing
    return Counts.from_codes(spec, rows.masked_fill(gaps, -1))


def expanded(counts: Counts) -> Counts:
    """The same table, one pattern per row, in another order."""
    rows = counts.rows.repeat_interleave(counts.weights.long(), 0)
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(3))]
    return weighted(counts.spec, rows, torch.ones(len(rows)))


def flat_prior(spec: MixtureSpec, amount: float | None = None) -> PseudoCounts:
    return PseudoCounts.of(spec, amount)


def free(mixtures: BayesNetMixture) -> Tensor:
    """All probabilities of weights and tables along the last axis."""
    batch = len(mixtures.batch_shape)
    return torch.cat([mixtures.weights, *(c.flatten(batch) for c in mixtures.cpts)], -1)


def standard_errors(series: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of ``(chains, draws, columns)`` over draws and its Monte Carlo error by column."""
    ess = effective_sample_size(series, chain_dim=0, sample_dim=1)
    ess = ess.clamp(4, series.shape[0] * series.shape[1])
    return series.mean((0, 1)), (series.flatten(0, 1).var(0) / ess).sqrt()


def z_scores(series: Tensor, truth: Tensor) -> Tensor:
    """How many Monte Carlo errors a mean is from where it should be."""
    mean, error = standard_errors(series)
    return ((mean - truth) / error.clamp_min(1e-12)).abs()


def squares(series: Tensor) -> Tensor:
    """Squared distance to the mean over all draws: its mean is the variance."""
    return (series - series.mean((0, 1))).square()


def grid(n_parameters: int, n: int) -> Tensor:
    """Midpoints of a grid on the unit cube, ``(n ** n_parameters, n_parameters)``."""
    points = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return torch.cartesian_prod(*([points] * n_parameters))


def expectation(log_density: Tensor, values: Tensor) -> Tensor:
    """Mean of values under a density on a grid."""
    return (log_density - log_density.max()).softmax(0) @ values


def two_sources_of_one_bit() -> tuple[Counts, PseudoCounts]:
    """k = 2, one binary variable, two patterns: three parameters, labels told by the prior."""
    spec = MixtureSpec.from_parents({"X": "ab"}, {}, 2)
    counts = weighted(spec, torch.tensor([[0], [1]]), torch.tensor([9.0, 5.0]))
    table = torch.tensor([[3.0, 0.5], [1.0, 4.0]], dtype=torch.float64)
    return counts, PseudoCounts(torch.tensor([2.0, 1.0], dtype=torch.float64), (table,))


def invariants_by_quadrature(counts: Counts, prior: PseudoCounts) -> Tensor:
    """Means of ``invariants`` under the posterior of ``two_sources_of_one_bit``."""
    w, p, q = grid(3, 96).T
    a, (c,) = prior.weights, prior.cpts
    one = w * p + (1 - w) * q
    log_density = counts.weights[0] * one.log() + counts.weights[1] * (1 - one).log()
    for x, (left, right) in ((w, a), (p, c[0]), (q, c[1])):
        log_density = log_density + left * x.log() + right * (1 - x).log()
    return expectation(log_density, torch.stack([one, one**2, w * (1 - w), (p - q) ** 2], 1))


def invariants(posterior: Posterior) -> Tensor:
    """Functions of ``two_sources_of_one_bit`` that no exchange of labels changes."""
    w, p = posterior.mixtures.weights[..., 0], posterior.mixtures.cpts[0][..., 0]
    one = w * p[..., 0] + (1 - w) * p[..., 1]
    return torch.stack([one, one**2, w * (1 - w), (p[..., 0] - p[..., 1]) ** 2], -1)


class Footprint:
    """Global state before and after: nothing of a run may stay."""

    def __init__(self) -> None:
        pyro.clear_param_store()
        pyro.param("mine", torch.ones(2))
        self.before = self.now()

    @staticmethod
    def now() -> list[object]:
        return [
            list(pyro.get_param_store().keys()),
            pyro.get_param_store()["mine"].tolist(),
            torch.get_rng_state().tolist(),
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            pyro.settings.get("validate_distributions_pyro"),
            pyro.settings.get("validate_distributions_torch"),
            pyro.settings.get("validate_infer"),
            pyro.settings.get("validate_poutine"),
            len(pyro.poutine.runtime._PYRO_STACK),
        ]

    def check(self) -> None:
        after = self.now()
        pyro.clear_param_store()
        assert after == self.before


def cells(spec: MixtureSpec) -> list[tuple[int, ...]]:
    """All joint states."""
    return list(itertools.product(*map(range, spec.cards)))
