"""A fit that goes on from a mixture of its own: EM from there alone, no moments, no other start."""

from __future__ import annotations

import torch

from pyromix.data.counts import Counts
from pyromix.estimate.ascent import FINISH
from pyromix.estimate.em import climb
from pyromix.estimate.indexed import IndexedRows
from pyromix.estimate.pooled_prior import POOLED, Shrinkage, shrink, shrunk_as
from pyromix.estimate.result import EMResult
from pyromix.estimate.starts import batch_of, inside
from pyromix.fitting.assembly import from_em
from pyromix.fitting.journal import ChosenPrior, Course
from pyromix.fitting.record import Fit
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import Prior, PseudoCounts, prior_words

TOL = 1e-9
"""Nats per row at which a start of a fit stops; the best of several goes on to ``FINISH`` of it."""


def fit_from(
    start: BayesNetMixture,
    counts: Counts,
    prior: str | Prior | Shrinkage | None,
    generator: torch.Generator,
) -> Fit:
    """Fit a table from one start.

    Args:
        start: where EM begins, without batch axes; zeros in it are moved inside.
        counts: the table, weights in rows, on the variables and states of the start.
        prior: as in ``fit``; or one that was chosen before, whose strengths are learned anew.
        generator: of the folds that choose a pooled prior.

    Raises:
        DataError, RefinementError: as ``estimate.em.climb``.
    """
    chooses = prior == POOLED or isinstance(prior, Shrinkage)
    given = None if isinstance(prior, str | Shrinkage) else prior
    fixed = PseudoCounts.of(start.spec, given, counts.device)
    table = IndexedRows.of(start.spec, counts)
    result = climb(table, batch_of(inside(start)), prior=fixed, tol=FINISH * TOL)
    if not chooses:
        return _found(result, counts, ChosenPrior(fixed, prior_words(given)))
    if isinstance(prior, Shrinkage):
        found = shrunk_as(table, result, prior)
    else:
        found = shrink(counts, result, generator, table=table)
    name = str(found.choice)
    return _found(
        found.result, counts, ChosenPrior(found.prior, f"chosen: {name}", found.held_out, name)
    )


def _found(result: EMResult, counts: Counts, prior: ChosenPrior) -> Fit:
    return from_em(result, counts, Course("refine", ("em",)), prior)
