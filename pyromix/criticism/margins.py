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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import torch
from jaxtyping import Float
from scipy.special import chdtrc
from torch import Tensor
from torch.nn.functional import one_hot

from pyromix.data.asking import asked
from pyromix.data.counts import Counts
from pyromix.errors import QueryError
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

if TYPE_CHECKING:
    import pandas as pd

MAX_PAIRS = 1000
"""Pairs of variables that are looked at; of more, so many at random."""

MAX_PARAMETERS = 1500
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

LEAST_P = 1e-12
"""p-values are printed down to this one: tails are not known better."""

PRINTED = 5
"""Lines of the printed table."""


@dataclass(frozen=True)
class PairCheck:
    """One pair margin against the table.

    Attributes:
        names: of the two variables.
        statistic: asymptotically chi-square where graph and k are right.
        dof: its degrees of freedom; 0 where fitting leaves nothing to compare.
        p_value: of the statistic.
        adjusted: after Holm's correction over all pairs.
        residual: of the cell that deviates most, in standard errors.
        cell: the states of this cell.
        observed: its share of the rows.
        expected: its probability in the fitted mixture.
    """

    names: tuple[str, str]
    statistic: float
    dof: int
    p_value: float
    adjusted: float
    residual: float
    cell: tuple[object, object]
    observed: float
    expected: float

    def __str__(self) -> str:
        """One line."""
        (a, b), (s, t) = self.names, self.cell
        return (
            f"{a}, {b}: {_p(self.adjusted)}; {a}={s!r}, {b}={t!r} in {self.observed:.4f} of "
            f"the rows, {self.expected:.4f} expected ({self.residual:+.1f} standard errors)"
        )


@dataclass(frozen=True)
class BlockCheck:
    """Whether two d-separated blocks have a table of rank k at most.

    Attributes:
        one: names of the variables of the first block.
        other: names of those of the second.
        given: names of those conditioned on.
        statistic: asymptotically chi-square where the rank is at most k.
        dof: its degrees of freedom.
        p_value: of the statistic.
        adjusted: after Holm's correction over all blocks.
    """

    one: tuple[str, ...]
    other: tuple[str, ...]
    given: tuple[str, ...]
    statistic: float
    dof: int
    p_value: float
    adjusted: float

    def __str__(self) -> str:
        """One line."""
        given = f" given {{{', '.join(self.given)}}}" if self.given else ""
        return (
            f"{{{', '.join(self.one)}}} and {{{', '.join(self.other)}}}{given}: {_p(self.adjusted)}"
        )


def _p(value: float) -> str:
    return f"p = {value:.2g}" if value >= LEAST_P else f"p < {LEAST_P:g}"


Check = TypeVar("Check", PairCheck, BlockCheck)


