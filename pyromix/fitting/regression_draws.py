"""Replicates of a latent class regression: tables of rows drawn anew, EM from the estimate."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from pyromix.errors import ConvergenceWarning, WeakIdentificationWarning, warn
from pyromix.estimate.class_regression import CovariateRows, climb_regression, mean_weights
from pyromix.estimate.progress import progress_bar
from pyromix.estimate.starts import batch_of, inside
from pyromix.exact.rows import CellIndex
from pyromix.fitting.regression import Regression, RegressionDraws
from pyromix.model.arguments import whole
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.randomness import RandomState, check_seed, numpy_generator
from pyromix.posterior.chains import check_draws
from pyromix.posterior.draws import matched

F = TypeVar("F", bound=Regression)

TOL = 1e-8
"""Nats per row at which EM of a replicate stops."""


def bootstrap(
    fit: F,
    n: int = 200,
    *,
    random_state: RandomState = 0,
    max_iter: int = 5000,
    show_progress: bool | None = None,
) -> F:
    """Return this fit with n replicates as its draws; intervals then come from them.

    Rows are drawn anew with their covariates, EM goes on from this estimate, and the sources of a
    replicate are matched to those of this fit; a doubtful matching is said.

    Args:
        fit: the estimate.
        n: number of replicates.
        random_state: of the rows drawn.
        max_iter: limit on EM steps of a replicate.
        show_progress: as in ``fit``.

    Raises:
        QueryError: n or ``max_iter`` is no positive whole number.
        SpecError: the draws would not fit in memory.
    """
    n, max_iter = whole("n", n, 1), whole("max_iter", max_iter, 1)
    check_seed(random_state)
    check_draws(fit.spec, n, "take fewer replicates (n)")
    rows, seed = fit.rows, int(numpy_generator(random_state).integers(2**62))
    law = (rows.weights / rows.weights.sum()).numpy()
    total = max(1, round(rows.total_weight))
    start, gamma = inside(batch_of(fit.mixture)), fit.coefficients[None]
    found: list[tuple[Tensor, BayesNetMixture]] = []
    unfinished = 0
    with progress_bar(show_progress, n, "replicates") as tell:
        for i in range(n):
            drawn = torch.from_numpy(np.random.default_rng((seed, i)).multinomial(total, law))
            part = _part(rows, drawn.double())
            end = climb_regression(part, start, gamma=gamma, max_iter=max_iter, tol=TOL)
            unfinished += not end.converged
            weights = mean_weights(part, end.coefficients)
            found.append((end.coefficients, BayesNetMixture(fit.spec, weights, end.tables)))
            tell(i + 1, "")
    mixtures, order, doubtful = matched(fit.mixture, batch_of(*(own for _, own in found)))
    coefficients = torch.stack([own for own, _ in found])
    coefficients = coefficients.gather(1, order[..., None].expand_as(coefficients))
    if unfinished:
        warn(
            f"EM of {unfinished} of {n} replicates stopped at max_iter, before its tolerance. "
            "Raise max_iter.",
            ConvergenceWarning,
        )
    if bool(doubtful.any()):
        warn(
            f"in {int(doubtful.sum())} of {n} replicates the sources could nearly as well be "
            "matched to those of the fit otherwise: intervals of single sources are doubtful. Ask "
            "for fewer sources, or bring more rows.",
            WeakIdentificationWarning,
        )
    return replace(fit, draws=RegressionDraws(coefficients - coefficients[:, :1], mixtures))


def _part(rows: CovariateRows, weights: Tensor) -> CovariateRows:
    """The rows that a replicate has."""
    kept = weights > 0
    index = CellIndex(rows.index.spec, rows.index.rows[kept])
    return CovariateRows(index, rows.design[kept], weights[kept])
