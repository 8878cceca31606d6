"""How well rows of states and numbers can be assigned to sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyromix.answers.classification import Classification, classified
from pyromix.answers.classification import assigned as with_assigned
from pyromix.answers.mixed.predict import posterior, predict_proba
from pyromix.fitting.mixed.intake import rows_of
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.model.only_states import without

if TYPE_CHECKING:
    import pandas as pd


@without(weights_are="give weights that sum to the rows they stand for")
def classification(
    fit: MixedRecord,
    data: Any = None,
    *,
    sample_weight: Any = None,
    missing_values: Any = None,
) -> Classification:
    """Assign every row to its likeliest source, and tell how sure that is.

    Args:
        fit: whose sources.
        data: a table; the one of the fit when left out.
        sample_weight: column name of ``data`` or one weight per row.
        missing_values: as in ``fit``.

    Raises:
        DataError: the fit holds no table, or the data do not fit.
    """
    records = fit.records if data is None else rows_of(
        fit.spec, fit.mixture.units, fit.edges, data, sample_weight, missing_values
    )[0]  # fmt: skip
    shares = posterior(fit, records).to(records.weights.device)
    return classified(fit.spec.binned, shares, records.weights)


def membership(fit: MixedRecord, data: Any, *, missing_values: Any = None) -> pd.DataFrame:
    """P(U | row) of every row of a table, and the source that each is assigned to.

    Args:
        fit: whose sources.
        data: as in ``predict_proba``.
        missing_values: as in ``fit``.

    Returns:
        The columns of ``predict_proba``, then ``assigned``, the likeliest source by name.

    Raises:
        DataError: a column is missing, a value is no state, or a number is none of its kind.
        QueryError: a source is called ``"assigned"``.
    """
    frame = predict_proba(fit, data, missing_values=missing_values)
    return with_assigned(frame, fit.spec.binned.source_states)
