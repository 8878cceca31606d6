"""Which source of one mixture is which source of another, and one order for all results."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.errors import SpecError
from pyromix.model.arguments import listed, shown
from pyromix.model.mixture import BayesNetMixture, mixture_of
from pyromix.model.spec import MixtureSpec
from pyromix.model.ties import ordered

ENUMERATED = 4
"""Largest k for which all permutations are tried, as one batch."""

EQUAL_WEIGHTS = 1e-9
"""Weights of sources closer than this are equal for the canonical order, and so are the
probabilities in their tables."""

EQUAL_COSTS = 1e-12
"""Assignments whose costs differ by less, relative to the largest entry, are equally good."""


def match_sources(
    reference: BayesNetMixture,
    mixture: BayesNetMixture,
    *,
    row_masses: Sequence[Float[Tensor, ...]] | None = None,
) -> Int[Tensor, "*batch k"]:
    """Find the relabelling that brings a mixture closest to a reference.

    ``mixture.relabel(match_sources(reference, mixture))`` is aligned to the reference. The cost of
    calling source j of the mixture source i of the reference is the difference of their weights,
    plus for each vertex the total variation between their CPT rows, averaged over the rows as the
    reference's source i uses them. The sum is minimised by an assignment solver, one batch element
    at a time: for k <= 10 that takes some ten microseconds each, less than a batched solver on
    tensors would.

    Args:
        reference: a mixture without batch axes, or with those of ``mixture``.
        mixture: of the same structure, any batch axes.
        row_masses: per vertex how often each source of the reference uses each CPT row,
            ``(*batch, k, *card(parents))``, up to a factor per source; when left out, computed from
            the reference as if the parents of a vertex were independent within each source.

    Returns:
        A permutation for each batch element.

    Raises:
        SpecError: the mixtures differ in structure, k, or batch shape.
    """
    return best_assignments(_costs(reference, mixture, row_masses))[0]


def match_costs(
    reference: BayesNetMixture,
    mixture: BayesNetMixture,
    *,
    row_masses: Sequence[Float[Tensor, ...]] | None = None,
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Return the cost of the best matching and of the second best, to flag an ambiguous one.

    The second best is the best that leaves out one pair of the best, least over the k pairs
    (the first step of Murty's ranking); infinite for k = 1.

    Args:
        reference: as for ``match_sources``.
        mixture: as for ``match_sources``.
        row_masses: as for ``match_sources``.

    Raises:
        SpecError: the mixtures differ in structure, k, or batch shape.
    """
    _, best, second = best_assignments(_costs(reference, mixture, row_masses), second=True)
    return best, second


def canonical_order(mixture: BayesNetMixture) -> Int[Tensor, " k"]:
    """Return the permutation that sorts sources by decreasing weight.

    Weights that agree to 1e-9 count as equal; then the tables decide, the first probability that
    differs by more. Sources that agree throughout stay as they are.

    Args:
        mixture: without batch axes.
    """
    tables = torch.cat([c.flatten(1) for c in mixture.cpts], 1)
    keys = torch.cat([-mixture.weights[:, None], tables], 1).tolist()
    order = ordered(keys, EQUAL_WEIGHTS, relative=0.0)
    return torch.tensor(order, device=mixture.device)


def _costs(
    reference: BayesNetMixture,
    mixture: BayesNetMixture,
    row_masses: Sequence[Tensor] | None,
) -> Float[Tensor, "*batch k k"]:
    """Cost of each pair (source of the reference, source of the mixture)."""
    reference, mixture = mixture_of(reference), mixture_of(mixture)
    one, other = reference.spec, mixture.spec
    if (one.cards, one.parents, one.n_sources) != (other.cards, other.parents, other.n_sources):
        raise SpecError(
            "only mixtures on the same graph, cardinalities and number of sources can be matched; "
            f"found {one.n_variables} variables with {one.n_sources} sources and "
            f"{other.n_variables} with {other.n_sources}, or other parents or states"
        )
    if reference.batch_shape not in (torch.Size(), mixture.batch_shape):
        raise SpecError(
            "the reference must have no batch axes or those of the mixture "
            f"{tuple(mixture.batch_shape)}, found {tuple(reference.batch_shape)}"
        )
    if row_masses is None:
        masses = _use_of_rows(reference)
    else:
        masses = _checked(one, listed("row_masses", row_masses, "tensors"))
    cost = (reference.weights[..., :, None] - mixture.weights[..., None, :]).abs()
    for left, right, mass in zip(reference.cpts, mixture.cpts, masses, strict=True):
        card = left.shape[-1]
        left, right = (
            table.reshape(*m.weights.shape, -1, card)
            for table, m in ((left, reference), (right, mixture))
        )
        use = mass.reshape(*left.shape[:-1])
        total = use.sum(-1, keepdim=True)
        use = torch.where(total > 0, use / total, 1 / use.shape[-1])
        # One source of the reference at a time: all pairs at once need k times the memory.
        pairs = [
            ((left[..., i, None, :, :] - right).abs().sum(-1) / 2 * use[..., i, None, :]).sum(-1)
            for i in range(one.n_sources)
        ]
        cost = cost + torch.stack(pairs, -2)
    return cost


