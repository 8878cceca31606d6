"""Axes to draw on: those given, or those of a new figure that no global state knows."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from pyromix.errors import QueryError

LETTER = 0.6
"""Width of a letter on average, in sizes of its font."""

SMALL = 10.0
"""Points of the title of a figure that is scrolled."""

SLIM = 5.0
"""Inches below which a figure has no room beside what is drawn."""


@dataclass(frozen=True)
class Sheet:
    """A width to draw to, in place of Axes.

    Attributes:
        width: in inches.
    """

    width: float


def axes_of(ax: Any, width: float, height: float, least: float = 0.0) -> Axes:
    """Return given axes, or new ones.

    Args:
        ax: matplotlib Axes, a Sheet, or None.
        width: of a new figure, in inches, where no Sheet says another.
        height: of a new figure, in inches.
        least: inches below which the figure cannot be read, whatever the Sheet says.

    Raises:
        QueryError: something else than Axes is given.
    """
    if isinstance(ax, Sheet):
        width = max(ax.width, least)
    elif ax is not None:
        if not isinstance(ax, Axes):
            raise QueryError(f"ax must be matplotlib Axes, found {type(ax).__name__}")
        return ax
    return Figure(figsize=(width, height), layout="constrained").add_subplot()


def bare(ax: Axes) -> None:
    """Leave out the upper and the right edge."""
    ax.spines[["top", "right"]].set_visible(False)


def width_of(ax: Axes) -> float:
    """Width of the figure of some axes, in inches."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    return figure.get_figwidth()


def scale_beside(ax: Axes, image: Any, label: str) -> None:
    """Add the scale of a heat map: to the right, or underneath where there is no room."""
    place = {"shrink": 0.8} if width_of(ax) >= SLIM else {"location": "bottom", "pad": 0.02}
    bar = ax.get_figure(root=True).colorbar(image, ax=ax, **place)  # pyright: ignore
    bar.set_label(label)


def wrap_texts(ax: Axes, width: float) -> None:
    """Break title and labels of a new figure into lines that it has room for.

    A ``$`` in a name is a sign like any other, and no mathematics.

    Args:
        ax: drawn on.
        width: inches that are seen at once; a wider figure has its title at the left.
    """
    figure = ax.get_figure(root=True)
    assert figure is not None
    wide = figure.get_figwidth()
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # pyright: ignore[reportAttributeAccessIssue]
    figure.draw_without_rendering()  # places the axes
    if wide > width:
        title = _lines(ax.get_title(), width, SMALL)
        ax.set_title("")
        ax.set_title(title, loc="left", fontsize=SMALL)
    for axes in figure.axes:
        box = axes.get_position()
        middle = wide * (box.x0 + box.x1) / 2
        room = 2 * min(middle, wide - middle)
        _wrap(axes.title, room)
        _wrap(axes.xaxis.label, room)
        _wrap(axes.yaxis.label, 0.8 * figure.get_figheight())


def _wrap(text: Text, inches: float) -> None:
    text.set_text(_lines(text.get_text(), inches, float(text.get_fontsize())))


def _lines(text: str, inches: float, size: float) -> str:
    letters = max(12, int(72 * inches / (LETTER * size)))
    found = [textwrap.wrap(paragraph, letters) or [""] for paragraph in text.split("\n")]
    return "\n".join(line for lines in found for line in lines)
