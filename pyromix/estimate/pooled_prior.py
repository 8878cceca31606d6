"""A prior that learns its strength: sources are shrunk towards each other as far as data allow.

Maximum likelihood overfits networks of many tables: a row of a CPT that three data rows reached is
taken at its word, and a state not seen there is impossible. The remedy is pseudo-counts. But where
the likelihood is flat, pseudo-counts decide, and drawing sources together draws an effect towards
the confounded one: on a table of 10,000 rows one pseudo-count per cell moved an effect from .047
(truth .040) to .119 (naive .191) at the same likelihood. So the weakest prior is taken that
predicts held-out rows within one standard error of the best, and that is none where none is
needed. Two kinds compete, each at two strengths:

- *flat*: the same pseudo-count in every cell;
- *pooled*: for vertex v, source u, parent row r and state s

      a[u, r, s] = c * tau_v * m[r, s] + least,

  with m the row of all sources together, itself drawn towards the marginal where it has few
  rows, and tau_v the likeliest strength (``pooling``). Soft assignment blurs the differences
  between sources, so tau is too large where sources overlap; the factor c is what held-out rows
  are asked about.

Where U moves few of the tables, pooled wins by far; where it moves all of them, flat does.

Candidates climb on all folds at once: one batch of EM, a column of weights and pseudo-counts for
each. Rounds of learning end where a flat candidate leads: so it was on 17 of 31 tables (seven
graphs, 1,000 to 10,000 rows, U at all vertices or at a third of them), and on none of the 17 did a
further round bring a pooled one nearer to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.data.counts import Counts
from pyromix.data.folds import EQUAL_SCORES, compared, dealt
from pyromix.estimate.em import climb, climb_replicates
from pyromix.estimate.indexed import IndexedRows, index_of
from pyromix.estimate.pooling import Pooling
from pyromix.estimate.result import EMResult
from pyromix.estimate.starts import batch_of, inside
from pyromix.estimate.step import EMMap, Point, WeightedRows
from pyromix.exact.likelihood import log_prob
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.randomness import RandomState

POOLED = "pooled"

N_FOLDS = 3

ROUNDS_OF_SHRINKAGE = 3
"""Rounds in which strengths are learned and EM goes on."""

ON_THE_WAY = {"max_iter": 100, "tol": 1e-6}
"""How far EM goes on folds, and between two rounds of learning."""

MANY_PATTERNS = 2**16
"""Distinct rows beyond which no fold is fitted: the prior hardly matters then."""

LOWEST_LOG_PROB = -60.0
"""Log-probability of a held-out row that a fit calls impossible."""


@dataclass(frozen=True)
class Shrinkage:
    """One way to shrink.

    Attributes:
        pooled: towards the row of all sources, instead of the uniform distribution.
        strength: factor on the learned strengths, or the pseudo-count of a cell; 0 for none.
    """

    pooled: bool
    strength: float

    def __str__(self) -> str:
        """In a few words."""
        if not self.strength:
            return "none"
        return f"pooled x {self.strength:g}" if self.pooled else f"flat {self.strength:g}"


NONE = Shrinkage(False, 0.0)

CHOICES = (
    NONE,
    Shrinkage(False, 0.3),
    Shrinkage(False, 1.0),
    Shrinkage(True, 0.3),
    Shrinkage(True, 1.0),
)
"""From the weakest to the strongest; flat ones lead."""


@dataclass(frozen=True, eq=False)
class Shrunk:
    """An estimate under a prior that was learned.

    Attributes:
        result: of EM under the prior.
        prior: the pseudo-counts.
        choice: which of the candidates.
        held_out: per candidate the mean log-likelihood of held-out rows; empty where none was
            asked.
    """

    result: EMResult
    prior: PseudoCounts
    choice: Shrinkage
    held_out: tuple[tuple[str, float], ...]


def shrink(
    counts: Counts,
    found: EMResult,
    random_state: RandomState = 0,
    *,
    table: IndexedRows | None = None,
    max_iter: int = 2000,
    tol: float = 1e-9,
) -> Shrunk:
    """Shrink an estimate of maximum likelihood as far as held-out rows ask for.

    Args:
        counts: the table, weights in rows.
        found: the estimate.
        random_state: of the folds.
        table: the same table with its index, where it has been made.
        max_iter: as for ``climb``.
        tol: as for ``climb``.
    """
    start = inside(found.mixture)
    table = IndexedRows.of(start.spec, counts) if table is None else table
    scores: dict[Shrinkage, float] = {}
    choice = NONE
    if counts.rows.shape[0] <= MANY_PATTERNS and counts.n_rows >= 10 * N_FOLDS:
        choice, scores = _chosen(counts, table, start, random_state)
    result, prior = found, PseudoCounts.of(start.spec, None, start.device)
    if choice != NONE:
        result, prior = _fitted(table, start, choice, max_iter=max_iter, tol=tol)
    return Shrunk(result, prior, choice, tuple((str(c), s) for c, s in scores.items()))


def shrunk_as(table: IndexedRows, found: EMResult, choice: Shrinkage) -> Shrunk:
    """Shrink an estimate of maximum likelihood in a way that is known.

    Args:
        table: the table with its index.
        found: the estimate.
        choice: one of the candidates; what a pooled one draws to, and how much, is learned here.
    """
    start = inside(found.mixture)
    if choice == NONE:
        return Shrunk(found, PseudoCounts.of(start.spec, None, start.device), choice, ())
    result, prior = _fitted(table, start, choice, max_iter=2000, tol=1e-9)
    return Shrunk(result, prior, choice, ())


def choice_of(name: str) -> Shrinkage | None:
    """The candidate of a name; None where none has it."""
    return next((choice for choice in CHOICES if str(choice) == name), None)


def pooled_prior(
    counts: WeightedRows, mixture: BayesNetMixture, strength: float = 1.0
) -> PseudoCounts:
    """Learn how alike the sources are, vertex by vertex, from expected counts.

    Args:
        counts: the table.
        mixture: gives the expected counts.
        strength: c.
    """
    pooling = Pooling(mixture.spec, mixture.device)
    place, learned = pooling.learned(expected_cells_of(counts, mixture))
    own = pooling.pseudo_counts(pooling.drawn_to(place, strength * learned))
    own = own.map_tables(lambda table: table[0])
    return replace(own, learned=tuple((strength * learned[:, 0]).tolist()))


def expected_cells_of(
    counts: WeightedRows,
    mixtures: BayesNetMixture,
    row_weights: Float[Tensor, "patterns b"] | None = None,
) -> Float[Tensor, "cells b k"]:
    """Expected number of rows in every CPT cell; of all sources together where they share it.

    Args:
        counts: the table.
        mixtures: one, or ``(b,)`` of them.
        row_weights: a weighting for each mixture, in place of that of the table.
    """
    spec = mixtures.spec
    weights = counts.weights if row_weights is None else row_weights
    none = PseudoCounts.of(spec, None, mixtures.device)
    em = EMMap(spec, index_of(spec, counts), weights, none)
    return em.expected_cells(Point.of(batch_of(mixtures)))


def _fitted(
    table: IndexedRows, start: BayesNetMixture, choice: Shrinkage, *, max_iter: int, tol: float
) -> tuple[EMResult, PseudoCounts]:
    """EM under a prior; a pooled one is learned again from where EM went."""
    prior, mixture = _prior(table, start, choice), start
    for _ in range(ROUNDS_OF_SHRINKAGE - 1 if choice.pooled else 0):
        onwards = climb(table, batch_of(mixture), prior=prior, check_saddle=False, **ON_THE_WAY)
        mixture = onwards.mixture
        prior = _prior(table, mixture, choice)
    options = {"max_iter": max_iter, "tol": tol, "check_saddle": False}
    return climb(table, batch_of(mixture), prior=prior, **options), prior


def _prior(table: IndexedRows, mixture: BayesNetMixture, choice: Shrinkage) -> PseudoCounts:
    if choice.pooled:
        return pooled_prior(table, mixture, choice.strength)
    return PseudoCounts.of(mixture.spec, choice.strength or None, mixture.device)


def _chosen(
    counts: Counts, table: IndexedRows, start: BayesNetMixture, random_state: RandomState
) -> tuple[Shrinkage, dict[Shrinkage, float]]:
    """The weakest candidate within one standard error of the best on held-out rows, and all means.

    The standard error is that of the difference to the best, row by row.
    """
    own, rest = dealt(counts, N_FOLDS, random_state)
    flat = [choice for choice in CHOICES if not choice.pooled]
    pooled = [choice for choice in CHOICES if choice.pooled]
    of_flat = _climbed_flat(table, start, rest.T, [choice.strength for choice in flat])
    scores = _held_out(of_flat, table, len(flat))
    means = errors = scores.new_empty(0)
    for of_pooled in _climbed_pooled(table, start, rest.T, [c.strength for c in pooled]):
        more = _held_out(of_pooled, table, len(pooled))
        means, errors = compared(torch.cat([scores, more]), own.flatten())
        if means[: len(flat)].max() >= means.max():
            break
    near = (means >= means.max() - errors - EQUAL_SCORES).nonzero().flatten()
    return CHOICES[int(near[0])], dict(zip(CHOICES, means.tolist(), strict=True))


def _held_out(
    ends: BayesNetMixture, table: IndexedRows, n: int
) -> Float[Tensor, "candidates folds_and_rows"]:
    """Log-probability of every row by the fit of each candidate to each fold."""
    return log_prob(ends, table.index).clamp_min(LOWEST_LOG_PROB).reshape(n, -1)


def _climbed_flat(
    table: IndexedRows,
    start: BayesNetMixture,
    rest: Float[Tensor, "patterns folds"],
    strengths: Sequence[float],
) -> BayesNetMixture:
    """EM with the same pseudo-count in every cell, strength after strength, fold after fold."""
    n, folds = len(strengths), rest.shape[1]
    each = torch.tensor(strengths, dtype=torch.float64, device=start.device)
    each = each.repeat_interleave(folds)
    tables = [
        each.view(-1, *(1 for _ in part.shape)).expand(-1, *part.shape) for part in start.tables
    ]
    return climb_replicates(
        table,
        batch_of(*[start] * (n * folds)),
        rest.repeat(1, n),
        prior=PseudoCounts.from_tables(tables),
        **ON_THE_WAY,
    ).mixtures


def _climbed_pooled(
    table: IndexedRows,
    start: BayesNetMixture,
    rest: Float[Tensor, "patterns folds"],
    strengths: Sequence[float],
) -> Iterator[BayesNetMixture]:
    """EM with pooled pseudo-counts, round by round, strength after strength, fold after fold."""
    n, folds = len(strengths), rest.shape[1]
    pooling = Pooling(start.spec, start.device)
    factor = torch.tensor(strengths, dtype=torch.float64, device=start.device)
    factor, weights = factor.repeat_interleave(folds), rest.repeat(1, n)
    mixtures = batch_of(*[start] * (n * folds))
    for number in range(ROUNDS_OF_SHRINKAGE):
        # Before the first climb strengths differ by their factor only.
        new = folds if number == 0 else n * folds
        cells = expected_cells_of(table, mixtures[:new], weights[:, :new])
        place, learned = pooling.learned(cells)
        repeated = (n * folds) // new
        drawn = pooling.drawn_to(place.repeat(1, repeated), factor * learned.repeat(1, repeated))
        prior = pooling.pseudo_counts(drawn)
        mixtures = climb_replicates(table, mixtures, weights, prior=prior, **ON_THE_WAY).mixtures
        yield mixtures
