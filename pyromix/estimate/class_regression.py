"""EM where the weights of the sources depend on covariates (THEORY section 21).

[K. Bandeen-Roche, D. L. Miglioretti, S. L. Zeger, P. J. Rathouz, Latent variable regression for
multiple discrete outcomes, JASA 92, 1997] for rows (x, z) of weight w, items independent within a
source:

    P(U = u | z) = exp(gamma_u' z) / sum over j of exp(gamma_j' z),  gamma_0 = 0,
    r_u = P(U = u | z) P(x | u) / sum over j of the same.

The items get the M-step of any mixture; gamma a Newton step of the multinomial logit, with gradient
sum w (r_j - P_j) z and Hessian -sum w P_j (1[j = l] - P_l) z z', halved until it does not lose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.errors import RefinementError
from pyromix.estimate.accelerate import FIRST_LIMIT, LEAST_SHARE_KEPT, next_limit
from pyromix.estimate.progress import Tell
from pyromix.estimate.result import first_in_best
from pyromix.exact import linalg
from pyromix.exact.likelihood import log_joint
from pyromix.exact.rows import CellIndex
from pyromix.model.mixture import BayesNetMixture

HALVINGS = 12
"""Times a Newton step is halved before it is left out."""

RIDGE = 1e-10
"""Share of a Hessian's mean diagonal that is added: a covariate may say nothing for a while."""

Tables = tuple[Tensor, ...]
"""Per item ``(batch, k, card)``."""


@dataclass(frozen=True, eq=False)
class CovariateRows:
    """Distinct rows of items and covariates.

    Attributes:
        index: of the items.
        design: covariates with their intercept.
        weights: of each row, positive.
    """

    index: CellIndex
    design: Float[Tensor, "m p"]
    weights: Float[Tensor, " m"]

    @property
    def total_weight(self) -> float:
        """Number of data rows."""
        return float(self.weights.sum())


@dataclass(frozen=True, eq=False)
class Regressed:
    """Where EM ended, from the first start in the best optimum.

    Attributes:
        coefficients: gamma, ``(k, p)``, zero for the first source.
        tables: of the items, ``(k, card)`` each.
        log_likelihood: of the items given the covariates, in nats.
        n_iter: EM steps.
        converged: whether the tolerance was met.
        start_log_likelihoods: where every start ended.
    """

    coefficients: Float[Tensor, "k p"]
    tables: Tables
    log_likelihood: float
    n_iter: int
    converged: bool
    start_log_likelihoods: Float[Tensor, " starts"]


def log_weights(
    coefficients: Float[Tensor, "*batch k p"], design: Float[Tensor, "m p"]
) -> Float[Tensor, "*batch m k"]:
    """Log P(U | z) of every row."""
    return (design @ coefficients.mT).log_softmax(-1)


def joint(
    rows: CovariateRows, coefficients: Float[Tensor, "*batch k p"], tables: Tables
) -> Float[Tensor, "*batch m k"]:
    """Log P(U, items | z) of every row."""
    ones = torch.ones(coefficients.shape[:-1], dtype=torch.float64, device=rows.design.device)
    return log_joint((ones, tables), rows.index) + log_weights(coefficients, rows.design)


@dataclass(frozen=True, eq=False)
class Where:
    """Where several starts stand."""

    gamma: Float[Tensor, "n k p"]
    tables: Tables

    def change(self, before: Where) -> Float[Tensor, " n"]:
        """Largest move of a coefficient or a probability."""
        found = _largest(self.gamma - before.gamma)
        for new, old in zip(self.tables, before.tables, strict=True):
            found = found.maximum(_largest(new - old))
        return found

    def where(self, chosen: Bool[Tensor, " n"], other: Where) -> Where:
        """This at the chosen starts, the other elsewhere."""
        mask = chosen[:, None, None]
        pairs = zip(self.tables, other.tables, strict=True)
        tables = tuple(torch.where(mask, one, two) for one, two in pairs)
        return Where(torch.where(mask, self.gamma, other.gamma), tables)


@torch.no_grad()
def climb_regression(
    rows: CovariateRows,
    starts: BayesNetMixture,
    *,
    gamma: Float[Tensor, "n k p"] | None = None,
    max_iter: int = 2000,
    tol: float = 1e-10,
    tell: Tell = lambda done, words: None,
) -> Regressed:
    """Maximise the likelihood of items given covariates, from several starts at once.

    Args:
        rows: the table.
        starts: batch shape ``(n,)``; their weights make the intercepts, and slopes start at zero.
        gamma: coefficients to start from instead.
        max_iter: limit on EM steps.
        tol: a start has converged when a step gains at most so many nats per row and moves no
            coefficient or probability by more than the root of it.
        tell: told of every step.

    Raises:
        RefinementError: a start gives a row probability zero.
    """
    n, p = len(starts.weights), rows.design.shape[1]
    if gamma is None:
        gamma = torch.zeros(n, starts.n_sources, p, dtype=torch.float64, device=rows.design.device)
        gamma[..., 0] = (starts.weights / starts.weights[:, :1]).log()
    at, done, n_iter = Where(gamma, starts.cpts), torch.zeros(n, dtype=torch.bool), 0
    limit = torch.full((n,), FIRST_LIMIT, dtype=torch.float64, device=gamma.device)
    while n_iter < max_iter and not bool(done.all()):
        one, value = _step(rows, at)
        if not bool(value.isfinite().all()):
            raise RefinementError(
                "every start must give every row a positive probability; "
                f"{int((~value.isfinite()).sum())} of {n} starts do not. Take fewer sources"
            )
        two, after = _step(rows, one)
        done = (after - value <= tol * rows.total_weight) & (two.change(one) <= tol**0.5)
        guess, length = _extrapolated(at, one, two, limit)
        three, ahead = _step(rows, guess)
        accepted = ahead >= after  # False as well where the guess has likelihood zero
        at = three.where(accepted, two)
        limit = next_limit(limit, length, accepted)
        n_iter += 3
        tell(n_iter, f"logL {float(after.max()):.3f}")
    gamma, tables = at.gamma, at.tables
    ended = _log_likelihood(rows, gamma, tables)
    best = first_in_best(ended, done, rows.total_weight)
    found = tuple(table[best] for table in tables)
    flags = float(ended[best]), n_iter, bool(done[best])
    return Regressed(gamma[best], found, *flags, ended)


