"""Does the fitted mixture look like the table: pair margins, and ranks of d-separated blocks.

A pair margin is compared by a conditional moment test [W. K. Newey, Maximum likelihood
specification testing and conditional moment tests, Econometrica 53, 1985]: the estimate was fitted
to the same rows, so what its score explains of a cell is taken out of the variance,

    N Var(observed - expected) = Sigma - J I^{-1} J',  J = E[indicator of the cell x score];

for rows that the fit has not seen it is added.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from scipy.special import chdtrc
from torch import Tensor
from torch.nn.functional import one_hot

from pyromix.criticism.discrepancy import BlockCheck, Check, PairCheck, PredictiveCheck, worst_first
from pyromix.data.asking import asked
from pyromix.data.counts import Counts
from pyromix.errors import DataError
from pyromix.exact import linalg
from pyromix.exact.elimination import marginal
from pyromix.exact.information import SEEN, expected_information, prior_gradient, scores
from pyromix.exact.sampling import sample
from pyromix.identify.network.ranks import Blocks, block_tests, separated_blocks
from pyromix.identify.product.rank import block_pairs, holm
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.query import DoQuery
from pyromix.model.randomness import RandomState, numpy_generator
from pyromix.model.spec import MixtureSpec
from pyromix.model.status import refuse
from pyromix.model.ties import first_largest

if TYPE_CHECKING:
    pass

MAX_PAIRS = 1000
"""Pairs of variables that are looked at; of more, so many at random."""

MAX_MARGIN_PARAMETERS = 1500
"""Parameters up to which a margin's variance is corrected for having been fitted."""

ROWS_PER_PARAMETER = 20
"""Rows simulated per parameter, so that chance explains little of a cell."""

LEAST_ROWS = 20_000
"""Rows simulated at least."""

FITTED = 0.1
"""Directions of a margin of which fitting leaves less than this share of the variance are not
compared: they agree by construction."""

RARE = 5.0
"""Cells with fewer expected rows than this are compared together."""

N_BLOCKS = 8
"""Pairs of blocks whose ranks are tested."""

EQUAL_RESIDUALS = 1e-3
"""Standard errors up to which cells deviate alike, and the first of them stands for their margin.

Two binary variables leave one direction to deviate in, and all four cells deviate alike.
"""


def check_predictions(
    mixture: BayesNetMixture,
    counts: Counts,
    *,
    n_fitted: float,
    prior: PseudoCounts,
    fresh: bool = False,
    level: float = 0.05,
    random_state: RandomState = 0,
) -> PredictiveCheck:
    """Compare a fitted mixture with a table.

    Args:
        mixture: the estimate, without batch axes.
        counts: the table, weights in rows; missing cells are left out pair by pair.
        n_fitted: rows without gaps that the mixture was fitted to.
        prior: pseudo-counts of the fit.
        fresh: whether the fit has not seen the table.
        level: of each family of tests.
        random_state: of simulated rows, of pairs where there are too many, and of blocks.
    """
    spec, rng = mixture.spec, numpy_generator(random_state)
    pairs = list(itertools.combinations(range(spec.n_variables), 2))
    notes = []
    if len(pairs) > MAX_PAIRS:
        chosen = sorted(rng.choice(len(pairs), MAX_PAIRS, replace=False).tolist())
        notes.append(
            f"{MAX_PAIRS} of {len(pairs)} pairs of variables, drawn at random, were compared with "
            "the table"
        )
        pairs = [pairs[i] for i in chosen]
    seed = int(rng.integers(2**31))
    explained, pulled = _explained(mixture, pairs, n_fitted, prior, seed)
    p = spec.n_parameters
    if not explained and pairs:
        notes.append(
            f"the model has {p} parameters, more than {MAX_MARGIN_PARAMETERS}, so the p-values of "
            "pairs of variables leave out the error of the estimate: they are too "
            f"{'small' if fresh else 'large'}"
        )
    if not counts.complete:
        notes.append(
            "cells of the table are missing: every pair of variables is compared on the rows that "
            "have both. This supposes that cells are missing completely at random, which is more "
            "than the fit supposes"
        )
    sign = 1.0 if fresh else -1.0
    found = []
    for number, (v, w) in enumerate(pairs):
        shift = sign * explained[number] if explained else None
        pull = pulled[number] if explained else None
        found.append(_pair(mixture, counts, v, w, shift, pull))
    blocks = _blocks(spec, counts, int(rng.integers(2**31)))
    return PredictiveCheck(_by_holm(found), _by_holm(blocks), spec.n_sources, level, tuple(notes))


