"""Tables of all variables from views that are already solved (THEORY section 5.3).

A variable outside two solved views is independent of both within each source, so

    E[z_i z_j 1(X = x)] = sum over u of pi_u E[z_i | u] E[z_j | u] P(x | u),

linear in its table: one least-squares problem with distributions as unknowns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.identify.patterns import Patterns
from pyromix.identify.simplex import stochastic_least_squares, unconstrained_table
from pyromix.identify.solution import distribution_or_uniform
from pyromix.identify.views import Indicators, SolvedViews, products

OTHERS = {0: (1, 2), 1: (0, 2), 2: (0, 1)}
"""The two views that do not contain a variable of each view."""


def cover(
    patterns: Patterns, solved: SolvedViews, variables: Sequence[int], pair: tuple[int, int]
) -> tuple[list[Float[Tensor, "r k _"]], Float[Tensor, " r"]]:
    """Within-source tables of variables that lie in neither of two solved views.

    Args:
        patterns: rows that hold the variables of both views and those asked for.
        solved: three solved views.
        variables: columns, disjoint from the pair.
        pair: numbers of the two views.

    Returns:
        Per variable ``(r, k, card)``, the missing state included where it occurs; and the largest
        amount by which a probability was moved to reach the simplex. Time m k^2 states.
    """
    one, other = pair
    function, size = products(solved.coordinates[one], solved.coordinates[other])
    indicators = Indicators(tuple((v,) for v in variables), patterns.cards, patterns.device)
    targets = patterns.mean_product(function, size, indicators, indicators.size)
    design = torch.einsum(
        "ru,rui,ruj->riju", solved.core.weights, solved.means[one], solved.means[other]
    ).flatten(1, 2)
    total, others = targets[..., :1], targets[..., 1:].split([s - 1 for s in indicators.sizes], -1)
    pieces = {
        v: torch.cat([total - part.sum(-1, keepdim=True), part], -1)
        for v, part in zip(variables, others, strict=True)
    }
    tables: dict[int, Tensor] = {}
    moved = torch.zeros_like(patterns.n_rows)
    for card in sorted(set(indicators.sizes)):
        alike = [v for v in variables if patterns.cards[v] == card]
        wanted = torch.stack([pieces[v] for v in alike], 1)
        stacked = design.unsqueeze(1).expand(-1, len(alike), -1, -1)
        found = stochastic_least_squares(stacked, wanted)
        free = unconstrained_table(stacked, wanted)
        moved = torch.maximum(moved, (found - free).abs().amax((1, 2, 3)))
        tables.update(zip(alike, found.unbind(1), strict=True))
    return [tables[v] for v in variables], moved


def without_missing(table: Float[Tensor, "r k c"], states: int) -> Float[Tensor, "r k states"]:
    """P(X | u) from a table with a missing state: the distribution of X where it was observed."""
    if table.shape[-1] == states:
        return table
    return distribution_or_uniform(table[..., :states])
