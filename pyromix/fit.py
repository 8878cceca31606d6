"""The front door: from a model and a table to a mixture that answers do-queries."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, SupportsIndex

import torch

from pyromix.assembly import diagnosed, from_em, from_population
from pyromix.data.counts import Counts
from pyromix.data.population import Population
from pyromix.errors import (
    QueryError,
    SpecError,
    WeakIdentificationWarning,
)
from pyromix.intake import take_in, without_edges
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import Prior, PseudoCounts, prior_words
from pyromix.model.randomness import RandomState, branched, torch_generator
from pyromix.model.spec import near_matches
from pyromix.model.threads import one_thread_unless
from pyromix.moment_stage import MomentStart, start_from_moments
from pyromix.refine.em import evaluate, fit_em, random_starts
from pyromix.refine.outcome import EMResult
from pyromix.refine.pooled import POOLED, shrink
from pyromix.refine.progress import Tell, progress_bar
from pyromix.refine.restarts import climb_until_confirmed
from pyromix.refine.starts import batch_of
from pyromix.result import MixtureFit

METHODS = ("auto", "moments", "markov-boundary", "em")

MOMENTS_ALONE = ("moments", "markov-boundary")

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
) -> MixtureFit:
    """Fit a mixture of Bayesian networks with an unobserved source to a table.

    Args:
        model: pgmpy DiscreteBayesianNetwork or DAG (one latent vertex is the source, and the
            vertices it does not point at are uninfluenced; without one, a source ``"U"`` that
            points at every vertex is added and said so), networkx DiGraph, path to a network
            file, or MixtureSpec.
        data: pandas or polars DataFrame, Arrow table, path to csv or parquet, Counts, or
            Population.
        n_sources: k; by default the cardinality of the model's latent vertex. Another number than
            that is taken, and the sources are then named 0..k-1.
        method: ``"auto"``, moments, then EM from there and from random starts; ``"moments"``,
            those alone; ``"markov-boundary"``, moments alone by the runs of [gordon23clear];
            ``"em"``, random starts alone.
        n_init: number of random starts. By default 4 beside a start from moments that determine
            the mixture and 20 without one; on small tables further ones, up to 200, until the best
            optimum has been reached by three starts or by the one from moments.
        prior: ``"pooled"``, pseudo-counts whose kind and strength held-out rows choose (see
            ``refine.pooled``); None for maximum likelihood; a number for that pseudo-count in every
            cell and on every source; or a mapping from names of vertices to numbers or tables.
        sample_weight: column name of ``data`` or one weight per row.
        missing: ``"mar"`` keeps rows with missing cells, ``"drop"`` drops and reports them,
            ``"error"`` refuses.
        state_names: states of variables in the order wanted; overrides those of the model.
        device: where to compute; by default the CPU, or the device of given Counts.
        random_state: seed of the starts.
        show_progress: None shows a bar on a terminal only.
        max_iter: iteration limit of EM.
        tol: EM stops when an iteration gains less than this many nats per row.

    Returns:
        The fit with the best likelihood over the starts; sources by decreasing weight.

    Raises:
        SpecError: the graph, the states or k are unusable.
        DataError: the table does not fit the model, or a weight is unusable.
        FileError: a path cannot be read.
        QueryError: an option is unknown.
        RefinementError: EM diverged.
    """
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
    size = len(source.rows) * source.spec.n_variables if isinstance(source, Counts) else 0
    with progress_bar(show_progress, max_iter, "EM") as tell, one_thread_unless(size):
        em = {"max_iter": max_iter, "tol": tol, "progress": partial(_tell, tell)}
        generator = torch_generator(random_state)
        found = _fitted(source, method, n_init, prior, generator, em, notes)
    seed = str(random_state) if isinstance(random_state, SupportsIndex) else "a generator"
    return replace(found, diagnostics=replace(found.diagnostics, random_state=seed))


def fit_product(data: Any, n_sources: int, **options: Any) -> MixtureFit:
    """Fit a mixture of product distributions: a network without edges, k-MixProd.

    Args:
        data: as in ``fit``; every column is a variable, but for the column of weights.
        n_sources: k.
        **options: as in ``fit``; the prior is none by default, as latent class analysis has it.

    Raises:
        SpecError: k is unusable.
        DataError: the table or a weight is unusable.
    """
    weight = options.get("sample_weight")
    options.setdefault("prior", None)
    return fit(*without_edges(data, weight), n_sources, **options)


def _fitted(
    source: Counts | Population,
    method: str,
    n_init: int | None,
    prior: str | Prior | None,
    generator: torch.Generator,
    em: Mapping[str, Any],
    notes: tuple[str, ...],
) -> MixtureFit:
    """Moments, then EM from there and from random starts, as the method says."""
    spec = source.spec
    exact = isinstance(source, Population)
    found = _moments(source, method, generator)
    stages = tuple(start.stage for start in found)
    given = [mixture for start in found for mixture in start.mixtures]
    determined = any(stage.ok for stage in stages)
    if determined and exact:
        label = method if method in MOMENTS_ALONE else f"{method}: moments"
        return from_population(given[0], source, label, notes, stages[0])
    counts = source.as_counts() if exact else source
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
    draw = partial(random_starts, spec, device=counts.rows.device, counts=counts)
    wanted = n_init
    if wanted is None:
        wanted = N_INIT_BESIDE_MOMENTS if determined else N_INIT
        wanted = wanted if spec.n_sources > 1 else 1
    if wanted + len(given) < 1:
        raise SpecError("n_init=0 leaves no start: moments give none for this table; raise n_init")
    starts = batch_of(*given, *([draw(wanted, generator)] if wanted else []))
    options = {"n_identified": int(determined), **em}
    if n_init is None:
        # How many rounds follow depends on where single starts end. What is drawn after them, such
        # as the folds that choose a prior, must not hang on a start that rounding has moved.
        further = branched(generator)
        return climb_until_confirmed(counts, starts, lambda n: draw(n, further), **options)
    return fit_em(counts, starts, **options)


def _moments(
    source: Counts | Population, method: str, generator: torch.Generator
) -> tuple[MomentStart, ...]:
    """The moment stage, where there is one; a fallback is said."""
    spec = source.spec
    if method == "em" or (method == "auto" and spec.n_sources == 1):
        return ()
    start = start_from_moments(
        source,
        generator,
        strict=method in MOMENTS_ALONE,
        boundaries=method == "markov-boundary",
    )
    if not start.stage.ok:
        warnings.warn(
            f"moments alone do not determine the mixture, so random starts "
            f"{'join' if start.mixtures else 'replace'} them: {'; '.join(start.stage.notes)}",
            WeakIdentificationWarning,
            stacklevel=4,
        )
    return (start,)


def _tell(tell: Tell, iteration: int, log_likelihood: float) -> None:
    tell(iteration, f"logL {log_likelihood:.3f}")
