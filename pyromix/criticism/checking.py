"""Before and around a fit: whether this graph, these states and this k can work, and why."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyromix.answers.wording import question
from pyromix.bridges.pgmpy import structure_of
from pyromix.data.asking import Asked
from pyromix.errors import PlanError, QueryError
from pyromix.fitting.inputs import take_in
from pyromix.formats.structure import Structure
from pyromix.identify.certificate import RESIDUAL_TOLERANCE, Certificate, graph_covers
from pyromix.identify.certify import MAX_PARAMETERS, certify, graphical_vertices
from pyromix.identify.network.plan import Plan
from pyromix.identify.network.search import find_plan
from pyromix.identify.stage import MomentStage
from pyromix.identify.start import start_from_moments
from pyromix.identify.views.splits import candidate_splits
from pyromix.model.query import DoQuery
from pyromix.model.randomness import RandomState, numpy_generator
from pyromix.model.spec import MixtureSpec
from pyromix.model.status import Status

IDENTIFIED, LOCAL, WEAK, NOT = (
    "identified",
    "locally identified",
    "weak",
    "not identified",
)

DEFAULT_STATES = (0, 1)
"""States of a variable of which neither the model nor data say any."""


@dataclass(frozen=True, eq=False)
class IdentifiabilityReport:
    """What can be learnt, and why or why not.

    Attributes:
        verdict: ``"identified"`` (a plan recovers it for almost all parameters), ``"locally
            identified"`` (no continuum of other answers fits as well, but a second isolated one
            might), ``"weak"`` (the graph would do, these data do not show it), or ``"not
            identified"``.
        asked: what the verdict is about, in words.
        reasons: sentences.
        spec: graph, states and k.
        plans: the plan that recovers P(U, V) from moments; empty where there is none.
        certificates: the local certificate; empty where the graph sufficed, or the model is too
            large for it.
        stages: what the moments of the data show; empty without data.
    """

    verdict: str
    asked: str
    reasons: tuple[str, ...]
    spec: MixtureSpec
    plans: tuple[Plan, ...]
    certificates: tuple[Certificate, ...]
    stages: tuple[MomentStage, ...]

    def __bool__(self) -> bool:
        """Whether it is identified; not when only locally, and not when data are too weak."""
        return self.verdict == IDENTIFIED

    @property
    def plan(self) -> Plan:
        """The plan that recovers P(U, V) from moments.

        Raises:
            PlanError: there is none.
        """
        if not self.plans:
            raise PlanError("; ".join(self.reasons))
        return self.plans[0]

    def summary(self) -> dict[str, Any]:
        """Plain numbers and texts, ready for JSON."""
        found: dict[str, Any] = {
            "verdict": self.verdict,
            "asked": self.asked,
            "n_sources": self.spec.n_sources,
            "n_parameters": self.spec.n_parameters,
            "n_cells": self.spec.n_cells,
            "reasons": list(self.reasons),
            "plan": [str(plan) for plan in self.plans],
        }
        if self.certificates:
            found["rank"] = self.certificates[0].rank
        for stage in self.stages:
            found["moments"] = stage.status
            if stage.runs:
                found["signal"] = stage.runs[0].signal
                found["noise_floor"] = stage.runs[0].noise_floor
        return found

    def __str__(self) -> str:
        """The verdict first, then why."""
        head = f"{self.asked} with {self.spec.n_sources} sources: {self.verdict.upper()}"
        return "\n  ".join([head, *(line for text in self.reasons for line in text.splitlines())])


def check(
    model: Any,
    n_sources: int | None = None,
    data: Any = None,
    *,
    outcome: str | Sequence[str] | None = None,
    treatment: str | None = None,
    evidence: Mapping[str, Hashable] | None = None,
    state_names: Mapping[str, Sequence[Hashable]] | None = None,
    sample_weight: Any = None,
    missing: str = "mar",
    random_state: RandomState = 0,
) -> IdentifiabilityReport:
    """Say whether a mixture, or one effect, can be recovered, before anything is fitted.

    Args:
        model: as in ``fit``.
        n_sources: k; by default the cardinality of the model's latent vertex.
        data: a table, Counts, Population or another source of moments, as in ``fit``; not needed.
            With data their moments are looked at, and states that the model does not name are
            read off.
        outcome: variable or variables; with ``treatment`` the verdict is about
            P(outcome | do(treatment)), with neither about P(U, V).
        treatment: the variable intervened on.
        evidence: per variable a state name, beside the do.
        state_names: as in ``fit``. States that nothing names are taken to be two.
        sample_weight: as in ``fit``.
        missing: as in ``fit``.
        random_state: of the look at data.

    Raises:
        SpecError: the graph, the states or k are unusable.
        DataError: the table does not fit the model.
        QueryError: a name or state is unknown, or a treatment is given without an outcome.
    """
    notes: list[str] = []
    source: tuple[Asked, ...] = ()
    if data is None:
        structure = structure_of(model, n_sources)
        spec = _spec(structure, n_sources, state_names, notes)
    else:
        taken, said = take_in(model, data, n_sources, state_names, sample_weight, missing)
        source, spec = (taken,), taken.spec
        notes += said
    queries = _queries(spec, outcome, treatment, evidence)
    asked = _asked(spec, queries, treatment)
    verdict, reasons, certificates = _by_graph(spec, queries)
    plans = _plan(spec)
    stages: tuple[MomentStage, ...] = ()
    if source and spec.n_sources > 1:
        stages = (start_from_moments(source[0], random_state).stage,)
        if stages[0].status != Status.OK.name and verdict != NOT and plans:
            verdict = WEAK
            reasons = [*reasons, *_too_weak(stages[0])]
        reasons = [*reasons, *(f"data: {run}" for run in stages[0].runs)]
    return IdentifiabilityReport(
        verdict, asked, (*reasons, *notes), spec, plans, certificates, stages
    )


def _spec(
    structure: Structure,
    n_sources: int | None,
    state_names: Mapping[str, Sequence[Hashable]] | None,
    notes: list[str],
) -> MixtureSpec:
    """Without data: states that nothing names are two, and that is said."""
    states = {name: tuple(names) for name, names in (state_names or {}).items()}
    states.pop(structure.source, None)
    open_names = [name for name in structure.missing_states if name not in states]
    if open_names:
        few = ", ".join(open_names[:6]) + (", ..." if len(open_names) > 6 else "")
        notes.append(f"two states were assumed for {few}; pass state_names, or data")
    states |= dict.fromkeys(open_names, DEFAULT_STATES)
    if structure.added_source:
        notes.append(f"a source {structure.source!r} with an edge to every variable was added")
    return structure.to_spec(n_sources, states)


def _queries(
    spec: MixtureSpec,
    outcome: str | Sequence[str] | None,
    treatment: str | None,
    evidence: Mapping[str, Hashable] | None,
) -> list[DoQuery]:
    """One query per state of the treatment; none when all of P(U, V) is asked about."""
    if outcome is None:
        if treatment is not None or evidence:
            raise QueryError("treatment and evidence need an outcome: what shall be asked of?")
        return []
    if treatment is None:
        return [DoQuery.from_names(spec, outcome, None, evidence)]
    states = spec.states_of(spec.vertex(treatment))
    return [DoQuery.from_names(spec, outcome, {treatment: s}, evidence) for s in states]


def _asked(spec: MixtureSpec, queries: Sequence[DoQuery], treatment: str | None) -> str:
    if not queries:
        return f"P({spec.source}, V)"
    first = question(spec, queries[0])
    if treatment is None:
        return first
    state = spec.states_of(spec.vertex(treatment))[0]
    return first.replace(f"do({treatment}={state!r})", f"do({treatment})")


def _by_graph(
    spec: MixtureSpec, queries: Sequence[DoQuery]
) -> tuple[str, list[str], tuple[Certificate, ...]]:
    """The verdict of the graph, then of the Jacobian; why."""
    if spec.n_sources == 1:
        return IDENTIFIED, ["one source: an ordinary network, everything is observed"], ()
    graphical = graphical_vertices(spec)
    everything = len(graphical) == spec.n_variables + 1
    if everything or (queries and all(graph_covers(spec, graphical, q) for q in queries)):
        return IDENTIFIED, _plan_text(spec), ()
    reasons = _plan_text(spec)
    if spec.n_parameters > MAX_PARAMETERS:
        reasons.append(
            f"the local certificate is not computed: {spec.n_parameters} parameters, more than "
            f"{MAX_PARAMETERS}"
        )
        return NOT, reasons, ()
    local = certify(spec)
    counted = f"the law of the variables shows {local.rank} of {local.n_parameters} parameters"
    if local.locally_identified:
        reasons.append(f"{counted}: no continuum of other mixtures fits as well")
        return LOCAL, reasons, (local,)
    reasons.append(f"{counted} at generic values")
    if not queries:
        return NOT, reasons, (local,)
    worst = max(queries, key=local.residual)
    residual = local.residual(worst)
    if residual <= RESIDUAL_TOLERANCE:
        reasons.append(
            f"the unseen directions do not move the answer (relative residual {residual:.1g})"
        )
        return LOCAL, reasons, (local,)
    moved = ", ".join(
        f"P({n})" if n == spec.source else f"P({n} | ...)" for n in local.moved_by(worst)
    )
    reasons.append(
        f"an unseen direction, mostly in {moved}, moves the answer (relative residual "
        f"{residual:.2g})"
    )
    return NOT, reasons, (local,)


def _plan(spec: MixtureSpec) -> tuple[Plan, ...]:
    if spec.n_sources == 1:
        return ()
    try:
        return (find_plan(spec),)
    except PlanError:
        return ()


def _plan_text(spec: MixtureSpec) -> list[str]:
    """The plan in words; without edges any split into three views will do."""
    if not any(spec.parents) and not spec.uninfluenced:
        rng = numpy_generator(0)
        if candidate_splits(spec.cards, spec.n_sources, rng, 1):
            return [
                f"the variables are independent given {spec.source}: three views of them show "
                f"{spec.n_sources} sources, data choose which"
            ]
    try:
        return [str(find_plan(spec))]
    except PlanError as error:
        return [str(error)]


def _too_weak(stage: MomentStage) -> list[str]:
    """What the data lack, and about how many rows would help."""
    texts = [f"these data do not show it: {note}" for note in stage.notes]
    for run in stage.runs[:1]:
        signal = run.signal**2 - (run.noise_floor / 2) ** 2
        if run.signal <= run.noise_floor and signal > 0:
            times = math.ceil(run.noise_floor**2 / signal)
            texts.append(f"about {times} times as many rows would lift the signal above the noise")
    return texts
