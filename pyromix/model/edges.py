"""The same variables and sources with other edges."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pyromix.model.spec import MixtureSpec

Parents = tuple[frozenset[int], ...]
"""Per vertex its parents, in the numbers of one spec whatever the order of the vertices."""


def parents_of(spec: MixtureSpec) -> Parents:
    """The parents of every vertex as sets."""
    return tuple(map(frozenset, spec.parents))


def with_edges(
    spec: MixtureSpec, parents: Sequence[Collection[int]], uninfluenced: Collection[int]
) -> MixtureSpec:
    """Return the spec with other edges; variables are sorted anew where these ask for it.

    Args:
        spec: variables, states, sources and roles.
        parents: per vertex of ``spec`` its parents, in numbers of ``spec``.
        uninfluenced: vertices of ``spec`` without an edge from the source.

    Raises:
        SpecError: the edges make a cycle.
    """
    name = spec.name
    return MixtureSpec.from_parents(
        dict(zip(spec.variables, spec.states, strict=True)),
        {name(v): [name(p) for p in sorted(found)] for v, found in enumerate(parents)},
        spec.n_sources,
        source=spec.source,
        uninfluenced=[name(v) for v in sorted(uninfluenced)],
        coarse=[name(v) for v in spec.coarse],
        source_states=spec.source_states,
        roles={role: [name(v) for v in vertices] for role, vertices in spec.roles},
    )


def reaches(parents: Sequence[Collection[int]], start: int, end: int) -> bool:
    """Whether a directed path leads from one vertex to another; from itself it does.

    Args:
        parents: of every vertex.
        start: where the path begins.
        end: where it ends.
    """
    seen: set[int] = set()
    stack = [end]
    while stack:
        v = stack.pop()
        if v == start:
            return True
        if v not in seen:
            seen.add(v)
            stack.extend(parents[v])
    return False
