"""Views of many variables: their features, whitened, and three of them solved.

A view with few joint states is its joint table. One with many is described by the indicators of its
variables, or of pairs of them (first- and second-order features): their within-source means have
rank k all the same when there are enough of them. Once the sources are roughly known, a view is
better described by k numbers, the probability of each source given its variables: any functions of
a view's own variables are features, and these are the most telling ones.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.exact import linalg
from pyromix.identify.views.patterns import Patterns
from pyromix.identify.views.splits import Views
from pyromix.identify.views.three_views import (
    EXACT_NOISE,
    CoreSolution,
    noise_floor,
    signal_values,
    solve_core,
    third_coordinates,
)
from pyromix.model.randomness import RandomState

MAX_FEATURES = 256
"""Largest number of features of a view."""

MAX_JOINT = 64
"""Largest number of joint states for which a view is its joint table."""

ROWS_PER_FEATURE = 200
"""Rows that a feature should stand for, so that noise stays well under the signal."""

WHITENING_CUT = 1e-10
"""Second moments of features below this share of the largest are redundant features."""

LEAST_PROBABILITY = 1e-12
"""Probability in place of zero where logarithms are taken."""


@runtime_checkable
class Features(Protocol):
    """Functions of the variables of one view; a combination of them is the constant one."""

    @property
    def size(self) -> int:
        """Number of features."""
        ...

    @property
    def one(self) -> Float[Tensor, " size"]:
        """Coefficients of the constant one."""
        ...

    def __call__(
        self, rows: Int[Tensor, "b l n"], strata: Int[Tensor, " b"]
    ) -> Float[Tensor, "b l size"]:
        """Values for rows in blocks, each block of one stratum."""
        ...


@dataclass(frozen=True)
class Indicators:
    """The constant one, then indicators of the joint states of groups of variables.

    The first joint state of a group has none: it is the constant less the others.

    Attributes:
        groups: columns of each group.
        cards: number of states of every column of the rows.
        device: of the rows.
    """

    groups: tuple[tuple[int, ...], ...]
    cards: tuple[int, ...]
    device: torch.device

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Joint states of each group."""
        return tuple(math.prod(self.cards[v] for v in group) for group in self.groups)

    @property
    def size(self) -> int:
        """Number of features."""
        return 1 + sum(self.sizes) - len(self.sizes)

    @property
    def one(self) -> Float[Tensor, " size"]:
        """The first feature."""
        one = torch.zeros(self.size, dtype=torch.float64, device=self.device)
        one[0] = 1
        return one

    @cached_property
    def _wanted(self) -> tuple[Tensor, Tensor]:
        """Group and joint state of each indicator."""
        numbers = [(g, s) for g, size in enumerate(self.sizes) for s in range(1, size)]
        table = torch.tensor(numbers, dtype=torch.int64, device=self.device).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    def __call__(
        self, rows: Int[Tensor, "b l n"], strata: Int[Tensor, " b"]
    ) -> Float[Tensor, "b l size"]:
        """Ones where a group is in a joint state."""
        values = torch.ones(*rows.shape[:-1], self.size, dtype=torch.float64, device=rows.device)
        which, state = self._wanted
        if max(map(len, self.groups), default=0) == 1:
            columns = torch.tensor(self.groups, device=rows.device).flatten()[which]
            found = rows.flatten(0, -2).index_select(1, columns) == state.to(rows.dtype)
            values[..., 1:] = found.view(*rows.shape[:-1], -1)
            return values
        codes = []
        for group in self.groups:
            code = rows[..., group[0]].to(torch.int32)
            for v in group[1:]:
                code = code * self.cards[v] + rows[..., v]
            codes.append(code)
        values[..., 1:] = torch.stack(codes, -1)[..., which] == state
        return values


