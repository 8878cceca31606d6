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


def wrap_texts(ax: Axes) -> None:
    """Break title and labels of a new figure into lines that are no wider than it."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    points = 72 * figure.get_figwidth()
    for axes in figure.axes:
        _wrap(axes.title, points)
        _wrap(axes.xaxis.label, 0.8 * points)
        _wrap(axes.yaxis.label, 72 * 0.8 * figure.get_figheight())


def _wrap(text: Text, points: float) -> None:
    letters = max(12, int(points / (LETTER * float(text.get_fontsize()))))
    lines = [
        line
        for paragraph in text.get_text().split("\n")
        for line in textwrap.wrap(paragraph, letters) or [""]
    ]
    text.set_text("\n".join(lines))
