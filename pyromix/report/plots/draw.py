"""Every kind of plot by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes

from pyromix.fitting.record import Fit
from pyromix.report.facts.question import Question
from pyromix.report.plots.effect import draw_effect
from pyromix.report.plots.network import draw_network
from pyromix.report.plots.residuals import draw_residuals
from pyromix.report.plots.responsibilities import draw_responsibilities
from pyromix.report.plots.sources import draw_sources
from pyromix.report.plots.spectrum import draw_spectrum
from pyromix.report.plots.trace import draw_trace

Drawer = Callable[[Fit, Question | None, Any], Axes]

DRAWERS: dict[str, Drawer] = {
    "network": draw_network,
    "spectrum": lambda fit, _, ax: draw_spectrum(fit, ax),
    "sources": lambda fit, _, ax: draw_sources(fit, ax),
    "effect": draw_effect,
    "responsibilities": lambda fit, _, ax: draw_responsibilities(fit, ax),
    "residuals": lambda fit, _, ax: draw_residuals(fit, ax),
    "trace": lambda fit, _, ax: draw_trace(fit, ax),
}
