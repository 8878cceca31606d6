"""How many sources: rank tests, criteria, held-out likelihood (THEORY section 8)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from numbers import Real
from os import PathLike
from typing import Any

import numpy as np
import torch

from pyromix.criticism.candidates import Candidate, Selection
from pyromix.criticism.mixed_selection import select_mixed
from pyromix.criticism.prediction import predictive_check
from pyromix.criticism.rank_tests import rank_p_value, rank_tests
from pyromix.criticism.reach import (
    cannot_win,
    log_likelihood_needed,
    may_win_by_icl,
    was_stopped,
)
from pyromix.criticism.resuming import Scored, checkpoint_of_selection, scored_step
from pyromix.data.asking import Asked
from pyromix.data.counts import Counts
from pyromix.data.folds import compared, folds
from pyromix.data.moments import Rows
from pyromix.data.weights import COUNTS
from pyromix.errors import DataError, PyromixWarning, SpecError
from pyromix.estimate.em import climb, random_starts
from pyromix.estimate.starts import batch_of, inside
from pyromix.exact.likelihood import log_prob
from pyromix.exact.threads import one_thread_unless
from pyromix.fitting.engine import fit
from pyromix.fitting.inputs import take_in, without_edges
from pyromix.fitting.mixed.doors import numbers_in
from pyromix.fitting.record import Fit
from pyromix.identify.product.rank import RankEstimate
from pyromix.identify.verdict import judge
from pyromix.model.arguments import flag, level_of, listed, real, shown, whole
from pyromix.model.note import sentences
from pyromix.model.query import Certainty
from pyromix.model.randomness import RandomState, check_seed, torch_generator
from pyromix.model.spec import MAX_SOURCES, MixtureSpec

CANDIDATES = range(1, 7)
"""Numbers of sources that are tried unless others are asked for."""

HELD_OUT_PRIOR = 0.5
"""Pseudo-count per cell of the fits that are scored on held-out rows, unless the user sets one.

