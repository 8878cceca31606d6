"""Answers to one question under other assumptions, side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pyromix.answers.answer import Answer
from pyromix.answers.difference import Difference, difference_of_scenarios
from pyromix.answers.wording import interval_title, scenarios
from pyromix.errors import QueryError
from pyromix.model.arguments import one_of
from pyromix.model.printed import Grid, Printed, as_html, as_text

if TYPE_CHECKING:
    import pandas as pd

FIT, N_SOURCES, VIEW, OPTIMUM, CUTS = "fit", "n_sources", "view", "optimum", "cuts"
"""Kinds of variations."""

KINDS = (FIT, N_SOURCES, VIEW, OPTIMUM, CUTS)

CELLS = 6
"""Columns of the printed table."""


@dataclass(frozen=True, eq=False)
class Variation:
    """One other assumption, and what follows.

    Attributes:
        kind: ``"fit"`` (as it was), ``"n_sources"``, ``"view"``, ``"optimum"`` or ``"cuts"``.
        words: what differs.
        found: the answer; None where there is none.
        note: why there is none, or what to think of it; perhaps empty.
        identified: False where the question is not identified under this assumption.
        dropped: names of the variables left out; of kind ``"view"`` alone.
    """

    kind: str
    words: str
    found: Answer | None
    note: str = ""
    identified: bool = True
    dropped: tuple[str, ...] = ()

    @property
    def answer(self) -> Answer:
        """The answer.

        Raises:
            QueryError: there is none.
        """
        if self.found is None:
            raise QueryError(f"{self.words}: no answer, {self.note}")
        return self.found

    @cached_property
    def difference(self) -> Difference:
        """Of a question about one outcome under two scenarios, the second less the first.

        Raises:
            QueryError: there is no answer, or it is to another question.
        """
        return difference_of_scenarios(self.answer)


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """Answers to one question, side by side.

    Attributes:
        title: the question.
        variations: the fit itself first.
        notes: what was not varied, and why.
    """

    title: str
    variations: tuple[Variation, ...]
    notes: tuple[str, ...] = ()

    def of(self, kind: str) -> Sensitivity:
        """The fit itself and the variations of one kind.

        Args:
            kind: ``"n_sources"``, ``"view"``, ``"optimum"`` or ``"cuts"``.

        Raises:
            QueryError: there is no such kind.
        """
        kind = one_of("kind", kind, KINDS)
        first, *others = self.variations
        return replace(self, variations=(first, *(v for v in others if v.kind == kind)))

    @property
    def largest_change(self) -> float:
        """Largest change of any cell, over all variations that have an answer."""
        first = self.variations[0].answer.values
        changes = [abs(v.answer.values - first).max() for v in self.variations if v.found]
        return float(max(changes))

    def to_frame(self) -> pd.DataFrame:
        """One row per variation: ``kind``, ``words``, one column per cell, ``note``."""
        from pyromix.data.frames import to_pandas

        header = self._header()
        columns: dict[str, Any] = {
            "kind": [v.kind for v in self.variations],
            "words": [v.words for v in self.variations],
        }
        for i, name in enumerate(header):
            columns[name] = [
                float(v.answer.values.flat[i]) if v.found else float("nan") for v in self.variations
            ]
        columns["note"] = [v.note for v in self.variations]
        return to_pandas(columns)

    @property
    def has_differences(self) -> bool:
        """Whether the question is about one outcome under two scenarios."""
        query = self.variations[0].answer.query
        return query.n_scenarios == 2 and len(query.outcomes) == 1

    @property
    def largest_change_of_difference(self) -> float:
        """Largest change of the difference of two scenarios, in any state of the outcome.

        Raises:
            QueryError: the question is another one.
        """
        first = self.variations[0].difference.values
        changes = [abs(v.difference.values - first).max() for v in self.variations if v.found]
        return float(max(changes))

    def differences(self, level: float | None = None) -> pd.DataFrame:
        """What going from the first scenario to the second does, under every variation.

        Args:
            level: of the intervals; that of the answers unless told.

        Returns:
            One row per variation and state of the outcome: ``kind``, ``words``, ``state`` (of the
            fit, by its place), ``difference``, ``low``, ``high`` (nan where there are none) and
            ``note``.

        Raises:
            QueryError: the question is not about one outcome under two scenarios.
        """
        from pyromix.data.frames import to_pandas

        states = self.variations[0].difference.states
        rows: list[tuple[Any, ...]] = []
        for v in self.variations:
            values, low, high = (np.full(len(states), np.nan) for _ in range(3))
            if v.found:
                values = v.difference.values
                if v.difference.has_interval:
                    low, high = v.difference.interval(level)
            numbers = zip(states, values.tolist(), low.tolist(), high.tolist(), strict=True)
            rows += [(v.kind, v.words, *cells, v.note) for cells in numbers]
        names = ("kind", "words", "state", "difference", "low", "high", "note")
        return to_pandas({name: [row[i] for row in rows] for i, name in enumerate(names)})

    def _printed(self) -> Printed:
        """Return the question, and a table with one line per variation."""
        header = self._header()[:CELLS]
        rows = []
        for v in self.variations:
            cells = [f"{p:.4f}" for p in v.answer.values.flat] if v.found else ["-"] * len(header)
            rows.append([v.words, *cells[: len(header)]])
        grids = [Grid(["", *header], rows)]
        cuts = self.of(CUTS)
        lines = [f"{v.words}: {v.note}" for v in self.variations if v.note]
        if self.has_differences and any(v.found for v in cuts.variations[1:]):
            grids.append(cuts._effects())
            most = cuts.largest_change_of_difference
            lines.append(f"other cut points change the difference by {most:.4f} at most")
        return Printed(f"Sensitivity of {self.title}", tuple(grids), (*lines, *self.notes))

    def _effects(self) -> Grid:
        """The difference of the two scenarios, of the state in which it is largest."""
        first = self.variations[0].difference
        state = 1 if len(first.states) == 2 else int(abs(first.values).argmax())
        arms = scenarios(self.variations[0].answer.spec, self.variations[0].answer.query)
        rows = []
        for v in self.variations:
            cells = ["-", "-"]
            if v.found:
                cells = [f"{v.difference.values[state]:+.4f}", "none"]
                if v.difference.has_interval:
                    low, high = (ends[state] for ends in v.difference.interval())
                    cells[1] = f"[{low:+.4f}, {high:+.4f}]"
            rows.append([v.words, *cells])
        about = f"{first.outcome}={first.states[state]!r}, {arms[0]} -> {arms[1]}"
        return Grid([about, "difference", interval_title(first.level)], rows)

    __str__ = __repr__ = as_text
    _repr_html_ = as_html

    def _header(self) -> list[str]:
        frame = self.variations[0].answer.to_frame()
        names = [c for c in frame.columns if c not in ("probability", "low", "high")]
        return [
            ", ".join(str(cell) for cell in row) for row in frame[names].itertuples(index=False)
        ]
