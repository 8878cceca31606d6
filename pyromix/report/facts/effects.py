"""The effect of a question, as far as data determine it, beside what the table says."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch

from pyromix.answers import ask
from pyromix.answers.effect import Effect
from pyromix.answers.intervals import Method
from pyromix.errors import NotCertifiedError, PositivityError, QueryError, SpecError
from pyromix.fitting.record import Fit
from pyromix.identify.proximal import Proximal, by_proxies, find_proxies
from pyromix.model.query import Certainty
from pyromix.model.ties import ROUNDING, first_largest
from pyromix.report.advice import PYTHON
from pyromix.report.facts.question import Question

MAX_ERROR = 0.2
"""Standard error up to which an answer by proxies is told: a wider one checks nothing."""


@dataclass(frozen=True, eq=False)
class Effects:
    """What can be said about an effect.

    Attributes:
        question: which effect.
        found: the effect, per source where that is determined; of a table that is too weak for it
            with the certainty ``WEAK``; None where graph and rank refuse it.
        errors: why something is refused: within each source, of all sources together.
        raw: P(outcome | treatment) of the rows themselves, ``(2, card)`` for the two arms; None
            without rows.
        by_proxies: the effect by two groups of proxies and moments alone, where the graph has them,
            the table has every cell, and the standard error is no larger than ``MAX_ERROR``.
        groups: the effect among those seen with each state of the contrast, where it is asked of
            everybody and determined.
    """

    question: Question
    found: Effect | None
    errors: tuple[NotCertifiedError | PositivityError | SpecError, ...]
    raw: np.ndarray | None
    groups: tuple[Effect, ...] = ()
    by_proxies: Proximal | None = None

    @property
    def refusals(self) -> tuple[str, ...]:
        """The same in words."""
        if self.found is None or self.weak:
            return (f"{self.errors[-1]}",)
        return tuple(f"within each source: {error}" for error in self.errors)

    @property
    def weak(self) -> bool:
        """Whether ``fit.effect`` refuses it, and an interval holds all the same."""
        return self.found is not None and self.found.certainty is Certainty.WEAK


def find_effects(fit: Fit, question: Question) -> Effects:
    """Ask for the effect, per source too, and take no for an answer."""
    effect, errors = _determined(fit, question)
    raw = _raw(fit, question)
    if effect is None or effect.certainty is Certainty.WEAK:
        return Effects(question, effect, errors, raw)
    return Effects(
        question, effect, errors, raw, _groups(fit, question), _by_proxies(fit, question)
    )


def _determined(
    fit: Fit, question: Question
) -> tuple[Effect | None, tuple[NotCertifiedError | PositivityError | SpecError, ...]]:
    """The effect, per source where that is determined, and what was refused."""
    errors: list[NotCertifiedError | PositivityError | SpecError] = []
    for per_source, require in ((True, "local"), (False, "local"), (False, "weak")):
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
                require=require,
            )
        except (NotCertifiedError, PositivityError, SpecError) as error:
            errors.append(error)
            continue
        if effect.certainty is Certainty.BY_SHAPE:
            break  # above weak, yet refused before: the number is that of a shape
        return effect, tuple(errors)
    return None, tuple(errors)


def _groups(fit: Fit, question: Question) -> tuple[Effect, ...]:
    """The effect among those who have the one state of the treatment, and the other."""
    found = []
    for state in question.contrast:
        with suppress(NotCertifiedError, PositivityError, SpecError):
            one = ask.effect(
                fit,
                question.treatment,
                question.outcome,
                contrast=question.contrast,
                outcome_state=question.outcome_state,
                among={question.treatment: state},
            )
            found.append(one)
    return tuple(found)


def _by_proxies(fit: Fit, question: Question) -> Proximal | None:
    """A second answer that shares little with the likelihood's; None where it says nothing."""
    spec, table = fit.spec, fit.table
    if table is None or fit.exact or not fit.counts.complete:
        return None
    x = spec.vertex(question.treatment)
    proxies = find_proxies(spec, x, spec.vertex(question.outcome))
    found = None if proxies is None else by_proxies(table, proxies, spec)
    if found is None:
        return None
    one, other = (spec.state(x, state) for state in question.contrast)
    error = float(found.standard_error(one, other, fit.n_rows).max())
    return found if error <= MAX_ERROR else None


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
    effect, errors = _determined(fit, question)
    if effect is None:
        raise errors[-1]
    return effect


def told_state(effect: Effect) -> int:
    """The outcome state that figures are about: the headline, else the one that changes most."""
    if effect.headline >= 0:
        return effect.headline
    return first_largest(abs(effect.do.values).tolist(), ROUNDING)


def interval_source(fit: Fit, effect: Effect, refused: str = PYTHON.refused) -> str:
    """Where intervals come from, in words; empty where there are none.

    Args:
        fit: who was asked.
        effect: the effect.
        refused: who refuses a weak answer.
    """
    if not effect.do.has_interval:
        return ""
    found = effect.do.interval_report()
    if fit.sampled is not None and Method.DRAWS in found.methods:
        return f"{fit.sampled.n} draws, {fit.sampled}"
    marked = f" (weak: {refused})" if effect.certainty is Certainty.WEAK else ""
    return f"{found.words}{marked}"


def why_no_interval(effect: Effect) -> str:
    """Why the effect has no interval; empty where it has one."""
    heard = effect.do.heard
    return "" if effect.do.has_interval or heard is None else heard.refused


def _raw(fit: Fit, question: Question) -> np.ndarray | None:
    """Shares among the rows that have both cells."""
    if fit.table is None:
        return None
    spec = fit.spec
    x, y = spec.vertex(question.treatment), spec.vertex(question.outcome)
    arms = torch.tensor([[spec.state(x, state)] for state in question.contrast], device="cpu")
    return fit.table.table((y,), (x,), arms).cpu().numpy()
