"""The front door of k-MixIID: from successes and trials per unit to coins (THEORY section 2)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pyromix.coins.bound import NonparametricBound, nonparametric_bound
from pyromix.coins.likelihood import (
    BinomialMixtures,
    Flips,
    drop_redundant,
    log_likelihood,
    merge_neighbours,
    refine_binomial,
)
from pyromix.coins.moments import (
    MOMENT_METHODS,
    MomentSolution,
    check_n_sources,
    solve_moments,
)
from pyromix.coins.prony import factorial_moments
from pyromix.coins.result import IIDDiagnostics, IIDFit, read_units
from pyromix.data.weights import COUNTS
from pyromix.errors import (
    ConvergenceWarning,
    DataError,
    IdentificationError,
    StartsDisagreeWarning,
    WeakIdentificationWarning,
    warn,
)
from pyromix.model.arguments import one_of, whole
from pyromix.model.memory import check_numbers
from pyromix.model.randomness import RandomState, check_seed, torch_generator
from pyromix.model.status import Status
from pyromix.model.ties import first_largest

SAME_COINS_OPTIMUM = 1e-5
"""Log-likelihoods (nats) that differ by less belong to one optimum."""

MAX_FLIPS = 10**8
"""Flips of the longest unit: the search for further coins has a grid as long as their root."""

MERGE_LOSS = 1e-6
"""A coin whose loss costs less than this many nats was no coin of its own."""

START_WEIGHT = 0.01
"""Share of uniform weights in the moment start, since a weight of zero would stay there."""


def fit_iid(
    successes: Any,
    trials: Any,
    n_sources: int,
    *,
    sample_weight: Any = None,
    weights_are: str = COUNTS,
    missing_values: Any = None,
    random_state: RandomState = 0,
    n_init: int = 8,
    max_iter: int = 200,
    method: str = "hankel",
) -> IIDFit:
    """Fit a mixture of k coins to units of several flips each.

    Moments start a likelihood climb (EM, then Newton), beside starts at quantiles, at random, and
    from the nonparametric maximum-likelihood mixture; the best is kept.

    Args:
        successes: h per unit.
        trials: n per unit, or one number for all; units may differ.
        n_sources: k.
        sample_weight: how often each unit counts; by default once.
        weights_are: ``"counts"``, weights are numbers of units; ``"sampling"``, they say how much
            each unit speaks for, and count as Kish's effective number of units.
        missing_values: values that stand for a missing number, such as ``[-9]``; units with one, or
            with NaN, are then left out and said.
        random_state: seed of the random starts.
        n_init: number of random starts.
        max_iter: largest number of Newton steps.
        method: of the moment stage, as in ``identify_iid``.

    Returns:
        The fit, with a status; a warning says what that is when it is not OK.

    Raises:
        DataError: counts are not integers with 0 <= h <= n, lengths differ, or weights are
            negative, not finite or all zero, or ``weights_are`` is set without weights.
        IdentificationError: no unit has 2k - 1 flips, so two mixtures of k coins can share the law
            of the data.
        QueryError: unknown method, or ``weights_are`` is unknown.
    """
    k = check_n_sources(n_sources)
    n_init, max_iter = (
        whole(name, value, 0, error=DataError)
        for name, value in (("n_init", n_init), ("max_iter", max_iter))
    )
    one_of("method", method, MOMENT_METHODS)
    check_seed(random_state)
    check_numbers(f"coins of {n_init:,} starts", n_init * k, "take a smaller n_init", DataError)
    flips = Flips.from_units(
        *read_units(successes, trials, sample_weight, weights_are, missing_values)
    )
    _check_longest(flips, k)
    moments, covariance = factorial_moments(
        flips.successes, flips.trials, flips.mass, _moment_order(flips, k)
    )
    start = solve_moments(moments, k, method=method, covariance=covariance)
    fits = refine_binomial(flips, *_starts(flips, start, n_init, random_state), max_iter=max_iter)
    reduced, loss = _reduced(flips, fits)
    bound = nonparametric_bound(flips, reduced)
    fits = _with_merged_bound(flips, fits, bound, max_iter)
    if fits.best == len(fits.probs) - 1:
        reduced, loss = _reduced(flips, fits)
    fit = _assemble(flips, fits, reduced, loss, start, bound)
    _warn(fit)
    return fit


def _check_longest(flips: Flips, k: int) -> None:
    if flips.longest > MAX_FLIPS:
        raise DataError(
            f"expected units of at most {MAX_FLIPS:,} flips, found one of {flips.longest:,}; so "
            "long a unit shows its own probability: look at successes / trials itself"
        )
    if flips.longest >= 2 * k - 1:
        return
    possible = (flips.longest + 1) // 2
    advice = f", or ask for n_sources <= {possible}" if possible else ""
    raise IdentificationError(
        f"expected a unit with {2 * k - 1} flips, without which two mixtures of k={k} coins can "
        f"share the law of the data; found {flips.longest} flips at most; bring longer units"
        f"{advice}"
    )


def _moment_order(flips: Flips, k: int) -> int:
    """2k, so that mu_2k can be tested, unless that would leave out most units."""
    enough = float(flips.mass[flips.trials >= 2 * k - 1].sum())
    return 2 * k if float(flips.mass[flips.trials >= 2 * k].sum()) >= enough / 2 else 2 * k - 1


def _starts(
    flips: Flips, moments: MomentSolution, n_init: int, random_state: RandomState
) -> tuple[Tensor, Tensor]:
    """Moment start, quantiles of the units' shares of successes, and uniform draws."""
    device, k = flips.mass.device, moments.probs.shape[-1]
    generator = torch_generator(random_state)
    shares = (flips.successes + 0.5) / (flips.trials + 1.0)
    shares, order = shares.sort()
    reached = flips.mass[order].cumsum(0) / flips.mass.sum()
    levels = (torch.arange(k, dtype=torch.float64, device=device) + 0.5) / k
    where = torch.searchsorted(reached, levels).clamp_max(len(shares) - 1)
    draws = torch.rand(
        n_init, k, dtype=torch.float64, generator=generator, device=generator.device
    ).to(device)
    draws = shares[0] + (shares[-1] - shares[0]) * draws
    quantiles = shares[where]
    # Moments without an answer start nothing: their place is taken by the quantiles.
    first = torch.where(moments.probs.isfinite().all(), moments.probs, quantiles)
    probs = torch.cat([first.unsqueeze(0), quantiles.unsqueeze(0), draws])
    weights = torch.full_like(probs, 1 / k)
    shown = torch.where(moments.weights.isfinite().all(), moments.weights, 1 / k)
    weights[0] = (shown + START_WEIGHT / k) / (1 + START_WEIGHT)
    # Equal coins would stay equal; apart by a thousandth they part where the likelihood rises.
    nudge = 1e-3 * torch.arange(k, dtype=torch.float64, device=device)
    inside = 0.5 / (flips.longest + 1)
    return (probs + nudge - nudge.mean()).clamp(inside, 1 - inside), weights


