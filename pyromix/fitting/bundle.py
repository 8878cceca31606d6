"""Fits on disk: a bundle of kind ``fit``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from os import PathLike
from typing import Any, TypeVar

from torch import Tensor

from pyromix.data.counts import Counts
from pyromix.data.intake_report import DataReport
from pyromix.errors import DataError, FileError, PyromixError
from pyromix.estimate.result import Ends
from pyromix.exact.information import Information
from pyromix.fitting.believe import check_fit
from pyromix.fitting.record import Fit
from pyromix.fitting.regression import Regression
from pyromix.fitting.regression_bundle import regression_of
from pyromix.fitting.stages import (
    check_vertices,
    stages_from_json,
    stages_of_first_version,
    stages_to_json,
)
from pyromix.fitting.typed import checked, typed
from pyromix.formats.bundle import REGRESSION, Bundle, read_bundle, write_bundle
from pyromix.formats.checkpoint import Step
from pyromix.formats.words import shown
from pyromix.identify.signal import Signal, Triple
from pyromix.model.arguments import flag, path_of
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.spec import MixtureSpec

F = TypeVar("F")

NUMBERS = ("n_rows", "log_likelihood", "reached_mass", "entropy")

# What incomplete or damaged fields end in, where no check of ours comes first.
_DAMAGE = (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)

NOT_FINITE = "float:"
"""Prefix of nan, inf and -inf in a manifest."""


def save(fit: Fit, path: str | PathLike[str], *, include_data: bool = True) -> None:
    """Write a fit as a ``.pyromix`` bundle, all or nothing; ``px.load`` reads it back.

    Args:
        fit: what to write.
        path: where; must end in ``.pyromix``.
        include_data: keep the distinct rows and weights it was fitted to.

    Raises:
        FileError: another ending, or the path cannot be written to.
        DataError: the data are wanted, but the fit was loaded without.
    """
    path, include_data = path_of(path), flag("include_data", include_data)
    if path.suffix != ".pyromix":
        raise FileError(
            f"{path}: a fit is saved as a bundle, so the name must end in .pyromix; "
            "px.write(fit.mixture, path) writes bif, xdsl and others"
        )
    tensors, extra = contents(fit, include_data=include_data)
    write_bundle(path, fit.mixture, kind="fit", extra=extra, tensors=tensors)


def contents(fit: Fit, *, include_data: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Everything of a fit but its mixture: tensors, and fields that JSON holds.

    Raises:
        DataError: the data are wanted, but the fit was loaded without.
    """
    # What the views show cannot be tested again without the table.
    held = include_data and fit.table is not None
    heard = None if held or fit.signal is None else asdict(fit.signal)
    tensors, extra = _contents(fit, heard)
    without = fit.exact or fit.course.moments_alone or fit.course.streamed
    if include_data and fit.table is None and not without:
        raise DataError(
            "this fit holds no table: it was saved with include_data=False; save it so again"
        )
    if held:
        extra["data"] = asdict(fit.counts.report)
        tensors |= {"rows": fit.counts.rows, "weights": fit.counts.weights}
    return tensors, extra


def step_of_fit(fit: Fit) -> Step:
    """Return a fit as a step of a checkpoint, without its table; `fit_of_step` reads it."""
    tensors, fields = _contents(fit, None)
    tables = zip(_table_names("mixture", fit.spec), fit.mixture.tables, strict=True)
    return {**tensors, **dict(tables)}, fields


def fit_of_step(
    spec: MixtureSpec, counts: Counts, tensors: Mapping[str, Tensor], fields: Mapping[str, Any]
) -> Fit:
    """Return the fit of a step of a checkpoint, with the table that it was made of.

    Args:
        spec: of the fit.
        counts: the table.
        tensors: of the step.
        fields: of the step.

    Raises:
        FileError: they are damaged, or not of this table.
        KeyError, TypeError: fields are missing, or there are others.
    """
    tensors = {name: tensor.to(counts.device) for name, tensor in tensors.items()}
    tables = [tensors[name] for name in _table_names("mixture", spec)]
    bundle = Bundle("fit", BayesNetMixture.from_tables(spec, tables), fields, tensors)
    fit = replace(fit_of(bundle), table=counts.with_spec(spec))
    check_fit(fit)
    return fit


