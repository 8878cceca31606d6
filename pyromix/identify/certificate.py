"""What a graph, its cardinalities and k allow one to learn from the observed variables."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.exact.elimination import marginal
from pyromix.model.cpd import TINY
from pyromix.model.gradients import gradients
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.parameters import ParameterAxis
from pyromix.model.query import DoQuery
from pyromix.model.spec import SOURCE, MixtureSpec
from pyromix.model.ties import ordered

EQUAL_PARTS = 1e-9
"""Parts of a gradient that differ by less are equal: vertices keep their order."""

RESIDUAL_TOLERANCE = 1e-6
"""Largest share of a query's gradient in the null space that counts as none.

Identified queries leave about 1e-15 times the condition number, others at least some 1e-2
(THEORY section 7).
"""


@dataclass(frozen=True, eq=False)
class Certificate:
    """The null space of the Jacobian of theta -> P(V) at a generic point (THEORY section 7b).

    Theta are log-odds against the last state, of the weights and of every CPT row, so tables stay
    on the simplex. With N an orthonormal basis of the null space an answer q moves by its residual,
    ``|N' grad q| / |grad q|`` (7c). The verdict is generic and *local*: it excludes a continuum of
    mixtures with the same P(V), not a second one far away.

    Attributes:
        point: the generic mixture at which the Jacobian was taken.
        null_space: orthonormal rows, ``(nullity, n_parameters)``: the directions that leave P(V)
            alone.
        condition: largest over smallest singular value that counts towards the rank.
    """

    point: BayesNetMixture
    null_space: Float[Tensor, "nullity parameters"]
    condition: float

    @property
    def n_parameters(self) -> int:
        """Number of free parameters of the mixture."""
        return self.point.spec.n_parameters

    @property
    def rank(self) -> int:
        """Rank of the Jacobian: how many directions of theta the data can see."""
        return self.n_parameters - self.null_space.shape[0]

    @property
    def locally_identified(self) -> bool:
        """Whether P(U, V) as a whole is locally identified."""
        return not self.null_space.shape[0]

    def residual(self, query: DoQuery) -> float:
        """How much of the gradient of a query lies in the null space, relative to its length.

        Returns:
            0 where moving theta without moving P(V) leaves the answer alone; the largest over the
            cells of the answer.

        Raises:
            ContractionSizeError: the query is too large for an exact sum.
        """
        gradients = query_gradient(self.point, query)
        lengths = gradients.norm(dim=-1)
        moved = (gradients @ self.null_space.T).norm(dim=-1)
        relevant = lengths > 1e-12
        if not bool(relevant.any()):
            return 0.0
        return float((moved[relevant] / lengths[relevant]).max())

    def moved_by(self, query: DoQuery) -> tuple[str, ...]:
        """Tables whose unseen directions move a query, those that move it most first.

        The gradient of the answer, projected on the null space, has a part in every table; tables
        with less than a tenth of the largest part are left out.

        Returns:
            Names of vertices, the source for P(U); empty where nothing moves the answer.
        """
        spec = self.point.spec
        gradients = query_gradient(self.point, query)
        unseen = (gradients @ self.null_space.T @ self.null_space).norm(dim=0)
        return tables_moved(spec, unseen) if float(unseen.norm()) > RESIDUAL_TOLERANCE else ()


def tables_moved(spec: MixtureSpec, direction: Float[Tensor, " parameters"]) -> tuple[str, ...]:
    """Names of tables that hold most of a direction, those with the largest part first.

    Tables with less than a tenth of the largest part are left out; the source stands for P(U).
    """
    blocks = direction.split(ParameterAxis(spec).sizes)
    parts = {v: float(part.norm()) for v, part in enumerate(blocks, SOURCE)}
    vertices = list(parts)
    order = [vertices[i] for i in ordered([[-part] for part in parts.values()], EQUAL_PARTS)]
    least = 0.1 * max(parts.values())
    return tuple(spec.name(v) for v in order if parts[v] >= least)


def graph_covers(spec: MixtureSpec, graphical: frozenset[int], query: DoQuery) -> bool:
    """Whether every table that a query depends on is recovered from the graph alone.

    Args:
        spec: the structure.
        graphical: vertices whose CPTs are, ``SOURCE`` for P(U).
        query: the question.
    """
    query = without_group(spec, query)
    asked, relevant = (*query.outcomes, *query.evidence), query.relevant(spec)
    named = SOURCE in asked or SOURCE in query.natural
    if named or (SOURCE not in query.do and relevant - spec.uninfluenced):
        relevant.add(SOURCE)
    return relevant <= graphical


def without_group(spec: MixtureSpec, query: DoQuery) -> DoQuery:
    """A question about everybody that P(V) answers if and only if it answers that about a group.

    By consistency P(Y_x | X = x) = P(Y | X = x). And where X has the two states x and x',

        P(Y_x) = P(X = x) P(Y | X = x) + P(X = x') P(Y_x | X = x'),

    within strata of non-descendants of X, too, in which all but the last term are those of P(V) and
    of P(Y_x) (THEORY section 16).

    Args:
        spec: the structure.
        query: the question.

    Returns:
        The other question; the same one where there is none.
    """
    if len(query.do) != 1 or not query.natural:
        return query
    ((x, value),), state = query.do.items(), query.natural
    if x in spec.coarse:
        return query  # two numbers of one bin are not equal, and a number has no two states
    if value == state[x]:
        return DoQuery(query.outcomes, {}, {**query.evidence, x: state[x]})
    before = not query.evidence.keys() & spec.descendants([x])
    return replace(query, natural={}) if before and spec.card(x) == 2 else query


def query_gradient(mixture: BayesNetMixture, query: DoQuery) -> Float[Tensor, "cells parameters"]:
    """Gradient of every cell of P(outcomes | do, evidence) in the log-odds of all tables.

    The cells of one answer sum to one, so that the last needs no pass through the sum of its own.

    Raises:
        ContractionSizeError: the query is too large for an exact sum.
    """
    spec, rows = mixture.spec, []
    with gradients():
        logits = [t.clamp_min(TINY).log().detach().requires_grad_() for t in mixture.tables]
        moved = BayesNetMixture.from_tables(spec, [t.softmax(-1) for t in logits])
        axis, n_cells = ParameterAxis(spec), spec.n_joint(query.outcomes)
        for answer in marginal(moved, query).reshape(-1, n_cells):
            cells = [
                axis.gradients(
                    torch.autograd.grad(
                        cell, logits, retain_graph=True, allow_unused=True, materialize_grads=True
                    )
                )
                for cell in answer[:-1]
            ]
            rows += [*cells, -sum(cells, mixture.weights.new_zeros(axis.size))]
    return torch.stack(rows)
