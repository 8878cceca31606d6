"""How far a value of a fit may be off: standard errors by the delta method, or draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.errors import PyromixError
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.model.arguments import level_of
from pyromix.model.mixed import MixedMixture

Value = Callable[[MixedMixture, MixedMixture | None], Tensor]
"""Some numbers of a mixture, smooth in its parameters; perhaps drawn around another one."""

MAX_INFORMATION = 2**28
"""Rows times free numbers up to which standard errors are had unasked: seconds."""

MOST_SAMPLED = 250
"""Draws of a fit that are asked where each answer is by sampling, and takes as long as the first;
of more, some at equal distances."""


@dataclass(frozen=True, eq=False)
class Spread:
    """How far some values may be off.

    Attributes:
        values: of the estimate.
        errors: standard errors, Monte Carlo error included; nan where there are none, infinite
            where the table leaves a value open.
        draws: the values of replicates or of a posterior, ``(n, cells)``; None without.
        bounded: whether the values are probabilities.
        refused: why there are no errors; empty where there are.
        drawn_by: what drew, ``"bootstrap"`` or ``"gibbs"``; empty without draws.
    """

    values: Float[np.ndarray, " cells"]
    errors: Float[np.ndarray, " cells"]
    draws: Float[np.ndarray, "n cells"] | None = None
    bounded: bool = False
    refused: str = ""
    drawn_by: str = ""

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Ends of an interval for each value: quantiles of draws, else by standard errors.

        That of a probability is taken on log-odds, and so stays between 0 and 1.

        Raises:
            QueryError: the level does not lie between 0 and 1.
        """
        level = level_of(level)
        if self.draws is not None:
            ends = np.quantile(self.draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
            return ends[0], ends[1]
        reach = NormalDist().inv_cdf((1 + level) / 2) * self.errors
        if not self.bounded:
            return self.values - reach, self.values + reach
        inside = np.clip(self.values, 1e-12, 1 - 1e-12)
        odds = np.log(inside / (1 - inside))
        with np.errstate(over="ignore"):
            wide = reach / (inside * (1 - inside))
            low, high = 1 / (1 + np.exp(wide - odds)), 1 / (1 + np.exp(-wide - odds))
        return low, high


def spread_of(
    fit: MixedRecord,
    value: Value | Sequence[Value],
    monte_carlo: Float[np.ndarray, " cells"] | float = 0.0,
    *,
    bounded: bool = False,
    interval: bool | None = None,
) -> Spread:
    """How far values of a fit may be off.

    Args:
        fit: with its table, or with draws.
        value: what is asked; several, whose numbers stand one after the other.
        monte_carlo: standard errors of the values by sampling.
        bounded: whether the values are probabilities.
        interval: whether standard errors are wanted; None for where they are cheap.

    Raises:
        PyromixError: they are wanted, and cannot be had.
    """
    values = [value] if callable(value) else value

    def found(mixture: MixedMixture, reference: MixedMixture | None) -> Tensor:
        with torch.no_grad():
            return torch.cat([one(mixture, reference) for one in values])

    centre = found(fit.mixture, None).cpu().numpy()
    nothing = np.full(centre.shape, np.nan)
    if interval is False:
        return Spread(centre, nothing, refused="interval=False asked for none")
    if fit.sampled is not None:
        # The same random numbers around the same mixture: draws differ by their parameters.
        some = fit.draws
        if bool(np.any(np.asarray(monte_carlo) > 0)):
            some = some[:: -(-len(some) // MOST_SAMPLED)]
        points = [found(fit.mixture.with_parameters(draw), fit.mixture) for draw in some]
        draws = torch.stack(points).cpu().numpy()
        errors = draws.std(0, ddof=1)
        return Spread(centre, errors, draws, bounded, drawn_by=fit.sampled.method)
    if fit.table is None and not interval:
        return Spread(centre, nothing, refused="the fit holds no table: it was saved without")
    size = fit.records.n_rows * fit.n_parameters
    if interval is None and size > MAX_INFORMATION:
        return Spread(
            centre, nothing, refused="it takes more than a moment; interval=True asks for it"
        )
    try:
        known = fit.information
    except PyromixError as error:
        if interval:
            raise
        return Spread(centre, nothing, refused=str(error))
    errors = known.errors(gradients(fit.mixture, values)).cpu().numpy()
    return Spread(centre, np.hypot(errors, monte_carlo), None, bounded)


def gradients(mixture: MixedMixture, values: Value | Sequence[Value]) -> Float[Tensor, "cells p"]:
    """Derivatives of values by the free coordinates; one value after the other is held."""
    at = mixture.parameters.detach().requires_grad_()
    rows = []
    for value in [values] if callable(values) else values:
        with torch.enable_grad():
            found = value(mixture.with_parameters(at), None)
        for number in found.unbind():
            (row,) = torch.autograd.grad(number, at, retain_graph=True, allow_unused=True)
            rows.append(torch.zeros_like(at) if row is None else row)
    return torch.stack(rows)