@dataclass(frozen=True)
class PredictiveCheck:
    """What of the table the fitted mixture does not reproduce.

    Attributes:
        pairs: margins of pairs of variables, the worst first.
        blocks: ranks of d-separated blocks, the worst first: these need no fit, only graph and k.
        n_sources: k.
        level: of each of the two families of tests.
        notes: what limits the comparison.
    """

    pairs: tuple[PairCheck, ...]
    blocks: tuple[BlockCheck, ...]
    n_sources: int
    level: float
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether no pair and no block contradicts the model at the level."""
        found = [c.adjusted for c in (*self.pairs, *self.blocks)]
        return min(found, default=1.0) >= self.level

    @property
    def worst(self) -> PairCheck | BlockCheck:
        """The comparison with the smallest adjusted p-value.

        Raises:
            QueryError: one variable alone has nothing to compare.
        """
        found = sorted((*self.pairs, *self.blocks), key=lambda c: (c.adjusted, c.p_value))
        if not found:
            raise QueryError("a single variable has no pair margins, and no blocks")
        return found[0]

    def to_frame(self) -> pd.DataFrame:
        """One row per pair, the worst first, and a column per number."""
        from pyromix.data.frames import to_pandas

        columns = {
            "one": [c.names[0] for c in self.pairs],
            "other": [c.names[1] for c in self.pairs],
        }
        for name in ("statistic", "dof", "p_value", "adjusted", "residual"):
            columns[name] = [getattr(c, name) for c in self.pairs]
        return to_pandas(columns)

    def __str__(self) -> str:
        """Verdict, and the worst of each kind."""
        lines = []
        for kind, found in (
            (f"{len(self.pairs)} pair margins", self.pairs),
            (f"{len(self.blocks)} pairs of blocks of rank {self.n_sources} at most", self.blocks),
        ):
            bad = [c for c in found if c.adjusted < self.level]
            verdict = f"{len(bad)} contradict the model" if bad else "none contradicts the model"
            lines.append(f"{kind}: {verdict} at level {self.level:g}" if found else f"{kind}")
            lines += [f"  {c}" for c in (bad[:PRINTED] or found[:1])]
        return "\n".join([*lines, *self.notes])


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
        notes.append(f"{MAX_PAIRS} of {len(pairs)} pairs were compared")
        pairs = [pairs[i] for i in chosen]
    seed = int(rng.integers(2**31))
    explained, pulled = _explained(mixture, pairs, n_fitted, prior, seed)
    p = spec.n_parameters
    if not explained and pairs:
        notes.append(
            f"{p} parameters are many, so the error of the estimate is not counted: p-values of "
            f"pairs are too {'small' if fresh else 'large'}"
        )
    if not counts.complete:
        notes.append(
            "cells are missing: a pair is compared on the rows that have both, which supposes, "
            "more than the fit does, that cells are missing completely at random"
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
    if p > MAX_PARAMETERS:
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
        indicators = torch.cat([one_hot(rows[:, w].long(), spec.cards[w]) for w in others], 1)
        parts = [
            indicators[here].to(white.dtype).T @ white[here] / n
            for here in (rows[:, v] == state for state in range(spec.cards[v]))
        ]
        sums = torch.stack(parts).split([spec.cards[w] for w in others], 1)
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
    worst = int(residuals.abs().argmax())
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
        (spec.states_of(v)[worst // spec.cards[w]], spec.states_of(w)[worst % spec.cards[w]]),
        float(observed[worst]),
        float(expected[worst]),
    )


def _statistic(
    gap: Float[Tensor, " cells"],
    whole: Float[Tensor, "cells cells"],
    left: Float[Tensor, "cells cells"],
    rows: Float[Tensor, " cells"],
) -> tuple[float, int]:
    """Squared length of the gap in standard errors, over the directions that can be compared.

    Args:
        gap: observed minus expected shares.
        whole: their covariance if nothing had been fitted.
        left: their covariance.
        rows: expected in every cell; rare cells become one.
    """
    rare = rows < RARE
    merge = torch.eye(len(rows), dtype=gap.dtype, device=gap.device)[~rare]
    if bool(rare.any()):
        merge = torch.cat([merge, rare.to(gap.dtype).unsqueeze(0)])
    gap, whole, left = merge @ gap, merge @ whole @ merge.T, merge @ left @ merge.T
    values, axes = torch.linalg.eigh(whole)
    free = values > 1e-9 * values[-1].clamp_min(1e-300)
    white = axes[:, free] / values[free].sqrt()
    shares, turn = torch.linalg.eigh(white.T @ left @ white)
    kept = shares > FITTED
    along = (turn.T @ (white.T @ gap))[kept]
    return float((along.square() / shares[kept]).sum()), int(kept.sum())


def _blocks(spec: MixtureSpec, counts: Counts, seed: int) -> list[BlockCheck]:
    """Rank tests at k between blocks that U and a few variables d-separate."""
    k = spec.n_sources
    if any(spec.parents):
        blocks = separated_blocks(spec, k, N_BLOCKS, seed)
    elif spec.n_variables > 1:
        pairs = block_pairs(spec.cards, k, N_BLOCKS, seed)
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
    return tuple(sorted(checked, key=lambda c: c.p_value))
