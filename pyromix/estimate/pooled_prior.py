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
      m[r] = (n[., r] + tau0_v * b) / (n[., r, .] + tau0_v),

  with m the row of all sources together, itself drawn towards the marginal b where it has few
  rows. Both strengths of a vertex maximise the Dirichlet-multinomial likelihood of its expected
  counts n (empirical Bayes). Soft assignment blurs the differences between sources, so tau is too
  large where sources overlap; the factor c is what held-out rows are asked about.

Where U moves few of the tables, pooled wins by far; where it moves all of them, flat does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.data.counts import Counts
from pyromix.data.folds import EQUAL_SCORES, compared, folds
from pyromix.estimate.em import climb
from pyromix.estimate.result import EMResult
from pyromix.estimate.starts import batch_of, inside
from pyromix.estimate.step import EMMap, Point
from pyromix.exact.likelihood import log_prob
from pyromix.exact.rows import CellIndex
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.randomness import RandomState
from pyromix.model.spec import MixtureSpec
from pyromix.model.ties import first_largest

POOLED = "pooled"

LEAST_PSEUDO_COUNT = 0.1
"""Pseudo-count of every cell beside the pooled ones."""

N_FOLDS = 3

ROUNDS_OF_SHRINKAGE = 3
"""Rounds in which strengths are learned and EM goes on."""

MANY_PATTERNS = 2**16
"""Distinct rows beyond which no fold is fitted: the prior hardly matters then."""

STRENGTHS = torch.logspace(-1, 5, 61, dtype=torch.float64, device="cpu")
"""Candidates for a Dirichlet strength, in rows."""

EQUAL_STRENGTHS = 1e-7
"""Nats by which a strength is likelier than a weaker one: rounding of the logarithms of the gamma
function, and where no row says anything all strengths are alike."""

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
"""From the weakest to the strongest."""


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
    max_iter: int = 2000,
    tol: float = 1e-9,
) -> Shrunk:
    """Shrink an estimate of maximum likelihood as far as held-out rows ask for.

    Args:
        counts: the table, weights in rows.
        found: the estimate.
        random_state: of the folds.
        max_iter: as for ``climb``.
        tol: as for ``climb``.
    """
    start = inside(found.mixture)
    scores: dict[Shrinkage, float] = {}
    choice = NONE
    if counts.rows.shape[0] <= MANY_PATTERNS and counts.n_rows >= 10 * N_FOLDS:
        choice, scores = _chosen(counts, start, random_state)
    result, prior = found, PseudoCounts.of(start.spec, None, start.device)
    if choice != NONE:
        result, prior = _fitted(counts, start, choice, max_iter=max_iter, tol=tol)
    return Shrunk(result, prior, choice, tuple((str(c), s) for c, s in scores.items()))


def pooled_prior(counts: Counts, mixture: BayesNetMixture, strength: float = 1.0) -> PseudoCounts:
    """Learn how alike the sources are, vertex by vertex, from expected counts.

    Args:
        counts: the table.
        mixture: gives the expected counts.
        strength: c.
    """
    spec = mixture.spec
    expected = expected_counts_of(counts, mixture)
    among_rows = among_parent_states(spec, expected)
    places = [place_of(spec, v, n, among_rows[v]) for v, n in enumerate(expected)]
    learned = tuple(
        strength * (among_rows[v] if _shared(spec, v) else _strength(_rows(n), _rows(place)))
        for v, (n, place) in enumerate(zip(expected, places, strict=True))
    )
    return drawn_to(mixture.weights, places, learned)


def among_parent_states(
    spec: MixtureSpec, expected: Sequence[Float[Tensor, ...]]
) -> tuple[float, ...]:
    """tau0: per vertex how alike the rows of all sources together are over parent states.

    Args:
        spec: the structure.
        expected: counts per vertex, ``(k, *card(parents), card)``.
    """
    found = []
    for v, n in enumerate(expected):
        everything = _together(spec, v, n)
        base = _marginal(everything, len(spec.parents[v]))
        found.append(_strength(_rows(everything), _rows(base)))
    return tuple(found)


def place_of(
    spec: MixtureSpec, v: int, n: Float[Tensor, "*batch k *parents card"], among_rows: float
) -> Float[Tensor, "*batch k *parents card"]:
    """What the rows of a vertex are drawn to: m, or b where all sources share the table.

    Args:
        spec: the structure.
        v: the vertex.
        n: expected counts.
        among_rows: tau0.
    """
    everything = _together(spec, v, n)
    place = _marginal(everything, len(spec.parents[v]))
    if not _shared(spec, v):
        place = everything + among_rows * place
        place = place / place.sum(-1, keepdim=True)
    return place.unsqueeze(-2 - len(spec.parents[v])).expand_as(n)


