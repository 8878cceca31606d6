"""Which variables are the views of U, and which are conditioned on."""

from __future__ import annotations

from dataclasses import dataclass

from pyromix.criticism.checking import IdentifiabilityReport
from pyromix.fitting.record import Fit
from pyromix.identify.graphical import graph_facts


@dataclass(frozen=True)
class ViewNames:
    """Names of the three views and of what is conditioned on."""

    views: tuple[tuple[str, ...], ...]
    given: tuple[str, ...]

    def role(self, name: str) -> str:
        """``"view 1"`` to ``"view 3"``, ``"given"``, or nothing."""
        for number, view in enumerate(self.views, 1):
            if name in view:
                return f"view {number}"
        return "given" if name in self.given else ""


def find_views(fit: Fit) -> ViewNames | None:
    """The views that the fit's moments used; else those of the graph's plan; else none."""
    if fit.moments is not None and fit.moments.runs:
        return ViewNames(fit.moments.runs[0].views, fit.moments.runs[0].given)
    plan = graph_facts(fit.spec).plan
    if plan is None:
        return None
    run, names = plan.runs[0], fit.spec.name
    views = tuple(tuple(names(v) for v in view) for view in run.views)
    return ViewNames(views, tuple(names(z) for z in run.conditioning))


def plan_lines(fit: Fit, verdict: IdentifiabilityReport) -> tuple[str, ...]:
    """The plan as a person would explain it: the one that was used, or the graph's."""
    stage = fit.moments
    if stage is not None and stage.plan is not None:
        return tuple(str(stage.plan).splitlines())
    if stage is not None and stage.runs:
        views = "  ".join("{" + ", ".join(view) + "}" for view in stage.runs[0].views)
        return (
            f"the variables are independent given {fit.spec.source}, so any three groups of "
            f"them are views; the data chose {views}",
        )
    plan = verdict.found.facts.plan
    return () if plan is None else tuple(str(plan).splitlines())
