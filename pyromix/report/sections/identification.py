"""The plan, and signal against noise."""

from __future__ import annotations

import math

from pyromix.identify.stage import MomentStage, RunReport
from pyromix.model.note import sentences
from pyromix.report.facts.plan import plan_lines
from pyromix.report.numbers import braces, count, finite, ordinal, small
from pyromix.report.parts import Drawing, Section, Table
from pyromix.report.subject import Subject

VALUES_WRITTEN = 8
"""Singular values written."""


def plan_section(subject: Subject) -> Section:
    """The plan in words and drawn."""
    words = plan_lines(subject.fit, subject.identified) or subject.identified.reasons
    return Section(
        "plan",
        "Plan: how the graph shows the source",
        words=tuple(line for text in words for line in text.splitlines()),
        drawings=(
            Drawing(
                "network",
                f"The graph. {subject.fit.spec.source} is dashed; the views of the plan and what is"
                " conditioned on are filled and named; treatment and outcome have a thick border.",
            ),
        ),
        numbers={"plan": list(words)},
    )


def signal_section(subject: Subject) -> Section:
    """What the moments of the table show, view by view."""
    title = "Signal against noise, per view"
    if (stage := subject.stage) is None:
        why = (
            "One source needs no views."
            if subject.fit.spec.n_sources == 1
            else "There are no moments to look at: no three views of the source, or no table."
        )
        return Section("signal", title, words=(why,))
    k = subject.fit.spec.n_sources
    tables = tuple(_views(run, k, subject) for run in stage.runs)
    return Section(
        "signal",
        title,
        facts=tuple(fact for run in stage.runs for fact in _facts(run, k)),
        words=(*_links(stage), *sentences(stage.notes)),
        tables=tables,
        drawings=(
            Drawing(
                "spectrum",
                f"Singular values of the first two views. {k} sources show where the {ordinal(k)} "
                "stands above the hatched noise.",
            ),
        ),
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
    return Table(("view", "variables", "joint states", "part"), tuple(rows), n_left=4)


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
