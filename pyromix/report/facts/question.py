"""The effect a report is about: names given, or the roles of the model."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from pyromix.errors import QueryError
from pyromix.fitting.record import Fit
from pyromix.model.spec import MixtureSpec


@dataclass(frozen=True)
class Question:
    """Which effect.

    Attributes:
        treatment: the variable intervened on.
        outcome: the variable looked at.
        contrast: states of the treatment, from and to.
        outcome_state: state of the outcome that headline figures are about; ``...`` for the second
            one of a binary outcome, and for all of any other.
    """

    treatment: str
    outcome: str
    contrast: tuple[Hashable, Hashable]
    outcome_state: Any = ...

    def __str__(self) -> str:
        """The question in one line."""
        one, other = self.contrast
        return f"{self.treatment}={one!s} -> {self.treatment}={other!s} on {self.outcome}"


def find_question(
    fit: Fit,
    treatment: str | None,
    outcome: str | None,
    contrast: Sequence[Hashable] | None = None,
    outcome_state: Any = ...,
) -> tuple[Question, ...]:
    """The effect that is asked for, or that the model declares; empty where neither.

    Args:
        fit: whose model has roles.
        treatment: by default the model's one exposure.
        outcome: by default the model's one outcome.
        contrast: ``(from, to)`` states of the treatment; the first and the last when left out.
        outcome_state: state that headline figures are about, as in ``fit.effect``.

    Raises:
        QueryError: a name or state is unknown, both are one variable, or only one is to be had.
    """
    spec = fit.spec
    found = [
        _role(spec, role) if name is None else (name,)
        for role, name in (("exposures", treatment), ("outcomes", outcome))
    ]
    if not found[0] or not found[1]:
        if treatment is None and outcome is None:
            return ()
        lacking = "outcome" if found[0] else "treatment"
        raise QueryError(
            f"an effect needs a treatment and an outcome: {lacking} is not given and the model "
            f"declares none; name one of {list(spec.variables)}"
        )
    one, other = found[0][0], found[1][0]
    states = spec.states_of(spec.vertex(one))
    spec.vertex(other)
    if one == other:
        raise QueryError(f"treatment and outcome must differ, found {one!r} for both")
    pair = (states[0], states[-1]) if contrast is None else tuple(contrast)
    if isinstance(contrast, str) or len(pair) != 2:
        raise QueryError(
            f"contrast must be a pair (from, to) of states of {one!r}, found {contrast!r}"
        )
    for state in pair:
        spec.state(spec.vertex(one), state)
    if outcome_state is not ...:
        spec.state(spec.vertex(other), outcome_state)
    return (Question(one, other, (pair[0], pair[1]), outcome_state),)


def _role(spec: MixtureSpec, role: str) -> tuple[str, ...]:
    """The one variable of a role, or none."""
    vertices = dict(spec.roles).get(role, ())
    return (spec.name(vertices[0]),) if len(vertices) == 1 else ()
