"""Misfit of the margins of all pairs of variables."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pyromix.criticism.discrepancy import PredictiveCheck
from pyromix.criticism.prediction import predictive_check
from pyromix.errors import QueryError
from pyromix.fitting.record import Fit
from pyromix.report.plots.canvas import axes_of, scale_beside, width_of

LEAST_SCALE = 4.0
"""Standard errors at the ends of the scale, at least: small residuals shall look small."""

NAMES_WRITTEN = 14
"""Variables up to which every residual is written."""

MARGIN = 1.2
"""Inches beside a heat map that names and scale take."""

CELL = 0.34
"""Inches that a written residual needs."""


def draw_residuals(fit: Fit, ax: Any = None, check: PredictiveCheck | None = None) -> Axes:
    """Draw the largest standardised cell residual of every pair.

    Args:
        fit: with its table.
        ax: where to draw.
        check: of the fit, where it is known already.

    Raises:
        QueryError: no table, or a single variable.
    """
    spec = fit.spec
    if check is None:
        if fit.table is None:
            raise QueryError("this fit holds no table to compare with: save it with the data")
        check = predictive_check(fit)
    if not check.pairs:
        raise QueryError("a single variable has no pair margins to draw")
    n = spec.n_variables
    table = np.full((n, n), np.nan)
    for pair in check.pairs:
        one, other = sorted(spec.vertex(name) for name in pair.names)
        table[other, one] = pair.residual
    side = 1.8 + (0.55 if n <= NAMES_WRITTEN else 0.22) * n
    ax = axes_of(ax, side + 1.4, side)
    limit = max(LEAST_SCALE, float(np.nanmax(np.abs(table))))
    image = ax.imshow(
        table, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto", interpolation="none"
    )
    if n <= NAMES_WRITTEN and (width_of(ax) - MARGIN) / n >= CELL:
        for (i, j), value in np.ndenumerate(table):
            if np.isfinite(value):
                colour = "white" if abs(value) > 0.6 * limit else "black"
                ax.text(j, i, f"{value:+z.1f}", ha="center", va="center", color=colour, fontsize=8)
    names = list(spec.variables)
    ax.set_xticks(range(n), names, rotation=90)
    ax.set_yticks(range(n), names)
    ax.set_xlim(-0.5, n - 1.5)
    ax.set_ylim(n - 0.5, 0.5)
    bad = sum(pair.adjusted < check.level for pair in check.pairs)
    said = f"{bad or 'none'} of {len(check.pairs)} contradict{'s' * (bad <= 1)} the model"
    ax.set_title(f"Misfit of pair margins: {said}", fontsize=10)
    ax.set_xlabel("variable")
    ax.set_ylabel("variable")
    ax.spines[:].set_visible(False)
    scale_beside(ax, image, "largest cell residual, in standard errors")
    return ax
