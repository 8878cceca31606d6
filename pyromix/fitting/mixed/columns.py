"""Rows of a fit with numbers as a data frame, in the user's units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pyromix.data.frames import labelled, to_pandas
from pyromix.data.records import Records
from pyromix.model.mixed import MixedMixture

if TYPE_CHECKING:
    import pandas as pd


def frame_of(
    mixture: MixedMixture, columns: Sequence[Tensor], further: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """Return columns of a mixture with numbers as people know them.

    Args:
        mixture: knows names, states and units.
        columns: per vertex ``(n,)``, state numbers or numbers in our units; -1 and nan where a
            cell is missing.
        further: more columns, by name.

    Returns:
        Categorical columns and columns of float64, in the order of ``spec.variables``.
    """
    spec = mixture.spec
    found: dict[str, Any] = {}
    for v, column in enumerate(columns):
        if spec.kind(v).numeric:
            found[spec.name(v)] = mixture.units[v].outward(column).cpu().numpy()
        else:
            found[spec.name(v)] = labelled(column, spec.binned.states_of(v))
    return to_pandas({**found, **(further or {})})


def table_of_records(mixture: MixedMixture, records: Records) -> tuple[pd.DataFrame, list[float]]:
    """Return rows and their weights, as ``data`` and ``sample_weight`` of ``px.fit``."""
    return frame_of(mixture, records.columns), records.weights.tolist()
