"""The door to all plots: ``MixtureFit.plot``."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from matplotlib.axes import Axes

from pyromix.errors import QueryError
from pyromix.model.spec import near_matches
from pyromix.report.facts.question import Question, find_question
from pyromix.report.kinds import KINDS
from pyromix.report.plots.effect import draw_effect
from pyromix.report.plots.network import draw_network
from pyromix.report.plots.residuals import draw_residuals
from pyromix.report.plots.responsibilities import draw_responsibilities
from pyromix.report.plots.sources import draw_sources
from pyromix.report.plots.spectrum import draw_spectrum
from pyromix.report.plots.trace import draw_trace
from pyromix.result import MixtureFit

Drawer = Callable[[MixtureFit, tuple[Question, ...], Any], Axes]

DRAWERS: dict[str, Drawer] = {
    "network": draw_network,
    "spectrum": lambda fit, _, ax: draw_spectrum(fit, ax),
    "sources": lambda fit, _, ax: draw_sources(fit, ax),
    "effect": draw_effect,
    "responsibilities": lambda fit, _, ax: draw_responsibilities(fit, ax),
    "residuals": lambda fit, _, ax: draw_residuals(fit, ax),
    "trace": lambda fit, _, ax: draw_trace(fit, ax),
}


def plot(
    fit: MixtureFit,
    kind: str,
    *,
    treatment: str | None = None,
    outcome: str | None = None,
    contrast: Sequence[Hashable] | None = None,
    outcome_state: Any = ...,
    ax: Any = None,
) -> Axes:
    """Draw one kind of plot; arguments and errors of ``MixtureFit.plot``."""
    if kind not in KINDS:
        raise QueryError(
            f"unknown kind of plot {kind!r}{near_matches(kind, KINDS)}; the kinds are {list(KINDS)}"
        )
    question = find_question(fit, treatment, outcome, contrast, outcome_state)
    return DRAWERS[kind](fit, question, ax)
