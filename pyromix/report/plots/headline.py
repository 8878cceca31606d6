"""The answer of a report on one axis: the naive difference, and the one under the do."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from pyromix.model.query import Certainty
from pyromix.report.facts.headline import Compared, HeadlineFacts
from pyromix.report.facts.question import Question
from pyromix.report.numbers import points
from pyromix.report.plots.canvas import SLIM, axes_of, bare, width_of
from pyromix.report.plots.palette import BLACK, GREY, PALE, VERMILION

NAIVE, DO = 0, 1
"""Rows of the plot."""


def draw_headline(question: Question, told: HeadlineFacts, ax: Any = None) -> Axes:
    """Draw what a letter says first, in percentage points.

    Args:
        question: whose effect.
        told: its numbers.
        ax: where to draw.
    """
    ax = axes_of(ax, 6.4, 1.9)
    slim = width_of(ax) < SLIM
    ax.axvline(0, color=BLACK, linewidth=0.8)
    if told.naive is not None:
        _mark(ax, told.naive, NAIVE, GREY, "o", 1.5)
    if told.do is None:
        ax.set_xlim(-100, 100)
        ax.barh(DO, 200, 0.42, left=-100, facecolor=PALE, edgecolor=GREY, hatch="///", linewidth=0)
        _say(ax, "not determined", 0, DO, above=-5)
    elif told.level is Certainty.WEAK:
        if told.do.ends is not None:
            low, high = (100 * end for end in told.do.ends)
            ax.plot([low, high], [DO, DO], "--|", color=VERMILION, linewidth=2.5, markersize=16)
            _say(ax, f"{points(low / 100)} to {points(high / 100)}", (low + high) / 2, DO)
    else:
        _mark(ax, told.do, DO, VERMILION, "D", 3.0)
    seen, made = ("as the table stands (naive)", f"if {question.treatment} is set (do)")
    names = [text.replace(" (", "\n(") if slim else text for text in (seen, made)]
    if slim:
        names[NAIVE] = "seen\n(naive)"
    ax.set_yticks([NAIVE, DO], names)
    ax.set_ylim(1.6, -0.7)
    if told.do is not None:
        ax.margins(x=0.12)
    one, other = question.contrast
    ax.set_xlabel(
        f"change of P({question.outcome} = {told.state}), {question.treatment} from {one} to "
        f"{other}, percentage points"
    )
    bare(ax)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return ax


def _mark(ax: Axes, found: Compared, row: int, colour: str, marker: str, line: float) -> None:
    value = 100 * found.value
    if found.ends is not None:
        ax.plot([100 * end for end in found.ends], [row, row], "-|", color=colour,
                linewidth=line, markersize=12)  # fmt: skip
    ax.plot([value], [row], marker, color=colour, markersize=9)
    _say(ax, points(found.value), value, row)


def _say(ax: Axes, text: str, x: float, row: int, above: float = 10) -> None:
    """Write a number so many points above its mark, over whatever is drawn there."""
    ax.annotate(text, (x, row), xytext=(0, above), ha="center", textcoords="offset points",
                fontsize=11, fontweight="bold", zorder=4,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
