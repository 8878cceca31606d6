"""Fits on disk: a bundle of kind ``fit``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from pyromix.data.counts import Counts
from pyromix.data.intake_report import DataReport
from pyromix.errors import FileError
from pyromix.fitting.journal import FitDiagnostics
from pyromix.fitting.record import Fit
from pyromix.formats.bundle import Bundle, read_bundle, write_bundle
from pyromix.identify.stage import MomentStage, RunReport
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.posterior.draws import SamplingReport

NUMBERS = ("n_rows", "log_likelihood", "converged", "n_iter", "reached_mass", "entropy")

NOT_FINITE = "float:"
"""Prefix of nan, inf and -inf in a manifest."""


def save(fit: Fit, path: str | PathLike[str], *, include_data: bool = True) -> None:
    """Write a fit, all or nothing.

    Args:
        fit: what to write.
        path: where; must end in ``.pyromix``.
        include_data: keep the distinct rows and weights it was fitted to.

    Raises:
        FileError: another ending, or the path cannot be written to.
        DataError: the data are wanted, but the fit was loaded without.
    """
    path = Path(path)
    if path.suffix != ".pyromix":
        raise FileError(
            f"{path}: a fit is saved as a bundle, so the name must end in .pyromix; "
            "px.write(fit.mixture, path) writes bif, xdsl and others"
        )
    extra: dict[str, Any] = {name: getattr(fit, name) for name in NUMBERS}
    extra["diagnostics"] = asdict(fit.diagnostics)
    extra["learned"] = fit.prior.learned
    extra = _finite(extra)
    tensors: dict[str, Tensor] = {f"row_masses/{v}": m for v, m in enumerate(fit.row_masses)}
    tensors |= {f"prior/{v}": table for v, table in enumerate(fit.prior.cpts)}
    tensors["prior/weights"] = fit.prior.weights
    for draws in fit.drawn:
        tensors |= {f"draws/{v}": cpt for v, cpt in enumerate(draws.cpts)}
        tensors["draws/weights"] = draws.weights
    if include_data and fit.stored:
        extra["data"] = asdict(fit.counts.report)
        tensors |= {"rows": fit.counts.rows, "weights": fit.counts.weights}
    write_bundle(path, fit.mixture, kind="fit", extra=extra, tensors=tensors)


def load(path: str | PathLike[str]) -> Fit:
    """Read a fit that ``MixtureFit.save`` wrote.

    Raises:
        FileError: the path is missing or damaged, or holds a mixture without a fit.
    """
    bundle = read_bundle(path)
    if bundle.kind != "fit":
        raise FileError(f"{path}: expected a fit, found a {bundle.kind}; px.read(path) reads it")
    try:
        return _fit_of(bundle)
    except (KeyError, TypeError) as error:
        raise FileError(f"{path}: the fields of the fit are incomplete: {error}") from error


def _fit_of(bundle: Bundle) -> Fit:
    extra: Mapping[str, Any] = bundle.extra
    stored: tuple[Counts, ...] = ()
    if "data" in extra:
        stored = (
            Counts(
                bundle.mixture.spec,
                bundle.tensors["rows"],
                bundle.tensors["weights"],
                DataReport(**_tuples(extra["data"])),
            ),
        )
    numbers = _restored(dict(extra))
    diagnostics = _tuples(numbers["diagnostics"])
    diagnostics["moments"] = tuple(_stage(stage) for stage in diagnostics["moments"])
    sampling = diagnostics.get("sampling", ())  # bundles of 0.1 have none
    diagnostics["sampling"] = tuple(SamplingReport(**report) for report in sampling)
    return Fit(
        mixture=bundle.mixture,
        row_masses=tuple(
            bundle.tensors[f"row_masses/{v}"] for v in range(bundle.mixture.spec.n_variables)
        ),
        diagnostics=FitDiagnostics(**diagnostics),
        prior=PseudoCounts(
            bundle.tensors["prior/weights"],
            tuple(bundle.tensors[f"prior/{v}"] for v in range(bundle.mixture.spec.n_variables)),
            tuple(numbers.get("learned", ())),
        ),
        stored=stored,
        drawn=_draws(bundle),
        **{name: numbers[name] for name in NUMBERS},
    )


def _draws(bundle: Bundle) -> tuple[BayesNetMixture, ...]:
    spec, found = bundle.mixture.spec, bundle.tensors
    if "draws/weights" not in found:
        return ()
    cpts = tuple(found[f"draws/{v}"] for v in range(spec.n_variables))
    return (BayesNetMixture(spec, found["draws/weights"], cpts),)


def _stage(fields: Mapping[str, Any]) -> MomentStage:
    runs = tuple(RunReport(**_tuples(run)) for run in fields["runs"])
    return MomentStage(**{**_tuples(fields), "runs": runs})


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    """JSON fields with lists, to any depth, as the tuples they were."""

    def frozen(value: Any) -> Any:
        return tuple(map(frozen, value)) if isinstance(value, list) else value

    return {name: frozen(value) for name, value in fields.items()}


def _finite(value: Any) -> Any:
    """Numbers that JSON cannot hold, at any depth, as texts."""
    if isinstance(value, Mapping):
        return {name: _finite(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return f"{NOT_FINITE}{value}"
    return value


def _restored(value: Any) -> Any:
    """The inverse of ``_finite``; sequences stay lists."""
    if isinstance(value, Mapping):
        return {name: _restored(v) for name, v in value.items()}
    if isinstance(value, list):
        return [_restored(v) for v in value]
    if isinstance(value, str) and value.startswith(NOT_FINITE):
        return float(value.removeprefix(NOT_FINITE))
    return value
