"""The curve of an outcome against a treatment that is set, and against one that is seen."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyromix.answers.mixed.answer import (
    cells_of,
    ends_of,
    engine_lines,
    fit_lines,
    is_numeric,
)
from pyromix.answers.mixed.effect import headline_of, roles_of
from pyromix.answers.mixed.engines import Engine, Summary, mixed_of
from pyromix.answers.mixed.law import Weighed
from pyromix.answers.mixed.question import Question, Setting, setting_of
from pyromix.answers.mixed.sampling import N_SAMPLES
from pyromix.answers.mixed.spread import Spread
from pyromix.answers.wording import interval_title
from pyromix.errors import QueryError
from pyromix.model.arguments import listed
from pyromix.model.kind import Kind
from pyromix.model.mixed import MixedMixture, MixedSpec
from pyromix.model.mixture import Fitted
from pyromix.model.printed import Grid, Printed, as_html, as_text
from pyromix.model.query import Certainty
from pyromix.model.randomness import RandomState

if TYPE_CHECKING:
    import pandas as pd

POINTS = 41
"""Points of a curve where nobody says."""

PRINTED_POINTS = 9


@dataclass(frozen=True, eq=False)
class DoseResponse:
    """An outcome along settings of the treatment.

    Attributes:
        spec: the structure that knows the names.
        treatment: vertex set, or seen.
        outcome: vertex looked at.
        summary: what of a numeric outcome is looked at.
        questions: one per setting, under the do.
        grid: settings: numbers in the units of the treatment, or names of states.
        all_values: under the do, a row per setting, a column per state, or one for a number.
        all_naive: the same of those seen with the setting.
        all_errors: Monte Carlo errors of the values.
        headline: the column that one curve is about, -1 for none.
        engine: which engine answered.
        mix: weights at the last setting.
        notes: further lines to be printed.
        certainty: how certain graph and table make the curve; None for that of a mixture.
        spread: how far its points may be off, point by point; None for that of a mixture.
        level: of the band that is printed.
    """

    spec: MixedSpec
    treatment: int
    outcome: int
    summary: Summary
    questions: tuple[Question, ...]
    grid: tuple[Hashable, ...]
    all_values: np.ndarray
    all_naive: np.ndarray
    all_errors: np.ndarray
    headline: int
    engine: Engine
    mix: Weighed
    notes: tuple[str, ...] = ()
    certainty: Certainty | None = None
    spread: Spread | None = None
    level: float = 0.95

    def band(self, level: float | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return an interval for every point of the curve, each for itself.

        Args:
            level: that of the curve unless told.

        Returns:
            ``(low, high)``, each shaped like ``values``.

        Raises:
            QueryError: there is none; it says why.
        """
        title = f"the curve along do({self.spec.name(self.treatment)})"
        ends = ends_of(self.spread, title, self.level if level is None else level)
        low, high = (end.reshape(self.all_values.shape) for end in ends)
        return self._curve(low), self._curve(high)

    @property
    def has_band(self) -> bool:
        """Whether there is a band."""
        return self.spread is not None and not self.spread.refused

    @property
    def values(self) -> np.ndarray:
        """The curve under the do, ``(points,)``; with a column per state where none was named."""
        return self._curve(self.all_values)

    @property
    def naive(self) -> np.ndarray:
        """The curve of what goes with the treatment, shaped like ``values``."""
        return self._curve(self.all_naive)

    @property
    def monte_carlo_error(self) -> np.ndarray:
        """Standard errors of ``values`` by sampling; zero where they are exact."""
        return self._curve(self.all_errors)

    def to_frame(self) -> pd.DataFrame:
        """Return a DataFrame with a row per setting, and per state where none was named.

        Returns:
            Columns: the treatment; ``state`` where there are several; ``do`` and ``naive``; of a
            fit also ``low`` and ``high``, the ends of the band.

        Raises:
            QueryError: the treatment has the name of one of these columns.
        """
        from pyromix.data.frames import to_pandas

        name = self.spec.name(self.treatment)
        if name in ("state", "do", "naive", "low", "high"):
            raise QueryError(f"the frame has columns 'state', 'do', 'naive', 'low' and 'high' of "
                             f"its own, and the treatment is named {name!r}; read .grid and "
                             ".values")  # fmt: skip
        card = self.values.shape[1] if self.values.ndim > 1 else 1
        columns: dict[str, Any] = {name: [at for at in self.grid for _ in range(card)]}
        if card > 1:
            columns["state"] = list(self.spec.binned.states_of(self.outcome)) * len(self.grid)
        columns |= {"do": self.values.ravel(), "naive": self.naive.ravel()}
        if self.has_band:
            columns |= dict(zip(("low", "high"), (e.ravel() for e in self.band()), strict=True))
        return to_pandas(columns)

    def _curve(self, rows: np.ndarray) -> np.ndarray:
        return rows if self.headline < 0 else rows[:, self.headline]

    def _printed(self) -> Printed:
        """Return some points of the curves."""
        n = len(self.grid)
        shown = sorted({round(i) for i in np.linspace(0, n - 1, min(n, PRINTED_POINTS))})
        outcome, name = self.spec.name(self.outcome), self.spec.name(self.treatment)
        cells = range(self.all_values.shape[1]) if self.headline < 0 else [self.headline]
        grids = []
        for cell in cells:
            what = f"{self.summary.words} of {outcome}"
            if not is_numeric(self.spec, self.outcome):
                what = f"P({outcome}={self.spec.binned.states_of(self.outcome)[cell]!r})"
            rows = [
                [_word(self.grid[i]), f"{self.all_values[i, cell]:.4g}",
                 f"{self.all_naive[i, cell]:.4g}"]
                for i in shown
            ]  # fmt: skip
            header = [name, f"{what}, do", "naive"]
            if self.spread is not None and self.has_band:
                header.append(interval_title(self.level))
                low, high = (e.reshape(self.all_values.shape)
                             for e in self.spread.interval(self.level))  # fmt: skip
                for row, i in zip(rows, shown, strict=True):
                    row.append(f"[{low[i, cell]:.4g}, {high[i, cell]:.4g}]")
            grids.append(Grid(header, rows))
        error = float(self.all_errors.max())
        lines = fit_lines(self.certainty, self.spread)
        lines += engine_lines(self.engine, self.mix, "a point of the curve, at most", error)
        if n > len(shown):
            lines.insert(0, f"{len(shown)} of {n} points, see .grid and .values")
        return Printed(f"{outcome} along do({name})", tuple(grids), (*lines, *self.notes))

    __str__ = __repr__ = as_text
    _repr_html_ = as_html


