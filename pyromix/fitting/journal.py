"""How a fit came about."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyromix.identify.stage import MomentStage
from pyromix.posterior.draws import SamplingReport


@dataclass(frozen=True)
class FitDiagnostics:
    """Which stage gave what, and everything that was said on the way.

    Attributes:
        method: the method that was asked for and the one that ran, e.g. ``"auto: em"``.
        start_log_likelihoods: where every start ended, sum over rows; a start from moments leads.
        n_best: how many starts reached the best optimum.
        prior: in words; ``"none"`` for maximum likelihood.
        notes: sentences: an added source, repaired data, disagreeing starts.
        moments: the moment stage; empty where there was none.
        prior_held_out: where a prior was chosen by held-out rows, each candidate with their mean
            log-likelihood.
        sampling: whether the draws of a posterior are to be relied on; empty for other draws.
        elbo: of a variational posterior, the bound at every step.
        random_state: the seed, or ``"a generator"``; empty where nobody kept it.
    """

    method: str
    start_log_likelihoods: tuple[float, ...]
    n_best: int
    prior: str
    notes: tuple[str, ...]
    moments: tuple[MomentStage, ...] = ()
    prior_held_out: tuple[tuple[str, float], ...] = ()
    sampling: tuple[SamplingReport, ...] = ()
    elbo: tuple[float, ...] = ()
    random_state: str = ""

    @property
    def by_moments_alone(self) -> bool:
        """Whether nothing climbed the likelihood after the moments."""
        return self.method.split(";")[0] in ("moments", "markov-boundary")

    @property
    def log_likelihood_moments(self) -> float:
        """Log-likelihood of the moment estimate; nan where there was no moment stage."""
        return self.moments[0].log_likelihood if self.moments else math.nan
