"""What a graph, its cardinalities and k allow one to learn from the observed variables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from pyromix.model.elimination import marginal
from torch import Tensor

from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import Certainty, DoQuery
from pyromix.model.spec import MixtureSpec

RESIDUAL_TOLERANCE = 1e-6
"""Largest relative distance of a query's gradient from the row space that counts as inside.

Identified queries leave about 1e-15 times the condition number, others at least some 1e-2
(THEORY section 7).
"""


@dataclass(frozen=True, eq=False)
class Certificate:
    """The row space of the Jacobian of theta -> P(V) at a generic point (THEORY section 7b).

    Theta are the logits of the weights and of every CPT row, so tables stay on the simplex. The
    verdict is generic and *local*: it excludes a continuum of mixtures with the same P(V), not a
    second one far away.

    Attributes:
        point: the generic mixture at which the Jacobian was taken.
        row_space: orthonormal rows that span it, ``(rank, logits)``.
        condition: largest over smallest singular value that counts towards the rank.
    """

    point: BayesNetMixture
    row_space: Float[Tensor, "rank logits"]
    condition: float

    @property
    def rank(self) -> int:
        """Rank of the Jacobian: how many directions of theta the data can see."""
        return self.row_space.shape[0]

    @property
    def n_parameters(self) -> int:
        """Number of free parameters of the mixture."""
        return self.point.spec.n_parameters

    @cached_property
    def locally_identified(self) -> bool:
        """Whether P(U, V) as a whole is locally identified."""
        return self.rank == self.n_parameters

    def residual(self, query: DoQuery) -> float:
        """Distance of the gradient of a query from the row space, relative to its length.

        Returns:
            0 where moving theta without moving P(V) leaves the answer alone; the largest over the
            cells of the answer.

        Raises:
            ContractionSizeError: the query is too large for an exact sum.
        """
        gradients = query_gradient(self.point, query)
        outside = gradients - (gradients @ self.row_space.T) @ self.row_space
        lengths = gradients.norm(dim=-1)
        relevant = lengths > 1e-12
        if not bool(relevant.any()):
            return 0.0
        return float((outside.norm(dim=-1)[relevant] / lengths[relevant]).max())

    def admits(self, query: DoQuery) -> Certainty:
        """How certain an answer to this query can be."""
        if self.locally_identified or self.residual(query) <= RESIDUAL_TOLERANCE:
            return Certainty.LOCAL
        return Certainty.NONE


def n_logits(spec: MixtureSpec) -> int:
    """Number of logits: weights, then per vertex one per cell, shared when uninfluenced."""
    return spec.n_sources + sum(_block(spec, v).numel() for v in range(spec.n_variables))


def flatten_tangent(spec: MixtureSpec, blocks: Sequence[Tensor]) -> Tensor:
    """Join ``(r, k)`` and per vertex ``(r, *cpt shape)`` gradients to ``(r, logits)``.

    The k slices of an uninfluenced vertex are one table, so its gradients add.
    """
    weights, *cpts = blocks
    joined = [weights]
    for v, gradient in enumerate(cpts):
        shared = gradient.sum(1, keepdim=True) if v in spec.uninfluenced else gradient
        joined.append(shared.flatten(1))
    return torch.cat(joined, -1)


def query_gradient(mixture: BayesNetMixture, query: DoQuery) -> Float[Tensor, "cells logits"]:
    """Gradient of every cell of P(outcomes | do, evidence) in the logits of all tables.

    Raises:
        ContractionSizeError: the query is too large for an exact sum.
    """
    tables = [mixture.weights, *mixture.cpts]
    logits = [t.clamp_min(1e-300).log().detach().requires_grad_() for t in tables]
    weights, *cpts = (t.softmax(-1) for t in logits)
    answer = marginal(replace(mixture, weights=weights, cpts=tuple(cpts)), query).flatten()
    rows = []
    for cell in range(answer.numel()):
        gradients = torch.autograd.grad(
            answer[cell], logits, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        rows.append(flatten_tangent(mixture.spec, [g.unsqueeze(0) for g in gradients]))
    return torch.cat(rows)


def _block(spec: MixtureSpec, vertex: int) -> Tensor:
    shape = spec.cpt_shape(vertex)
    return torch.empty(1 if vertex in spec.uninfluenced else shape[0], *shape[1:], device="meta")
