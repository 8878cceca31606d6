"""The range of several answers over all mixtures with one law: starts, walks, and their hull."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.answers.same_law import Ends, Values, settled, walked
from pyromix.estimate.starts import batch_of, random_starts
from pyromix.exact.law import LawMap
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.randomness import RandomState, torch_generator
from pyromix.model.spec import MixtureSpec

MIXED = (0.02, 0.7)
"""Least and largest share of random tables in starts that begin near a mixture with the law."""

REACHED = 0.01
"""Share of a range's width within which a search has reached its end."""

EXACT = 1e-4
"""Width that counts as none."""


@dataclass(frozen=True, eq=False)
class Found:
    """What walks found of some answers.

    Attributes:
        low: least value of each, ``(f,)``.
        high: largest value of each.
        n_searches: walks in every direction.
        n_low: per answer, how many walks downwards ended at the lower end.
        n_high: per answer, how many walks upwards ended at the upper end.
        extreme: the mixtures at the ends, batch shape ``(2 f,)``: all lower ends, then all upper.
    """

    low: Float[Tensor, " f"]
    high: Float[Tensor, " f"]
    n_searches: int
    n_low: tuple[int, ...]
    n_high: tuple[int, ...]
    extreme: BayesNetMixture


def find_range(
    law: LawMap,
    values: Values,
    known: BayesNetMixture,
    n_starts: int,
    random_state: RandomState = 0,
) -> Found:
    """Find the least and the largest of some answers over all mixtures with one law.

    A third of the starts is mixed from mixtures with the law and random ones, a third is random.
    Where fewer than half of the walks from these reached the same end, the last third begins near
    the ends. All are brought to the law first.

    Args:
        law: that all mixtures have.
        values: the answers, ``(b, f)``.
        known: mixtures with the law, batch shape ``(n,)``; searches begin from these, too.
        n_starts: starts beside these, rounded up to a multiple of three.
        random_state: of the starts.
    """
    generator, axis = torch_generator(random_state), law.axis
    sure = axis.points(known)
    with torch.no_grad():
        here = values(axis.mixtures(sure))
    f = here.shape[-1]
    eye = torch.eye(f, dtype=here.dtype, device=here.device)
    aims = torch.cat([-eye, eye])
    third = -(-n_starts // 3)
    drawn = random_starts(law.spec, third, generator).to(known.device)
    starts = batch_of(_near(known, third, generator), drawn)
    points, there = settled(law, axis.points(starts))
    ends = walked(law, values, aims, torch.cat([sure, points[there]]))
    found = _summed_up(law, ends, aims)
    if 2 * min(*found.n_low, *found.n_high) >= found.n_searches:
        return found
    hops, there = settled(law, axis.points(_near(found.extreme, third, generator)))
    if not bool(there.any()):
        return found
    return _summed_up(law, ends.joined(walked(law, values, aims, hops[there])), aims)


def with_one_more(mixtures: BayesNetMixture, spec: MixtureSpec) -> BayesNetMixture:
    """The same mixtures, their largest source in two halves.

    Args:
        mixtures: batch shape ``(n,)``.
        spec: the same structure with one more source.
    """
    largest = mixtures.weights.argmax(-1)
    each = torch.arange(len(largest), device=largest.device)
    half = mixtures.weights.clone()
    half[each, largest] /= 2
    weights = torch.cat([half, half[each, largest][:, None]], -1)
    cpts = [torch.cat([cpt, cpt[each, largest][:, None]], 1) for cpt in mixtures.cpts]
    return BayesNetMixture.unchecked(spec, (weights, *cpts))


def _near(known: BayesNetMixture, n: int, generator: torch.Generator) -> BayesNetMixture:
    """Mixtures of known ones, in turn, and random ones, by growing shares."""
    spec, least, most = known.spec, *MIXED
    drawn = random_starts(spec, n, generator).to(known.device)
    turn = torch.arange(n, device=known.device)
    which = turn % known.batch_shape[0]
    shares = least + (most - least) * turn.double() / max(n - 1, 1)
    return BayesNetMixture.unchecked(spec, _mixed(known[which].tables, drawn.tables, shares))


def _mixed(one: Sequence[Tensor], other: Sequence[Tensor], shares: Tensor) -> list[Tensor]:
    parts = []
    for a, b in zip(one, other, strict=True):
        share = shares.reshape(-1, *(1 for _ in a.shape[1:]))
        parts.append((1 - share) * a + share * b)
    return parts


def _summed_up(law: LawMap, ends: Ends, aims: Float[Tensor, "d f"]) -> Found:
    """The hull of all walks, in whatever direction they went, and how many reached its ends."""
    f = aims.shape[1]
    everything = ends.values.flatten(0, 1)
    low, high = everything.amin(0), everything.amax(0)
    near = (REACHED * (high - low)).clamp_min(EXACT)
    down, up = ends.values[:f].diagonal(dim1=0, dim2=2), ends.values[f:].diagonal(dim1=0, dim2=2)
    best = ends.points.flatten(0, 1)[(everything @ aims.T).argmax(0)]
    return Found(
        low,
        high,
        ends.values.shape[1],
        tuple((down <= low + near).sum(0).tolist()),
        tuple((up >= high - near).sum(0).tolist()),
        law.axis.mixtures(best),
    )
