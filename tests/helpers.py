"""Oracles: sums over the joint table of a tiny mixture in plain loops, no code from pyromix.

A mixture is read once into nested Python numbers; everything after that is `itertools.product`.
Vertices and states are numbers; the source is vertex -1, as in the package.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from pyromix.model.mixture import BayesNetMixture
from pyromix.model.spec import MixtureSpec

BATCH_SHAPES = [(), (1,), (2, 3)]


class Oracle:
    """One unbatched mixture as plain numbers."""

    def __init__(self, mixture: BayesNetMixture) -> None:
        assert not mixture.batch_shape
        spec = mixture.spec
        self.k = spec.n_sources
        self.cards = list(spec.cards)
        self.parents = [list(p) for p in spec.parents]
        self.weights = mixture.weights.tolist()
        self.cpts = [c.tolist() for c in mixture.cpts]

    def worlds(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Every (u, x)."""
        yield from itertools.product(
            range(self.k), itertools.product(*(range(c) for c in self.cards))
        )

    def factor(self, v: int, u: int, x: Sequence[int]) -> float:
        row = self.cpts[v][u]
        for p in self.parents[v]:
            row = row[x[p]]
        return row[x[v]]

    def prob(
        self, u: int, x: Sequence[int], do: Mapping[int, int | Sequence[float]] | None = None
    ) -> float:
        """P(u, x | do), the truncated factorisation; a soft do replaces the factor."""
        do = do or {}
        value = 1.0
        for v in (-1, *range(len(self.cards))):
            state = u if v == -1 else x[v]
            if v in do:
                setting = do[v]
                value *= float(state == setting) if isinstance(setting, int) else setting[state]
            elif v == -1:
                value *= self.weights[u]
            else:
                value *= self.factor(v, u, x)
        return value

    def query(
        self,
        outcomes: Sequence[int],
        do: Mapping[int, int | Sequence[float]] | None = None,
        evidence: Mapping[int, int] | None = None,
    ) -> dict[tuple[int, ...], float]:
        """P(outcomes | do, evidence) by outcome states; ZeroDivisionError where impossible."""
        evidence = evidence or {}
        sums: dict[tuple[int, ...], list[float]] = {}
        for u, x in self.worlds():
            world = {-1: u, **dict(enumerate(x))}
            key = tuple(world[v] for v in outcomes)
            sums.setdefault(key, [])
            if all(world[v] == s for v, s in evidence.items()):
                sums[key].append(self.prob(u, x, do))
        total = math.fsum(itertools.chain(*sums.values()))
        return {key: math.fsum(terms) / total for key, terms in sums.items()}

    def table(self, outcomes: Sequence[int], **kwargs: object) -> torch.Tensor:
        """The same as a tensor, one axis per outcome."""
        cards = [self.k if v == -1 else self.cards[v] for v in outcomes]
        result = torch.zeros(cards, dtype=torch.float64)
        for key, value in self.query(outcomes, **kwargs).items():  # type: ignore[arg-type]
            result[key] = value
        return result

    def row_prob(self, row: Sequence[int], u: int) -> float:
        """P(u, observed cells of a row); -1 marks a missing cell."""
        free = [range(c) if r == -1 else (r,) for r, c in zip(row, self.cards, strict=True)]
        return math.fsum(self.prob(u, x) for x in itertools.product(*free))

    def log_prob(self, row: Sequence[int]) -> float:
        return math.log(math.fsum(self.row_prob(row, u) for u in range(self.k)))

    def responsibilities(self, row: Sequence[int]) -> list[float]:
        joint = [self.row_prob(row, u) for u in range(self.k)]
        return [p / math.fsum(joint) for p in joint]


def random_spec(
    seed: int,
    n_variables: int,
    n_sources: int,
    *,
    max_card: int = 3,
    edge_probability: float = 0.4,
    uninfluenced: bool = False,
) -> MixtureSpec:
    """A random DAG over V0..Vn-1 in shuffled declaration order, with mixed cardinalities."""
    rng = np.random.default_rng(seed)
    names = [f"V{i}" for i in range(n_variables)]
    states = {n: tuple(f"s{j}" for j in range(rng.integers(2, max_card + 1))) for n in names}
    parents = {
        names[v]: rng.permutation(
            [p for p in names[:v] if rng.random() < edge_probability]
        ).tolist()
        for v in range(n_variables)
    }
    free = [n for n in names if uninfluenced and rng.random() < 0.3]
    return MixtureSpec.from_parents(
        {n: states[n] for n in rng.permutation(names).tolist()},
        parents,
        n_sources,
        uninfluenced=free,
    )


def structures(min_variables: int = 3, max_variables: int = 6) -> st.SearchStrategy[dict[str, Any]]:
    """Arguments of `random_spec`; a test calls it itself.

    Building the spec inside a strategy would trip hypothesis, since beartype (switched on for the
    package in tests) draws from `random` when it checks a container.
    """
    return st.fixed_dictionaries(
        {
            "seed": st.integers(0, 2**32 - 1),
            "n_variables": st.integers(min_variables, max_variables),
            "n_sources": st.integers(1, 3),
            "uninfluenced": st.booleans(),
        }
    )


def distance_up_to_relabelling(left: BayesNetMixture, right: BayesNetMixture) -> float:
    """Largest difference of any table entry under the best permutation of the sources."""
    best = math.inf
    for order in itertools.permutations(range(left.n_sources)):
        other = right.relabel(order)
        gaps = [float((left.weights - other.weights).abs().max())]
        gaps += [float((a - b).abs().max()) for a, b in zip(left.cpts, other.cpts, strict=True)]
        best = min(best, max(gaps))
    return best
