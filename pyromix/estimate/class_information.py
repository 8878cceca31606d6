"""How sharply rows determine a regression of the source on covariates: observed information.

[T. A. Louis, Finding the observed information matrix when using the EM algorithm, JRSS B 44, 1982]
in the coefficients of all sources but the first, and the log-odds of the items against the
likeliest state of each row of a table:

    I = sum over rows of w (E[B] - E[s s'] + E[s] E[s]'),

with s and B score and information of a row whose source is seen, and E over P(U | x, z). A state of
probability nothing lies at its boundary and is taken as known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.estimate.class_regression import CovariateRows, joint, log_weights
from pyromix.exact import linalg
from pyromix.model.status import Status

AT_BOUNDARY = 1e-6
"""Probability below which a state is taken as one that never occurs."""

NUMBERS = 2**22
"""Rows times parameters of a block."""

SINGULAR = 1e-10
"""Least eigenvalue, in shares of the largest after scaling, of an information that determines all
parameters."""


@dataclass(frozen=True)
class Place:
    """Log-odds of one row of an item's table: the free states, the reference left out.

    Attributes:
        source: number of the source.
        item: number of the item.
        states: free states.
        first: place of the first of them among all parameters.
    """

    source: int
    item: int
    states: tuple[int, ...]
    first: int

    @property
    def places(self) -> slice:
        """Where its log-odds stand."""
        return slice(self.first, self.first + len(self.states))


@dataclass(frozen=True, eq=False)
class ClassInformation:
    """Covariances at an estimate.

    Attributes:
        covariance: of coefficients, ``(k - 1) p`` of them source by source, then of log-odds; nan
            throughout where some direction is not determined.
        places: where the log-odds of each row of a table stand.
        n_coefficients: how many parameters are coefficients.
        score: of all rows together; zero at the estimate.
    """

    covariance: Float[Tensor, "q q"]
    places: tuple[Place, ...]
    n_coefficients: int
    score: Float[Tensor, " q"]

    @property
    def determined(self) -> bool:
        """Whether every direction is."""
        return bool(self.covariance.isfinite().all())


@torch.no_grad()
def class_information(
    rows: CovariateRows, coefficients: Float[Tensor, "k p"], tables: Sequence[Float[Tensor, "k _"]]
) -> ClassInformation:
    """Observed information of all coefficients and log-odds, and its inverse.

    Args:
        rows: the table.
        coefficients: zero for the first source.
        tables: of the items.
    """
    k, p = coefficients.shape
    places = _places(tables, (k - 1) * p)
    q = places[-1].places.stop if places else (k - 1) * p
    known = torch.zeros(q, q, dtype=torch.float64, device=coefficients.device)
    score = torch.zeros(q, dtype=torch.float64, device=coefficients.device)
    shares = joint(rows, coefficients, tuple(tables)).softmax(-1)
    law = log_weights(coefficients, rows.design).exp()
    every = torch.arange(len(rows.weights), device=coefficients.device)
    for block in every.split(max(1, NUMBERS // max(q, 1))):
        part = _Block(rows.index.rows[block].long(), rows.design[block], shares[block], law[block])
        weights = rows.weights[block]
        known += _if_seen(part, weights, tables, places, q)
        mean = torch.zeros(len(block), q, dtype=torch.float64, device=known.device)
        for u in range(k):
            own = _scores(part, u, tables, places, q)
            share = part.shares[:, u, None]
            known -= (own * share * weights[:, None]).T @ own
            mean += share * own
        known += (mean * weights[:, None]).T @ mean
        score += weights @ mean
    return ClassInformation(_inverse(known), places, (k - 1) * p, score)


@dataclass(frozen=True, eq=False)
class _Block:
    """Some rows: states of items, covariates, P(U | x, z), P(U | z)."""

    states: Int[Tensor, "m items"]
    design: Float[Tensor, "m p"]
    shares: Float[Tensor, "m k"]
    law: Float[Tensor, "m k"]


def _places(tables: Sequence[Float[Tensor, "k _"]], first: int) -> tuple[Place, ...]:
    found = []
    for v, table in enumerate(tables):
        for u, row in enumerate(table.tolist()):
            likeliest = max(range(len(row)), key=lambda s, row=row: row[s])
            free = tuple(s for s, x in enumerate(row) if x > AT_BOUNDARY and s != likeliest)
            if free:
                found.append(Place(u, v, free, first))
                first += len(free)
    return tuple(found)


def _scores(
    part: _Block,
    u: int,
    tables: Sequence[Float[Tensor, "k _"]],
    places: Sequence[Place],
    q: int,
) -> Float[Tensor, "m q"]:
    """Scores of rows that are known to be from source u."""
    m, p, k = len(part.design), part.design.shape[1], part.law.shape[1]
    scores = torch.zeros(m, q, dtype=torch.float64, device=part.design.device)
    for j in range(1, k):
        here = slice((j - 1) * p, j * p)
        scores[:, here] = (float(u == j) - part.law[:, j, None]) * part.design
    for place in places:
        if place.source == u:
            states = part.states[:, place.item]
            free = torch.tensor(place.states, device=states.device)
            seen: Bool[Tensor, " m"] = states >= 0
            gap = (states[:, None] == free).double() - tables[place.item][u, free]
            scores[:, place.places] = gap * seen[:, None]
    return scores


def _if_seen(
    part: _Block,
    weights: Float[Tensor, " m"],
    tables: Sequence[Float[Tensor, "k _"]],
    places: Sequence[Place],
    q: int,
) -> Float[Tensor, "q q"]:
    """Information of rows had their sources been seen, expected."""
    p, k = part.design.shape[1], part.law.shape[1]
    known = torch.zeros(q, q, dtype=torch.float64, device=part.design.device)
    for j in range(1, k):
        for other in range(1, k):
            factor = weights * part.law[:, j] * (float(j == other) - part.law[:, other])
            here = slice((j - 1) * p, j * p), slice((other - 1) * p, other * p)
            known[here] = (part.design * factor[:, None]).T @ part.design
    for place in places:
        row = tables[place.item][place.source, list(place.states)]
        mass = (weights * part.shares[:, place.source])[part.states[:, place.item] >= 0].sum()
        known[place.places, place.places] = mass * (torch.diag(row) - row[:, None] * row)
    return known


def _inverse(known: Float[Tensor, "q q"]) -> Float[Tensor, "q q"]:
    """The covariance; nan where the information is singular or not positive."""
    scale = known.diagonal().clamp_min(torch.finfo(known.dtype).tiny).rsqrt()
    found = linalg.eigh(known * scale[:, None] * scale)
    singular = int(found.status) != Status.OK or bool(
        (found.values <= SINGULAR * found.values.amax()).any()
    )
    if singular:
        return torch.full_like(known, torch.nan)
    inner = (found.vectors / found.values) @ found.vectors.mT
    return inner * scale[:, None] * scale
