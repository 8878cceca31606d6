"""From a model and a table with columns of numbers to rows, and to the same table in bins."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pyromix.bridges.pgmpy import structure_of
from pyromix.data.bins import binned
from pyromix.data.counts import Counts
from pyromix.data.frames import encode
from pyromix.data.numbers import (
    check_range,
    cuts,
    far_off,
    kinds_in,
    numbers,
    read_number_column,
)
from pyromix.data.reading import RawTable, check_columns
from pyromix.data.records import Records
from pyromix.data.relation.door import read_rows, read_table
from pyromix.data.weights import COUNTS
from pyromix.errors import AddedSourceWarning, DataError, DataRepairWarning, QueryError, warn
from pyromix.fitting.inputs import declared_states, is_asked, take_in
from pyromix.formats.structure import Structure
from pyromix.model.arguments import near_matches
from pyromix.model.kind import Kind, Unit, kinds_of
from pyromix.model.mixed import MixedSpec
from pyromix.model.note import Note, NoteKind
from pyromix.model.spec import MixtureSpec

LINEAR = (
    "The model is linear Gaussian: its variables are real numbers, unless kinds= says otherwise; "
    "of its CPDs the graph was taken, not the coefficients."
)


@dataclass(frozen=True, eq=False)
class MixedTable:
    """A table with columns of numbers, read but not yet on a graph.

    Attributes:
        structure: of the model.
        table: as it was read.
        kinds: of the columns of numbers, by name.
        assumed: those among them that nobody declared.
    """

    structure: Structure
    table: RawTable
    kinds: Mapping[str, Kind]
    assumed: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Taken:
    """What a model and a table agree on.

    Attributes:
        spec: the structure.
        records: the rows.
        counts: the same rows in bins.
        edges: where each column of numbers was cut, by name.
        notes: on what was assumed, added or repaired.
        assumed: columns whose kind nobody declared.
    """

    spec: MixedSpec
    records: Records
    counts: Counts
    edges: Mapping[str, tuple[float, ...]]
    notes: tuple[Note, ...]
    assumed: tuple[str, ...] = ()


def with_numbers(
    model: Any,
    data: Any,
    n_sources: int | None,
    kinds: Mapping[str, str] | None,
    state_names: Mapping[str, Sequence[Hashable]] | None,
    missing_values: Any,
) -> MixedTable | None:
    """Find the columns of a table that are numbers.

    Args:
        model: as in ``fit``.
        data: as in ``fit``.
        n_sources: as in ``fit``.
        kinds: declared ones, by name.
        state_names: as in ``fit``; a variable whose states are declared has states.
        missing_values: as in ``fit``.

    Returns:
        The table and its kinds; None where all variables have states.

    Raises:
        QueryError: a kind is declared of what is no variable.
        SpecError: an unknown kind, or the graph is unusable.
        DataError: the table cannot be read.
    """
    declared = kinds_of(kinds)
    if is_asked(data):
        if any(kind.numeric for kind in declared.values()):
            raise DataError(
                f"kinds: expected a table with columns of numbers, found a {type(data).__name__}, "
                "whose variables have states; pass the data frame or the path"
            )
        return None
    structure = structure_of_unsaid(model, n_sources)
    told = declared_states(state_names)
    kept = {name: kind for name, kind in structure.kinds.items() if name not in told}
    declared = {**kept, **declared}
    for name in declared:
        if name not in structure.variables:
            raise QueryError(
                f"kinds: {name!r} is not among the variables"
                f"{near_matches(name, structure.variables)}; they are "
                f"{list(structure.variables)}"
            )
    table = read_table(data, missing_values)
    check_columns(table, list(declared))
    states = {**structure.states, **told}
    found = kinds_in(table, structure.variables, declared, states, real=structure.real)
    if not found:
        return None
    table = read_rows(table)
    assumed = () if structure.real else tuple(name for name in found if name not in declared)
    return MixedTable(structure, table, found, assumed)


def structure_of_unsaid(model: Any, n_sources: int | None) -> Structure:
    """The structure of a model; that a source was added is said by whoever takes the table in.

    Raises:
        SpecError: the graph or k is unusable.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AddedSourceWarning)
        return structure_of(model, n_sources)


