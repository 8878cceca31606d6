"""What a predictive check found: pairs and blocks against the table, the worst first."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pyromix.errors import QueryError
from pyromix.model.printed import Printed, as_html, as_text
from pyromix.model.ties import ordered

if TYPE_CHECKING:
    import pandas as pd

LEAST_P = 1e-12
"""p-values are printed down to this one: tails are not known better."""

EQUAL_TAILS = 1e-6
"""Relative difference up to which two p-values are one."""

PRINTED = 5
"""Lines of the printed table."""


@dataclass(frozen=True)
class PairCheck:
    """One pair margin against the table.

    Attributes:
        names: of the two variables.
        statistic: asymptotically chi-square where graph and k are right.
        dof: its degrees of freedom; 0 where fitting leaves nothing to compare.
        p_value: of the statistic.
        adjusted: after Holm's correction over all pairs.
        residual: of the cell that deviates most, in standard errors.
        cell: the states of this cell.
        observed: its share of the rows.
        expected: its probability in the fitted mixture.
        bvr: bivariate residual, Pearson's chi-square of the margin by ``(r - 1) (c - 1)``, as
            latent class analysis has it [J. K. Vermunt, J. Magidson, Latent GOLD's User's Guide,
            2000]; it has no law of its own, ``p_value`` has.
    """

    names: tuple[str, str]
    statistic: float
    dof: int
    p_value: float
    adjusted: float
    residual: float
    cell: tuple[object, object]
    observed: float
    expected: float
    bvr: float

    def __str__(self) -> str:
        """One line."""
        (a, b), (s, t) = self.names, self.cell
        return (
            f"{a}, {b}: {_p(self.adjusted)}; {a}={s!r}, {b}={t!r} in {self.observed:.4f} of "
            f"the rows, {self.expected:.4f} expected ({self.residual:+.1f} standard errors)"
        )


@dataclass(frozen=True)
class BlockCheck:
    """Whether two d-separated blocks have a table of rank k at most.

    Attributes:
        one: names of the variables of the first block.
        other: names of those of the second.
        given: names of those conditioned on.
        statistic: asymptotically chi-square where the rank is at most k.
        dof: its degrees of freedom.
        p_value: of the statistic.
        adjusted: after Holm's correction over all blocks.
    """

    one: tuple[str, ...]
    other: tuple[str, ...]
    given: tuple[str, ...]
    statistic: float
    dof: int
    p_value: float
    adjusted: float

    @property
    def pair(self) -> str:
        """The two blocks, by name."""
        given = f" given {{{', '.join(self.given)}}}" if self.given else ""
        return f"{{{', '.join(self.one)}}} and {{{', '.join(self.other)}}}{given}"

    def __str__(self) -> str:
        """One line."""
        return f"{self.pair}: {_p(self.adjusted)}"


def _p(value: float) -> str:
    return f"p = {value:.2g}" if value >= LEAST_P else f"p < {LEAST_P:g}"


Check = TypeVar("Check", PairCheck, BlockCheck)


@dataclass(frozen=True)
class PredictiveCheck:
    """What of the table the fitted mixture does not reproduce.

    Attributes:
        pairs: margins of pairs of variables, the worst first.
        blocks: ranks of d-separated blocks, the worst first: these need no fit, only graph and k.
        n_sources: k.
        level: of each of the two families of tests.
        notes: what limits the comparison.
    """

    pairs: tuple[PairCheck, ...]
    blocks: tuple[BlockCheck, ...]
    n_sources: int
    level: float
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether no pair and no block contradicts the model at the level."""
        found = [c.adjusted for c in (*self.pairs, *self.blocks)]
        return min(found, default=1.0) >= self.level

    @property
    def worst(self) -> PairCheck | BlockCheck:
        """The comparison with the smallest adjusted p-value.

        Raises:
            QueryError: one variable alone has nothing to compare.
        """
        if not (self.pairs or self.blocks):
            raise QueryError(
                "expected two or more variables to compare with the table, found a single "
                "variable: it has no pair margins, and no blocks"
            )
        found = (*self.pairs, *self.blocks)
        return found[worst_first(found)[0]]

    def to_frame(self) -> pd.DataFrame:
        """One row per pair, the worst first, and a column per number."""
        from pyromix.data.frames import to_pandas

        columns = {
            "one": [c.names[0] for c in self.pairs],
            "other": [c.names[1] for c in self.pairs],
        }
        for name in ("statistic", "dof", "p_value", "adjusted", "residual", "bvr"):
            columns[name] = [getattr(c, name) for c in self.pairs]
        return to_pandas(columns)

    def _printed(self) -> Printed:
        """Verdict, and the worst of each kind."""
        lines = []
        for kind, found in (
            (f"{len(self.pairs)} pair margins", self.pairs),
            (f"{len(self.blocks)} pairs of blocks of rank {self.n_sources} at most", self.blocks),
        ):
            bad = [c for c in found if c.adjusted < self.level]
            verdict = f"{len(bad)} contradict the model" if bad else "none contradicts the model"
            lines.append(f"{kind}: {verdict} at level {self.level:g}" if found else f"{kind}")
            lines += [f"  {c}" for c in (bad[:PRINTED] or found[:1])]
        return Printed(lines[0], lines=(*lines[1:], *self.notes))

    __str__ = __repr__ = as_text
    _repr_html_ = as_html


def worst_first(found: Sequence[PairCheck | BlockCheck]) -> list[int]:
    """Places by adjusted, then by plain p-value; of equals those of the first variables first.

    Logarithms, since tails are known to a relative error.
    """
    keys = [[math.log(max(p, sys.float_info.min)) for p in (c.adjusted, c.p_value)] for c in found]
    return ordered(keys, EQUAL_TAILS, relative=0.0)
