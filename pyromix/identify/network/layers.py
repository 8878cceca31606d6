"""CPTs from known ancestors: regression of a vertex on what its non-descendants say about U.

With K an ancestral set whose CPTs are known, q(x_K) = P(U | x_K), and v a vertex with parents in K,

    P(v = s | x_K) = sum over u of q_u(x_K) P(v = s | u, pa(v)),

since v is independent of its other non-descendants given U and its parents. So for each joint state
of the parents the CPT is the least-squares regression of the indicator of s on q, an exact identity
at exact moments and a consistent estimate otherwise: with y_i the indicator of s in row i,

    P(s | ., pa) = (sum over i of q_i q_i')^-1 (sum over i of q_i y_i).

No paper has this step; it takes the place of the cover (THEORY section 5.3) without a second view.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.data.asking import Asked, asked
from pyromix.data.moments import MomentSource
from pyromix.exact import linalg
from pyromix.exact.elimination import marginal
from pyromix.exact.likelihood import responsibilities
from pyromix.identify.network.separation import rank_bound
from pyromix.identify.views.patterns import all_assignments
from pyromix.identify.views.simplex import stochastic_least_squares
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import DoQuery
from pyromix.model.spec import SOURCE, MixtureSpec

DESIGN_TOLERANCE = 1e-12
"""Eigenvalues of E[q q'] below this share of the largest are zero."""

WITNESS_CELLS = 2**10
"""Joint states of the ancestors that are used where there are no rows."""

Cpt = Float[Tensor, "k *parents card"]


def regress_layer(
    moments: MomentSource,
    weights: Float[Tensor, " k"],
    cpts: Mapping[int, Tensor],
    layer: Sequence[int],
    spec: MixtureSpec | None = None,
) -> dict[int, tuple[Float[Tensor, ...], Bool[Tensor, ...]]]:
    """CPTs of the vertices of one layer.

    Args:
        moments: data, or a population.
        weights: P(U).
        cpts: known ones, by vertex.
        layer: vertices whose parents, and their ancestors, are known.
        spec: the graph; the one that the data carry when left out.

    Returns:
        Per vertex its CPT ``(k, *card(parents), card)``, and which rows ``(k, *card(parents))``
        are determined; the others hold equal values in all sources. Time m k (k + card) per vertex.
    """
    moments = asked(moments, spec)
    spec = moments.spec
    known: list[int] = []
    for v, parents in enumerate(spec.parents):
        if v in cpts and set(parents) <= set(known):
            known.append(v)
    part = _part(spec, known, weights, cpts)
    if not moments.listable:
        return {v: _from_tables(moments, part, known, v) for v in layer}
    sums = {v: Normal.empty(spec, v, weights.device) for v in layer}
    for rows, masses in moments.listed().blocks(range(spec.n_variables)):
        shares = responsibilities(part, rows[:, known].contiguous())
        for v in layer:
            axes = (*spec.parents[v], v)
            cells = rows[:, list(axes)].to(torch.int64)
            seen = (cells >= 0).all(1) & shares.isfinite().all(1)
            row, state = _codes(cells[seen], spec.joint_shape(axes))
            sums[v].add(shares[seen], masses[seen], row, state)
    return {v: _regressed(spec, v, sums[v]) for v in layer}


def _from_tables(
    moments: Asked, part: BayesNetMixture, known: Sequence[int], vertex: int
) -> tuple[Tensor, Tensor]:
    """The same where only tables can be had: a few ancestors stand for all."""
    spec = moments.spec
    parents = spec.parents[vertex]
    witnesses = _witnesses(spec, known, parents)
    axes = (*parents, *witnesses)
    number = {v: i for i, v in enumerate(known)}
    joint = marginal(part, DoQuery(outcomes=(SOURCE, *(number[v] for v in axes))))
    joint = joint.flatten(1).T
    shares = joint / joint.sum(-1, keepdim=True)
    nothing = all_assignments(spec.joint_shape(()))
    table = moments.table((*axes, vertex), (), nothing).reshape(len(joint), -1)
    card, n_witness = spec.card(vertex), spec.n_joint(witnesses)
    cells = torch.arange(table.numel(), device=table.device)
    weight, where = table.flatten(), cells // card
    kept = (weight > 0) & shares[where].isfinite().all(1)
    row = where // n_witness
    sums = Normal.empty(spec, vertex, shares.device)
    sums.add(shares[where[kept]], weight[kept], row[kept], (cells % card)[kept])
    return _regressed(spec, vertex, sums)


def _witnesses(spec: MixtureSpec, known: Sequence[int], parents: Sequence[int]) -> tuple[int, ...]:
    """Known vertices besides the parents with few joint states that can show k sources."""
    chosen: list[int] = []
    for v in reversed(known):
        if v in parents or spec.n_joint((*chosen, v)) > WITNESS_CELLS:
            continue
        chosen.append(v)
        enough = spec.n_joint(chosen) >= 4 * spec.n_sources
        if enough and rank_bound(spec, chosen, parents) >= spec.n_sources:
            break
    return tuple(sorted(chosen))


def _part(
    spec: MixtureSpec, known: Sequence[int], weights: Tensor, cpts: Mapping[int, Tensor]
) -> BayesNetMixture:
    """The mixture on an ancestral set."""
    names = [spec.name(v) for v in known]
    part = MixtureSpec.from_parents(
        {spec.name(v): spec.states_of(v) for v in known},
        {spec.name(v): [spec.name(p) for p in spec.parents[v]] for v in known},
        spec.n_sources,
        source=spec.source,
        uninfluenced=[name for v, name in zip(known, names, strict=True) if v in spec.uninfluenced],
        coarse=[name for v, name in zip(known, names, strict=True) if v in spec.coarse],
    )
    return BayesNetMixture(part, weights, tuple(cpts[v] for v in known))


def _codes(
    cells: Int[Tensor, "m axes"], cards: Sequence[int]
) -> tuple[Int[Tensor, " m"], Int[Tensor, " m"]]:
    """Joint state of the parents, and state of the vertex."""
    row = torch.zeros_like(cells[:, 0])
    for axis, card in enumerate(cards[:-1]):
        row = row * card + cells[:, axis]
    return row, cells[:, -1]


@dataclass(frozen=True, eq=False)
class Normal:
    """Normal equations of the regression of one vertex, summed over blocks of rows in place.

    Attributes:
        products: ``(cpt_rows, k * k)``, per joint state of the parents the sum of q q'.
        hits: ``(cpt_rows * card, k)``, per joint state of parents and vertex the sum of q.
    """

    products: Float[Tensor, "cpt_rows squares"]
    hits: Float[Tensor, "cells k"]

    @staticmethod
    def empty(spec: MixtureSpec, vertex: int, device: torch.device) -> Normal:
        """Sums over no rows."""
        k, card = spec.n_sources, spec.cards[vertex]
        n_cpt_rows = math.prod(spec.cards[p] for p in spec.parents[vertex])
        zeros = torch.zeros(n_cpt_rows * (k + card), k, dtype=torch.float64, device=device)
        return Normal(zeros[: n_cpt_rows * k].reshape(n_cpt_rows, k * k), zeros[n_cpt_rows * k :])

    def add(
        self,
        shares: Float[Tensor, "m k"],
        weight: Float[Tensor, " m"],
        cpt_row: Int[Tensor, " m"],
        state: Int[Tensor, " m"],
    ) -> None:
        """Add rows: the shares of the sources, the joint state of the parents, and the state."""
        card = self.hits.shape[0] // self.products.shape[0]
        pairs = (shares.unsqueeze(-1) * shares.unsqueeze(-2)).flatten(1) * weight.unsqueeze(-1)
        self.products.index_add_(0, cpt_row, pairs)
        self.hits.index_add_(0, cpt_row * card + state, shares * weight.unsqueeze(-1))


def _regressed(spec: MixtureSpec, vertex: int, sums: Normal) -> tuple[Tensor, Tensor]:
    """Least squares of the indicators of the states on the shares, per joint state of parents."""
    k, card = spec.n_sources, spec.card(vertex)
    cards = spec.joint_shape(spec.parents[vertex])
    n_cpt_rows = math.prod(cards)
    normal = sums.products.reshape(n_cpt_rows, k, k)
    hits = sums.hits.reshape(n_cpt_rows, card, k).mT
    found = linalg.eigh(normal)
    values, basis = found.values, found.vectors
    determined = values[:, 0] > DESIGN_TOLERANCE * values[:, -1]
    root = torch.where(determined.unsqueeze(-1), values, 1.0).clamp_min(0).sqrt()
    design = root.unsqueeze(-1) * basis.mT
    target = (basis.mT @ hits) / root.unsqueeze(-1)
    table = stochastic_least_squares(design, target)
    determined = determined & table.isfinite().flatten(1).all(1)
    # Where sources cannot be told apart the row of all of them together is the answer for each.
    total = hits.sum(1, keepdim=True)
    mean = total / total.sum(-1, keepdim=True)
    mean = torch.where(mean.isfinite(), mean, 1 / card)
    table = torch.where(determined[:, None, None], table, mean)
    cpt = table.movedim(1, 0).reshape(k, *cards, card)
    return cpt, determined.expand(k, -1).reshape(k, *cards)
