"""The effect that is asked about while a graph is tested: in words, and of any mixture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from pyromix.answers.do import query
from pyromix.answers.effect import contrast_of
from pyromix.answers.mixed import effect as mixed
from pyromix.errors import PositivityError, QueryError
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.model.kind import Kind
from pyromix.model.spec import SOURCE, MixtureSpec

EffectOf = Callable[[Any], float]
"""Of a mixture."""

Named = tuple[str, str]
"""Treatment and outcome."""


def _names(spec: MixtureSpec, treatment: str | None, outcome: str | None) -> Named | None:
    """Treatment and outcome, by default those of the model; None where nothing is asked.

    Raises:
        QueryError: a name is unknown, one of the two is missing, or they are not different.
    """
    roles = dict(spec.roles)
    one, other = (
        spec.name(roles[role][0]) if name is None and len(roles.get(role, ())) == 1 else name
        for name, role in ((treatment, "exposures"), (outcome, "outcomes"))
    )
    if one is None or other is None:
        if treatment is not None or outcome is not None:
            raise QueryError("an effect needs a treatment and an outcome, found one of them")
        return None
    x, y = spec.vertex(one), spec.vertex(other)
    if x == y or SOURCE in (x, y):
        raise QueryError(
            f"treatment and outcome must be different observed variables, found {one!r}, {other!r}"
        )
    return one, other


def effect_of_states(
    spec: MixtureSpec,
    treatment: str | None,
    outcome: str | None,
    contrast: Sequence[Any] | None,
) -> tuple[str, EffectOf]:
    """The effect in words, and of a mixture: by default last state of the treatment against first.

    Raises:
        QueryError: a name is unknown, one of the two is missing, or a contrast is no pair of
            states.
    """
    named = _names(spec, treatment, outcome)
    if named is None:
        return "", lambda _: math.nan
    one, other = named
    x, counted = spec.vertex(one), spec.states_of(spec.vertex(other))[-1]
    states = spec.states_of(x)
    settings = (states[0], states[-1]) if contrast is None else contrast
    low, high = (states[s] for s in contrast_of(spec, x, settings))

    def effect(mixture: Any) -> float:
        try:
            seen, done = (query(mixture, other, {one: state}).values[-1] for state in (low, high))
        except PositivityError:
            return math.nan
        return float(done - seen)

    return f"P({other}={counted} | do({one}={high})) - P(... | do({one}={low}))", effect


def effect_of_numbers(
    fit: MixedRecord,
    treatment: str | None,
    outcome: str | None,
    contrast: Sequence[Any] | None,
) -> tuple[str, EffectOf]:
    """The same where one of the two may be a number: means, from one quartile to the other.

    Raises:
        QueryError: as ``effect_of_states``.
    """
    named = _names(fit.spec.binned, treatment, outcome)
    if named is None:
        return "", lambda _: math.nan
    spec, (one, other) = fit.spec, named
    x, y = spec.vertex(one), spec.vertex(other)
    settings = _ends(fit, x) if contrast is None else contrast
    mixed.contrast_of(spec, x, settings)
    numeric = spec.kind(y).numeric
    last = ... if numeric else spec.binned.states_of(y)[-1]

    def effect(mixture: Any) -> float:
        try:
            found = mixed.effect(mixture, one, other, contrast=settings, outcome_state=last)
        except PositivityError:
            return math.nan
        return float(found.do)

    what = f"mean of {other}" if numeric else f"P({other}={last})"
    low, high = (f"{at:.4g}" if isinstance(at, float) else f"{at}" for at in settings)
    return f"{what} under do({one}={high}) less under do({one}={low})", effect


def _ends(fit: MixedRecord, vertex: int) -> tuple[Any, Any]:
    """First and third quartile of a number, first and last of states."""
    spec = fit.spec
    if not spec.kind(vertex).numeric:
        states = spec.binned.states_of(vertex)
        return states[0], states[-1]
    column = fit.records.columns[vertex]
    known = fit.records.units[vertex].outward(column[~column.isnan()])
    for share in (0.25, 0.0):
        low, high = (float(known.quantile(q)) for q in (share, 1 - share))
        if spec.kind(vertex) is Kind.COUNT:
            low, high = float(round(low)), float(round(high))
        if low < high:
            break
    return low, high
