"""From a fit to a better one on the same or another table, or to one with draws around it."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pyromix.assembly import diagnosed, from_em, with_draws
from pyromix.data.counts import Counts
from pyromix.errors import (
    PyromixWarning,
    QueryError,
    SamplingWarning,
    WeakIdentificationWarning,
)
from pyromix.model.prior import PseudoCounts, prior_words
from pyromix.model.randomness import RandomState
from pyromix.model.spec import near_matches
from pyromix.query.predict import counted
from pyromix.refine.bootstrap import replicate
from pyromix.refine.chains import MANY_PARAMETERS
from pyromix.refine.em import climb, evaluate, fit_em
from pyromix.refine.gibbs import gibbs
from pyromix.refine.posterior import assessed, matched, remarks
from pyromix.refine.starts import batch_of
from pyromix.result import MixtureFit

METHODS = ("em", "gibbs", "nuts", "svi")

KNOWN_PLACE = (
    "{method}: the fit pools its sources, and where to was learned from the table; this method "
    'takes it as known, so intervals are too narrow where tables were pooled: method="gibbs" and '
    "fit.bootstrap() do not, or fit with another prior"
)
"""Said of methods whose prior is fixed."""

RISING = 1.0
"""Nats by which the bound of SVI may still rise in its last tenth without a word."""


def refine(fit: MixtureFit, data: Any = None, method: str = "em", **options: Any) -> MixtureFit:
    """Continue from an estimate on a table; arguments and errors of ``MixtureFit.refine``."""
    if method not in METHODS:
        raise QueryError(
            f"unknown method {method!r} of refine{near_matches(method, METHODS)}; expected one of "
            f"{list(METHODS)}"
        )
    weight = options.pop("sample_weight", None)
    _check_options(method, options)
    if data is not None:
        data = counted(data, fit.spec, weight)
    if method == "em":
        return _em(fit, data, **options)
    if data is not None or "prior" in options:
        fit = _em(fit, data, prior=options.pop("prior", fit.prior))
    counts = fit.counts.to(fit.mixture.device)
    prior = fit.prior.to(fit.mixture.device)
    notes = [_prior_note(method, prior)]
    if prior.learned and method != "gibbs":
        notes += _said([(SamplingWarning, KNOWN_PLACE.format(method=method))])
    run = _varied if method == "svi" else _sampled
    return run(fit, counts, prior, method, notes, options)


def bootstrap(
    fit: MixtureFit,
    data: Any = None,
    n: int = 200,
    *,
    kind: str = "multinomial",
    sample_weight: Any = None,
    random_state: RandomState = 0,
    max_iter: int = 2000,
) -> MixtureFit:
    """Attach bootstrap replicates; arguments and errors of ``MixtureFit.bootstrap``."""
    own = fit.counts if data is None else counted(data, fit.spec, sample_weight)
    counts = own.to(fit.mixture.device)
    found = replicate(
        counts,
        fit.mixture,
        n,
        kind=kind,
        prior=fit.prior,
        random_state=random_state,
        max_iter=max_iter,
    )
    notes = []
    if lost := int((~found.converged).sum()):
        notes.append(f"{lost} of {n} replicates stopped at max_iter={max_iter}")
    if doubtful := int(found.ambiguous.sum()):
        notes.append(
            f"the sources of {doubtful} of {n} replicates could nearly as well be matched "
            "otherwise: sources hardly differ, or one replicate ended elsewhere"
        )
    for note in notes:
        warnings.warn(note, WeakIdentificationWarning, stacklevel=3)
    return with_draws(fit, found.mixtures, f"bootstrap ({kind}, {n})", notes)


def _em(fit: MixtureFit, data: Any, **options: Any) -> MixtureFit:
    """Climb from the estimate."""
    counts = fit.counts if data is None else counted(data, fit.spec)
    counts = counts.to(fit.mixture.device)
    said = options.pop("prior", fit.prior)
    prior = said if isinstance(said, PseudoCounts) else PseudoCounts.of(fit.spec, said)
    prior = prior.to(fit.mixture.device)
    result = fit_em(counts, batch_of(fit.mixture), prior=prior, **options)
    words = fit.diagnostics.prior if said is fit.prior else prior_words(said)
    stages = fit.diagnostics.moments
    return from_em(result, counts, diagnosed("refine: em", result, words, (), stages), prior)


def _sampled(
    fit: MixtureFit,
    counts: Counts,
    prior: PseudoCounts,
    method: str,
    notes: Sequence[str],
    options: Mapping[str, Any],
) -> MixtureFit:
    """Attach draws of a Markov chain."""
    said: list[tuple[type[PyromixWarning], str]] = []
    if method == "nuts" and fit.n_parameters > MANY_PARAMETERS:
        sentence = (
            f"nuts moves all {fit.n_parameters} probabilities at once, which is slow beyond "
            f'{MANY_PARAMETERS}: method="gibbs" draws from the same posterior at the cost of an EM '
            "step each"
        )
        said.append((SamplingWarning, sentence))
    notes = [*notes, *_said(said)]  # before the wait
    found = _function(method)(
        counts, fit.mixture, prior=prior, row_masses=fit.row_masses, **options
    )
    report = assessed(found, method)
    notes = [*notes, str(report), *_said(remarks(report))]
    size = f"{report.n_chains} x {report.n_draws}"
    return with_draws(fit, found.flat, f"{method} ({size})", notes, sampling=(report,))


def _varied(
    fit: MixtureFit,
    counts: Counts,
    prior: PseudoCounts,
    method: str,
    notes: Sequence[str],
    options: Mapping[str, Any],
) -> MixtureFit:
    """Attach draws from a fitted guide, or take its point as the estimate."""
    found = _function(method)(counts, fit.mixture, prior=prior, **options)
    mixtures, order, ambiguous = matched(fit.mixture, found.mixtures, fit.row_masses)
    said: list[tuple[type[PyromixWarning], str]] = []
    settled = found.still_rising <= RISING
    if not settled:
        said.append(
            (
                SamplingWarning,
                f"svi: the bound still rose by {found.still_rising:.3g} nats in the last tenth of "
                f"{len(found.elbo)} steps. Raise num_steps or learning_rate",
            )
        )
    if doubtful := int(ambiguous.sum()):
        said.append(
            (
                WeakIdentificationWarning,
                f"svi: the sources of {doubtful} of {len(order)} draws could nearly as well be "
                "matched otherwise: answers about a source are doubtful",
            )
        )
    notes = [*notes, f"svi: bound {found.last:.6g} nats", *_said(said)]
    if found.point:
        result = evaluate(counts, mixtures[0])
        result = replace(result, n_iter=len(found.elbo), converged=settled)
        told = diagnosed(
            "refine: svi", result, fit.diagnostics.prior, notes, fit.diagnostics.moments
        )
        return from_em(result, counts, replace(told, elbo=found.elbo), prior)
    return with_draws(fit, mixtures, f"svi ({len(order)})", notes, elbo=found.elbo)


def _said(remarks: Sequence[tuple[type[PyromixWarning], str]]) -> list[str]:
    """Give warnings, and return their sentences as notes."""
    for category, sentence in remarks:
        warnings.warn(sentence, category, stacklevel=5)
    return [sentence for _, sentence in remarks]


def _prior_note(method: str, prior: PseudoCounts) -> str:
    """Which prior the posterior has, since there always is one."""
    if prior.is_zero:
        return f"{method}: uniform prior on every row of every table (no pseudo-counts)"
    return f"{method}: Dirichlet prior with concentrations of one plus the pseudo-counts"


def _function(method: str) -> Callable[..., Any]:
    """What runs a method; those in Pyro are imported when asked for."""
    if method == "nuts":
        from pyromix.refine.nuts import nuts

        return nuts
    if method == "svi":
        from pyromix.refine.svi import svi

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
