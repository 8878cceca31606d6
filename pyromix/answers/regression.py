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
from pyromix.data.relation.door import read_rows
from pyromix.errors import DependentSourceError, NumericalWarning, QueryError, warn
from pyromix.estimate.class_regression import CovariateRows, joint, log_weights
from pyromix.exact.rows import CellIndex
from pyromix.fitting.regression import Regression
from pyromix.model.arguments import level_of, shown
from pyromix.model.printed import Grid, Printed

if TYPE_CHECKING:
    import pandas as pd


Ends = tuple[float, float]


def printed(fit: Regression) -> Printed:
    """Return size, fit, sources, and the table of coefficients."""
    spec = fit.spec
    weights = ", ".join(f"{w:.3f}" for w in fit.mixture.weights.tolist())
    draws = "" if fit.draws is None else f"   {len(fit.draws.coefficients)} draws"
    table = coefficients(fit)
    header = tuple(map(str, table.columns))
    digits = [".2g" if name == "p_value" else ".3f" for name in header]
    cells = [
        tuple(
            format(x, d) if isinstance(x, float) else str(x)
            for x, d in zip(row, digits, strict=True)
        )
        for row in table.itertuples(index=False)
    ]
    return Printed(
        f"RegressionFit of {spec.n_variables} items, {spec.n_sources} sources on "
        f"{', '.join(fit.depends_on)} ({fit.n_parameters} parameters, {fit.n_rows:g} rows)",
        (Grid(header, tuple(cells), 3),) if cells else (),
        lines=(
            f"logL {fit.log_likelihood:.3f}   best of {len(fit.start_log_likelihoods)} starts "
            f"reached by {fit.n_best}   {'converged' if fit.converged else 'NOT converged'} after "
            f"{fit.n_iter} iterations",
            f"average P({spec.source}) = [{weights}]   entropy R2 {fit.entropy_r2:.2f}{draws}",
        ),
    )


def in_numbers(fit: Regression) -> dict[str, Any]:
    """What ``str(fit)`` says and more, as plain numbers and texts, ready for JSON."""
    table = coefficients(fit).to_dict(orient="records")
    return {
        "method": "em",
        "n_variables": fit.spec.n_variables,
        "n_sources": fit.spec.n_sources,
        "covariates": [str(name) for name in fit.depends_on],
        "n_parameters": fit.n_parameters,
        "n_rows": fit.n_rows,
        "log_likelihood": fit.log_likelihood,
        **{name: getattr(fit, name) for name in ("aic", "bic", "caic", "sabic", "icl")},
        "entropy_r2": fit.entropy_r2,
        "weights": fit.mixture.weights.tolist(),
        "coefficients": [{str(n): finite_or_none(v) for n, v in row.items()} for row in table],
        "n_init": len(fit.start_log_likelihoods),
        "n_best": fit.n_best,
        "n_draws": 0 if fit.draws is None else len(fit.draws.coefficients),
        "converged": fit.converged,
        "n_iter": fit.n_iter,
    }


def finite_or_none(value: Any) -> Any:
    """JSON has neither nan nor infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
        ``p_value``, ``low``, ``high``: Wald's, nan where the rows do not determine all parameters;
        of a fit with draws, standard errors and percentiles of these.

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
            ends = (estimate - half, estimate + half)
            if fit.draws is not None:
                drawn = fit.draws.coefficients[:, u, c] - fit.draws.coefficients[:, j, c]
                error, ends = _spread(drawn), _percentiles(drawn, level)
            z = estimate / error if error > 0 else math.nan
            wald = (z, 2 * float(ndtr(-abs(z))), *ends)
            rows.append((states[u], states[j], name, estimate, error, *wald))
    names = ("source", "reference", "covariate", "estimate", "standard_error", "z", "p_value")
    columns = (*names, "low", "high")
    return to_pandas({name: [row[i] for row in rows] for i, name in enumerate(columns)})


def profiles(fit: Regression, *, level: float = 0.95) -> pd.DataFrame:
    """Average sizes of the sources, and P(state | source) of every item, a row each.

    Ends are Wald's on the scale of log-odds; those of sizes take the covariates of the rows as
    given. Of a fit with draws they are percentiles of these.

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
    sizes, items = _intervals(fit, level)
    rows = [
        (u, spec.source, u, p, *ends)
        for u, p, ends in zip(spec.source_states, fit.mixture.weights.tolist(), sizes, strict=True)
    ]
    for number, u in enumerate(spec.source_states):
        for v, cpt in enumerate(fit.mixture.cpts):
            found = zip(spec.states_of(v), cpt[number].tolist(), items[v][number], strict=True)
            rows += [(u, spec.name(v), state, p, *ends) for state, p, ends in found]
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
    table = read_rows(data, missing_values)
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


def _spread(drawn: Float[Tensor, " n"]) -> float:
    return float(drawn.std()) if len(drawn) > 1 else math.nan


def _percentiles(drawn: Float[Tensor, " n"], level: float) -> tuple[float, float]:
    low, high = np.quantile(drawn.numpy(), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _intervals(fit: Regression, level: float) -> tuple[list[Ends], list[list[list[Ends]]]]:
    """Of the sizes, and of every item, source and state."""
    if fit.draws is not None:
        weights, *cpts = fit.draws.mixture.tables
        return [_percentiles(own, level) for own in weights.T], [
            [[_percentiles(own, level) for own in row.T] for row in cpt.unbind(1)] for cpt in cpts
        ]
    sizes = zip(fit.mixture.weights.tolist(), _size_errors(fit), strict=True)
    return [_ends(p, error, level) for p, error in sizes], [
        [
            [_ends(p, error, level) for p, error in zip(row, own, strict=True)]
            for row, own in zip(cpt.tolist(), errors, strict=True)
        ]
        for cpt, errors in zip(fit.mixture.cpts, _item_errors(fit), strict=True)
    ]


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
