"""What a query about a mixture with numbers returns: a distribution in the user's units."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyromix.answers.mixed.engines import Engine, Summary
from pyromix.answers.mixed.law import NumericLaw, StateLaw, Weighed
from pyromix.answers.mixed.question import Question
from pyromix.answers.mixed.spread import Spread
from pyromix.answers.wording import certainty_line, interval_title
from pyromix.errors import QueryError
from pyromix.model.arguments import as_number, numbers_as_tensor, shown
from pyromix.model.mixed import MixedSpec
from pyromix.model.printed import Grid, Printed, as_html, as_text
from pyromix.model.query import Certainty
from pyromix.model.spec import SOURCE

PRINTED_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

FEW = 100.0
"""Draws that an answer should be worth."""


@dataclass(frozen=True, eq=False)
class AnswerAbout:
    """What every answer about a mixture with numbers holds.

    Attributes:
        spec: the structure that knows the names.
        question: what was asked.
        law: the distribution, as tensors.
        engine: which engine answered, and why not exactly.
        notes: further lines to be printed.
        certainty: how certain graph and table make it; None for the answer of a mixture.
        spread: how far the mean, or probabilities, may be off; None for the answer of a mixture.
        level: of the interval that is printed.
    """

    spec: MixedSpec
    question: Question
    law: NumericLaw | StateLaw
    engine: Engine
    notes: tuple[str, ...] = ()
    certainty: Certainty | None = None
    spread: Spread | None = None
    level: float = 0.95

    @property
    def title(self) -> str:
        """The question as it is written on paper."""
        return self.question.title(self.spec)


@dataclass(frozen=True, eq=False)
class NumericAnswer(AnswerAbout):
    """P(outcome | do, evidence) of an outcome that is a number, in the units of its column.

    Attributes:
        law: the distribution, as tensors.
    """

    law: NumericLaw

    @property
    def mean(self) -> float:
        """Expectation.

        Of a positive number, whose logarithm is modelled, it is ``exp(m + s^2 / 2)`` in every
        component, and may lie far beyond every number in the data where s is large.
        """
        return float(self.law.mean.detach())

    @property
    def sd(self) -> float:
        """Standard deviation."""
        return float(self.law.sd.detach())

    @property
    def monte_carlo_error(self) -> float:
        """Standard error of the mean by sampling; zero where it is exact."""
        return float(self.law.mix.error_of(self.law.mean_scores))

    def interval(self, level: float | None = None) -> tuple[float, float]:
        """Return an interval for the mean.

        Args:
            level: that of the answer unless told.

        Raises:
            QueryError: there is none; it says why.
        """
        low, high = ends_of(self.spread, self.title, self.level if level is None else level)
        return float(low[0]), float(high[0])

    @property
    def zero(self) -> float | None:
        """Probability of exactly zero; None unless the outcome has the kind 'hurdle'."""
        return None if self.law.zero is None else float(self.law.zero.detach())

    @property
    def rests_on_few(self) -> bool:
        """Whether nine of ten numbers lie below the mean, which is then a matter of the tail."""
        return self.mean > self.quantile(0.9)

    def quantile(self, q: Any) -> Any:
        """Return the least numbers up to which the probability reaches ``q``.

        Args:
            q: a number between 0 and 1, or several in a list or array.

        Returns:
            A float, or an array shaped like ``q``.

        Raises:
            QueryError: no numbers between 0 and 1.
        """
        wanted = numbers_as_tensor("q", q, self.law.mix.weights.device, QueryError)
        if not bool(((wanted > 0) & (wanted < 1)).all()):
            raise QueryError(f"q must lie between 0 and 1, found {shown(q)}; e.g. q=0.5")
        return _plain(self.law.quantile(wanted))

    def density(self, grid: Any) -> np.ndarray:
        """Return the density at some numbers; of a count the probability of each.

        Where zero has a probability of its own (``zero``) this is the density above zero, which
        integrates to ``1 - zero``.

        Args:
            grid: numbers in the units of the column.

        Raises:
            QueryError: these are no numbers.
        """
        return _plain(self.law.density(self._numbers("grid", grid)), array=True)

    def cdf(self, at: Any) -> Any:
        """Return the probability of numbers up to and including some.

        Args:
            at: a number in the units of the column, or several.

        Returns:
            A float, or an array shaped like ``at``.

        Raises:
            QueryError: these are no numbers.
        """
        return _plain(self.law.cdf(self._numbers("at", at)))

    def prob(self, above: Any = None, up_to: Any = None) -> float:
        """Return P(above < outcome <= up_to).

        Args:
            above: a number; nothing lies below when left out.
            up_to: a number; nothing lies above when left out.

        Raises:
            QueryError: neither is given, one is no number, or they are the wrong way round.
        """
        if above is None and up_to is None:
            raise QueryError("expected above=, up_to= or both; e.g. answer.prob(above=1.0)")
        ends = []
        for name, end, left_out in (("above", above, 0.0), ("up_to", up_to, 1.0)):
            if end is None:
                ends.append(left_out)
            elif as_number(end) != as_number(end):
                raise QueryError(f"{name} must be a number, found {shown(end)}")
            else:
                ends.append(self.cdf(as_number(end)))
        if above is not None and up_to is not None and as_number(above) > as_number(up_to):
            raise QueryError(f"expected above <= up_to, found {above} and {up_to}")
        return ends[1] - ends[0]

    def _numbers(self, name: str, given: Any) -> Tensor:
        return numbers_as_tensor(name, given, self.law.mix.weights.device, QueryError)

    def _printed(self) -> Printed:
        """Return mean, spread and quantiles on a line, and where they are from."""
        header, row = ["mean", "sd"], [self.mean, self.sd]
        if self.zero is not None:
            header, row = ["P(0)", *header], [self.zero, *row]
        header += [f"{100 * q:g}%" for q in PRINTED_QUANTILES]
        row += list(self.quantile(PRINTED_QUANTILES))
        grid = Grid(header, [[f"{x:.4g}" for x in row]], n_left=0)
        lines = []
        if self.rests_on_few:
            lines.append(
                "the mean lies beyond the 90% quantile: it rests on few, very large numbers; "
                "compare medians"
            )
        if self.spread is not None and not self.spread.refused:
            low, high = self.interval()
            lines.append(f"{interval_title(self.level)} of the mean: [{low:.4g}, {high:.4g}]")
        lines += fit_lines(self.certainty, self.spread)
        lines += engine_lines(self.engine, self.law.mix, "the mean", self.monte_carlo_error)
        return Printed(self.title, (grid,), (*lines, *self.notes))

    __str__ = __repr__ = as_text
    _repr_html_ = as_html


@dataclass(frozen=True, eq=False)
class CategoricalAnswer(AnswerAbout):
    """P(outcome | do, evidence) of an outcome with states.

    Attributes:
        law: the probabilities, as tensors.
    """

    law: StateLaw

    @property
    def values(self) -> np.ndarray:
        """Probability of every state."""
        return self.law.probs.detach().cpu().numpy()

    @property
    def states(self) -> tuple[Hashable, ...]:
        """Names of the states."""
        return self.spec.binned.states_of(self.question.outcome)

    @property
    def state_names(self) -> dict[str, list[Hashable]]:
        """The same by the name of the outcome."""
        return {self.spec.name(self.question.outcome): list(self.states)}

    @property
    def monte_carlo_error(self) -> np.ndarray:
        """Standard error of every probability by sampling; zero where they are exact."""
        return self.law.mix.error_of(self.law.scores).cpu().numpy()

    def interval(self, level: float | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return an interval for every probability.

        Args:
            level: that of the answer unless told.

        Raises:
            QueryError: there is none; it says why.
        """
        return ends_of(self.spread, self.title, self.level if level is None else level)

    def prob(self, /, **states: Hashable) -> float:
        """Return the probability of a state, ``answer.prob(Y="high")``.

        Raises:
            QueryError: not the outcome's name, or an unknown state.
        """
        name = self.spec.name(self.question.outcome)
        if list(states) != [name]:
            raise QueryError(f"expected a state of the outcome, e.g. {name}={self.states[0]!r}, "
                             f"found {states}")  # fmt: skip
        return float(self.values[self.spec.binned.state(self.question.outcome, states[name])])

    def _printed(self) -> Printed:
        """Return a table of the states, and where the probabilities are from."""
        name = self.spec.name(self.question.outcome)
        rows = [[str(s), f"{p:.4f}"] for s, p in zip(self.states, self.values, strict=True)]
        header = [name, "probability"]
        if self.spread is not None and not self.spread.refused:
            header.append(interval_title(self.level))
            low, high = self.interval()
            for row, a, b in zip(rows, low, high, strict=True):
                row.append(f"[{a:.4f}, {b:.4f}]")
        error = float(self.monte_carlo_error.max())
        lines = fit_lines(self.certainty, self.spread)
        lines += engine_lines(self.engine, self.law.mix, "a probability", error)
        return Printed(self.title, (Grid(header, rows),), (*lines, *self.notes))

    __str__ = __repr__ = as_text
    _repr_html_ = as_html


