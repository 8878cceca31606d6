"""The front door: from a model and a table to a mixture that answers do-queries."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from tqdm import tqdm

from pyromix.assembly import from_em, from_population
from pyromix.bridges.pgmpy import structure_of
from pyromix.bridges.structure import Structure
from pyromix.data.counts import Counts
from pyromix.data.frames import observed_states, read_frame
from pyromix.data.population import Population
from pyromix.errors import (
    DataError,
    DataRepairWarning,
    QueryError,
    SpecError,
    WeakIdentificationWarning,
)
from pyromix.model.randomness import RandomState, torch_generator
from pyromix.model.spec import MixtureSpec, near_matches
from pyromix.moment_stage import MomentStart, start_from_moments
from pyromix.refine.em import evaluate, fit_em, random_starts
from pyromix.refine.restarts import climb_until_confirmed
from pyromix.refine.starts import batch_of
from pyromix.result import MixtureFit

METHODS = ("auto", "moments", "em")

N_INIT = 20
"""Random starts where moments do not determine the mixture."""

N_INIT_BESIDE_MOMENTS = 4
"""Random starts beside one from moments that do: whether they agree says something of the model."""

COUNT_NAMES = ("count", "counts", "n", "freq", "frequency", "weight", "weights")
"""Names of columns that are likely to be weights."""


def fit(
    model: Any,
    data: Any,
    n_sources: int | None = None,
    *,
    method: str = "auto",
    n_init: int | None = None,
    prior: float | None = None,
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
        method: ``"auto"``, moments where the graph has no edges, then EM from there and from
            random starts; ``"moments"``, those alone; ``"em"``, random starts alone.
        n_init: number of random starts. By default 4 beside a start from moments that determine
            the mixture and 20 without one; on small tables further ones, up to 200, until the best
            optimum has been reached by three starts or by the one from moments.
        prior: None for maximum likelihood, a number for that pseudo-count in every cell.
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
    if n_init is not None and (isinstance(n_init, bool) or not isinstance(n_init, int)):
        raise SpecError(f"n_init must be an integer or left out, found {n_init!r}")
    structure = structure_of(model, n_sources)
    source = _source(structure, data, n_sources, state_names, sample_weight, missing)
    if device is not None:
        source = source.to(device)
    repairs = source.report.repairs if isinstance(source, Counts) else ()
    notes = (*_source_note(structure), *repairs)
    with _progress(show_progress, max_iter) as progress:
        em = {"max_iter": max_iter, "tol": tol, "prior": prior, "progress": progress}
        return _fitted(source, method, n_init, torch_generator(random_state), em, notes)


def fit_product(data: Any, n_sources: int, **options: Any) -> MixtureFit:
    """Fit a mixture of product distributions: a network without edges, k-MixProd.

    Args:
        data: as in ``fit``; every column is a variable, but for the column of weights.
        n_sources: k.
        **options: as in ``fit``.

    Raises:
        SpecError: k is unusable.
        DataError: the table or a weight is unusable.
    """
    if isinstance(data, Counts | Population):
        states = dict(zip(data.spec.variables, data.spec.states, strict=True))
        spec = MixtureSpec.from_parents(states, {}, n_sources, source=data.spec.source)
        return fit(spec, data, n_sources, **options)
    frame = read_frame(data)
    weight = options.get("sample_weight")
    names = [name for name in frame.columns if not (isinstance(weight, str) and name == weight)]
    return fit(Structure(tuple(names), dict.fromkeys(names, ())), frame, n_sources, **options)


def _fitted(
    source: Counts | Population,
    method: str,
    n_init: int | None,
    generator: torch.Generator,
    em: Mapping[str, Any],
    notes: tuple[str, ...],
) -> MixtureFit:
    """Moments, then EM from there and from random starts, as the method says."""
    spec, prior = source.spec, em["prior"]
    exact = isinstance(source, Population)
    found = _moments(source, method, generator)
    stages = tuple(start.stage for start in found)
    determined = any(stage.ok for stage in stages)
    if determined and exact:
        return from_population(found[0].mixture, source, f"{method}: moments", notes, stages[0])
    counts = source.as_counts() if exact else source
    n_rows = math.inf if exact else None
    if method == "moments":
        result = evaluate(counts, found[0].mixture)
        return from_em(result, counts, method, 0.0, notes, stages, n_rows=n_rows)
    # Exact moments that do not determine the mixture are no start: their zeros would stay.
    given = [start.mixture for start in found if start.usable and not exact]
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
        result = climb_until_confirmed(counts, starts, draw, **options)
    else:
        result = fit_em(counts, starts, **options)
    stage = "moments, em" if given else "em"
    label = method if method == "em" else f"{method}: {stage}"
    return from_em(result, counts, label, prior, notes, stages, n_rows=n_rows)


def _moments(
    source: Counts | Population, method: str, generator: torch.Generator
) -> tuple[MomentStart, ...]:
    """The moment stage, where there is one; a fallback is said."""
    spec = source.spec
    if method == "em" or (method == "auto" and (any(spec.parents) or spec.n_sources == 1)):
        return ()
    start = start_from_moments(source, spec, generator, strict=method == "moments")
    if not start.stage.ok:
        warnings.warn(
            f"moments do not determine the mixture, random starts take their place: "
            f"{'; '.join(start.stage.notes)}",
            WeakIdentificationWarning,
            stacklevel=4,
        )
    return (start,)


def _source(
    structure: Structure,
    data: Any,
    n_sources: int | None,
    state_names: Mapping[str, Sequence[Hashable]] | None,
    sample_weight: Any,
    missing: str,
) -> Counts | Population:
    """The table as distinct rows, on the spec that the model and the data agree on."""
    states = {name: tuple(names) for name, names in (state_names or {}).items()}
    if structure.n_sources is not None and n_sources not in (None, structure.n_sources):
        structure = replace(structure, n_sources=None, source_states=())
    if structure.source in states:
        structure = replace(structure, source_states=states.pop(structure.source))
        n_sources = len(structure.source_states) if n_sources is None else n_sources
    if isinstance(data, Counts | Population):
        if sample_weight is not None:
            raise DataError("sample_weight: Counts and Population carry their own weights")
        known = dict(zip(data.spec.variables, data.spec.states, strict=True))
        return data.with_spec(structure.to_spec(n_sources, {**known, **states}))
    table = read_frame(data)
    for name in structure.missing_states:
        if name not in states:
            states[name] = observed_states(table, name)
    spec = structure.to_spec(n_sources, states)
    counts = Counts.from_frame(table, spec, sample_weight=sample_weight, missing=missing)
    if sample_weight is None:
        _warn_of_counts(counts.report.unused)
    return counts


def _warn_of_counts(unused: Sequence[str]) -> None:
    """Rows that stand for many units are a common table, and silently wrong as single units."""
    if suspects := [name for name in unused if name.lower() in COUNT_NAMES]:
        warnings.warn(
            f"column {suspects[0]!r} is not used: every row counts as one unit; if it says how "
            f"many units a row stands for, pass sample_weight={suspects[0]!r}",
            DataRepairWarning,
            stacklevel=4,
        )


def _source_note(structure: Structure) -> tuple[str, ...]:
    """The sentence about a source that the model did not name."""
    if not structure.added_source:
        return ()
    return (f"A source {structure.source!r} with an edge to every variable was added.",)


@contextmanager
def _progress(show: bool | None, max_iter: int) -> Iterator[Callable[[int, float], None] | None]:
    """A bar over iterations, or None where nobody looks."""
    if not (sys.stderr.isatty() if show is None else show):
        yield None
        return
    with tqdm(total=max_iter, desc="EM", unit="it", leave=False) as bar:

        def step(iteration: int, log_likelihood: float) -> None:
            bar.update(iteration - bar.n)
            bar.set_postfix(logL=f"{log_likelihood:.3f}")

        yield step