def _checked(spec: MixtureSpec, given: Sequence[Any]) -> list[Tensor]:
    """Masses that have a number for every row.

    Raises:
        SpecError: there are others, or of another shape.
    """
    if len(given) != spec.n_variables:
        raise SpecError(f"expected row_masses of {spec.n_variables} vertices, found {len(given)}")
    for v, mass in enumerate(given):
        shape = spec.cpt_shape(v)[:-1]
        if not isinstance(mass, Tensor) or mass.is_complex() or mass.shape[-len(shape) :] != shape:
            raise SpecError(
                f"row_masses of {spec.name(v)!r}: expected shape {shape}, found {shown(mass)}"
            )
    return list(given)


def _use_of_rows(mixture: BayesNetMixture) -> list[Float[Tensor, ...]]:
    """P(parents | U), as if parents were independent within each source."""
    batch, marginals, masses = len(mixture.batch_shape), [], []
    for v, parents in enumerate(mixture.spec.parents):
        mass = torch.ones_like(mixture.weights)
        for p in parents:
            marginal = marginals[p]
            mass = mass[..., None] * marginal.reshape(
                *marginal.shape[: batch + 1], *(1 for _ in mass.shape[batch + 1 :]), -1
            )
        masses.append(mass)
        law = mass[..., None] * mixture.cpts[v]
        marginals.append(law.flatten(batch + 1, -2).sum(-2) if parents else law)
    return masses


def best_assignments(
    costs: Float[Tensor, "*batch k k"], *, second: bool = False
) -> tuple[Int[Tensor, "*batch k"], Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Solve assignment problems: for every row its column, the cost, and that of the runner-up.

    Of equally good assignments the one nearest to the identity is taken, see ``_leaning``; for few
    sources the first in lexicographic order.

    Args:
        costs: any batch shape; finite.
        second: also the cost of the best assignment that leaves out one pair of the best, least
            over the pairs; infinite where it is not asked for, and for k = 1.
    """
    k, lead = costs.shape[-1], costs.shape[:-2]
    if 1 < k <= ENUMERATED:
        return _enumerated(costs)
    # A fifth of the time that importing pyromix would take, for more sources than few have.
    from scipy.optimize import linear_sum_assignment

    tables = costs.detach().cpu().reshape(-1, k, k).numpy()
    orders = np.empty((len(tables), k), dtype=np.int64)
    best, runner_up = np.empty(len(tables)), np.full(len(tables), np.inf)
    for i, table in enumerate(tables):
        rows, orders[i] = linear_sum_assignment(_leaning(table))
        best[i] = table[rows, orders[i]].sum()
        if second and k > 1:
            runner_up[i] = min(_without(table, u, int(orders[i, u])) for u in range(k))
    device = costs.device
    return (
        torch.from_numpy(orders).to(device).reshape(*lead, k),
        torch.from_numpy(best).to(device).reshape(lead),
        torch.from_numpy(runner_up).to(device).reshape(lead),
    )


def _enumerated(
    costs: Float[Tensor, "*batch k k"],
) -> tuple[Int[Tensor, "*batch k"], Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """The same by trying all permutations: any two of them differ in a pair."""
    k = costs.shape[-1]
    orders = torch.tensor(list(itertools.permutations(range(k))), device=costs.device)
    rows = torch.arange(k, device=costs.device)
    totals = costs[..., rows, orders].sum(-1)
    best = totals.topk(2, largest=False, sorted=True).values
    slack = EQUAL_COSTS * costs.abs().amax((-2, -1))
    # argmax of numbers: of booleans the first place is not promised.
    first = (totals <= (best[..., 0] + slack).unsqueeze(-1)).long().argmax(-1)
    return orders[first], best[..., 0], best[..., 1]


def _leaning(table: np.ndarray) -> np.ndarray:
    """The same costs, with what turns ties and nothing else: pairs (u, u) are a little cheaper.

    The sum of u times its column is largest for the identity, and the exponent keeps most other
    assignments apart too. For some tens of sources the lean of a pair sinks below rounding.
    """
    number = np.arange(len(table)) ** 1.1
    lean = np.outer(number, number) / max(len(table), 1) ** 2
    return table - EQUAL_COSTS * np.abs(table).max(initial=0.0) * lean


def _without(table: np.ndarray, row: int, column: int) -> float:
    """Least cost of an assignment that does not use one pair."""
    from scipy.optimize import linear_sum_assignment

    changed = table.copy()
    changed[row, column] = table.sum() + 1  # more than any assignment costs
    rows, columns = linear_sum_assignment(changed)
    return float(changed[rows, columns].sum())
