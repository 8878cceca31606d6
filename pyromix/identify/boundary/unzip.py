"""Bayesian unzipping [gordon23clear] (THEORY section 4.4): from boundaries to parents.

Conditioned on its whole Markov boundary a vertex Y has, within source u,

    r_b = P_u(Y = b | mb), proportional to P_u(Y = b | pa) L_b,
    L_b = product over its children C of P_u(c | pa(C) with Y = b).

What the children say is divided out: P_u(Y = b | pa) is proportional to r_b / L_b, for any number
of states. CPTs of the children must be known, hence reverse topological order. A clean vertex is
conditioned on no child, and has nothing to unzip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.exact.logspace import log
from pyromix.model.spec import SOURCE, MixtureSpec

LEAST_CELL = 1e-12
"""Probability in place of zero, where one divides by it."""


def unzip(
    table: Float[Tensor, "*batch card"], log_likelihood: Float[Tensor, "*batch card"]
) -> Float[Tensor, "*batch card"]:
    """Divide out what the children say, in logarithms.

    Args:
        table: r, distributions of a vertex given its boundary.
        log_likelihood: log L, finite; of the children for each state of the vertex.

    Returns:
        Distributions, proportional to r / L.
    """
    return (log(table) - log_likelihood).softmax(-1)


def children_log_likelihood(
    spec: MixtureSpec,
    vertex: int,
    boundary: Sequence[int],
    cpts: Mapping[int, Tensor],
    device: torch.device | str = "cpu",
) -> Float[Tensor, "k *cards card"]:
    """Log-likelihood of each state of a vertex from those of its children that are conditioned on.

    Args:
        spec: the graph.
        vertex: Y.
        boundary: what Y is conditioned on: with a child, all parents of the child but Y.
        cpts: of the children, as a mixture holds them; nan where unknown.
        device: of the result.

    Returns:
        An axis for the source, for each vertex of the boundary, and for Y; minus infinity where
        a child cannot have its state, nan where its CPT is not known.
    """
    axes = (SOURCE, *boundary, vertex)
    total = torch.zeros([spec.card(v) for v in axes], dtype=torch.float64, device=device)
    for child in spec.children[vertex]:
        if child in boundary:
            scope = (SOURCE, *spec.parents[child], child)
            order = sorted(range(len(scope)), key=lambda i, s=scope: axes.index(s[i]))
            spread = [spec.card(v) if v in scope else 1 for v in axes]
            known = cpts[child]
            terms = torch.where(known.isnan(), torch.nan, log(known))
            total = total + terms.permute(order).reshape(spread)
    return total


def unzipped_cpt(
    spec: MixtureSpec,
    vertex: int,
    boundary: Sequence[int],
    table: Float[Tensor, "k *cards card"],
    n_rows: Float[Tensor, "k ..."],
    cpts: Mapping[int, Tensor],
) -> Float[Tensor, "k *parents card"]:
    """CPT of a vertex from its tables given its boundary.

    Every assignment of children and their other parents gives an estimate; the mean weighs them by
    rows and by the harmonic mean of r, which for two states is the information about their log
    odds, n r (1 - r).

    Args:
        spec: the graph.
        vertex: Y.
        boundary: the parents of Y, or its Markov boundary.
        table: P_u(Y | boundary); anything where ``n_rows`` is zero.
        n_rows: how many rows each distribution is worth; zero where there is none.
        cpts: of the children; nan where unknown.

    Returns:
        The CPT, parents in the order of the spec; nan where no assignment gives an estimate.
    """
    evidence = children_log_likelihood(spec, vertex, boundary, cpts, table.device)
    usable = (n_rows > 0) & evidence.isfinite().all(-1)
    masked = usable.unsqueeze(-1)
    table = torch.where(masked, table, 1 / table.shape[-1])
    estimates = unzip(table, torch.where(masked, evidence, 0.0))
    weights = torch.where(usable, n_rows / table.clamp_min(LEAST_CELL).reciprocal().sum(-1), 0.0)
    parents = spec.parents[vertex]
    shape = spec.joint_shape((SOURCE, *parents, vertex))
    others = [i for i, v in enumerate(boundary, 1) if v not in parents]
    order = [0, *(boundary.index(p) + 1 for p in parents), *others]
    estimates = estimates.permute(*order, -1).reshape(*shape[:-1], -1, shape[-1])
    weights = weights.permute(order).reshape(*shape[:-1], -1)
    shares = weights / weights.sum(-1, keepdim=True)
    return (shares.unsqueeze(-1) * estimates).sum(-2)
