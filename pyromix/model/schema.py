"""Variables and their states: what a table knows of the world, without graph or sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

from pyromix.errors import QueryError, SpecError
from pyromix.model.arguments import (
    is_state,
    is_whole,
    keep,
    listed,
    mapping,
    near_matches,
    nested,
    plain,
    shown,
    whole,
)

__all__ = ["Schema", "check_names", "check_state_names", "near_matches"]


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
        keep(self, "variables", listed("variables", self.variables, "names"))
        keep(self, "states", tuple(map(plain, nested("states", self.states, "state names"))))
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
        found = mapping("states", states, "names of variables to lists of states")
        return Schema(tuple(found), tuple(found.values()))

    @property
    def schema(self) -> Schema:
        """Variables and states alone: this schema itself."""
        return self

    def ordered(self, names: Iterable[str]) -> Schema:
        """Return the schema of these variables, in this order.

        Raises:
            QueryError: no such variable.
        """
        vertices = [self.vertex(name) for name in listed("names", names, "names", QueryError)]
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
        return tuple(map(self.card, vertices))

    def n_joint(self, vertices: Iterable[int]) -> int:
        """Number of joint states of some vertices; one for none."""
        return prod(map(self.card, vertices))

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
                f"unknown variable {shown(name)}{near_matches(name, self._numbers)}; "
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
            vertex = whole("a vertex", vertex, -1, self.n_variables - 1)
            known = list(self.states_of(vertex))
            raise QueryError(
                f"unknown state {shown(state)} of {self.name(vertex)!r}"
                f"{near_matches(state, known)}; its states are {_some(known)}"
            ) from None

    def _observed(self, vertex: int) -> int:
        """The vertex itself; a negative number would silently count from the end."""
        if not is_whole(vertex, 0, len(self.variables) - 1):
            raise QueryError(
                f"expected an observed vertex, 0..{len(self.variables) - 1}, found "
                f"{shown(vertex)}; a source belongs to a MixtureSpec, not to a schema"
            )
        return vertex


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
                f"variable names must be non-empty strings, found {shown(name)} "
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
    if unusable := [state for state in states if not is_state(state)]:
        raise SpecError(
            f"states of {name!r} must be texts, numbers or other values that can be compared, "
            f"found {shown(unusable[0])}"
        )
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
