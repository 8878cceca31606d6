"""How a fit came about."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FitDiagnostics:
    """Which stage gave what, and everything that was said on the way.

    Attributes:
        method: the method that was asked for and the one that ran, e.g. ``"auto: em"``.
        start_log_likelihoods: where every start ended, sum over rows.
        n_best: how many starts reached the best optimum.
        prior: pseudo-count per cell, 0 for maximum likelihood.
        notes: sentences: an added source, repaired data, disagreeing starts.
    """

    method: str
    start_log_likelihoods: tuple[float, ...]
    n_best: int
    prior: float
    notes: tuple[str, ...]