def _reduced(flips: Flips, fits: BinomialMixtures) -> tuple[BinomialMixtures, float]:
    """The best start without the coins that it does not need, and what one fewer would cost."""
    best = fits[fits.best : fits.best + 1]
    return drop_redundant(flips, best, tol=_tolerance(MERGE_LOSS, best))


def _tolerance(nats: float, fits: BinomialMixtures) -> float:
    """A tolerance in nats, but not below what rounding does to a sum over the units."""
    return nats + 1e-11 * float(fits.log_likelihood.abs().max())


def _with_merged_bound(
    flips: Flips, fits: BinomialMixtures, bound: NonparametricBound, max_iter: int
) -> BinomialMixtures:
    """Add one more start: the coins of the nonparametric mixture, merged down to k."""
    k, mixture = fits.probs.shape[-1], bound.mixture
    while mixture.probs.shape[-1] > k:
        joined = merge_neighbours(mixture.probs[0], mixture.weights[0])
        merged = refine_binomial(flips, *joined, max_iter=max_iter)
        mixture = merged[merged.best : merged.best + 1]
    probs, weights = _padded(mixture, k)
    return replace(
        fits,
        probs=torch.cat([fits.probs, probs.unsqueeze(0)]),
        weights=torch.cat([fits.weights, weights.unsqueeze(0)]),
        log_likelihood=torch.cat([fits.log_likelihood, mixture.log_likelihood]),
        converged=torch.cat([fits.converged, mixture.converged]),
    )


def _padded(mixture: BinomialMixtures, k: int) -> tuple[Tensor, Tensor]:
    """Coins of a single start, the heaviest repeated and its weight shared until there are k."""
    probs, weights = mixture.probs[0], mixture.weights[0]
    copies = torch.ones_like(probs, dtype=torch.int64)
    copies[first_largest(weights.tolist())] += k - len(probs)
    return probs.repeat_interleave(copies), (weights / copies).repeat_interleave(copies)


def _assemble(
    flips: Flips,
    fits: BinomialMixtures,
    reduced: BinomialMixtures,
    loss: float,
    start: MomentSolution,
    bound: NonparametricBound,
) -> IIDFit:
    k, n_units = fits.probs.shape[-1], flips.n_units
    n_distinct = reduced.probs.shape[-1]
    probs, weights = _padded(reduced, k)
    value = float(log_likelihood(flips, probs, weights))
    gain = loss if n_distinct == k else 0.0
    if n_distinct < k:
        status = Status.MERGED
    elif not bool(reduced.converged[0]):
        status = Status.NOT_CONVERGED
    # By BIC a coin, two parameters, must gain log N nats.
    elif int(start.status) == Status.RANK_TOO_SMALL and gain < math.log(max(n_units, math.e)):
        status = Status.RANK_TOO_SMALL
    else:
        status = Status.OK
    diagnostics = IIDDiagnostics(
        moments=start,
        n_distinct=n_distinct,
        gain=gain,
        separation=float(probs.diff().min()) if k > 1 else math.inf,
        smallest_mass=float(weights.min()) * n_units,
        bound=max(bound.log_likelihood, value),
        bound_atoms=bound.n_atoms,
        start_log_likelihoods=tuple(fits.log_likelihood.tolist()),
        n_best=int((fits.log_likelihood > value - _tolerance(SAME_COINS_OPTIMUM, fits)).sum()),
        n_iter=fits.n_iter,
    )
    moments_start = (start.probs, start.weights)
    return IIDFit(probs, weights, value, moments_start, status, n_units, diagnostics)


def _warn(fit: IIDFit) -> None:
    """Say once what is wrong with a fit."""
    k, found = len(fit.probs), fit.diagnostics
    if fit.status in (Status.MERGED, Status.RANK_TOO_SMALL):
        warn(
            f"expected {k} coins; {found.notes(k, fit.status)[0]}; {fit.status.advice}",
            WeakIdentificationWarning,
        )
    elif fit.status is Status.NOT_CONVERGED:
        warn(
            f"expected convergence, found none after {found.n_iter} Newton steps; "
            f"{fit.status.advice}",
            ConvergenceWarning,
        )
    if found.n_best == 1 and found.bound - fit.log_likelihood > SAME_COINS_OPTIMUM:
        warn(
            f"expected several starts to agree; found the best log-likelihood "
            f"{fit.log_likelihood:.4f} once among {len(found.start_log_likelihoods)} starts; "
            "raise n_init, or ask for a smaller n_sources",
            StartsDisagreeWarning,
        )