@dataclass(frozen=True, eq=False)
class Posteriors:
    """Probability of each source given the variables of one view.

    Attributes:
        indicators: of the single variables of the view.
        scores: ``(r, size, k)``, what each indicator adds to the logarithm; the constant brings
            the weights and every first state.
    """

    indicators: Indicators
    scores: Float[Tensor, "r size k"]

    @property
    def size(self) -> int:
        """Number of sources."""
        return self.scores.shape[-1]

    @property
    def one(self) -> Float[Tensor, " k"]:
        """Probabilities add up to one."""
        return torch.ones_like(self.scores[0, 0])

    def __call__(
        self, rows: Int[Tensor, "b l n"], strata: Int[Tensor, " b"]
    ) -> Float[Tensor, "b l k"]:
        """Bayes' rule with the tables of each block's stratum."""
        logits = self.indicators(rows, strata) @ self.scores[strata]
        odds = (logits - logits.amax(-1, keepdim=True)).exp_()
        return odds / odds.sum(-1, keepdim=True)


def posteriors(
    view: Sequence[int],
    weights: Float[Tensor, "r k"],
    tables: Sequence[Float[Tensor, "r k _"]],
    cards: tuple[int, ...],
) -> Posteriors:
    """Features of a view from a first estimate of its tables.

    Args:
        view: columns.
        weights: P(u).
        tables: P(x | u) per column of the view, the missing state included where it occurs.
        cards: number of states of every column of the rows.
    """
    logs = [table.clamp_min(LEAST_PROBABILITY).log().mT for table in tables]
    constant = weights.clamp_min(LEAST_PROBABILITY).log() + sum(log[:, 0] for log in logs)
    scores = [constant.unsqueeze(1), *(log[:, 1:] - log[:, :1] for log in logs)]
    indicators = Indicators(tuple((v,) for v in view), cards, weights.device)
    return Posteriors(indicators, torch.cat(scores, 1))


@dataclass(frozen=True, eq=False)
class Coordinates:
    """A view in whitened coordinates: its features times one matrix per stratum."""

    features: Features
    maps: Float[Tensor, "r size k"]

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return self.maps.shape[-1]

    def __call__(
        self, rows: Int[Tensor, "b l n"], strata: Int[Tensor, " b"]
    ) -> Float[Tensor, "b l k"]:
        """Values of the coordinates."""
        return self.features(rows, strata) @ self.maps[strata]


@dataclass(frozen=True, eq=False)
class SolvedViews:
    """Three views of some variables and the sources they show.

    Attributes:
        views: columns of each view.
        coordinates: each view in whitened coordinates.
        singular_values: canonical correlations of the first two views, descending.
        floor: what noise makes of the k-th.
        core: the sources in these coordinates.
    """

    views: Views
    coordinates: tuple[Coordinates, Coordinates, Coordinates]
    singular_values: Float[Tensor, "r q"]
    floor: Float[Tensor, " r"]
    core: CoreSolution

    @property
    def means(self) -> tuple[Tensor, Tensor, Tensor]:
        """Within-source means of the coordinates of each view."""
        return self.core.left, self.core.right, self.core.third


def products(one: Coordinates, other: Coordinates) -> tuple[ProductFunction, int]:
    """All products of a coordinate of one view with a coordinate of another, and their number."""
    return ProductFunction(one, other), one.size * other.size


@dataclass(frozen=True, eq=False)
class ProductFunction:
    """Row function: the outer product of two views' coordinates, flattened."""

    one: Coordinates
    other: Coordinates

    def __call__(
        self, rows: Int[Tensor, "b l n"], strata: Int[Tensor, " b"]
    ) -> Float[Tensor, "b l products"]:
        """Products, the coordinates of the first view slowest."""
        left, right = self.one(rows, strata), self.other(rows, strata)
        return (left.unsqueeze(-1) * right.unsqueeze(-2)).flatten(-2)


