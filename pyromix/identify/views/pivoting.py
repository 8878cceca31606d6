"""Which entries of a constrained least-squares table are zero, found by exchanging guesses.

Block principal pivoting [J. Kim, H. Park, Fast nonnegative matrix factorization: an active-set-like
method and comparisons, SIAM J. Sci. Comput. 33, 2011]: given which entries are zero the rest solves
linear equations; entries that came out negative become zero, and zeros whose multiplier is negative
become free, all at once while that makes fewer of them wrong, else one at a time. Two to five
exchanges are usual, where an interior point method takes twenty steps. What is returned as solved
meets the conditions of Karush, Kuhn and Tucker, so it is the minimum, however it was found.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pyromix.exact import linalg

EXCHANGES = 10
"""Exchanges after which a problem is left to another method."""

FULL = 3
"""Full exchanges in a row that need not make fewer entries wrong."""

WRONG = 1e-12
"""Entries and multipliers this little below zero count as rounding; the normal matrix is scaled to
trace one."""

SUMS_MET = 1e-9
"""Distance of a sum from one beyond which a problem counts as not solved."""


def pivoted(
    gram: Float[Tensor, "b k k"],
    moment: Float[Tensor, "b k c"],
    sums: Float[Tensor, "b k s"],
    free: Bool[Tensor, "b k c"],
) -> tuple[Float[Tensor, "b k c"], Bool[Tensor, " b"]]:
    """Minimise ``tr(x' gram x) / 2 - tr(x' moment)`` over ``x >= 0`` with ``sums' x 1 = 1``.

    Args:
        gram: normal matrices of trace one.
        moment: right-hand sides, a column per state.
        sums: which entries of ``x 1`` are added up; columns do not overlap.
        free: a first guess at the entries that are not zero.

    Returns:
        The tables, and which of them are solved; the others mean nothing.
    """
    b, k, c = moment.shape
    n = k * c
    place = torch.arange(n, device=gram.device)
    fewest = torch.full((b,), n + 1, device=gram.device)
    chances = torch.full((b,), FULL, device=gram.device)
    x, count = torch.zeros_like(moment), fewest
    for _ in range(EXCHANGES):
        x, price = _with_zeros(gram, moment, sums, free)
        slope = gram @ x - moment - sums @ price
        wrong = torch.where(free, x < -WRONG, slope < -WRONG).flatten(1)
        count = wrong.sum(1)
        if not bool(count.any()):
            break
        fewer = count < fewest
        chances = torch.where(fewer, FULL, chances - 1)
        fewest = torch.minimum(fewest, count)
        last = place == torch.where(wrong, place, -1).amax(1, keepdim=True)
        exchanged = torch.where((chances >= 0).unsqueeze(1), wrong, wrong & last)
        free = free ^ exchanged.view_as(free)
    missed = (sums.mT @ x.sum(-1, keepdim=True) - 1).abs().amax((-2, -1))
    return x.clamp_min(0), (count == 0) & (missed < SUMS_MET)


def _with_zeros(
    gram: Tensor, moment: Tensor, sums: Tensor, free: Tensor
) -> tuple[Float[Tensor, "b k c"], Float[Tensor, "b s 1"]]:
    """The minimum with some entries zero and no other bound, and the prices of the sums."""
    some = free.mT.to(gram.dtype)
    # Rows and columns of entries that are zero become those of the identity.
    masked = gram.unsqueeze(1) * (some.unsqueeze(-1) * some.unsqueeze(-2))
    masked = masked + torch.diag_embed(1 - some)
    right = torch.cat([moment.mT.unsqueeze(-1), sums.unsqueeze(1).expand(*some.shape, -1)], -1)
    found = linalg.solve(masked, right * some.unsqueeze(-1)).value
    alone, effect = found[..., :1], found[..., 1:]
    need = 1 - sums.mT @ alone.sum(1)
    price = linalg.solve(sums.mT @ effect.sum(1), need).value
    return (alone + effect @ price.unsqueeze(1)).squeeze(-1).mT, price
