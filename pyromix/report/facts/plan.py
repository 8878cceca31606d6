"""Which variables are the views of U, and which are conditioned on."""

from __future__ import annotations

from dataclasses import dataclass

from pyromix.criticism.checking import IdentifiabilityReport
from pyromix.errors import PlanError
from pyromix.fitting.record import Fit
from pyromix.identify.network.search import find_plan


@dataclass(frozen=True)
class Views:
    """Names of the three views and of what is conditioned on; empty where there is no plan."""

    views: tuple[tuple[str, ...], ...]
    given: tuple[str, ...]

    def role(self, name: str) -> str:
        """``"view 1"`` to ``"view 3"``, ``"given"``, or nothing."""
        for number, view in enumerate(self.views, 1):
            if name in view:
                return f"view {number}"
        return "given" if name in self.given else ""


def find_views(fit: Fit) -> Views:
    """The views that the fit's moments used; else those of the graph's plan; else none."""
    runs = [run for stage in fit.diagnostics.moments for run in stage.runs]
    if runs:
        return Views(runs[0].views, runs[0].given)
    if fit.spec.n_sources == 1:
        return Views((), ())
    try:
        run = find_plan(fit.spec).runs[0]
    except PlanError:
        return Views((), ())
    names = fit.spec.name
    views = tuple(tuple(names(v) for v in view) for view in run.views)
    return Views(views, tuple(names(z) for z in run.conditioning))


def plan_lines(fit: Fit, verdict: IdentifiabilityReport) -> tuple[str, ...]:
    """The plan as a person would explain it: the one that was used, or the graph's."""
    for stage in fit.diagnostics.moments:
        if stage.plan:
            return tuple(stage.plan.splitlines())
        for run in stage.runs:
            views = "  ".join("{" + ", ".join(view) + "}" for view in run.views)
            return (
                f"the variables are independent given {fit.spec.source}, so any three groups of "
                f"them are views; the data chose {views}",
            )
    return tuple(line for plan in verdict.plans for line in str(plan).splitlines())
