"""Numbers of sources side by side: what every criterion says of each, and which it chooses."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from pyromix.criticism.disagreement import why_others_differ
from pyromix.data.folds import EQUAL_SCORES
from pyromix.data.frames import to_pandas
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.fitting.record import Fit
from pyromix.identify.product.rank import RankEstimate
from pyromix.model.printed import Grid, Printed
from pyromix.model.ties import first_smallest

if TYPE_CHECKING:
    import pandas as pd

NOT_REPRODUCED = (
    "the chosen k does not reproduce all pair margins: an edge may be missing, or k be too small "
    "(fit.predictive_check())"
)

RANKS_ONLY = (
    "rank tests alone: the data answer moments only, and BIC, ICL and held-out likelihood need rows"
)

BY_SHAPE = "shape"
"""Of a candidate with numbers that nothing but the shape of their noise identifies."""

ONLY_SHAPE = (
    "shape: only the shape of the noise would tell so many sources; they do not stand for election"
)

STOPPED = (
    "* stopped: at the pace of its EM no criterion but AIC could choose it any more; its logL may "
    "be higher, and its AIC lower (finish_all=True climbs to the end)"
)

COLUMNS = (
    *("k", "identified", "params", "logL", "BIC", "ICL", "R2"),
    *("held-out", "(s.e.)", "rank p", "fit p", "starts"),
)
"""Of the table that is printed."""

PENALISED = ("aic", "bic", "caic", "sabic", "icl")
"""Criteria of a likelihood and a price; the smallest is best."""

CRITERIA = ("rank", *PENALISED, "held_out")

WHAT_HOLDS = ("rank", "bic", "held_out")
"""Criteria that ask how many sources there are, each in another way."""


@dataclass(frozen=True)
class Candidate:
    """One number of sources.

    Attributes:
        n_sources: k.
        identified: ``"yes"`` where the mixture is locally identified at this k, ``"no"`` where it
            is not, ``"unknown"`` where the model is too large for the certificate, ``"shape"``
            where only the shape of the noise of numbers would.
        n_parameters: free probabilities, and free numbers of lines and variances.
        log_likelihood: of the fit, sum over rows.
        bic: smaller is better.
        icl: smaller is better.
        entropy_r2: 1 where every row's source is certain, 0 where none is.
        held_out: mean log-likelihood of held-out rows, in nats per row.
        held_out_error: standard error of its difference from the best candidate's.
        rank_p_value: smallest p-value, after Holm's correction, of the hypothesis that k sources
            suffice; nan where no table can contradict it.
        fit_p_value: smallest p-value, after Holm's correction, over the pair margins of the fit: of
            the hypothesis that this k and this graph are right. One where there are no pairs.
        n_starts: starts of the fit.
        n_best: starts that reached the best optimum.
        aic: Akaike's criterion; smaller is better, as of the next two.
        caic: Bozdogan's.
        sabic: BIC adjusted for the size of the sample.
        stopped: whether EM left off before its end, since no criterion but AIC could choose this
            candidate any more; its log-likelihood is a lower bound, and its AIC an upper one.
    """

    n_sources: int
    identified: str
    n_parameters: int
    log_likelihood: float
    bic: float
    icl: float
    entropy_r2: float
    held_out: float
    held_out_error: float
    rank_p_value: float
    fit_p_value: float
    n_starts: int
    n_best: int
    aic: float
    caic: float
    sabic: float
    stopped: bool = False


@dataclass(frozen=True)
class Selection:
    """Candidates for k, and what each criterion says.

    Attributes:
        candidates: by increasing k.
        ranks: estimated numbers of sources by rank tests; empty where no blocks can be tested.
        level: of the rank tests.
        notes: sentences.
        fits: of the candidates; none where there were no rows.
    """

    candidates: tuple[Candidate, ...]
    ranks: tuple[RankEstimate, ...]
    level: float
    notes: tuple[str, ...]
    fits: tuple[Fit, ...] | tuple[MixedRecord, ...] = field(default=(), compare=False, repr=False)

    @property
    def choices(self) -> dict[str, int]:
        """The k that each criterion chooses.

        ``aic``, ``bic``, ``caic``, ``sabic`` and ``icl`` the smallest value, of equal ones that of
        the smallest k; ``held_out`` the smallest k within one standard error of the best; ``rank``
        the first that no test rejects. Only candidates that are not known to be unidentified stand
        for election, where there are any. Data that answer moments only are judged by ``rank``
        alone.
        """
        chosen = {"rank": max(r.rank for r in self.ranks)} if self.ranks else {}
        if self.by_ranks_alone:
            return chosen
        elect = [c for c in self.candidates if c.identified not in ("no", BY_SHAPE)]
        elect = elect or list(self.candidates)
        highest = max(c.held_out for c in elect)
        for name in PENALISED:
            place = first_smallest(getattr(c, name) for c in elect)
            chosen[name] = elect[place].n_sources
        chosen["held_out"] = min(
            c.n_sources for c in elect if c.held_out >= highest - c.held_out_error - EQUAL_SCORES
        )
        return {name: chosen[name] for name in CRITERIA if name in chosen}

    @property
    def best(self) -> int:
        """The choice of BIC; of the rank tests where the data have no rows."""
        return self.choices["rank" if self.by_ranks_alone else "bic"]

    @property
    def by_ranks_alone(self) -> bool:
        """Whether there were no rows: nothing was fitted, and likelihoods are nan."""
        return all(math.isnan(c.log_likelihood) for c in self.candidates)

    @property
    def agree(self) -> bool:
        """Whether rank tests, BIC and held-out likelihood choose the same k.

        ICL answers another question: how many sources rows can be told apart by. Effects do not
        need that. AIC, CAIC and SABIC are BIC at another price.
        """
        return len({k for name, k in self.choices.items() if name in WHAT_HOLDS}) == 1

    @property
    def reproduced(self) -> bool:
        """Whether the chosen candidate reproduces all pair margins of the table, at the level.

        Where it does not, an edge may be missing, and a larger k may be standing in for it. Without
        rows no candidate is contradicted.
        """
        chosen = next(c for c in self.candidates if c.n_sources == self.best)
        return not chosen.fit_p_value < self.level

    @property
    def reasons(self) -> tuple[str, ...]:
        """Of each criterion that does not choose as BIC does, a sentence with what decided."""
        if self.by_ranks_alone:
            return ()
        return why_others_differ(self.candidates, self.choices, self.best, self.level)

    def to_frame(self) -> pd.DataFrame:
        """The table, one row per candidate."""
        rows = [asdict(c) for c in self.candidates]
        return to_pandas({name: [row[name] for row in rows] for name in rows[0]})

    def __str__(self) -> str:
        """The table, then what each criterion chooses."""
        wide = (2, 10, 7, 13, 12, 12, 5, 9, 8, 8, 8, 9)
        lines = [
            " ".join(f"{cell:>{width}}" for cell, width in zip(row, wide, strict=True))
            for row in (COLUMNS, *map(_cells, self.candidates))
        ]
        marks = ["", *(" *" * c.stopped for c in self.candidates)]
        table = [f"{line}{mark}" for line, mark in zip(lines, marks, strict=True)]
        return "\n".join([*table, *self._said])

    @property
    def _said(self) -> list[str]:
        """What stands below the table."""
        said = ", ".join(
            f"{name} {k}{' or more' if name == 'rank' and self.rank_at_limit else ''}"
            for name, k in self.choices.items()
        )
        verdict = (
            f"rank tests, BIC and held-out likelihood agree on {self.best}"
            if self.agree
            else "they disagree: compare the answers under each"
        )
        verdict = RANKS_ONLY if self.by_ranks_alone else verdict
        misfit = [] if self.reproduced else [NOT_REPRODUCED]
        misfit += [ONLY_SHAPE] * any(c.identified == BY_SHAPE for c in self.candidates)
        misfit += [STOPPED] * any(c.stopped for c in self.candidates)
        return [f"chosen: {said}", verdict, *self.reasons, *misfit, *self.notes]

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        rows = [
            (*cells[:-1], f"{cells[-1]}{' *' * candidate.stopped}")
            for cells, candidate in ((_cells(c), c) for c in self.candidates)
        ]
        return Printed("Numbers of sources", (Grid(COLUMNS, rows, 0),), tuple(self._said)).html()

    @property
    def rank_at_limit(self) -> bool:
        """Whether the rank tests rejected every rank that they can contradict."""
        return any(r.at_limit for r in self.ranks)


def _cells(c: Candidate) -> tuple[str, ...]:
    """A candidate as it is printed, under ``COLUMNS``."""
    return (
        str(c.n_sources),
        c.identified,
        str(c.n_parameters),
        f"{c.log_likelihood:.3f}",
        f"{c.bic:.2f}",
        f"{c.icl:.2f}",
        f"{c.entropy_r2:.2f}",
        f"{c.held_out:.4f}",
        f"{c.held_out_error:.4f}",
        "-" if math.isnan(c.rank_p_value) else f"{c.rank_p_value:.2g}",
        f"{c.fit_p_value:.2g}",
        f"{c.n_best}/{c.n_starts}",
    )
