"""Reduced models: the largest in which a question leans on a source that nobody sees.

Where views carry no signal the law lies in a model in which U does not point at them (THEORY 14.5).
Which views these are a table names (``signal``); where the graph has no triple of views to test,
sets of vertices are tried, small ones first.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from pyromix.identify.signal import SIGNAL_LEVEL, Signal
from pyromix.identify.verdict import judge
from pyromix.model.query import Certainty, DoQuery
from pyromix.model.spec import MixtureSpec

MAX_REDUCTIONS = 12
"""Reduced models that are fitted where nothing names one."""

MAX_TRIED = 64
"""Sets of vertices of one size whose model is certified."""


def reductions(
    spec: MixtureSpec, queries: Sequence[DoQuery], signal: Signal | None
) -> tuple[MixtureSpec, ...]:
    """List models with fewer edges from U in which a question is not identified.

    Args:
        spec: graph, states and k.
        queries: the question, one per setting of the do.
        signal: what a table shows of the views; None where the graph has no three views.

    Returns:
        One where views were tested: those without signal lose their edge from U, and then the
        least dependent of the others, until the question is not identified any more. Else the
        largest there are; perhaps none.
    """
    own = _own(spec, queries)
    if signal is None or not signal.atoms:
        return _smallest(spec, queries, [v for v in range(spec.n_variables) if v not in own])
    atoms = [
        (p, atom)
        for p, atom in zip(signal.atom_p_values, signal.atoms, strict=True)
        if not own & set(atom)
    ]
    silent = [v for p, atom in atoms if p > SIGNAL_LEVEL for v in atom]
    others = [atom for p, atom in atoms if p <= SIGNAL_LEVEL]
    while True:
        reduced = _without(spec, silent)
        if reduced is not None and (_open(reduced, queries) or not others):
            return (reduced,)
        if not others:
            return ()
        silent += others.pop(0)


def _smallest(
    spec: MixtureSpec, queries: Sequence[DoQuery], candidates: Sequence[int]
) -> tuple[MixtureSpec, ...]:
    """Models in which as few of the candidates as will do lost their edge from U."""
    for size in range(1, len(candidates) + 1):
        sets = itertools.islice(itertools.combinations(candidates, size), MAX_TRIED)
        tried = (_without(spec, some) for some in sets)
        if found := [one for one in tried if one is not None and _open(one, queries)]:
            return tuple(found[:MAX_REDUCTIONS])
    return ()


def _own(spec: MixtureSpec, queries: Sequence[DoQuery]) -> set[int]:
    """Vertices whose law under the do is what is asked for, and what is done."""
    own: set[int] = set()
    for query in queries:
        own |= {*query.outcomes, *query.do}
        own |= spec.ancestors(query.outcomes, removed=query.do.keys())
    return own


def _without(spec: MixtureSpec, vertices: Sequence[int]) -> MixtureSpec | None:
    """The spec without edges from U to these vertices; None where it has none anyway."""
    uninfluenced = spec.uninfluenced | set(vertices)
    if uninfluenced == spec.uninfluenced or len(uninfluenced) == spec.n_variables:
        return None
    return replace(spec, uninfluenced=frozenset(uninfluenced))


def _open(spec: MixtureSpec, queries: Sequence[DoQuery]) -> bool:
    """Whether the question is not identified."""
    return judge(spec, queries).structural in (Certainty.NONE, Certainty.BY_SHAPE)
