"""Counts in parts, as if their rows had been dealt out at random."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.data.counts import Counts
from pyromix.data.records import Records
from pyromix.errors import DataError
from pyromix.model.arguments import whole
from pyromix.model.randomness import RandomState, numpy_generator
from pyromix.model.ties import first_largest

EQUAL_SCORES = 1e-9
"""Nats per row up to which two candidates predict held-out rows equally well."""


def folds(
    counts: Counts, n_folds: int, random_state: RandomState = 0
) -> list[tuple[Counts, Counts]]:
    """Deal rows out to folds, each row to one.

    A pattern of weight w is w rows; one whose weight is no whole number is as many equal parts
    as the nearest whole number, and at least one.

    Args:
        counts: the table.
        n_folds: at least two.
        random_state: of the dealing.

    Returns:
        Per fold the counts of the others, and its own.

    Raises:
        DataError: fewer than two folds, or fewer rows than folds need.
    """
    own, rest = dealt(counts, n_folds, random_state)
    pairs = zip(rest, own, strict=True)
    return [(_weighted(counts, others), _weighted(counts, mine)) for others, mine in pairs]


def dealt(
    counts: Counts | Records, n_folds: int, random_state: RandomState = 0
) -> tuple[Float[Tensor, "folds patterns"], Float[Tensor, "folds patterns"]]:
    """The weights of ``folds``, zeros where a pattern is not there; arguments as there.

    Returns:
        Of each fold, and of all others together.

    Raises:
        DataError: fewer than two folds, or fewer rows than folds need.
    """
    n_folds = whole("n_folds", n_folds, 2, error=DataError)
    if n_folds > counts.n_rows:
        raise too_few(n_folds, counts)
    rows = counts.weights.round().clamp_min(1)
    parts = numpy_generator(random_state).multinomial(
        rows.to(torch.int64).cpu().numpy(), [1 / n_folds] * n_folds
    )
    own = torch.from_numpy(parts).to(counts.device).T
    if not bool((own > 0).any(1).all()):
        raise too_few(n_folds, counts)
    one = counts.weights / rows
    return own * one, (rows - own) * one


def compared(
    scores: Float[Tensor, "candidates rows"], row_weights: Float[Tensor, " rows"]
) -> tuple[Float[Tensor, " candidates"], Float[Tensor, " candidates"]]:
    """Mean score of each candidate, and the standard error of its difference from the best.

    Args:
        scores: of every held-out row.
        row_weights: numbers of rows.
    """
    total = row_weights.sum()
    means = scores @ row_weights / total
    apart = scores - scores[first_largest(means.tolist(), EQUAL_SCORES)]
    centred = apart - (apart @ row_weights / total).unsqueeze(1)
    variance = centred.square() @ row_weights / total
    return means, (variance / total).sqrt()


def too_few(n_folds: int, counts: Counts | Records) -> DataError:
    """What to say where folds would be without rows."""
    return DataError(
        f"expected rows enough for {n_folds} folds, found {math.ceil(counts.n_rows)}; take "
        "fewer folds"
    )


def _weighted(counts: Counts, row_weights: Tensor) -> Counts:
    """The same patterns with other weights; those without any are left out."""
    kept = row_weights > 0
    return replace(counts, rows=counts.rows[kept], weights=row_weights[kept])
