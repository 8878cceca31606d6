"""Graphs for the method of Markov boundaries, and who is connected with whom in plain loops."""

from __future__ import annotations

import itertools

from pyromix.model.spec import MixtureSpec


def network(parents, n_sources=2, cards=None, uninfluenced=()):
    """A spec from lists of parents by name; two states where no cardinality is given."""
    names = sorted({*parents, *itertools.chain(*parents.values())})
    states = {name: tuple(range((cards or {}).get(name, 2))) for name in names}
    return MixtureSpec.from_parents(states, parents, n_sources, uninfluenced=uninfluenced)


def path(n, n_sources=2, card=2):
    """V00 -> V01 -> ..."""
    names = [f"V{i:02}" for i in range(n)]
    return MixtureSpec.from_parents(
        dict.fromkeys(names, tuple(range(card))),
        {v: [p] for p, v in itertools.pairwise(names)},
        n_sources,
    )


TREE = network({"1": ["0"], "2": ["0"], "3": ["1"], "4": ["1"], "5": ["2"], "6": ["2"]})

COLLIDER = network({"B": ["R"], "Z": ["B"], "C": ["Z", "X"], "D": ["C"], "W": []})
"""E9 with a child of the collider and an isolated vertex, so that there are runs for all."""

MIXED = network(
    {"B": ["A"], "C": ["B"], "D": ["C", "E"], "F": ["E"], "G": ["F"], "H": []},
    cards={"B": 3, "E": 3, "G": 4},
)

STAR = network({f"L{i}": ["R"] for i in range(5)})


def connected(runs, boundary_of):
    """Whether shared vertices with equal assignments of their boundaries connect all runs.

    Args:
        runs: BoundaryRun.
        boundary_of: the boundary of a member of a run.
    """
    reached, todo = {0}, [0]
    labels = [
        {
            (v, tuple((w, dict(zip(run.conditioning, run.assignment, strict=True))[w])
                      for w in boundary_of(run, v)))
            for v in run.independent
        }
        for run in runs
    ]  # fmt: skip
    while todo:
        a = todo.pop()
        for b in range(len(runs)):
            if b not in reached and labels[a] & labels[b]:
                reached.add(b)
                todo.append(b)
    return len(reached) == len(runs)
