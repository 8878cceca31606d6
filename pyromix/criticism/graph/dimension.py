"""How many directions of a graph's parameters a table can show: what degrees of freedom count."""

from __future__ import annotations

from functools import lru_cache

from pyromix.identify.certify import certify, most_parameters
from pyromix.identify.graphical import graph_facts
from pyromix.model.spec import MixtureSpec

MAX_RANKED = 800
"""Parameters up to which the rank of the Jacobian is taken; each graph by one edge has its own."""


@lru_cache(maxsize=1024)
def dimension(spec: MixtureSpec) -> int | None:
    """Rank of the Jacobian of theta -> P(V) at a generic mixture (THEORY sections 7 and 19.2).

    Args:
        spec: graph, states and k.

    Returns:
        The rank; None where the model is too large for it and no plan recovers all of it.
    """
    if spec.n_sources == 1:
        return spec.n_parameters
    if spec.n_parameters <= min(MAX_RANKED, most_parameters(spec)):
        return certify(spec).rank
    return spec.n_parameters if graph_facts(spec).everything else None
