"""From a fit to a better one on the same or another table, or to one with draws around it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from os import PathLike
from typing import Any, TypeVar

from pyromix.data.counts import Counts
from pyromix.data.relation.route import memory_of
from pyromix.data.weights import COUNTS
from pyromix.errors import (
    QueryError,
)
from pyromix.estimate.em import climb, evaluate, fit_em
from pyromix.estimate.starts import batch_of
from pyromix.estimate.streamed_replicates import LAWS
from pyromix.fitting.assembly import from_em, with_draws
from pyromix.fitting.inputs import table_of
from pyromix.fitting.journal import ChosenPrior, Course, Draws
from pyromix.fitting.record import Fit
from pyromix.fitting.streaming import table_or_stream
from pyromix.model.arguments import shown
from pyromix.model.note import Note, NoteKind, warn_of
from pyromix.model.prior import PseudoCounts, prior_words
from pyromix.model.randomness import RandomState
from pyromix.model.spec import near_matches
from pyromix.posterior.bootstrap import replicate
from pyromix.posterior.chains import MANY_PARAMETERS
from pyromix.posterior.draws import assessed, matched, remarks
from pyromix.posterior.gibbs import gibbs
from pyromix.posterior.streamed_bootstrap import replicate_stream

REFINE_METHODS = ("em", "gibbs", "nuts", "svi")

KNOWN_PLACE = (
    "{method}: intervals may be too narrow. The prior of this fit draws the tables of the sources "
    "towards common tables that were themselves estimated from the data, and {method} takes these "
    'as known without error. To count their error take method="gibbs" or fit.bootstrap(), or fit '
    "with a prior that is fixed beforehand, e.g. prior=1.0"
)
"""Said of methods that hold the learned place of pseudo-counts fixed; see ``PseudoCounts``."""

F = TypeVar("F", bound=Fit)

RISING = 1.0
"""Nats by which the bound of SVI may still rise in its last tenth without a word."""


def refine(fit: F, data: Any = None, method: str = "em", **options: Any) -> F:
    """Continue from this estimate on a table: to a better estimate, or to a posterior.

    All methods see one density: the likelihood times ``p ** c`` for every source and cell with
    pseudo-count c, that is the Dirichlet prior with concentrations c + 1. EM and
    ``guide="delta"`` go to its mode. The others keep the estimate as the point of every answer
    and attach draws, from which all intervals come; on another table, or under another prior,
    the estimate is first taken on by EM. Draws carry the labels of the estimate.

    Args:
        fit: the estimate to go on from.
        data: a table; the one of the fit when left out.
        method: ``"em"``; ``"gibbs"``, exact in the limit, at the cost of an EM step per draw;
            ``"nuts"``, the same posterior by Pyro's NUTS, with fewer draws better mixed, for up
            to a thousand parameters; ``"svi"``, the best approximation of a given shape.
        **options: ``prior``, by default that of this fit, ``sample_weight`` and
            ``weights_are`` and ``missing_values`` (of ``data``, as in ``fit``), and

            - em: ``max_iter``, ``tol``, ``accelerate``, ``check_saddle``, ``progress``;
            - gibbs: ``num_samples``, ``warmup_steps``, ``num_chains``, ``thinning``,
              ``random_state``, ``show_progress``, ``checkpoint`` (a file that keeps the sweeps that
              are done, as of ``fit.bootstrap``);
            - nuts: ``num_samples``, ``warmup_steps``, ``num_chains``, ``target_accept_prob``,
              ``max_tree_depth``, ``random_state``, ``show_progress``, ``checkpoint`` (the chains
              that are done);
            - svi: ``guide`` (``"delta"``, ``"normal"``, ``"lowrank"`` or one's own),
              ``num_steps``, ``learning_rate``, ``num_samples``, ``num_particles``,
              ``batch_size`` (patterns), ``random_state``, ``show_progress``.

    Returns:
        A fit; ``diagnostics.sampling`` has the worst R-hat, the smallest effective number of
        draws, exchanged labels and divergences, ``diagnostics.elbo`` the bound of SVI. What is
        doubtful is warned of (SamplingWarning, WeakIdentificationWarning) and kept as a note.

    Raises:
        QueryError: an unknown method or option, or a number out of range.
        DataError: the fit holds no table, the data do not fit, weights come without data, or are
            no whole numbers (gibbs).
        RefinementError: the density or a draw is not finite.
    """
    if not isinstance(method, str) or method not in REFINE_METHODS:
        raise QueryError(
            f"unknown method {shown(method)} of refine{near_matches(method, REFINE_METHODS)}; "
            f"expected one of {list(REFINE_METHODS)}"
        )
    weight, weights_are = options.pop("sample_weight", None), options.pop("weights_are", COUNTS)
    missing_values = options.pop("missing_values", None)
    _check_options(method, options)
    counts = table_of(fit, data, weight, weights_are, missing_values).to(fit.mixture.device)
    if method == "em":
        return _em(fit, counts, **options)
    if data is not None or "prior" in options:
        fit = _em(fit, counts, prior=options.pop("prior", fit.prior))
    prior = fit.prior.to(fit.mixture.device)
    notes = [_prior_note(method, prior)]
    if prior.learned and method != "gibbs":
        known = Note(NoteKind.SAMPLING, KNOWN_PLACE.format(method=method))
        notes += warn_of([known])
    run = _varied if method == "svi" else _sampled
    return run(fit, counts, prior, method, notes, options)


def bootstrap(
    fit: F,
    data: Any = None,
    n: int = 200,
    *,
    kind: str = "multinomial",
    sample_weight: Any = None,
    weights_are: str = COUNTS,
    missing_values: Any = None,
    random_state: RandomState = 0,
    max_iter: int = 2000,
    checkpoint: str | PathLike[str] | None = None,
    memory_limit: Any = None,
) -> F:
    """Return this fit with n replicates on reweighted tables as its draws.

    All replicates are one batched EM from this estimate, under its prior; their sources are
    matched to this fit's, and a doubtful matching is said.

    A relation whose distinct rows do not fit in memory is read as a stream, pass by pass, by all
    replicates together: rows get weights from Poisson laws, which are multinomial ones given their
    sum (of kind ``"dirichlet"``, from Gamma laws). A fit to a stream holds no table: pass it.

    Args:
        fit: the estimate, whose prior the replicates share.
        data: a table, or whatever else ``fit`` takes; the one of the fit when left out.
        n: number of replicates; of a stream, each costs an E-step of every row in each pass.
        kind: ``"multinomial"`` or ``"dirichlet"`` weights of the rows.
        sample_weight: of ``data``.
        weights_are: as in ``fit``.
        missing_values: of ``data``, as in ``fit``.
        random_state: of the weights.
        max_iter: iteration limit of a replicate; of a stream, a limit on passes.
        checkpoint: a file that keeps the replicates that are done: called again with it after a
            stop (Ctrl-C, a crash), the work goes on, and ends at the digits that it would have
            ended at. These differ from those without a checkpoint within EM's tolerance, since
            fewer replicates climb at once. Of a stream it keeps every pass, and no digit differs.
        memory_limit: of a relation, as in ``fit``.

    Raises:
        QueryError: the kind or the limit is unknown, or n is no positive integer.
        FileError: the checkpoint is damaged, of another table, estimate or option, or cannot be
            written to.
        DataError: the fit holds no table, the data do not fit, weights come without data, or a
            stream fails or comes in another order in another pass.
    """
    memory_of(memory_limit)
    asked = (data, sample_weight, weights_are, missing_values)
    options: dict[str, Any] = {
        "kind": kind,
        "prior": fit.prior,
        "random_state": random_state,
        "max_iter": max_iter,
        "checkpoint": checkpoint,
    }
    read = table_or_stream(fit, *asked, memory_limit)
    if isinstance(read, Counts):
        found = replicate(read.to(fit.mixture.device), fit.mixture, n, **options)
    else:
        rows = (read.batches, read.n_rows, read.identity())
        found = replicate_stream(*rows, fit.mixture, fit.row_masses, n, **options)
    notes = []
    if lost := int((~found.converged).sum()):
        sentence = (
            f"{lost} of {n} replicates stopped at max_iter={max_iter}, before EM had converged; "
            "raise max_iter of bootstrap"
        )
        notes.append(Note(NoteKind.DRAWS, sentence, {"stopped": lost}))
    if doubtful := int(found.ambiguous.sum()):
        sentence = (
            f"the sources of {doubtful} of {n} bootstrap replicates could nearly as well be "
            "matched otherwise with those of the fit: sources hardly differ, or a replicate ended "
            "in another optimum. Answers about a single source are doubtful; try fewer sources"
        )
        notes.append(Note(NoteKind.DRAWS, sentence, {"ambiguous": doubtful}))
    warn_of(notes)
    kind = kind if isinstance(read, Counts) else LAWS[kind].removeprefix("standard_")
    return with_draws(fit, Draws(found.mixtures, "bootstrap", f"{kind}, {n}"), notes)


def _em(fit: F, counts: Counts, **options: Any) -> F:
    """Climb from the estimate."""
    said = options.pop("prior", fit.prior)
    prior = said if isinstance(said, PseudoCounts) else PseudoCounts.of(fit.spec, said)
    prior = prior.to(fit.mixture.device)
    result = fit_em(counts, batch_of(fit.mixture), prior=prior, **options)
    words = fit.chosen_prior.words if said is fit.prior else prior_words(said)
    found = from_em(
        result,
        counts,
        Course("refine", ("em",)),
        ChosenPrior(prior, words),
        moments=fit.moments,
        ends=fit.ends if fit.table is not None and fit.table.same_rows(counts) else None,
    )
    return _renewed(fit, found)


def _renewed(fit: F, found: Fit) -> F:
    """What was found, in the class of the fit that was refined."""
    return replace(fit, **{f.name: getattr(found, f.name) for f in fields(found)})


def _sampled(
    fit: F,
    counts: Counts,
    prior: PseudoCounts,
    method: str,
    notes: Sequence[Note],
    options: Mapping[str, Any],
) -> F:
    """Attach draws of a Markov chain."""
    said: list[Note] = []
    if method == "nuts" and fit.n_parameters > MANY_PARAMETERS:
        sentence = (
            f"nuts moves all {fit.n_parameters} probabilities at once, which is slow beyond "
            f'{MANY_PARAMETERS}: method="gibbs" draws from the same posterior at the cost of an EM '
            "step each"
        )
        said.append(Note(NoteKind.SAMPLING, sentence))
    notes = [*notes, *warn_of(said)]  # before the wait
    found = _function(method)(
        counts, fit.mixture, prior=prior, row_masses=fit.row_masses, **options
    )
    report = assessed(found, method)
    told = Note(NoteKind.SAMPLING, str(report))
    notes = [*notes, told, *warn_of(remarks(report))]
    size = f"{report.n_chains} x {report.n_draws}"
    return with_draws(fit, Draws(found.flat, method, size, sampling=report), notes)


def _varied(
    fit: F,
    counts: Counts,
    prior: PseudoCounts,
    method: str,
    notes: Sequence[Note],
    options: Mapping[str, Any],
) -> F:
    """Attach draws from a fitted guide, or take its point as the estimate."""
    found = _function(method)(counts, fit.mixture, prior=prior, **options)
    mixtures, order, ambiguous = matched(fit.mixture, found.mixtures, fit.row_masses)
    said: list[Note] = []
    settled = found.still_rising <= RISING
    if not settled:
        said.append(
            Note(
                NoteKind.SAMPLING,
                f"svi: the evidence bound still rose by {found.still_rising:.3g} nats in the last "
                f"tenth of {len(found.elbo)} steps, more than {RISING:g}: its draws are not yet "
                "those of the best guide. Raise num_steps or learning_rate",
            )
        )
    if doubtful := int(ambiguous.sum()):
        said.append(
            Note(
                NoteKind.DRAWS,
                f"svi: the sources of {doubtful} of {len(order)} draws could nearly as well be "
                "matched otherwise with those of the fit: answers about a single source are "
                "doubtful, those about P(V) and its interventions are not; try fewer sources",
            )
        )
    bound = Note(
        NoteKind.DRAWS, f"svi: evidence bound {found.last:.6g} nats", {"bound": found.last}
    )
    notes = [*notes, bound, *warn_of(said)]
    if found.point:
        result = evaluate(counts, mixtures[0])
        result = replace(result, n_iter=len(found.elbo), converged=settled)
        again = from_em(
            result,
            counts,
            Course("refine", ("svi",)),
            ChosenPrior(prior, fit.chosen_prior.words, choice=fit.chosen_prior.choice),
            notes=notes,
            moments=fit.moments,
        )
        return _renewed(fit, replace(again, climb=replace(again.climb, bound=found.elbo)))
    return with_draws(fit, Draws(mixtures, "svi", str(len(order)), bound=found.elbo), notes)


def _prior_note(method: str, prior: PseudoCounts) -> Note:
    """Which prior the posterior has, since there always is one."""
    if prior.is_zero:
        what = "uniform prior on every row of every table (no pseudo-counts)"
    else:
        what = "Dirichlet prior with concentrations of one plus the pseudo-counts"
    return Note(NoteKind.PRIOR, f"{method}: {what}")


def _function(method: str) -> Callable[..., Any]:
    """What runs a method; those in Pyro are imported when asked for."""
    if method == "nuts":
        from pyromix.posterior.nuts import nuts

        return nuts
    if method == "svi":
        from pyromix.posterior.svi import svi

        return svi
    return gibbs if method == "gibbs" else climb


def _check_options(method: str, options: Mapping[str, Any]) -> None:
    """Refuse options that the method does not take.

    Raises:
        QueryError: naming near matches, and all that there are.
    """
    internal = {"row_masses", "n_identified"}
    parameters = inspect.signature(_function(method)).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in internal]
    for name in options:
        if name not in known:
            raise QueryError(
                f"unknown option {name!r} of method {method!r}{near_matches(name, known)}; its "
                f"options are {sorted(known)}"
            )
