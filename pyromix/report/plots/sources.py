"""Within-source margins as a heat map with numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pyromix.fitting.record import Fit
from pyromix.report.facts.profile import margins
from pyromix.report.plots.canvas import axes_of, scale_beside, width_of

VARIABLES_DRAWN = 12
"""Variables drawn, those that differ most between sources."""

ROWS = 24
"""Rows drawn: a state each, of binary variables the second one only."""

MARGIN = 2.0
"""Inches beside the map that names and scale take."""

CELL, WITH_ENDS = 0.3, 0.8
"""Inches that a written probability needs, and one with its interval."""

DARK = 0.5
"""Probability from which on the map is light and the text on it dark."""


def draw_sources(fit: Fit, ax: Any = None) -> Axes:
    """Draw P(state | source), the variables that differ most between sources on top."""
    spec = fit.spec
    labels: list[str] = []
    values: list[np.ndarray] = []
    texts: list[list[str]] = []
    for margin in margins(fit, VARIABLES_DRAWN):
        states = spec.states_of(margin.vertex)
        for s in [1] if len(states) == 2 else range(len(states)):
            labels.append(f"{spec.name(margin.vertex)} = {states[s]}")
            values.append(margin.values[:, s])
            ends = [f"\n[{low[s]:.2f}, {high[s]:.2f}]" for low, high in _ends(margin)]
            ends = ends or [""] * spec.n_sources
            texts.append(
                [f"{p:.2f}{end}" for p, end in zip(margin.values[:, s], ends, strict=True)]
            )
    labels, values, texts = labels[:ROWS], values[:ROWS], texts[:ROWS]
    ax = axes_of(ax, 2.6 + 1.25 * spec.n_sources, 1.2 + 0.42 * len(labels))
    image = ax.imshow(
        np.stack(values), cmap="cividis", vmin=0, vmax=1, aspect="auto", interpolation="none"
    )
    room = (width_of(ax) - MARGIN) / spec.n_sources
    if room < WITH_ENDS:
        texts = [[text.split("\n")[0] for text in row] for row in texts]
    for i, row in enumerate(texts if room >= CELL else []):
        for u, text in enumerate(row):
            colour = "black" if values[i][u] >= DARK else "white"
            ax.text(u, i, text, ha="center", va="center", color=colour, fontsize=8)
    sizes = fit.mixture.weights.tolist()
    ax.set_xticks(
        range(spec.n_sources),
        [f"{u}\n({w:.0%})" for u, w in zip(spec.source_states, sizes, strict=True)],
    )
    ax.set_yticks(range(len(labels)), labels)
    ax.set_xlabel(f"source {spec.source} (share of the rows)")
    ax.set_ylabel("state, what differs most first")
    ax.set_title("What each source looks like")
    scale_beside(ax, image, f"P(state | {spec.source})")
    return ax


def _ends(margin: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per source its lower and upper ends; none without intervals."""
    return [] if margin.interval is None else list(zip(*margin.interval, strict=True))
