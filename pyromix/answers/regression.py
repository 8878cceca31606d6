"""What a regression of the source on covariates tells: coefficients, profiles, memberships."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import ndtr, ndtri
from torch import Tensor

from pyromix.answers.classification import Classification, classified
from pyromix.data.frames import encode, labels_of, to_pandas
from pyromix.data.reading import read_frame
from pyromix.errors import DependentSourceError, NumericalWarning, QueryError, warn
from pyromix.estimate.class_regression import CovariateRows, joint, log_weights
from pyromix.exact.rows import CellIndex
from pyromix.fitting.regression import Regression
from pyromix.model.arguments import level_of, shown

if TYPE_CHECKING:
    import pandas as pd


def coefficients(
    fit: Regression, *, reference: Hashable = ..., level: float = 0.95
) -> pd.DataFrame:
    """Log-odds of one source against another, per unit of each covariate.

    Args:
        fit: the regression.
        reference: the source that the others are compared with; by default every pair is compared,
            the larger source as the reference.
        level: of the intervals.

    Returns:
        Columns ``source``, ``reference``, ``covariate``, ``estimate``, ``standard_error``, ``z``,
        ``p_value``, ``low``, ``high``: Wald's, nan where the rows do not determine all parameters.

    Raises:
        QueryError: no source has this name, or the level does not lie between 0 and 1.
    """
    states, level = fit.spec.source_states, level_of(level)
    k, p = fit.coefficients.shape
    if reference is not ... and reference not in states:
        raise QueryError(
            f"reference must be one of the sources {list(states)}, found {shown(reference)}"
        )
    if reference is ...:
        pairs = [(u, j) for j in range(k) for u in range(j + 1, k)]
    else:
        pairs = [(u, states.index(reference)) for u in range(k) if states[u] != reference]
    covariance = fit.information.covariance
    rows = []
    for u, j in pairs:
        for c, name in enumerate(fit.covariates.columns):
            contrast = torch.zeros(len(covariance), dtype=torch.float64)
            for source, sign in ((u, 1.0), (j, -1.0)):
                if source:
                    contrast[(source - 1) * p + c] = sign
            estimate = float(fit.coefficients[u, c] - fit.coefficients[j, c])
            error = _error(contrast, covariance)
            half = float(ndtri((1 + level) / 2)) * error
            z = estimate / error if error > 0 else math.nan
            wald = (z, 2 * float(ndtr(-abs(z))), estimate - half, estimate + half)
            rows.append((states[u], states[j], name, estimate, error, *wald))
    names = ("source", "reference", "covariate", "estimate", "standard_error", "z", "p_value")
    columns = (*names, "low", "high")
    return to_pandas({name: [row[i] for row in rows] for i, name in enumerate(columns)})


def profiles(fit: Regression, *, level: float = 0.95) -> pd.DataFrame:
    """Average sizes of the sources, and P(state | source) of every item, a row each.

    Ends are Wald's on the scale of log-odds; those of sizes take the covariates of the rows as
    given.

    Args:
        fit: the regression.
        level: of the intervals.

    Returns:
        Columns ``source``, ``variable``, ``state``, ``probability``, ``low``, ``high``, as
        ``MixtureFit.profiles``; a probability of 0 or 1 has nan for ends.

    Raises:
        QueryError: the level does not lie between 0 and 1.
    """
    spec, level = fit.spec, level_of(level)
    size_errors, item_errors = _size_errors(fit), _item_errors(fit)
    sizes = zip(spec.source_states, fit.mixture.weights.tolist(), size_errors, strict=True)
    rows = [(u, spec.source, u, p, *_ends(p, error, level)) for u, p, error in sizes]
    for number, u in enumerate(spec.source_states):
        for v, cpt in enumerate(fit.mixture.cpts):
            found = zip(
                spec.states_of(v), cpt[number].tolist(), item_errors[v][number], strict=True
            )
            rows += [
                (u, spec.name(v), state, p, *_ends(p, error, level)) for state, p, error in found
            ]
    names = ("source", "variable", "state", "probability", "low", "high")
    return to_pandas({name: [row[i] for row in rows] for i, name in enumerate(names)})


def predict_proba(fit: Regression, data: Any, *, missing_values: Any = None) -> pd.DataFrame:
    """P(U | items, covariates) of every row of a table.

    Args:
        fit: the regression.
        data: a table of items and covariates; missing items are summed out.
        missing_values: as in ``fit``.

    Returns:
        One row per data row, one column per source; nan, with a NumericalWarning, where a
        covariate is missing or no source can produce the row.

    Raises:
        DataError: a column is missing, or a value cannot be read.
    """
    table = read_frame(data, missing_values)
    design = torch.from_numpy(fit.covariates.read(table))
    codes = encode(table, fit.spec).codes
    ones = torch.ones(len(codes), dtype=torch.float64)
    rows = CovariateRows(CellIndex(fit.spec, codes), design, ones)
    shares = joint(rows, fit.coefficients, fit.mixture.cpts).softmax(-1)
    lost = int(shares.isnan().any(-1).sum())
    if lost:
        warn(
            f"P({fit.spec.source}) of {lost} of {len(codes)} rows is nan: one of the covariates "
            f"{list(fit.depends_on)} is missing, or no source can produce the row",
            NumericalWarning,
        )
    columns = [str(state) for state in fit.spec.source_states]
    return to_pandas(dict(zip(columns, shares.T.numpy(), strict=True)), labels_of(table))


def classification(fit: Regression) -> Classification:
    """Rows of the table assigned to their likeliest source, against where they are expected."""
    return classified(fit.spec, fit.shares, fit.rows.weights)


def refuse(fit: Regression, *_: Any, **__: Any) -> None:
    """Refuse a question that takes the source for a root.

    Raises:
        DependentSourceError: always.
    """
    names = ", ".join(repr(name) for name in fit.depends_on)
    raise DependentSourceError(
        f"expected a source without causes, found that {fit.spec.source!r} of this fit depends on "
        f"{names}: what a do changes would depend on how these came about, which no graph says. "
        "Fit without covariates, or draw them as variables of a graph (px.fit)",
        covariates=fit.depends_on,
    )


def _error(gradient: Float[Tensor, " q"], covariance: Float[Tensor, "q q"]) -> float:
    return float((gradient @ covariance @ gradient).clamp_min(0).sqrt())


def _size_errors(fit: Regression) -> list[float]:
    """Standard errors of the average weights."""
    rows, (k, p) = fit.rows, fit.coefficients.shape
    law = log_weights(fit.coefficients, rows.design).exp()
    found = []
    for u in range(k):
        gradient = torch.zeros(len(fit.information.covariance), dtype=torch.float64)
        for j in range(1, k):
            slope = law[:, u] * (float(u == j) - law[:, j]) * rows.weights / rows.total_weight
            gradient[(j - 1) * p : j * p] = slope @ rows.design
        found.append(_error(gradient, fit.information.covariance))
    return found


def _item_errors(fit: Regression) -> list[list[list[float]]]:
    """Standard errors of P(state | source), per item and source; 0 at the boundary."""
    found = [torch.zeros_like(cpt) for cpt in fit.mixture.cpts]
    for place in fit.information.places:
        row = fit.mixture.cpts[place.item][place.source]
        jacobian = ((torch.eye(len(row), dtype=row.dtype) - row[:, None]) * row)[list(place.states)]
        covariance = fit.information.covariance[place.places, place.places]
        variances = (jacobian.T @ covariance @ jacobian).diagonal()
        found[place.item][place.source] = variances.clamp_min(0).sqrt()
    return [errors.tolist() for errors in found]


def _ends(probability: float, error: float, level: float) -> tuple[float, float]:
    """Wald's interval of log-odds, as probabilities."""
    spread = probability * (1 - probability)
    if not (error > 0 and spread > 0):
        return math.nan, math.nan
    half = float(ndtri((1 + level) / 2)) * error / spread
    odds = math.log(probability / (1 - probability))
    low, high = (1 / (1 + np.exp(-(odds + sign * half))) for sign in (-1, 1))
    return float(low), float(high)
