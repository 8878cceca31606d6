"""Latent class regressions on disk: a bundle of kind ``regression``."""

from __future__ import annotations

import math
from dataclasses import asdict
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from pyromix.data.covariates import Coding, Covariates
from pyromix.errors import FileError
from pyromix.estimate.class_information import class_information
from pyromix.estimate.class_regression import CovariateRows, joint, mean_weights
from pyromix.exact.rows import CellIndex
from pyromix.fitting.regression import Regression, RegressionDraws
from pyromix.fitting.typed import checked, typed
from pyromix.formats.bundle import REGRESSION, Bundle, write_bundle
from pyromix.formats.words import shown
from pyromix.model.arguments import path_of
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.spec import MixtureSpec

ROUNDING = 1e-6
"""Relative to the number of rows: by how much sums over them may differ between machines."""


def save(fit: Regression, path: str | PathLike[str]) -> None:
    """Write a regression as a ``.pyromix`` bundle, all or nothing; ``px.load`` reads it back.

    The distinct rows of items and covariates go with it: sizes and memberships are theirs.

    Args:
        fit: what to write.
        path: where; must end in ``.pyromix``.

    Raises:
        FileError: another ending, or the path cannot be written to.
    """
    path = path_of(path)
    if path.suffix != ".pyromix":
        raise FileError(f"{path}: a fit is saved as a bundle, so the name must end in .pyromix")
    extra = {
        "covariates": [asdict(coding) for coding in fit.covariates.codings],
        "log_likelihood": fit.log_likelihood,
        "converged": fit.converged,
        "n_iter": fit.n_iter,
        "starts": list(fit.start_log_likelihoods),
    }
    tensors = {
        "coefficients": fit.coefficients,
        "rows/items": fit.rows.index.rows,
        "rows/design": fit.rows.design,
        "rows/weights": fit.rows.weights,
    }
    if fit.draws is not None:
        tensors["draws/coefficients"] = fit.draws.coefficients
        tensors |= {f"draws/{i}": t for i, t in enumerate(fit.draws.mixture.tables)}
    write_bundle(path, fit.mixture, kind=REGRESSION, extra=extra, tensors=tensors)


def regression_of(bundle: Bundle) -> Regression:
    """Return the regression of a bundle, held against its rows.

    Raises:
        FileError: a field is of another type or shape than it must be, or contradicts the rows.
        KeyError: a field is missing.
    """
    spec, extra, tensors = bundle.mixture.spec, bundle.extra, bundle.tensors
    covariates = Covariates(tuple(_coding(entry) for entry in extra["covariates"]))
    gamma, p = tensors["coefficients"], len(covariates.columns)
    _require("coefficients", gamma, (spec.n_sources, p))
    rows = _rows(spec, tensors, p)
    starts = checked(tuple[float, ...], extra["starts"], "starts")
    found = Regression(
        mixture=bundle.mixture,
        covariates=covariates,
        coefficients=gamma,
        information=class_information(rows, gamma, bundle.mixture.cpts),
        log_likelihood=checked(float, extra["log_likelihood"], "log_likelihood"),
        n_rows=rows.total_weight,
        converged=checked(bool, extra["converged"], "converged"),
        n_iter=checked(int, extra["n_iter"], "n_iter"),
        start_log_likelihoods=starts,
        rows=rows,
        draws=_draws(spec, tensors, p),
    )
    _check(found)
    return found


def _coding(entry: Any) -> Coding:
    states = entry["states"]
    if not isinstance(states, list):
        raise FileError(f"expected states of a covariate as a list, found {shown(states)}")
    return typed(Coding, {"name": entry["name"]}, "covariates", states=tuple(states))


def _rows(spec: MixtureSpec, tensors: Any, p: int) -> CovariateRows:
    items, weights = tensors["rows/items"], tensors["rows/weights"]
    _require("weights of rows", weights, (len(weights),))
    _require("covariates of rows", tensors["rows/design"], (len(weights), p))
    cards = torch.tensor(spec.cards)
    whole = items.dtype in (torch.int8, torch.int16, torch.int32, torch.int64)
    if not whole or tuple(items.shape) != (len(weights), spec.n_variables) or not len(items):
        raise FileError(
            f"expected rows of {spec.n_variables} state numbers, found {items.dtype} of shape "
            f"{tuple(items.shape)}"
        )
    if bool(((items < -1) | (items >= cards)).any()) or not bool((weights > 0).all()):
        raise FileError("expected rows of states that the items have, each of positive weight")
    return CovariateRows(CellIndex(spec, items), tensors["rows/design"], weights)


def _draws(spec: MixtureSpec, tensors: Any, p: int) -> RegressionDraws | None:
    if "draws/coefficients" not in tensors:
        return None
    gamma = tensors["draws/coefficients"]
    _require("coefficients of draws", gamma, (len(gamma), spec.n_sources, p))
    tables = [tensors[f"draws/{i}"] for i in range(spec.n_variables + 1)]
    mixture = BayesNetMixture.from_tables(spec, tables)
    if mixture.batch_shape != (len(gamma),):
        raise FileError(
            f"expected {len(gamma)} mixtures of draws, found shape {tuple(mixture.batch_shape)}"
        )
    return RegressionDraws(gamma, mixture)


def _check(fit: Regression) -> None:
    """Refuse what rows and tables contradict."""
    spec = fit.spec
    if any(spec.parents) or fit.mixture.batch_shape or not fit.start_log_likelihoods:
        raise FileError("expected one mixture without edges, and where its starts ended")
    if bool((fit.coefficients[0] != 0).any()):
        raise FileError("expected coefficients of zero for the first source, found others")
    here = joint(fit.rows, fit.coefficients, fit.mixture.cpts).logsumexp(-1) @ fit.rows.weights
    sizes = mean_weights(fit.rows, fit.coefficients)
    near = abs(float(here) - fit.log_likelihood) <= ROUNDING * fit.n_rows
    if not near or float((sizes - fit.mixture.weights).abs().max()) > ROUNDING:
        raise FileError(
            f"expected the log-likelihood {float(here):.6f} and average weights of the rows, found "
            f"{fit.log_likelihood:.6f}, or others"
        )


def _require(what: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    fine = tuple(tensor.shape) == shape and tensor.dtype == torch.float64
    if not fine or not bool(tensor.isfinite().all()) or not math.prod(shape):
        raise FileError(
            f"expected {what} as finite numbers of shape {shape}, found {tensor.dtype} of shape "
            f"{tuple(tensor.shape)}"
        )
