"""How the sources share the rows of a fit's table."""

from __future__ import annotations

import numpy as np

from pyromix.errors import QueryError
from pyromix.exact.likelihood import responsibilities
from pyromix.fitting.record import Fit


def certainties(fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    """Largest P(U | row) of every distinct row of the table, and its share of all rows.

    Returns:
        Two arrays of one entry per distinct row; the second sums to one.

    Raises:
        QueryError: one source, or no table.
    """
    if fit.spec.n_sources == 1:
        raise QueryError("with one source every row is certain: there is nothing to draw")
    if fit.table is None:
        raise QueryError(
            "this fit holds no table whose rows could be looked at: save with the data, or see "
            "fit.predict_proba(data)"
        )
    counts = fit.table.to(fit.mixture.device)
    largest = responsibilities(fit.mixture, counts.rows).amax(-1)
    return largest.cpu().numpy(), (counts.weights / counts.n_rows).cpu().numpy()
