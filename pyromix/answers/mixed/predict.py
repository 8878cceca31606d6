"""Rows of states and numbers put to a fit: which source they are from, and how likely they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.data.frames import labels_of, to_pandas
from pyromix.data.records import Records
from pyromix.estimate.mixed.step import look
from pyromix.fitting.mixed.intake import rows_of
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.model.only_states import without

if TYPE_CHECKING:
    import pandas as pd


@without(level="posteriors are those of the estimate, without an interval")
def predict_proba(fit: MixedRecord, data: Any, *, missing_values: Any = None) -> pd.DataFrame:
    """P(U | row) of every row of a table.

    Args:
        fit: knows the kinds of the columns.
        data: whatever ``fit`` accepts as a table; missing cells are summed or integrated out.
        missing_values: as in ``fit``.

    Returns:
        One row per data row, in the order of the data and with the index of a pandas frame, one
        column per source, named by the source states.

    Raises:
        DataError: a column is missing, a value is no state, or a number is none of its kind.
    """
    records, table, _ = rows_of(
        fit.spec, fit.mixture.units, fit.edges, data, missing_values=missing_values
    )
    shares = posterior(fit, records).cpu().numpy()
    names = [str(s) for s in fit.spec.binned.source_states]
    return to_pandas(dict(zip(names, shares.T, strict=True)), labels_of(table))


@torch.no_grad()
def posterior(fit: MixedRecord, records: Records) -> Float[Tensor, "rows k"]:
    """P(U | row) of rows in our units."""
    mixture = fit.mixture
    found = mixture.weights.expand(records.n_rows, -1).clone()
    for part in records.to(mixture.device).parts():
        found[part.rows] = look(mixture, part).posterior()
    return found


@torch.no_grad()
def score(
    fit: MixedRecord, data: Any, sample_weight: Any = None, *, missing_values: Any = None
) -> float:
    """Mean log-density per row in the units of the table, in nats.

    Missing cells, and U, are summed or integrated out; a zero of a hurdle counts with its
    probability.

    Args:
        fit: knows the kinds of the columns.
        data: a table.
        sample_weight: column name or one weight per row.
        missing_values: as in ``fit``.

    Raises:
        DataError: a column is missing, a value is no state, or a number is none of its kind.
    """
    records, _, _ = rows_of(
        fit.spec, fit.mixture.units, fit.edges, data, sample_weight, missing_values
    )
    total = float(records.log_slopes() @ records.weights)
    for part in records.to(fit.mixture.device).parts():
        total += float(look(fit.mixture, part).log_prob() @ part.weights)
    return total / records.total_weight
