"""A fit in three lines, and as plain numbers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pyromix.model.printed import Printed

if TYPE_CHECKING:
    from pyromix.fitting.record import Fit


def printed(fit: Fit) -> Printed:
    """Return three lines: size, fit, sources."""
    spec, climb = fit.spec, fit.climb
    weights = ", ".join(f"{w:.3f}" for w in fit.mixture.weights.tolist())
    draws = "" if fit.sampled is None else f"   {fit.sampled.n} draws"
    if fit.sampled is not None and (chains := fit.sampled.sampling) is not None:
        draws += f" (R-hat {chains.r_hat:.3f}, {chains.effective:.0f} effective)"
    return Printed(
        f"MixtureFit of {spec.n_variables} variables, {spec.n_sources} sources "
        f"({fit.n_parameters} parameters, {fit.n_rows:g} rows)",
        lines=(
            f"logL/row {fit.log_likelihood_per_row:.4f}   "
            f"best of {starts_in_words(fit)} reached by {climb.n_best}   "
            f"{'converged' if fit.converged else 'NOT converged'} after {fit.n_iter} iterations",
            f"P({spec.source}) = [{weights}]   entropy R2 {fit.entropy_r2:.2f}   "
            f"prior {fit.chosen_prior.words}{draws}",
        ),
    )


def starts_in_words(fit: Fit) -> str:
    """E.g. ``20 starts``, ``5 starts (one from moments)``, ``5 starts (the best of 40 raced)``."""
    climb, said = fit.climb, []
    n = len(climb.log_likelihoods)
    first = 1 if "moments" in fit.course.ran else 0
    if first:
        said.append("one from moments")
    if climb.n_raced:
        alone = f"{n - first} of" if first else "the best of"
        said.append(f"{alone} {n - first + climb.n_raced} raced")
    in_brackets = f" ({', '.join(said)})" if said else ""
    return f"{n} start{'s' * (n != 1)}{in_brackets}"


def in_numbers(fit: Fit) -> dict[str, Any]:
    """What ``str(fit)`` says and more, as plain numbers and texts, ready for JSON."""
    found = fit.diagnostics
    return {
        "method": found.method,
        "n_variables": fit.spec.n_variables,
        "n_sources": fit.spec.n_sources,
        "n_parameters": fit.n_parameters,
        "n_rows": fit.n_rows,
        "log_likelihood": fit.log_likelihood,
        "aic": fit.aic,
        "bic": fit.bic,
        "caic": fit.caic,
        "sabic": fit.sabic,
        "icl": fit.icl,
        "entropy_r2": fit.entropy_r2,
        "weights": fit.mixture.weights.tolist(),
        "prior": found.prior,
        "n_init": len(found.start_log_likelihoods),
        "n_best": found.n_best,
        "n_raced": fit.climb.n_raced,
        "n_draws": 0 if fit.sampled is None else fit.sampled.n,
        "sampling": [asdict(report) for report in found.sampling],
        "converged": fit.converged,
        "n_iter": fit.n_iter,
        "notes": list(found.notes),
    }
