"""A fit to a table with numbers in three lines, and the law of each number in each source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyromix.model.printed import Printed

if TYPE_CHECKING:
    from pyromix.fitting.mixed.record import MixedRecord


def printed(fit: MixedRecord) -> Printed:
    """Return three lines: size, fit, sources."""
    spec = fit.spec
    weights = ", ".join(f"{w:.3f}" for w in fit.mixture.weights.tolist())
    n_starts = len(fit.starts)
    draws = "" if fit.sampled is None else f"   {fit.sampled.n} draws"
    if fit.sampled is not None and (chains := fit.sampled.sampling) is not None:
        draws += f" (R-hat {chains.r_hat:.3f}, {chains.effective:.0f} effective)"
    numbers = ", ".join(f"{spec.name(v)} ({spec.kind(v)})" for v in spec.numeric)
    bins = "the one from bins among them" if fit.bins_agree else "not by the one from bins"
    return Printed(
        f"MixedFit of {spec.n_variables} variables, {len(spec.numeric)} of them numbers, "
        f"{spec.n_sources} sources ({fit.n_parameters} parameters, {fit.n_rows:g} rows)",
        lines=(
            f"numbers: {numbers}",
            f"logL/row {fit.log_likelihood_per_row:.4f}   "
            f"best of {n_starts} start{'s' * (n_starts != 1)} reached by {fit.n_best}, {bins}   "
            f"{'converged' if fit.converged else 'NOT converged'} after {fit.n_iter} iterations",
            f"P({spec.source}) = [{weights}]{draws}",
        ),
    )


def in_numbers(fit: MixedRecord) -> dict[str, Any]:
    """What ``str(fit)`` says and more, as plain numbers and texts, ready for JSON."""
    spec = fit.spec
    return {
        "n_variables": spec.n_variables,
        "kinds": {spec.name(v): str(spec.kind(v)) for v in range(spec.n_variables)},
        "n_sources": spec.n_sources,
        "n_parameters": fit.n_parameters,
        "n_rows": fit.n_rows,
        "log_likelihood": fit.log_likelihood,
        "aic": fit.aic,
        "bic": fit.bic,
        "icl": fit.icl,
        "weights": fit.mixture.weights.tolist(),
        "n_init": len(fit.starts),
        "n_best": fit.n_best,
        "bins_agree": fit.bins_agree,
        "n_draws": 0 if fit.sampled is None else fit.sampled.n,
        "converged": fit.converged,
        "n_iter": fit.n_iter,
        "notes": list(fit.said),
    }
