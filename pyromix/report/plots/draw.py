"""Every kind of plot by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.text import Text

from pyromix.criticism.discrepancy import PredictiveCheck
from pyromix.fitting.record import Fit
from pyromix.report.facts.question import Question
from pyromix.report.plots.effect import draw_effect
from pyromix.report.plots.network import draw_network
from pyromix.report.plots.profiles import draw_profiles
from pyromix.report.plots.residuals import draw_residuals
from pyromix.report.plots.responsibilities import draw_responsibilities
from pyromix.report.plots.sources import draw_sources
from pyromix.report.plots.spectrum import draw_spectrum
from pyromix.report.plots.trace import draw_trace

Drawer = Callable[[Fit, Question | None, Any, PredictiveCheck | None], Axes]

DRAWERS: dict[str, Drawer] = {
    "network": lambda fit, question, ax, _: draw_network(fit, question, ax),
    "spectrum": lambda fit, _, ax, __: draw_spectrum(fit, ax),
    "sources": lambda fit, _, ax, __: draw_sources(fit, ax),
    "profiles": lambda fit, _, ax, __: draw_profiles(fit, ax),
    "effect": lambda fit, question, ax, _: draw_effect(fit, question, ax),
    "responsibilities": lambda fit, _, ax, __: draw_responsibilities(fit, ax),
    "residuals": lambda fit, _, ax, check: draw_residuals(fit, ax, check),
    "trace": lambda fit, _, ax, __: draw_trace(fit, ax),
}


def draw(
    kind: str,
    fit: Fit,
    question: Question | None,
    ax: Any = None,
    check: PredictiveCheck | None = None,
) -> Axes:
    """Draw a plot of a kind; a ``$`` in a name is a sign like any other, and no mathematics.

    Args:
        kind: a name of ``DRAWERS``.
        fit: who is asked.
        question: the effect, where there is one.
        ax: where to draw; texts that stand there stay as they are.
        check: of the fit, where it is known already.

    Raises:
        QueryError: there is nothing of this kind to draw.
        NotCertifiedError, PositivityError: the effect to draw is refused.
    """
    return without_mathematics(lambda: DRAWERS[kind](fit, question, ax, check), ax)


def without_mathematics(drawing: Callable[[], Axes], ax: Any) -> Axes:
    """Draw, and leave no ``$`` of the new texts to be read as mathematics.

    Args:
        drawing: what draws.
        ax: what it draws on, if that is there already.
    """
    before = {text: text.get_text() for text in _texts(ax)} if isinstance(ax, Axes) else {}
    axes = drawing()
    for text in _texts(axes):
        if before.get(text) != text.get_text():
            text.set_parse_math(False)
    return axes


def _texts(axes: Axes) -> list[Any]:
    """Every text of the figure that axes lie in: a bar of colours has axes of its own."""
    figure = axes.get_figure(root=True)
    return [] if figure is None else figure.findobj(Text)