Without any, a held-out row that holds a combination new to a source has probability zero.
"""

HELD_OUT_STARTS = 2
"""Random starts of a fold beside the estimate from all rows."""


def select_n_sources(
    model: Any,
    data: Any = None,
    candidates: Iterable[int] = CANDIDATES,
    *,
    n_folds: int = 5,
    level: float = 0.05,
    prior: float | None = None,
    sample_weight: Any = None,
    weights_are: str = COUNTS,
    missing: str = "mar",
    missing_values: Any = None,
    state_names: Mapping[str, Sequence[Hashable]] | None = None,
    kinds: Mapping[str, str] | None = None,
    discretize: Mapping[str, Sequence[float] | str] | None = None,
    device: torch.device | str | None = None,
    random_state: RandomState = 0,
    checkpoint: str | PathLike[str] | None = None,
    finish_all: bool = False,
    **options: Any,
) -> Selection:
    """Fit every number of sources and say what each criterion makes of them.

    Far too many sources would cost the most: each of their starts ends in an optimum of its own,
    along ridges on which steps hardly gain. So where no criterion but AIC could choose a candidate
    any more, at the pace of its EM, it is not climbed to its end: its starts stop after 200 steps
    where as many more would gain no more than a nat, and one round of them is made. It is marked
    (``Candidate.stopped``); its log-likelihood is then a lower bound, its AIC an upper one.

    Without a model the table may come first, ``select_n_sources(frame, range(1, 6))``: its columns
    are then variables without edges, as in ``fit_product``.

    A table with columns of numbers is fitted as it is, every candidate to its end. Rank tests look
    at its bins, ``max(candidates) + 1`` to a column, and so lean on no shape of the noise; the
    other criteria do. Numbers of sources that only that shape would tell do not stand for election.

    Args:
        model: as in ``fit``; None for variables without edges.
        data: a table or Counts, as in ``fit``; of data that answer moments only, as a Population
            does, the rank tests alone are made, and that is said.
        candidates: numbers of sources.
        n_folds: of the held-out likelihood.
        level: of the rank tests, over all blocks of one rank.
        prior: a pseudo-count per cell; by default none, as BIC supposes, and ``HELD_OUT_PRIOR`` for
            the fits that are scored on held-out rows. With numbers the prior of ``fit``, always.
        sample_weight: as in ``fit``.
        weights_are: as in ``fit``.
        missing: as in ``fit``.
        missing_values: as in ``fit``.
        state_names: as in ``fit``.
        kinds: as in ``fit``.
        discretize: as in ``fit``.
        device: as in ``fit``.
        random_state: of folds, blocks and starts.
        checkpoint: a file that keeps the candidates that are done: called again with it after a
            stop (Ctrl-C, a crash), the work goes on, and ends at the same digits.
        finish_all: climb on with candidates that no criterion but AIC can choose any more.
        **options: further ones of ``fit``.

    Raises:
        SpecError: a candidate is no number of sources, or the model is unusable.
        DataError: the table is unusable; or there are no rows, and no blocks for a rank test.
        QueryError: an option is unknown, or one that a table with numbers does not have.
        FileError: the checkpoint is damaged, or of another table, graph or option.
    """
    model, data, candidates = _in_order(model, data, candidates)
    numbers = _candidates(candidates)
    level, n_folds = level_of(level), whole("n_folds", n_folds, 2, error=DataError)
    if prior is not None:
        prior = real("prior", prior, 0.0, advice="a pseudo-count per cell")
    check_seed(random_state)
    finish_all = flag("finish_all", finish_all)
    told = {"kinds": kinds, "discretize": discretize}
    if model is None:
        named = {**(kinds or {}), **(discretize or {})}
        given = (sample_weight, state_names, missing_values)
        model, data = without_edges(data, *given, numbers=named)
    data, state_names, table = numbers_in(
        model, data, numbers[0], told, state_names, missing_values
    )
    if table is not None:
        own = {"state_names": state_names, "sample_weight": sample_weight, "missing": missing}
        own |= {"device": device, "weights_are": weights_are, "checkpoint": checkpoint}
        own |= {"prior": prior, **options}
        return select_mixed(table, numbers, n_folds, level, torch_generator(random_state), own)
    taken, notes = take_in(
        model,
        data,
        numbers[0],
        state_names,
        sample_weight,
        missing,
        device,
        weights_are,
        missing_values,
    )
    generator = torch_generator(random_state)
    spec = taken.spec
    if not isinstance(taken, Rows):
        return _by_ranks(taken, numbers, level, generator, sentences(notes))
    counts = taken.as_counts()
    with one_thread_unless(len(counts.rows) * spec.n_variables):
        asked = {"candidates": numbers, "n_folds": n_folds, "level": level, "prior": prior}
        asked["finish_all"] = finish_all
        kept = checkpoint_of_selection(checkpoint, spec, counts, generator, {**asked, **options})
        ranks = rank_tests(taken, max(numbers), level, generator)
        parts = folds(counts, n_folds, generator)
        fits, scores = [], []
        for k in numbers:
            own = spec.with_n_sources(k)
            rivals = () if finish_all else _rivals(own, fits)
            work = partial(_scored, own, counts, parts, prior, generator, rivals, options)
            found, score = scored_step(kept, own, counts, generator, work)
            fits.append(found)
            scores.append(score)
    weights = torch.cat([own.weights for _, own in parts])
    rows = torch.stack([torch.cat(one) for one in scores])
    means, errors = (t.tolist() for t in compared(rows, weights))
    found = [
        _candidate(fitted, mean, error, ranks)
        for fitted, mean, error in zip(fits, means, errors, strict=True)
    ]
    return Selection(tuple(found), ranks, level, sentences(notes), tuple(fits))


def _scored(
    spec: MixtureSpec,
    counts: Counts,
    parts: Sequence[tuple[Counts, Counts]],
    prior: float | None,
    generator: torch.Generator,
    rivals: Sequence[Fit],
    options: Mapping[str, Any],
) -> Scored:
    """Fit one candidate, and score it on held-out rows."""
    with warnings.catch_warnings():
        # What a fit says of its k is what the table shows.
        warnings.simplefilter("ignore", PyromixWarning)
        options = {"show_progress": False, **options}
        needed, state = log_likelihood_needed(spec.n_parameters, rivals), generator.get_state()
        once = partial(fit, spec, counts, prior=prior, random_state=generator, **options)
        found = once(needed=needed)
        if was_stopped(found) and may_win_by_icl(found, rivals):
            generator.set_state(state)
            found = once()
        least = math.inf if cannot_win(found, needed) else -math.inf
        return found, _held_out(found, parts, prior or HELD_OUT_PRIOR, least, generator)


def _rivals(spec: MixtureSpec, fits: Sequence[Fit]) -> Sequence[Fit]:
    """Fits that a candidate stands against: identified ones against each other alone."""
    identified = [fit for fit in fits if _identified(fit.spec) != "no"]
    return fits if not identified and _identified(spec) == "no" else identified


def _in_order(model: Any, data: Any, candidates: Iterable[int]) -> tuple[Any, Any, Iterable[int]]:
    """Model, table and numbers of a call that may have left the model out.

    A table is no list of numbers, and numbers are no table: which is which is never a guess.

    Raises:
        SpecError: numbers of sources were given twice.
    """
    if data is None:
        return None, model, candidates
    if not _are_numbers(data):
        return model, data, candidates
    if candidates is not CANDIDATES:
        raise SpecError(
            f"expected numbers of sources once, found {shown(data)} and {shown(candidates)}; the "
            "order is select_n_sources(model, data, candidates), or without a model "
            "select_n_sources(data, candidates)"
        )
    return None, model, data


def _are_numbers(given: Any) -> bool:
    """Whether a list of numbers, or one, stands where a table would."""
    if isinstance(given, np.ndarray):
        return given.ndim <= 1
    if isinstance(given, Real):
        return True
    listed_ = isinstance(given, Sequence | AbstractSet) and not isinstance(given, str | bytes)
    return listed_ and all(isinstance(k, Real) for k in given)


def _candidates(candidates: Iterable[int]) -> list[int]:
    """Numbers of sources, each once, in order.

    Raises:
        SpecError: one is none, or there is none.
    """
    given = listed("candidates", candidates, "numbers of sources")
    if not given:
        raise SpecError("candidates must be numbers of sources >= 1, found none")
    advice = "every source has tables of its own: ask for fewer"
    return sorted({whole("candidates", k, 1, MAX_SOURCES, SpecError, advice) for k in given})


def _by_ranks(
    moments: Asked,
    numbers: Sequence[int],
    level: float,
    generator: torch.Generator,
    notes: tuple[str, ...],
) -> Selection:
    """What can be said without rows."""
    ranks = rank_tests(moments, max(numbers), level, generator)
    if not ranks:
        raise DataError(
            "expected rows, or blocks of variables for rank tests, found a "
            f"{type(moments.data).__name__} that answers moments only, and no two d-separated "
            "blocks in the graph; pass a table"
        )
    none = math.nan
    table = []
    for k in numbers:
        spec, p_value = moments.spec.with_n_sources(k), rank_p_value(ranks, k)
        numbers_of = (spec.n_parameters, none, none, none, none, none, none, p_value, none, 0, 0)
        table.append(Candidate(k, _identified(spec), *numbers_of, none, none, none))
    return Selection(tuple(table), ranks, level, notes)


def _held_out(
    found: Fit,
    parts: Sequence[tuple[Counts, Counts]],
    prior: float,
    needed: float,
    generator: torch.Generator,
) -> list[torch.Tensor]:
    """Log-likelihood of every distinct held-out row, fold by fold."""
    scores = []
    for rest, own in parts:
        starts = batch_of(
            inside(found.mixture),
            random_starts(found.spec, HELD_OUT_STARTS, generator, device=rest.device, counts=rest),
        )
        # A score is read to four digits: nothing is polished for it.
        options = {"prior": prior, "needed": needed, "check_saddle": False, "finish": False}
        result = climb(rest.with_spec(found.spec), starts, leave_behind=True, **options)
        scores.append(log_prob(result.mixture, own.rows))
    return scores


def _candidate(
    found: Fit, held_out: float, error: float, ranks: Sequence[RankEstimate]
) -> Candidate:
    k = found.spec.n_sources
    return Candidate(
        n_sources=k,
        identified=_identified(found.spec),
        n_parameters=found.n_parameters,
        log_likelihood=found.log_likelihood,
        bic=found.bic,
        icl=found.icl,
        entropy_r2=found.entropy_r2,
        held_out=held_out,
        held_out_error=error,
        rank_p_value=rank_p_value(ranks, k),
        fit_p_value=min((p.adjusted for p in predictive_check(found).pairs), default=1.0),
        n_starts=len(found.climb.log_likelihoods),
        n_best=found.climb.n_best,
        aic=found.aic,
        caic=found.caic,
        sabic=found.sabic,
        stopped=was_stopped(found),
    )


def _identified(spec: MixtureSpec) -> str:
    found = judge(spec)
    if found.structural is Certainty.UNCHECKED:
        return "unknown"
    return "yes" if found.structural.at_least(Certainty.LOCAL) else "no"
