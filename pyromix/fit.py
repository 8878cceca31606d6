"""The front door: from a model and a table to a mixture that answers do-queries."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from tqdm import tqdm

from pyromix.bridges.pgmpy import structure_of
from pyromix.bridges.structure import Structure
from pyromix.data.counts import Counts
from pyromix.data.frames import observed_states, read_frame
from pyromix.data.population import Population
from pyromix.errors import DataError, DataRepairWarning, QueryError, SpecError
from pyromix.model.randomness import RandomState
from pyromix.model.spec import MixtureSpec, near_matches
from pyromix.refine.em import fit_em, random_starts
from pyromix.result import MixtureFit, from_em

METHODS = ("auto", "em")

COUNT_NAMES = ("count", "counts", "n", "freq", "frequency", "weight", "weights")
"""Names of columns that are likely to be weights."""


def fit(
    model: Any,
    data: Any,
    n_sources: int | None = None,
    *,
    method: str = "auto",
    n_init: int = 20,
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
        method: ``"em"``, random starts; ``"auto"``, at present the same.
        n_init: number of random starts.
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
    if isinstance(n_init, bool) or not isinstance(n_init, int) or n_init < 1:
        raise SpecError(f"n_init must be an integer >= 1, found {n_init!r}")
    structure = structure_of(model, n_sources)
    counts = _counts(structure, data, n_sources, state_names, sample_weight, missing)
    if device is not None:
        counts = counts.to(device)
    starts = random_starts(
        counts.spec, n_init, random_state, device=counts.rows.device, counts=counts
    )
    with _progress(show_progress, max_iter) as progress:
        result = fit_em(counts, starts, max_iter=max_iter, tol=tol, prior=prior, progress=progress)
    notes = (*_source_note(structure), *counts.report.repairs)
    return from_em(result, counts, method if method == "em" else "auto: em", prior, notes)


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


def _counts(
    structure: Structure,
    data: Any,
    n_sources: int | None,
    state_names: Mapping[str, Sequence[Hashable]] | None,
    sample_weight: Any,
    missing: str,
) -> Counts:
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
        counts = data.as_counts() if isinstance(data, Population) else data
        return counts.with_spec(structure.to_spec(n_sources, {**known, **states}))
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
