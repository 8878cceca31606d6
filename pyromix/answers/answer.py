"""What a query returns: probabilities with names, an interval where there are draws."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.answers.delta import Delta, probability_interval
from pyromix.answers.wording import certainty_line, columns_of_text, question, scenarios
from pyromix.errors import QueryError
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
    """

    spec: MixtureSpec
    query: DoQuery
    probs: Float[Tensor, ...]
    point: Float[Tensor, ...]
    certainty: Certainty
    unsupported: Float[Tensor, ...]
    delta: Delta | None = None

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
    def has_draws(self) -> bool:
        """Whether there are at least two draws, and so an interval."""
        return self._draws().shape[0] > 1

    @property
    def has_interval(self) -> bool:
        """Whether there is one: from draws, or by the delta method."""
        return self.has_draws or self.delta is not None

    @property
    def standard_error(self) -> np.ndarray:
        """Of every value, shaped like ``values``: of the draws, or by the delta method.

        Raises:
            QueryError: there are neither draws nor an information matrix.
        """
        if self.has_draws:
            return self._draws().std(0).cpu().numpy()
        return self._delta().standard_errors.reshape(self.values.shape)

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Return an interval for every value.

        Equal-tailed from the draws where there are any; for a point estimate by the delta method,
        normal in log-odds.

        Args:
            level: the share of the draws, or of the probability, between the two ends.

        Returns:
            ``(low, high)``, each shaped like ``values``.

        Raises:
            QueryError: there are neither draws nor an information matrix, or the level does not
                lie between 0 and 1.
        """
        if self.has_draws:
            return interval(self._draws(), level)
        errors = self._delta().standard_errors.reshape(self.values.shape)
        return probability_interval(self.values, errors, level)

    def _delta(self) -> Delta:
        if self.delta is None:
            raise QueryError(
                f"{self.title} has no interval: it is one answer of a mixture without draws; ask a "
                "fit (fit.query(..., interval=True)), or one with draws (fit.bootstrap())"
            )
        return self.delta

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

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Return a DataFrame with one row per cell.

        Args:
            level: of the interval, for answers that have one.

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

    def __str__(self) -> str:
        """The question, a table of its cells, and how certain the answer is."""
        cells, values = self._cells()[:PRINTED_CELLS], self.values.ravel()
        header = [*self._header(), "probability"]
        rows = [[*map(str, cell), f"{p:.4f}"] for cell, p in zip(cells, values, strict=False)]
        if self.has_interval:
            header.append("95% interval")
            ends = zip(*(end.ravel() for end in self.interval()), strict=True)
            for row, (low, high) in zip(rows, ends, strict=False):
                row.append(f"[{low:.4f}, {high:.4f}]")
        lines = [self.title, *columns_of_text(header, rows, n_left=len(self._header()))]
        if left := values.size - len(cells):
            lines.append(f"... {left} more cells, see to_frame()")
        worst = float(self.unsupported.max())
        if worst > SAID_UNSUPPORTED:
            lines.append(f"unsupported: up to {worst:.2g} rests on rows that no data reached")
        lines += dominated_line(self.delta)
        if self.delta is not None and bool(((self.values <= 0) | (self.values >= 1)).any()):
            lines.append(
                "interval: none at a probability estimated as 0 or 1; a prior, or "
                'fit.refine(method="gibbs"), gives one'
            )
        return "\n".join([*lines, certainty_line(self.certainty)])

    __repr__ = __str__

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


def dominated_line(delta: Delta | None) -> list[str]:
    """A line under an answer whose standard error means little; perhaps none."""
    if delta is None or delta.loose <= 0.5:
        return []
    return [
        "interval: rests mostly on directions that the data hardly determine; take fit.bootstrap()"
    ]


def telling(draws: Float[Tensor, "draws ..."]) -> Float[Tensor, "some ..."]:
    """Leave out draws that say nothing: they are nan where they rule the evidence out."""
    return draws[draws.isfinite().flatten(1).all(1)]


def interval(draws: Float[Tensor, "draws ..."], level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the quantiles that leave ``(1 - level) / 2`` of the draws on either side.

    Raises:
        QueryError: fewer than two draws, or the level does not lie between 0 and 1.
    """
    if not 0 < level < 1:
        raise QueryError(f"expected a level between 0 and 1, found {level}; e.g. level=0.95")
    if draws.shape[0] < 2:
        raise QueryError(
            f"expected draws to take an interval of, found {draws.shape[0]} answer; ask a mixture "
            "with a batch axis of draws (a bootstrap or a posterior)"
        )
    tail = (1 - level) / 2
    ends = torch.tensor([tail, 1 - tail], dtype=draws.dtype, device=draws.device)
    low, high = _quantiles(draws, ends).cpu().numpy()
    return low, high


def _quantiles(draws: Tensor, shares: Tensor) -> Tensor:
    """Linear interpolation between order statistics; torch.quantile stops at 16 million numbers."""
    ordered = draws.sort(0).values
    place = shares * (draws.shape[0] - 1)
    below = place.floor().long()
    above = place.ceil().long()
    part = (place - below).reshape(-1, *(1 for _ in draws.shape[1:]))
    return ordered[below] + part * (ordered[above] - ordered[below])
