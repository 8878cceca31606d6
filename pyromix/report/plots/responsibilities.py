"""How certain the source of each row is."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pyromix.fitting.record import Fit
from pyromix.report.facts.rows import certainties
from pyromix.report.plots.canvas import axes_of, bare
from pyromix.report.plots.palette import BLACK, SKY, VERMILION

BINS = 20


def draw_responsibilities(fit: Fit, ax: Any = None) -> Axes:
    """Draw a histogram of the largest P(U | row) over the rows of the table.

    Raises:
        QueryError: one source, or no table.
    """
    largest, shares = certainties(fit)
    k, source = fit.spec.n_sources, fit.spec.source
    ax = axes_of(ax, 6.0, 3.4)
    ax.hist(largest, bins=np.linspace(1 / k, 1, BINS + 1).tolist(), weights=shares, color=SKY,
            edgecolor=BLACK, hatch="..")  # fmt: skip
    mean = float(largest @ shares)
    ax.axvline(mean, color=VERMILION, linestyle="--", label=f"mean {mean:.3f}")
    ax.set_xlim(1 / k, 1)
    ax.set_title(f"How certain the source of a row is (entropy R2 {fit.entropy_r2:.2f})")
    ax.set_xlabel(f"largest P({source} | row); {1 / k:.2g} is no idea, 1 is certain")
    ax.set_ylabel("share of the rows")
    ax.legend(frameon=False, loc="upper left")
    bare(ax)
    return ax
