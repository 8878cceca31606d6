"""Before and around a fit: whether this graph, these states and this k can work, and why."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scipy.special import ndtri

from pyromix.answers.gate import cure, figures
from pyromix.answers.group import group_of
from pyromix.answers.heard import hear
from pyromix.answers.wording import only_shape, question, stand_in, tables_in_words
from pyromix.criticism.intake import take_in_bins
from pyromix.criticism.on_paper import in_bins, spec_on_paper
from pyromix.data.asking import Asked
from pyromix.data.weights import COUNTS
from pyromix.errors import PlanError, QueryError
from pyromix.fitting import engine
from pyromix.identify.graphical import GraphFacts
from pyromix.identify.network.plan import Plan
from pyromix.identify.signal import SIGNAL_LEVEL, signal_of
from pyromix.identify.sketch import MAX_SKETCHED_PARAMETERS
from pyromix.identify.start import start_from_moments
from pyromix.identify.verdict import Findings, Ground, Verdict, judge
from pyromix.identify.views.splits import candidate_splits
from pyromix.model.note import sentences
from pyromix.model.printed import Printed, as_html, as_text
from pyromix.model.query import Certainty, DoQuery, settings
from pyromix.model.randomness import RandomState, numpy_generator
from pyromix.model.spec import MixtureSpec

SEEN = 0.05
"""p-value of no signal above which nothing is promised: more rows of noise are noise."""


@dataclass(frozen=True, eq=False)
class IdentifiabilityReport:
    """What can be learnt, and why or why not.

    Attributes:
        found: the verdict as a value: its level, what decided it, and the witnesses.
        asked: what the verdict is about, in words.
        reasons: sentences.
    """

    found: Verdict
    asked: str
    reasons: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """The level in a word.

        ``"identified"`` (a plan recovers it for almost all parameters), ``"locally identified"``
        (no continuum of other answers fits as well, but a second isolated one might), ``"weak"``
        (the graph would do, these data do not show it), ``"not checked"`` (the graph does not say,
        and the certificate is too large or did not settle it), or ``"not identified"``; where
        variables are numbers ``"by shape"`` in place of the last two: only the shapes assumed of
        them could single out an answer.
        """
        return self.found.word

    @property
    def spec(self) -> MixtureSpec:
        """Graph, states and k."""
        return self.found.spec

    def __bool__(self) -> bool:
        """Whether it is identified; not when only locally, and not when data are too weak."""
        return self.found.level is Certainty.GRAPHICAL

    @property
    def plan(self) -> Plan:
        """The plan that recovers P(U, V) from moments.

        Raises:
            PlanError: there is none.
        """
        plan = self.found.facts.plan
        if plan is None:
            raise PlanError("; ".join(self.reasons))
        return plan

    def summary(self) -> dict[str, Any]:
        """Plain numbers and texts, ready for JSON."""
        found: dict[str, Any] = {
            "verdict": self.verdict,
            "asked": self.asked,
            "n_sources": self.spec.n_sources,
            "n_parameters": self.spec.n_parameters,
            "n_cells": self.spec.n_cells,
            "reasons": list(self.reasons),
            "plan": [str(plan) for plan in self.found.facts.plans[:1]],
            "doubts": [doubt.value for doubt in self.found.doubts],
        }
        if self.found.certificate is not None:
            found["rank"] = self.found.certificate.rank
        if (heard := self.found.findings) is not None and not math.isnan(heard.p_signal):
            found["p_signal"] = heard.p_signal
        if (stage := self.found.stage) is not None:
            found["moments"] = stage.status.name
            if stage.runs:
                found["signal"] = stage.runs[0].signal
                found["noise_floor"] = stage.runs[0].noise_floor
        return found

    def _printed(self) -> Printed:
        """Return the verdict first, then why."""
        head = f"{self.asked} with {self.spec.n_sources} sources: {self.verdict.upper()}"
        why = (line for text in self.reasons for line in text.splitlines())
        return Printed(head, lines=tuple(f"  {line}" for line in why))

    __str__ = __repr__ = as_text
    _repr_html_ = as_html


def check(
    model: Any,
    n_sources: int | None = None,
    data: Any = None,
    *,
    outcome: str | Sequence[str] | None = None,
    treatment: str | None = None,
    evidence: Mapping[str, Hashable] | None = None,
    among: Mapping[str, Hashable] | None = None,
    state_names: Mapping[str, Sequence[Hashable]] | None = None,
    sample_weight: Any = None,
    weights_are: str = COUNTS,
    missing: str = "mar",
    missing_values: Any = None,
    kinds: Mapping[str, str] | None = None,
    random_state: RandomState = 0,
) -> IdentifiabilityReport:
    """Say whether a mixture, or one effect, can be recovered, before anything is fitted.

    Args:
        model: as in ``fit``.
        n_sources: k; by default the cardinality of the model's latent vertex.
        data: a table, Counts, Population or another object that answers moments, as in
            ``fit``; not needed. With data their moments are looked at, and states that the
            model does not name are read off.
        outcome: variable or variables; with ``treatment`` the verdict is about
            P(outcome | do(treatment)), with neither about P(U, V).
        treatment: the variable intervened on.
        evidence: per variable a state name, or of a number a value, beside the do.
        among: the group whose effect it is, as in ``fit.effect``: a question of its own, which may
            be identified where that about everybody is not.
        state_names: as in ``fit``. States that nothing names are taken to be two.
        sample_weight: as in ``fit``.
        weights_are: as in ``fit``.
        missing: as in ``fit``.
        missing_values: as in ``fit``.
        kinds: as in ``fit``; a number needs no states. What is certified of it rests on no shape of
            a distribution.
        random_state: of the look at data.

    Raises:
        SpecError: the graph, the states, the kinds or k are unusable.
        DataError: the table does not fit the model.
        QueryError: a name or state is unknown, a treatment is given without an outcome, or a group
            without a treatment or told by something that the treatment influences.
    """
    notes: list[str] = []
    findings: Findings | None = None
    if data is None:
        spec = spec_on_paper(model, n_sources, state_names, kinds, notes)
        evidence, among = in_bins(spec, evidence), in_bins(spec, among, "among")
    else:
        options = (n_sources, state_names, sample_weight, missing)
        taken, said = take_in_bins(model, data, *options, weights_are, missing_values, kinds)
        spec = taken.spec
        evidence, among = in_bins(spec, evidence), in_bins(spec, among, "among")
        notes += sentences(said)
        if spec.n_sources > 1:
            stage = start_from_moments(taken, random_state).stage
            findings = Findings(signal=signal_of(taken), stage=stage)
            asked_of = queries_of(spec, outcome, treatment, evidence, among)
            listed = taken.listable and not taken.exact
            # Bins of numbers need not follow the graph: no fit of them tells anything.
            if findings.signal is None and asked_of and listed and not spec.coarse:
                findings = _by_likelihood(taken, asked_of, findings, random_state)
    return report_on(
        spec,
        outcome=outcome,
        treatment=treatment,
        evidence=evidence,
        among=among,
        findings=findings,
        notes=notes,
    )


def _by_likelihood(
    taken: Asked, queries: Sequence[DoQuery], findings: Findings, random_state: RandomState
) -> Findings:
    """Where the graph has no three views to test, a fit says what the table shows.

    A question that no table can make weak needs none.
    """
    if not judge(taken.spec, queries).leans_on_source:
        return findings
    found = engine.fit(taken.spec, taken.as_counts(), method="em", random_state=random_state)
    heard = hear(found, queries, None).verdict.findings
    return findings if heard is None else replace(heard, stage=findings.stage)


def report_on(
    spec: MixtureSpec,
    *,
    outcome: str | Sequence[str] | None = None,
    treatment: str | None = None,
    evidence: Mapping[str, Hashable] | None = None,
    among: Mapping[str, Hashable] | None = None,
    findings: Findings | None = None,
    notes: Sequence[str] = (),
) -> IdentifiabilityReport:
    """Judge a question on a spec, and say why.

    Args:
        spec: graph, states and k.
        outcome: as in ``check``.
        treatment: as in ``check``.
        evidence: as in ``check``.
        among: as in ``check``.
        findings: what a table showed, where somebody looked.
        notes: sentences from before.

    Raises:
        QueryError: as ``check``.
    """
    queries = queries_of(spec, outcome, treatment, evidence, among)
    found = judge(spec, queries, findings)
    reasons = [*_reasons(found), *_of_data(found), *notes]
    return IdentifiabilityReport(found, asked_in_words(spec, queries, treatment), tuple(reasons))


def queries_of(
    spec: MixtureSpec,
    outcome: str | Sequence[str] | None,
    treatment: str | None,
    evidence: Mapping[str, Hashable] | None,
    among: Mapping[str, Hashable] | None = None,
) -> tuple[DoQuery, ...]:
    """One query per state of the treatment; none when all of P(U, V) is asked about.

    Arguments and errors are those of ``check``.
    """
    if outcome is None:
        if treatment is not None or evidence or among:
            raise QueryError(
                "treatment, evidence and a group need an outcome: what shall be asked of?"
            )
        return ()
    if among and treatment is None:
        raise QueryError(
            "`among` tells a group by what was so before a treatment: name the treatment, or give "
            "what is known as evidence"
        )
    if treatment is None:
        return (DoQuery.from_names(spec, outcome, None, evidence),)
    natural, given = group_of(spec, treatment, outcome, among, evidence)
    return settings(spec, outcome, treatment, given, natural)


def asked_in_words(spec: MixtureSpec, queries: Sequence[DoQuery], treatment: str | None) -> str:
    """What is asked, for all states of a treatment at once; of nothing, P(U, V)."""
    if not queries:
        return f"P({spec.source}, V)"
    first = question(spec, queries[0])
    if treatment is None:
        return first
    state = spec.states_of(spec.vertex(treatment))[0]
    return first.replace(f"do({treatment}={state!r})", f"do({treatment})")


def _reasons(found: Verdict) -> list[str]:
    """What graph and rank say, in sentences."""
    spec, local = found.spec, found.certificate
    if found.ground is Ground.ONE_SOURCE:
        return ["with one source the model is an ordinary network: every variable is observed"]
    if found.ground is Ground.OBSERVED:
        return [
            f"P(V) answers it whatever {spec.source} is: adjusting for observed variables "
            f"suffices, and no view of {spec.source} is leaned on"
        ]
    reasons = _plan_text(found.facts)
    if found.ground is Ground.GRAPH:
        return [*reasons, *_of_numbers(found)]
    if local is None:
        return [*reasons, _sketched(found), *_of_numbers(found)]
    counted = (
        f"the joint distribution of the observed variables fixes {local.rank} of "
        f"{local.n_parameters} parameter directions"
    )
    if found.ground is Ground.ALL_SEEN:
        whole = f"{counted}: no continuum of other mixtures fits as well"
        return [*reasons, whole, *_of_numbers(found)]
    reasons.append(f"{counted} at generic values")
    if found.ground is Ground.UNMOVED:
        reasons.append(
            "the directions that it leaves free do not move the answer (relative residual "
            f"{found.residual:.1g})"
        )
    if found.ground is Ground.MOVED:
        moved = tables_in_words(spec, found.moved)
        reasons.append(
            f"a direction that it leaves free, mostly in {moved}, moves the answer (relative "
            f"residual {found.residual:.2g})"
        )
    return [*reasons, *_of_numbers(found)]


def _of_numbers(found: Verdict) -> list[str]:
    """What the verdict rests on where vertices are numbers, and what would help."""
    spec = found.spec
    if not spec.coarse:
        return []
    if found.ground is Ground.GRAPH:
        names = ", ".join(spec.name(v) for v in spec.coarse)
        return [
            f"of {names} views take bins, and nothing is conditioned on these: no shape is assumed"
        ]
    texts = [] if found.ground is Ground.TOO_LARGE else [stand_in(spec)]
    if found.structural is Certainty.BY_SHAPE:
        helps = cure(found)
        texts += [only_shape(spec), f"what would help: {helps}"]
    return texts


def _sketched(found: Verdict) -> str:
    """What a sketch says of a model that is too large for a rank."""
    size = f"{found.spec.n_parameters:,} parameters"
    shown = "cells of the joint distribution of the observed variables"
    tables = tables_in_words(found.spec, found.moved)
    if found.ground is Ground.TOO_LARGE:
        return (
            f"the local certificate is not computed: {size}, more than "
            f"{MAX_SKETCHED_PARAMETERS:,}, and no part closed under parents that it was computed "
            "for determines the answer: nothing is known"
        )
    if found.ground is Ground.UNSETTLED:
        return (
            f"the local certificate is not settled: among {size}, {shown} leave "
            f"{found.residual:.2g} of the direction that was looked at, and more of them might "
            "leave less: nothing is known"
        )
    if found.ground is Ground.ALL_SEEN:
        return (
            f"{shown} leave {found.residual:.1g} of a random direction of all {size}: no continuum "
            "of other mixtures fits as well"
        )
    if found.ground is Ground.UNMOVED:
        return (
            f"{shown} leave {found.residual:.1g} of the direction in which the answer moves, among "
            f"{size}: no continuum of other answers fits as well"
        )
    free = f"a direction among {size} that the joint distribution leaves free, mostly in {tables},"
    if found.ground is Ground.MOVED:
        return f"{free} moves the answer (share {found.residual:.2g} of how it moves)"
    return f"{free} is a share of {found.residual:.2g} of a random one"


def _plan_text(facts: GraphFacts) -> list[str]:
    """The plan in words; without edges any split into three views will do."""
    spec = facts.spec
    if not any(spec.parents) and not spec.uninfluenced:
        rng = numpy_generator(0)
        if candidate_splits(spec.cards, spec.n_sources, rng, 1):
            return [
                f"the variables are independent given {spec.source}: three views of them show "
                f"{spec.n_sources} sources, data choose which"
            ]
    return [str(facts.plan or facts.refusal)]


def _of_data(found: Verdict) -> list[str]:
    """What the data lack, what would help, and the runs that were looked at."""
    if found.findings is None:
        return []
    stage, texts = found.stage, figures(found)
    if found.weak:
        texts += [f"what would help: {cure(found)}", *_rows_that_help(found.findings.p_signal)]
        if stage is not None and found.facts.plans:
            texts += [
                f"the moments of these data do not show the sources: {note}" for note in stage.notes
            ]
    return texts if stage is None else [*texts, *(f"data: {run}" for run in stage.runs)]


def _rows_that_help(p_signal: float) -> list[str]:
    """About how many rows would show a signal that looks like one; noise is not lifted by rows.

    The root of a test's statistic grows like that of the rows.
    """
    if not SIGNAL_LEVEL < p_signal <= SEEN:
        return []
    times = math.ceil((ndtri(SIGNAL_LEVEL / 2) / ndtri(p_signal / 2)) ** 2)
    return [f"about {times} times as many rows would show it, if it is there"]