def take_in_mixed(
    mixed: MixedTable,
    n_sources: int | None,
    state_names: Mapping[str, Sequence[Hashable]] | None = None,
    sample_weight: Any = None,
    missing: str = "mar",
    device: torch.device | str | None = None,
    weights_are: str = COUNTS,
) -> Taken:
    """Put a table with columns of numbers on a graph.

    Args:
        mixed: the table, and the structure of the model.
        n_sources: as in ``fit``.
        state_names: as in ``fit``.
        sample_weight: as in ``fit``.
        missing: as in ``fit``.
        device: as in ``fit``.
        weights_are: as in ``fit``.

    Raises:
        DataError: the table does not fit the model, or a column does not fit its kind.
        SpecError: the graph, the states or k are unusable.
    """
    raw = {name: read_number_column(mixed.table, name, kind) for name, kind in mixed.kinds.items()}
    structure = mixed.structure
    k = n_sources if n_sources is not None else structure.agreed_n_sources(None)
    edges = {name: tuple(cuts(kind, raw[name], k + 1)) for name, kind in mixed.kinds.items()}
    table, states = binned(mixed.table, edges)
    declared = {**(state_names or {}), **states}
    asked, notes = take_in(
        structure, table, n_sources, declared, sample_weight, missing, device, weights_are
    )
    counts = asked.as_counts()
    plain = asked.spec
    spec = _mixed_spec(plain, mixed.kinds)
    coded = encode(table, plain, sample_weight=sample_weight, missing="mar", warn=False)
    codes, weights = coded.codes.long(), coded.weights
    kept = weights > 0
    observed = codes >= 0
    kept &= observed.all(1) if missing == "drop" else observed.any(1)
    units, columns = [], []
    for v, name in enumerate(plain.variables):
        if name in raw:
            unit = Unit.of(mixed.kinds[name], raw[name][kept])
            columns.append(unit.inward(raw[name])[kept])
        else:
            unit = Unit()
            columns.append(codes[kept, v])
        units.append(unit)
    scale = counts.n_rows / float(weights[kept].sum())
    records = Records(spec.kinds, tuple(units), tuple(columns), weights[kept] * scale)
    if device is not None:
        records = records.to(counts.device)
    odd = _oddities(spec, records)
    for sentence in odd:
        warn(sentence, DataRepairWarning)
    said = [*_assumed(mixed.assumed), *odd]
    if structure.real:
        said.append(LINEAR)
    repairs = tuple(Note(NoteKind.REPAIR, sentence) for sentence in said)
    return Taken(spec, records, counts, edges, (*repairs, *notes), mixed.assumed)


def _mixed_spec(plain: MixtureSpec, kinds: Mapping[str, Kind]) -> MixedSpec:
    found = tuple(kinds.get(name, Kind.CATEGORICAL) for name in plain.variables)
    coarse = tuple(v for v, kind in enumerate(found) if kind.numeric)
    return MixedSpec(replace(plain, coarse=coarse), found)


def _assumed(names: Sequence[str]) -> list[str]:
    """Say once which columns were taken as numbers without having been asked."""
    if not names:
        return []
    listed = ", ".join(map(repr, names))
    some = len(names) > 1
    return [
        f"{'columns' if some else 'column'} {listed} {'hold' if some else 'holds'} fractions and "
        f"{'are' if some else 'is'} taken as real numbers (linear); kinds= declares "
        "another kind, discretize= cuts into states."
    ]


def _oddities(spec: MixedSpec, records: Records) -> list[str]:
    found = [
        far_off(spec.name(v), records.columns[v])
        for v in spec.numeric
        if spec.kind(v) is not Kind.COUNT
    ]
    return [text for text in found if text]


def rows_of(
    spec: MixedSpec,
    units: Sequence[Unit],
    edges: Mapping[str, tuple[float, ...]],
    data: Any,
    sample_weight: Any = None,
    missing_values: Any = None,
) -> tuple[Records, RawTable, Tensor]:
    """A table on the spec of a fit, every row kept, also empty ones.

    Returns:
        The rows, the table as read, and the codes of the table in bins.

    Raises:
        DataError: a column is missing, a value is no state, or a number is none of its kind.
    """
    table = read_rows(data, missing_values)
    names = [spec.name(v) for v in spec.numeric]
    check_columns(table, names)
    cut, _ = binned(table, {name: edges[name] for name in names})
    coded = encode(cut, spec.binned, sample_weight=sample_weight)
    codes = coded.codes.long()
    columns = []
    for v, unit in enumerate(units):
        kind = spec.kind(v)
        if kind.numeric:
            raw = _numbers(table, spec.name(v), kind)
            columns.append(unit.inward(raw))
        else:
            columns.append(codes[:, v])
    return Records(spec.kinds, tuple(units), tuple(columns), coded.weights), table, codes


def _numbers(table: RawTable, name: str, kind: Kind) -> Tensor:
    """Numbers of a kind; a table to be predicted may hold few of them, or one."""
    values = numbers(table, name)
    check_range(name, kind, values[~values.isnan()], zeros=False)
    return values
