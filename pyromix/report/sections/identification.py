"""The plan, and signal against noise."""

from __future__ import annotations

import math

from pyromix.identify.stage import MomentStage, RunReport
from pyromix.model.note import sentences
from pyromix.report.facts.plan import find_views, plan_lines
from pyromix.report.numbers import braces, count, finite, ordinal, small
from pyromix.report.parts import Drawing, Section, Table
from pyromix.report.subject import Subject

VALUES_WRITTEN = 8
"""Singular values written."""


def plan_section(subject: Subject) -> Section:
    """The plan in words and drawn."""
    words = plan_lines(subject.fit, subject.identified) or subject.identified.reasons
    has_plan = find_views(subject.fit) is not None
    return Section(
        "plan",
        "Plan: how the graph shows the source",
        _plan_lead(subject, has_plan=has_plan),
        words=tuple(line for text in words for line in text.splitlines()),
        drawings=(Drawing("network", _network_caption(subject, has_plan=has_plan)),),
        numbers={"plan": list(words)},
    )


def _plan_lead(subject: Subject, *, has_plan: bool) -> str:
    source = subject.fit.spec.source
    if subject.fit.spec.n_sources == 1:
        return "One source: nothing hidden has to be shown."
    if has_plan:
        return f"Three groups of variables, the views, each show {source} by themselves."
    return f"The graph has no three groups of variables that each show {source} by themselves."


def _network_caption(subject: Subject, *, has_plan: bool) -> str:
    """What of the drawing is there in this fit."""
    spec = subject.fit.spec
    parts = [f"The graph; {spec.source}, dashed, is not observed"]
    if has_plan:
        parts.append("the views are filled and named")
        if views := find_views(subject.fit):
            parts[-1] += ", and so is what is conditioned on" if views.given else ""
    if subject.question is not None:
        parts.append("treatment and outcome have a thick border")
    return "; ".join(parts) + "."


def signal_section(subject: Subject) -> Section:
    """What the moments of the table show, view by view."""
    title = "Signal against noise, per view"
    if (stage := subject.stage) is None:
        why = (
            "One source needs no views."
            if subject.fit.spec.n_sources == 1
            else "There are no moments to look at: no three views of the source, or no table."
        )
        return Section("signal", title, why)
    k = subject.fit.spec.n_sources
    tables = tuple(_views(run, k, subject) for run in stage.runs)
    return Section(
        "signal",
        title,
        _signal_lead(stage.runs[0], k),
        facts=tuple(fact for run in stage.runs for fact in _facts(run, k)),
        words=(*_links(stage), *sentences(stage.notes)),
        tables=tables,
        drawings=_spectrum(stage.runs[0], k),
        numbers={
            "status": stage.status.name,
            "runs": [
                {
                    "views": [list(view) for view in run.views],
                    "given": list(run.given),
                    "singular_values": [float(v) for v in run.singular_values],
                    "signal": finite(run.signal),
                    "noise_floor": finite(run.noise_floor),
                    "separation": finite(run.separation),
                    "rarest": finite(run.rarest),
                }
                for run in stage.runs
            ],
        },
    )


def _signal_lead(run: RunReport, k: int) -> str:
    """One sentence; where two views have k states each it takes the place of the plot."""
    value, floor = small(run.signal), small(run.noise_floor)
    against = "stands above" if run.signal > run.noise_floor else "does NOT stand above"
    return f"The {ordinal(k)} singular value, {value}, {against} the noise, up to {floor}."


def _spectrum(run: RunReport, k: int) -> tuple[Drawing, ...]:
    """The plot, where there is a value that should be noise to compare with."""
    if len(run.singular_values) <= k:
        return ()
    stands = "stands" if run.signal > run.noise_floor else "does not stand"
    said = (
        f"Singular values of the first two views: {k} sources show where the {ordinal(k)} stands "
        f"above the hatched noise; here it {stands} above it."
    )
    return (Drawing("spectrum", said),)


def _views(run: RunReport, k: int, subject: Subject) -> Table:
    """Which view does what."""
    spec = subject.fit.spec
    against = (
        f"signal {small(run.signal)}, noise up to {small(run.noise_floor)} "
        f"({run.signal / run.noise_floor:.1f} times)"
        if run.noise_floor > 1e-9
        else f"signal {small(run.signal)}, no noise"
    )
    parts = [
        f"with view 2 shows {k} sources: {against}",
        f"with view 1 shows {k} sources: the same",
        f"tells them apart: {small(run.separation)} standard errors",
    ]
    rows = [
        (str(n), braces(view), count(math.prod(spec.card(spec.vertex(x)) for x in view)), part)
        for n, (view, part) in enumerate(zip(run.views, parts, strict=False), 1)
    ]
    said = "Each view with its variables, how many joint states these have, and what it is for."
    return Table(said, ("view", "variables", "joint states", "part"), tuple(rows), n_left=4)


def _facts(run: RunReport, k: int) -> list[tuple[str, str]]:
    outcomes = ", ".join(f"{n} {name}" for name, n in run.outcomes)
    facts = [("Singular values", ", ".join(small(v) for v in run.singular_values[:VALUES_WRITTEN]))]
    if run.given:
        facts.append(
            ("Conditioned on", f"{braces(run.given)}, {run.n_assignments} assignments: {outcomes}")
        )
    else:
        facts.append(("Outcome", outcomes))
    if math.isfinite(run.rarest) and k > 1:
        facts.append(("Rarest source", f"about {run.rarest:,.0f} rows"))
    if run.projected > 1e-9:
        facts.append(
            ("Moved", f"probabilities by at most {small(run.projected)}, to lie in [0, 1]")
        )
    return facts


def _links(stage: MomentStage) -> list[str]:
    if not stage.n_links:
        return []
    bad = stage.n_links_inconsistent
    return [
        f"Labels of the assignments were aligned over {stage.n_links} "
        f"link{'s' * (stage.n_links != 1)}: the weakest beats its runner-up by "
        f"{small(stage.weakest_link)} squared standard errors, "
        f"{bad or 'none'} contradict{'s' * (bad <= 1)} the others."
    ]
