"""Sources as profiles: one line each through the probabilities of the states of the variables."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from pyromix.fitting.record import Fit
from pyromix.report.facts.profile import margins
from pyromix.report.plots.canvas import axes_of, bare
from pyromix.report.plots.palette import MARKERS, PALE, WITHIN
from pyromix.report.plots.sources import ROWS, VARIABLES_DRAWN

APART = 0.08
"""Distance between the lines of two sources within a row: their intervals must not cover."""


def draw_profiles(fit: Fit, ax: Any = None) -> Axes:
    """Draw P(state | source) of the variables that differ most, in their own order.

    Of a binary variable the second state, of others every state.
    """
    spec, k = fit.spec, fit.spec.n_sources
    found = sorted(margins(fit, VARIABLES_DRAWN), key=lambda margin: margin.vertex)
    rows = [
        (margin, s)
        for margin in found
        for s in ([1] if spec.card(margin.vertex) == 2 else range(spec.card(margin.vertex)))
    ][:ROWS]
    ax = axes_of(ax, 6.4, 1.6 + 0.36 * len(rows))
    for u, state in enumerate(spec.source_states):
        colour, marker = WITHIN[u % len(WITHIN)], MARKERS[u % len(MARKERS)]
        places = [i + APART * (u - (k - 1) / 2) for i in range(len(rows))]
        values = [float(margin.values[u, s]) for margin, s in rows]
        share = float(fit.mixture.weights[u])
        ax.plot(values, places, "-", color=colour, marker=marker, label=f"{state} ({share:.0%})")
        for place, (margin, s) in zip(places, rows, strict=True):
            if margin.interval is not None:
                ends = [float(end[u, s]) for end in margin.interval]
                ax.plot(ends, [place, place], "-|", color=colour, linewidth=1.0)
    names = [f"{spec.name(m.vertex)} = {spec.states_of(m.vertex)[s]}" for m, s in rows]
    ax.set_yticks(range(len(rows)), names)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(-0.02, 1.02)
    ax.grid(axis="y", color=PALE)
    ax.set_axisbelow(True)
    ax.set_xlabel(f"P(state | {spec.source})")
    ax.set_ylabel("state")
    ax.set_title("Profiles of the sources")
    ax.legend(title=f"source {spec.source}", frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    bare(ax)
    return ax
