"""A question about one outcome of a mixture with numbers, names turned into numbers of vertices."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pyromix.errors import QueryError
from pyromix.model.arguments import as_number, shown
from pyromix.model.kind import Kind
from pyromix.model.mixed import MixedSpec
from pyromix.model.query import mapping_of
from pyromix.model.spec import SOURCE

Setting = int | float
"""Number of a state, or a number in the units of the user."""


@dataclass(frozen=True)
class Question:
    """P(outcome | do, evidence) in numbers of vertices.

    Attributes:
        outcome: a vertex, ``SOURCE`` allowed.
        do: vertices set, each with the number of its state or its number in the user's units.
        evidence: vertices seen, likewise.
    """

    outcome: int
    do: Mapping[int, Setting] = field(default_factory=dict)
    evidence: Mapping[int, Setting] = field(default_factory=dict)

    @property
    def fixed(self) -> dict[int, Setting]:
        """Vertices whose values are known."""
        return {**self.do, **self.evidence}

    def relevant(self, spec: MixedSpec) -> list[int]:
        """Vertices whose laws the answer depends on, ascending, so parents before children.

        Ancestors of outcome and evidence in the graph without the edges into vertices that are
        set; these, the source and whatever has no descendant among them are left out.
        """
        found = spec.binned.ancestors((self.outcome, *self.evidence), removed=self.do.keys())
        return sorted(found - self.do.keys())

    def title(self, spec: MixedSpec) -> str:
        """The question as it is written on paper, e.g. ``P(Y | do(dose=10), Z='low')``."""
        done = ", ".join(setting_in_words(spec, v, value) for v, value in self.do.items())
        seen = [setting_in_words(spec, v, value) for v, value in self.evidence.items()]
        given = ", ".join(([f"do({done})"] if done else []) + seen)
        return f"P({spec.name(self.outcome)}{f' | {given}' if given else ''})"

    @staticmethod
    def from_names(
        spec: MixedSpec,
        variable: str,
        do: Mapping[str, Any] | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> Question:
        """Translate names, checking each of them.

        Args:
            spec: the structure that knows the names.
            variable: the outcome; the source may be it.
            do: per variable a state name, or a number in the user's units.
            evidence: likewise.

        Raises:
            QueryError: an unknown name or state, a variable in two roles, no single outcome, or a
                number that a variable cannot be.
        """
        if not isinstance(variable, str):
            raise QueryError(
                f"expected the name of one variable, found {shown(variable)}; with numbers in the "
                "model there is one outcome at a time"
            )
        do, evidence = mapping_of(spec.binned, "do", do), mapping_of(spec.binned, "evidence",
                                                                     evidence)  # fmt: skip
        for first, second, one, other in (
            ("variable", "do", [variable], do),
            ("variable", "evidence", [variable], evidence),
            ("do", "evidence", do, evidence),
        ):
            if both := [name for name in one if name in other]:
                raise QueryError(f"{both} stand in both `{first}` and `{second}`; keep one of them")
        outcome = spec.vertex(variable)
        settings = [
            {(v := spec.vertex(name)): setting_of(spec, v, value, what)
             for name, value in given.items()}
            for what, given in (("do", do), ("evidence", evidence))
        ]  # fmt: skip
        return Question(outcome, *settings)


def setting_of(spec: MixedSpec, vertex: int, value: Any, what: str) -> Setting:
    """What a vertex is set to, or seen at.

    Args:
        spec: the structure.
        vertex: a vertex, or the source.
        value: what was given.
        what: ``"do"`` or ``"evidence"``.

    Raises:
        QueryError: no state of a variable with states, or no number that a variable can be.
    """
    name = spec.name(vertex)
    if vertex == SOURCE or not spec.kind(vertex).numeric:
        if isinstance(value, Tensor | Mapping | list) or not isinstance(value, Hashable):
            raise QueryError(
                f"{what}: expected a state of {name!r}, found {shown(value)}; where variables are "
                f"numbers, one state at a time, e.g. {what}="
                f"{{{name!r}: {spec.binned.states_of(vertex)[0]!r}}}"
            )
        return spec.binned.state(vertex, value)
    number = as_number(value)
    if not math.isfinite(number):
        raise QueryError(
            f"{what}: {name!r} is a number, in the units of its column, found {shown(value)}; "
            f"e.g. {what}={{{name!r}: 1.0}}"
        )
    kind = spec.kind(vertex)
    if kind is Kind.POSITIVE and number <= 0:
        raise QueryError(
            f"{what}: {name!r} was declared positive, its logarithm is modelled, found {number:g}; "
            "expected a number above zero. A column with zeros has the kind 'hurdle'"
        )
    if kind is Kind.HURDLE and number < 0:
        raise QueryError(
            f"{what}: {name!r} is zero or positive (kind 'hurdle'), found {number:g}; expected a "
            "number that is not negative"
        )
    if kind is Kind.COUNT and (number < 0 or number != math.floor(number)):
        raise QueryError(
            f"{what}: {name!r} is a count, found {number:g}; expected one of 0, 1, 2, ..."
        )
    return number


def setting_in_words(spec: MixedSpec, vertex: int, value: Setting) -> str:
    """``dose=10``, or ``Z='low'``."""
    if vertex == SOURCE or not spec.kind(vertex).numeric:
        return f"{spec.name(vertex)}={spec.binned.states_of(vertex)[int(value)]!r}"
    return f"{spec.name(vertex)}={value:g}"
