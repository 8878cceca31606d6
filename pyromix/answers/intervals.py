"""Intervals of several answers at once, and which method gave each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.answers.delta import Delta
from pyromix.answers.inquiry import Inquiry, Limit
from pyromix.answers.profile import Reach
from pyromix.answers.trust import Targets, is_curved, leans_on_few
from pyromix.errors import QueryError
from pyromix.exact.information import MAX_INFORMATION_PARAMETERS
from pyromix.model.arguments import level_of, one_of

MAX_SEARCHED = 24
"""Values of one answer for which intervals by likelihood are searched unasked."""


class Method(StrEnum):
    """How an interval was found, in words."""

    DELTA = "delta method"
    ROUGH = "delta method, rough here (few rows, or a bent likelihood)"
    DRAWS = "quantiles of draws"
    PROFILE = "profile likelihood"
    FEW_ROWS = "profile likelihood, limit for few rows"
    WEAK = "profile likelihood, limit for weak answers"
    SET = "profile likelihood over all that fits as well"


METHODS = ("auto", "delta", "profile", "draws")
"""What ``interval(method=...)`` takes."""

OF_LIMIT = {
    Limit.ORDINARY: Method.PROFILE,
    Limit.FEW_ROWS: Method.FEW_ROWS,
    Limit.WEAK: Method.WEAK,
    Limit.SET: Method.SET,
}


@dataclass(frozen=True, eq=False)
class Interval:
    """Intervals of the values of one answer.

    Attributes:
        low: lower ends.
        high: upper ends.
        level: share of the probability between them.
        methods: of each value.
        searches: by likelihood, what the search of each value found; None for other methods.
    """

    low: Float[np.ndarray, " values"]
    high: Float[np.ndarray, " values"]
    level: float
    methods: tuple[Method, ...]
    searches: tuple[Reach | None, ...]

    @property
    def words(self) -> str:
        """The methods, each once."""
        return "; ".join(dict.fromkeys(self.methods))


@dataclass(frozen=True, eq=False)
class Basis:
    """What intervals of some values can be made of.

    Attributes:
        values: the point, ``(values,)``.
        bounds: range of each value.
        normal: from values, standard errors and a level to two ends, by the delta method.
        scale: on which an interval of the delta method is normal.
        delta: standard errors; None where nobody asked.
        draws: ``(n, values)``; at least two, or else none count.
        targets: the values as a function of mixtures; None where there is no table to ask.
        inquiry: the table; None where there is none.
        refused: why there is no interval, where there is none.
        known: intervals found so far, by level and method.
    """

    values: Float[np.ndarray, " values"]
    bounds: tuple[float, float]
    normal: Callable[[np.ndarray, np.ndarray, float], tuple[np.ndarray, np.ndarray]]
    scale: Callable[[np.ndarray], np.ndarray]
    delta: Delta | None
    draws: Float[Tensor, "n values"] | None
    targets: Targets | None
    inquiry: Inquiry | None
    refused: str
    known: dict[tuple[float, str], Interval] = field(default_factory=dict)

    @property
    def searchable(self) -> bool:
        """Whether searches of the likelihood can be afforded."""
        return self.targets is not None and self.inquiry is not None and self.inquiry.searches

    @property
    def doubted(self) -> bool:
        """Whether neither draws nor the delta method cover: weak, or not identified."""
        return self.inquiry is not None and self.inquiry.limit is not Limit.ORDINARY

    @property
    def available(self) -> bool:
        """Whether there is an interval."""
        if self.doubted and self.searchable and len(self.values) <= MAX_SEARCHED:
            return True
        return self.draws is not None or self.delta is not None

    def interval(self, level: float, method: str = "auto") -> Interval:
        """Intervals at a level, worked out once.

        Raises:
            QueryError: no such method, nothing to make one of, or a level outside of (0, 1).
        """
        one_of("method", method, METHODS)
        level = level_of(level)
        if (level, method) not in self.known:
            self.known[level, method] = self._found(level, method)
        return self.known[level, method]

    def _found(self, level: float, method: str) -> Interval:
        n = len(self.values)
        if method == "profile" or (
            method == "auto" and self.doubted and self.searchable and n <= MAX_SEARCHED
        ):
            if self.inquiry is None or not self.searchable:
                raise QueryError(
                    "an interval by profile likelihood searches the table of a fit of at most "
                    f"{MAX_INFORMATION_PARAMETERS:,} parameters; found no table, or a larger model"
                )
            limits = [self.inquiry.limit] * n
            if self.inquiry.limit is Limit.ORDINARY:
                few = self._few()
                limits = [Limit.FEW_ROWS if bad else Limit.ORDINARY for bad in few]
            return self._searched(level, limits)
        if method == "draws" or (method == "auto" and self.draws is not None):
            if self.draws is None:
                raise QueryError(
                    "this answer has no draws to take quantiles of; fit.bootstrap() and "
                    "fit.refine(method=...) have draws"
                )
            low, high = quantiles(self.draws, level)
            return Interval(low, high, level, (Method.DRAWS,) * n, (None,) * n)
        if self.delta is None:
            raise QueryError(self.refused)
        errors = self.delta.standard_errors
        low, high = self.normal(self.values, errors, level)
        found = Interval(low, high, level, (Method.DELTA,) * n, (None,) * n)
        if method == "delta" or n > MAX_SEARCHED:
            return found
        limits = self._untrusted()
        if not self.searchable:
            methods = tuple(Method.DELTA if limit is None else Method.ROUGH for limit in limits)
            return replace(found, methods=methods)
        return self._mended(found, limits)

    # -- by likelihood -------------------------------------------------------------------------

    def _untrusted(self) -> list[Limit | None]:
        """Per value the limit that takes the place of the delta method; None where it will do."""
        inquiry, delta = self.inquiry, self.delta
        if inquiry is None or delta is None or self.targets is None:
            return [None] * len(self.values)
        few = self._few()
        surface = inquiry.surface
        mixture = inquiry.fit.mixture
        curved = is_curved(surface, mixture, delta, self.targets, self.scale)
        return [
            Limit.FEW_ROWS if bad else Limit.ORDINARY if bent else None
            for bad, bent in zip(few, curved, strict=True)
        ]

    def _few(self) -> np.ndarray:
        inquiry = self.inquiry
        if inquiry is None or self.targets is None:
            return np.zeros(len(self.values), dtype=bool)
        errors = np.zeros(len(self.values))
        if self.delta is not None:
            errors = self.delta.standard_errors
        fit = inquiry.fit
        return leans_on_few(fit.mixture, fit.row_masses, self.targets, errors)

    def _searched(self, level: float, limits: list[Limit]) -> Interval:
        n = len(self.values)
        nothing = np.full(n, np.nan)
        start = Interval(nothing, nothing.copy(), level, (Method.PROFILE,) * n, (None,) * n)
        return self._mended(start, list(limits))

    def _mended(self, found: Interval, limits: list[Limit | None]) -> Interval:
        """Search where a limit stands; of two values that add up to a constant, once."""
        low, high = found.low.copy(), found.high.copy()
        methods, searches = list(found.methods), list(found.searches)
        pair = len(self.values) == 2 and abs(self.values.sum() - self._total) < 1e-9
        for i in reversed(range(len(self.values))):
            limit = limits[i]
            if limit is None:
                continue
            methods[i] = OF_LIMIT[limit]
            if pair and i == 0 and limits[1] is limit:
                low[0], high[0] = self._total - high[1], self._total - low[1]
                searches[0] = searches[1]
                continue
            ends = self._ends(i, found.level, limit)
            low[i] = min(ends.low, self.values[i])
            high[i] = max(ends.high, self.values[i])
            searches[i] = ends
        return Interval(low, high, found.level, tuple(methods), tuple(searches))

    @property
    def _total(self) -> float:
        return self.bounds[0] + self.bounds[1]

    def _ends(self, i: int, level: float, limit: Limit) -> Reach:
        targets, inquiry = self.targets, self.inquiry
        if targets is None or inquiry is None:
            raise QueryError(self.refused)
        error = np.inf if self.delta is None else float(self.delta.standard_errors[i])
        return inquiry.ends(lambda m: targets(m)[:, i], self.bounds, error, level, limit)


def quantiles(draws: Float[Tensor, "n ..."], level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the quantiles that leave ``(1 - level) / 2`` of the draws on either side.

    Raises:
        QueryError: fewer than two draws, or the level does not lie between 0 and 1.
    """
    level = level_of(level)
    if draws.shape[0] < 2:
        raise QueryError(
            f"expected draws to take an interval of, found {draws.shape[0]} answer; ask a mixture "
            "with a batch axis of draws (a bootstrap or a posterior)"
        )
    tail = (1 - level) / 2
    ends = torch.tensor([tail, 1 - tail], dtype=draws.dtype, device=draws.device)
    ordered = draws.sort(0).values  # torch.quantile stops at 16 million numbers
    place = ends * (draws.shape[0] - 1)
    below = place.floor().long()
    part = (place - below).reshape(-1, *(1 for _ in draws.shape[1:]))
    found = ordered[below] + part * (ordered[place.ceil().long()] - ordered[below])
    low, high = found.cpu().numpy()
    return low, high
