"""From what users give, a model and a table, to data on the spec that the two agree on."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch

from pyromix.bridges.pgmpy import structure_of
from pyromix.data.asking import Asked, asked, gathered
from pyromix.data.cells import levels_of
from pyromix.data.columns import observed
from pyromix.data.counts import Counts
from pyromix.data.frames import MISSING_RULES
from pyromix.data.intake_report import DataReport
from pyromix.data.levels import TooManyValuesError, interval_as_text
from pyromix.data.marks import marks_of
from pyromix.data.moments import MomentSource, Rows, schema_of
from pyromix.data.numbers import fractional
from pyromix.data.reading import RawTable, check_columns
from pyromix.data.relation.door import read_table
from pyromix.data.relation.route import memory_of, read_relation
from pyromix.data.relation.table import RelationTable
from pyromix.data.repairs import columns_named
from pyromix.data.suspicion import COUNT_NAMES, no_variable, suspicions
from pyromix.data.weights import COUNTS, check_weights_are
from pyromix.errors import DataError
from pyromix.fitting.record import Fit
from pyromix.formats.structure import Structure
from pyromix.model.arguments import device_of, listed, mapping, one_of, plain, shown
from pyromix.model.note import Note, NoteKind
from pyromix.model.spec import MixtureSpec


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
    missing_values: Any = None,
    memory_limit: Any = None,
) -> tuple[Asked, tuple[Note, ...]]:
    """Read a model and a table; arguments and errors of ``fit``.

    Returns:
        The data, asked by the spec that model and data agree on, and notes on what was added or
        repaired.
    """
    one_of("missing", missing, MISSING_RULES, DataError)
    memory_of(memory_limit)
    route = ""
    structure = structure_of(model, n_sources)
    states = declared_states(state_names)
    structure, n_sources = _sources(structure, n_sources, states)
    if is_asked(data):
        _check_carries_its_own(data, sample_weight, missing_values)
        check_weights_are(weights_are, sample_weight)
        schema = schema_of(data)
        known = dict(zip(schema.variables, schema.states, strict=True))
        read = data if isinstance(data, MomentSource) else gathered(data)
        spec = structure.to_spec(n_sources, {**known, **states})
    else:
        weight = sample_weight if isinstance(sample_weight, str) else None
        table = _looked_at(read_table(data, missing_values), structure, states, weight)
        spec = structure.to_spec(n_sources, states)
        if isinstance(table, RelationTable):
            check_weights_are(weights_are, sample_weight)
            read, route = read_relation(
                table, spec, sample_weight, weights_are, missing, memory_limit
            )
        else:
            read = Counts.from_frame(
                table, spec, sample_weight=sample_weight, weights_are=weights_are, missing=missing
            )
    if device is not None:
        read = _moved(read, device_of(device))
    said: tuple[Note, ...] = ()
    if isinstance(read, Recorded):
        said = tuple(Note(NoteKind.REPAIR, sentence) for sentence in read.report.repairs)
        if read.report.row_weight != 1.0:
            said = (*said, _weights_note(read.report))
            read = read.in_rows()
    if route:
        said = (*said, Note(NoteKind.ROUTE, route))
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


def without_edges(
    data: Any,
    sample_weight: Any = None,
    state_names: Mapping[str, Sequence[Hashable]] | None = None,
    missing_values: Any = None,
    numbers: Collection[str] | None = None,
) -> tuple[Structure, Any]:
    """Return the structure without edges over the columns of a table, and the table, read.

    Columns that are hardly variables (constant, empty, row numbers, counts: see
    ``suspicion.no_variable``) are left out and said, unless ``state_names`` asks for them.

    Args:
        data: as in ``fit``.
        sample_weight: a column that has this name is no variable.
        state_names: as in ``fit``.
        missing_values: as in ``fit``.
        numbers: columns that are declared as numbers, or to be cut; columns with fractions are
            variables, too. None where numbers are no variables.

    Raises:
        FileError: a path cannot be read.
        DataError: not a table, or no column is left.
    """
    if is_asked(data):
        schema = schema_of(data)
        states = dict(zip(schema.variables, schema.states, strict=True))
        none = dict.fromkeys(schema.variables, ())
        structure, spec = Structure(schema.variables, none, states), getattr(data, "spec", None)
        if isinstance(spec, MixtureSpec):
            coarse = frozenset(spec.name(v) for v in spec.coarse)
            structure = replace(structure, source=spec.source, coarse=coarse)
        return structure, data
    table = read_table(data, missing_values)
    weight = sample_weight if isinstance(sample_weight, str) else None
    if strange := [name for name in table.columns if not isinstance(name, str)]:
        raise DataError(
            f"expected columns named by texts, since each is a variable, found {strange[:12]}: "
            "data.columns = data.columns.astype(str) names them"
        )
    declared = declared_states(state_names)
    reasons: dict[Any, str] = {}
    if isinstance(table, RelationTable):
        table.look([name for name in table.columns if name != weight])
    for name in table.columns:
        known = name in declared or (numbers is not None and name in numbers)
        if numbers is not None and not known:
            known = fractional(table, name)
        if name != weight and not known:
            reason = _no_variable(table, name, weighted=sample_weight is not None)
            if reason and numbers is None and fractional(table, name):
                reason += "; bin it (pandas.cut) to keep it"
            if reason:
                reasons[name] = reason
    names = tuple(name for name in table.columns if name != weight and name not in reasons)
    said = _left_out(reasons)
    if not names:
        raise DataError(
            f"expected a column that can be a variable, found none in {table.columns[:12]}. "
            f"{' '.join(said)}"
        )
    table = replace(table, said=(*table.said, *said), left_out=tuple(reasons))
    return Structure(names, dict.fromkeys(names, ())), table


def _no_variable(table: RawTable | RelationTable, name: str, *, weighted: bool) -> str:
    """Why a column is hardly a variable; empty where it may be one."""
    try:
        return no_variable(levels_of(table, name), weighted=weighted)
    except TooManyValuesError:
        return f"it has more distinct values than can be told apart, in {table.n_rows} rows"


def _left_out(reasons: Mapping[Any, str]) -> list[str]:
    """One sentence for each reason."""
    names: dict[str, list[Any]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return [
        f"{columns_named(same)} "
        f"{'was' if len(same) == 1 else 'were'} left out as a variable: {reason}."
        for reason, same in names.items()
    ]


def declared_states(
    state_names: Mapping[str, Sequence[Hashable]] | None,
) -> dict[Any, tuple[Hashable, ...]]:
    """Declared states; intervals of pandas as the texts that cells are read as.

    Raises:
        SpecError: they are no lists of states by name.
    """
    declared = mapping("state_names", state_names, "names of variables to lists of states")
    return {
        name: plain(
            interval_as_text(s) for s in listed(f"states of {shown(name)}", states, "states")
        )
        for name, states in declared.items()
    }


def _sources(
    structure: Structure, n_sources: int | None, states: dict[Any, tuple[Hashable, ...]]
) -> tuple[Structure, int | None]:
    """The structure and k that were asked for; states of the source are taken out of the others."""
    if structure.n_sources is not None and n_sources not in (None, structure.n_sources):
        structure = replace(structure, n_sources=None, source_states=())
    if structure.source in states:
        structure = replace(structure, source_states=states.pop(structure.source))
        n_sources = len(structure.source_states) if n_sources is None else n_sources
    return structure, n_sources


def _check_carries_its_own(data: Any, sample_weight: Any, missing_values: Any) -> None:
    """Refuse weights, or codes for missing cells, of data that were counted already.

    Raises:
        DataError: one is given.
    """
    for what, given, carried in (
        ("sample_weight", sample_weight is not None, "weights"),
        ("missing_values", bool(marks_of(missing_values)), "missing cells"),
    ):
        if given:
            raise DataError(
                f"{what}: Counts and Population carry their own {carried}, and so does any "
                f"object that answers moments or has rows, found a {type(data).__name__}; leave "
                f"{what} out"
            )


def _looked_at(
    table: RawTable | RelationTable,
    structure: Structure,
    states: dict[Any, tuple[Hashable, ...]],
    weight: str | None,
) -> RawTable | RelationTable:
    """Read off states that nobody declared, and note what looks odd, in the table and in them.

    Args:
        table: the data.
        structure: what the model says.
        states: declared ones; those of the other variables are added.
        weight: column of weights, if a column has them.

    Raises:
        DataError: a column is missing, or its states cannot be read off.
    """
    unasked = [name for name in structure.missing_states if name not in states]
    check_columns(table, unasked)
    if isinstance(table, RelationTable):
        table.look(unasked)
    read = {}
    for name in unasked:
        levels = levels_of(table, name)
        states[name] = observed(levels)
        read[name] = (levels, states[name])
    taken = {*structure.variables, *table.left_out, structure.source, weight}
    others = [name for name in table.columns if name not in taken]
    said = (*table.said, *suspicions(read), *_not_used(others, weight is None))
    return replace(table, said=said)


def _not_used(names: Sequence[Any], unweighted: bool) -> list[str]:
    """Say which columns the model does not name; rows that stand for many units above all."""
    said = []
    counts = [name for name in names if str(name).lower() in COUNT_NAMES]
    if unweighted and counts:
        said.append(
            f"column {counts[0]!r} is not used: every row counts as one unit; if it says how "
            f"many units a row stands for, pass sample_weight={counts[0]!r}."
        )
    rest = [name for name in names if not said or name != counts[0]]
    if rest:
        said.append(
            f"{columns_named(rest)} of the table {'is' if len(rest) == 1 else 'are'} not "
            "in the model, and not used."
        )
    return said


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


def table_of(
    fit: Fit,
    data: Any,
    sample_weight: Any = None,
    weights_are: str = COUNTS,
    missing_values: Any = None,
) -> Counts:
    """A table on the spec of a fit, or the fit's own where none is given.

    Raises:
        DataError: there is neither, the table does not fit, or weights come without one.
    """
    if data is not None:
        return counted(data, fit.spec, sample_weight, weights_are, missing_values)
    if sample_weight is not None:
        raise DataError(
            "sample_weight belongs to `data`, which was left out: the table of a fit carries its "
            "own weights; pass the data too, or leave sample_weight out"
        )
    if marks_of(missing_values):
        raise DataError(
            "missing_values belongs to `data`, which was left out: the table of a fit has been "
            "read already; pass the data too, or leave missing_values out"
        )
    check_weights_are(weights_are, sample_weight)
    return fit.counts


def counted(
    data: Any,
    spec: MixtureSpec,
    sample_weight: Any = None,
    weights_are: str = COUNTS,
    missing_values: Any = None,
) -> Counts:
    """A table, or rows that are there already, as Counts on a spec.

    Raises:
        DataError: the table does not fit the spec, a weight is unusable, or there are no rows.
    """
    if is_asked(data):
        _check_carries_its_own(data, None, missing_values)
        check_weights_are(weights_are, sample_weight)
        if not isinstance(data, Rows):
            raise DataError(
                f"expected a table, found a {type(data).__name__} that answers moments only and "
                "has no rows; pass a data frame, a path, Counts, or a sample"
            )
        moments = data if isinstance(data, MomentSource) else gathered(data)
        return asked(moments, spec).as_counts().in_rows()
    found = Counts.from_frame(
        data,
        spec,
        sample_weight=sample_weight,
        weights_are=weights_are,
        missing_values=missing_values,
    )
    return found.in_rows()
