"""A fit in three lines, and as plain numbers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyromix.fitting.record import Fit


def in_lines(fit: Fit) -> str:
    """Size, fit, sources."""
    spec, found = fit.spec, fit.diagnostics
    starts = len(found.start_log_likelihoods)
    moments = " (one from moments)" if "moments" in found.method else ""
    weights = ", ".join(f"{w:.3f}" for w in fit.mixture.weights.tolist())
    draws = f"   {fit.draws.batch_shape[0]} draws" if fit.drawn else ""
    sampled = "".join(
        f" (R-hat {s.r_hat:.3f}, {s.effective:.0f} effective)" for s in found.sampling
    )
    return (
        f"MixtureFit of {spec.n_variables} variables, {spec.n_sources} sources "
        f"({fit.n_parameters} parameters, {fit.n_rows:g} rows)\n"
        f"logL/row {fit.log_likelihood_per_row:.4f}   "
        f"best of {starts} starts{moments} reached by {found.n_best}   "
        f"{'converged' if fit.converged else 'NOT converged'} after {fit.n_iter} iterations\n"
        f"P({spec.source}) = [{weights}]   entropy R2 {fit.entropy_r2:.2f}   "
        f"prior {found.prior}{draws}{sampled}"
    )


def in_numbers(fit: Fit) -> dict[str, Any]:
    """The same, ready for JSON."""
    return {
        "method": fit.diagnostics.method,
        "n_variables": fit.spec.n_variables,
        "n_sources": fit.spec.n_sources,
        "n_parameters": fit.n_parameters,
        "n_rows": fit.n_rows,
        "log_likelihood": fit.log_likelihood,
        "aic": fit.aic,
        "bic": fit.bic,
        "icl": fit.icl,
        "entropy_r2": fit.entropy_r2,
        "weights": fit.mixture.weights.tolist(),
        "prior": fit.diagnostics.prior,
        "n_init": len(fit.diagnostics.start_log_likelihoods),
        "n_best": fit.diagnostics.n_best,
        "n_draws": fit.draws.batch_shape[0] if fit.drawn else 0,
        "sampling": [asdict(report) for report in fit.diagnostics.sampling],
        "converged": fit.converged,
        "n_iter": fit.n_iter,
        "notes": list(fit.diagnostics.notes),
    }
