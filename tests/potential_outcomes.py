"""Potential outcomes by enumeration: a structural model in which every unit has its noise.

Each vertex takes its state by where one uniform number falls among the cumulated probabilities of
its CPT row, so the same unit answers with and without a change. The unit interval of every vertex
is cut at all these places; worlds are products of the pieces, and sums over worlds are exact.
"""

from __future__ import annotations

import itertools

import numpy as np


def pieces(cpt):
    """Lengths of the pieces of one vertex's noise, and a point in each."""
    ends = np.unique(np.concatenate([[0.0, 1.0], np.cumsum(cpt, -1).ravel().clip(0, 1)]))
    lengths = np.diff(ends)
    return [
        (length, low + length / 2) for low, length in zip(ends, lengths, strict=False) if length
    ]


def lived(mixture, tables, source, noises, set_to):
    """States of all vertices of one unit, some of them set."""
    states = []
    for v, parents in enumerate(mixture.spec.parents):
        if v in set_to:
            states.append(set_to[v])
            continue
        row = tables[v][(source, *(states[p] for p in parents))]
        states.append(min(int((noises[v] > np.cumsum(row)).sum()), len(row) - 1))
    return states


def among(mixture, outcome, set_to, group):
    """P(outcome, had some vertices been set | the group as it is), world by world."""
    spec = mixture.spec
    tables = [cpt.numpy() for cpt in mixture.cpts]
    total = np.zeros(spec.cards[outcome])
    every = [pieces(table) for table in tables]
    for source in range(spec.n_sources):
        for world in itertools.product(*every):
            noises = [point for _, point in world]
            seen = lived(mixture, tables, source, noises, {})
            if all(seen[v] == state for v, state in group.items()):
                would = lived(mixture, tables, source, noises, set_to)[outcome]
                mass = float(np.prod([length for length, _ in world]))
                total[would] += float(mixture.weights[source]) * mass
    return total / total.sum()
