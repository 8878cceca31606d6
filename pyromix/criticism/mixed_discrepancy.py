"""What of a table a fit with numbers does not reproduce: columns, pairs, residuals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyromix.model.printed import Printed, as_html, as_text

if TYPE_CHECKING:
    import pandas as pd

SHAPE, MEAN = "shape", "mean"
"""What of residuals is tested."""

PRINTED = 5
"""Lines of each kind that are printed."""


@dataclass(frozen=True)
class ColumnCheck:
    """One column against the table.

    Attributes:
        name: of the variable.
        at: where the two laws differ most: a number in the units of the table, or a state.
        observed: share of the rows at or below this number, or in this state.
        expected: the same of the fit.
        distance: ``|observed - expected|``: of a number the Kolmogorov-Smirnov distance.
        p_value: of the distance, were the fit's law not learned from this table.
        adjusted: after Holm's correction over all columns.
    """

    name: str
    at: object
    observed: float
    expected: float
    distance: float
    p_value: float
    adjusted: float = 1.0

    def __str__(self) -> str:
        """One line."""
        number = isinstance(self.at, float)
        what = f"at or below {self.at:.4g}" if number else f"in state {self.at!r}"
        return (
            f"{self.name}: p = {self.adjusted:.2g}; {self.observed:.3f} of the rows {what}, "
            f"{self.expected:.3f} expected"
        )


@dataclass(frozen=True)
class DependenceCheck:
    """Two columns together against the table.

    Attributes:
        names: of the variables.
        observed: correlation of their normal scores in the table.
        expected: the same of the fit.
        p_value: of the difference, were the fit's law not learned from this table.
        adjusted: after Holm's correction over all pairs.
    """

    names: tuple[str, str]
    observed: float
    expected: float
    p_value: float
    adjusted: float = 1.0

    def __str__(self) -> str:
        """One line."""
        return (
            f"{', '.join(self.names)}: p = {self.adjusted:.2g}; correlation of normal scores "
            f"{self.observed:+.3f}, {self.expected:+.3f} expected"
        )


@dataclass(frozen=True)
class ResidualCheck:
    """Quantile residuals of a column of numbers, given its parents and what tells of U.

    Attributes:
        name: of the variable.
        parents: its numeric parents.
        kind: ``"shape"``, the law of the residuals, or ``"mean"``, how they go with bends of the
            parents.
        statistic: of the shape the largest distance of distribution functions; of the mean a
            chi-square.
        worst: the function of the parents that residuals go with most, in words; empty for the
            shape.
        correlation: with it; nan for the shape.
        p_value: of the statistic.
        adjusted: after Holm's correction over all residuals of this kind.
    """

    name: str
    parents: tuple[str, ...]
    kind: str
    statistic: float
    worst: str
    correlation: float
    p_value: float
    adjusted: float = 1.0

    def __str__(self) -> str:
        """One line."""
        about = f"{self.name} given {', '.join(self.parents)}" if self.parents else self.name
        if self.kind == SHAPE:
            return (
                f"{about}: p = {self.adjusted:.2g}; residuals are off their law by "
                f"{self.statistic:.3f}"
            )
        return (
            f"{about}: p = {self.adjusted:.2g}; residuals go with {self.worst}, correlation "
            f"{self.correlation:+.3f}"
        )


@dataclass(frozen=True)
class MixedPredictiveCheck:
    """What of a table a fit with numbers does not reproduce.

    Attributes:
        columns: each for itself, the worst first.
        pairs: every two together, the worst first.
        residuals: of each column of numbers given its parents, the worst first.
        level: of each of the four families of tests: columns, pairs, laws and means of residuals.
        notes: what limits the comparison.
    """

    columns: tuple[ColumnCheck, ...]
    pairs: tuple[DependenceCheck, ...]
    residuals: tuple[ResidualCheck, ...]
    level: float
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether no column, no pair and no residual contradicts the fit at the level."""
        return not self.contradictions

    @property
    def contradictions(self) -> tuple[ColumnCheck | DependenceCheck | ResidualCheck, ...]:
        """What has an adjusted p-value below the level."""
        found = (*self.columns, *self.pairs, *self.residuals)
        return tuple(c for c in found if c.adjusted < self.level)

    def to_frame(self) -> pd.DataFrame:
        """One row per column of the table, the worst first, and a column per number."""
        from pyromix.data.frames import to_pandas

        names = ("name", "at", "observed", "expected", "distance", "p_value", "adjusted")
        return to_pandas({n: [getattr(c, n) for c in self.columns] for n in names})

    def _printed(self) -> Printed:
        lines: list[str] = []
        families: tuple[tuple[str, Sequence[Any]], ...] = (
            (f"{len(self.columns)} columns", self.columns),
            (f"{len(self.pairs)} pairs of columns", self.pairs),
            (f"{len(self.residuals)} tests of residuals given the parents", self.residuals),
        )
        for what, found in families[: 3 if self.residuals else 2]:
            bad = [c for c in found if c.adjusted < self.level]
            verdict = f"{len(bad)} contradict the fit" if bad else "none contradicts the fit"
            lines.append(f"{what}: {verdict} at level {self.level:g}" if found else what)
            lines += [f"  {c}" for c in (bad[:PRINTED] or found[:1])]
        return Printed(lines[0], lines=(*lines[1:], *self.notes))

    __str__ = __repr__ = as_text
    _repr_html_ = as_html
