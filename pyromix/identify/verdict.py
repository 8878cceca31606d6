"""One rule decides how certain an answer is; whoever prints, refuses or answers asks it.

It hears, in this order, the graph (THEORY section 7a), the local rank (7b, 7c), and a table (15.3).
Where vertices are numbers in bins (``MixtureSpec.coarse``), what the graph says holds for the raw
numbers; the rank is that of a stand-in with categorical ones, and never says more than "local"; and
what neither certifies is "by shape", unless no shape comes near U (18.5, 18.6).
An answer that leans on U is weak where any of these holds:

    signal      p_S > 1e-4: views of U may carry no signal (``signal``);
    directions  more than half of se^2 comes from directions in which free probabilities have a
                standard error above .15;
    starts      a start about as good as the best answers differently, by more than the standard
                error and by more than .02.

Its findings are values; sentences are made by those who speak.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from pyromix.identify.certificate import RESIDUAL_TOLERANCE, Certificate, graph_covers
from pyromix.identify.certify import certify
from pyromix.identify.graphical import GraphFacts, graph_facts
from pyromix.identify.observed import observed_suffice
from pyromix.identify.shape import shape_may_tell
from pyromix.identify.signal import SIGNAL_LEVEL, Signal
from pyromix.identify.sketch import MAX_SKETCHED_PARAMETERS, ancestral_part, sketch
from pyromix.identify.stage import MomentStage
from pyromix.model.query import Certainty, DoQuery
from pyromix.model.spec import MixtureSpec
from pyromix.model.ties import first_largest

LOOSE_SHARE = 0.5
"""Share of a variance from hardly determined directions, from which on an answer is weak."""

LEAST_SPREAD = 0.02
"""Probability by which equally good starts may answer differently whatever the standard error."""

APART = 3.0
"""Standard errors by which sources must differ where a view of few states tells them apart."""

MAX_FACTORISED_PARAMETERS = 1500
"""Parameters up to which the Jacobian is factorised, in seconds; larger models are sketched."""

EQUAL_QUERY_RESIDUALS = 1e-9
"""Relative residuals up to which the answers to two queries are moved alike."""

WORDS = {
    Certainty.GRAPHICAL: "identified",
    Certainty.LOCAL: "locally identified",
    Certainty.DISCOVERED: "discovered",
    Certainty.BY_SHAPE: "by shape",
    Certainty.WEAK: "weak",
    Certainty.UNCHECKED: "not checked",
    Certainty.NONE: "not identified",
}
"""What ``px.check`` calls the levels."""


class Ground(StrEnum):
    """What decided a verdict."""

    ONE_SOURCE = "one source"
    GRAPH = "graph"
    OBSERVED = "observed"
    TOO_LARGE = "too large"
    UNSETTLED = "unsettled"
    ALL_SEEN = "all parameters seen"
    UNMOVED = "answer unmoved"
    MOVED = "answer moved"
    DIRECTIONS = "unseen directions"


NO_VIEW = (Ground.ONE_SOURCE, Ground.OBSERVED)
"""Grounds of what P(V) answers by itself: no view of U is leaned on."""


class Doubt(StrEnum):
    """What of a table makes an answer weak."""

    SIGNAL = "signal"
    DIRECTIONS = "directions"
    STARTS = "starts"


@dataclass(frozen=True)
class Findings:
    """What a table showed of a question, in figures.

    Attributes:
        signal: tests of the views of U; None where the graph has no three, or nobody tested.
        stage: what the moment stage found; heard where there is no test of signal.
        p_reduced: where the graph has no three views, the p-value of the largest model in which
            the question is not identified; nan where nobody tested.
        loose: share of the variance from directions that the table hardly determines.
        spread: least and largest answer of starts that fit about as well as the best, of the value
            where these differ most.
        error: standard error of the answer; nan where there is none.
    """

    signal: Signal | None = None
    stage: MomentStage | None = None
    p_reduced: float = math.nan
    loose: float = 0.0
    spread: tuple[float, float] = (0.0, 0.0)
    error: float = math.nan

    @property
    def p_signal(self) -> float:
        """p_S, by whichever test there was; nan without one."""
        return self.p_reduced if self.signal is None else self.signal.p_value

    def doubts(self, spec: MixtureSpec) -> tuple[Doubt, ...]:
        """Which parts of the rule make an answer weak."""
        found = []
        if self._without_signal(spec):
            found.append(Doubt.SIGNAL)
        if self.loose > LOOSE_SHARE:
            found.append(Doubt.DIRECTIONS)
        if self.spread[1] - self.spread[0] > max(
            LEAST_SPREAD, 0.0 if math.isnan(self.error) else self.error
        ):
            found.append(Doubt.STARTS)
        return tuple(found)

    def _without_signal(self, spec: MixtureSpec) -> bool:
        if spec.coarse and self.signal is None:
            # With numbers nothing but three views shows, whatever the noise, what a table says.
            return True
        if not math.isnan(self.p_signal):
            return self.p_signal > SIGNAL_LEVEL or self._hardly_apart(spec)
        # Without a plan the stage had nothing to look at.
        planned = bool(graph_facts(spec).plans)
        return planned and self.stage is not None and not self.stage.ok

    def _hardly_apart(self, spec: MixtureSpec) -> bool:
        """Whether a third view of few states may not tell all the sources apart."""
        if self.signal is None or self.stage is None or not self.stage.runs:
            return False
        few = min(spec.n_joint(view) for view in self.signal.triples[0].views) < spec.n_sources
        return few and self.stage.runs[0].separation < APART


@dataclass(frozen=True, eq=False)
class Verdict:
    """How certain an answer is, and what decided it.

    Attributes:
        spec: graph, states and k.
        queries: what was asked, a question per setting of the do; none for all of P(U, V).
        structural: how certain graph and rank alone make it.
        level: the same, WEAK where a table does not show what the graph promises.
        ground: what decided ``structural``.
        facts: what the graph alone says.
        certificate: the local one, of models of up to ``MAX_FACTORISED_PARAMETERS``; None where it
            was not needed, and of larger ones, which are sketched.
        residual: largest share of a query's gradient in directions that the law does not show; of
            a sketch, of a random combination of gradients, parameters scaled by their scores, or
            of a random direction; 0 where nobody looked.
        moved: names of tables whose unseen directions move the answer most, the source for P(U).
        findings: what a table showed; None where nobody looked.
        doubts: what of it makes the answer weak.
    """

    spec: MixtureSpec
    queries: tuple[DoQuery, ...]
    structural: Certainty
    level: Certainty
    ground: Ground
    facts: GraphFacts
    certificate: Certificate | None = None
    residual: float = 0.0
    moved: tuple[str, ...] = ()
    findings: Findings | None = None
    doubts: tuple[Doubt, ...] = ()

    @staticmethod
    def of(spec: MixtureSpec, queries: tuple[DoQuery, ...], facts: GraphFacts) -> Verdict:
        """The verdict before anybody looked."""
        nothing = Certainty.UNCHECKED
        return Verdict(spec, queries, nothing, nothing, Ground.TOO_LARGE, facts)

    def decided(self, structural: Certainty, ground: Ground) -> Verdict:
        """The verdict once graph and rank have spoken; they do not hear the shapes of numbers."""
        if not structural.at_least(Certainty.BY_SHAPE) and shape_may_tell(self.spec):
            structural = Certainty.BY_SHAPE
        return replace(self, structural=structural, level=structural, ground=ground)

    @property
    def word(self) -> str:
        """The level as ``px.check`` calls it."""
        return WORDS[self.level]

    @property
    def weak(self) -> bool:
        """Whether it is the table that falls short, not the graph."""
        return self.level is Certainty.WEAK

    @property
    def leans_on_source(self) -> bool:
        """Whether the answer is one that a table can make weak."""
        return self.structural.at_least(Certainty.LOCAL) and self.ground not in NO_VIEW

    @property
    def stage(self) -> MomentStage | None:
        """What the moment stage found; None where nobody looked."""
        return None if self.findings is None else self.findings.stage

    @property
    def of_found_graph(self) -> Verdict:
        """The verdict where a search in the table found the graph: no firmer than that."""
        if not self.level.at_least(Certainty.DISCOVERED):
            return self
        return replace(self, level=Certainty.DISCOVERED)

    def hearing(self, findings: Findings | None) -> Verdict:
        """The verdict after what a table showed."""
        if findings is None:
            return self
        doubts = findings.doubts(self.spec) if self.leans_on_source else ()
        level = Certainty.WEAK if doubts else self.structural
        return replace(self, level=level, findings=findings, doubts=doubts)


def judge(
    spec: MixtureSpec, queries: Sequence[DoQuery] = (), findings: Findings | None = None
) -> Verdict:
    """Decide how firmly the law of the observed variables, and a table, determine an answer.

    Args:
        spec: graph, states and k.
        queries: the question, one per setting of the do; none for all of P(U, V).
        findings: what a table showed, where somebody looked.

    Returns:
        The verdict; its ground is ``TOO_LARGE`` where the graph does not suffice and no part of it
        that can be looked at does, ``UNSETTLED`` where a sketch did not settle it.

    Raises:
        ContractionSizeError: a query is too large for an exact sum.
    """
    asked, facts = tuple(queries), graph_facts(spec)
    return _by_structure(Verdict.of(spec, asked, facts)).hearing(findings)


def rank_tells(spec: MixtureSpec, queries: Sequence[DoQuery]) -> bool:
    """Whether the local rank alone makes ``judge`` call answers at least locally identified.

    It takes a small part of the time that a search for plans does.

    Args:
        spec: graph, states and k.
        queries: the question, at least one.
    """
    if spec.n_parameters > MAX_FACTORISED_PARAMETERS:
        return False
    local = certify(spec)
    return local.locally_identified or all(
        local.residual(query) <= RESIDUAL_TOLERANCE for query in queries
    )


def _by_structure(open_: Verdict) -> Verdict:
    """Level and ground by graph and rank, with their witnesses."""
    spec, queries, facts = open_.spec, open_.queries, open_.facts
    if spec.n_sources == 1:
        return open_.decided(Certainty.GRAPHICAL, Ground.ONE_SOURCE)
    if queries and all(observed_suffice(spec, query) for query in queries):
        return open_.decided(Certainty.GRAPHICAL, Ground.OBSERVED)
    if facts.everything or (
        bool(queries)
        and all(graph_covers(spec, facts.vertices, q) or observed_suffice(spec, q) for q in queries)
    ):
        return open_.decided(Certainty.GRAPHICAL, Ground.GRAPH)
    if spec.n_parameters > MAX_SKETCHED_PARAMETERS:
        return _by_part(open_)
    if spec.n_parameters > MAX_FACTORISED_PARAMETERS:
        return _by_sketch(open_)
    local = certify(spec)
    open_ = replace(open_, certificate=local)
    if local.locally_identified:
        return open_.decided(Certainty.LOCAL, Ground.ALL_SEEN)
    if not queries:
        return open_.decided(Certainty.NONE, Ground.DIRECTIONS)
    worst = queries[first_largest(map(local.residual, queries), EQUAL_QUERY_RESIDUALS)]
    residual = local.residual(worst)
    if residual <= RESIDUAL_TOLERANCE:
        return replace(open_, residual=residual).decided(Certainty.LOCAL, Ground.UNMOVED)
    found = replace(open_, residual=residual, moved=local.moved_by(worst))
    return found.decided(Certainty.NONE, Ground.MOVED)


def _by_sketch(open_: Verdict) -> Verdict:
    """By what sampled cells show, without a rank."""
    found = sketch(open_.spec)
    if found.whole.seen:
        seen = replace(open_, residual=found.whole.share)
        return seen.decided(Certainty.LOCAL, Ground.ALL_SEEN)
    asked = open_.queries
    sight = found.of(asked) if asked else found.whole
    open_ = replace(open_, residual=sight.share, moved=sight.moved)
    if not sight.settled:
        return open_.decided(Certainty.UNCHECKED, Ground.UNSETTLED)
    if sight.seen:
        return open_.decided(Certainty.LOCAL, Ground.UNMOVED)
    return open_.decided(Certainty.NONE, Ground.MOVED if asked else Ground.DIRECTIONS)


def _by_part(open_: Verdict) -> Verdict:
    """By the law of an ancestral part: what that determines, P(V) does; the converse is unknown."""
    queries = open_.queries
    part = ancestral_part(open_.spec, queries, MAX_SKETCHED_PARAMETERS) if queries else None
    if part is not None:
        spec, asked = part
        found = sketch(spec)
        sight = found.whole if found.whole.seen else found.of(asked)
        if sight.seen:
            seen = replace(open_, residual=sight.share)
            return seen.decided(Certainty.LOCAL, Ground.UNMOVED)
    return open_.decided(Certainty.UNCHECKED, Ground.TOO_LARGE)
