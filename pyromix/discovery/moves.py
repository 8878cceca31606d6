"""Graphs one edge apart, and the walk uphill among them on expected counts (THEORY 19.1).

The score of a family is what EM maximises less half of log N for each of its free probabilities;
families are scored once for each posterior of the source, so that a walk costs what its new
families cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pyromix.estimate.families import Families, n_free
from pyromix.model.edges import Parents, reaches
from pyromix.model.knowledge import Knowledge
from pyromix.model.spec import MixtureSpec

LEAST_GAIN = 1e-6
"""Nats by which a step of the walk must rise."""

PATIENCE = 6
"""Steps of a walk without a better graph after which it ends."""

SHAKES = 10
"""Times in a row that a graph is shaken for nothing, after which it is left."""


@dataclass(frozen=True)
class State:
    """A graph over U and V.

    Attributes:
        parents: observed parents of every vertex.
        free: vertices that the source does not point at.
    """

    parents: Parents
    free: frozenset[int] = frozenset()

    def having(self, vertex: int, parents: frozenset[int]) -> State:
        """The same with other parents of one vertex."""
        found = list(self.parents)
        found[vertex] = parents
        return State(tuple(found), self.free)

    @property
    def n_edges(self) -> int:
        """Observed edges."""
        return sum(map(len, self.parents))


@dataclass(frozen=True)
class Room:
    """Where a search may go.

    Attributes:
        spec: variables, states and k; its edges play no role.
        knowledge: tiers, required and forbidden edges.
        max_parents: observed parents of a vertex at most.
        price: nats that a free probability costs, half of log N.
        source_moves: whether edges of the source are dropped and added too.
    """

    spec: MixtureSpec
    knowledge: Knowledge
    max_parents: int
    price: float
    source_moves: bool = False

    @property
    def least(self) -> State:
        """The graph of the required edges alone."""
        n = self.spec.n_variables
        required = self.knowledge.required
        return State(tuple(frozenset(a for a, b in required if b == v) for v in range(n)))

    def score(self, families: Families, state: State) -> float:
        """Sum of the scores of all families."""
        return sum(self.of(families, state, v) for v in range(self.spec.n_variables))

    def of(self, families: Families, state: State, vertex: int) -> float:
        """Score of one family."""
        influenced = vertex not in state.free
        parents = state.parents[vertex]
        size = n_free(self.spec, vertex, parents, influenced)
        return families.value(vertex, parents, influenced) - self.price * size

    def n_parameters(self, state: State) -> int:
        """Free probabilities of the whole mixture."""
        sizes = (n_free(self.spec, v, p, v not in state.free) for v, p in enumerate(state.parents))
        return self.spec.n_sources - 1 + sum(sizes)

    def neighbours(self, state: State) -> Iterator[tuple[State, tuple[int, ...]]]:
        """Graphs one edge apart, and the vertices whose families differ.

        Edges are added, dropped and turned, those of the source added and dropped; what knowledge
        forbids, a cycle, and more than ``max_parents`` are left out.
        """
        parents, vertices = state.parents, range(self.spec.n_variables)
        known = self.knowledge
        for b in vertices:
            for a in vertices:
                if a == b or b in parents[a]:
                    continue
                if a not in parents[b]:
                    full = len(parents[b]) >= self.max_parents
                    if not full and known.allows(a, b) and not reaches(parents, b, a):
                        yield state.having(b, parents[b] | {a}), (b,)
                    continue
                if (a, b) in known.required:
                    continue
                without = state.having(b, parents[b] - {a})
                yield without, (b,)
                full = len(parents[a]) >= self.max_parents
                if not full and known.allows(b, a) and not reaches(without.parents, a, b):
                    yield without.having(a, parents[a] | {b}), (a, b)
        if self.source_moves and self.spec.n_sources > 1:
            yield from ((State(parents, state.free ^ {v}), (v,)) for v in vertices)

    def gains(self, families: Families, state: State) -> list[tuple[float, State]]:
        """Every neighbour and what the score gains by it."""
        own = [self.of(families, state, v) for v in range(self.spec.n_variables)]
        return [
            (sum(self.of(families, other, v) - own[v] for v in changed), other)
            for other, changed in self.neighbours(state)
        ]

    def climbed(self, families: Families, state: State) -> State:
        """Walk to the best neighbour not seen before, uphill or not; the best graph on the way.

        Graphs of one class are worth the same, and an edge can often go only after others have
        turned: the walk ends ``PATIENCE`` steps after it last rose.
        """
        best, top = state, self.score(families, state)
        here, height, seen, left = state, top, {state}, PATIENCE
        while left:
            fresh = [
                (gain, other) for gain, other in self.gains(families, here) if other not in seen
            ]
            if not fresh:
                break
            gain = max(gain for gain, _ in fresh)
            here = next(other for own, other in fresh if own >= gain - LEAST_GAIN)
            height += gain
            seen.add(here)
            left -= 1
            if height > top + LEAST_GAIN:
                best, top, left = here, height, PATIENCE
        return best

    def iterated(
        self, families: Families, state: State, rng: np.random.Generator, patience: int = SHAKES
    ) -> State:
        """Shake a graph, climb again, keep what is best, until nothing better has come for a while.

        A walk by single edges ends below the best graph even where the source is seen: turning a
        v-structure around costs several steps down. Families that were scored cost nothing again.

        Args:
            families: expected counts.
            state: the graph to start from.
            rng: of the shakes.
            patience: shakes in a row that lead to nothing better.
        """
        best, top, left = state, self.score(families, state), patience
        while left:
            tried = self.climbed(families, self.shaken(best, rng))
            height = self.score(families, tried)
            left -= 1
            if height > top + LEAST_GAIN:
                best, top, left = tried, height, patience
        return best

    def shaken(self, state: State, rng: np.random.Generator) -> State:
        """Drop and turn edges at random, half as many as there are, three at least."""
        for _ in range(max(3, state.n_edges // 2)):
            fewer = [other for other, _ in self.neighbours(state) if other.n_edges <= state.n_edges]
            if not fewer:
                break
            state = fewer[int(rng.integers(len(fewer)))]
        return state

    def random(self, rng: np.random.Generator, most: int = 2) -> State:
        """A random graph in the order of tiers, with up to ``most`` parents a vertex."""
        state, n = self.least, self.spec.n_variables
        for b in rng.permutation(n):
            for a in rng.permutation(n)[: rng.integers(0, most + 1)]:
                v, p = int(b), int(a)
                fits = v != p and p not in state.parents[v] and v not in state.parents[p]
                room = len(state.parents[v]) < min(most, self.max_parents)
                allowed = fits and room and self.knowledge.allows(p, v)
                if allowed and not reaches(state.parents, v, p):
                    state = state.having(v, state.parents[v] | {p})
        return state
