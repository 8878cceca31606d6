"""The graph as it is, fitted, and every change by one edge: screened, then fitted.

Screening is by expected counts at the fit, a lower bound of the likelihood ratio; verification is
by EM from the M-step that these counts make (THEORY section 19.2). Likelihoods are unpenalised.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from scipy.special import gammaincc, gammaln

from pyromix.criticism.graph.dimension import dimension
from pyromix.criticism.graph.edits import DROP, TURN, Edit, covered
from pyromix.data.counts import Counts
from pyromix.estimate.em import climb
from pyromix.estimate.families import Families, n_free
from pyromix.estimate.starts import batch_of, random_starts
from pyromix.model.edges import Parents, parents_of, with_edges
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.spec import SOURCE, MixtureSpec

STEPS = 500
"""EM steps of a climb."""

GAIN = 1e-4
"""Nats, over all rows, that a step of EM must gain."""

FEW_ROWS = 5.0
"""Expected rows in a cell of a table, below which chi-square is not trusted (Cochran's rule)."""

SMALLEST = 1e-290
"""Tails below it are told by their expansion."""

NO_ROWS = 0.5
"""Expected rows behind a row of a table that has no degrees of freedom: nobody is in it."""


@dataclass(frozen=True, eq=False)
class Trial:
    """A change by one edge, and what it gains.

    Attributes:
        edit: the change.
        mixture: the fit after it; None where it was screened only.
        gain: of log-likelihood, in nats; at least that, where it was screened only.
        df: directions of parameters that a table shows more after it than before, negative for a
            dropped edge; of those that data reach.
        sparse: whether few rows stand behind a cell of a table that it makes or drops.
    """

    edit: Edit
    mixture: BayesNetMixture | None
    gain: float
    df: int
    sparse: bool

    @property
    def statistic(self) -> float:
        """Likelihood ratio of the larger graph against the smaller, ``2 (logL - logL)``."""
        sign = -2.0 if self.edit.kind == DROP else 2.0
        return sign * self.gain if self.edit.kind == TURN else max(sign * self.gain, 0.0)

    @property
    def testable(self) -> bool:
        """Whether the two graphs differ in what a table can show; turned ones are not nested."""
        return self.edit.kind != TURN and self.df != 0

    @property
    def p_value(self) -> float:
        """By chi-square; nan where there is nothing to test."""
        return math.exp(self.log_p)

    @property
    def log_p(self) -> float:
        """Logarithm of the p-value, which does not underflow; nan without a test."""
        return log_tail(self.statistic, abs(self.df)) if self.testable else math.nan

    def bic_gain(self, n_rows: float) -> float:
        """By how much BIC is better after it, ``2 gain - df log N``."""
        return 2 * self.gain - self.df * math.log(n_rows)


@dataclass(frozen=True, eq=False)
class Bench:
    """A graph at its maximum of likelihood, where changes are tried.

    Attributes:
        counts: the table, on the variables of ``spec`` in its order.
        spec: the graph.
        mixture: where EM ended, in the variables of ``spec``.
        log_likelihood: there.
        merged: whether sources are empty or alike there.
        converged: whether EM ended by its tolerance.
    """

    counts: Counts
    spec: MixtureSpec
    mixture: BayesNetMixture
    log_likelihood: float
    merged: bool
    converged: bool

    @staticmethod
    def of(counts: Counts, starts: BayesNetMixture) -> Bench:
        """Climb from some starts, by maximum likelihood.

        Args:
            counts: on the variables of the starts.
            starts: one batch axis.
        """
        found = climb(
            counts,
            starts,
            check_saddle=False,
            max_iter=STEPS,
            tol=GAIN / counts.n_rows,
        )
        merged = bool(found.duplicates or found.empty)
        return Bench(
            counts, starts.spec, found.mixture, found.log_likelihood, merged, found.converged
        )

    @cached_property
    def families(self) -> Families:
        """Expected counts at the fit."""
        return Families.at(self.mixture, self.counts)

    @property
    def edges(self) -> tuple[Parents, frozenset[int]]:
        """Parents of every vertex, and the uninfluenced ones."""
        return parents_of(self.spec), self.spec.uninfluenced

    def screened(self, edit: Edit) -> Trial:
        """What a change gains at the least: by expected counts, without EM."""
        parents, free = self.edges
        after, free_after = edit.applied(parents, free)
        value = self.families.value
        gain = sum(
            value(v, after[v], v not in free_after) - value(v, parents[v], v not in free)
            for v in edit.changed
        )
        return Trial(edit, None, gain, self._df(edit), self._sparse(edit))

    def verified(self, edit: Edit) -> Trial:
        """What a change gains, by EM."""
        start = self.start(edit)
        if edit.kind == TURN and covered(self.spec, edit):
            return Trial(edit, start, 0.0, 0, False)
        found = climb(
            self.counts.with_spec(start.spec),
            batch_of(start),
            check_saddle=False,
            max_iter=STEPS,
            tol=GAIN / self.counts.n_rows,
        )
        return self.ended(edit, found.mixture, found.log_likelihood)

    def start(self, edit: Edit) -> BayesNetMixture:
        """Where EM starts after a change: the M-step of the expected counts."""
        return self.families.maximised(*edit.applied(*self.edges))

    def ended(self, edit: Edit, mixture: BayesNetMixture, log_likelihood: float) -> Trial:
        """What a change gained, where EM ended after it."""
        gain = log_likelihood - self.log_likelihood
        return Trial(edit, mixture, gain, self._df(edit), self._sparse(edit))

    def projected(self, mixture: BayesNetMixture) -> BayesNetMixture:
        """Return the start that a fit of another graph makes on this one, by its posterior of U."""
        other = Families.at(mixture, self.counts.with_spec(mixture.spec))
        order = [mixture.spec.vertex(name) for name in self.spec.variables]
        own = Families(self.spec, other.columns[order], other.shares)
        return own.maximised(*self.edges)

    def again(self, trials: Sequence[Trial], n_random: int, seed: int) -> Bench:
        """Climb anew, from what changed graphs make of the sources and from random starts."""
        starts = [self.mixture, *(self.projected(t.mixture) for t in trials if t.mixture)]
        if n_random and self.spec.n_sources > 1:
            starts.append(random_starts(self.spec, n_random, seed, device=self.counts.device,
                                        counts=self.counts))  # fmt: skip
        return Bench.of(self.counts, batch_of(*starts))

    def _df(self, edit: Edit) -> int:
        """Difference of dimensions, at most that of the rows of tables that data reach."""
        target = with_edges(self.spec, *edit.applied(*self.edges))
        before, after = dimension(self.spec), dimension(target)
        if before is None or after is None:
            before, after = self.spec.n_parameters, target.n_parameters
        df = after - before
        if edit.kind == TURN:
            return df
        reached = self._reached(edit)
        return max(df, reached) if edit.kind == DROP else min(df, reached)

    def _reached(self, edit: Edit) -> int:
        """Free probabilities more, those of rows of tables that nobody is in not counted."""
        parents, free = self.edges
        after, free_after = edit.applied(parents, free)
        return sum(
            self._reached_of(v, after, free_after) - self._reached_of(v, parents, free)
            for v in edit.changed
        )

    def _reached_of(self, v: int, parents: Parents, free: frozenset[int]) -> int:
        rows = self.families.counts(v, parents[v], v not in free).sum(-1)
        return int((rows >= NO_ROWS).sum()) * (self.spec.card(v) - 1)

    def _sparse(self, edit: Edit) -> bool:
        """Whether a table of the larger graph has cells with few expected rows of data."""
        parents, free = self.edges
        if edit.kind != DROP:
            parents, free = edit.applied(parents, free)
        for v in edit.changed:
            cells = self.families.counts(v, parents[v], v not in free)
            reached = cells.sum(-1, keepdim=True) >= NO_ROWS
            if bool((reached & (cells < FEW_ROWS)).any()):
                return True
        return False


def log_tail(statistic: float, df: int) -> float:
    """Logarithm of the probability that chi-square exceeds a statistic; no tail is too far.

    Args:
        statistic: at least zero.
        df: degrees of freedom, at least one.
    """
    a, x = df / 2, statistic / 2
    tail = float(gammaincc(a, x))
    if tail > SMALLEST:
        return math.log(tail)
    # The first two terms of the expansion for a large argument.
    return float((a - 1) * math.log(x) - x - gammaln(a) + math.log1p((a - 1) / x))


def too_many_parents(spec: MixtureSpec, edit: Edit, n_rows: float) -> bool:
    """Whether the family after a change would have more free probabilities than there are rows."""
    parents, free = edit.applied(parents_of(spec), spec.uninfluenced)
    return any(n_free(spec, v, parents[v], v not in free) > n_rows for v in edit.changed)


def strongest(trials: Iterable[Trial]) -> list[Trial]:
    """Trials that can be tested, by p-value, the least first."""
    return sorted((t for t in trials if t.testable), key=lambda t: t.log_p)


def named(spec: MixtureSpec, vertex: int) -> str:
    """Name of a vertex, the source included."""
    return spec.source if vertex == SOURCE else spec.variables[vertex]
