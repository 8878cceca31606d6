"""Replicates: the same estimator on reweighted tables, all of them in one batched EM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pyromix.data.counts import Counts
from pyromix.errors import FileError
from pyromix.estimate.em import climb_replicates
from pyromix.estimate.indexed import IndexedRows
from pyromix.estimate.pooled_prior import expected_cells_of
from pyromix.estimate.pooling import Pooling
from pyromix.estimate.result import Ends
from pyromix.estimate.starts import batch_of, inside
from pyromix.formats.checkpoint import NOT_KEPT, Step, checkpoint_of, digest
from pyromix.model.arguments import one_of, whole
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.randomness import RandomState, numpy_generator
from pyromix.posterior.chains import check_draws
from pyromix.posterior.draws import matched

BOOTSTRAP_KINDS = ("multinomial", "dirichlet")

NUMBERS_OF_REPLICATES = 2**25
"""Distinct rows times replicates times sources that are worked on at once."""

REPLICATES_OF_A_STEP = 50
"""Replicates after which a checkpoint is written."""

ROUNDS_OF_POOLING = 2
"""Rounds in which a replicate learns the place of its pseudo-counts."""


@dataclass(frozen=True, eq=False)
class Replicates:
    """Estimates of reweighted tables, labels those of the original.

    Attributes:
        mixtures: batch shape ``(n,)``.
        converged: which EM ended by the tolerance.
        ambiguous: whose sources could nearly as well be matched otherwise.
    """

    mixtures: BayesNetMixture
    converged: Bool[Tensor, " n"]
    ambiguous: Bool[Tensor, " n"]


def replicate(
    counts: Counts,
    mixture: BayesNetMixture,
    n: int,
    *,
    kind: str = "multinomial",
    prior: PseudoCounts,
    random_state: RandomState = 0,
    max_iter: int = 2000,
    tol: float = 1e-8,
    checkpoint: str | PathLike[str] | None = None,
) -> Replicates:
    """Estimate from n reweighted tables, each started at the estimate.

    Where pseudo-counts lie at a learned place (``estimate.pooled_prior``), each table learns it
    anew; how strong they are is not learned again.

    Args:
        counts: the table.
        mixture: the estimate, without batch axes.
        n: how many.
        kind: ``"multinomial"`` draws as many rows with replacement (the bootstrap);
            ``"dirichlet"`` draws weights of the rows from a Dirichlet distribution (the Bayesian
            bootstrap), which leaves no distinct row out.
        prior: pseudo-counts of the estimator.
        random_state: of the weights.
        max_iter: iteration limit of EM.
        tol: nats per row at which EM stops.
        checkpoint: a file to which replicates are written as they are done; where it is there,
            the work goes on from it.

    Raises:
        QueryError: an unknown kind, or n is no positive integer.
        FileError: the checkpoint is damaged, of another table, estimate or option, or cannot be
            written to.
    """
    one_of("kind", kind, BOOTSTRAP_KINDS)
    n = whole("the number of replicates", n, 1)
    check_draws(mixture.spec, n, "take fewer replicates")
    rng = numpy_generator(random_state)
    kept = NOT_KEPT
    if checkpoint is not None:
        asked = {
            "table": digest(counts.rows, counts.weights),
            "estimate": digest(*mixture.tables),
            "prior": digest(*prior.tables),
            "n": n,
            "kind": kind,
            "random_state": str(rng.bit_generator.state),
            "max_iter": max_iter,
            "tol": tol,
        }
        kept = checkpoint_of(checkpoint, "bootstrap", asked)
    start = inside(mixture)
    pooling = Pooling(mixture.spec, counts.device)
    everything = pooling.together(expected_cells_of(counts, mixture))
    among = pooling.among_parent_states(everything) if prior.learned else everything[:0]
    table = IndexedRows.of(mixture.spec, counts)
    step = max(1, NUMBERS_OF_REPLICATES // (counts.n_patterns * mixture.n_sources))
    step = min(step, REPLICATES_OF_A_STEP) if kept.kept else step

    def replicated(weights: Tensor) -> Ends:
        size = weights.shape[1]
        options = {"max_iter": max_iter, "tol": tol}
        starts = batch_of(*[start] * size)
        ends = climb_replicates(table, starts, weights, prior=prior, **options)
        for _ in range(ROUNDS_OF_POOLING if prior.learned else 0):
            cells = expected_cells_of(table, ends.mixtures, weights)
            own = learned_anew(pooling, cells, prior, among)
            ends = climb_replicates(table, ends.mixtures, weights, prior=own, **options)
        return ends

    def unpacked(tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> Ends:
        tables = [tensors[f"tables/{i}"].to(counts.device) for i in range(len(mixture.tables))]
        found = BayesNetMixture.from_tables(mixture.spec, tables)
        objectives, converged = (tensors[x].to(counts.device) for x in ("objectives", "converged"))
        if len({found.batch_shape, objectives.shape, converged.shape}) > 1:
            raise FileError(f"expected as many ends as mixtures, found {found.batch_shape}")
        return Ends(found, objectives, converged.bool())

    ends = []
    for first in range(0, n, step):
        # Weights are drawn anew for replicates that are done: the next ones come after them.
        drawn = _weights(counts, min(step, n - first), kind, rng)
        weights = torch.from_numpy(drawn).to(counts.device)
        work = partial(replicated, weights)
        ends.append(kept.step(f"replicates from {first}", work, _packed, unpacked))
    mixtures, _, ambiguous = matched(mixture, batch_of(*(e.mixtures for e in ends)))
    return Replicates(mixtures, torch.cat([e.converged for e in ends]), ambiguous)


def _packed(ends: Ends) -> Step:
    """The tensors of some replicates."""
    tables = {f"tables/{i}": table for i, table in enumerate(ends.mixtures.tables)}
    return {**tables, "objectives": ends.objectives, "converged": ends.converged}, {}


def _weights(
    counts: Counts, n: int, kind: str, rng: np.random.Generator
) -> Float[np.ndarray, "rows n"]:
    """One column of weights per replicate; columns have the weight of the table."""
    units = counts.in_rows().weights.cpu().numpy()
    total = units.sum()
    if kind == "multinomial":
        drawn = rng.multinomial(round(total), units / total, size=n).T.astype(np.float64)
    else:
        drawn = rng.standard_gamma(units, size=(n, len(units))).T  # one replicate after the other
    return drawn * (total * counts.weight_of_a_row / drawn.sum(0))


def learned_anew(
    pooling: Pooling,
    cells: Float[Tensor, "cells n k"],
    prior: PseudoCounts,
    among: Float[Tensor, "v 1"],
) -> PseudoCounts:
    """Pseudo-counts of the same strength where each reweighted table puts them."""
    n = cells.shape[1]
    learned = torch.tensor(prior.learned, dtype=torch.float64, device=cells.device)
    place = pooling.place(pooling.together(cells), among.expand(-1, n))
    drawn = pooling.drawn_to(place, learned[:, None].expand(-1, n))
    return replace(pooling.pseudo_counts(drawn), learned=prior.learned)
