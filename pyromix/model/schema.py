"""Variables and their states: what a table knows of the world, without graph or sources."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

from pyromix.errors import QueryError, SpecError


@dataclass(frozen=True)
class Schema:
    """Observed variables and the ordered names of their states: plain, hashable, without numbers.

    Inside the library a vertex is its position in ``variables``; names exist at the borders only.
    ``MixtureSpec`` is a schema in topological order with a graph and sources besides, and may stand
    wherever a schema is expected.

    Attributes:
        variables: names, in any order.
        states: the ordered state names of each variable, at least two each.

    Raises:
        SpecError: names the offending variables or states.
    """

    variables: tuple[str, ...]
    states: tuple[tuple[Hashable, ...], ...]

    def __post_init__(self) -> None:
        check_names(self.variables)
        n = len(self.variables)
        if len(self.states) != n:
            raise SpecError(
                f"expected one state list for each of {n} variables, found {len(self.states)}"
            )
        for name, states in zip(self.variables, self.states, strict=True):
            check_state_names(name, states, minimum=2)

    @staticmethod
    def from_states(states: Mapping[str, Sequence[Hashable]]) -> Schema:
        """Build a schema from the state names of every variable, in the order of the mapping.

        Raises:
            SpecError: a name or a state list is unusable.
        """
        return Schema(tuple(states), tuple(tuple(names) for names in states.values()))

    @property
    def schema(self) -> Schema:
        """Variables and states alone: this schema itself."""
        return self

    def ordered(self, names: Iterable[str]) -> Schema:
        """Return the schema of these variables, in this order.

        Raises:
            QueryError: no such variable.
        """
        vertices = [self.vertex(name) for name in names]
        return Schema(
            tuple(self.variables[v] for v in vertices), tuple(self.states[v] for v in vertices)
        )

    def same_variables(self, other: Schema) -> bool:
        """Whether another schema has the same variables with the same states, in the same order."""
        return (self.variables, self.states) == (other.variables, other.states)

    # -- sizes -------------------------------------------------------------------------------

    @property
    def n_variables(self) -> int:
        """Number of observed variables."""
        return len(self.variables)

    @cached_property
    def cards(self) -> tuple[int, ...]:
        """Number of states of each variable."""
        return tuple(len(states) for states in self.states)

    def card(self, vertex: int) -> int:
        """Number of states of a vertex."""
        return len(self.states_of(vertex))

    def joint_shape(self, vertices: Iterable[int]) -> tuple[int, ...]:
        """Shape of a joint table of some vertices: one axis each."""
        return tuple(self.card(v) for v in vertices)

    def n_joint(self, vertices: Iterable[int]) -> int:
        """Number of joint states of some vertices; one for none."""
        return prod(self.joint_shape(vertices))

    @property
    def n_cells(self) -> int:
        """Number of cells of the joint table of the observed variables."""
        return prod(self.cards)

    # -- names to numbers and back -----------------------------------------------------------

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: v for v, name in enumerate(self.variables)}

    @cached_property
    def _state_numbers(self) -> dict[int, dict[Hashable, int]]:
        vertices = self._numbers.values()
        return {v: {s: i for i, s in enumerate(self.states_of(v))} for v in vertices}

    def name(self, vertex: int) -> str:
        """Name of a vertex.

        Raises:
            QueryError: no such vertex.
        """
        return self.variables[self._observed(vertex)]

    def states_of(self, vertex: int) -> tuple[Hashable, ...]:
        """State names of a vertex.

        Raises:
            QueryError: no such vertex.
        """
        return self.states[self._observed(vertex)]

    def vertex(self, name: str) -> int:
        """Number of the vertex with this name.

        Raises:
            QueryError: no such vertex; near matches are named.
        """
        try:
            return self._numbers[name]
        except (KeyError, TypeError):
            raise QueryError(
                f"unknown variable {name!r}{near_matches(name, self._numbers)}; "
                f"the variables are {_some(self._numbers)}"
            ) from None

    def state(self, vertex: int, state: object) -> int:
        """Position of a state name among the states of a vertex.

        Raises:
            QueryError: no such state; the states are named.
        """
        try:
            return self._state_numbers[vertex][state]  # type: ignore[index]
        except (KeyError, TypeError):
            known = list(self.states_of(vertex))
            raise QueryError(
                f"unknown state {state!r} of {self.name(vertex)!r}{near_matches(state, known)}; "
                f"its states are {_some(known)}"
            ) from None

    def _observed(self, vertex: int) -> int:
        """The vertex itself; a negative number would silently count from the end."""
        if not 0 <= vertex < len(self.variables):
            raise QueryError(
                f"expected an observed vertex, 0..{len(self.variables) - 1}, found {vertex}; a "
                "source belongs to a MixtureSpec, not to a schema"
            )
        return vertex


def near_matches(name: object, known: Iterable[object]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the known names close to a mistyped one."""
    by_text = {str(candidate): candidate for candidate in known}
    lowered = {text.lower(): text for text in by_text}
    close = difflib.get_close_matches(str(name).strip().lower(), lowered, n=3, cutoff=0.6)
    if not close:
        return ""
    return f" (did you mean {' or '.join(repr(by_text[lowered[c]]) for c in close)}?)"


def check_names(variables: Sequence[str], sources: Sequence[str] = ()) -> None:
    """Refuse names that are none, or not distinct.

    Args:
        variables: observed ones, at least one.
        sources: names of unobserved ones, which must not be among them.

    Raises:
        SpecError: names the offending ones.
    """
    if not variables:
        raise SpecError("expected at least one observed variable, found none")
    for name in (*variables, *sources):
        if not isinstance(name, str) or not name:
            raise SpecError(
                f"variable names must be non-empty strings, found {name!r} "
                f"({type(name).__name__}); rename it, e.g. data.columns.astype(str)"
            )
    if repeated := sorted(name for name, n in Counter(variables).items() if n > 1):
        raise SpecError(f"variable names must be distinct, found {repeated} more than once")
    for name in sources:
        if name in variables:
            raise SpecError(f"the source {name!r} must not be among the observed variables")


def check_state_names(name: str, states: Sequence[Hashable], *, minimum: int) -> None:
    """Refuse a list of states that is too short or repeats one.

    Raises:
        SpecError: names the variable.
    """
    if len(states) < minimum:
        raise SpecError(
            f"{name!r} needs at least {minimum} states, found {list(states)}; "
            "a constant variable carries no information: leave it out of the graph"
        )
    if len(set(states)) != len(states):
        raise SpecError(f"states of {name!r} must be distinct, found {list(states)}")


def _some(names: Iterable[object], limit: int = 12) -> str:
    """Text of a list, cut after ``limit`` names."""
    listed = list(names)
    if len(listed) <= limit:
        return str(listed)
    return f"[{', '.join(map(repr, listed[:limit]))}, ... {len(listed) - limit} more]"