def _explained(
    mixture: BayesNetMixture,
    pairs: Sequence[tuple[int, int]],
    n_fitted: float,
    prior: PseudoCounts,
    seed: int,
) -> tuple[list[Float[Tensor, "cells cells"]], list[Float[Tensor, " cells"]]]:
    """Per pair the variance that the error of the estimate makes, and what the prior has moved.

    I and J by the same rows, simulated from the mixture, so that no more is explained than there
    is. Empty where the model is too large.
    """
    spec, p = mixture.spec, mixture.spec.n_parameters
    if p > MAX_MARGIN_PARAMETERS:
        return [], []
    n = max(LEAST_ROWS, ROWS_PER_PARAMETER * p)
    rows = sample(mixture, n, seed)[0]
    moves = scores(mixture, rows)
    known = expected_information(mixture, moves, n_fitted, prior)
    # In the basis of eigenvectors, scaled: the information is the identity there.
    scale = torch.where(known.values > SEEN, known.values, torch.inf).rsqrt()
    white = moves @ (known.basis * scale)
    pull = (known.basis * scale).T @ prior_gradient(mixture, prior)
    found, moved = {}, {}
    for v in sorted({v for v, _ in pairs}):
        others = [w for first, w in pairs if first == v]
        indicators = torch.cat([one_hot(rows[:, w].long(), spec.card(w)) for w in others], 1)
        parts = [
            indicators[here].to(white.dtype).T @ white[here] / n
            for here in (rows[:, v] == state for state in range(spec.card(v)))
        ]
        sums = torch.stack(parts).split(spec.joint_shape(others), 1)
        for w, mine in zip(others, sums, strict=True):
            flat = mine.flatten(0, 1)
            found[v, w] = flat @ flat.T
            moved[v, w] = flat @ pull
    return [found[pair] for pair in pairs], [moved[pair] for pair in pairs]


