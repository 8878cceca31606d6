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

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.data.counts import Counts
from pyromix.data.folds import compared, folds
from pyromix.model.cell_index import CellIndex
from pyromix.model.likelihood import log_prob
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.randomness import RandomState
from pyromix.refine.em import climb
from pyromix.refine.outcome import EMResult
from pyromix.refine.starts import batch_of, inside
from pyromix.refine.step import EMMap, Point

POOLED = "pooled"

LEAST = 0.1
"""Pseudo-count of every cell beside the pooled ones."""

N_FOLDS = 3

ROUNDS = 3
"""Rounds in which strengths are learned and EM goes on."""

MANY_PATTERNS = 2**16
"""Distinct rows beyond which no fold is fitted: the prior hardly matters then."""

STRENGTHS = torch.logspace(-1, 5, 61, dtype=torch.float64, device="cpu")
"""Candidates for a Dirichlet strength, in rows."""

FLOOR = -60.0
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

CANDIDATES = (
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
        counts: the table.
        found: the estimate.
        random_state: of the folds.
        max_iter: as for ``climb``.
        tol: as for ``climb``.
    """
    start = inside(found.mixture)
    scores: dict[Shrinkage, float] = {}
    choice = NONE
    if counts.rows.shape[0] <= MANY_PATTERNS and counts.n_rows / counts.unit >= 10 * N_FOLDS:
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
    tables, learned = [], []
    for v, n in enumerate(expected_counts_of(counts, mixture)):
        rows = n.flatten(1, -2) if spec.parents[v] else n.unsqueeze(1)
        shared = v in spec.uninfluenced or spec.n_sources == 1
        everything = rows[0] if v in spec.uninfluenced else rows.sum(0)
        marginal = everything.sum(0) + 1 / n.shape[-1]
        marginal = (marginal / marginal.sum()).expand_as(everything)
        among_rows = _strength(everything, marginal)
        mean = everything + among_rows * marginal
        mean = mean / mean.sum(-1, keepdim=True)
        place = marginal if shared else mean
        tau = among_rows if shared else _strength(rows, mean.expand_as(rows))
        learned.append(strength * tau)
        tables.append((learned[-1] * place.expand_as(rows) + LEAST).reshape(n.shape))
    return PseudoCounts(torch.ones_like(mixture.weights), tuple(tables), tuple(learned))


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
    return float(STRENGTHS[int(rows.flatten(1).sum(1).argmax())])


def _prior(counts: Counts, mixture: BayesNetMixture, choice: Shrinkage) -> PseudoCounts:
    if choice.pooled:
        return pooled_prior(counts, mixture, choice.strength)
    return PseudoCounts.of(mixture.spec, choice.strength or None, mixture.device)


def _fitted(
    counts: Counts, start: BayesNetMixture, choice: Shrinkage, *, max_iter: int, tol: float
) -> tuple[EMResult, PseudoCounts]:
    """EM under a prior; a pooled one is learned again from where EM went."""
    rounds = ROUNDS if choice.pooled else 1
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
    for choice in CANDIDATES:
        seen = []
        for rest, own in parts:
            found, _ = _fitted(rest, start, choice, max_iter=100, tol=1e-6)
            seen.append(log_prob(found.mixture, own.rows).clamp_min(FLOOR))
        scores.append(torch.cat(seen))
    rows, weights = torch.stack(scores), torch.cat([own.weights for _, own in parts])
    means, errors = compared(rows, weights, 1 / counts.unit)
    best = means.max()
    near = (means >= best - errors).nonzero().flatten()
    return CANDIDATES[int(near[0])], dict(zip(CANDIDATES, means.tolist(), strict=True))
