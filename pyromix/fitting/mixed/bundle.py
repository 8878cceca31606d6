"""Fits with numbers on disk: the bundle of the fit in bins, and the numbers beside it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from pyromix.data.records import Records
from pyromix.errors import FileError
from pyromix.estimate.mixed.prior import MixedPrior
from pyromix.estimate.mixed.step import look
from pyromix.fitting import bundle as plain
from pyromix.fitting.believe import ROUNDING
from pyromix.fitting.mixed.record import MixedDraws, MixedRecord, Reached
from pyromix.fitting.record import Fit
from pyromix.fitting.regression import Regression
from pyromix.fitting.stages import note_from_json, note_to_json
from pyromix.fitting.typed import checked, typed
from pyromix.formats.bundle import WITH_NUMBERS, Bundle, read_bundle, write_bundle
from pyromix.model.arguments import flag, path_of
from pyromix.model.cpd import TableCPD
from pyromix.model.families.hurdle import HurdleCPD, HurdleSums
from pyromix.model.families.layout import Layout, Numbers
from pyromix.model.kind import Kind, Unit
from pyromix.model.mixed import MixedMixture, MixedSpec
from pyromix.posterior.draws import SamplingReport

FIELDS = "numbers"
"""Field of a manifest, and first part of the names of tensors, of what is not of the fit in bins.
"""

TOLD = ("log_likelihood", "n_rows", "entropy")


def save(fit: MixedRecord, path: str | PathLike[str], *, include_data: bool = True) -> None:
    """Write a fit as a ``.pyromix`` bundle, all or nothing; ``px.load`` reads it back.

    Args:
        fit: what to write; the fit in bins goes with it.
        path: where; must end in ``.pyromix``.
        include_data: keep the rows and weights it was fitted to.

    Raises:
        FileError: another ending, or the path cannot be written to.
        DataError: the data are wanted, but the fit was loaded without.
    """
    path, include_data = path_of(path), flag("include_data", include_data)
    if path.suffix != ".pyromix":
        raise FileError(
            f"{path}: a fit is saved as a bundle, so the name must end in .pyromix; no other "
            "format holds numbers and hidden sources"
        )
    tensors, extra = plain.contents(fit.binned, include_data=include_data)
    own = leaves(fit.mixture.weights, "weights")
    for v, cpd in enumerate(fit.mixture.cpds):
        own |= leaves(cpd, f"cpds/{v}")
        own |= leaves(fit.prior.statistics[v], f"prior/{v}")
    own |= leaves(fit.prior.weights, "prior/weights")
    if fit.sampled is not None:
        own["draws"] = fit.sampled.points
    if include_data:
        records = fit.records
        own["rows/weights"] = records.weights
        own |= {f"rows/{v}": column for v, column in enumerate(records.columns)}
    told = {
        **{name: getattr(fit, name) for name in TOLD},
        "kinds": [str(kind) for kind in fit.spec.kinds],
        "units": [asdict(unit) for unit in fit.mixture.units],
        "edges": {name: list(edges) for name, edges in fit.edges.items()},
        "converged": fit.converged,
        "n_iter": fit.n_iter,
        "starts": [asdict(start) for start in fit.starts],
        "notes": [note_to_json(note) for note in fit.notes],
        "random_state": fit.random_state,
        "draws": _draws_told(fit.sampled),
    }
    tensors |= {f"{FIELDS}/{name}": tensor for name, tensor in own.items()}
    extra = {**extra, FIELDS: plain.finite(told)}
    write_bundle(path, fit.binned.mixture, kind=WITH_NUMBERS, extra=extra, tensors=tensors)


def load(path: str | PathLike[str]) -> Fit | MixedRecord | Regression:
    """Read a fit that ``save`` wrote, with numbers or without, by this version or an older one.

    Raises:
        FileError: the path is missing or damaged, or holds a mixture without a fit.
    """
    bundle = read_bundle(path)
    if bundle.kind == WITH_NUMBERS:
        return plain.undamaged(_record_of, path, bundle)
    return plain.load(path)


def leaves(found: Any, name: str) -> dict[str, Tensor]:
    """Tensors of a distribution, or of statistics, to any depth; nothing for None."""
    if found is None:
        return {}
    if isinstance(found, Tensor):
        return {name: found}
    nested = (
        leaves(value, f"{name}/{field.name}")
        for field in fields(found)
        if isinstance(value := getattr(found, field.name), Tensor) or is_dataclass(value)
    )
    return {place: tensor for part in nested for place, tensor in part.items()}


def _record_of(bundle: Bundle) -> MixedRecord:
    extra, first = plain.restored(dict(bundle.extra)), f"{FIELDS}/"
    told = checked(Mapping, extra.pop(FIELDS), FIELDS)
    inside = {n: t for n, t in bundle.tensors.items() if not n.startswith(first)}
    own = {n.removeprefix(first): t for n, t in bundle.tensors.items() if n.startswith(first)}
    coarse = plain.fit_of(replace(bundle, kind="fit", extra=extra, tensors=inside))
    kinds = tuple(Kind(checked(str, kind, "kinds")) for kind in told["kinds"])
    spec = MixedSpec(coarse.spec, kinds)
    units = tuple(typed(Unit, unit, "units") for unit in told["units"])
    blank = MixedMixture(
        spec, units, own["weights"], tuple(spec.standard_cpd(v) for v in range(spec.n_variables))
    )
    cpds = tuple(_filled(cpd, own, f"cpds/{v}") for v, cpd in enumerate(blank.cpds))
    prior = MixedPrior(
        _like(blank.weights, own["prior/weights"], "prior/weights"),
        tuple(_sums_of(cpd, own, f"prior/{v}") for v, cpd in enumerate(cpds)),
    )
    table = None
    if "rows/weights" in own:
        columns = tuple(own[f"rows/{v}"] for v in range(spec.n_variables))
        table = Records(kinds, units, columns, own["rows/weights"])
    edges = {
        name: checked(tuple[float, ...], cuts, f"edges of {name!r}")
        for name, cuts in told["edges"].items()
    }
    found = MixedRecord(
        mixture=replace(blank, cpds=cpds),
        prior=prior,
        binned=coarse,
        edges=edges,
        table=table,
        sampled=_draws_of(own.get("draws"), told.get("draws")),
        converged=checked(bool, told["converged"], "converged"),
        n_iter=checked(int, told["n_iter"], "n_iter"),
        starts=tuple(typed(Reached, start, "starts") for start in told["starts"]),
        notes=tuple(note_from_json(note) for note in told["notes"]),
        random_state=checked(str, told.get("random_state", ""), "random_state"),
        **{name: checked(float, told[name], name) for name in TOLD},
    )
    _check(found)
    return found


def _draws_told(drawn: MixedDraws | None) -> dict[str, Any] | None:
    """What is to be known of draws beside them."""
    if drawn is None:
        return None
    report = None if drawn.sampling is None else asdict(drawn.sampling)
    return {"method": drawn.method, "size": drawn.size, "sampling": report}


def _draws_of(points: Tensor | None, told: Mapping[str, Any] | None) -> MixedDraws | None:
    """The same from a bundle; older ones have draws of the bootstrap, and say nothing of them."""
    if points is None:
        return None
    if told is None:
        return MixedDraws(points, "bootstrap", f"{len(points)}")
    report = told["sampling"]
    return MixedDraws(
        points,
        checked(str, told["method"], "draws.method"),
        checked(str, told["size"], "draws.size"),
        None if report is None else typed(SamplingReport, report, "draws.sampling"),
    )


def _filled(blank: Any, own: Mapping[str, Tensor], name: str) -> Any:
    """A distribution, or statistics, whose tensors are those of the bundle."""
    found = {}
    for field in fields(blank):
        value, place = getattr(blank, field.name), f"{name}/{field.name}"
        if isinstance(value, Tensor):
            found[field.name] = _like(value, own[place], place)
        elif is_dataclass(value) and not isinstance(value, type) and leaves(value, ""):
            found[field.name] = _filled(value, own, place)
    if bool((found.get("variances", torch.ones(1)) <= 0).any()):
        raise FileError(f"{name}: expected variances above zero, found others")
    return replace(blank, **found)


def _like(blank: Tensor, found: Tensor, name: str) -> Tensor:
    if found.shape != blank.shape or found.dtype != blank.dtype:
        raise FileError(
            f"{name}: expected shape {tuple(blank.shape)} of {blank.dtype}, found "
            f"{tuple(found.shape)} of {found.dtype}"
        )
    if not bool(found.isfinite().all()):
        raise FileError(f"{name}: expected finite numbers, found others")
    return found


def _sums_of(cpd: Any, own: Mapping[str, Tensor], name: str) -> Any:
    """Statistics of rows seen before, in the shapes of those of no rows; None for none."""
    if isinstance(cpd, HurdleCPD):
        gate = _sums_of(cpd.gate, own, f"{name}/gate")
        return HurdleSums(gate, _sums_of(cpd.size, own, f"{name}/size"))
    if not any(place == name or place.startswith(f"{name}/") for place in own):
        return None
    layout = Layout(tuple(cpd.values.shape[1:-1])) if isinstance(cpd, TableCPD) else cpd.layout
    parents = [
        torch.zeros(0, dtype=torch.float64 if isinstance(p, Numbers) else torch.int64)
        for p in layout.parents
    ]
    shares = torch.zeros(0, cpd.n_sources, dtype=torch.float64)
    blank = cpd.statistics(torch.zeros(0, dtype=torch.float64), parents, shares)
    if isinstance(blank, Tensor):
        return _like(blank, own[name], name)
    return _filled(blank.pooled() if cpd.shared else blank, own, name)


def _check(fit: MixedRecord) -> None:
    """Refuse a fit that says of itself what its mixture and its table contradict.

    Raises:
        FileError: names what, what it must be, and what was found.
    """
    spec = fit.spec
    names = {spec.name(v) for v in spec.numeric}
    if set(fit.edges) != names or not all(
        cuts and all(a < b for a, b in itertools.pairwise(cuts)) for cuts in fit.edges.values()
    ):
        raise FileError(f"edges: expected rising numbers for each of {sorted(names)}")
    if any(not unit.scale > 0 for unit in fit.mixture.units):
        raise FileError("units: expected scales above zero, found others")
    if not fit.starts:
        raise FileError("starts: expected at least one, found none")
    if not math.isfinite(float(fit.prior.log_density(fit.mixture))):
        raise FileError("prior: expected a finite density at the estimate, found none")
    if fit.sampled is not None and fit.sampled.points.shape[1:] != (fit.n_parameters,):
        raise FileError(
            f"draws: expected rows of {fit.n_parameters} numbers, found shape "
            f"{tuple(fit.sampled.points.shape)}"
        )
    if fit.table is not None:
        _check_table(fit, fit.table)


@torch.no_grad()
def _check_table(fit: MixedRecord, records: Records) -> None:
    """The likelihood is that of the rows that came with the fit."""
    for v, column in enumerate(records.columns):
        numeric, most = fit.spec.kind(v).numeric, fit.spec.binned.card(v)
        fine = column.dtype == (torch.float64 if numeric else torch.int64)
        if not fine or not (numeric or bool(((column >= -1) & (column < most)).all())):
            raise FileError(
                f"rows of {fit.spec.name(v)!r}: expected cells of its kind, found others"
            )
    found = float(records.log_slopes() @ records.weights)
    for part in records.parts():
        found += float(look(fit.mixture, part).log_prob() @ part.weights)
    for name, told, wanted in (
        ("n_rows", fit.n_rows, records.total_weight),
        ("log_likelihood", fit.log_likelihood, found),
    ):
        if not abs(told - wanted) <= ROUNDING * max(fit.n_rows, abs(wanted)):
            raise FileError(
                f"{name}: expected {wanted:.10g}, that of the rows in the bundle, found {told!r}"
            )
