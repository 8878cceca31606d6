"""Random graphs that have two views of U at most by construction, and tables without any U.

Each group of variables has one root above all of its members, so that any two of them hang
together given U; numbers may not be conditioned on by their bins, and where a group has variables
with states every pair in it is an edge, so that conditioning separates nothing.
"""

from __future__ import annotations

import networkx as nx
import numpy as np
import pandas as pd

SKEWED = {
    "gamma": lambda g, n: (g.gamma(2.0, size=n) - 2) / np.sqrt(2),
    "exponential": lambda g, n: g.exponential(size=n) - 1,
    "lognormal": lambda g, n: (g.lognormal(0.0, 0.5, size=n) - np.exp(0.125)) / 0.604,
}
"""Mean 0 and variance 1 each."""


def two_views(g: np.random.Generator, most: int = 5) -> tuple[nx.DiGraph, dict[str, str]]:
    """A graph with X -> Y in one of two groups, and the variables that have states."""
    graph, kinds = nx.DiGraph(), {}
    for group in ("A", "B"):
        size = int(g.integers(2 if group == "A" else 1, most))
        names = [f"{group}{i}" for i in range(size)]
        if group == "A":
            x = int(g.integers(0, size - 1))
            names[x], names[x + 1] = "X", "Y"
        complete = bool(g.random() < 0.4)
        for i, name in enumerate(names):
            graph.add_node(name)
            above = names[:i] if complete else list(g.choice(names[:i], min(i, 1), replace=False))
            graph.add_edges_from((parent, name) for parent in above)
            if complete and name not in ("X", "Y") and g.random() < 0.5:
                kinds[name] = "categorical"
        if group == "A":
            graph.add_edge("X", "Y")
    return graph, kinds


def skewed_table(
    graph: nx.DiGraph, kinds: dict[str, str], rows: int, noise: str, g: np.random.Generator
) -> tuple[pd.DataFrame, float]:
    """Rows without any U, noise skewed; and the total effect of X on Y, which is one edge."""
    found: dict[str, np.ndarray] = {}
    slope = float("nan")
    for v in nx.lexicographical_topological_sort(graph):
        line = np.zeros(rows)
        for parent in graph.predecessors(v):
            own = float(g.uniform(0.3, 0.9) * g.choice([-1, 1]))
            column = found[parent]
            line += own * (column if parent not in kinds else (column == "s1") - 0.5)
            if (parent, v) == ("X", "Y"):
                slope = own
        if v in kinds:
            found[v] = np.where(g.random(rows) < 1 / (1 + np.exp(-line)), "s1", "s0").astype(object)
        else:
            found[v] = line + SKEWED[noise](g, rows)
    return pd.DataFrame(found), slope
