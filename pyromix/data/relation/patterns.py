"""How many distinct rows a table has, foreseen from a sample of its rows.

From n rows with D distinct, f of them seen once, ``D + (N - n) f / n`` bounds the expected number
among N, since the chance that the next row is new only falls [I. J. Good, The population
frequencies of species and the estimation of population parameters, Biometrika 40, 1953]. What
comes true is less: the missing mass falls as a power of n, which n and n / 10 rows tell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

TENTH = 10
"""Share of the sample that the power is told by."""


@dataclass(frozen=True)
class Foreseen:
    """Number of distinct rows of a table.

    Attributes:
        n_rows: rows of the table.
        n_seen: rows of the sample; as many where all were seen.
        expected: by the power law.
        bound: what the expectation cannot pass.
    """

    n_rows: int
    n_seen: int
    expected: float
    bound: float


def foresee(groups: Int[Tensor, " rows"], n_rows: int) -> Foreseen:
    """Foresee the number of distinct rows among ``n_rows``.

    Args:
        groups: of each row of a sample, in random order, the number of its pattern.
        n_rows: rows of the table.
    """
    n = len(groups)
    distinct, once = _seen(groups)
    if n >= n_rows:
        return Foreseen(n_rows, n, float(distinct), float(distinct))
    bound = distinct + (n_rows - n) * once / n
    few = groups[: n // TENTH]
    power = 0.0
    if len(few):
        before = _seen(few)[1] / len(few)
        if once and before:
            power = math.log((once / n) / before) / math.log(n / len(few))
    power = min(0.0, max(power, -1.0))
    ratio = n_rows / n
    # the integral of (once / n) (t / n) ^ power over t from n to n_rows
    grown = math.log(ratio) if power == -1.0 else (ratio ** (power + 1) - 1) / (power + 1)
    return Foreseen(n_rows, n, distinct + once * grown, bound)


def _seen(groups: Int[Tensor, " rows"]) -> tuple[int, int]:
    """Distinct patterns, and those seen once."""
    times = groups.unique(return_counts=True)[1]
    return len(times), int((times == 1).sum())
