"""Where the starts ended; of a fit with draws, how well each draw fits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pyromix.errors import QueryError
from pyromix.exact.likelihood import log_prob
from pyromix.fitting.record import Fit
from pyromix.report.plots.canvas import axes_of, bare
from pyromix.report.plots.palette import BLUE, GREEN, GREY, ORANGE, VERMILION

NEAR = 1.0
"""Nats below the best that the axis shows at least: agreement shall look like it."""


def draw_trace(fit: Fit, ax: Any = None) -> Axes:
    """Draw the log-likelihood of every start, or of every draw.

    Raises:
        QueryError: the likelihood of a population that is too large to sum is not known.
    """
    drawn = fit.sampled is not None and fit.table is not None
    return _draws(fit, ax) if drawn else _starts(fit, ax)


def _starts(fit: Fit, ax: Any) -> Axes:
    ends = np.array(fit.climb.log_likelihoods)
    if not np.isfinite(ends).any():
        raise QueryError("the likelihood of this fit is not known, so there is nothing to draw")
    ax = axes_of(ax, 6.0, 3.4)
    below = ends - ends[np.isfinite(ends)].max()
    numbers = np.arange(1, len(ends) + 1)
    first = 1 if "moments" in fit.course.ran else 0
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.plot(numbers[first:], below[first:], "o", color=BLUE, label="random starts")
    if first:
        ax.plot(numbers[:1], below[:1], "D", color=VERMILION, markersize=8,
                label="start from moments")  # fmt: skip
    ax.set_ylim(min(-NEAR, 1.15 * float(np.nanmin(below))), 0.15 * max(NEAR, -np.nanmin(below)))
    ax.set_xlim(0.5, len(ends) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_title(
        f"Best optimum reached by {fit.climb.n_best} of {len(ends)} starts; "
        f"{'converged' if fit.converged else 'NOT converged'} after {fit.n_iter} iterations",
        fontsize=10,
    )
    ax.set_xlabel("start")
    ax.set_ylabel("log-likelihood below the best, nats")
    if not math.isnan(fit.log_likelihood_moments) and first:
        gap = fit.log_likelihood_moments - float(ends.max())
        ax.plot([], [], " ", label=f"moments before EM: {gap:+.1f} nats")
    ax.legend(frameon=False, loc="best")
    bare(ax)
    return ax


def _draws(fit: Fit, ax: Any) -> Axes:
    counts, draws = fit.counts.to(fit.mixture.device), fit.draws
    values = [
        float(counts.weights @ log_prob(draws[i], counts.rows)) for i in range(draws.batch_shape[0])
    ]
    level = float(counts.weights @ log_prob(fit.mixture, counts.rows))
    ax = axes_of(ax, 6.0, 3.4)
    ax.plot(range(1, len(values) + 1), values, "-", color=ORANGE, linewidth=0.8)
    ax.plot(range(1, len(values) + 1), values, ".", color=BLUE, label="draws")
    ax.axhline(level, color=GREEN, linestyle="--", label="the estimate")
    mean = float(torch.tensor(values).mean())
    ax.set_title(f"{len(values)} draws, on average {level - mean:.1f} nats below the estimate")
    ax.set_xlabel("draw")
    ax.set_ylabel("log-likelihood of the table, nats")
    ax.legend(frameon=False, loc="best")
    bare(ax)
    return ax
