"""The effect a report is about: names given, or the roles of the model."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from pyromix.answers.effect import contrast_of
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


def named_pair(
    spec: MixtureSpec, treatment: str | None, outcome: str | None
) -> tuple[str, str] | None:
    """Treatment and outcome, by name or by the roles of the model; None where neither.

    Raises:
        QueryError: only one of the two is to be had.
    """
    one = _role(spec, "exposures") if treatment is None else treatment
    other = _role(spec, "outcomes") if outcome is None else outcome
    if one is None or other is None:
        if treatment is None and outcome is None:
            return None
        lacking = "treatment" if one is None else "outcome"
        raise QueryError(
            f"an effect needs a treatment and an outcome: {lacking} is not given and the model "
            f"declares none; name one of {list(spec.variables)}"
        )
    return one, other


def find_question(
    fit: Fit,
    treatment: str | None,
    outcome: str | None,
    contrast: Sequence[Hashable] | None = None,
    outcome_state: Any = ...,
) -> Question | None:
    """The effect that is asked for, or that the model declares; None where neither.

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
    pair = named_pair(spec, treatment, outcome)
    if pair is None:
        return None
    one, other = pair
    states = spec.states_of(spec.vertex(one))
    spec.vertex(other)
    if one == other:
        raise QueryError(f"treatment and outcome must differ, found {one!r} for both")
    ends = (states[0], states[-1]) if contrast is None else contrast
    first, second = contrast_of(spec, spec.vertex(one), ends)
    if outcome_state is not ...:
        spec.state(spec.vertex(other), outcome_state)
    return Question(one, other, (states[first], states[second]), outcome_state)


def _role(spec: MixtureSpec, role: str) -> str | None:
    """The one variable of a role, if there is one."""
    vertices = dict(spec.roles).get(role, ())
    return spec.name(vertices[0]) if len(vertices) == 1 else None