def _log_likelihood(rows: CovariateRows, gamma: Tensor, tables: Tables) -> Float[Tensor, " n"]:
    return joint(rows, gamma, tables).logsumexp(-1) @ rows.weights


def _step(rows: CovariateRows, at: Where) -> tuple[Where, Float[Tensor, " n"]]:
    """One step of EM, and the log-likelihood from where it was taken."""
    here = joint(rows, at.gamma, at.tables)
    shares = here.softmax(-1)
    value = here.logsumexp(-1) @ rows.weights
    weighted = shares * rows.weights[:, None]
    items = tuple(
        _item_step(rows.index.rows[:, v].long(), weighted, table)
        for v, table in enumerate(at.tables)
    )
    return Where(_newton(rows, at.gamma, shares), items), value


def _extrapolated(
    start: Where, one: Where, two: Where, limit: Float[Tensor, " n"]
) -> tuple[Where, Float[Tensor, " n"]]:
    """Where EM is going, by SQUAREM as in ``accelerate``: a guess, and its length."""

    def parts(x: Where) -> tuple[Tensor, ...]:
        return (x.gamma, *x.tables)

    steps = [b - a for a, b in zip(parts(start), parts(one), strict=True)]
    turns = [c - b - s for b, c, s in zip(parts(one), parts(two), steps, strict=True)]
    tiny = torch.finfo(torch.float64).tiny
    length = (_norm(steps) / _norm(turns).clamp_min(tiny)).clamp_min(1.0).minimum(limit)
    s = length[:, None, None]
    gamma, *tables = (
        x + 2 * s * step + s**2 * turn
        for x, step, turn in zip(parts(start), steps, turns, strict=True)
    )
    inside = (t.maximum(LEAST_SHARE_KEPT * own) for t, own in zip(tables, two.tables, strict=True))
    return Where(gamma, tuple(t / t.sum(-1, keepdim=True) for t in inside)), length


def _norm(parts: Sequence[Float[Tensor, "n ..."]]) -> Float[Tensor, " n"]:
    squares = [x.flatten(1).square().sum(-1) for x in parts]
    return torch.stack(squares).sum(0).sqrt()


def _item_step(
    states: Int[Tensor, " m"], weighted: Float[Tensor, "n m k"], table: Float[Tensor, "n k card"]
) -> Float[Tensor, "n k card"]:
    """Expected shares of the states of one item; as they were where no row is expected."""
    seen = (states[:, None] == torch.arange(table.shape[-1], device=states.device)).double()
    sums = weighted.mT @ seen
    totals = sums.sum(-1, keepdim=True)
    return torch.where(totals > 0, sums / totals, table)


def _newton(
    rows: CovariateRows, gamma: Float[Tensor, "n k p"], shares: Float[Tensor, "n m k"]
) -> Float[Tensor, "n k p"]:
    """A damped Newton step of the multinomial logit."""
    n, k, p = gamma.shape
    if k == 1:
        return gamma
    design, weights = rows.design, rows.weights
    law = log_weights(gamma, design).exp()
    slope = ((shares - law) * weights[:, None])[..., 1:].mT @ design
    hessian = torch.empty(n, k - 1, p, k - 1, p, dtype=gamma.dtype, device=gamma.device)
    for j in range(1, k):
        for other in range(1, k):
            factor = weights * law[..., j] * (float(j == other) - law[..., other])
            hessian[:, j - 1, :, other - 1] = (factor[:, None, :] * design.T) @ design
    flat = hessian.reshape(n, (k - 1) * p, (k - 1) * p)
    mean = flat.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
    eye = torch.eye(flat.shape[-1], dtype=flat.dtype, device=flat.device)
    move = linalg.solve(flat + RIDGE * mean * eye, slope.reshape(n, -1, 1)).value
    move = move.nan_to_num(0.0).reshape(n, k - 1, p)
    before = _complete(rows, gamma, shares)
    length = torch.ones(n, 1, 1, dtype=gamma.dtype, device=gamma.device)
    ahead, worse = gamma, torch.ones(n, dtype=torch.bool, device=gamma.device)
    for _ in range(HALVINGS):
        ahead = gamma.clone()
        ahead[:, 1:] += length * move
        worse = _complete(rows, ahead, shares) < before
        if not bool(worse.any()):
            return ahead
        length = torch.where(worse[:, None, None], length / 2, length)
    return torch.where(worse[:, None, None], gamma, ahead)


def _complete(rows: CovariateRows, gamma: Tensor, shares: Tensor) -> Float[Tensor, " n"]:
    """Expected log-likelihood of the sources, had they been seen."""
    return (shares * log_weights(gamma, rows.design)).sum(-1) @ rows.weights


def _largest(change: Float[Tensor, "n ..."]) -> Float[Tensor, " n"]:
    return change.abs().flatten(1).amax(1)


def mean_weights(rows: CovariateRows, coefficients: Float[Tensor, "k p"]) -> Float[Tensor, " k"]:
    """Average of P(U | z) over the rows."""
    return log_weights(coefficients, rows.design).exp().T @ rows.weights / rows.total_weight
