"""Step one of two: classes of rows by their items, and how answers move with them."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.answers.gate import admit
from pyromix.answers.mixed.corrected import Asked, Corrected, corrected
from pyromix.answers.mixed.items import Items
from pyromix.data.counts import Counts
from pyromix.errors import PyromixWarning
from pyromix.exact.likelihood import log_joint
from pyromix.exact.logspace import logsumexp
from pyromix.exact.rows import CellIndex
from pyromix.fitting import engine
from pyromix.fitting.record import Fit
from pyromix.identify.verdict import Findings, judge
from pyromix.model.parameters import ParameterAxis
from pyromix.model.query import Certainty, DoQuery
from pyromix.model.spec import SOURCE
from pyromix.model.status import Status

STEP = 1e-5
"""Of differences of log-probabilities, in log-odds."""


def step_one(
    items: Items, codes: Int[Tensor, "rows items"], weights: Float[Tensor, " rows"], require: str
) -> tuple[Fit, Certainty]:
    """Fit the latent class model, and say how certain the table makes it.

    Args:
        items: what it is made of.
        codes: bins of the items, -1 where missing.
        weights: of the rows.
        require: least certainty, by name.

    Raises:
        QueryError: no such level.
        NotCertifiedError: it is less certain.
    """
    counts = Counts.from_codes(items.classes, codes, weights)
    with warnings.catch_warnings():
        # What its starts have to say is not of this fit.
        warnings.simplefilter("ignore", PyromixWarning)
        first = engine.fit(
            items.classes, counts, items.classes.n_sources, random_state=0, show_progress=False
        )
        asked = (DoQuery(outcomes=(SOURCE,), do={}, evidence={}),)
        verdict = judge(items.classes, asked)
        if verdict.leans_on_source:
            verdict = verdict.hearing(Findings(signal=first.signal, stage=first.moments))
    return first, admit(verdict, require)


@dataclass(frozen=True, eq=False)
class Weighing:
    """Rows put into the sources of step one.

    Attributes:
        first: step one.
        items: what it is made of.
        codes: bins of the items, ``(rows, items)``, -1 where missing.
    """

    first: Fit
    items: Items
    codes: Int[Tensor, "rows items"]

    def shares(self, odds: Tensor | None = None) -> Float[Tensor, "rows k"]:
        """P(U | views) of every row, at the estimate unless log-odds are given."""
        rows = self.codes.clone()
        rows[:, self.items.n_views :] = -1
        return self._joint(rows, odds).softmax(-1)

    def answer(
        self, weights: Float[Tensor, " rows"], kept: Bool[Tensor, " rows"], asked: Asked
    ) -> tuple[Corrected, Float[Tensor, " rows"]]:
        """What step two finds, and what one more row like each would add to the difference.

        That is the derivative by the weight of the row, and by the log-odds of step one times
        what the row adds to these: the inverse of their information times its score.

        Args:
            weights: of the rows.
            kept: those that step two sees.
            asked: of these rows.
        """
        axis = ParameterAxis(self.items.classes)
        odds = axis.log_odds(self.first.mixture.tables).requires_grad_()
        own = weights.clone().requires_grad_()
        found = corrected(self.shares(odds)[kept], own[kept], asked)
        slopes = torch.full_like(weights, math.nan)
        if found.status is Status.OK:
            by_row, by_odds = torch.autograd.grad(found.difference, (own, odds))
            moved = self.first.information.solve(by_odds[None])[0]
            slopes = by_row + self._slopes(odds.detach(), moved)
        parts = (found.weights.detach(), found.arms.detach(), found.mistakes.detach())
        return Corrected(*parts, found.status), slopes

    def _slopes(self, odds: Tensor, direction: Tensor) -> Float[Tensor, " rows"]:
        """Derivative of the log-probability of every row along a direction."""
        size = float(direction.abs().max())
        if size == 0:
            return odds.new_zeros(len(self.codes))
        step = STEP / size * direction
        ahead, behind = (
            logsumexp(self._joint(self.codes, odds + sign * step), -1) for sign in (1, -1)
        )
        return (ahead - behind) * (size / (2 * STEP))

    def _joint(self, rows: Tensor, odds: Tensor | None) -> Float[Tensor, "rows k"]:
        """Logarithm of P(U, items) of every row."""
        spec = self.items.classes
        patterns, place = rows.unique(dim=0, return_inverse=True)
        tables = self.first.mixture.tables
        if odds is not None:
            tables = ParameterAxis(spec).tables_of_log_odds(odds)
        return log_joint((tables[0], tables[1:]), CellIndex(spec, patterns))[place]
