"""Differences of two answers about one outcome, with intervals of their own."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pyromix.answers.answer import Answer, telling
from pyromix.answers.delta import Delta, difference, difference_interval
from pyromix.answers.heard import Hearing
from pyromix.answers.intervals import Basis, Interval
from pyromix.answers.trust import Targets
from pyromix.errors import QueryError
from pyromix.exact.elimination import marginal
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import Certainty


@dataclass(frozen=True, eq=False)
class Difference:
    """A difference of two distributions of the outcome, state by state.

    ``float(difference)`` is the entry of the headline state: the second one of a binary outcome,
    or the ``outcome_state`` that was asked for.

    Attributes:
        outcome: name of the outcome.
        states: its state names.
        headline: number of the headline state, -1 where there is none.
        draws: ``(*batch, card)``, one difference per draw.
        point: ``(card,)``, the difference of the estimate.
        delta: standard errors of a point estimate; None where nobody asked.
        targets: the differences as a function of mixtures; None where nobody can ask another.
        heard: the question as the table of a fit was heard on it; None for a bare mixture.
        level: of the interval that is printed, and that ``interval()`` gives unless told.
    """

    outcome: str
    states: tuple[Hashable, ...]
    headline: int
    draws: Float[Tensor, "*batch card"]
    point: Float[Tensor, " card"]
    delta: Delta | None = None
    targets: Targets | None = None
    heard: Hearing | None = None
    level: float = 0.95

    @property
    def values(self) -> np.ndarray:
        """Differences per outcome state; they sum to zero."""
        return self.point.detach().cpu().numpy()

    @property
    def has_interval(self) -> bool:
        """Whether there is one: by likelihood, by the delta method, or from draws."""
        return self._basis.available

    @property
    def standard_error(self) -> np.ndarray:
        """Per outcome state: of the draws, or by the delta method.

        Raises:
            QueryError: there are neither draws nor an information matrix.
        """
        if self._draws().shape[0] > 1:
            return self._draws().std(0).cpu().numpy()
        if self.delta is None:
            raise QueryError(self._basis.refused)
        return self.delta.standard_errors

    def interval(
        self, level: float | None = None, method: str = "auto"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(low, high)``, each shaped like ``values``.

        Args:
            level: the share of the probability between the two ends; that of the effect unless
                told.
            method: as in ``Answer.interval``; ``"delta"`` is normal in the difference itself.

        Raises:
            QueryError: there is nothing to make one of, no such method, or the level does not
                lie between 0 and 1.
        """
        found = self.interval_report(level, method)
        return found.low, found.high

    def interval_report(self, level: float | None = None, method: str = "auto") -> Interval:
        """The same intervals with how each was found.

        Args:
            level: as in ``interval``.
            method: as in ``interval``.

        Raises:
            QueryError: as ``interval``.
        """
        return self._basis.interval(self.level if level is None else level, method)

    def minus(self, other: Difference) -> Difference:
        """The difference between two differences of one outcome."""
        mine, others = self.targets, other.targets
        targets = None
        if mine is not None and others is not None:
            targets = _less(mine, others)
        # The weaker of both decides what an interval may be made of.
        weaker = min((self, other), key=lambda d: list(Certainty).index(d.certainty))
        return Difference(
            self.outcome,
            self.states,
            self.headline,
            self.draws - other.draws,
            self.point - other.point,
            difference(self.delta, other.delta),
            targets,
            weaker.heard,
            self.level,
        )

    @property
    def certainty(self) -> Certainty:
        """How firmly data determine it; ``NONE`` unless somebody certified it."""
        return Certainty.NONE if self.heard is None else self.heard.verdict.level

    def _draws(self) -> Tensor:
        return telling(self.draws.detach().reshape(-1, len(self.states)))

    @cached_property
    def _basis(self) -> Basis:
        draws = self._draws()
        nothing = (
            "this difference has no interval: it is one answer of a mixture without draws; ask "
            "a fit (fit.effect(..., interval=True)), or one with draws (fit.bootstrap())"
        )
        return Basis(
            values=self.values,
            bounds=(-1.0, 1.0),
            normal=difference_interval,
            scale=lambda values: values,
            delta=self.delta,
            draws=draws if draws.shape[0] > 1 else None,
            targets=self.targets,
            inquiry=None if self.heard is None else self.heard.inquiry,
            refused=nothing
            if self.heard is None
            else f"this difference has no interval: {self.heard.missing}",
        )

    def __float__(self) -> float:
        """The entry of the headline state."""
        if self.headline < 0:
            raise QueryError(
                f"{self.outcome!r} has {len(self.states)} states {list(self.states)}, so one number"
                " needs outcome_state=...; .values has the whole vector"
            )
        return float(self.point[self.headline])

    def __repr__(self) -> str:
        entries = ", ".join(
            f"{s!r}: {d:+.4f}" for s, d in zip(self.states, self.values, strict=True)
        )
        return f"Difference({self.outcome}: {{{entries}}})"


def difference_of(arms: tuple[Answer, Answer], headline: int, level: float) -> Difference:
    """The second answer minus the first.

    Args:
        arms: two answers about one outcome.
        headline: number of the outcome state that one number is about, -1 for none.
        level: of the intervals that are printed.
    """
    one, other = arms
    spec, (outcome,) = one.spec, one.query.outcomes

    def targets(mixture: BayesNetMixture) -> Tensor:
        return marginal(mixture, other.query) - marginal(mixture, one.query)

    return Difference(
        spec.name(outcome),
        spec.states_of(outcome),
        headline,
        other.probs - one.probs,
        other.point - one.point,
        difference(other.delta, one.delta),
        targets,
        one.heard,
        level,
    )


def difference_of_scenarios(answer: Answer) -> Difference:
    """The second scenario of an answer minus the first.

    Args:
        answer: about one outcome, under a do with two scenarios.

    Raises:
        QueryError: it has another number of scenarios, or of outcomes.
    """
    spec, query = answer.spec, answer.query
    if query.n_scenarios != 2 or len(query.outcomes) != 1:
        raise QueryError(
            f"{answer.title}: a difference is one of two scenarios of one outcome; ask with two "
            'states of one treatment, do={"X": [from, to]}'
        )
    (outcome,) = query.outcomes
    card, delta = spec.card(outcome), answer.delta

    def targets(mixture: BayesNetMixture) -> Tensor:
        cells = marginal(mixture, query)
        return cells[..., 1, :] - cells[..., 0, :]

    return Difference(
        spec.name(outcome),
        spec.states_of(outcome),
        1 if card == 2 else -1,
        answer.probs[..., 1, :] - answer.probs[..., 0, :],
        answer.point[1] - answer.point[0],
        delta and Delta(delta.gradients[card:] - delta.gradients[:card], delta.information),
        targets,
        answer.heard,
        answer.level,
    )


def _less(one: Targets, other: Targets) -> Targets:
    def targets(mixture: BayesNetMixture) -> Tensor:
        return one(mixture) - other(mixture)

    return targets
