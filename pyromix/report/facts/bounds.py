"""Between what an effect lies that data do not make a number."""

from __future__ import annotations

from pyromix.answers import bounding
from pyromix.answers.bounds import Bounds
from pyromix.errors import PositivityError, SpecError
from pyromix.fitting.record import Fit
from pyromix.report.facts.effects import Effects

N_STARTS = 12
"""Starts of the searches for a report; ``fit.bounds`` takes more by default."""


def find_bounds(fit: Fit, effects: Effects) -> Bounds | str:
    """Bounds of both arms and their difference; a clause where there are none.

    Args:
        fit: who is asked.
        effects: the effect, as far as data determine it.
    """
    if effects.found is not None:  # of a weak effect the interval says what is open
        return "graph and rank determine the effect"
    question = effects.question
    arms = {question.treatment: list(question.contrast)}
    try:
        return bounding.bounds(fit, question.outcome, arms, n_starts=N_STARTS)
    except (PositivityError, SpecError) as error:
        return str(error)
