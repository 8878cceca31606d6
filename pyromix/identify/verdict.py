"""One rule decides how certain an answer is; whoever prints, refuses or answers asks it.

It hears, in this order, the graph (THEORY section 7a), the local rank (7b, 7c), and what the
moments of a table showed. Its findings are values; sentences are made by those who speak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pyromix.identify.certificate import RESIDUAL_TOLERANCE, Certificate, graph_covers
from pyromix.identify.certify import MAX_CERTIFIED_PARAMETERS, certify
from pyromix.identify.graphical import GraphFacts, graph_facts
from pyromix.identify.observed import observed_suffice
from pyromix.identify.stage import MomentStage
from pyromix.model.query import Certainty, DoQuery
from pyromix.model.spec import MixtureSpec
from pyromix.model.ties import first_largest

EQUAL_QUERY_RESIDUALS = 1e-9
"""Relative residuals up to which the answers to two queries are moved alike."""

WORDS = {
    Certainty.GRAPHICAL: "identified",
    Certainty.LOCAL: "locally identified",
    Certainty.WEAK: "weak",
    Certainty.NONE: "not identified",
}
"""What ``px.check`` calls the levels."""


class Ground(StrEnum):
    """What decided a verdict."""

    ONE_SOURCE = "one source"
    GRAPH = "graph"
    OBSERVED = "observed"
    TOO_LARGE = "too large"
    ALL_SEEN = "all parameters seen"
    UNMOVED = "answer unmoved"
    MOVED = "answer moved"
    DIRECTIONS = "unseen directions"
    DATA = "data"


@dataclass(frozen=True, eq=False)
class Verdict:
    """How certain an answer is, and what decided it.

    Attributes:
        spec: graph, states and k.
        queries: what was asked, a question per setting of the do; none for all of P(U, V).
        structural: how certain graph and rank alone make it.
        level: the same, WEAK where moments of a table do not show what the graph promises.
        ground: what decided ``structural``.
        facts: what the graph alone says.
        certificate: the local one; None where it was not needed or is too large.
        residual: largest share of a query's gradient in directions that the law does not show;
            0 where no certificate was asked.
        moved: names of tables whose unseen directions move the answer most, the source for P(U).
        stage: what moments of a table showed; None where nobody looked.
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
    stage: MomentStage | None = None

    @property
    def word(self) -> str:
        """The level as ``px.check`` calls it."""
        return WORDS[self.level]

    @property
    def weak(self) -> bool:
        """Whether it is the table that falls short, not the graph."""
        return self.level is Certainty.WEAK


def judge(
    spec: MixtureSpec, queries: Sequence[DoQuery] = (), stage: MomentStage | None = None
) -> Verdict:
    """Decide how firmly the law of the observed variables, and a table, determine an answer.

    Args:
        spec: graph, states and k.
        queries: the question, one per setting of the do; none for all of P(U, V).
        stage: what the moments of a table showed, where somebody looked.

    Returns:
        The verdict; its ground is ``TOO_LARGE`` where the graph does not suffice and the local
        certificate would need more than ``MAX_CERTIFIED_PARAMETERS`` parameters.

    Raises:
        ContractionSizeError: a query is too large for an exact sum.
    """
    asked, facts = tuple(queries), graph_facts(spec)
    structural, ground, certificate, residual, moved = _by_structure(spec, asked, facts)
    level = structural
    if (
        stage is not None
        and not stage.ok
        and facts.plan is not None
        # What P(V) answers by itself leans on no view of U.
        and ground is not Ground.OBSERVED
        and structural.at_least(Certainty.LOCAL)
    ):
        level = Certainty.WEAK
    return Verdict(
        spec, asked, structural, level, ground, facts, certificate, residual, moved, stage
    )


def _by_structure(
    spec: MixtureSpec, queries: tuple[DoQuery, ...], facts: GraphFacts
) -> tuple[Certainty, Ground, Certificate | None, float, tuple[str, ...]]:
    """Level and ground by graph and rank, with their witnesses."""
    if spec.n_sources == 1:
        return Certainty.GRAPHICAL, Ground.ONE_SOURCE, None, 0.0, ()
    if queries and all(observed_suffice(spec, query) for query in queries):
        return Certainty.GRAPHICAL, Ground.OBSERVED, None, 0.0, ()
    covered = facts.everything or (
        bool(queries) and all(graph_covers(spec, facts.vertices, q) for q in queries)
    )
    if covered:
        return Certainty.GRAPHICAL, Ground.GRAPH, None, 0.0, ()
    if spec.n_parameters > MAX_CERTIFIED_PARAMETERS:
        return Certainty.NONE, Ground.TOO_LARGE, None, 0.0, ()
    local = certify(spec)
    if local.locally_identified:
        return Certainty.LOCAL, Ground.ALL_SEEN, local, 0.0, ()
    if not queries:
        return Certainty.NONE, Ground.DIRECTIONS, local, 0.0, ()
    worst = queries[first_largest(map(local.residual, queries), EQUAL_QUERY_RESIDUALS)]
    residual = local.residual(worst)
    if residual <= RESIDUAL_TOLERANCE:
        return Certainty.LOCAL, Ground.UNMOVED, local, residual, ()
    return Certainty.NONE, Ground.MOVED, local, residual, local.moved_by(worst)