def dose_response(
    mixture: MixedMixture | Fitted,
    treatment: str,
    outcome: str,
    *,
    grid: Sequence[Any] | None = None,
    evidence: Mapping[str, Any] | None = None,
    quantile: float | None = None,
    outcome_state: Any = ...,
    engine: str = "auto",
    n_samples: int = N_SAMPLES,
    random_state: RandomState = 0,
) -> DoseResponse:
    """Follow an outcome along settings of the treatment, with the naive curve beside.

    Args:
        mixture: the laws of all vertices, or a fit.
        treatment: the variable set; its states are the settings where it has some.
        outcome: the mean of a number, or probabilities of states.
        grid: settings, in the units of the treatment; from its 2.5% to its 97.5% quantile unless
            told.
        evidence: conditions of every point.
        quantile: of a numeric outcome, instead of its mean.
        outcome_state: state that the curve is about; the second of two unless told.
        engine: as in ``query``; one for all points.
        n_samples: as in ``query``, at every point.
        random_state: as in ``query``; all points meet the same random numbers.

    Raises:
        QueryError: as ``effect``, or an empty grid.
        PositivityError: a point conditions on something impossible.
    """
    mixture = mixed_of(mixture)
    spec = mixture.spec
    x, y = roles_of(spec, treatment, outcome, evidence)
    summary = Summary.of_argument(quantile, numeric=is_numeric(spec, y))
    headline = headline_of(spec, y, outcome_state)
    given = Question.from_names(spec, outcome, None, evidence)
    how = Engine(engine, n_samples, random_state)
    settings = grid_of(mixture, x, grid, how)
    done = [replace(given, do={x: at}) for at in settings]
    seen = [replace(given, evidence={**given.evidence, x: at}) for at in settings]
    settled, settled_naive = how.settled(mixture, done), how.settled(mixture, seen)
    with torch.no_grad():
        laws = [settled.law(mixture, q) for q in done]
        naive = [settled_naive.law(mixture, q) for q in seen]
    values, errors = cells_of(laws, summary)
    names: Sequence[Hashable] = settings
    if not is_numeric(spec, x):
        names = [spec.binned.states_of(x)[int(at)] for at in settings]
    return DoseResponse(
        spec=spec,
        treatment=x,
        outcome=y,
        summary=summary,
        questions=tuple(done),
        grid=tuple(names),
        all_values=values,
        all_naive=cells_of(naive, summary)[0],
        all_errors=errors,
        headline=headline,
        engine=settled,
        mix=laws[-1].mix,
    )


def grid_of(
    mixture: MixedMixture, treatment: int, grid: Sequence[Any] | None, how: Engine
) -> list[Setting]:
    """The settings of a curve.

    Args:
        mixture: whose law of the treatment says where it lies.
        treatment: the vertex.
        grid: what was given.
        how: to find the law where nothing was given.

    Raises:
        QueryError: an empty grid, or a setting that the treatment cannot have.
    """
    spec = mixture.spec
    if grid is not None:
        found = listed("grid", grid, "settings of the treatment", QueryError)
        if not found:
            raise QueryError("grid must hold at least one setting of the treatment, found none")
        return [setting_of(spec, treatment, at, "grid") for at in found]
    if not is_numeric(spec, treatment):
        return list(range(spec.binned.card(treatment)))
    with torch.no_grad():
        law: Any = how.law(mixture, Question(treatment))
        low, high = law.quantile(law.mix.weights.new_tensor([0.025, 0.975])).tolist()
    if spec.kind(treatment) is Kind.COUNT:
        step = max(1, round((high - low) / (POINTS - 1)))
        return [float(at) for at in range(int(low), int(high) + 1, step)]
    return np.linspace(low, high, POINTS).tolist()


def _word(setting: Hashable) -> str:
    return f"{setting:.4g}" if isinstance(setting, float) else str(setting)
