"""Is every plan found: the search against every triple of views, and against itself without limits.

Two parts, both printed as a table:

small    all 302 DAGs of five vertices up to relabelling and samples of six and seven, binary and
         mixed cardinalities, k = 2 to 4, against the enumeration of ``exhaustive_plans``;
large    200 random graphs of 8 to 40 vertices, k = 2 to 6, against the same search with every
         limit lifted, which by the argument of ``network/smallest`` leaves no plan out.

Run: PYTHONPATH=tests python tests/studies/every_plan.py; what it printed is in ``every_plan.txt``.
"""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
from exhaustive_plans import Graph, best, dags, drawn_dag, spec_of

from pyromix.errors import PlanError
from pyromix.identify.graphical import graph_facts
from pyromix.identify.network import search, smallest
from pyromix.identify.network.plan import Plan
from pyromix.model.spec import SOURCE, MixtureSpec

LARGE = {8: 40, 12: 40, 16: 40, 24: 40, 40: 40}
"""Vertices and how many graphs."""


def plans_of(spec: MixtureSpec) -> list[Plan]:
    """Plans; none where there is no plan."""
    try:
        return search.find_plans(spec)
    except PlanError:
        return []


def small(label: str, graphs: list[tuple[list, list[tuple[int, ...]]]]) -> None:
    """Compare with the enumeration, and print what differs."""
    tally: Counter[str] = Counter()
    seconds = 0.0
    for edges, all_cards in graphs:
        graph = Graph(spec_of(edges, all_cards[0], 2))
        for cards in all_cards:
            for k in (2, 3, 4):
                spec = spec_of(edges, cards, k)
                some, size, most = best(spec, graph)
                start = time.process_time()
                plans = plans_of(spec)
                seconds += time.process_time() - start
                whole = [len(p.runs[0].conditioning) for p in plans if p.complete]
                tally["questions"] += 1
                tally["with a plan"] += some
                tally["with a complete plan"] += size is not None
                tally["plan missed"] += some and not plans
                tally["complete plan missed"] += size is not None and not whole
                tally["larger Z than needed"] += bool(whole) and min(whole) != size
                tally["vertices missed"] += len(graph_facts(spec).vertices - {SOURCE}) < most
    counts = ", ".join(f"{name} {n}" for name, n in tally.items())
    print(f"{label}: {counts}; search {seconds:.1f} s")


def large(n: int, count: int, rng: np.random.Generator) -> None:
    """Compare with the search without limits, and print the shares."""
    tally: Counter[str] = Counter()
    seconds = [0.0, 0.0]
    limits = search.MORE_SEPARATORS, smallest.MAX_SETS, smallest.MAX_LOOKS
    for _ in range(count):
        edges = drawn_dag(n, rng, rng.uniform(0.1, 0.5))
        spec = spec_of(edges, rng.integers(2, 4, n).tolist(), int(rng.integers(2, 7)))
        found = []
        for i, lifted in enumerate((limits, (10**12, 10**12, 10**12))):
            search.MORE_SEPARATORS, smallest.MAX_SETS, smallest.MAX_LOOKS = lifted
            start = time.process_time()
            plans = plans_of(spec)
            seconds[i] += time.process_time() - start
            whole = [len(p.runs[0].conditioning) for p in plans if p.complete]
            found.append((bool(plans), bool(whole), min(whole, default=0)))
        search.MORE_SEPARATORS, smallest.MAX_SETS, smallest.MAX_LOOKS = limits
        ours, all_ = found
        tally["graphs"] += 1
        tally["with a complete plan"] += all_[1]
        tally["plan missed"] += all_[0] and not ours[0]
        tally["complete plan missed"] += all_[1] and not ours[1]
        tally["larger Z than needed"] += ours[1] and ours[2] > all_[2]
    counts = ", ".join(f"{name} {number}" for name, number in tally.items())
    print(f"{n} vertices: {counts}; {seconds[0]:.1f} s, without limits {seconds[1]:.1f} s")


def main() -> None:
    """Both parts."""
    rng = np.random.default_rng(0)

    def mixed(n: int) -> list[tuple[int, ...]]:
        return [(2,) * n, tuple(rng.integers(2, 5, n).tolist())]

    small("five vertices, all 302", [(edges, mixed(5)) for edges in dags(5)])
    for n, count in ((6, 60), (7, 25)):
        shares = rng.uniform(0.1, 0.6, count)
        small(f"{n} vertices", [(drawn_dag(n, rng, share), mixed(n)) for share in shares])
    for n, count in LARGE.items():
        large(n, count, rng)


if __name__ == "__main__":
    main()
