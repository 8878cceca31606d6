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
from pyromix.estimate.result import REACHED_ROWS, EMResult, Ends
from pyromix.exact.elimination import marginal
from pyromix.exact.likelihood import log_prob, responsibilities
from pyromix.exact.rows import CellIndex
from pyromix.fitting.journal import ChosenPrior, Climb, Course, Draws
from pyromix.fitting.record import Fit
from pyromix.identify.stage import MomentStage
from pyromix.model.match import canonical_order
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.note import Note, distinct
from pyromix.model.prior import PseudoCounts, prior_words
from pyromix.model.query import DoQuery
from pyromix.model.spec import SOURCE

F = TypeVar("F", bound=Fit)


def from_em(
    result: EMResult,
    counts: Counts,
    course: Course,
    prior: ChosenPrior,
    *,
    notes: Sequence[Note] = (),
    moments: MomentStage | None = None,
    climb: Climb | None = None,
    n_rows: float | None = None,
    ends: Ends | None = None,
    index: CellIndex | None = None,
) -> Fit:
    """Wrap the outcome of EM with what it was fitted to.

    Args:
        result: of EM; its notes are added to those given.
        counts: the table.
        course: what was asked for, and what ran.
        prior: of the fit.
        notes: from before EM.
        moments: the moment stage, if there was one.
        climb: where the starts ended, when that is another result's to tell; ``converged`` and
            ``n_iter`` are those of ``result``.
        n_rows: number of rows; infinite when the table is a population's.
        ends: of the starts, when that is another result's to tell.
        index: of the rows, where it has been made.
    """
    shares = responsibilities(result.mixture, counts.rows if index is None else index)
    own = Climb.of(result)
    if climb is not None:
        own = replace(climb, converged=own.converged, n_iter=own.n_iter)
    return Fit(
        mixture=result.mixture,
        n_rows=counts.n_rows if n_rows is None else n_rows,
        log_likelihood=result.log_likelihood,
        row_masses=result.row_masses,
        reached_mass=result.reached_mass,
        entropy=float(counts.weights @ torch.special.entr(shares).sum(-1)),
        course=course,
        climb=own,
        chosen_prior=prior,
        moments=moments,
        # The cells of a population are no table: nothing is to be resampled or tested.
        table=counts if n_rows is None else None,
        notes=distinct((*notes, *result.notes)),
        ends=result.ends if ends is None else ends,
    )


def with_draws(fit: F, draws: Draws, notes: Sequence[Note]) -> F:
    """Return the same fit with draws around its estimate.

    Args:
        fit: whose estimate stays the point of every answer.
        draws: sources in the order of the estimate's.
        notes: on the draws; those the fit had stay.
    """
    return replace(fit, sampled=draws, notes=distinct((*fit.notes, *notes)))


def from_population(
    mixture: BayesNetMixture,
    population: Asked,
    course: Course,
    notes: Sequence[Note],
    moments: MomentStage,
) -> Fit:
    """Wrap a mixture recovered from moments of data that have no rows.

    Args:
        mixture: the estimate, without batch axes.
        population: what it was recovered from; exact, or moments of a finite number of rows.
        course: what was asked for, and what ran.
        notes: from before the moments.
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
    none = PseudoCounts.of(mixture.spec, None, mixture.device)
    return Fit(
        mixture=mixture,
        n_rows=population.n_rows,
        log_likelihood=log_likelihood,
        row_masses=tuple(mass * total for mass in _row_masses(mixture)),
        reached_mass=REACHED_ROWS * (torch.finfo(torch.float64).eps if population.exact else 1.0),
        entropy=entropy,
        course=course,
        climb=Climb((log_likelihood,), 1, converged=True, n_iter=0),
        chosen_prior=ChosenPrior(none, prior_words(None)),
        moments=moments,
        notes=tuple(notes),
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
