"""A model on paper, before there are data: what nobody says of states is assumed, and said."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pyromix.bridges.pgmpy import structure_of
from pyromix.errors import QueryError
from pyromix.fitting.inputs import declared_states
from pyromix.formats.structure import Structure
from pyromix.model.arguments import near_matches, real
from pyromix.model.kind import kinds_of
from pyromix.model.query import mapping_of
from pyromix.model.spec import MixtureSpec

DEFAULT_STATES = (0, 1)
"""States of a variable of which neither the model nor data say any."""


def spec_on_paper(
    model: Any,
    n_sources: int | None,
    state_names: Mapping[str, Sequence[Hashable]] | None,
    kinds: Mapping[str, str] | None,
    notes: list[str],
) -> MixtureSpec:
    """The spec of a model without data.

    A number is cut into k + 1 bins, enough to show k sources (THEORY section 18.5); any states that
    the model gives it are left aside.

    Args:
        model: as in ``fit``.
        n_sources: as in ``fit``.
        state_names: as in ``fit``; states that nothing names are taken to be two.
        kinds: as in ``fit``.
        notes: what is assumed joins them.

    Raises:
        SpecError: the graph, the states, the kinds or k are unusable.
        QueryError: a kind is declared of what is no variable, or of one whose states are declared.
    """
    structure = structure_of(model, n_sources)
    states = declared_states(state_names)
    states.pop(structure.source, None)
    numbers = _numbers(structure, states, kinds)
    if numbers:
        bins = tuple(range(structure.agreed_n_sources(n_sources) + 1))
        kept = {name: own for name, own in structure.states.items() if name not in numbers}
        structure = replace(structure, states=kept, coarse=structure.coarse | numbers)
        states |= dict.fromkeys(numbers, bins)
    open_names = [name for name in structure.missing_states if name not in states]
    if open_names:
        few = ", ".join(open_names[:6]) + (", ..." if len(open_names) > 6 else "")
        notes.append(f"two states were assumed for {few}; pass state_names, or data")
    states |= dict.fromkeys(open_names, DEFAULT_STATES)
    if structure.added_source:
        notes.append(f"a source {structure.source!r} with an edge to every variable was added")
    return structure.to_spec(n_sources, states)


def _numbers(
    structure: Structure,
    states: Mapping[str, Sequence[Hashable]],
    kinds: Mapping[str, str] | None,
) -> frozenset[str]:
    """Names of the variables that are declared to be numbers."""
    kept = {name: kind for name, kind in structure.kinds.items() if name not in states}
    declared = {**kept, **kinds_of(kinds)}
    for name, kind in declared.items():
        if name not in structure.variables:
            raise QueryError(
                f"kinds: {name!r} is not among the variables"
                f"{near_matches(name, structure.variables)}; they are {list(structure.variables)}"
            )
        if kind.numeric and name in states:
            raise QueryError(
                f"{name!r} is a number by kinds ({kind}), and has the states {list(states[name])} "
                "by state_names; keep one of them"
            )
    return frozenset(name for name, kind in declared.items() if kind.numeric)


def in_bins(
    spec: MixtureSpec, evidence: Mapping[str, Hashable] | None, what: str = "evidence"
) -> Mapping[str, Hashable] | None:
    """Evidence of a question to a graph: which value a number has makes no difference to it.

    Raises:
        QueryError: evidence on a number is neither a number nor one of its bins.
    """
    numbers = {spec.name(v): spec.states[v] for v in spec.coarse}
    found = mapping_of(spec, what, evidence)
    for name in found.keys() & numbers.keys():
        bins = numbers[name]
        if found[name] not in bins:
            real(f"{what} on the number {name!r}", found[name])
        found[name] = bins[0]
    return found or None
