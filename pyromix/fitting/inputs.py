"""From what users give, a model and a table, to data on the spec that the two agree on."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch

from pyromix.bridges.pgmpy import structure_of
from pyromix.data.asking import Asked, asked, gathered
from pyromix.data.counts import Counts
from pyromix.data.frames import observed_states
from pyromix.data.intake_report import DataReport
from pyromix.data.moments import MomentSource, Rows, schema_of
from pyromix.data.reading import read_frame
from pyromix.data.weights import COUNTS, check_weights_are
from pyromix.errors import DataError, DataRepairWarning, QueryError, warn
from pyromix.fitting.record import Fit
from pyromix.formats.structure import Structure
from pyromix.model.note import Note, NoteKind
from pyromix.model.spec import MixtureSpec

COUNT_NAMES = ("count", "counts", "n", "freq", "frequency", "weight", "weights")
"""Names of columns that are likely to be weights."""


@runtime_checkable
class Recorded(Protocol):
    """Data that tell how they came in, and can be had with weights in rows."""

    @property
    def report(self) -> DataReport:
        """Where the rows come from."""
        ...

    def in_rows(self) -> Any:
        """The same data with weights in rows."""
        ...


@runtime_checkable
class Movable(Protocol):
    """Data that can be had on another device."""

    def to(self, device: torch.device | str) -> Any:
        """The same data on another device."""
        ...


def take_in(
    model: Any,
    data: Any,
    n_sources: int | None,
    state_names: Mapping[str, Sequence[Hashable]] | None = None,
    sample_weight: Any = None,
    missing: str = "mar",
    device: torch.device | str | None = None,
    weights_are: str = COUNTS,
) -> tuple[Asked, tuple[Note, ...]]:
    """Read a model and a table; arguments and errors of ``fit``.

    Returns:
        The data, asked by the spec that model and data agree on, and notes on what was added or
        repaired.
    """
    structure = structure_of(model, n_sources)
    read, spec = _read(structure, data, n_sources, state_names, sample_weight, weights_are, missing)
    if device is not None:
        read = _moved(read, _usable(device))
    said: tuple[Note, ...] = ()
    if isinstance(read, Recorded):
        said = tuple(Note(NoteKind.REPAIR, sentence) for sentence in read.report.repairs)
        if read.report.row_weight != 1.0:
            said = (*said, _weights_note(read.report))
            read = read.in_rows()
    return asked(read, spec), (*_source_note(structure), *said)


def is_asked(data: Any) -> bool:
    """Whether data answer for themselves, by moments or rows, and are no table to be read."""
    # A data frame may have columns of these names, but none that can be called.
    moments = isinstance(data, MomentSource) and callable(data.table) and callable(data.mass)
    return moments or (isinstance(data, Rows) and callable(data.blocks))


def _moved(data: MomentSource, device: torch.device) -> MomentSource:
    """The data on a device.

    Raises:
        DataError: they cannot be moved.
    """
    if not isinstance(data, Movable):
        raise DataError(
            f"expected data that can be moved to {str(device)!r}, found a "
            f"{type(data).__name__} without a method to(device); leave `device` out"
        )
    return data.to(device)


def _usable(device: torch.device | str) -> torch.device:
    """A device that this machine has.

    Raises:
        QueryError: it has not, or the name is none.
    """
    try:
        found = torch.device(device)
    except RuntimeError:
        raise QueryError(f"unknown device {device!r}; e.g. 'cpu' or 'cuda'") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise QueryError(f"device {str(device)!r} is not to be had on this machine; take 'cpu'")
    return found


def without_edges(data: Any, sample_weight: Any = None) -> tuple[Structure, Any]:
    """Return the structure without edges over the columns of a table, and the table, read.

    Args:
        data: as in ``fit``.
        sample_weight: a column that has this name is no variable.

    Raises:
        FileError: a path cannot be read.
        DataError: not a table.
    """
    if is_asked(data):
        schema = schema_of(data)
        states = dict(zip(schema.variables, schema.states, strict=True))
        none = dict.fromkeys(schema.variables, ())
        structure, spec = Structure(schema.variables, none, states), getattr(data, "spec", None)
        if isinstance(spec, MixtureSpec):
            structure = replace(structure, source=spec.source)
        return structure, data
    frame = read_frame(data)
    weight = sample_weight if isinstance(sample_weight, str) else None
    names = tuple(name for name in frame.columns if name != weight)
    return Structure(names, dict.fromkeys(names, ())), frame


def _read(
    structure: Structure,
    data: Any,
    n_sources: int | None,
    state_names: Mapping[str, Sequence[Hashable]] | None,
    sample_weight: Any,
    weights_are: str,
    missing: str,
) -> tuple[MomentSource, MixtureSpec]:
    """The data, a table as distinct rows, and the spec that the model and the data agree on."""
    states = {name: tuple(names) for name, names in (state_names or {}).items()}
    if structure.n_sources is not None and n_sources not in (None, structure.n_sources):
        structure = replace(structure, n_sources=None, source_states=())
    if structure.source in states:
        structure = replace(structure, source_states=states.pop(structure.source))
        n_sources = len(structure.source_states) if n_sources is None else n_sources
    if is_asked(data):
        if sample_weight is not None:
            raise DataError(
                "sample_weight: Counts and Population carry their own weights, and so does any "
                f"object that answers moments or has rows, found a {type(data).__name__}; leave "
                "sample_weight out"
            )
        check_weights_are(weights_are, sample_weight)
        schema = schema_of(data)
        known = dict(zip(schema.variables, schema.states, strict=True))
        moments = data if isinstance(data, MomentSource) else gathered(data)
        return moments, structure.to_spec(n_sources, {**known, **states})
    table = read_frame(data)
    for name in structure.missing_states:
        if name not in states:
            states[name] = observed_states(table, name)
    spec = structure.to_spec(n_sources, states)
    counts = Counts.from_frame(
        table, spec, sample_weight=sample_weight, weights_are=weights_are, missing=missing
    )
    if sample_weight is None:
        _warn_of_counts(counts.report.unused)
    return counts, spec


def _warn_of_counts(unused: Sequence[str]) -> None:
    """Rows that stand for many units are a common table, and silently wrong as single units."""
    if suspects := [name for name in unused if name.lower() in COUNT_NAMES]:
        warn(
            f"column {suspects[0]!r} is not used: every row counts as one unit; if it says how "
            f"many units a row stands for, pass sample_weight={suspects[0]!r}",
            DataRepairWarning,
        )


def _weights_note(report: DataReport) -> Note:
    """What sampling weights count as."""
    n_rows = report.total_weight / report.row_weight
    return Note(
        NoteKind.WEIGHTS,
        "Weights are sampling weights of single rows, whatever their scale: together they count as "
        f"{n_rows:.6g} rows, Kish's effective number.",
        {"n_rows": n_rows},
    )


def _source_note(structure: Structure) -> tuple[Note, ...]:
    """The note on a source that the model did not name."""
    if not structure.added_source:
        return ()
    sentence = f"A source {structure.source!r} with an edge to every variable was added."
    return (Note(NoteKind.ADDED_SOURCE, sentence, {"source": structure.source}),)


def table_of(fit: Fit, data: Any, sample_weight: Any = None, weights_are: str = COUNTS) -> Counts:
    """A table on the spec of a fit, or the fit's own where none is given.

    Raises:
        DataError: there is neither, the table does not fit, or weights come without one.
    """
    if data is not None:
        return counted(data, fit.spec, sample_weight, weights_are)
    if sample_weight is not None:
        raise DataError(
            "sample_weight belongs to `data`, which was left out: the table of a fit carries its "
            "own weights; pass the data too, or leave sample_weight out"
        )
    check_weights_are(weights_are, sample_weight)
    return fit.counts


def counted(
    data: Any, spec: MixtureSpec, sample_weight: Any = None, weights_are: str = COUNTS
) -> Counts:
    """A table, or rows that are there already, as Counts on a spec.

    Raises:
        DataError: the table does not fit the spec, a weight is unusable, or there are no rows.
    """
    if is_asked(data):
        check_weights_are(weights_are, sample_weight)
        if not isinstance(data, Rows):
            raise DataError(
                f"expected a table, found a {type(data).__name__} that answers moments only and "
                "has no rows; pass a data frame, a path, Counts, or a sample"
            )
        moments = data if isinstance(data, MomentSource) else gathered(data)
        return asked(moments, spec).as_counts().in_rows()
    found = Counts.from_frame(data, spec, sample_weight=sample_weight, weights_are=weights_are)
    return found.in_rows()
