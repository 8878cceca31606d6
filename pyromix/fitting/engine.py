"""The front door: from a model and a table to a mixture that answers do-queries."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import Any, SupportsIndex

import torch

from pyromix.data.asking import Asked
from pyromix.data.counts import Counts
from pyromix.data.moments import MAX_JOINT_CELLS, Rows
from pyromix.data.thinning import thinned
from pyromix.data.weights import COUNTS
from pyromix.errors import (
    DataError,
    QueryError,
    SpecError,
    WeakIdentificationWarning,
    warn,
)
from pyromix.estimate.em import climb, evaluate, random_starts
from pyromix.estimate.indexed import IndexedRows
from pyromix.estimate.pooled_prior import POOLED, shrink
from pyromix.estimate.progress import Tell, progress_bar
from pyromix.estimate.race import HEAT_ROWS
from pyromix.estimate.restarts import Climber, climb_raced, climb_until_confirmed
from pyromix.estimate.result import EMResult, warned
from pyromix.estimate.starts import batch_of, check_starts
from pyromix.exact.rows import CellIndex
from pyromix.exact.threads import one_thread_unless
from pyromix.fitting.assembly import from_em, from_population
from pyromix.fitting.inputs import take_in, without_edges
from pyromix.fitting.journal import MOMENTS_ALONE, ChosenPrior, Climb, Course
from pyromix.fitting.record import Fit
from pyromix.fitting.resuming import Chosen, checkpoint_of_fit, chosen_step, kept_climber
from pyromix.fitting.streaming import Streamed, fit_stream
from pyromix.formats.checkpoint import digest
from pyromix.identify.identifiers import Boundaries, Identifier
from pyromix.identify.stage import MomentStage, MomentStart
from pyromix.identify.start import start_for_em, start_from_moments
from pyromix.model.arguments import flag, one_of, real, shown, whole
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.note import Note, NoteKind, sentences
from pyromix.model.prior import Prior, PseudoCounts, prior_words
from pyromix.model.randomness import RandomState, branched, check_seed, torch_generator

FIT_METHODS = ("auto", "moments", "markov-boundary", "em")

MOMENTS_ONLY = (
    "The data answer moments only, without rows: the fit stops after moments, and likelihood, AIC, "
    "BIC, ICL, entropy, bootstrap and posterior draws are left out."
)

NO_POOLED = (
    "No pseudo-counts: they are chosen by held-out rows of a table in memory, and this one is read "
    "as a stream; prior=1.0 sets them."
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
    method: str | Identifier = "auto",
    n_init: int | None = None,
    prior: str | Prior | None = POOLED,
    sample_weight: Any = None,
    weights_are: str = COUNTS,
    missing: str = "mar",
    missing_values: Any = None,
    state_names: Mapping[str, Sequence[Hashable]] | None = None,
    device: torch.device | str | None = None,
    random_state: RandomState = 0,
    show_progress: bool | None = None,
    max_iter: int = 2000,
    tol: float = 1e-9,
    checkpoint: str | PathLike[str] | None = None,
    memory_limit: Any = None,
    needed: float = -math.inf,
) -> Fit:
    """Fit a mixture to a table; arguments and errors of ``px.fit``.

    One more argument: ``needed``, the log-likelihood below which nobody wants the fit, as in
    ``estimate.em.climb``.
    """
    if isinstance(method, type):
        raise QueryError(
            f"method: found the class {method.__name__}; make one, {method.__name__}()"
        )
    if not isinstance(method, Identifier):
        method = one_of("method", method, FIT_METHODS)
    if n_init is not None:
        n_init = whole("n_init", n_init, 0, error=SpecError)
    max_iter = whole("max_iter", max_iter, 1, error=SpecError)
    tol = real("tol", tol, 0.0, error=SpecError, advice="nats per row, e.g. tol=1e-9")
    check_seed(random_state)
    if show_progress is not None:
        show_progress = flag("show_progress", show_progress)
    if isinstance(prior, str) and prior != POOLED:
        raise QueryError(
            f"prior must be {POOLED!r}, None, a number or a mapping, found {shown(prior)}"
        )
    taken, notes = take_in(
        model,
        data,
        n_sources,
        state_names,
        sample_weight,
        missing,
        device,
        weights_are,
        missing_values,
        memory_limit,
    )
    size = taken.n_patterns * taken.schema.n_variables if isinstance(taken, Rows) else 0
    with progress_bar(show_progress, max_iter, "EM") as tell, one_thread_unless(size):
        em = {"max_iter": max_iter, "tol": tol, "progress": partial(_tell, tell), "needed": needed}
        generator = torch_generator(random_state)
        found = _fitted(taken, method, n_init, prior, generator, em, notes, checkpoint)
    seed = str(random_state) if isinstance(random_state, SupportsIndex) else "a generator"
    return replace(found, random_state=seed)


def fit_product(data: Any, n_sources: int, **options: Any) -> Fit:
    """Fit a network without edges; arguments and errors of ``px.fit_product``."""
    given = (options.get(name) for name in ("sample_weight", "state_names", "missing_values"))
    options.setdefault("prior", None)
    return fit(*without_edges(data, *given), n_sources, **options)


def _fitted(
    data: Asked,
    method: str | Identifier,
    n_init: int | None,
    prior: str | Prior | None,
    generator: torch.Generator,
    em: Mapping[str, Any],
    notes: tuple[Note, ...],
    checkpoint: str | PathLike[str] | None,
) -> Fit:
    """Moments, then EM from there and from random starts, as the method says."""
    spec, state = data.spec, generator.get_state()
    check_starts(spec, max(n_init or 1, 1))
    exact = data.exact
    asked = method.name if isinstance(method, Identifier) else method
    listed = data.listable and not exact
    table = IndexedRows.of(spec, data.as_counts()) if listed else None
    start = _moments(data, method, generator, None if table is None else table.index)
    if isinstance(data.data, Streamed) and method not in MOMENTS_ALONE:
        options = {"method": asked, "n_init": n_init, "prior": prior, "state": digest(state)}
        return _streamed(data, data.data, start, generator, em, notes, checkpoint, options)
    stage = None if start is None else start.stage
    given = None if start is None else start.mixture
    determined = stage is not None and stage.ok
    if given is not None and stage is not None and determined and (exact or not data.listable):
        notes = notes if exact else (*notes, Note(NoteKind.MOMENTS_ONLY, MOMENTS_ONLY))
        return from_population(given, data, Course(asked, ("moments",)), notes, stage)
    if stage is not None and not data.listable:
        raise _lacking_rows(data, stage)
    counts = data.as_counts()
    n_rows = math.inf if exact else None
    if given is not None and method in MOMENTS_ALONE:
        none = ChosenPrior(PseudoCounts.of(spec, None, counts.device), prior_words(None))
        return from_em(
            evaluate(counts, given),
            counts,
            Course(asked, ("moments",)),
            none,
            notes=notes,
            moments=stage,
            n_rows=n_rows,
        )
    # Exact moments that do not determine the mixture are no start: their zeros would stay.
    given = None if exact else given
    course = Course(asked, ("em",) if given is None else ("moments", "em"))
    pooled = isinstance(prior, str)
    fixed = PseudoCounts.of(spec, None if pooled else prior, counts.device)
    ends_at = {"max_iter": em["max_iter"], "tol": em["tol"]}
    options = {"method": asked, "n_init": n_init, "prior": prior, **ends_at}
    kept = checkpoint_of_fit(checkpoint, spec, counts, state, options)
    em = {**em, "prior": fixed}
    table = IndexedRows.of(spec, counts) if table is None else table
    run = kept_climber(kept)
    result = _climbed(counts, table, given, determined, n_init, generator, em, run)
    if not pooled or exact:
        said = ChosenPrior(fixed, prior_words(None if pooled else prior))
        return from_em(
            result,
            counts,
            course,
            said,
            notes=notes,
            moments=stage,
            n_rows=n_rows,
            index=table.index,
        )

    def choose() -> Chosen:
        found = shrink(counts, result, generator, table=table, **ends_at)
        return found.result, found.prior, str(found.choice), found.held_out

    chosen, learned, name, held_out = chosen_step(kept, spec, counts.device, generator, choose)
    return from_em(
        chosen,
        counts,
        course,
        ChosenPrior(learned, f"chosen: {name}", held_out, name),
        notes=(*notes, *result.notes),
        moments=stage,
        climb=Climb.of(result),
        ends=result.ends,
        index=table.index,
    )


def _streamed(
    data: Asked,
    rows: Streamed,
    start: MomentStart | None,
    generator: torch.Generator,
    em: Mapping[str, Any],
    notes: tuple[Note, ...],
    checkpoint: str | PathLike[str] | None,
    options: Mapping[str, Any],
) -> Fit:
    """A fit to rows that come as a stream."""
    prior, n_init = options["prior"], options["n_init"]
    pooled = isinstance(prior, str)
    fixed = PseudoCounts.of(data.spec, None if pooled else prior)
    chosen = ChosenPrior(fixed, prior_words(None if pooled else prior))
    if pooled:
        notes = (*notes, Note(NoteKind.PRIOR, NO_POOLED))

    def climb_sample(counts: Counts, given: BayesNetMixture | None, determined: bool) -> EMResult:
        table = IndexedRows.of(data.spec, counts)
        plain = {**em, "prior": fixed}
        return _climbed(counts, table, given, determined, n_init, generator, plain, climb)

    return fit_stream(data, rows, start, climb_sample, chosen, notes, checkpoint, options)


def _climbed(
    counts: Counts,
    table: IndexedRows,
    given: BayesNetMixture | None,
    determined: bool,
    n_init: int | None,
    generator: torch.Generator,
    em: Mapping[str, Any],
    run: Climber,
) -> EMResult:
    """EM from a given start and random ones, until the best optimum is confirmed."""
    spec = table.index.spec
    draw = partial(random_starts, spec, device=table.rows.device, counts=table)
    options = {"n_identified": int(determined), **em}
    # How many rounds follow depends on where single starts end. What is drawn after them, such as
    # the folds that choose a prior, must not hang on a start that rounding has moved.
    further = branched(generator)
    if n_init is None and spec.n_sources > 1 and counts.n_patterns > HEAT_ROWS:
        heat = thinned(counts, HEAT_ROWS, further)
        first = None if given is None else batch_of(given)
        return climb_raced(table, first, lambda n: draw(n, further), heat, run, **options)
    wanted = n_init
    if wanted is None:
        wanted = N_INIT_BESIDE_MOMENTS if determined else N_INIT
        wanted = wanted if spec.n_sources > 1 else 1
    if given is None and wanted < 1:
        raise SpecError("n_init=0 leaves no start: moments give none for this table; raise n_init")
    drawn = [draw(wanted, generator)] if wanted else []
    starts = batch_of(*([] if given is None else [given]), *drawn)
    if n_init is None:
        return climb_until_confirmed(table, starts, lambda n: draw(n, further), run, **options)
    return warned(run(table, starts, **options), em.get("needed", -math.inf))


def _moments(
    data: Asked, method: str | Identifier, generator: torch.Generator, index: CellIndex | None
) -> MomentStart | None:
    """The moment stage, where there is one; a fallback is said."""
    rows = data.listable or isinstance(data.data, Streamed)
    if method == "em" or (method == "auto" and data.spec.n_sources == 1 and rows):
        return None
    own = method if isinstance(method, Identifier) else None
    if method == "markov-boundary":
        own = Boundaries()
    if method in MOMENTS_ALONE or not data.listable or data.exact:
        start = start_from_moments(data, generator, strict=method in MOMENTS_ALONE, identifier=own)
    else:
        start = start_for_em(data.as_counts(), data.spec, generator, identifier=own, index=index)
    if not start.stage.ok and rows:
        warn(
            f"moments alone do not determine the mixture, so random starts "
            f"{'replace' if start.mixture is None else 'join'} them: "
            f"{'; '.join(sentences(start.stage.notes))}",
            WeakIdentificationWarning,
        )
    return start


def _lacking_rows(data: Asked, stage: MomentStage) -> DataError:
    """Moments that do not determine the mixture, of data that have nothing else."""
    rows = (
        f"a joint table of {data.schema.n_cells:,} cells, more than {MAX_JOINT_CELLS:,}"
        if data.exact
        else f"a {type(data.data).__name__} that answers moments only"
    )
    why = "; ".join(sentences(stage.notes))
    return DataError(
        "expected moments that determine the mixture, or rows for EM; found that moments alone do "
        f"not ({stage.status.name}: {why}), and {rows}. Pass the table itself, or a sample, or ask "
        "for fewer sources"
    )


def _tell(tell: Tell, iteration: int, log_likelihood: float) -> None:
    tell(iteration, f"logL {log_likelihood:.3f}")