MixedAnswer = NumericAnswer | CategoricalAnswer


def answer_of(
    spec: MixedSpec, question: Question, law: NumericLaw | StateLaw, engine: Engine
) -> MixedAnswer:
    """A law with its question."""
    if isinstance(law, StateLaw):
        return CategoricalAnswer(spec, question, law, engine)
    return NumericAnswer(spec, question, law, engine)


def ends_of(spread: Spread | None, title: str, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Ends of intervals.

    Raises:
        QueryError: there is none; it says why.
    """
    if spread is None:
        raise QueryError(f"{title} has no interval: it is the answer of a mixture; ask a fit")
    if spread.refused:
        raise QueryError(f"{title} has no interval: {spread.refused}")
    return spread.interval(level)


def fit_lines(certainty: Certainty | None, spread: Spread | None) -> list[str]:
    """Lines under the answer of a fit: how certain it is, and why it has no interval."""
    lines = [] if certainty is None else [certainty_line(certainty)]
    if spread is not None and spread.refused:
        lines.append(f"interval: none, {spread.refused}")
    elif spread is not None:
        lines.append(f"interval: by {_how(spread)}")
    return lines


def _how(spread: Spread) -> str:
    """What an interval is from, and what it leans on."""
    if spread.drawn_by == "gibbs":
        return "draws of the posterior (gibbs), given the shape of the noise that is assumed"
    if spread.draws is not None:
        return "replicates of the table, whatever the shape of the noise"
    if bool(np.isinf(spread.errors).any()):
        return (
            "standard errors, and the table leaves a direction open; fit.bootstrap() and "
            'fit.refine(method="gibbs") have draws'
        )
    return "standard errors, whatever the shape of the noise"


def engine_lines(engine: Engine, mix: Weighed, what: str, error: float) -> list[str]:
    """Lines under an answer: whether it is exact, and how far off it may be if not.

    Args:
        engine: that answered.
        mix: weights of its draws.
        what: has the error.
        error: standard error of that.
    """
    if mix.effective is None:
        return ["exact, a sum over sources and states"]
    why = f", since {engine.reason}" if engine.reason else ""
    lines = [
        f"by {engine.name}{why}: {len(mix.weights):,} draws, worth {mix.effective:,.0f}; Monte "
        f"Carlo error of {what} {error:.2g}"
    ]
    if mix.effective < FEW:
        lines.append("few draws agree with the evidence: take the answer for a guess, or ask with "
                     "more n_samples")  # fmt: skip
    return lines


def is_numeric(spec: MixedSpec, vertex: int) -> bool:
    """Whether a vertex, perhaps the source, is a number."""
    return vertex != SOURCE and spec.kind(vertex).numeric


def cells_of(
    laws: Sequence[NumericLaw | StateLaw], summary: Summary
) -> tuple[np.ndarray, np.ndarray]:
    """What is looked at of some laws, and its standard errors, a row each."""
    with torch.no_grad():
        values = torch.stack([summary.of(law) for law in laws])
        errors = torch.stack([law.mix.error_of(summary.scores(law)) for law in laws])
    return values.cpu().numpy(), errors.cpu().numpy()


def _plain(found: Tensor, *, array: bool = False) -> Any:
    found = found.detach().cpu()
    return found.numpy() if array or found.ndim else float(found)
