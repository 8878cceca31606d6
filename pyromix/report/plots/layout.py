"""Where the vertices of a drawn graph stand: layers of the DAG, few crossings, no system package.

Layers by longest path, long edges through a dummy per layer, sweeps of barycentres in both
directions, the order with the fewest crossings kept [K. Sugiyama, S. Tagawa and M. Toda, Methods
for visual understanding of hierarchical system structures, 1981]. Where graphviz is installed its
``dot`` does it.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import networkx as nx

LAYOUT_SWEEPS = 12
"""Passes of barycentres, up and down in turn."""

LANE = 0.4
"""Width of a place where an edge passes, in widths of a vertex."""

Place = tuple[float, float]
Vertex = int | tuple[int, int, int]
"""A vertex of the graph, or a dummy ``(parent, child, layer)`` on a long edge."""


@dataclass(frozen=True)
class Layout:
    """Places of vertices and bends of edges.

    Attributes:
        places: per vertex; a unit sideways is a vertex, a unit down is a layer.
        bends: per edge the places that it runs through, ends left out.
    """

    places: Mapping[int, Place]
    bends: Mapping[tuple[int, int], tuple[Place, ...]]

    @property
    def size(self) -> Place:
        """Width and height, bends included."""
        places = [*self.places.values(), *(p for bend in self.bends.values() for p in bend)]
        xs, ys = zip(*places, strict=True)
        return max(xs) - min(xs), max(ys) - min(ys)


def lay_out(graph: nx.DiGraph) -> Layout:
    """Place the vertices of a DAG, by graphviz where it is installed.

    Args:
        graph: over numbers.
    """
    if has_graphviz():
        return by_graphviz(graph)
    return in_layers(graph)


def has_graphviz() -> bool:
    """Whether both the program ``dot`` and its Python package are there."""
    return shutil.which("dot") is not None and importlib.util.find_spec("graphviz") is not None


def by_graphviz(graph: nx.DiGraph) -> Layout:
    """Let ``dot`` place the vertices; edges are straight."""
    graphviz = importlib.import_module("graphviz")  # perhaps not installed

    drawing = graphviz.Digraph(node_attr={"shape": "box", "width": "1.4", "height": "0.6"})
    for v in graph.nodes:
        drawing.node(str(v))
    drawing.edges((str(a), str(b)) for a, b in graph.edges)
    plain = drawing.pipe(format="plain", encoding="utf-8")
    places = {}
    for fields in (line.split() for line in plain.splitlines()):
        if fields[0] == "node":
            places[int(fields[1].strip('"'))] = (float(fields[2]) / 1.7, -float(fields[3]) / 1.1)
    return Layout(_centred(places), dict.fromkeys(graph.edges, ()))


def in_layers(graph: nx.DiGraph) -> Layout:
    """Place the vertices in layers; a vertex stands under all its parents.

    Args:
        graph: acyclic.
    """
    depth: dict[int, int] = {}
    for v in nx.topological_sort(graph):
        depth[v] = max((depth[p] + 1 for p in graph.predecessors(v)), default=0)
    _pull_down(graph, depth)
    layers: list[list[Vertex]] = [[] for _ in range(max(depth.values()) + 1)]
    for v in graph.nodes:
        layers[depth[v]].append(v)
    chains = {}
    for a, b in graph.edges:
        dummies = [(a, b, level) for level in range(depth[a] + 1, depth[b])]
        for dummy in dummies:
            layers[dummy[2]].append(dummy)
        chains[a, b] = [a, *dummies, b]
    steps = [pair for chain in chains.values() for pair in itertools.pairwise(chain)]
    ordered = _fewest_crossings(layers, steps)
    places = {
        v: (x, float(level))
        for level, layer in enumerate(ordered)
        for v, x in _across(layer).items()
    }
    real = {v: place for v, place in places.items() if isinstance(v, int)}
    bends = {edge: tuple(places[v] for v in chain[1:-1]) for edge, chain in chains.items()}
    return Layout(real, bends)


def n_crossings(layers: Sequence[Sequence[Vertex]], steps: Sequence[tuple[Vertex, Vertex]]) -> int:
    """How many pairs of steps between neighbouring layers cross.

    Args:
        layers: vertices from left to right.
        steps: pairs of vertices of neighbouring layers, the upper one first.
    """
    place = {v: i for layer in layers for i, v in enumerate(layer)}
    level = {v: i for i, layer in enumerate(layers) for v in layer}
    total = 0
    for number in range(len(layers) - 1):
        ends = [(place[a], place[b]) for a, b in steps if level[a] == number]
        total += sum((a - c) * (b - d) < 0 for (a, b), (c, d) in itertools.combinations(ends, 2))
    return total


def _pull_down(graph: nx.DiGraph, depth: dict[int, int]) -> None:
    """Move roots next to their first child, so that edges are short; in place."""
    for v in graph.nodes:
        if not graph.in_degree(v) and graph.out_degree(v):
            depth[v] = min(depth[c] for c in graph.successors(v)) - 1


def _fewest_crossings(
    layers: list[list[Vertex]], steps: Sequence[tuple[Vertex, Vertex]]
) -> list[list[Vertex]]:
    """Orders of barycentre sweeps; the one with the fewest crossings."""
    above: dict[Vertex, list[Vertex]] = {v: [] for layer in layers for v in layer}
    below: dict[Vertex, list[Vertex]] = {v: [] for layer in layers for v in layer}
    for a, b in steps:
        above[b].append(a)
        below[a].append(b)
    best, least = layers, n_crossings(layers, steps)
    current = layers
    for sweep in range(LAYOUT_SWEEPS):
        current = [list(layer) for layer in current]
        down = sweep % 2 == 0
        order = range(1, len(current)) if down else range(len(current) - 2, -1, -1)
        near = above if down else below
        for level in order:
            other = current[level - 1 if down else level + 1]
            place = {v: i - (len(other) - 1) / 2 for i, v in enumerate(other)}
            own = {v: i - (len(current[level]) - 1) / 2 for i, v in enumerate(current[level])}
            keys = {
                v: sum(place[w] for w in near[v]) / len(near[v]) if near[v] else own[v]
                for v in current[level]
            }
            current[level].sort(key=lambda v, keys=keys: keys[v])
        found = n_crossings(current, steps)
        if found < least:
            best, least = current, found
    return best


def _across(layer: Sequence[Vertex]) -> dict[Vertex, float]:
    """Places sideways, the layer's middle at zero."""
    places, edge = {}, 0.0
    for v in layer:
        wide = 1.0 if isinstance(v, int) else LANE
        places[v] = edge + wide / 2
        edge += wide
    return {v: x - edge / 2 for v, x in places.items()}


def _centred(places: Mapping[int, Place]) -> dict[int, Place]:
    xs, ys = zip(*places.values(), strict=True)
    middle, top = (max(xs) + min(xs)) / 2, min(ys)
    return {v: (x - middle, y - top) for v, (x, y) in places.items()}