def _pair(
    mixture: BayesNetMixture,
    counts: Counts,
    v: int,
    w: int,
    shift: Float[Tensor, "cells cells"] | None,
    pull: Float[Tensor, " cells"] | None,
) -> PairCheck:
    """One margin; p-values are adjusted later."""
    spec = mixture.spec
    seen = (counts.rows[:, [v, w]] >= 0).all(1)
    n_rows = float(counts.weights[seen].sum())
    none = torch.zeros(1, 0, dtype=torch.int64, device=counts.device)
    observed = counts.table((v, w), (), none)[0].flatten()
    expected = marginal(mixture, DoQuery(outcomes=(v, w))).flatten()
    covariance = torch.diag(expected) - expected[:, None] * expected[None, :]
    left = covariance / n_rows
    if shift is not None:
        left = left + shift
    # The prior's part of the gap is no misfit of graph or k.
    gap = observed - expected + (0.0 if pull is None else pull)
    errors = left.diagonal().clamp_min(FITTED * covariance.diagonal() / n_rows).sqrt()
    impossible = (expected <= 0) & (observed > 0)
    residuals = torch.where(errors > 0, gap / errors, torch.where(impossible, torch.inf, 0.0))
    worst = first_largest(residuals.abs().tolist(), EQUAL_RESIDUALS)
    statistic, dof = _statistic(gap, covariance / n_rows, left, expected * n_rows)
    if bool(impossible.any()):
        statistic, dof = math.inf, max(dof, 1)
    return PairCheck(
        (spec.name(v), spec.name(w)),
        statistic,
        dof,
        float(chdtrc(dof, statistic)) if dof else 1.0,
        1.0,
        float(residuals[worst]),
        (spec.states_of(v)[worst // spec.card(w)], spec.states_of(w)[worst % spec.card(w)]),
        float(observed[worst]),
        float(expected[worst]),
        _bivariate_residual(observed, expected, n_rows, (spec.card(v), spec.card(w))),
    )


def _bivariate_residual(
    observed: Float[Tensor, " cells"],
    expected: Float[Tensor, " cells"],
    n_rows: float,
    cards: tuple[int, int],
) -> float:
    """Pearson's chi-square by its nominal degrees of freedom; 0 / 0 of an empty cell is none."""
    seen = (observed > 0) | (expected > 0)
    parts = (observed - expected)[seen].square() / expected[seen]
    return n_rows * float(parts.sum()) / ((cards[0] - 1) * (cards[1] - 1))


def _statistic(
    gap: Float[Tensor, " cells"],
    whole: Float[Tensor, "cells cells"],
    left: Float[Tensor, "cells cells"],
    expected_rows: Float[Tensor, " cells"],
) -> tuple[float, int]:
    """Squared length of the gap in standard errors, over the directions that can be compared.

    Args:
        gap: observed minus expected shares.
        whole: their covariance if nothing had been fitted.
        left: their covariance.
        expected_rows: expected in every cell; rare cells become one.
    """
    rare = expected_rows < RARE
    merge = torch.eye(len(expected_rows), dtype=gap.dtype, device=gap.device)[~rare]
    if bool(rare.any()):
        merge = torch.cat([merge, rare.to(gap.dtype).unsqueeze(0)])
    gap, whole, left = merge @ gap, merge @ whole @ merge.T, merge @ left @ merge.T
    values, axes = _spectrum(whole)
    free = values > 1e-9 * values[-1].clamp_min(1e-300)
    white = axes[:, free] / values[free].sqrt()
    shares, turn = _spectrum(white.T @ left @ white)
    kept = shares > FITTED
    along = (turn.T @ (white.T @ gap))[kept]
    return float((along.square() / shares[kept]).sum()), int(kept.sum())


def _spectrum(
    covariance: Float[Tensor, "cells cells"],
) -> tuple[Float[Tensor, " cells"], Float[Tensor, "cells cells"]]:
    """Eigenvalues and eigenvectors of a covariance of shares.

    Raises:
        DataError: there are none.
    """
    found = linalg.eigh(covariance)
    refuse(
        found.status,
        DataError,
        "shares of rows whose covariance has eigenvalues, for a predictive check",
        "look for nan in the tables of the fit, and in the weights of the rows",
    )
    return found.values, found.vectors


def _blocks(spec: MixtureSpec, counts: Counts, seed: int) -> list[BlockCheck]:
    """Rank tests at k between blocks that U and a few variables d-separate."""
    k = spec.n_sources
    if any(spec.parents):
        blocks = separated_blocks(spec, k, N_BLOCKS, seed)
    elif spec.n_variables > 1:
        pairs = block_pairs(spec.joint_shape(range(spec.n_variables)), k, N_BLOCKS, seed)
        blocks = [Blocks(one, other, ()) for one, other in pairs]
    else:
        blocks = []
    found = []
    for block, test in zip(blocks, block_tests(asked(counts, spec), blocks, k), strict=True):
        one, other, given = (
            tuple(spec.name(v) for v in part) for part in (block.one, block.other, block.given)
        )
        if int(test.dof) > 0:
            numbers = float(test.statistic), int(test.dof), float(test.p_value), 1.0
            found.append(BlockCheck(one, other, given, *numbers))
    return found


def _by_holm(found: Sequence[Check]) -> tuple[Check, ...]:
    """The same comparisons with adjusted p-values, the worst first."""
    if not found:
        return ()
    p_values = torch.tensor([c.p_value for c in found], dtype=torch.float64, device="cpu")
    adjusted = holm(p_values).tolist()
    checked = [replace(c, adjusted=a) for c, a in zip(found, adjusted, strict=True)]
    return tuple(checked[i] for i in worst_first(checked))
