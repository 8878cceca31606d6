"""Questions to a mixture, and how certain an answer can be: names turned into numbers once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyromix.errors import QueryError
from pyromix.model.arguments import as_number, is_state, keep, listed, mapping, shown, whole
from pyromix.model.gradients import ordinary
from pyromix.model.spec import SOURCE, MixtureSpec, near_matches

DoValue = int | Tensor
"""A state, one distribution ``(card,)`` or one distribution per scenario ``(scenarios, card)``."""


class Certainty(Enum):
    """How firmly an answer is identified (THEORY section 7); ordered by ``at_least``.

    ``GRAPHICAL``: a plan recovers it, for almost all parameters, from the graph alone; ``LOCAL``:
    no continuum of other answers fits as well; ``DISCOVERED``: so it would be, were the graph not
    itself found by a search in the table; ``BY_SHAPE``: at most the shape assumed of a number, such
    as a bell, singles it out (section 18.6); ``WEAK``: graph or rank would do, and the table does
    not show it; ``UNCHECKED``: the graph does not say, and the local certificate is too large to be
    computed, or did not settle it; ``NONE``: other answers fit as well, or nobody certified it.
    """

    NONE = "none"
    UNCHECKED = "unchecked"
    WEAK = "weak"
    BY_SHAPE = "shape"
    DISCOVERED = "discovered"
    LOCAL = "local"
    GRAPHICAL = "graphical"

    def at_least(self, other: Certainty) -> bool:
        """Whether this level is as strong as another.

        Raises:
            QueryError: the other is none.
        """
        if not isinstance(other, Certainty):
            raise QueryError(f"expected one of {[*map(str, Certainty)]}, found {shown(other)}")
        order = list(Certainty)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, eq=False)
class DoQuery:
    """P(outcomes | do, evidence) in vertex and state numbers, perhaps among a group.

    A vertex under the do may have a natural value besides, the one that it takes before it is set:
    P(Y_x | X = x') asks for the outcome had X been x, of those in whom X is x'. In the single-world
    graph [richardson13] X is split: its natural half has X's parents and no children, the half that
    is set has X's children and no parents (THEORY section 16).

    Attributes:
        outcomes: vertices, ``SOURCE`` allowed, in the order of the answer's axes.
        do: intervened vertices; a state number, or float64 distributions ``(card,)`` or
            ``(scenarios, card)``.
        evidence: observed vertices and their state numbers.
        natural: natural values of vertices under the do.

    Raises:
        QueryError: no outcome, a repeated outcome, a vertex in two of the three places, or a
            natural value of a vertex that is not under the do.
    """

    outcomes: tuple[int, ...]
    do: Mapping[int, DoValue] = field(default_factory=dict)
    evidence: Mapping[int, int] = field(default_factory=dict)
    natural: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        number = "numbers of vertices"
        keep(self, "outcomes", listed("outcomes", self.outcomes, number, QueryError))
        states = f"{number} to states"
        keep(self, "do", mapping("do", self.do, states, QueryError))
        keep(self, "evidence", mapping("evidence", self.evidence, states, QueryError))
        places = (*self.outcomes, *self.do, *self.evidence)
        keep(self, "natural", mapping("natural", self.natural, states, QueryError))
        for place in (*places, *self.evidence.values(), *self.natural.values()):
            whole("vertices and states of evidence", place, SOURCE)
        do = {v: _setting(setting) for v, setting in self.do.items()}
        keep(self, "do", do)
        if not self.outcomes or len(set(places)) < len(places):
            raise QueryError(
                "expected at least one outcome, and every vertex in one place only, found outcomes "
                f"{list(self.outcomes)}, do {list(self.do)}, evidence {list(self.evidence)}"
            )
        if set(self.natural) - set(self.do):
            raise QueryError(
                "expected natural values of vertices under the do, found those of "
                f"{list(self.natural)} with do {list(self.do)}"
            )

    @property
    def n_scenarios(self) -> int | None:
        """Length of the scenario axis; None where every do is a single one."""
        sizes = {d.shape[0] for d in self.do.values() if isinstance(d, Tensor) and d.ndim == 2}
        return sizes.pop() if sizes else None

    def relevant(self, spec: MixtureSpec) -> set[int]:
        """Vertices whose tables the answer depends on, but for the source."""
        halves = (p for v in self.natural if v != SOURCE for p in spec.parents[v])
        asked = (*self.outcomes, *self.evidence, *halves)
        found = spec.ancestors(asked, removed=self.do.keys()) - self.do.keys()
        return found | {v for v in self.natural if v != SOURCE}

    def renumbered(self, number: Callable[[int], int]) -> DoQuery:
        """The question in the vertex numbers of another graph."""
        return DoQuery(
            tuple(map(number, self.outcomes)),
            {number(v): value for v, value in self.do.items()},
            {number(v): state for v, state in self.evidence.items()},
            {number(v): state for v, state in self.natural.items()},
        )

    @staticmethod
    def from_names(
        spec: MixtureSpec,
        variables: str | Sequence[str],
        do: Mapping[str, Any] | None = None,
        evidence: Mapping[str, Hashable] | None = None,
        natural: Mapping[str, Hashable] | None = None,
    ) -> DoQuery:
        """Translate names, checking each of them.

        Args:
            spec: the structure that knows the names.
            variables: outcome or outcomes; the source may be one.
            do: per variable a state name, a mapping from state names to probabilities (a soft
                intervention), or a list of either (scenarios, walked through together).
            evidence: per variable a state name, one; no distribution over states.
            natural: per variable under the do the state in which the group has it.

        Raises:
            QueryError: ``do`` or ``evidence`` is no mapping, ``variables`` no name or sequence of
                names, unknown names or states, overlapping roles, unequal scenario lists, or
                probabilities that are no distribution.
        """
        if not isinstance(spec, MixtureSpec):
            raise QueryError(f"expected a MixtureSpec, found {shown(spec)}")
        names = _names(spec, variables)
        do, evidence = mapping_of(spec, "do", do), mapping_of(spec, "evidence", evidence)
        if not names:
            raise QueryError("expected at least one outcome variable, found none")
        if repeated := sorted(name for name, times in Counter(names).items() if times > 1):
            raise QueryError(f"outcome variables {repeated} are given more than once")
        for first, second, one, other in (
            ("variables", "do", names, do),
            ("variables", "evidence", names, evidence),
            ("do", "evidence", do, evidence),
        ):
            if both := [name for name in one if name in other]:
                raise QueryError(f"{both} stand in both `{first}` and `{second}`; keep one of them")
        outcomes = tuple(spec.vertex(name) for name in names)
        seen = {spec.vertex(name): state for name, state in evidence.items()}
        query = DoQuery(
            outcomes=outcomes,
            do={v: _do_value(spec, v, d) for v, d in ((spec.vertex(n), d) for n, d in do.items())},
            evidence={v: _seen(spec, v, state) for v, state in seen.items()},
            natural={
                spec.vertex(name): _seen(spec, spec.vertex(name), state)
                for name, state in mapping_of(spec, "natural", natural).items()
            },
        )
        lengths = {
            spec.name(v): d.shape[0]
            for v, d in query.do.items()
            if isinstance(d, Tensor) and d.ndim == 2
        }
        if len(set(lengths.values())) > 1:
            raise QueryError(f"scenario lists in `do` must be equally long, found {lengths}")
        return query


def _setting(setting: Any) -> DoValue:
    """What stands under a do, as plain numbers.

    Raises:
        QueryError: neither a state nor a tensor of distributions.
    """
    if isinstance(setting, Tensor) and setting.ndim:
        return ordinary(setting)
    return whole("states under a do", setting, 0)


def mapping_of(spec: MixtureSpec, what: str, pairs: Any) -> dict[Any, Any]:
    """A copy of what ``do`` or ``evidence`` says; empty where it was left out.

    A list such as ``["X1"]`` is no mapping, though Python would make one of it.

    Args:
        spec: for the example in the message.
        what: ``"do"`` or ``"evidence"``.
        pairs: what was given.

    Raises:
        QueryError: it is no mapping.
    """
    if pairs is None:
        return {}
    if not isinstance(pairs, Mapping):
        raise QueryError(
            f"{what} must map variables to states, found {shown(pairs)}; "
            f"e.g. {what}={{{spec.variables[0]!r}: {spec.states[0][0]!r}}}"
        )
    return dict(pairs)


def _names(spec: MixtureSpec, variables: Any) -> list[Any]:
    """Names of the outcomes.

    Raises:
        QueryError: neither a name nor a sequence of names.
    """
    if isinstance(variables, str):
        return [variables]
    no_names = isinstance(variables, Mapping | bytes | Tensor | np.ndarray)
    names = [None] if no_names or not isinstance(variables, Iterable) else list(variables)
    if any(not isinstance(name, Hashable) for name in names):
        names = [None]
    if names == [None]:
        raise QueryError(
            f"variables must be a name or a list of names, found {shown(variables)}; "
            f"e.g. {spec.variables[-1]!r}, or {[*spec.variables[-2:]]}"
        )
    return names


def settings(
    spec: MixtureSpec,
    outcome: str | Sequence[str],
    treatment: str,
    evidence: Mapping[str, Hashable] | None = None,
    natural: Mapping[str, Hashable] | None = None,
) -> tuple[DoQuery, ...]:
    """P(outcome | do(treatment = x), evidence) for every state x: what an effect is about.

    Args:
        spec: the structure that knows the names.
        outcome: outcome or outcomes.
        treatment: the variable intervened on.
        evidence: per variable a state name.
        natural: the state in which a group has the treatment; empty for everybody.

    Raises:
        QueryError: as ``DoQuery.from_names``.
    """
    states = spec.states_of(spec.vertex(treatment))
    return tuple(
        DoQuery.from_names(spec, outcome, {treatment: s}, evidence, natural) for s in states
    )


def _seen(spec: MixtureSpec, vertex: int, state: Any) -> int:
    """Number of an observed state.

    Raises:
        QueryError: no such state, or a distribution over them.
    """
    if isinstance(state, Hashable) and not isinstance(state, Tensor):
        return spec.state(vertex, state)
    name = spec.name(vertex)
    raise QueryError(
        f"evidence is one observed state per variable, found {state!r} for {name!r} (soft "
        f"evidence); ask with evidence={{{name!r}: {spec.states_of(vertex)[0]!r}}} and so for "
        "every state, and add up the answers, each times your probability of it (Jeffrey's rule)"
    )


def _do_value(spec: MixtureSpec, vertex: int, value: Any) -> DoValue:
    """A state number, or distributions as a tensor."""
    if _is_state(spec, vertex, value):
        return spec.state(vertex, value)
    if isinstance(value, Mapping):
        return _distribution(spec, vertex, value)
    if isinstance(value, list) and value:
        eye = torch.eye(spec.card(vertex), dtype=torch.float64, device="cpu")
        rows = [_do_value(spec, vertex, scenario) for scenario in value]
        distributions = [row if isinstance(row, Tensor) else eye[row] for row in rows]
        if any(row.ndim > 1 for row in distributions):
            raise QueryError(f"scenarios of {spec.name(vertex)!r} must not be nested lists")
        return torch.stack(distributions)
    return spec.state(vertex, value)


def _is_state(spec: MixtureSpec, vertex: int, value: Any) -> bool:
    return is_state(value) and value in spec.states_of(vertex)


def _distribution(spec: MixtureSpec, vertex: int, value: Mapping[Any, Any]) -> Tensor:
    name, known = spec.name(vertex), spec.states_of(vertex)
    for state in value:
        if not is_state(state) or state not in known:
            raise QueryError(
                f"do: unknown state {shown(state)} of {name!r}{near_matches(state, known)}; "
                f"its states are {list(known)}"
            )
    shares = [value.get(state, 0.0) for state in known]
    example = f"e.g. {dict.fromkeys(known, 1 / len(known))}"
    numbers = [as_number(p) for p in shares]
    for p, number in zip(shares, numbers, strict=True):
        if number != number and not isinstance(p, float):  # nan is a number, and refused below
            raise QueryError(
                f"do: probabilities of {name!r} must be numbers, found {shown(p)}; {example}"
            )
    row = torch.tensor(numbers, dtype=torch.float64, device="cpu")
    if not bool(row.isfinite().all()) or bool((row < 0).any()) or abs(float(row.sum()) - 1) > 1e-9:
        raise QueryError(
            f"do: probabilities of {name!r} must be non-negative and sum to one, found "
            f"{dict(value)} with sum {float(row.sum()):.6g}"
        )
    return row
