"""Singular values of two views, with the noise band."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pyromix.fitting.record import Fit
from pyromix.report.facts.moments import find_run
from pyromix.report.plots.canvas import axes_of, bare
from pyromix.report.plots.palette import BLUE, GREY, PALE, VERMILION

SHOWN = 12
"""Singular values drawn; the k-th is always among them."""


def draw_spectrum(fit: Fit, ax: Any = None) -> Axes:
    """Draw the canonical correlations of the first two views, the k-th marked.

    Raises:
        QueryError: the fit has no spectrum, see ``facts.moments``.
    """
    run, k = find_run(fit), fit.spec.n_sources
    ax = axes_of(ax, 6.0, 3.6)
    values = run.singular_values[: max(SHOWN, k)]
    numbers = range(1, len(values) + 1)
    ax.axhspan(0, run.noise_floor, facecolor=PALE, edgecolor=GREY, hatch="///", linewidth=0,
               label=f"noise, up to {run.noise_floor:.3g}")  # fmt: skip
    ax.axhline(run.noise_floor, color=GREY, linewidth=1)
    ax.vlines(numbers, 0, values, color=BLUE, linewidth=1.5)
    ax.plot(numbers, values, "o", color=BLUE, markerfacecolor="white", label="singular values")
    if len(values) >= k:
        ax.plot([k], [values[k - 1]], "D", color=VERMILION, markersize=8,
                label=f"number {k}, the signal: {values[k - 1]:.3g}")  # fmt: skip
    one, other = (_short(view) for view in run.views[:2])
    given = f" given {{{', '.join(run.given)}}}" if run.given else ""
    ax.set_title(f"Signal of {k} sources\n{one} against {other}{given}", fontsize=10)
    ax.set_xlabel(f"number of the singular value (a source each, so {k} must rise above the noise)")
    ax.set_ylabel("canonical correlation")
    ax.set_xlim(0.5, max(len(values), k) + 0.5)
    ax.set_ylim(0, 1.08)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(frameon=False, loc="upper right")
    bare(ax)
    return ax


def _short(view: tuple[str, ...], limit: int = 3) -> str:
    more = ", ..." if len(view) > limit else ""
    return "{" + ", ".join(view[:limit]) + more + "}"
