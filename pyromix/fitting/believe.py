"""What of a fit can be held against its mixture and its table, before anybody asks it."""

from __future__ import annotations

import math

from torch import Tensor

from pyromix.errors import FileError
from pyromix.exact.likelihood import log_prob
from pyromix.fitting.record import Fit
from pyromix.model.prior import PseudoCounts

ROUNDING = 1e-6
"""Relative to the number of rows: by how much sums over them may differ between machines."""

PATTERNS_AT_ONCE = 2**16
"""Distinct rows whose likelihood is worked out together."""


def check_fit(fit: Fit) -> None:
    """Refuse a fit that says of itself what its mixture and its table contradict.

    Raises:
        FileError: names the number, what it must be, and what was found.
    """
    if fit.mixture.batch_shape:
        raise FileError(
            f"expected one mixture, found a batch of shape {tuple(fit.mixture.batch_shape)}"
        )
    _check_numbers(fit)
    _check_tables(fit)
    _check_batches(fit)
    if fit.table is not None:
        _check_table(fit)


def _check_numbers(fit: Fit) -> None:
    _require("n_rows", "positive", fit.n_rows, fit.n_rows > 0)
    # In nats of discrete data, and of a population nan where its joint table is too large.
    unknown = fit.exact or fit.course.moments_alone
    low, slack = fit.log_likelihood, ROUNDING * (1.0 if fit.exact else fit.n_rows)
    fine = low <= slack or (unknown and math.isnan(low))
    _require("log_likelihood", "a log-probability, at most zero", low, fine)
    most = math.log(fit.spec.n_sources) * (1.0 if fit.exact else fit.n_rows)
    fine = -slack <= fit.entropy <= most + slack or (unknown and math.isnan(fit.entropy))
    _require("entropy", f"in 0..{most:.6g} (rows times log k)", fit.entropy, fine)
    mass = fit.reached_mass
    _require("reached_mass", "finite and not negative", mass, 0 <= mass < math.inf)
    climb = fit.climb
    _require("n_iter", "at least zero", climb.n_iter, climb.n_iter >= 0)
    _require(
        "n_best",
        f"among 0..{len(climb.log_likelihoods)}, the number of starts",
        climb.n_best,
        0 <= climb.n_best <= len(climb.log_likelihoods),
    )


def _check_tables(fit: Fit) -> None:
    spec, prior = fit.spec, fit.prior
    shapes = [(spec.n_sources,), *(spec.cpt_shape(v) for v in range(spec.n_variables))]
    names = [spec.source, *spec.variables]
    for name, table, shape in zip(names, prior.tables, shapes, strict=True):
        _check_tensor(f"the prior of {name!r}", table, shape, fit)
    for name, masses, shape in zip(spec.variables, fit.row_masses, shapes[1:], strict=True):
        _check_tensor(f"the row masses of {name!r}", masses, shape[:-1], fit)
    _check_learned(prior, spec.n_variables)


def _check_learned(prior: PseudoCounts, n: int) -> None:
    learned = prior.learned
    fine = len(learned) in (0, n) and all(0 <= x < math.inf for x in learned)
    _require("learned", f"{n} numbers, none negative, or none at all", list(learned), fine)


def _check_tensor(what: str, tensor: Tensor, shape: tuple[int, ...], fit: Fit) -> None:
    """A tensor of numbers that are finite and not negative."""
    expected = fit.mixture.weights.dtype
    if tuple(tensor.shape) != shape or tensor.dtype != expected:
        raise FileError(
            f"{what}: expected shape {shape} of {expected}, found {tuple(tensor.shape)} of "
            f"{tensor.dtype}"
        )
    if not bool((tensor.isfinite() & (tensor >= 0)).all()):
        raise FileError(f"{what}: expected finite numbers, none negative, found others")


def _check_batches(fit: Fit) -> None:
    """Draws, and the ends of starts, are batches of mixtures."""
    if fit.sampled is not None and len(fit.sampled.mixture.batch_shape) != 1:
        raise FileError(
            "draws: expected a batch of mixtures, found batch shape "
            f"{tuple(fit.sampled.mixture.batch_shape)}"
        )
    if (ends := fit.ends) is not None:
        batch = tuple(ends.mixtures.batch_shape)
        found = (tuple(ends.objectives.shape), tuple(ends.converged.shape))
        if len(batch) != 1 or not batch[0] or found != (batch, batch):
            raise FileError(
                "ends: expected mixtures, objectives and converged of one length, found shapes "
                f"{batch}, {found[0]}, {found[1]}"
            )
        if not ends.objectives.is_floating_point() or bool(ends.objectives.isnan().any()):
            raise FileError("ends: expected objectives that are numbers, found others")


def _check_table(fit: Fit) -> None:
    """Sizes and the likelihood are those of the rows that came with the fit."""
    counts = fit.counts
    if counts.rows.is_floating_point() or counts.rows.is_complex():
        raise FileError(f"rows: expected whole numbers of states, found {counts.rows.dtype}")
    report, total = counts.report, float(counts.weights.sum())
    _require(
        "data.n_variables",
        f"{fit.spec.n_variables}, as in the model",
        report.n_variables,
        report.n_variables == fit.spec.n_variables,
    )
    row = report.row_weight
    _require("data.row_weight", "finite and positive", row, 0 < row < math.inf)
    sizes = ("n_rows", "n_patterns", "n_missing_cells", "n_dropped_rows", "n_zero_weight_rows")
    for name in sizes:
        _require(f"data.{name}", "at least zero", getattr(report, name), getattr(report, name) >= 0)
    if not any(math.isclose(fit.n_rows, n, rel_tol=ROUNDING) for n in (total, total / row)):
        raise FileError(
            f"n_rows: expected {total:.10g}, the weight of the rows in the bundle, found "
            f"{fit.n_rows!r}"
        )
    scale = fit.n_rows / total
    blocks = zip(
        counts.rows.split(PATTERNS_AT_ONCE), counts.weights.split(PATTERNS_AT_ONCE), strict=True
    )
    found = scale * sum(float(w @ log_prob(fit.mixture, rows)) for rows, w in blocks)
    if not abs(found - fit.log_likelihood) <= ROUNDING * max(fit.n_rows, abs(found)):
        raise FileError(
            f"log_likelihood: expected {found:.10g} nats, that of the rows in the bundle, found "
            f"{fit.log_likelihood!r}"
        )


def _require(what: str, expected: str, found: object, holds: bool) -> None:
    if not holds:
        raise FileError(f"{what}: expected {expected}, found {found!r}")
