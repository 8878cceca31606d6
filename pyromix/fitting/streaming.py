"""A fit to more rows than memory holds: moments by the engine, EM on a sample, then passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from pyromix.data.asking import Asked, asked
from pyromix.data.counts import Counts
from pyromix.data.relation.door import read_table
from pyromix.data.relation.route import read_relation
from pyromix.data.relation.table import RelationTable
from pyromix.data.weights import COUNTS, check_weights_are
from pyromix.errors import ConvergenceWarning, FileError, warn
from pyromix.estimate.result import EMResult
from pyromix.estimate.sampled import Sample
from pyromix.estimate.starts import batch_of
from pyromix.estimate.step import Point, Step
from pyromix.estimate.streamed import MOST_PASSES, Place, StreamedMap, Total, climb_stream
from pyromix.exact.information import (
    MAX_INFORMATION_PARAMETERS,
    Information,
    InformationTerms,
    information_terms,
)
from pyromix.exact.likelihood import responsibilities
from pyromix.fitting.inputs import is_asked, table_of
from pyromix.fitting.journal import ChosenPrior, Climb, Course
from pyromix.fitting.record import Fit
from pyromix.fitting.typed import checked
from pyromix.formats.checkpoint import NOT_KEPT, Checkpoint, checkpoint_of
from pyromix.identify.signal import signal_of
from pyromix.identify.stage import MomentStart
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.note import Note, NoteKind, distinct
from pyromix.model.prior import PseudoCounts
from pyromix.model.spec import MixtureSpec

SAMPLE = 100_000
"""Rows of the sample that EM climbs on before the stream."""

WORK = 2e11
"""Rows times squared parameters that the information is summed over; beyond, a share of the rows
stands for all."""

ClimbSample = Callable[[Counts, BayesNetMixture | None, bool], EMResult]
"""EM on a table in memory, from a start or none, which is from moments that determine or not."""


@runtime_checkable
class Streamed(Protocol):
    """What answers moments, and hands out its rows in batches, pass after pass."""

    @property
    def n_rows(self) -> float:
        """Total weight."""
        ...

    @property
    def fingerprint(self) -> str:
        """What tells the table of the first pass from others; empty before one."""
        ...

    def identity(self) -> str:
        """What tells the table from others without a pass."""
        ...

    def recall(self, fingerprint: str) -> None:
        """Take the fingerprint of an earlier first pass."""
        ...

    def sample(self, n_rows: int) -> Counts:
        """About so many rows, drawn at random."""
        ...

    def batches(
        self, condition: str = ""
    ) -> Iterator[tuple[Int[Tensor, "b n"], Float[Tensor, " b"]]]:
        """A pass."""
        ...


@runtime_checkable
class Distant(Protocol):
    """What may sum over its rows where they lie."""

    def summed(self, total: Total) -> ndarray | None:
        """A pass of sums; None where the rows must come here."""
        ...


def fit_stream(
    data: Asked,
    rows: Streamed,
    start: MomentStart | None,
    climb_sample: ClimbSample,
    prior: ChosenPrior,
    notes: Sequence[Note],
    checkpoint: str | PathLike[str] | None,
    options: Mapping[str, Any],
) -> Fit:
    """Fit to rows that come as a stream.

    Args:
        data: moments of all rows, asked by the spec.
        rows: the same rows in batches.
        start: what the moments found.
        climb_sample: EM on a sample.
        prior: of the fit.
        notes: from before.
        checkpoint: a file that keeps every pass; None keeps none.
        options: ``method``, and further ones; a checkpoint goes on with the same alone.

    Raises:
        DataError: the table changed between two passes.
        FileError: the checkpoint is damaged, or of another table, graph or option.
        RefinementError: the starts give a row probability zero.
    """
    spec = data.spec
    kept = _checkpoint(checkpoint, spec, rows, options)
    given = None if start is None else start.mixture
    determined = start is not None and start.stage.ok

    def begun() -> tuple[Point, Sample]:
        drawn = asked(rows.sample(SAMPLE), spec).as_counts()
        found = climb_sample(drawn, given, determined)
        sample = Sample.of(spec, drawn, prior.counts, rows.n_rows)
        mixtures = [found.mixture, *([] if given is None else [given])]
        return Point.of(batch_of(*(sample.inside(m) for m in mixtures))), sample

    unpacked = partial(_start, spec, prior.counts, rows.n_rows)
    first, sample = kept.step("start", begun, _packed_start, unpacked)
    batches = partial(_ordered, rows, data.places)
    elsewhere = partial(_elsewhere, rows, data.places) if isinstance(rows, Distant) else None
    em = StreamedMap.of(spec, batches, rows.n_rows, prior.counts, elsewhere)

    def run(number: int, compute: Callable[[], Place]) -> Place:
        def pack(place: Place) -> tuple[dict[str, Tensor], dict[str, Any]]:
            return _packed_place(place, rows.fingerprint)

        def unpack(tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> Place:
            rows.recall(checked(str, fields["fingerprint"], "fingerprint"))
            return _place(tensors, fields)

        return kept.step(f"pass {number}", compute, pack, unpack)

    result = climb_stream(em, sample, first, run=run)
    said = [*notes]
    if not result.converged:
        sentence = (
            f"EM on the stream stopped after {MOST_PASSES} passes, before less than a nat was "
            f"left to gain; the last step gained {result.gain:.3g} nats"
        )
        said.append(Note(NoteKind.CONVERGENCE, sentence))
        warn(sentence, ConvergenceWarning)
    entropy, information = _seen(em, result.mixture, prior.counts)
    before = () if given is None else ("moments",)
    return Fit(
        mixture=result.mixture,
        n_rows=rows.n_rows,
        log_likelihood=result.log_likelihood,
        row_masses=result.row_masses,
        reached_mass=result.reached_mass,
        entropy=entropy,
        course=Course(options["method"], (*before, "sample", "stream")),
        climb=Climb.of(result),
        chosen_prior=prior,
        moments=None if start is None else start.stage,
        notes=distinct((*said, *result.notes)),
        heard=signal_of(data) if spec.n_sources > 1 else None,
        summed=information,
    )


def _ordered(
    rows: Streamed, places: Sequence[int]
) -> Iterator[tuple[Int[Tensor, "b n"], Float[Tensor, " b"]]]:
    """A pass, columns in the order of the spec."""
    columns = list(places)
    for codes, weights in rows.batches():
        yield codes[:, columns], weights


def _elsewhere(rows: Distant, places: Sequence[int], total: Total) -> ndarray | None:
    """A pass where the rows lie, columns in the order of the spec."""
    return rows.summed(partial(_total_of, list(places), total))


def _total_of(
    columns: list[int], total: Total, batches: Iterator[tuple[Tensor, Tensor]]
) -> ndarray | None:
    return total((codes[:, columns], weights) for codes, weights in batches)


def _seen(
    em: StreamedMap, mixture: BayesNetMixture, prior: PseudoCounts
) -> tuple[float, Information | None]:
    """Entropy of P(U | row) over all rows, and their observed information; one pass.

    The information is that of the first rows of every batch, scaled, where it would take more than
    ``WORK``; None where the model is too large for the matrix.
    """
    p = mixture.spec.n_parameters
    share = min(1.0, WORK / (em.total_weight * p * p))
    entropy, seen = 0.0, 0.0
    terms: InformationTerms | None = None
    for rows, weights in em.stream():
        shares = responsibilities(mixture, rows)
        entropy += float(weights @ torch.special.entr(shares).sum(-1))
        n = math.ceil(share * len(rows))
        if n and p <= MAX_INFORMATION_PARAMETERS:
            found = information_terms(mixture, rows[:n], weights[:n])
            terms = found if terms is None else terms.plus(found)
            seen += float(weights[:n].sum())
    if terms is None:
        return entropy, None
    return entropy, terms.times(em.total_weight / seen).information(mixture, prior)


def table_or_stream(
    fit: Fit,
    data: Any,
    sample_weight: Any = None,
    weights_are: str = COUNTS,
    missing_values: Any = None,
    memory_limit: Any = None,
) -> Counts | Streamed:
    """A table on the spec of a fit, a relation as a stream where its patterns are too many.

    Raises:
        DataError: as of ``inputs.table_of``.
    """
    if data is None or is_asked(data):
        return table_of(fit, data, sample_weight, weights_are, missing_values)
    table = read_table(data, missing_values)
    if not isinstance(table, RelationTable):
        return table_of(fit, table, sample_weight, weights_are)
    check_weights_are(weights_are, sample_weight)
    found, _ = read_relation(table, fit.spec, sample_weight, weights_are, memory_limit=memory_limit)
    return found.in_rows()


# -- checkpoints ---------------------------------------------------------------------------------


def _checkpoint(
    path: str | PathLike[str] | None, spec: MixtureSpec, rows: Streamed, options: Mapping[str, Any]
) -> Checkpoint:
    if path is None:
        return NOT_KEPT
    graph = (spec.variables, spec.states, spec.parents, sorted(spec.uninfluenced), spec.source)
    asked_for = {
        "table": rows.identity(),
        "graph": repr(graph),
        "n_sources": spec.n_sources,
        **{name: repr(value) for name, value in options.items()},
    }
    return checkpoint_of(path, "fit of a stream", asked_for)


def _packed_start(start: tuple[Point, Sample]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    point, sample = start
    tensors = {"weights": point.weights, "table": point.table}
    return tensors | {"rows": sample.em.index.rows, "times": sample.em.row_weights}, {}


def _start(
    spec: MixtureSpec,
    prior: PseudoCounts,
    n_rows: float,
    tensors: Mapping[str, Tensor],
    fields: Mapping[str, Any],
) -> tuple[Point, Sample]:
    t = tensors
    if t["weights"].shape[-1:] != (spec.n_sources,) or fields:
        raise FileError("expected the points of a start")
    drawn = Counts.from_codes(spec, t["rows"], t["times"])
    return Point(t["weights"], t["table"]), Sample.of(spec, drawn, prior, n_rows)


NUMBERS = ("limit", "length", "doubt", "foreseen", "gain")


def _packed_place(place: Place, fingerprint: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    points = {"point": place.point, "start": place.start}
    points |= {f"other{i}": point for i, point in enumerate(place.others)}
    tensors = {}
    if place.known is not None:
        points["known"], step = place.known
        points["target"] = step.target
        tensors |= {"logl": step.log_likelihood, "objective": step.objective}
        tensors["masses"] = step.row_masses
    for name, point in points.items():
        if point is not None:
            tensors |= {f"{name}/w": point.weights, f"{name}/t": point.table}
    numbers = torch.tensor([getattr(place, name) for name in NUMBERS], dtype=torch.float64)
    tensors |= {"numbers": numbers}
    tensors["passes"] = torch.tensor(place.log_likelihoods, dtype=torch.float64)
    return tensors, {"n_small": place.n_small, "fingerprint": fingerprint}


def _place(tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> Place:
    t = tensors

    def point(name: str) -> Point | None:
        return Point(t[f"{name}/w"], t[f"{name}/t"]) if f"{name}/w" in t else None

    known, target, others = point("known"), point("target"), (point("other0"), point("other1"))
    place = Place(
        Point(t["point/w"], t["point/t"]),
        None
        if known is None or target is None
        else (known, Step(t["logl"], t["objective"], t["masses"], target)),
        point("start"),
        tuple(other for other in others if other is not None),
        n_small=checked(int, fields["n_small"], "n_small"),
        log_likelihoods=tuple(t["passes"].tolist()),
    )
    return replace(place, **dict(zip(NUMBERS, t["numbers"].tolist(), strict=True)))
