"""What is left of an answer where data do not determine it: a range, and how it was found."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pyromix.answers.natural import Pair
from pyromix.answers.wording import certainty_line
from pyromix.errors import QueryError
from pyromix.model.arguments import level_of
from pyromix.model.printed import columns_of_text
from pyromix.model.query import Certainty

if TYPE_CHECKING:
    import pandas as pd

PRINTED_CELLS = 40
"""Longer ones are cut when printed; ``to_frame`` has all cells."""

POINT = 1e-4
"""Width below which a range is a point: searches are exact to about that."""


@dataclass(frozen=True, eq=False)
class Range:
    """The answers of all mixtures with k sources that fit as well as the best, as searches found.

    Attributes:
        n_sources: k.
        low: least answers, shaped like ``Answer.values``.
        high: largest answers.
        n_searches: starts that reached the law, each searched from in all directions.
        n_low: per value how many of the searches ended at the lower end.
        n_high: per value how many ended at the upper end.
        sampling: from a level to both ends with what sampling leaves open; None where there is no
            table.
        refused: why there is none, where there is none; a clause.
    """

    n_sources: int
    low: np.ndarray
    high: np.ndarray
    n_searches: int
    n_low: np.ndarray
    n_high: np.ndarray
    sampling: Callable[[float], Pair] | None
    refused: str = ""
    known: dict[float, Pair] = field(default_factory=dict)

    def interval(self, level: float) -> Pair:
        """The range with what sampling leaves open: a profile likelihood interval of the set.

        Args:
            level: the probability with which any one answer of the set is covered.

        Returns:
            ``(low, high)``, shaped like ``low``; never inside the range itself.

        Raises:
            QueryError: there is no table, or the level does not lie between 0 and 1.
        """
        level = level_of(level)
        if self.sampling is None:
            raise QueryError(f"these bounds have no part for sampling: {self.refused}")
        if level not in self.known:
            low, high = self.sampling(level)
            self.known[level] = np.minimum(low, self.low), np.maximum(high, self.high)
        return self.known[level]


@dataclass(frozen=True, eq=False)
class Bounds:
    """Between what an answer lies, among mixtures that fit as well as the best.

    Attributes:
        title: the question.
        names: of the columns of labels.
        cells: labels of every value, last axis fastest.
        certainty: how firmly data determine the answer; from ``LOCAL`` on it is a point, and the
            interval that of ``fit.query``.
        range: with as many sources as the fit.
        next_k: with one more.
        natural: ends that hold for any number of sources, at the fitted law; None with evidence
            on a descendant of what is set.
        level: of the interval that is printed, and that ``interval()`` gives unless told.
        arms: of a difference between two scenarios, the bounds of both; else None.
        contrast: of two scenarios their difference, the second less the first; else None.
    """

    title: str
    names: tuple[str, ...]
    cells: tuple[tuple[Hashable, ...], ...]
    certainty: Certainty
    range: Range
    next_k: Range
    natural: Pair | None
    level: float
    contrast: Bounds | None = None

    @property
    def low(self) -> np.ndarray:
        """Least answers among mixtures that fit as well as the best, shaped like an answer."""
        return self.range.low

    @property
    def high(self) -> np.ndarray:
        """Largest answers among mixtures that fit as well as the best, shaped like an answer."""
        return self.range.high

    @property
    def has_interval(self) -> bool:
        """Whether there is a table, and so a part for sampling."""
        return self.range.sampling is not None

    def interval(self, level: float | None = None) -> Pair:
        """Return ``(low, high)`` with what sampling leaves open, shaped like ``low``.

        Args:
            level: that of the bounds unless told.

        Raises:
            QueryError: there is no table, or the level does not lie between 0 and 1.
        """
        return self.range.interval(self.level if level is None else level)

    @property
    def difference(self) -> Bounds:
        """Bounds of the second scenario less the first, one per joint state of the outcomes.

        Raises:
            QueryError: there are not two scenarios.
        """
        if self.contrast is None:
            raise QueryError(
                f"{self.title}: a difference is one of two scenarios; ask with two states of one "
                "treatment in a list"
            )
        return self.contrast

    @property
    def certified(self) -> bool:
        """Whether graph and table determine the answer, so that bounds are not needed."""
        return self.certainty.at_least(Certainty.LOCAL)

    def to_records(self) -> list[dict[str, Any]]:
        """One mapping per value, of plain texts and numbers, ready for JSON."""
        more = self.next_k
        columns: dict[str, np.ndarray] = {"low": self.low, "high": self.high}
        if self.has_interval:
            columns["interval_low"], columns["interval_high"] = self.interval()
        columns |= {"next_k_low": more.low, "next_k_high": more.high}
        if more.sampling is not None:
            low, high = more.interval(self.level)
            columns |= {"next_k_interval_low": low, "next_k_interval_high": high}
        if self.natural is not None:
            columns["natural_low"], columns["natural_high"] = self.natural
        counts = {
            "searches": np.full(self.low.shape, self.range.n_searches),
            "reached_low": self.range.n_low,
            "reached_high": self.range.n_high,
        }
        return [
            dict(zip(self.names, cell, strict=True))
            | {name: float(column.ravel()[i]) for name, column in columns.items()}
            | {name: int(column.ravel()[i]) for name, column in counts.items()}
            for i, cell in enumerate(self.cells)
        ]

    def to_frame(self) -> pd.DataFrame:
        """Return a DataFrame with one row per value: labels, ends, and searches."""
        from pyromix.data.frames import to_pandas

        records = self.to_records()
        return to_pandas({name: [record[name] for record in records] for name in records[0]})

    def __str__(self) -> str:
        """The question, its ends, and what they mean."""
        lines = [f"Bounds of {self.title}", *self._table()]
        if left := len(self.cells) - PRINTED_CELLS:
            lines += [f"... {left} more cells, see to_frame()"] * (left > 0)
        lines += [self.sentence, self._searches(self.range), self._searches(self.next_k)]
        if self.natural is None:
            lines.append("natural bounds: none, with evidence on what the treatment may change")
        if not self.has_interval:
            lines.append(f"interval: none, {self.range.refused}")
        text = "\n".join([*lines, certainty_line(self.certainty)])
        return text if self.contrast is None else f"{text}\n\n{self.contrast}"

    __repr__ = __str__

    @property
    def sentence(self) -> str:
        """What the ends mean, in one sentence, for the last value."""
        k, cell = self.range.n_sources, self.labelled(-1)
        low, high = (float(end.ravel()[-1]) for end in (self.low, self.high))
        many = f"{k} source{'s' * (k > 1)}"
        if self.certified and high - low < POINT:
            how = f"determined ({self.certainty.value})"
            return f"{cell}: {how}, so that bounds are not needed: {low:.4f}, with {many}"
        if self.certainty is Certainty.WEAK:
            return (
                f"{cell}: [{low:.4f}, {high:.4f}] at the law that fits best, which this table "
                "hardly shows: what sampling leaves open is what counts"
            )
        if high - low < POINT:
            return (
                f"{cell}: {low:.4f} is all that was found among mixtures with {many} that fit as "
                "well; another k gives another range"
            )
        return (
            f"{cell}: at least as wide as [{low:.4f}, {high:.4f}] among mixtures with {many} that "
            "fit as well; another k gives another range"
        )

    def labelled(self, place: int) -> str:
        """The labels of one value, such as ``X='treated', Y=better``.

        Args:
            place: of the value, last axis fastest.
        """
        cell = zip(self.names, self.cells[place], strict=True)
        return ", ".join(
            f"{name}={label}" if name != "scenario" else str(label) for name, label in cell
        )

    def _table(self) -> list[str]:
        """A line per value."""
        k = self.range.n_sources
        header = [*self.names]
        columns = []
        for found, many in ((self.range, k), (self.next_k, k + 1)):
            columns.append((f"k = {many}", (found.low, found.high)))
            if found.sampling is not None:
                title = f"with sampling, {100 * self.level:g}%"
                columns.append((title, found.interval(self.level)))
        if self.natural is not None:
            columns.append(("any k", self.natural))
        rows = [
            [*map(str, cell), *(_between(ends, i) for _, ends in columns)]
            for i, cell in enumerate(self.cells[:PRINTED_CELLS])
        ]
        return columns_of_text(
            [*header, *(title for title, _ in columns)], rows, n_left=len(header)
        )

    def _searches(self, found: Range) -> str:
        low, high = int(found.n_low.ravel()[-1]), int(found.n_high.ravel()[-1])
        return (
            f"k = {found.n_sources}: ends reached from inside by {low} and {high} of "
            f"{found.n_searches} searches"
        )


def _between(ends: Pair, place: int) -> str:
    low, high = (float(end.ravel()[place]) for end in ends)
    return f"[{low:.4f}, {high:.4f}]"
