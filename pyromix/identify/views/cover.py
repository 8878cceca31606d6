"""Tables of all variables from views that are already solved (THEORY section 5.3).

Variables that are independent of two solved views within each source have

    E[z_i z_j 1(X = x)] = sum over u of pi_u E[z_i | u] E[z_j | u] P(x | u),

linear in their joint table: one least-squares problem with distributions as unknowns. With one view
it is the same without z_j.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from pyromix.identify.views.patterns import Patterns, RowFunction
from pyromix.identify.views.simplex import stochastic_tables
from pyromix.identify.views.solution import distribution_or_uniform
from pyromix.identify.views.three_views import khatri_rao
from pyromix.identify.views.views import SolvedViews, products

OTHERS = {0: (1, 2), 1: (0, 2), 2: (0, 1)}
"""The two views that do not contain a variable of each view."""


def cover(
    patterns: Patterns,
    solved: SolvedViews,
    groups: Sequence[tuple[int, ...]],
    views: tuple[int, ...],
) -> tuple[list[Float[Tensor, "r k _"]], Float[Tensor, " r"]]:
    """Within-source joint tables of groups of variables that are independent of solved views.

    Args:
        patterns: rows that hold the variables of the views and those asked for.
        solved: three solved views.
        groups: columns of each group, disjoint from the views.
        views: numbers of one view or of two, of which the groups are independent within each
            source.

    Returns:
        Per group ``(r, k, joint states)``, the missing states included where they occur, first
        variable slowest; and the largest amount by which a probability was moved to reach the
        simplex. Time m k^2 joint states.
    """
    function, size, design = _seen_through(solved, views)
    return stochastic_tables(design, patterns.mean_by_state(function, size, groups))


def _seen_through(
    solved: SolvedViews, views: tuple[int, ...]
) -> tuple[RowFunction, int, Float[Tensor, "r p k"]]:
    """Functions of the rows, their number, and their within-source means times the weights."""
    weights = solved.core.weights
    if len(views) == 1:
        [one] = views
        coordinates = solved.coordinates[one]
        return coordinates, coordinates.size, (weights.unsqueeze(-1) * solved.means[one]).mT
    one, other = views
    function, size = products(solved.coordinates[one], solved.coordinates[other])
    design = khatri_rao(weights.unsqueeze(-1) * solved.means[one], solved.means[other])
    return function, size, design.mT


def without_missing(table: Float[Tensor, "r k c"], states: int) -> Float[Tensor, "r k states"]:
    """P(X | u) from a table with a missing state: the distribution of X where it was observed."""
    if table.shape[-1] == states:
        return table
    return distribution_or_uniform(table[..., :states])
