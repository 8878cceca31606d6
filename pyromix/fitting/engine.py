"""The front door: from a model and a table to a mixture that answers do-queries."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, SupportsIndex

import torch

from pyromix.data.asking import Asked
from pyromix.data.counts import Counts
from pyromix.data.moments import MAX_CELLS, Rows
from pyromix.errors import (
    DataError,
    QueryError,
    SpecError,
    WeakIdentificationWarning,
)
from pyromix.estimate.em import evaluate, fit_em, random_starts
from pyromix.estimate.pooled_prior import POOLED, shrink
from pyromix.estimate.progress import Tell, progress_bar
from pyromix.estimate.restarts import climb_until_confirmed
from pyromix.estimate.result import EMResult
from pyromix.estimate.starts import batch_of
from pyromix.exact.threads import one_thread_unless
from pyromix.fitting.assembly import diagnosed, from_em, from_population
from pyromix.fitting.inputs import take_in, without_edges
from pyromix.fitting.record import Fit
from pyromix.identify.stage import MomentStage
from pyromix.identify.start import MomentStart, start_from_moments
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import Prior, PseudoCounts, prior_words
from pyromix.model.randomness import RandomState, torch_generator
from pyromix.model.spec import near_matches

METHODS = ("auto", "moments", "markov-boundary", "em")

MOMENTS_ALONE = ("moments", "markov-boundary")

MOMENTS_ONLY = (
    "The data answer moments only, without rows: the fit stops after moments, and likelihood, AIC, "
    "BIC, ICL, entropy, bootstrap and posterior draws are left out."
)

N_INIT = 20
"""Random starts where moments do not determine the mixture."""

N_INIT_BESIDE_MOMENTS = 4
"""Random starts beside one from moments that do: whether they agree says something of the model."""


def fit(
    model: Any,
    data: Any,
    n_sources: int | None = None,
    *,
    method: str = "auto",
    n_init: int | None = None,
    prior: str | Prior | None = POOLED,
    sample_weight: Any = None,
    missing: str = "mar",
    state_names: Mapping[str, Sequence[Hashable]] | None = None,
    device: torch.device | str | None = None,
    random_state: RandomState = 0,
    show_progress: bool | None = None,
    max_iter: int = 2000,
    tol: float = 1e-9,
) -> Fit:
    """Fit a mixture to a table; arguments and errors of ``px.fit``."""
    if method not in METHODS:
        raise QueryError(
            f"method must be one of {list(METHODS)}, found {method!r}"
            f"{near_matches(method, METHODS)}"
        )
    if n_init is not None and (
        isinstance(n_init, bool) or not isinstance(n_init, int) or n_init < 0
    ):
        raise SpecError(f"n_init must be an integer >= 0 or left out, found {n_init!r}")
    if isinstance(prior, str) and prior != POOLED:
        raise QueryError(f"prior must be {POOLED!r}, None, a number or a mapping, found {prior!r}")
    source, notes = take_in(model, data, n_sources, state_names, sample_weight, missing, device)
    size = source.n_patterns * source.schema.n_variables if isinstance(source, Rows) else 0
    with progress_bar(show_progress, max_iter, "EM") as tell, one_thread_unless(size):
        em = {"max_iter": max_iter, "tol": tol, "progress": partial(_tell, tell)}
        generator = torch_generator(random_state)
        found = _fitted(source, method, n_init, prior, generator, em, notes)
    seed = str(random_state) if isinstance(random_state, SupportsIndex) else "a generator"
    return replace(found, diagnostics=replace(found.diagnostics, random_state=seed))


def fit_product(data: Any, n_sources: int, **options: Any) -> Fit:
    """Fit a network without edges; arguments and errors of ``px.fit_product``."""
    weight = options.get("sample_weight")
    options.setdefault("prior", None)
    return fit(*without_edges(data, weight), n_sources, **options)


def _fitted(
    source: Asked,
    method: str,
    n_init: int | None,
    prior: str | Prior | None,
    generator: torch.Generator,
    em: Mapping[str, Any],
    notes: tuple[str, ...],
) -> Fit:
    """Moments, then EM from there and from random starts, as the method says."""
    spec = source.spec
    exact = source.exact
    found = _moments(source, method, generator)
    stages = tuple(start.stage for start in found)
    given = [mixture for start in found for mixture in start.mixtures]
    determined = any(stage.ok for stage in stages)
    if determined and (exact or not source.listable):
        label = method if method in MOMENTS_ALONE else f"{method}: moments"
        notes = notes if exact else (*notes, MOMENTS_ONLY)
        return from_population(given[0], source, label, notes, stages[0])
    if stages and not source.listable:
        raise _lacking_rows(source, stages[0])
    counts = source.as_counts()
    n_rows = math.inf if exact else None
    if method in MOMENTS_ALONE:
        result = evaluate(counts, given[0])
        none = PseudoCounts.of(spec, None, counts.device)
        said = diagnosed(method, result, prior_words(None), notes, stages)
        return from_em(result, counts, said, none, n_rows=n_rows)
    # Exact moments that do not determine the mixture are no start: their zeros would stay.
    given = [] if exact else given
    stage = "moments, em" if given else "em"
    label = method if method == "em" else f"{method}: {stage}"
    pooled = isinstance(prior, str)
    fixed = PseudoCounts.of(spec, None if pooled else prior, counts.device)
    em = {**em, "prior": fixed}
    result = _climbed(counts, given, determined, n_init, generator, em)
    said = diagnosed(label, result, prior_words(None if pooled else prior), notes, stages)
    if not pooled or exact:
        return from_em(result, counts, said, fixed, n_rows=n_rows)
    shrunk = shrink(counts, result, generator, max_iter=em["max_iter"], tol=em["tol"])
    said = replace(said, prior=f"chosen: {shrunk.choice}", prior_held_out=shrunk.held_out)
    return from_em(shrunk.result, counts, said, shrunk.prior)


def _climbed(
    counts: Counts,
    given: Sequence[BayesNetMixture],
    determined: bool,
    n_init: int | None,
    generator: torch.Generator,
    em: Mapping[str, Any],
) -> EMResult:
    """EM from given starts and random ones, until the best optimum is confirmed."""
    spec = counts.spec
    draw = partial(
        random_starts, spec, random_state=generator, device=counts.rows.device, counts=counts
    )
    wanted = n_init
    if wanted is None:
        wanted = N_INIT_BESIDE_MOMENTS if determined else N_INIT
        wanted = wanted if spec.n_sources > 1 else 1
    if wanted + len(given) < 1:
        raise SpecError("n_init=0 leaves no start: moments give none for this table; raise n_init")
    starts = batch_of(*given, *([draw(wanted)] if wanted else []))
    options = {"n_identified": int(determined), **em}
    if n_init is None:
        return climb_until_confirmed(counts, starts, draw, **options)
    return fit_em(counts, starts, **options)


def _moments(source: Asked, method: str, generator: torch.Generator) -> tuple[MomentStart, ...]:
    """The moment stage, where there is one; a fallback is said."""
    spec = source.spec
    if method == "em" or (method == "auto" and spec.n_sources == 1 and source.listable):
        return ()
    start = start_from_moments(
        source,
        generator,
        strict=method in MOMENTS_ALONE,
        boundaries=method == "markov-boundary",
    )
    if not start.stage.ok and source.listable:
        warnings.warn(
            f"moments alone do not determine the mixture, so random starts "
            f"{'join' if start.mixtures else 'replace'} them: {'; '.join(start.stage.notes)}",
            WeakIdentificationWarning,
            stacklevel=4,
        )
    return (start,)


def _lacking_rows(source: Asked, stage: MomentStage) -> DataError:
    """Moments that do not determine the mixture, of data that have nothing else."""
    rows = (
        f"a joint table of {source.schema.n_cells:,} cells, more than {MAX_CELLS:,}"
        if source.exact
        else f"a {type(source.source).__name__} that answers moments only"
    )
    return DataError(
        "expected moments that determine the mixture, or rows for EM; found that moments alone do "
        f"not ({stage.status}: {'; '.join(stage.notes)}), and {rows}. Pass the table itself, or a "
        "sample, or ask for fewer sources"
    )


def _tell(tell: Tell, iteration: int, log_likelihood: float) -> None:
    tell(iteration, f"logL {log_likelihood:.3f}")
