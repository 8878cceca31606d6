"""How many sources a table with columns of numbers shows: every k fitted as it is.

Likelihoods of numbers lean on the shape of their noise: two bells fit a skewed column better than
one does, whoever made it. So candidates that nothing but the shape identifies do not stand for
election, the rank tests look at bins (THEORY section 18.5), and columns whose shape the chosen
candidate does not have are named.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pyromix.criticism.candidates import BY_SHAPE, Candidate, Selection
from pyromix.criticism.mixed_prediction import MixedPredictiveCheck, predictive_check
from pyromix.criticism.rank_tests import rank_p_value, rank_tests
from pyromix.data.folds import compared, dealt
from pyromix.data.records import Records
from pyromix.errors import PyromixWarning
from pyromix.estimate.mixed.prior import prior_of
from pyromix.estimate.mixed.starts import raced
from pyromix.estimate.mixed.step import look
from pyromix.fitting.mixed.doors import refuse_options
from pyromix.fitting.mixed.engine import fit_mixed
from pyromix.fitting.mixed.intake import MixedTable, Taken, take_in_mixed
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.identify.product.rank import RankEstimate
from pyromix.identify.verdict import judge
from pyromix.model.mixed import MixedMixture
from pyromix.model.note import sentences
from pyromix.model.query import Certainty

HELD_OUT_STARTS = 2
"""Random starts of a fold beside the estimate from all rows."""

HELD_OUT_TOLERANCE = 1e-7
"""Nats per row: a score is read to four digits."""

INTAKE = ("state_names", "sample_weight", "missing", "device", "weights_are")
"""Options that say how the table is read."""


def select_mixed(
    table: MixedTable,
    numbers: Sequence[int],
    n_folds: int,
    level: float,
    generator: torch.Generator,
    options: Mapping[str, Any],
) -> Selection:
    """Fit every number of sources; arguments and errors of ``select_n_sources``.

    Args:
        table: read, with its graph.
        numbers: of sources, ascending.
        n_folds: of the held-out likelihood.
        level: of the rank tests.
        generator: of folds, blocks and starts.
        options: further ones of ``fit``.

    Raises:
        QueryError: an option that a fit with numbers does not have.
    """
    own = {"show_progress": False, **options}
    refuse_options(
        method=own.pop("method", "auto"),
        prior=own.pop("prior", None),
        checkpoint=own.pop("checkpoint", None),
    )
    taken = _in_bins(table, max(numbers), own)
    ranks = rank_tests(taken.counts, max(numbers), level, generator)
    mine, others = dealt(taken.records, n_folds, generator)
    fits, scores = [], []
    for k in numbers:
        with warnings.catch_warnings():
            # What a fit says of its k is what the table shows.
            warnings.simplefilter("ignore", PyromixWarning)
            fit = fit_mixed(table, k, random_state=generator, **own)
            held = [
                _scores(fit.mixture, taken.records, rest, part, generator)
                for rest, part in zip(others, mine, strict=True)
            ]
        fits.append(fit)
        scores.append(torch.cat(held))
    weights = torch.cat([part[part > 0] for part in mine])
    means, errors = (t.tolist() for t in compared(torch.stack(scores), weights))
    told = {"level": level, "residuals": False, "random_state": generator}
    checks = [predictive_check(fit, **told) for fit in fits]
    candidates = tuple(
        _candidate(*row, ranks) for row in zip(fits, checks, means, errors, strict=True)
    )
    notes = sentences(taken.notes)
    found = Selection(candidates, ranks, level, notes, tuple(fits))
    chosen = checks[list(numbers).index(found.best)]
    return Selection(candidates, ranks, level, (*notes, *_of_shapes(chosen)), tuple(fits))


def _in_bins(table: MixedTable, most: int, options: Mapping[str, Any]) -> Taken:
    """Rows, and the same in bins enough to show ``most`` sources; what is said is said once."""
    reading = {name: options[name] for name in INTAKE if name in options}
    return take_in_mixed(table, most, **reading)


def _scores(
    mixture: MixedMixture,
    records: Records,
    rest: torch.Tensor,
    mine: torch.Tensor,
    generator: torch.Generator,
) -> torch.Tensor:
    """Log-density, in the units of the table, of the rows of a fold under a fit to the others."""
    known, held = records.weighted(rest), records.only(mine > 0)
    prior = prior_of(mixture.spec, known)
    ends = raced(
        mixture.spec,
        known,
        prior,
        [mixture],
        HELD_OUT_STARTS,
        generator,
        max_iter=2000,
        tol=HELD_OUT_TOLERANCE,
    )
    best = max(ends, key=lambda end: end.objective).mixture
    found = held.log_slopes()
    with torch.no_grad():
        for part in held.parts():
            found[part.rows] += look(best, part).log_prob()
    return found


def _candidate(
    fit: MixedRecord,
    check: MixedPredictiveCheck,
    held_out: float,
    error: float,
    ranks: Sequence[RankEstimate],
) -> Candidate:
    k, p, n = fit.spec.n_sources, fit.n_parameters, fit.n_rows
    return Candidate(
        n_sources=k,
        identified=_identified(fit),
        n_parameters=p,
        log_likelihood=fit.log_likelihood,
        bic=fit.bic,
        icl=fit.icl,
        entropy_r2=1 - fit.entropy / (n * math.log(k)) if k > 1 else 1.0,
        held_out=held_out,
        held_out_error=error,
        rank_p_value=rank_p_value(ranks, k),
        fit_p_value=min((pair.adjusted for pair in check.pairs), default=1.0),
        n_starts=len(fit.starts),
        n_best=fit.n_best,
        aic=fit.aic,
        caic=fit.bic + p,
        sabic=math.log((n + 2) / 24) * p - 2 * fit.log_likelihood,
    )


def _identified(fit: MixedRecord) -> str:
    level = judge(fit.spec.binned).structural
    if level is Certainty.UNCHECKED:
        return "unknown"
    if level.at_least(Certainty.LOCAL):
        return "yes"
    return BY_SHAPE if level is Certainty.BY_SHAPE else "no"


def _of_shapes(check: MixedPredictiveCheck) -> list[str]:
    """Which columns have another shape than the chosen candidate gives them."""
    numbers = [c for c in check.columns if isinstance(c.at, float) and c.adjusted < check.level]
    if not numbers:
        return []
    names = ", ".join(repr(c.name) for c in numbers)
    return [
        f"the chosen k does not give {names} the shape of the table"
        ": further sources may stand in for the shape of noise; rank tests do not lean on it, "
        "another kind (such as student-t or positive) may have it"
    ]
