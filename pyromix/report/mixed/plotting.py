"""The door to plots of fits with numbers: ``MixedFit.plot``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pyromix.errors import QueryError
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.model.arguments import shown
from pyromix.model.spec import near_matches
from pyromix.report.kinds import MIXED_PLOT_KINDS
from pyromix.report.mixed.question import find_mixed_question

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot(
    fit: MixedRecord,
    kind: str,
    *,
    treatment: str | None = None,
    outcome: str | None = None,
    contrast: Sequence[Any] | None = None,
    outcome_state: Any = ...,
    ax: Any = None,
) -> Axes:
    """Draw one kind of plot; save it by ``.figure.savefig(path)``.

    Args:
        fit: to look at.
        kind: ``"network"`` (views, treatment and outcome marked), ``"sources"`` (densities and
            shares within each) or ``"dose_response"`` (the outcome along the treatment).
        treatment: by default the model's one exposure.
        outcome: by default the model's one outcome.
        contrast: as in ``effect``; marks nothing here, and is checked.
        outcome_state: as in ``effect``.
        ax: where to draw; by default a new figure, which pyplot does not know.

    Returns:
        The matplotlib Axes that were drawn on.

    Raises:
        QueryError: the kind or a name is unknown, or there is nothing of this kind to draw.
        NotCertifiedError, PositivityError: the curve to draw is refused.
    """
    if not isinstance(kind, str) or kind not in MIXED_PLOT_KINDS:
        raise QueryError(
            f"unknown kind of plot {shown(kind)}{near_matches(kind, MIXED_PLOT_KINDS)}; the kinds "
            f"are {list(MIXED_PLOT_KINDS)}"
        )
    from pyromix.report.mixed.plots import draw_mixed  # imports matplotlib

    question = find_mixed_question(fit, treatment, outcome, contrast, outcome_state)
    return draw_mixed(kind, fit, question, ax)