def _contents(
    fit: Fit, heard: Mapping[str, Any] | None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Everything of a fit but its mixture and its table: tensors, and fields that JSON holds."""
    extra = finite(
        {
            **{name: getattr(fit, name) for name in NUMBERS},
            "learned": fit.chosen_prior.counts.learned,
            "stages": stages_to_json(fit),
            "heard": heard,
        }
    )
    prior = fit.chosen_prior.counts
    tensors: dict[str, Tensor] = {f"row_masses/{v}": m for v, m in enumerate(fit.row_masses)}
    tensors |= zip(_table_names("prior", fit.spec), prior.tables, strict=True)
    if fit.sampled is not None:
        drawn = fit.sampled.mixture.tables
        tensors |= zip(_table_names("draws", fit.spec), drawn, strict=True)
    if fit.ends is not None:
        tensors |= zip(_table_names("ends", fit.spec), fit.ends.mixtures.tables, strict=True)
        tensors |= {"ends/objectives": fit.ends.objectives, "ends/converged": fit.ends.converged}
    if fit.summed is not None:
        tensors |= {"summed/values": fit.summed.values, "summed/basis": fit.summed.basis}
    return tensors, extra


def load(path: str | PathLike[str]) -> Fit | Regression:
    """Read a fit or a regression that ``save`` wrote, by this version or an older one.

    Raises:
        FileError: the path is missing or damaged, or holds a mixture without a fit.
    """
    bundle = read_bundle(path)
    if bundle.kind not in ("fit", REGRESSION):
        raise FileError(f"{path}: expected a fit, found a {bundle.kind}; px.read(path) reads it")
    if bundle.kind == REGRESSION:
        return undamaged(regression_of, path, bundle)
    return undamaged(fit_of, path, bundle)


def undamaged(read: Callable[[Bundle], F], path: str | PathLike[str], bundle: Bundle) -> F:
    """Return what a bundle holds, whatever a damaged one raises as a FileError."""
    try:
        return read(bundle)
    except (*_DAMAGE, PyromixError) as error:
        raise FileError(
            f"{path}: the fields of the fit are incomplete or damaged: {error}"
        ) from error


def fit_of(bundle: Bundle) -> Fit:
    """The fit that a bundle holds.

    Raises:
        FileError: fields are damaged.
        LookupError, TypeError, ValueError: the same.
    """
    spec, tensors = bundle.mixture.spec, bundle.tensors
    extra = restored(dict(bundle.extra))
    table = None
    if "data" in extra:
        report = typed(DataReport, extra["data"], "data")
        table = Counts(spec, tensors["rows"], tensors["weights"], report)
    counts = PseudoCounts.from_tables(
        [tensors[name] for name in _table_names("prior", spec)],
        checked(tuple[float, ...], extra.get("learned", ()), "learned"),
    )
    read = stages_from_json if "stages" in extra else stages_of_first_version
    fit = Fit(
        mixture=bundle.mixture,
        row_masses=tuple(tensors[f"row_masses/{v}"] for v in range(spec.n_variables)),
        table=table,
        ends=_ends(bundle),
        heard=_heard(extra.get("heard"), spec),
        summed=_summed(bundle),
        **{name: checked(float, extra[name], name) for name in NUMBERS},
        **read(extra, spec, counts, _draws(bundle)),
    )
    check_fit(fit)
    return fit


def _draws(bundle: Bundle) -> BayesNetMixture | None:
    spec, found = bundle.mixture.spec, bundle.tensors
    if "draws/weights" not in found:
        return None
    return BayesNetMixture.from_tables(spec, [found[name] for name in _table_names("draws", spec)])


def _ends(bundle: Bundle) -> Ends | None:
    spec, found = bundle.mixture.spec, bundle.tensors
    if "ends/objectives" not in found:
        return None
    tables = [found[name] for name in _table_names("ends", spec)]
    mixtures = BayesNetMixture.from_tables(spec, tables)
    return Ends(mixtures, found["ends/objectives"], found["ends/converged"].bool())


def _summed(bundle: Bundle) -> Information | None:
    found, p = bundle.tensors, bundle.mixture.spec.n_parameters
    if "summed/values" not in found:
        return None
    values, basis = found["summed/values"], found["summed/basis"]
    if values.shape != (p,) or basis.shape != (p, p):
        raise FileError(f"summed: expected information of {p} parameters, found {shown(basis)}")
    return Information(bundle.mixture, values, basis)


def _heard(fields: Mapping[str, Any] | None, spec: MixtureSpec) -> Signal | None:
    if fields is None:
        return None
    triples = tuple(typed(Triple, triple, "heard.triples") for triple in fields["triples"])
    if not triples:
        raise FileError("heard.triples: expected at least one, found none")
    plain = {name: value for name, value in fields.items() if name != "triples"}
    signal = typed(Signal, plain, "heard", triples=triples)
    for triple in triples:
        check_vertices(spec, (*(v for view in triple.views for v in view), *triple.given))
    check_vertices(spec, (v for atom in signal.atoms for v in atom))
    p_values = (*signal.atom_p_values, *(p for t in triples for p in t.p_values))
    if not all(0 <= p <= 1 for p in p_values):
        raise FileError(f"heard: expected p-values in 0..1, found {shown(p_values)}")
    return signal


def _table_names(what: str, spec: MixtureSpec) -> list[str]:
    """Names of a set of tables, in their order."""
    return [f"{what}/weights", *(f"{what}/{v}" for v in range(spec.n_variables))]


def finite(value: Any) -> Any:
    """Numbers that JSON cannot hold, at any depth, as texts."""
    if isinstance(value, Mapping):
        return {name: finite(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return f"{NOT_FINITE}{value}"
    return value


def restored(value: Any) -> Any:
    """The inverse of ``finite``; sequences stay lists."""
    if isinstance(value, Mapping):
        return {name: restored(v) for name, v in value.items()}
    if isinstance(value, list):
        return [restored(v) for v in value]
    if isinstance(value, str) and value.startswith(NOT_FINITE):
        return float(value.removeprefix(NOT_FINITE))
    return value
