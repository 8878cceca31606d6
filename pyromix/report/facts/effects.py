"""The effect of a question, as far as data determine it, beside what the table says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from pyromix.answers import ask
from pyromix.answers.effect import Effect
from pyromix.errors import NotCertifiedError, PositivityError, QueryError, SpecError
from pyromix.fitting.record import Fit
from pyromix.report.facts.question import Question


@dataclass(frozen=True, eq=False)
class Effects:
    """What can be said about an effect.

    Attributes:
        question: which effect.
        found: the effect, per source where that is determined; None where it is refused.
        errors: why something is refused: within each source, of all sources together.
        raw: P(outcome | treatment) of the rows themselves, ``(2, card)`` for the two arms; None
            without rows.
    """

    question: Question
    found: Effect | None
    errors: tuple[NotCertifiedError | PositivityError | SpecError, ...]
    raw: np.ndarray | None

    @property
    def refusals(self) -> tuple[str, ...]:
        """The same in words."""
        if self.found is None:
            return (f"{self.errors[-1]}",)
        return tuple(f"within each source: {error}" for error in self.errors)


def find_effects(fit: Fit, question: Question) -> Effects:
    """Ask for the effect, per source too, and take no for an answer."""
    errors: list[NotCertifiedError | PositivityError | SpecError] = []
    for per_source in (True, False):
        if per_source and fit.spec.n_sources == 1:
            continue
        try:
            effect = ask.effect(
                fit,
                question.treatment,
                question.outcome,
                contrast=question.contrast,
                outcome_state=question.outcome_state,
                per_source=per_source,
            )
        except (NotCertifiedError, PositivityError, SpecError) as error:
            errors.append(error)
            continue
        return Effects(question, effect, tuple(errors), _raw(fit, question))
    return Effects(question, None, tuple(errors), _raw(fit, question))


def required_effect(fit: Fit, question: Question | None) -> Effect:
    """The effect of a plot: it must exist.

    Raises:
        QueryError: no treatment and outcome.
        NotCertifiedError, PositivityError: the effect is refused.
    """
    if question is None:
        raise QueryError(
            "an effect needs a treatment and an outcome, and the model declares neither; name two "
            f"of {list(fit.spec.variables)}"
        )
    effects = find_effects(fit, question)
    if effects.found is None:
        raise effects.errors[-1]
    return effects.found


def interval_source(fit: Fit, effect: Effect) -> str:
    """Where intervals come from, in words; empty where there are none."""
    if fit.sampled is not None:
        return f"{fit.sampled.n} draws, {fit.sampled}"
    return "observed information, delta method" if effect.do.has_interval else ""


def _raw(fit: Fit, question: Question) -> np.ndarray | None:
    """Shares among the rows that have both cells."""
    if fit.table is None:
        return None
    spec = fit.spec
    x, y = spec.vertex(question.treatment), spec.vertex(question.outcome)
    arms = torch.tensor([[spec.state(x, state)] for state in question.contrast], device="cpu")
    return fit.table.table((y,), (x,), arms).cpu().numpy()
