"""The door to all plots: ``MixtureFit.plot``."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from pyromix.errors import QueryError
from pyromix.fitting.record import Fit
from pyromix.model.arguments import shown
from pyromix.model.spec import near_matches
from pyromix.report.facts.question import find_question
from pyromix.report.kinds import PLOT_KINDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot(
    fit: Fit,
    kind: str,
    *,
    treatment: str | None = None,
    outcome: str | None = None,
    contrast: Sequence[Hashable] | None = None,
    outcome_state: Any = ...,
    ax: Any = None,
) -> Axes:
    """Draw one kind of plot; save it by ``.figure.savefig(path)``.

    Args:
        fit: to look at.
        kind: ``"network"`` (views, treatment and outcome marked), ``"spectrum"`` (singular
            values and noise), ``"sources"`` (margins within each), ``"profiles"`` (the same
            as lines), ``"effect"`` (naive, do, per source), ``"responsibilities"`` (how certain
            rows are), ``"residuals"`` (misfit of pair margins) or ``"trace"`` (starts, or draws).
        treatment: by default the model's one exposure.
        outcome: by default the model's one outcome.
        contrast: ``(from, to)`` states of the treatment; the first and the last when left out.
        outcome_state: as in ``effect``.
        ax: where to draw; by default a new figure, which pyplot does not know.

    Returns:
        The matplotlib Axes that were drawn on.

    Raises:
        QueryError: the kind or a name is unknown, or there is nothing of this kind to draw.
        NotCertifiedError, PositivityError: the effect to draw is refused.
    """
    if not isinstance(kind, str) or kind not in PLOT_KINDS:
        raise QueryError(
            f"unknown kind of plot {shown(kind)}{near_matches(kind, PLOT_KINDS)}; the kinds are "
            f"{list(PLOT_KINDS)}"
        )
    from pyromix.report.plots.draw import draw  # imports matplotlib

    question = find_question(fit, treatment, outcome, contrast, outcome_state)
    return draw(kind, fit, question, ax)
