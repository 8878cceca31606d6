"""Means and lines within each source from rows whose source is known up to known mistakes.

With q_j(A) = P(j | A) for views A, and D_uj = E[q_j | u], the mean of q(A) f(W) over the rows is
``(pi E[f | u])' D`` for every f of variables W that are independent of A within each source: it
mixes the sources. Row i counts for them by ``q(A_i) D^-1``, which undoes it whatever the law of W
[bch04; THEORY section 18.6]. Weights may be negative. ``answers.third_step`` is the same with rows
assigned to one source each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.exact import linalg
from pyromix.model.status import Status

NEAR = 0.05
"""Least singular value of D: below it a row may count for more than twenty."""

DEFINITE = 1e-9
"""Least eigenvalue of a matrix of moments scaled to a diagonal of ones."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What is regressed on what, row by row.

    Attributes:
        design: regressors, ``(rows, p)``, the first of them one.
        outcome: ``(rows,)``.
        cell: configuration of what is adjusted for and has states, ``(rows,)``.
        group: the line that a row belongs to, -1 for none: of its cell, or of its cell and arm.
        lines: the line that each arm of each cell lies on, ``(2, cells)``.
        place: which regressor the treatment is; -1 where each arm has lines of its own.
        settings: of the treatment in the arms, where it is a regressor.
    """

    design: Float[Tensor, "rows p"]
    outcome: Float[Tensor, " rows"]
    cell: Int[Tensor, " rows"]
    group: Int[Tensor, " rows"]
    lines: Int[Tensor, "2 cells"]
    place: int
    settings: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Corrected:
    """Means of an outcome in two arms, source by source.

    Attributes:
        weights: P(U), ``(k,)``.
        arms: P(U) times the mean of the outcome in each arm, ``(2, k)``; nan unless OK.
        mistakes: D, P(row is put into source j | U = u) on average, ``(k, k)``.
        status: OK; MERGED where D is nearly singular, TOO_FEW_ROWS where a source has moments that
            no rows could have.
    """

    weights: Float[Tensor, " k"]
    arms: Float[Tensor, "2 k"]
    mistakes: Float[Tensor, "k k"]
    status: Status

    @property
    def difference(self) -> Float[Tensor, ""]:
        """Of the arms, all sources together."""
        return (self.arms[1] - self.arms[0]).sum()


def mistakes_of(
    shares: Float[Tensor, "rows k"], weights: Float[Tensor, " rows"]
) -> Float[Tensor, "k k"]:
    """D, rows summing to one."""
    mass = shares * weights[:, None]
    return mass.mT @ shares / mass.sum(0)[:, None]


def corrected(
    shares: Float[Tensor, "rows k"], weights: Float[Tensor, " rows"], asked: Asked
) -> Corrected:
    """Undo mistakes and average over what is adjusted for; differentiable in shares and weights.

    Args:
        shares: P(U | views) of every row.
        weights: of the rows.
        asked: what is regressed on what.
    """
    mistakes = mistakes_of(shares, weights)
    back = linalg.inv(mistakes)
    counted = shares @ back.value * (weights / weights.sum())[:, None]
    sizes = counted.sum(0)
    with torch.no_grad():
        least = linalg.svd(mistakes).values[..., -1]
        singular = int(back.status) != Status.OK or float(least) < NEAR
    n_cells = asked.lines.shape[1]
    nothing = sizes.new_full((2, shares.shape[1]), torch.nan)
    if singular:
        return Corrected(sizes, nothing, mistakes, Status.MERGED)
    in_cells = _summed(counted, asked.cell, n_cells)
    means = _summed(counted[:, :, None] * asked.design[:, None, :], asked.cell, n_cells)
    means = means / in_cells[..., None]  # (cells, k, p)
    both = torch.cat([asked.design, asked.outcome[:, None]], 1)
    used = asked.group >= 0
    n_lines = int(asked.lines.max()) + 1
    squares = (both[:, :, None] * both[:, None, :])[used]
    q = both.shape[1]
    moments = torch.stack(
        [_summed(squares * own[:, None, None], asked.group[used], n_lines)
         for own in counted[used].unbind(1)], 1
    )  # fmt: skip
    arms, ok = [], bool((in_cells > 0).all())
    for arm in range(2):
        own = moments[asked.lines[arm]]  # (cells, k, q, q)
        ok = ok and _definite(own.detach())
        found = linalg.solve(own[..., :-1, :-1], own[..., :-1, -1:])
        ok = ok and bool((found.status == Status.OK).all())
        at = means
        if asked.place >= 0:
            setting = torch.full_like(means[..., 0], asked.settings[arm])
            at = torch.stack(
                [setting if j == asked.place else means[..., j] for j in range(q - 1)], -1
            )
        arms.append((in_cells * (at * found.value[..., 0]).sum(-1)).sum(0))
    if not ok:
        return Corrected(sizes, nothing, mistakes, Status.TOO_FEW_ROWS)
    return Corrected(sizes, torch.stack(arms), mistakes, Status.OK)


def _summed(values: Float[Tensor, "rows ..."], place: Tensor, n: int) -> Float[Tensor, "n ..."]:
    return values.new_zeros(n, *values.shape[1:]).index_add(0, place, values)


def _definite(moments: Float[Tensor, "*batch q q"]) -> bool:
    """Whether rows could have these moments: weights may be negative, squares may not."""
    size = moments.diagonal(dim1=-2, dim2=-1)
    if not bool((size > 0).all()):
        return False
    roots = size.rsqrt()
    values = linalg.eigh(moments * roots[..., None] * roots[..., None, :]).values
    return bool((values > DEFINITE).all())
