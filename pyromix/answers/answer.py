"""What a query returns: probabilities with names, an interval where there are draws."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from scipy.special import logit
from torch import Tensor

from pyromix.answers.delta import Delta, probability_interval
from pyromix.answers.gate import figures
from pyromix.answers.heard import Hearing
from pyromix.answers.intervals import Basis, Interval
from pyromix.answers.wording import (
    certainty_line,
    interval_title,
    question,
    scenarios,
)
from pyromix.errors import QueryError
from pyromix.exact.elimination import marginal
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.printed import Grid, Printed, as_html, as_text
from pyromix.model.query import Certainty, DoQuery
from pyromix.model.spec import MixtureSpec

if TYPE_CHECKING:
    import pandas as pd
    from pgmpy.factors.discrete import DiscreteFactor

PRINTED_CELLS = 40
"""Longer answers are cut when printed; ``to_frame`` has all cells."""

SAID_UNSUPPORTED = 1e-6
"""Probability resting on rows that no data reached, from which on it is said."""


@dataclass(frozen=True, eq=False)
class Answer:
    """P(outcomes | do, evidence).

    Attributes:
        spec: the structure that knows the names.
        query: what was asked.
        probs: ``(*batch, [scenarios,] *cards of the outcomes)``, one answer per draw; nan for a
            draw in which the evidence is impossible.
        point: ``([scenarios,] *cards)``, the answer of the estimate itself; the mean of the draws
            where they are all there is.
        certainty: how firmly data determine the answer; ``NONE`` unless somebody certified it.
        unsupported: ``(*batch, [scenarios])``, the probability under the do of using rows of
            tables that no data reached; zero where nobody counted.
        delta: standard errors of a point estimate; None where nobody asked.
        heard: the question as the table of a fit was heard on it; None for a bare mixture.
        level: of the interval that is printed, and that ``interval()`` gives unless told.
    """

    spec: MixtureSpec
    query: DoQuery
    probs: Float[Tensor, ...]
    point: Float[Tensor, ...]
    certainty: Certainty
    unsupported: Float[Tensor, ...]
    delta: Delta | None = None
    heard: Hearing | None = None
    level: float = 0.95

    @property
    def title(self) -> str:
        """The question as it is written on paper."""
        return question(self.spec, self.query)

    @property
    def values(self) -> np.ndarray:
        """Probabilities, one axis per outcome in the order asked; scenarios are the first axis."""
        return self.point.detach().cpu().numpy()

    @property
    def state_names(self) -> dict[str, list[Hashable]]:
        """State names per outcome, in the order of the axes."""
        spec = self.spec
        return {spec.name(v): list(spec.states_of(v)) for v in self.query.outcomes}

    @property
    def draws(self) -> np.ndarray:
        """One answer per draw of the fit, ``(n, *values.shape)``, in probabilities.

        Draws in which the evidence is impossible are left out. Those of a point estimate are the
        estimate itself: ``n`` is then 1.
        """
        return self._draws().cpu().numpy()

    @property
    def has_draws(self) -> bool:
        """Whether there are at least two draws, and so an interval."""
        return self._draws().shape[0] > 1

    @property
    def has_interval(self) -> bool:
        """Whether there is one: by likelihood, by the delta method, or from draws."""
        return self._basis.available

    @property
    def standard_error(self) -> np.ndarray:
        """Of every value, shaped like ``values``: of the draws, or by the delta method.

        Raises:
            QueryError: there are neither draws nor an information matrix.
        """
        if self.has_draws:
            return self._draws().std(0).cpu().numpy()
        if self.delta is None:
            raise QueryError(self._basis.refused)
        return self.delta.standard_errors.reshape(self.values.shape)

    def interval(
        self, level: float | None = None, method: str = "auto"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return an interval for every value.

        Args:
            level: the share of the probability between the two ends; that of the answer unless
                told.
            method: ``"delta"``, normal in log-odds; ``"profile"``, all answers whose likelihood is
                within a limit of the best, which holds where the normal law does not (THEORY
                section 14); ``"draws"``, equal-tailed quantiles; or ``"auto"``: profile where the
                answer is weak or not identified, else draws where there are any, else delta,
                profile taking its place where delta is not to be trusted.

        Returns:
            ``(low, high)``, each shaped like ``values``.

        Raises:
            QueryError: there is nothing to make one of, no such method, or the level does not
                lie between 0 and 1.
        """
        found = self.interval_report(level, method)
        shape = self.values.shape
        return found.low.reshape(shape), found.high.reshape(shape)

    def interval_report(self, level: float | None = None, method: str = "auto") -> Interval:
        """The same intervals, cells along one axis, with how each was found.

        Args:
            level: as in ``interval``.
            method: as in ``interval``.

        Raises:
            QueryError: as ``interval``.
        """
        return self._basis.interval(self.level if level is None else level, method)

    @cached_property
    def _basis(self) -> Basis:
        query, cells = self.query, self.values.size

        def targets(mixture: BayesNetMixture) -> Tensor:
            return marginal(mixture, query).flatten(1)

        nothing = (
            f"{self.title} has no interval: it is one answer of a mixture without draws; ask a "
            "fit (fit.query(..., interval=True)), or one with draws (fit.bootstrap())"
        )
        return Basis(
            values=self.values.ravel(),
            bounds=(0.0, 1.0),
            normal=probability_interval,
            scale=logit,
            delta=self.delta,
            draws=self._draws().reshape(-1, cells) if self.has_draws else None,
            targets=targets,
            inquiry=None if self.heard is None else self.heard.inquiry,
            refused=nothing
            if self.heard is None
            else f"{self.title} has no interval: {self.heard.missing}",
        )

    def prob(self, /, **states: Hashable) -> float:
        """Return the probability that the named outcomes have these states.

        Outcomes that are not named are summed over.

        Raises:
            QueryError: a name is no outcome, a state is unknown, or there are scenarios.
        """
        if self.query.n_scenarios is not None:
            raise QueryError(
                f"{self.title} has {self.query.n_scenarios} scenarios; read .values, whose first "
                "axis they are"
            )
        named = {self.spec.vertex(name): state for name, state in states.items()}
        if other := [self.spec.name(v) for v in named if v not in self.query.outcomes]:
            raise QueryError(f"{other} are not among the outcomes {list(self.state_names)}")
        cells = tuple(
            self.spec.state(v, named[v]) if v in named else slice(None) for v in self.query.outcomes
        )
        return float(self.point[cells].sum())

    def to_factor(self) -> DiscreteFactor:
        """Return the answer as a pgmpy DiscreteFactor.

        Raises:
            QueryError: there are scenarios, which a factor has no axis for.
        """
        if self.query.n_scenarios is not None:
            raise QueryError(
                f"a DiscreteFactor has no axis for the {self.query.n_scenarios} scenarios of "
                f"{self.title}; ask for one at a time, or use .to_frame()"
            )
        from pyromix.bridges.pgmpy import to_factor

        cards = [self.spec.card(v) for v in self.query.outcomes]
        return to_factor(list(self.state_names), cards, self.values, self.state_names)

    def to_frame(self, level: float | None = None) -> pd.DataFrame:
        """Return a DataFrame with one row per cell.

        Args:
            level: of the interval, for answers that have one; that of the answer unless told.

        Returns:
            A column per outcome with its state names, before them ``scenario`` where there are
            some, after them ``probability``, and ``low`` and ``high`` where there is an interval.

        Raises:
            QueryError: an outcome has the name of one of these columns.
        """
        from pyromix.data.frames import to_pandas

        cells, names = self._cells(), self._header()
        columns: dict[str, Any] = {
            name: [cell[i] for cell in cells] for i, name in enumerate(names)
        }
        numbers = {"probability": self.values.ravel()}
        if self.has_interval:
            low, high = self.interval(level)
            numbers |= {"low": low.ravel(), "high": high.ravel()}
        if taken := [name for name in self.state_names if name in {"scenario", *numbers}]:
            raise QueryError(
                f"the frame has columns {['scenario', *numbers]} of its own, and outcomes are named"
                f" {taken}; read .values and .state_names"
            )
        return to_pandas(columns | numbers)

    def _printed(self) -> Printed:
        """Return the question, a table of its cells, and how certain the answer is."""
        cells, values = self._cells()[:PRINTED_CELLS], self.values.ravel()
        header = [*self._header(), "probability"]
        rows = [[*map(str, cell), f"{p:.4f}"] for cell, p in zip(cells, values, strict=False)]
        if self.has_interval:
            found = self.interval_report()
            header.append(interval_title(self.level))
            for row, low, high in zip(rows, found.low, found.high, strict=False):
                row.append(f"[{low:.4f}, {high:.4f}]")
        lines = []
        if left := values.size - len(cells):
            lines.append(f"... {left} more cells, see to_frame()")
        worst = float(self.unsupported.max())
        if worst > SAID_UNSUPPORTED:
            lines.append(f"unsupported: up to {worst:.2g} rests on rows that no data reached")
        lines += interval_lines(self._basis, self.heard, self.level)
        lines += [certainty_line(self.certainty), *doubt_lines(self.heard)]
        return Printed(self.title, (Grid(header, rows, len(self._header())),), tuple(lines))

    __str__ = __repr__ = as_text
    _repr_html_ = as_html

    def _draws(self) -> Tensor:
        """The draws along one first axis."""
        return telling(self.probs.detach().reshape(-1, *self.point.shape))

    def _header(self) -> list[str]:
        return (["scenario"] if self.query.n_scenarios is not None else []) + list(self.state_names)

    def _cells(self) -> list[tuple[Hashable, ...]]:
        """Scenario and states of every cell, last outcome fastest."""
        axes = list(self.state_names.values())
        if self.query.n_scenarios is not None:
            axes = [list(scenarios(self.spec, self.query)), *axes]
        return list(itertools.product(*axes))


def interval_lines(basis: Basis, heard: Hearing | None, level: float) -> list[str]:
    """Lines under an answer: how its interval was found, or why there is none."""
    if not basis.available:
        return [f"interval: none, {heard.refused}"] if heard is not None and heard.refused else []
    found = basis.interval(level)
    said = f"interval: {found.words}"
    # An interval by searches is found from inside: how many ended where it ends tells how firmly.
    several = [
        reach for reach in found.searches if reach is not None and max(reach.n_down, reach.n_up) > 1
    ]
    if several:
        last = several[-1]
        said += (
            f", its ends reached from inside by {last.n_low} of {last.n_down} and {last.n_high} "
            f"of {last.n_up} searches"
        )
    return [said]


def doubt_lines(heard: Hearing | None) -> list[str]:
    """Lines under a weak answer: what of the table makes it so."""
    return [] if heard is None else [f"  {figure}" for figure in figures(heard.verdict)]


def telling(draws: Float[Tensor, "draws ..."]) -> Float[Tensor, "some ..."]:
    """Leave out draws that say nothing: they are nan where they rule the evidence out."""
    return draws[draws.isfinite().flatten(1).all(1)]