def solve_views(
    patterns: Patterns,
    views: Views,
    features: tuple[Features, Features, Features],
    n_sources: int,
    random_state: RandomState = 0,
) -> SolvedViews:
    """Whiten three views, take their third moments, and find the sources.

    Args:
        patterns: weighted rows.
        views: columns of each view.
        features: of each view; the first two have at least k features.
        n_sources: k.
        random_state: of the random combinations.

    Returns:
        One solution per stratum. Time m (sum of features)^2 and m k^2 features of the third.
    """
    k = n_sources
    sizes = [f.size for f in features]

    def everything(rows: Tensor, strata: Tensor) -> Tensor:
        return torch.cat([f(rows, strata) for f in features], -1)

    moments = patterns.mean_product(everything, sum(sizes), everything, sum(sizes))
    ends = [0, *itertools.accumulate(sizes)]
    blocks = [slice(a, b) for a, b in itertools.pairwise(ends)]
    white, ranks = zip(*(_whitening(moments[:, b, b]) for b in blocks), strict=True)
    # The constant has length one in whitened coordinates: its mean square is one.
    ones = [
        (w.mT @ (moments[:, b, b] @ f.one).unsqueeze(-1)).squeeze(-1)
        for w, b, f in zip(white, blocks, features, strict=True)
    ]
    cross = white[0].mT @ moments[:, blocks[0], blocks[1]] @ white[1]
    found = linalg.svd(cross)
    values, u, v = found.values, found.u[..., :k], found.vh.mT[..., :k]
    noise = patterns.n_rows.rsqrt().clamp_min(EXACT_NOISE)
    floor = noise_floor(ranks[0], ranks[1], k, noise)

    left = Coordinates(features[0], white[0] @ u)
    right = Coordinates(features[1], white[1] @ v)
    pairs, n_pairs = products(left, right)
    third = patterns.mean_product(features[2], sizes[2], pairs, n_pairs)
    full = (white[2].mT @ third).unflatten(-1, (k, k))
    turn = third_coordinates(full, ones[2], k)
    core = torch.einsum("rcij,rcd->rdij", full, turn)
    left_one, right_one = (
        (m.mT @ one.unsqueeze(-1)).squeeze(-1) for m, one in zip((u, v), ones, strict=False)
    )
    signals = signal_values(values, k)
    solved = solve_core(core, signals, left_one, right_one, noise, random_state)
    coordinates = (left, right, Coordinates(features[2], white[2] @ turn))
    return SolvedViews(views, coordinates, values, floor, solved)


def indicator_features(
    patterns: Patterns, views: Views, n_sources: int
) -> tuple[Features, Features, Features]:
    """Indicators for each view: the simplest kind that shows k sources, as far as rows allow.

    Joint states where they are few; otherwise first-order indicators if they have twice k
    dimensions, else second-order ones.
    """
    n_rows = float(patterns.n_rows.mean())
    allowed = MAX_FEATURES if math.isinf(n_rows) else int(n_rows / ROWS_PER_FEATURE)
    budget = min(max(allowed, 4 * n_sources), MAX_FEATURES)
    one, two, three = (
        Indicators(groups, patterns.cards, patterns.device)
        for groups in (_groups(view, patterns.cards, n_sources, budget) for view in views)
    )
    return one, two, three


def _groups(
    view: Sequence[int], cards: Sequence[int], n_sources: int, budget: int
) -> tuple[tuple[int, ...], ...]:
    """Groups of variables of which a view takes the joint indicators."""
    if math.prod(cards[v] for v in view) <= min(budget, MAX_JOINT):
        return (tuple(view),)
    singles = tuple((v,) for v in view)
    dimension = 1 + sum(cards[v] - 1 for v in view)
    if dimension >= 2 * n_sources:
        return singles
    pairs, size = [], 0
    for i, j in sorted(itertools.combinations(view, 2), key=lambda p: cards[p[0]] * cards[p[1]]):
        size += cards[i] * cards[j]
        if pairs and size > MAX_FEATURES:
            break
        pairs.append((i, j))
        dimension += (cards[i] - 1) * (cards[j] - 1)
    return (*singles, *pairs) if dimension >= n_sources else (tuple(view),)


def _whitening(gram: Float[Tensor, "r d d"]) -> tuple[Float[Tensor, "r d d"], Int[Tensor, " r"]]:
    """Map that makes second moments the identity on what the features span, and its rank."""
    found = linalg.eigh(gram)
    values, basis = found.values, found.vectors
    kept = values > WHITENING_CUT * values[..., -1:]
    scale = torch.where(kept, values.clamp_min(torch.finfo(values.dtype).tiny).rsqrt(), 0.0)
    return basis * scale.unsqueeze(-2), kept.sum(-1)
