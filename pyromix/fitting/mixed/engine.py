"""A fit to a table with columns of numbers: bins find the sources, raw values say what they do.

The table in bins is fitted as any table of states is, moments included (THEORY section 18.6). Its
P(U | bins of all columns) gives one estimate from the raw values, and EM goes on from there and
from random starts. Bins may find U; the numbers answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, SupportsIndex

import torch

from pyromix.data.records import Records
from pyromix.data.weights import COUNTS
from pyromix.errors import (
    ConvergenceWarning,
    PyromixWarning,
    StartsDisagreeWarning,
    WeakIdentificationWarning,
    warn,
)
from pyromix.estimate.mixed.climb import MixedEnd, in_order
from pyromix.estimate.mixed.prior import MixedPrior, prior_of
from pyromix.estimate.mixed.starts import from_shares, raced
from pyromix.estimate.mixed.step import look
from pyromix.estimate.progress import progress_bar
from pyromix.exact.likelihood import responsibilities
from pyromix.fitting import engine
from pyromix.fitting.mixed import heavy
from pyromix.fitting.mixed.intake import MixedTable, Taken, take_in_mixed
from pyromix.fitting.mixed.record import SAME, MixedRecord, Reached
from pyromix.fitting.record import Fit
from pyromix.model.kind import Kind
from pyromix.model.mixed import MixedMixture, MixedSpec
from pyromix.model.note import Note, NoteKind
from pyromix.model.randomness import RandomState, torch_generator

N_INIT = 10
"""Random starts beside the one from bins."""

COLLAPSED = 0.02
"""Variance of a source over that of the column, below which a source has shrunk to a point."""

DISAGREE = 1e-4
"""Nats per row by which the start from bins may end below the best before that is said."""


def fit_mixed(
    table: MixedTable,
    n_sources: int | None = None,
    *,
    n_init: int | None = None,
    prior: bool = True,
    sample_weight: Any = None,
    weights_are: str = COUNTS,
    missing: str = "mar",
    state_names: Mapping[str, Sequence[Hashable]] | None = None,
    device: torch.device | str | None = None,
    random_state: RandomState = 0,
    show_progress: bool | None = None,
    max_iter: int = 2000,
    tol: float = 1e-9,
) -> MixedRecord:
    """Fit a mixture to a table with columns of numbers; arguments and errors of ``px.fit``."""
    generator = torch_generator(random_state)
    taken = take_in_mixed(
        table, n_sources, state_names, sample_weight, missing, device, weights_are
    )
    with warnings.catch_warnings():
        # What the fit in bins has to say of its starts is not of this one.
        warnings.simplefilter("ignore", PyromixWarning)
        coarse = engine.fit(
            taken.spec.binned,
            taken.counts,
            taken.spec.n_sources,
            random_state=generator,
            show_progress=False,
        )
    wanted = N_INIT if n_init is None else n_init
    with progress_bar(show_progress, max_iter, "EM") as tell:
        while True:
            seen_before = prior_of(taken.spec, taken.records, tables=prior)
            start = start_from_bins(taken.spec, taken.records, taken, coarse, seen_before)
            ends = raced(
                taken.spec,
                taken.records,
                seen_before,
                [start],
                wanted,
                generator,
                max_iter=max_iter,
                tol=tol,
                tell=tell,
            )
            best = max(ends, key=lambda end: end.objective)
            # Sources that took the shape of the noise hide its tails; those that bins show do not.
            nats = heavy.heaviest([best.mixture, ends[0].mixture], taken.records)
            changed = heavy.may_change(taken, nats)
            if not changed:
                break
            taken = heavy.with_tails(taken, {v: nats[v] for v in changed})
    seed = str(random_state) if isinstance(random_state, SupportsIndex) else "a generator"
    return replace(assembled(taken, coarse, seen_before, ends), random_state=seed)


def start_from_bins(
    spec: MixedSpec, records: Records, taken: Taken, coarse: Fit, prior: MixedPrior
) -> MixedMixture:
    """One estimate from P(U | bins of all columns)."""
    codes = bins_of(spec, records, taken.edges)
    shares = responsibilities(coarse.mixture, codes.to(coarse.mixture.device))
    shares = shares.nan_to_num(nan=1 / spec.n_sources)
    return from_shares(spec, records, shares, prior)


def bins_of(
    spec: MixedSpec, records: Records, edges: Mapping[str, tuple[float, ...]]
) -> torch.Tensor:
    """State numbers of the rows in bins, -1 where missing."""
    found = []
    for v, column in enumerate(records.columns):
        if spec.kind(v).numeric:
            cut = torch.tensor(edges[spec.name(v)], dtype=torch.float64, device=column.device)
            inside = records.units[v].inward(cut)
            place = torch.bucketize(column, inside, right=True)
            found.append(torch.where(column.isnan(), -1, place))
        else:
            found.append(column)
    return torch.stack(found, 1)


def assembled(
    taken: Taken, coarse: Fit, prior: MixedPrior, ends: Sequence[MixedEnd]
) -> MixedRecord:
    """The best end as a fit, with what is to be said of the others."""
    spec, records = taken.spec, taken.records
    names = ["bins", *("random" for _ in ends[1:])]
    top = max(end.objective for end in ends)
    # Of starts in one optimum the one from bins leads: it does not hang on a seed.
    named = sorted(
        zip(ends, names, strict=True),
        key=lambda pair: -top if pair[0].objective > top - SAME else -pair[0].objective,
    )
    best = in_order(named[0][0])
    entropy, value = 0.0, 0.0
    with torch.no_grad():
        for part in records.parts():
            seen = look(best.mixture, part)
            value += float(seen.log_prob() @ part.weights)
            own = torch.special.entr(seen.posterior()).sum(-1)
            entropy += float(own @ part.weights)
    value += float(records.log_slopes() @ records.weights)
    starts = tuple(Reached(name, end.objective, end.converged) for end, name in named)
    notes = (*taken.notes, *_notes(spec, records, best, starts))
    for note in notes[len(taken.notes) :]:
        warn(note.sentence, _WARNINGS[note.kind])
    return MixedRecord(
        mixture=best.mixture,
        prior=prior,
        log_likelihood=value,
        n_rows=records.total_weight,
        entropy=entropy,
        converged=best.converged,
        n_iter=best.n_iter,
        starts=starts,
        binned=coarse,
        edges=taken.edges,
        table=records,
        notes=notes,
    )


_WARNINGS = {
    NoteKind.CONVERGENCE: ConvergenceWarning,
    NoteKind.STARTS: StartsDisagreeWarning,
    NoteKind.EMPTY: WeakIdentificationWarning,
    NoteKind.SHAPE: WeakIdentificationWarning,
}


def _notes(
    spec: MixedSpec, records: Records, best: MixedEnd, starts: Sequence[Reached]
) -> list[Note]:
    found = []
    if not best.converged:
        sentence = (
            f"EM had not converged after {best.n_iter} steps; raise max_iter, or tol "
            "(nats per row)."
        )
        found.append(Note(NoteKind.CONVERGENCE, sentence))
    bins = next(start for start in starts if start.name == "bins")
    short = (starts[0].objective - bins.objective) / records.total_weight
    if short > DISAGREE:
        sentence = (
            f"The start from bins ended {short:.2g} nats per row below the best random start: what "
            "bins show of the sources and what the shape of the noise shows differ."
        )
        found.append(Note(NoteKind.STARTS, sentence, {"short": short}))
    found += _collapsed(spec, best.mixture)
    found += heavy.doubts(spec, records, best.mixture)
    n_free = len(best.mixture.parameters)
    if n_free > records.total_weight:
        sentence = (
            f"The model has {n_free} free numbers and the table {records.total_weight:.6g} rows: "
            "what little there is to say is the prior's. Take fewer sources, parents or states."
        )
        found.append(Note(NoteKind.EMPTY, sentence))
    return found


def _collapsed(spec: MixedSpec, mixture: MixedMixture) -> list[Note]:
    found = []
    for v in spec.numeric:
        cpd: Any = mixture.cpds[v]
        if spec.kind(v) is Kind.COUNT or spec.shared(v):
            continue
        variances = (cpd.size if spec.kind(v) is Kind.HURDLE else cpd).variances
        least = float(variances.min())
        largest = float(variances.max())
        if least < COLLAPSED * largest and least < COLLAPSED:
            u = int(variances.amin(-1).argmin())
            name = spec.binned.source_states[u]
            sentence = (
                f"Source {name!r} has nearly one value of {spec.name(v)!r} (standard deviation "
                f"{least**0.5 * mixture.units[v].scale:.3g}): it may be a heap of equal numbers "
                "rather than a sub-population."
            )
            found.append(Note(NoteKind.EMPTY, sentence, {"source": name}))
    return found
