"""A table that is looked at before anything is fitted: columns of numbers in bins."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from pyromix.bridges.pgmpy import structure_of
from pyromix.data.asking import Asked, asked
from pyromix.data.relation.door import read_table
from pyromix.fitting.inputs import is_asked, take_in
from pyromix.fitting.mixed.intake import take_in_mixed, with_numbers
from pyromix.model.note import Note


def take_in_bins(
    model: Any,
    data: Any,
    n_sources: int | None,
    state_names: Mapping[str, Sequence[Hashable]] | None,
    sample_weight: Any,
    missing: str,
    weights_are: str,
    missing_values: Any,
    kinds: Mapping[str, str] | None,
) -> tuple[Asked, tuple[Note, ...]]:
    """The table on the graph, columns of numbers in bins; arguments and errors of ``check``."""
    structure_of(model, n_sources)  # what is no model, or no k, is said before what is no table
    if not is_asked(data):
        data = read_table(data, missing_values)
    mixed = with_numbers(model, data, n_sources, kinds, state_names, missing_values)
    if mixed is None:
        return take_in(
            model,
            data,
            n_sources,
            state_names,
            sample_weight,
            missing,
            weights_are=weights_are,
            missing_values=missing_values,
        )
    found = take_in_mixed(
        mixed, n_sources, state_names, sample_weight, missing, weights_are=weights_are
    )
    return asked(found.counts, found.spec.binned), found.notes