def drawn_to(
    weights: Float[Tensor, "*batch k"],
    places: Sequence[Float[Tensor, ...]],
    learned: tuple[float, ...],
) -> PseudoCounts:
    """Pseudo-counts of some strength at learned places, and a few everywhere.

    Args:
        weights: P(U), for its shape ``(k,)`` or ``(n, k)``.
        places: per vertex, rows of probabilities in the shape of its CPT, batched likewise.
        learned: strengths.
    """
    cpts = tuple(t * place + LEAST_PSEUDO_COUNT for t, place in zip(learned, places, strict=True))
    return PseudoCounts(torch.ones_like(weights), cpts, learned)


def _shared(spec: MixtureSpec, v: int) -> bool:
    return v in spec.uninfluenced or spec.n_sources == 1


def _together(spec: MixtureSpec, v: int, n: Tensor) -> Float[Tensor, "*batch *parents card"]:
    """Counts of all sources; where they share the table every slice holds all of them."""
    axis = -2 - len(spec.parents[v])
    return n.select(axis, 0) if v in spec.uninfluenced else n.sum(axis)


def _marginal(everything: Float[Tensor, "*batch *parents card"], n_parents: int) -> Tensor:
    """b, repeated for every parent state; a row of rows that nobody saw is uniform."""
    axes = tuple(range(-1 - n_parents, -1))
    total = everything.sum(axes, keepdim=True) if axes else everything
    total = total + 1 / everything.shape[-1]
    return (total / total.sum(-1, keepdim=True)).expand_as(everything)


def _rows(table: Float[Tensor, "*some card"]) -> Float[Tensor, "rows card"]:
    return table.reshape(-1, table.shape[-1])


def expected_counts_of(
    counts: Counts, mixture: BayesNetMixture
) -> tuple[Float[Tensor, "k *parents card"], ...]:
    """Expected number of rows in every CPT cell; of all sources together where they share it."""
    spec = mixture.spec
    none = PseudoCounts.of(spec, None, mixture.device)
    em = EMMap(spec, CellIndex(spec, counts.rows), counts.weights, none)
    return em.axis.unstack(em.expected_cells(Point.of(batch_of(mixture)))[:, 0])


def _strength(n: Float[Tensor, "*rows card"], base: Float[Tensor, "*rows card"]) -> float:
    """Dirichlet strength around a base that makes counts most likely, among ``STRENGTHS``."""
    grid = STRENGTHS.to(n.device).reshape(-1, *(1 for _ in n.shape))
    a = grid * base.clamp_min(1e-12)
    total = a.sum(-1)
    rows = torch.lgamma(total) - torch.lgamma(total + n.sum(-1))
    rows = rows + (torch.lgamma(a + n) - torch.lgamma(a)).sum(-1)
    likely = rows.flatten(1).sum(1).tolist()
    return float(STRENGTHS[first_largest(likely, EQUAL_STRENGTHS, relative=0.0)])


def _prior(counts: Counts, mixture: BayesNetMixture, choice: Shrinkage) -> PseudoCounts:
    if choice.pooled:
        return pooled_prior(counts, mixture, choice.strength)
    return PseudoCounts.of(mixture.spec, choice.strength or None, mixture.device)


def _fitted(
    counts: Counts, start: BayesNetMixture, choice: Shrinkage, *, max_iter: int, tol: float
) -> tuple[EMResult, PseudoCounts]:
    """EM under a prior; a pooled one is learned again from where EM went."""
    rounds = ROUNDS_OF_SHRINKAGE if choice.pooled else 1
    mixture = start
    prior = _prior(counts, mixture, choice)
    for _ in range(rounds - 1):
        mixture = climb(
            counts, batch_of(mixture), prior=prior, max_iter=100, tol=1e-6, check_saddle=False
        ).mixture
        prior = _prior(counts, mixture, choice)
    result = climb(
        counts, batch_of(mixture), prior=prior, max_iter=max_iter, tol=tol, check_saddle=False
    )
    return result, prior


def _chosen(
    counts: Counts, start: BayesNetMixture, random_state: RandomState
) -> tuple[Shrinkage, dict[Shrinkage, float]]:
    """The weakest candidate within one standard error of the best on held-out rows, and all means.

    The standard error is that of the difference to the best, row by row.
    """
    parts = folds(counts, N_FOLDS, random_state)
    scores = []
    for choice in CHOICES:
        seen = []
        for rest, own in parts:
            found, _ = _fitted(rest, start, choice, max_iter=100, tol=1e-6)
            seen.append(log_prob(found.mixture, own.rows).clamp_min(LOWEST_LOG_PROB))
        scores.append(torch.cat(seen))
    rows, weights = torch.stack(scores), torch.cat([own.weights for _, own in parts])
    means, errors = compared(rows, weights)
    best = means.max()
    near = (means >= best - errors - EQUAL_SCORES).nonzero().flatten()
    return CHOICES[int(near[0])], dict(zip(CHOICES, means.tolist(), strict=True))
