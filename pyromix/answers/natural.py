"""Bounds that hold whatever U is: they need the law of the observed variables alone [manski90].

With evidence on what the do does not reach,

    P(y, x | w) <= P(y | do(x), w) <= 1 - P(not y, x | w):

who was seen with x answers as seen, and of the others nothing is known. For a do that draws x from
a distribution both sides are averages, because the arms are free of each other.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pyromix.exact.elimination import marginal
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import DoQuery, DoValue

Pair = tuple[np.ndarray, np.ndarray]
"""Lower and upper ends."""


def natural_bounds(mixture: BayesNetMixture, query: DoQuery) -> Pair | None:
    """The natural bounds of an answer at the law of a mixture.

    Args:
        mixture: without batch axes; its law is all that counts.
        query: the question, in numbers.

    Returns:
        Both shaped like the answer, ``([scenarios,] *cards of the outcomes)``; None with evidence
        on a descendant of what is set, for which they do not hold.

    Raises:
        PositivityError: the evidence is impossible.
        ContractionSizeError: the joint table of outcomes and treatments is too large.
    """
    if mixture.spec.descendants(query.do) & set(query.evidence):
        return None
    seen = marginal(mixture, DoQuery((*query.outcomes, *query.do), {}, query.evidence))
    cards = seen.shape[: len(query.outcomes)]
    joint = seen.reshape(*cards, -1)
    share = _shares(mixture, query)
    low = joint @ share
    high = share.sum(0) - (joint.sum(tuple(range(len(cards)))) - joint) @ share
    low, high = (end.movedim(-1, 0) for end in (low, high))
    if query.n_scenarios is None:
        low, high = low[0], high[0]
    return low.cpu().numpy(), high.cpu().numpy()


def difference_of(bounds: Pair) -> Pair:
    """Bounds of the second scenario less the first: the arms are free of each other."""
    low, high = bounds
    return low[1] - high[0], high[1] - low[0]


def _shares(mixture: BayesNetMixture, query: DoQuery) -> Tensor:
    """With which probability a scenario sets each joint state of the treatments.

    Returns:
        ``(joint states, scenarios)``.
    """
    n = query.n_scenarios or 1
    shares = torch.ones(1, n, dtype=torch.float64, device=mixture.device)
    for v, value in query.do.items():
        rows = _rows(value, mixture.spec.card(v), n).to(shares.device)
        shares = (shares[:, None] * rows.T).reshape(-1, n)
    return shares


def _rows(value: DoValue, card: int, n: int) -> Tensor:
    """One distribution per scenario."""
    if isinstance(value, Tensor):
        return value.expand(n, card)
    return torch.eye(card, dtype=torch.float64, device=torch.device("cpu"))[value].expand(n, card)
