"""EM on distinct rows: exact with missing cells, all starts at once, and never downhill.

The formulas of a step stand in ``step``.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.data.moments import schema_of
from pyromix.errors import DataError, SpecError
from pyromix.estimate.ascent import (
    FINEST,
    FINISH,
    Ascent,
    Options,
    Progress,
    ascend,
    check_finite,
    escape,
    finished,
)
from pyromix.estimate.indexed import index_of
from pyromix.estimate.result import (
    EMResult,
    Ends,
    duplicate_sources,
    empty_sources,
    warned,
)
from pyromix.estimate.sharded import map_of
from pyromix.estimate.starts import batch_of, random_starts
from pyromix.estimate.step import EMMap, Point, WeightedRows
from pyromix.exact.threads import one_thread_unless
from pyromix.model.arguments import flag, real, shown, whole
from pyromix.model.match import canonical_order
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import Prior, PseudoCounts

__all__ = ["EMResult", "Ends", "climb", "evaluate", "fit_em", "random_starts"]


def fit_em(counts: WeightedRows, starts: BayesNetMixture, **options: Any) -> EMResult:
    """Maximise the likelihood of a table over mixtures, from given starts, and say what to know.

    Arguments, result and errors are those of ``climb``; warnings say what a reader of the numbers
    must know, and the result keeps them as notes: ConvergenceWarning, StartsDisagreeWarning,
    WeakIdentificationWarning.
    """
    return warned(climb(counts, starts, **options))


def climb(
    counts: WeightedRows,
    starts: BayesNetMixture,
    *,
    n_identified: int = 0,
    max_iter: int = 2000,
    tol: float = 1e-9,
    prior: Prior | PseudoCounts | None = None,
    accelerate: bool = True,
    check_saddle: bool = True,
    leave_behind: bool = False,
    needed: float = -math.inf,
    finish: bool = True,
    progress: Progress | None = None,
) -> EMResult:
    """Maximise the likelihood of a table over mixtures, from given starts, without a word.

    All starts run as one batch; those that have converged leave it. No step lowers the objective:
    an extrapolation (see ``accelerate``) is kept only where it is no worse than EM itself. A start
    has converged when a step of EM gains at most ``tol`` nats per row and moves no probability in
    a reached CPT row by more than ``sqrt(tol)``. The best point is then jittered: where jittered
    copies rise above it, it was a saddle (a symmetric start ends in one), and EM goes on from the
    best of them. So is every end that is better than those of all starts before it: further starts
    then never lower the end.

    A CPT row that no data reached takes the value of the pooled row of all sources, and is uniform
    where there is none; ``EMResult.reached`` tells.

    Args:
        counts: distinct rows and their weights, on the variables and states of ``starts``.
        starts: batch shape ``(n_init,)``.
        n_identified: how many of the starts, the first ones, come from moments that determine the
            mixture.
        max_iter: limit on EM steps; a round of two (with acceleration three) is finished.
        tol: nats per row.
        prior: None for maximum likelihood; else pseudo-counts (a number stands for that one in
            every CPT cell and on every source), and then the objective is the penalised
            log-likelihood.
        accelerate: extrapolate along EM's path (SQUAREM); a third to a tenth of the steps, the
            fewer the slower EM is.
        check_saddle: whether to jitter these points; each costs up to 120 steps of a single start.
        leave_behind: stop a start, as not converged, that at its present pace would still be
            ``result.NEAR_BEST`` nats below the best after ``ascent.HOPELESS`` steps.
        needed: log-likelihood below which nobody wants the estimate: after ``ascent.HOPELESS``
            steps a start that in as many more, at its present pace, would stay
            ``result.NEAR_BEST`` nats below it and gain no more than ``ascent.WORTH`` is stopped, as
            not converged.
        finish: whether the start that is chosen among several climbs on to a tighter tolerance.
        progress: told after each round.

    Returns:
        The estimate of the first start that ended in the best optimum: starts that end within
        ``SAME_OPTIMUM`` of the best differ by where EM stopped, and by rounding, so their order
        decides and not which of them is a hair above the others. From there EM goes on to a
        tolerance of ``ascent.FINISH * tol``, within ``max_iter``.

    Raises:
        SpecError: the starts do not fit the data, or an argument is out of range.
        DataError: a weight is not positive, or missing cells have too many completions.
        RefinementError: a start gives a row probability zero, or a number is not finite.
    """
    spec = starts.spec
    _check(counts, starts, max_iter, tol)
    accelerate, check_saddle = flag("accelerate", accelerate), flag("check_saddle", check_saddle)
    if progress is not None and (not callable(progress) or isinstance(progress, type)):
        raise SpecError(f"progress must be a function or None, found {shown(progress)}")
    if not isinstance(prior, PseudoCounts):
        prior = PseudoCounts.of(spec, prior, starts.device)
    em = map_of(spec, counts, prior)
    options = Options(max_iter, tol, accelerate, progress, leave_behind, needed)
    work = counts.rows.shape[0] * spec.n_variables * starts.weights.numel()
    with one_thread_unless(work):
        found = ascend(em, Point.of(starts), options)
        left = set()
        for start in found.records(em.total_weight) if check_saddle and spec.n_sources > 1 else ():
            escaped = escape(em, found.only(start), options)
            if escaped is not None:
                left.add(start)
                found = found.put(start, escaped)
        best = found.best(em.total_weight)
        if finish and len(starts.weights) > 1:
            found = found.put(best, finished(em, found.only(best), options))
    return replace(result_of(em, found, best, best in left), n_identified=n_identified)


def polished(
    counts: WeightedRows,
    result: EMResult,
    *,
    max_iter: int = 2000,
    tol: float = 1e-9,
    prior: PseudoCounts | None = None,
) -> EMResult:
    """Climb on from an estimate that was chosen among several, to a tighter tolerance.

    Args:
        counts: as for ``climb``.
        result: what was chosen, not finished.
        max_iter: as for ``climb``.
        tol: as for ``climb``.
        prior: as for ``climb``.
    """
    left = max_iter - result.n_iter
    tighter = max(FINISH * tol, FINEST)
    if not result.converged or left < 1 or tighter >= tol:
        return result
    options = {"max_iter": left, "tol": tighter, "prior": prior, "check_saddle": False}
    onwards = climb(counts, batch_of(result.mixture), **options)
    place = (result.start_objectives == result.objective).nonzero().flatten()[:1]
    ends = result.start_log_likelihoods, result.start_objectives
    reached = onwards.start_log_likelihoods, onwards.start_objectives
    likelihoods, objectives = (
        all_.index_copy(0, place, one[: len(place)])
        for all_, one in zip(ends, reached, strict=True)
    )
    return replace(
        onwards,
        n_iter=onwards.n_iter + result.n_iter,
        converged=result.converged,
        start_log_likelihoods=likelihoods,
        start_objectives=objectives,
        n_identified=result.n_identified,
        saddle=result.saddle,
        ends=result.ends,
        n_raced=result.n_raced,
    )


def evaluate(counts: WeightedRows, mixture: BayesNetMixture) -> EMResult:
    """See a mixture by the data without moving it.

    Args:
        counts: on the variables and states of the mixture.
        mixture: without batch axes.

    Raises:
        SpecError: the mixture does not fit the data.
        RefinementError: the mixture gives a row probability zero.
    """
    starts = batch_of(mixture)
    _check(counts, starts, 1, 1.0)
    prior = PseudoCounts.of(mixture.spec, None, mixture.device)
    em = EMMap(mixture.spec, index_of(mixture.spec, counts), counts.weights, prior)
    point = Point.of(starts)
    step = em(point)
    none = torch.zeros(1, dtype=torch.int64, device=mixture.device)
    check_finite(em, point, step, none, 0)
    found = Ascent(point, step, none, torch.zeros_like(step.objective), none == 0)
    return result_of(em, found, 0, False)


def climb_replicates(
    counts: WeightedRows,
    starts: BayesNetMixture,
    row_weights: Float[Tensor, "rows n"],
    *,
    prior: PseudoCounts,
    max_iter: int = 2000,
    tol: float = 1e-9,
) -> Ends:
    """Run EM on several weightings of one table at once, each from a start of its own.

    Args:
        counts: distinct rows; their weights are not used.
        starts: batch shape ``(n,)``.
        row_weights: one column per start; zeros allowed.
        prior: pseudo-counts, the same for all or others for each start.
        max_iter: as for ``climb``.
        tol: as for ``climb``.

    Raises:
        SpecError: the starts do not fit the data, or an argument is out of range.
        RefinementError: a start gives a row probability zero, or a number is not finite.
    """
    spec = starts.spec
    _check(counts, starts, max_iter, tol)
    em = EMMap(spec, index_of(spec, counts), row_weights, prior)
    with one_thread_unless(counts.rows.shape[0] * spec.n_variables * starts.weights.numel()):
        found = ascend(em, Point.of(starts), Options(max_iter, tol, True, None))
    return Ends(found.point.mixture(spec), found.step.objective, found.converged)


def result_of(em: EMMap, found: Ascent, best: int, saddle: bool) -> EMResult:
    """The best start in canonical order, with what is to be said of it.

    Args:
        em: the map.
        found: where the starts ended.
        best: which of them is the best.
        saddle: whether it had stopped at a saddle and was taken on from there.
    """
    estimate = found.point[best : best + 1].mixture(em.spec)[0]
    order = canonical_order(estimate)
    ends = Ends(found.point.mixture(em.spec), found.step.objective, found.converged)
    mixture = estimate.relabel(order)
    masses = em.axis.unstack_rows(found.step.row_masses[:, best])
    masses = tuple(m[order] for m in masses)
    objective = found.step.objective
    return EMResult(
        mixture=mixture,
        log_likelihood=float(found.step.log_likelihood[best]),
        objective=float(objective[best]),
        n_iter=int(found.n_iter[best]),
        converged=bool(found.converged[best]),
        start_log_likelihoods=found.step.log_likelihood,
        start_objectives=objective,
        n_identified=0,
        total_weight=em.total_weight,
        gain=float(found.gain[best]),
        row_masses=masses,
        reached_mass=em.reached_mass,
        duplicates=duplicate_sources(mixture, masses, em.reached_mass),
        empty=empty_sources(mixture, em.total_weight),
        saddle=saddle,
        ends=ends.near_best(),
        notes=(),
    )


def _check(counts: WeightedRows, starts: BayesNetMixture, max_iter: int, tol: float) -> None:
    spec = starts.spec
    if len(starts.batch_shape) != 1 or not starts.batch_shape[0]:
        raise SpecError(
            f"starts need one batch axis (n_init,), found batch shape {tuple(starts.batch_shape)}; "
            "random_starts makes such a batch"
        )
    schema = schema_of(counts)
    if not schema.same_variables(spec):
        raise SpecError(
            f"the starts are for variables {list(spec.variables)}, the data for "
            f"{list(schema.variables)}, or the states differ; "
            "use counts.with_spec(starts.spec)"
        )
    if counts.rows.device != starts.device:
        raise SpecError(
            f"data are on {counts.rows.device} and starts on {starts.device}; move one of them"
        )
    whole("max_iter", max_iter, 1, error=SpecError)
    real("tol", tol, 0.0, error=SpecError, advice="nats per row, e.g. tol=1e-9")
    weights = counts.weights
    if not len(weights) or not bool((weights.isfinite() & (weights > 0)).all()):
        bad = int((~(weights.isfinite() & (weights > 0))).sum())
        raise DataError(
            f"expected rows of positive, finite weight, found {bad} others among {len(weights)}; "
            "Counts.from_codes leaves out rows of weight zero"
        )
