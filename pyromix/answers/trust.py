"""Where the delta method is not to be trusted, and what takes its place.

Two things are looked at (THEORY 14.2, 14.3). *Few rows*: an answer that leans on rows of tables
behind which the rarer states have fewer than five expected rows has no normal law. *Curvature*:
along the path on which the answer moves most for its likelihood, delta promises that it moves by
sqrt(T) standard errors; where it does not, within 15%, the likelihood itself is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pyromix.answers.delta import Delta
from pyromix.estimate.surface import Surface, mixtures_of
from pyromix.model.gradients import gradients, ordinary
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.parameters import ParameterAxis

FEW = 5.0
"""Expected rows of the rarer states of a CPT row below which these are few."""

LEANING = 0.25
"""Share of a variance from such rows from which on an answer leans on them."""

CURVED = 0.15
"""Relative error of a standard error from which on the delta method is not trusted."""

WIDE = 1.645
"""Standard errors from the estimate at which the curvature is looked at."""

Targets = Callable[[BayesNetMixture], Tensor]
"""Answers of mixtures with one batch axis, ``(batch, values)``; differentiable."""


def leans_on_few(
    mixture: BayesNetMixture,
    row_masses: Sequence[Float[Tensor, ...]],
    targets: Targets,
    errors: Float[np.ndarray, " values"],
) -> Bool[np.ndarray, " values"]:
    """Which answers lean on CPT rows with few rows of data.

    A row with n rows behind it, probabilities theta and slopes w of the answer in them adds the
    variance Var_theta(w) / n, theta with half a row more in every cell.

    Args:
        mixture: the estimate, without batch axes.
        row_masses: expected rows behind each CPT row, as ``Fit.row_masses``.
        targets: the answers.
        errors: their standard errors.
    """
    spec = mixture.spec
    with gradients():
        tables = [ordinary(t).detach().unsqueeze(0).requires_grad_() for t in mixture.tables]
        answers = targets(_unchecked(mixture, tables))[0]
        every = [
            torch.autograd.grad(answer, tables[1:], retain_graph=True, allow_unused=True)
            for answer in answers
        ]
    found = []
    for slopes, error in zip(every, errors, strict=True):
        few = total = 0.0
        for v, (slope, mass) in enumerate(zip(slopes, row_masses, strict=True)):
            if slope is None:
                continue
            table, slope = mixture.cpts[v], slope[0]
            if v in spec.uninfluenced:
                table, slope, mass = table[:1], slope.sum(0, keepdim=True), mass[:1]
            mass = mass.unsqueeze(-1)
            law = (mass * table + 0.5) / (mass + 0.5 * table.shape[-1])
            mean = (law * slope).sum(-1, keepdim=True)
            part = (law * (slope - mean).square()).sum(-1) / (mass.squeeze(-1) + 1)
            rare = mass.squeeze(-1) * (1 - table.amax(-1)) < FEW
            total += float(part.sum())
            few += float(part[rare].sum())
        finite = error**2 if np.isfinite(error) else 0.0
        found.append(few > LEANING * max(total, finite, 1e-300))
    return np.array(found, dtype=bool)


def is_curved(
    surface: Surface,
    mixture: BayesNetMixture,
    delta: Delta,
    targets: Targets,
    scale: Callable[[np.ndarray], np.ndarray],
) -> Bool[np.ndarray, " values"]:
    """Which answers do not move with the likelihood as the delta method says.

    Args:
        surface: log-likelihood of the table, with the prior of the estimate.
        mixture: the estimate, without batch axes.
        delta: standard errors.
        targets: the answers.
        scale: of each answer, on which its interval is normal.
    """
    errors = delta.standard_errors
    ahead = delta.information.solve(delta.gradients)
    step = torch.as_tensor(errors, device=ahead.device).clamp_min(1e-300)
    ahead = WIDE * ahead / step[:, None]
    origin = ParameterAxis(mixture.spec).log_odds(mixture.tables)
    odds = torch.cat([origin[None], origin + ahead, origin - ahead])
    with torch.no_grad():
        heights, _ = surface(odds)
        answers = targets(mixtures_of(surface.axis, odds)).cpu().numpy()
    n = len(errors)
    roots = (2 * (heights[0] - heights[1:])).clamp_min(1e-12).sqrt().cpu().numpy()
    moved = np.concatenate([np.diagonal(answers[1 : n + 1]), np.diagonal(answers[n + 1 :])])
    here = np.concatenate([answers[0]] * 2)
    with np.errstate(all="ignore"):
        slope = (scale(here + 1e-6) - scale(here - 1e-6)) / 2e-6
        ratio = np.abs(scale(moved) - scale(here)) / (roots * np.concatenate([errors] * 2) * slope)
        bad = ~(np.abs(ratio - 1) <= CURVED)
    return (bad[:n] | bad[n:]) & (errors > 0)


def _unchecked(mixture: BayesNetMixture, tables: Sequence[Tensor]) -> BayesNetMixture:
    return BayesNetMixture.from_tables(mixture.spec, tables)
