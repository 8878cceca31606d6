"""Axes to draw on: those given, or those of a new figure that no global state knows."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyromix.errors import QueryError


def axes_of(ax: Any, width: float, height: float) -> Axes:
    """Return given axes, or new ones.

    Args:
        ax: matplotlib Axes, or None.
        width: of a new figure, in inches.
        height: of a new figure, in inches.

    Raises:
        QueryError: something else than Axes is given.
    """
    if ax is None:
        return Figure(figsize=(width, height), layout="constrained").add_subplot()
    if not isinstance(ax, Axes):
        raise QueryError(f"ax must be matplotlib Axes, found {type(ax).__name__}")
    return ax


def bare(ax: Axes) -> None:
    """Leave out the upper and the right edge."""
    ax.spines[["top", "right"]].set_visible(False)
