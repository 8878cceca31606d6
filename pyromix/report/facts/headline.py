"""The one number of a question: what setting the treatment does, and the naive one beside it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from pyromix.answers.difference import Difference
from pyromix.model.query import Certainty
from pyromix.model.spec import MixtureSpec
from pyromix.model.ties import ROUNDING, first_largest
from pyromix.report.facts.effects import Effects, told_state

Ends = tuple[float, float]


@dataclass(frozen=True)
class Compared:
    """A difference of the probability of one outcome state.

    Attributes:
        value: the difference.
        ends: of its 95% interval; None where there is none.
    """

    value: float
    ends: Ends | None

    @property
    def sign(self) -> int:
        """1 or -1 where the interval says so, or without one the value; else 0."""
        low, high = self.ends or (self.value, self.value)
        return int(low > 0) - int(high < 0)

    @property
    def is_zero(self) -> bool:
        """Whether it is nothing but rounding, interval and all."""
        return max(map(abs, (self.value, *(self.ends or ())))) < ROUNDING


@dataclass(frozen=True)
class HeadlineFacts:
    """What a report tells first of an effect.

    Attributes:
        level: how firmly data determine it.
        state: of the outcome, whose probability is compared.
        chosen: whether that state was chosen because it changes most, among three or more.
        naive: between those seen with the one state of the treatment and with the other; None where
            there is neither a fit's nor a table's.
        do: under the do; None where data do not determine it at all. Of a weak effect the value
            means nothing, the interval holds.
    """

    level: Certainty
    state: Hashable
    chosen: bool
    naive: Compared | None
    do: Compared | None


def find_headline(spec: MixtureSpec, effects: Effects) -> HeadlineFacts:
    """Look the number of a question up.

    Args:
        spec: whose names they are.
        effects: the effect as far as data determine it.
    """
    question, effect = effects.question, effects.found
    y = spec.vertex(question.outcome)
    states = spec.states_of(y)
    chosen = question.outcome_state is ... and len(states) > 2
    if effect is not None:
        s = told_state(effect)
        do, naive = _compared(effect.do, s), _compared(effect.naive, s)
        return HeadlineFacts(effect.certainty, states[s], chosen, naive, do)
    raw = None if effects.raw is None else effects.raw[1] - effects.raw[0]
    s = _asked_state(spec, y, question.outcome_state, raw)
    seen = None if raw is None or not np.isfinite(raw[s]) else Compared(float(raw[s]), None)
    return HeadlineFacts(Certainty.NONE, states[s], chosen, seen, None)


def _compared(difference: Difference, state: int) -> Compared:
    value = float(difference.values[state])
    if not difference.has_interval:
        return Compared(value, None)
    low, high = difference.interval()
    return Compared(value, (float(low[state]), float(high[state])))


def _asked_state(spec: MixtureSpec, y: int, asked: object, raw: np.ndarray | None) -> int:
    if asked is not ...:
        return spec.state(y, asked)  # pyright: ignore[reportArgumentType]
    if spec.card(y) == 2 or raw is None or not np.isfinite(raw).all():
        return 1
    return first_largest(abs(raw).tolist(), ROUNDING)
