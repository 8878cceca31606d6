"""The door to the predictive check: a fit against its own table, or against new rows."""

from __future__ import annotations

from typing import Any

from pyromix.criticism.discrepancy import PredictiveCheck
from pyromix.criticism.margins import check_predictions
from pyromix.data.weights import COUNTS
from pyromix.exact.threads import one_thread_unless
from pyromix.fitting.inputs import table_of
from pyromix.fitting.record import Fit
from pyromix.model.arguments import level_of
from pyromix.model.randomness import RandomState, check_seed


def predictive_check(
    fit: Fit,
    data: Any = None,
    *,
    sample_weight: Any = None,
    weights_are: str = COUNTS,
    missing_values: Any = None,
    level: float = 0.05,
    random_state: RandomState = 0,
) -> PredictiveCheck:
    """Compare the fitted mixture with a table: pair margins, ranks of d-separated blocks.

    Args:
        fit: to a table.
        data: a table; the one of the fit when left out. Rows that the fit has not seen test it
            more sharply; to a fit that was saved without its table every table is new.
        sample_weight: column name of ``data`` or one weight per row.
        weights_are: as in ``fit``.
        missing_values: as in ``fit``.
        level: of each family of tests.
        random_state: of simulated rows and of the blocks.

    Raises:
        DataError: the fit holds no table, the data do not fit, or weights come without data.
    """
    level = level_of(level)
    check_seed(random_state)
    counts = table_of(fit, data, sample_weight, weights_are, missing_values)
    counts = counts.to(fit.mixture.device)
    with one_thread_unless(counts.rows.numel()):
        return check_predictions(
            fit.mixture,
            counts,
            n_fitted=fit.n_rows,
            prior=fit.prior,
            fresh=fit.table is None or not fit.table.same_rows(counts),
            level=level,
            random_state=random_state,
        )
