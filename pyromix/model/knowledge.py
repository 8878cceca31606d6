"""What is known of a graph before data speak: an order of tiers, required and forbidden edges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx

from pyromix.errors import QueryError, SpecError
from pyromix.model.arguments import listed, shown
from pyromix.model.schema import Schema

Edge = tuple[int, int]
"""Tail and head, as numbers of vertices."""

FREE = -1
"""The tier of a variable that stands in none: it may be before and after all others."""


_TIERS = "lists of names, the earliest first"


@dataclass(frozen=True)
class Knowledge:
    """Which edges between observed variables may be, and which must.

    Attributes:
        tier: of every vertex; an edge never leads from a later tier to an earlier one. ``FREE``
            where nothing is said.
        required: edges of the graph.
        forbidden: edges that it has not.
    """

    tier: tuple[int, ...]
    required: frozenset[Edge] = frozenset()
    forbidden: frozenset[Edge] = frozenset()

    @staticmethod
    def of(
        schema: Schema,
        tiers: Sequence[Sequence[str]] | None = None,
        required: Iterable[Sequence[str]] = (),
        forbidden: Iterable[Sequence[str]] = (),
    ) -> Knowledge:
        """Read names.

        Args:
            schema: the variables.
            tiers: lists of names, the earliest first; a variable in none of them is free.
            required: pairs ``(from, to)``.
            forbidden: pairs ``(from, to)``.

        Raises:
            SpecError: a name is unknown or stands in two tiers, an edge is no pair, or what is
                required is forbidden, against the tiers, or a cycle.
        """
        tier = [FREE] * schema.n_variables
        for place, names in enumerate(_tiers(tiers)):
            for name in names:
                v = _vertex(schema, name, "tiers")
                if tier[v] != FREE:
                    raise SpecError(
                        f"tiers: {name!r} stands in tier {tier[v] + 1} and in tier {place + 1}; "
                        "name it once"
                    )
                tier[v] = place
        found = Knowledge(
            tuple(tier),
            _edges(schema, "required", required),
            _edges(schema, "forbidden", forbidden),
        )
        for a, b in sorted(found.required):
            if not found.allows(a, b):
                why = "forbidden too" if (a, b) in found.forbidden else "against the tiers"
                raise SpecError(f"required: {schema.name(a)} -> {schema.name(b)} is {why}")
        graph = nx.DiGraph(sorted(found.required))
        if not nx.is_directed_acyclic_graph(graph):
            cycle = [schema.name(a) for a, _ in nx.find_cycle(graph)]
            raise SpecError(f"required: the edges make a cycle, {' -> '.join([*cycle, cycle[0]])}")
        return found

    def allows(self, tail: int, head: int) -> bool:
        """Whether the graph may have this edge.

        Args:
            tail: a vertex.
            head: another one.
        """
        if (tail, head) in self.forbidden or (head, tail) in self.required:
            return False
        one, other = self.tier[tail], self.tier[head]
        return FREE in (one, other) or one <= other


def _tiers(tiers: Any) -> list[tuple[Any, ...]]:
    if tiers is None:
        return []
    if isinstance(tiers, Mapping):
        raise SpecError(f"tiers must be {_TIERS}, found {shown(tiers)}")
    found = listed("tiers", tiers, _TIERS)
    if isinstance(tiers, str) or any(isinstance(names, str) for names in found):
        raise SpecError(f"tiers must be {_TIERS}, found {shown(tiers)}")
    return [listed("a tier", names, "names of variables") for names in found]


def _edges(schema: Schema, what: str, given: Any) -> frozenset[Edge]:
    edges = set()
    for pair in listed(what, given, "pairs (from, to)"):
        ends = () if isinstance(pair, str) else listed(f"an edge of {what}", pair, "two names")
        numbers = [_vertex(schema, name, what) for name in ends]
        if len(set(numbers)) != 2 or len(ends) != 2:
            raise SpecError(f"{what}: expected a pair of different names, found {shown(pair)}")
        edges.add((numbers[0], numbers[1]))
    return frozenset(edges)


def _vertex(schema: Schema, name: Any, what: str) -> int:
    """The number of an observed variable, by its name.

    Raises:
        SpecError: there is none of this name.
    """
    if isinstance(name, str) and name in schema.variables:
        return schema.variables.index(name)
    try:
        schema.vertex(name)
    except QueryError as error:
        raise SpecError(f"{what}: {error}") from None
    raise SpecError(f"{what}: {name!r} is the source; its edges are no part of this")
