"""From what a stage hands back to a fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from pyromix.data.asking import Asked
from pyromix.data.counts import Counts
from pyromix.estimate.result import REACHED_ROWS, EMResult
from pyromix.exact.elimination import marginal
from pyromix.exact.likelihood import log_prob, responsibilities
from pyromix.fitting.journal import FitDiagnostics
from pyromix.fitting.record import Fit
from pyromix.identify.stage import MomentStage
from pyromix.model.match import canonical_order
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.query import DoQuery
from pyromix.model.spec import SOURCE
from pyromix.posterior.draws import SamplingReport

F = TypeVar("F", bound=Fit)


def from_em(
    result: EMResult,
    counts: Counts,
    diagnostics: FitDiagnostics,
    prior: PseudoCounts,
    *,
    n_rows: float | None = None,
) -> Fit:
    """Wrap the outcome of EM with what it was fitted to.

    Args:
        result: of EM; its notes are added to those of the diagnostics.
        counts: the table.
        diagnostics: how it came about.
        prior: pseudo-counts of the fit.
        n_rows: number of rows; infinite when the table is a population's.
    """
    shares = responsibilities(result.mixture, counts.rows)
    return Fit(
        mixture=result.mixture,
        n_rows=counts.n_rows if n_rows is None else n_rows,
        log_likelihood=result.log_likelihood,
        converged=result.converged,
        n_iter=result.n_iter,
        row_masses=result.row_masses,
        reached_mass=result.reached_mass,
        entropy=float(counts.weights @ torch.special.entr(shares).sum(-1)),
        diagnostics=replace(
            diagnostics,
            notes=tuple(dict.fromkeys((*diagnostics.notes, *result.notes))),
        ),
        prior=prior,
        # The cells of a population are no table: nothing is to be resampled or tested.
        stored=(counts,) if n_rows is None else (),
    )


def diagnosed(
    method: str,
    result: EMResult,
    prior: str,
    notes: Sequence[str],
    moments: tuple[MomentStage, ...] = (),
) -> FitDiagnostics:
    """How EM came about: where every start ended.

    Args:
        method: as asked for, and what ran.
        result: of EM from all starts.
        prior: in words.
        notes: sentences from before EM.
        moments: the moment stage, if there was one.
    """
    return FitDiagnostics(
        method=method,
        start_log_likelihoods=tuple(result.start_log_likelihoods.tolist()),
        n_best=result.n_best,
        prior=prior,
        notes=(*notes, *result.notes),
        moments=moments,
    )


def with_draws(
    fit: F,
    draws: BayesNetMixture,
    method: str,
    notes: Sequence[str],
    *,
    sampling: tuple[SamplingReport, ...] = (),
    elbo: tuple[float, ...] = (),
) -> F:
    """Return the same fit with draws around its estimate.

    Args:
        fit: whose estimate stays the point of every answer.
        draws: batch shape ``(n,)``, sources in the order of the estimate's.
        method: what drew them.
        notes: sentences; those the fit had stay.
        sampling: whether draws of a posterior are to be relied on.
        elbo: of a variational posterior, the bound at every step.
    """
    found = replace(
        fit.diagnostics,
        method=f"{fit.diagnostics.method}; {method}",
        notes=tuple(dict.fromkeys((*fit.diagnostics.notes, *notes))),
        sampling=sampling,
        elbo=elbo,
    )
    return replace(fit, drawn=(draws,), diagnostics=found)


def from_population(
    mixture: BayesNetMixture,
    population: Asked,
    method: str,
    notes: Sequence[str],
    moments: MomentStage,
) -> Fit:
    """Wrap a mixture recovered from moments of data that have no rows.

    Args:
        mixture: the estimate, without batch axes.
        population: what it was recovered from; exact, or moments of a finite number of rows.
        method: as asked for, and what ran.
        notes: sentences.
        moments: the moment stage.
    """
    mixture = mixture.relabel(canonical_order(mixture))
    log_likelihood = entropy = math.nan
    total = 1.0 if population.exact else population.n_rows
    if population.listable:
        cells = population.as_counts()
        log_likelihood = float(cells.weights @ log_prob(mixture, cells.rows))
        shares = responsibilities(mixture, cells.rows)
        entropy = float(cells.weights @ torch.special.entr(shares).sum(-1))
    return Fit(
        mixture=mixture,
        n_rows=population.n_rows,
        log_likelihood=log_likelihood,
        converged=True,
        n_iter=0,
        row_masses=tuple(mass * total for mass in _row_masses(mixture)),
        reached_mass=REACHED_ROWS * (torch.finfo(torch.float64).eps if population.exact else 1.0),
        entropy=entropy,
        diagnostics=FitDiagnostics(
            method=method,
            start_log_likelihoods=(log_likelihood,),
            n_best=1,
            prior="none",
            notes=tuple(notes),
            moments=(moments,),
        ),
        prior=PseudoCounts.of(mixture.spec, None, mixture.device),
    )


def _row_masses(mixture: BayesNetMixture) -> tuple[Tensor, ...]:
    """P(u, parents) of every CPT row; of all sources together where they share the table."""
    masses = []
    for v, parents in enumerate(mixture.spec.parents):
        mass = marginal(mixture, DoQuery(outcomes=(SOURCE, *parents)))
        if v in mixture.spec.uninfluenced:
            mass = mass.sum(0, keepdim=True).expand_as(mass).clone()
        masses.append(mass)
    return tuple(masses)
