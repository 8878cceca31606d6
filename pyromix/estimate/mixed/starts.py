"""Where EM starts: from shares of rows, given or drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.data.records import Records, thinned_records
from pyromix.estimate.mixed.climb import MixedEnd, climb_mixed
from pyromix.estimate.mixed.prior import MixedPrior, family_rows, settled
from pyromix.estimate.progress import Tell
from pyromix.model.mixed import MixedMixture, MixedSpec

HEAT_ROWS = 3000
"""Rows on which starts are raced."""

HEAT_STEPS = 24
"""Steps that every start gets there."""

FINALISTS = 3
"""Starts that climb to the end, beside the one that was given."""

SHARPNESS = 1.0
"""How sharply rows belong to the nearest of the rows that sources are drawn around."""


def from_shares(
    spec: MixedSpec,
    records: Records,
    shares: Float[Tensor, "rows k"],
    prior: MixedPrior,
) -> MixedMixture:
    """One estimate from known P(U | row): the start that bins of all columns give.

    Rows count for a vertex where its family has no missing cell.
    """
    weighted = shares * records.weights[:, None]
    total = weighted.sum(0) + prior.weights
    cpds = []
    for v in range(spec.n_variables):
        values, parents, seen = family_rows(spec, records, v)
        cpd = spec.standard_cpd(v, records.device)
        cpds.append(settled(cpd, values, parents, weighted[seen], prior.statistics[v]))
    return MixedMixture(spec, records.units, total / total.sum(), tuple(cpds))


def random_shares(
    spec: MixedSpec, records: Records, generator: torch.Generator
) -> Float[Tensor, "rows k"]:
    """Shares by the distance to k rows drawn at random, far ones more often."""
    points = _points(spec, records)
    k, chosen = spec.n_sources, [int(torch.randint(len(points), (1,), generator=generator))]
    far = (points - points[chosen[0]]).square().sum(-1)
    while len(chosen) < k:
        weights = (far + 1e-9).cpu()
        chosen.append(int(torch.multinomial(weights, 1, generator=generator)))
        far = far.minimum((points - points[chosen[-1]]).square().sum(-1))
    distance = torch.cdist(points, points[chosen]).square()
    size = distance.mean().clamp_min(1e-12)
    return (-SHARPNESS * k * distance / size).softmax(-1)


def _points(spec: MixedSpec, records: Records) -> Float[Tensor, "rows d"]:
    """Rows as points: numbers in their units, indicators of states, zero where missing."""
    found = []
    for v, column in enumerate(records.columns):
        if spec.kind(v).numeric:
            x = column.clamp(-4, 4).nan_to_num(nan=0.0)
            found.append((x - x.mean())[:, None] / x.std().clamp_min(1e-9))
        else:
            card = spec.binned.card(v)
            hot = torch.nn.functional.one_hot(column.long().clamp_min(0), card).double()
            found.append(hot * (column >= 0)[:, None])
    return torch.cat(found, 1)


Draw = Callable[[MixedSpec, Records, torch.Generator], Tensor]
"""Shares of rows to start from, ``(rows, k)``."""


def raced(
    spec: MixedSpec,
    records: Records,
    prior: MixedPrior,
    given: Sequence[MixedMixture],
    n_init: int,
    generator: torch.Generator,
    *,
    max_iter: int,
    tol: float,
    tell: Tell = lambda done, words: None,
    draw: Draw = random_shares,
) -> list[MixedEnd]:
    """Climb from given starts and the best of random ones; where each ended, in that order.

    Args:
        spec: the structure.
        records: the table.
        prior: rows seen before.
        given: starts that climb in any case.
        n_init: random starts; they race on at most ``HEAT_ROWS`` rows.
        generator: draws them.
        max_iter: limit on steps of EM.
        tol: tolerance, in nats per row.
        tell: told of every round.
        draw: how random starts are drawn.
    """
    parts = list(records.parts())
    starts = list(given)
    steps = [0] * len(starts)
    if n_init and spec.n_sources > 1:
        few = thinned_records(records, HEAT_ROWS, generator)
        heat = list(few.parts())
        drawn = []
        for _ in range(n_init):
            shares = draw(spec, few, generator)
            start = from_shares(spec, few, shares, prior)
            drawn.append(climb_mixed(start, heat, prior, max_iter=HEAT_STEPS, tol=tol))
        drawn.sort(key=lambda end: -end.objective)
        starts += [end.mixture for end in drawn[:FINALISTS]]
        steps = [0] * len(given) + [end.n_iter for end in drawn[:FINALISTS]]
    if not starts:
        one = torch.ones(records.n_rows, spec.n_sources, dtype=torch.float64)
        one = (one / spec.n_sources).to(records.device)
        starts, steps = [from_shares(spec, records, one, prior)], [0]
    ends = [
        climb_mixed(start, parts, prior, max_iter=max_iter, tol=tol, tell=tell) for start in starts
    ]
    return [
        replace(end, n_iter=end.n_iter + before) for end, before in zip(ends, steps, strict=True)
    ]
