"""The part of a network on which it hangs whether P(V) determines an answer.

P(V) is a product: of a vertex without an edge from U the factor P(v | parents), which P(V) shows by
itself, and of all others together one factor, the sum over U of their tables, a function of them
and of their parents (the c-factors of [tian02]). So a question hangs on that one factor, and on the
tables that its answer is made of: a vertex without an edge from U that the answer does not use may
have any parents, or none, and where nobody needs it as a parent it may be absent.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyromix.model.query import DoQuery
from pyromix.model.spec import MixtureSpec


def confounded_part(
    spec: MixtureSpec, queries: Sequence[DoQuery]
) -> tuple[MixtureSpec, tuple[DoQuery, ...]]:
    """A smaller network whose law determines the answers if and only if that of this one does.

    Args:
        spec: graph, cardinalities and k.
        queries: what is asked, at least one.

    Returns:
        The network and the questions on it; itself where nothing can be left out.
    """
    influenced = set(range(spec.n_variables)) - spec.uninfluenced
    used = set().union(*(q.relevant(spec) for q in queries)) | influenced
    named = {v for q in queries for v in (*q.outcomes, *q.do, *q.evidence, *q.natural) if v >= 0}
    kept = sorted(used | named | {p for v in used for p in spec.parents[v]})
    if len(kept) == spec.n_variables and all(v in used or not spec.parents[v] for v in kept):
        return spec, tuple(queries)
    inside = set(kept)
    part = MixtureSpec.from_parents(
        {spec.name(v): spec.states_of(v) for v in kept},
        {spec.name(v): [spec.name(p) for p in spec.parents[v]] if v in used else [] for v in kept},
        spec.n_sources,
        source=spec.source,
        uninfluenced=[spec.name(v) for v in spec.uninfluenced & inside],
        coarse=[spec.name(v) for v in spec.coarse if v in inside],
        source_states=spec.source_states,
    )
    return part, tuple(query.renumbered(lambda v: part.vertex(spec.name(v))) for query in queries)
