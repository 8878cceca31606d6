"""Every plan of a small graph, one triple of views after the other, by plain definitions.

The oracle of the search for plans: any three disjoint vertex sets may be views, any small set may
be conditioned on; separation is that of networkx, and sizes alone decide on ranks. Bins of numbers
(``coarse``) are conditioned on nowhere.
"""

from __future__ import annotations

import itertools
import math

import networkx as nx
import numpy as np

from pyromix.model.spec import MixtureSpec

MAX_SEPARATOR = 3
"""Largest conditioning set: as large as the search may take."""


def dags(n):
    """Every DAG of n vertices up to relabelling, as edges from smaller to larger numbers."""
    pairs = list(itertools.combinations(range(n), 2))
    orders = np.array(list(itertools.permutations(range(n))))
    seen, found = set(), []
    for chosen in itertools.product((0, 1), repeat=len(pairs)):
        edges = [pair for pair, there in zip(pairs, chosen, strict=True) if there]
        matrix = np.zeros((n, n), dtype=int)
        for a, b in edges:
            matrix[a, b] = 1
        renamed = matrix[orders[:, :, None], orders[:, None, :]].reshape(len(orders), -1)
        least = max(map(tuple, renamed.tolist()))
        if least not in seen:
            seen.add(least)
            found.append(edges)
    return found


def drawn_dag(n, rng, share=0.35):
    """Edges of a random DAG: every pair with the same probability."""
    return [pair for pair in itertools.combinations(range(n), 2) if rng.random() < share]


def spec_of(edges, cards, n_sources, coarse=()):
    """A graph by edges, with a number of states for every vertex and U into all of them."""
    names = [f"V{v}" for v in range(len(cards))]
    return MixtureSpec.from_parents(
        {name: tuple(range(card)) for name, card in zip(names, cards, strict=True)},
        {names[b]: [names[a] for a, c in edges if c == b] for _, b in edges},
        n_sources,
        coarse=[names[v] for v in coarse],
    )


class Graph:
    """Separation of the pairs of a DAG, looked up once for many cardinalities."""

    def __init__(self, spec):
        self.graph, self.n = spec.graph(), spec.n_variables
        self.parents = [set(found) for found in spec.parents]
        self.found = {}

    def joined(self, v, w, given):
        """Whether two vertices are the same, or not d-separated by U and a set."""
        key = (min(v, w), max(v, w), given)
        if key not in self.found:
            apart = v != w and nx.is_d_separator(self.graph, {v}, {w}, set(given))
            self.found[key] = not apart
        return self.found[key]

    def apart(self, left, right, given):
        """Whether no vertex of one set is joined to one of the other."""
        return not any(self.joined(v, w, given) for v in left for w in right)

    def triples(self, given):
        """Three disjoint sets, d-separated from each other given U and a set; each triple once."""
        rest = [v for v in range(self.n) if v not in given]

        def placed(number, views):
            if number == len(rest):
                if all(views):
                    yield tuple(map(tuple, views))
                return
            v = rest[number]
            yield from placed(number + 1, views)
            empty = False
            for i in range(3):
                if empty:  # a set is opened by the first of its vertices only
                    break
                empty = not views[i]
                others = [w for j in range(3) if j != i for w in views[j]]
                if self.apart([v], others, given):
                    grown = [[*view, v] if j == i else view for j, view in enumerate(views)]
                    yield from placed(number + 1, grown)

        yield from placed(0, [[], [], []])


def every_plan(spec, graph=None):
    """Size of Z, vertices recovered, and Z without a link, of every plan there is.

    Only for graphs in which U points at every vertex.
    """
    graph = graph or Graph(spec)
    k, n = spec.n_sources, spec.n_variables

    def shows(vertices, least):
        return math.prod(spec.cards[v] for v in vertices) >= least

    for size in range(max(0, min(MAX_SEPARATOR, n - 3)) + 1):
        for given in itertools.combinations(sorted(set(range(n)) - set(spec.coarse)), size):
            for views in graph.triples(given):
                full = [view for view in views if shows(view, k)]
                if len(full) >= 2:  # the third tells sources apart with any two states
                    known = recovered(spec, graph, views, given)
                    yield size, known, unlinked(graph, views, given)


def recovered(spec, graph, views, given):
    """Vertices whose CPTs views and known ancestors show."""
    k, n = spec.n_sources, spec.n_variables

    def shown(rest):
        return bool(rest) and math.prod(spec.cards[v] for v in rest) >= k

    known = set()
    for v in range(n):
        outside = (graph.parents[v] | {v}) - set(given)
        rest = [w for view in views if graph.apart(view, outside, given) for w in view]
        if not outside or shown(rest):
            known.add(v)
    while True:
        ancestral = {v for v in known if nx.ancestors(graph.graph, v) <= known}
        more = {
            v
            for v in set(range(n)) - known
            if graph.parents[v] <= ancestral - set(spec.coarse)
            and shown(ancestral - graph.parents[v])
        }
        if not more:
            return frozenset(known)
        known |= more


def unlinked(graph, views, given):
    """Conditioning vertices over whose change no vertex that two views show carries labels."""
    alone = [
        w
        for w in set(range(graph.n)) - set(given)
        if sum(graph.apart(view, [w], given) for view in views) >= 2
    ]
    return tuple(
        z
        for z in given
        if not any(not graph.joined(w, z, tuple(v for v in given if v != z)) for w in alone)
    )


def best(spec, graph=None):
    """Smallest Z of a complete plan, else nothing; most vertices that a linked plan recovers."""
    everything, most, smallest = frozenset(range(spec.n_variables)), 0, None
    any_plan = False
    for size, known, loose in every_plan(spec, graph):
        any_plan = True
        if not loose:
            most = max(most, len(known))
            if known == everything and smallest is None:
                smallest = size
                break
    return any_plan, smallest, most
