"""The bootstrap likelihood-ratio test of k sources against k - 1 (THEORY section 21).

Twice the gain in log-likelihood has no chi-square law here: with k - 1 sources the k-th is
anywhere, or of weight nothing. Its law is that on tables simulated from the fit with k - 1 [G. J.
McLachlan, On bootstrapping the likelihood ratio test statistic for the number of components in a
normal mixture, Applied Statistics 36, 1987], each climbed from as many random starts as the table.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.criticism.resuming import Observed, checkpoint_of_test, gains_step, observed_step
from pyromix.data.counts import Counts
from pyromix.data.moments import Rows
from pyromix.data.weights import COUNTS
from pyromix.errors import DataError, SpecError, StartsDisagreeWarning, warn
from pyromix.estimate.em import climb_replicates
from pyromix.estimate.progress import progress_bar
from pyromix.estimate.result import Ends
from pyromix.estimate.starts import check_starts, random_starts
from pyromix.fitting.inputs import take_in, without_edges
from pyromix.model.arguments import shown, whole
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.randomness import RandomState, check_seed, numpy_generator
from pyromix.model.schema import Schema
from pyromix.model.spec import MAX_SOURCES, MixtureSpec
from pyromix.posterior.chains import check_draws
from pyromix.posterior.simulated import Table, simulated, together

LISTED_CELLS = 2**12
"""Cells of the joint table up to which a table is one multinomial draw."""

NUMBERS = 2**21
"""Distinct rows times sources, starts and simulated tables that climb as one batch."""

KEPT_AT_ONCE = 20
"""Simulated tables between two times that a checkpoint is written."""

STEPS = 1000
"""EM steps of a start, on the table and on simulated ones alike."""

GAIN = 1e-5
"""Nats, over all rows, that a step of EM must gain."""


@dataclass(frozen=True)
class LikelihoodRatioTest:
    """What k sources gain over k - 1, and what they would gain if there were k - 1.

    Attributes:
        n_sources: k.
        log_likelihoods: of k - 1 and of k sources on the table, in nats.
        statistic: twice the difference of the two.
        simulated: the statistic of every table simulated from the fit with k - 1 sources.
        n_init: random starts of each climb.
    """

    n_sources: int
    log_likelihoods: tuple[float, float]
    statistic: float
    simulated: tuple[float, ...]
    n_init: int

    @property
    def p_value(self) -> float:
        """``(1 + #{simulated >= statistic}) / (n + 1)``."""
        reached = sum(value >= self.statistic for value in self.simulated)
        return (1 + reached) / (len(self.simulated) + 1)

    @property
    def n_negative(self) -> int:
        """Simulated tables on which k sources ended below k - 1: starts that failed there."""
        return sum(value < 0 for value in self.simulated)

    def __str__(self) -> str:
        """One line, and what is doubtful."""
        k, n = self.n_sources, len(self.simulated)
        lines = [
            f"{k} sources against {k - 1}: 2 (logL_{k} - logL_{k - 1}) = {self.statistic:.3f}, "
            f"p = {self.p_value:.3g} ({n} simulated tables, {self.n_init} starts each)"
        ]
        if self.n_negative:
            lines.append(
                f"on {self.n_negative} of {n} simulated tables {k} sources ended below {k - 1}: "
                "their starts failed, and more of them (n_init) would sharpen the test"
            )
        return "\n".join(lines)

    __repr__ = __str__


def bootstrap_lrt(
    data: Any,
    n_sources: int,
    *,
    model: Any = None,
    n: int = 199,
    n_init: int = 10,
    sample_weight: Any = None,
    weights_are: str = COUNTS,
    missing: str = "mar",
    missing_values: Any = None,
    state_names: Mapping[str, Sequence[Hashable]] | None = None,
    device: torch.device | str | None = None,
    random_state: RandomState = 0,
    show_progress: bool | None = None,
    checkpoint: str | PathLike[str] | None = None,
) -> LikelihoodRatioTest:
    """Test whether k - 1 sources suffice, by what k gain on tables simulated from k - 1.

    The simulated tables have as many rows as the table, and cells missing as in its rows. Number i
    is the same however many there are, and however many climb as one batch. Everything is by
    maximum likelihood.

    Args:
        data: a table, as in ``fit``.
        n_sources: k, at least 2.
        model: as in ``fit``; by default the columns are variables without edges.
        n: number of simulated tables; the least p-value is ``1 / (n + 1)``.
        n_init: random starts of each climb, on the table and on simulated ones.
        sample_weight: as in ``fit``.
        weights_are: as in ``fit``.
        missing: as in ``fit``.
        missing_values: as in ``fit``.
        state_names: as in ``fit``.
        device: as in ``fit``.
        random_state: of tables and starts.
        show_progress: as in ``fit``.
        checkpoint: a file that keeps the simulated tables that are done, a few at a time: called
            again with it after a stop (Ctrl-C, a crash), the test goes on, and ends at the same
            digits.

    Raises:
        SpecError: k is no whole number from 2 on, ``n_init`` no positive one, or the model is
            unusable.
        DataError: the table is unusable, or answers moments only.
        QueryError: n is no positive whole number.
        FileError: the checkpoint is damaged, or of another table, graph or option.
    """
    k = whole("n_sources", n_sources, 2, MAX_SOURCES, SpecError)
    n, n_init = whole("n", n, 1), whole("n_init", n_init, 1)
    check_seed(random_state)
    if model is None:
        model, data = without_edges(data, sample_weight, state_names, missing_values)
    taken, _ = take_in(
        model,
        data,
        k,
        state_names,
        sample_weight,
        missing,
        device,
        weights_are,
        missing_values,
    )
    if not isinstance(taken, Rows) or taken.exact:
        raise DataError(
            f"expected a table to simulate others like it, found {shown(data)}, which has no rows "
            "of a finite number; pass a table"
        )
    counts = taken.as_counts()
    check_draws(taken.spec, n, "take fewer simulated tables (n)")
    seed = int(numpy_generator(random_state).integers(2**62))
    specs = taken.spec.with_n_sources(k - 1), taken.spec
    options = {"n": n, "n_init": n_init, "seed": seed}
    kept = checkpoint_of_test(checkpoint, taken.spec, counts, options)
    with progress_bar(show_progress, n, f"{k} against {k - 1}") as tell:
        climbs = _Climbs(specs, counts, n_init, seed)
        own, top, estimate = observed_step(kept, specs[0], counts.device, climbs.observed)
        statistics: list[float] = []
        at_once = min(climbs.at_once, KEPT_AT_ONCE) if kept.kept else climbs.at_once
        for group in _groups(estimate, counts, n, at_once, seed):
            numbers = range(len(statistics) + 1, len(statistics) + 1 + group[1].shape[1])
            statistics += gains_step(kept, numbers, partial(climbs.gains, *group, numbers))
            tell(len(statistics), "")
    if own < 0:
        warn(
            f"{n_init} random starts with {k} sources ended {-own / 2:.3g} nats below those "
            f"with {k - 1}, which a mixture of {k} can reach: take more (n_init)",
            StartsDisagreeWarning,
        )
    return LikelihoodRatioTest(k, (top, top + own / 2), own, tuple(statistics), n_init)


@dataclass(frozen=True, eq=False)
class _Column:
    """Rows that several tables share; how often each has them, columns of weights say."""

    rows: Int[Tensor, "m variables"]
    weights: Float[Tensor, " m"]
    schema: Schema


@dataclass(frozen=True, eq=False)
class _Climbs:
    """How every table is climbed: the same number and kind of starts for all.

    Attributes:
        specs: with k - 1 and with k sources.
        counts: the table; starts are drawn around its margins.
        n_init: starts of each climb.
        seed: of the starts.
    """

    specs: tuple[MixtureSpec, MixtureSpec]
    counts: Counts
    n_init: int
    seed: int

    @property
    def at_once(self) -> int:
        """Simulated tables that climb as one batch."""
        size = self.counts.n_patterns * self.n_init * self.specs[1].n_sources
        return max(1, NUMBERS // size)

    def observed(self) -> Observed:
        """The gain on the table itself, where k - 1 sources ended, and the mixture there."""
        counts = self.counts
        own, null = self.gains(counts.rows, counts.weights[:, None], range(1))
        best = int(null.objectives.argmax())
        return own[0], float(null.objectives[best]), null.mixtures[best]

    def gains(
        self,
        rows: Int[Tensor, "m variables"],
        weights: Float[Tensor, "m tables"],
        numbers: range,
    ) -> tuple[list[float], Ends]:
        """2 (logL_k - logL_{k-1}) of each column of weights, and where k - 1 sources ended.

        Args:
            rows: of all tables together.
            weights: a column each.
            numbers: of the tables, which say which starts are theirs.
        """
        ends = [self._climbed(spec, rows, weights, numbers) for spec in self.specs]
        few, many = (e.objectives.reshape(len(numbers), -1).amax(1) for e in ends)
        return (2 * (many - few)).tolist(), ends[0]

    def _climbed(
        self,
        spec: MixtureSpec,
        rows: Int[Tensor, "m variables"],
        weights: Float[Tensor, "m tables"],
        numbers: range,
    ) -> Ends:
        n_init = self.n_init if spec.n_sources > 1 else 1
        check_starts(spec, n_init * len(numbers))
        starts = random_starts(
            spec,
            n_init * len(numbers),
            self.seed,
            device=rows.device,
            counts=self.counts,
            first=n_init * numbers[0],
        )
        return climb_replicates(
            _Column(rows, torch.ones_like(weights[:, 0]), spec.schema),
            starts,
            weights.repeat_interleave(n_init, 1),
            prior=PseudoCounts.of(spec, None, rows.device),
            max_iter=STEPS,
            tol=GAIN / float(weights[:, 0].sum()),
        )


def _groups(
    mixture: BayesNetMixture, counts: Counts, n: int, at_once: int, seed: int
) -> Iterator[tuple[Int[Tensor, "m variables"], Float[Tensor, "m tables"]]]:
    """Simulated tables, as many in a group as climb together; each from a branch of its own."""
    n_rows = max(1, round(counts.n_rows))
    listed = counts.complete and mixture.spec.n_cells <= LISTED_CELLS
    law = mixture.joint_table().reshape(-1).cpu().numpy() if listed else np.empty(0)
    for first in range(0, n, at_once):
        tables = []
        for i in range(first, min(first + at_once, n)):
            rng = np.random.default_rng((seed, i))
            if listed:
                tables.append(_listed(counts, mixture.spec, rng.multinomial(n_rows, law)))
            else:
                tables.append(simulated(mixture, counts, n_rows, int(rng.integers(2**62))))
        group = together(tables, math.inf)
        if group is not None:
            yield group


def _listed(counts: Counts, spec: MixtureSpec, drawn: np.ndarray) -> Table:
    """A table from how often each cell was drawn."""
    seen = np.flatnonzero(drawn)
    rows = np.stack(np.unravel_index(seen, spec.cards), 1)
    weights = torch.from_numpy(drawn[seen].astype(np.float64)).to(counts.device)
    return torch.from_numpy(rows).to(counts.device, counts.rows.dtype), weights[:, None]
