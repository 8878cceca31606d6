"""Plots of fits with numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes

from pyromix.answers.mixed import ask
from pyromix.answers.mixed.dose import DoseResponse
from pyromix.answers.mixed.simulate import drawn
from pyromix.errors import QueryError
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.report.mixed.question import MixedQuestion
from pyromix.report.plots.canvas import axes_of, bare
from pyromix.report.plots.draw import without_mathematics
from pyromix.report.plots.network import draw_network
from pyromix.report.plots.palette import GREY, VERMILION, WITHIN

N_DRAWN = 20_000
"""Rows drawn for densities."""

VARIABLES = 8
"""Variables drawn, those that differ most between sources."""

POINTS = 200
"""Of a density."""

STYLES = ("-", "--", ":", "-.")
"""Of lines, for print without colour."""


def draw_mixed(kind: str, fit: MixedRecord, question: MixedQuestion | None, ax: Any = None) -> Axes:
    """Draw a plot of a kind.

    Args:
        kind: ``"network"``, ``"sources"`` or ``"dose_response"``.
        fit: who is asked.
        question: the effect, where there is one.
        ax: where to draw.

    Raises:
        QueryError: there is nothing of this kind to draw.
        NotCertifiedError, PositivityError: the curve to draw is refused.
    """

    def drawn_on() -> Axes:
        if kind == "network":
            return draw_network(fit.binned, question, ax)
        if kind == "sources":
            return draw_densities(fit, ax)
        if question is None:
            raise QueryError(
                'plot("dose_response") follows an outcome along a treatment; name both: '
                "treatment=..., outcome=..."
            )
        options = {} if question.outcome_state is ... else {"outcome_state": question.outcome_state}
        curve = ask.dose_response(fit, question.treatment, question.outcome, **options)
        return draw_dose_response(curve, ax)

    return without_mathematics(drawn_on, ax)


def draw_dose_response(curve: DoseResponse, ax: Any = None) -> Axes:
    """Draw an outcome along settings of the treatment, with its band and the naive curve."""
    spec = curve.spec
    outcome, treatment = spec.name(curve.outcome), spec.name(curve.treatment)
    ax = axes_of(ax, 6.4, 4.0)
    numeric = spec.kind(curve.treatment).numeric
    at = np.asarray(curve.grid, dtype=float) if numeric else np.arange(len(curve.grid))
    values, naive = curve.values, curve.naive
    ends = curve.band() if curve.has_band else None
    several = values.ndim > 1 and values.shape[1] > 1
    for cell in range(values.shape[1] if several else 1):
        own = values[:, cell] if several else values.ravel()
        seen = naive[:, cell] if several else naive.ravel()
        colour = WITHIN[cell % len(WITHIN)] if several else VERMILION
        label = f"set: do({treatment})"
        if several:
            label = f"{outcome} = {spec.binned.states_of(curve.outcome)[cell]}, set"
        if ends is not None:
            low, high = (e[:, cell] if several else e.ravel() for e in ends)
            ax.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(at, own, STYLES[cell % len(STYLES)], color=colour, label=label, linewidth=2)
        ax.plot(at, seen, ":", color=GREY, label=None if cell else "seen (naive)")
    if not numeric:
        ax.set_xticks(at, [str(state) for state in curve.grid])
    what = f"{curve.summary.words} of {outcome}"
    if not spec.kind(curve.outcome).numeric:
        states = spec.binned.states_of(curve.outcome)
        what = "probability" if several else f"P({outcome} = {states[max(curve.headline, 0)]})"
    ax.set_xlabel(treatment)
    ax.set_ylabel(what)
    ax.set_title(f"{outcome} along {treatment}")
    ax.legend(frameon=False, fontsize=8)
    bare(ax)
    return ax


def draw_densities(fit: MixedRecord, ax: Any = None) -> Axes:
    """Draw what the variables look like in each source, a strip each, most apart on top.

    Every strip has its own scale, from the 0.5% to the 99.5% quantile.
    """
    spec = fit.spec
    with torch.no_grad():
        columns, sources = drawn(fit.mixture, N_DRAWN, {}, torch.Generator().manual_seed(0))
    own = sources.cpu().numpy()
    present = [u for u in range(spec.n_sources) if (own == u).sum() > 1]
    strips = []
    for v, column in enumerate(columns):
        strips.append(_strip(fit, v, column.cpu().numpy(), own, present))
    strips.sort(key=lambda strip: -strip[0])
    strips = strips[:VARIABLES]
    ax = axes_of(ax, 6.8, 0.9 + 0.8 * len(strips))
    sizes = fit.mixture.weights.tolist()
    for row, (_, _, curves, ends) in enumerate(strips):
        for u, (x, y) in zip(present, curves, strict=True):
            label = None
            if row == 0:
                label = f"{spec.source} = {spec.binned.source_states[u]} ({sizes[u]:.0%})"
            colour = WITHIN[u % len(WITHIN)]
            ax.plot(x, row - 0.85 * y, STYLES[u % len(STYLES)], color=colour, label=label)
            ax.fill_between(x, row - 0.85 * y, row, color=colour, alpha=0.12, linewidth=0)
        ax.axhline(row, color=GREY, linewidth=0.5)
        for place, end, side in ((0.0, ends[0], "left"), (1.0, ends[1], "right")):
            ax.text(place, row + 0.02, end, ha=side, va="top", fontsize=7, color=GREY)
    names = [spec.name(v) for _, v, _, _ in strips]
    ax.set_yticks(range(len(strips)), names)
    ax.set_xticks([])
    ax.set_ylim(len(strips) - 0.6, -1.0)
    ax.set_xlim(-0.02, 1.02)
    ax.set_title("What each source looks like")
    ax.legend(frameon=False, fontsize=8, loc="upper center", ncols=3, bbox_to_anchor=(0.5, 0.0))
    bare(ax)
    return ax


def _strip(
    fit: MixedRecord, v: int, column: np.ndarray, sources: np.ndarray, present: list[int]
) -> tuple[float, int, list[tuple[np.ndarray, np.ndarray]], tuple[str, str]]:
    """How far apart the sources are, the vertex, curves in a unit box, words of its ends."""
    spec = fit.spec
    if not spec.kind(v).numeric:
        states = spec.binned.states_of(v)
        laws = [
            np.bincount(column[sources == u].astype(int), minlength=len(states))
            / max((sources == u).sum(), 1)
            for u in present
        ]
        edges = np.linspace(0, 1, len(states) + 1)
        curves = [(np.repeat(edges, 2)[1:-1], np.repeat(law, 2)) for law in laws]
        return _apart(laws), v, curves, (f"{states[0]}", f"{states[-1]}")
    finite = column[np.isfinite(column)]  # zeros of a hurdle are told as a share, not drawn
    low, high = np.quantile(finite, [0.005, 0.995])
    high = high if high > low else low + 1.0
    centres = np.linspace(0, 1, POINTS)
    width = 0.9 * max(finite.std() / (high - low), 1e-3) * max(len(finite), 2) ** -0.2
    edges = np.linspace(-0.5 / POINTS, 1 + 0.5 / POINTS, POINTS + 1)
    kernel = np.exp(-0.5 * ((centres[:, None] - centres[None, :]) / max(width, 1 / POINTS)) ** 2)
    laws = []
    for u in present:
        inside = column[(sources == u) & np.isfinite(column)]
        counts = np.histogram((inside - low) / (high - low), edges)[0]
        # A part of the source that is zero takes no height.
        laws.append(kernel @ counts / max((sources == u).sum(), 1))
    total = max(float(max(law.sum() for law in laws)), 1e-12)
    top = max(float(max(law.max() for law in laws)), 1e-12)
    unit = fit.mixture.units[v]
    ends = tuple(
        f"{float(unit.outward(torch.tensor(end, dtype=torch.float64))):.3g}" for end in (low, high)
    )
    apart = _apart([law / total for law in laws])
    return apart, v, [(centres, law / top) for law in laws], (ends[0], ends[1])


def _apart(laws: list[np.ndarray]) -> float:
    """Largest distance in total variation between two sources."""
    return max((np.abs(a - b).sum() / 2 for a in laws for b in laws), default=0.0)
