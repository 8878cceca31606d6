"""How many sources the data show: rank tests of joint tables (THEORY section 8).

A table P(A, B) of blocks that are independent within each of k sources has rank at most k. The
statistic is that of [ratsimalahelo01] with two choices that the asymptotic theory leaves free:
the table is whitened by the roots of its margins, and the covariance is taken at the table of rank
r that is tested, not at the data. With r = 1 the statistic *is* Pearson's chi-square. Both matter
where counts are small. Share of rejections at nominal 0.05 over 400 tables of rank k drawn from
uniform sources, against the same statistic of the bare table with the covariance of the data::

    table, k, rows         here   bare
    4 x 4,   2, 10000      .040   .040
    8 x 4,   2, 10000      .045   .062
    3 x 5,   1, 10000      .043   .083
    16 x 16, 3, 20000      .060   .158
    8 x 8,   2, 500        .030   .347
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.data.asking import Asked, asked
from pyromix.data.moments import MomentSource
from pyromix.errors import DataError, SpecError
from pyromix.exact import linalg
from pyromix.identify.views.patterns import all_assignments
from pyromix.model.arguments import whole
from pyromix.model.randomness import RandomState, numpy_generator
from pyromix.model.status import Status

MAX_ENTRIES = 2**26
"""Largest number of entries (cells times restrictions) of one table's test."""

COVARIANCE_CUT = 1e-9
"""Variances below this share of the largest belong to restrictions that cannot fail."""

LEAST_COUNT = 1.0
"""Rows that a cell should have in expectation, or its block's rare states are merged."""

EXACT_ZERO = 1e-10
"""Trailing correlations of exact tables up to here are rounding."""


@dataclass(frozen=True, eq=False)
class RankTest:
    """Tests of the hypothesis that tables have at most some rank.

    Attributes:
        statistic: ``(*batch)``; infinite where exact moments contradict the hypothesis.
        dof: degrees of freedom, ``(m - rank)(n - rank)`` over the states that occur.
        p_value: upper tail of the chi-square law; one where nothing is restricted, nan with the
            statistic where singular vectors could not be found.
    """

    statistic: Float[Tensor, "*batch"]
    dof: Int[Tensor, "*batch"]
    p_value: Float[Tensor, "*batch"]

    def pooled(self, dim: int = -1) -> RankTest:
        """Join tests of independent strata along one batch axis: statistics and dof add."""
        return _test(self.statistic.sum(dim), self.dof.sum(dim))


@dataclass(frozen=True, eq=False)
class RankEstimate:
    """The smallest rank that is not rejected.

    Attributes:
        rank: how many sources the tables show.
        at_limit: every rank that the tables can contradict was rejected; the truth may be larger.
        limit: the largest rank any of the tables can have.
        p_values: per rank tested, from 1, the smallest p-value after Holm's correction.
        tests: per rank tested, one test per pair of blocks, strata pooled.
    """

    rank: int
    at_limit: bool
    limit: int
    p_values: tuple[float, ...]
    tests: tuple[tuple[RankTest, ...], ...]


def rank_test(
    tables: Float[Tensor, "*batch m n"],
    n_rows: float | Float[Tensor, "*batch"],
    rank: int,
) -> RankTest:
    """Test whether joint tables have at most some rank.

    With the singular vectors of the whitened table, the block of the trailing ones on both sides
    is zero but for noise; its ``(m - rank)(n - rank)`` entries are compared with their covariance.

    Args:
        tables: P(a, b); zeros where a stratum has no rows.
        n_rows: rows behind each table; infinite where tables are exact.
        rank: the largest rank under the hypothesis, at least one.

    Returns:
        One test per table. Memory ``m n (m - rank)(n - rank)`` per table.

    Raises:
        SpecError: ``rank`` is not a positive integer.
        DataError: entries that are negative or not finite, or tables too large.
    """
    rank = whole("the rank to be tested", rank, 1, error=SpecError)
    m, n = tables.shape[-2:]
    if not bool((tables.isfinite() & (tables >= 0)).all()):
        raise DataError("expected tables of probabilities, found entries negative or not finite")
    rows = torch.as_tensor(n_rows, dtype=torch.float64, device=tables.device)
    rows = rows.expand(tables.shape[:-2])
    restrictions = max(m - rank, 0) * max(n - rank, 0)
    if m * n * restrictions > MAX_ENTRIES:
        raise DataError(
            f"a rank test of a {m} x {n} table against rank {rank} needs {m * n * restrictions:,} "
            f"numbers, more than {MAX_ENTRIES:,}; take smaller blocks, or merge states"
        )
    if not restrictions:
        return _test(torch.zeros_like(rows), torch.zeros_like(rows, dtype=torch.int64))
    root_a, root_b = tables.sum(-1).sqrt(), tables.sum(-2).sqrt()
    inverse_a, inverse_b = (torch.where(r > 0, r.reciprocal(), 0.0) for r in (root_a, root_b))
    white = tables * inverse_a.unsqueeze(-1) * inverse_b.unsqueeze(-2)
    found = linalg.svd(white, full_matrices=True)
    u, values, v = found.u, found.values, found.vh.mT
    trailing = (u[..., rank:].mT @ white @ v[..., rank:]).flatten(-2)
    fitted = (u[..., :rank] * values[..., None, :rank]) @ v[..., :rank].mT
    fitted = (fitted * root_a.unsqueeze(-1) * root_b.unsqueeze(-2)).clamp_min(0).flatten(-2)
    fitted = fitted / fitted.sum(-1, keepdim=True).clamp_min(torch.finfo(fitted.dtype).tiny)
    one, other = u[..., rank:] * inverse_a.unsqueeze(-1), v[..., rank:] * inverse_b.unsqueeze(-1)
    effects = torch.einsum("...ai,...bj->...abij", one, other).flatten(-4, -3).flatten(-2)
    mean = effects.mT @ fitted.unsqueeze(-1)
    covariance = effects.mT @ (effects * fitted.unsqueeze(-1)) - mean @ mean.mT
    spectrum = linalg.eigh(covariance)
    variances, axes = spectrum.values, spectrum.vectors
    free = variances > COVARIANCE_CUT * variances[..., -1:]
    along = (axes.mT @ trailing.unsqueeze(-1)).squeeze(-1).square()
    distance = torch.where(free, along / torch.where(free, variances, 1.0), 0.0).sum(-1)
    exact = torch.where(trailing.abs().amax(-1) > EXACT_ZERO, torch.inf, 0.0)
    finite = torch.where(rows.isinf(), 0.0, rows)
    statistic = torch.where(rows.isinf(), exact, finite * distance)
    untested = (found.status != Status.OK) | (spectrum.status != Status.OK)
    return _test(torch.where(untested, torch.nan, statistic), free.sum(-1))


def holm(p_values: Float[Tensor, "*batch tests"]) -> Float[Tensor, "*batch tests"]:
    """Holm's adjusted p-values: rejecting those below a level keeps the family-wise error."""
    n = p_values.shape[-1]
    ordered, order = p_values.sort(-1)
    factor = torch.arange(n, 0, -1, dtype=p_values.dtype, device=p_values.device)
    raised = (ordered * factor).cummax(-1).values.clamp_max(1.0)
    return torch.empty_like(raised).scatter_(-1, order, raised)


def estimate_rank(
    pairs: Sequence[tuple[Float[Tensor, "_ _ _"], Float[Tensor, " _"]]],
    *,
    max_rank: int = 10,
    level: float = 0.05,
) -> RankEstimate:
    """Test ranks 1, 2, ... until one is not rejected by any pair of blocks.

    Strata of a pair are pooled; Holm's correction is made over the pairs.

    Args:
        pairs: per pair of blocks the tables ``(strata, m, n)`` and the rows behind each.
        max_rank: the largest rank to be tested.
        level: of the family of tests at each rank.

    Raises:
        DataError: no pair is given, or a table is unusable or cannot be decomposed.
    """
    if not pairs:
        raise DataError("expected at least one pair of blocks, found none")
    visible = [_largest_rank(tables) for tables, _ in pairs]
    limit = max(visible)
    found: list[tuple[RankTest, ...]] = []
    smallest: list[float] = []
    for rank in range(1, min(limit - 1, max_rank) + 1):
        telling = [pair for pair, most in zip(pairs, visible, strict=True) if most > rank]
        found.append(tuple(rank_test(t, rows, rank).pooled() for t, rows in telling))
        adjusted = holm(torch.stack([test.p_value for test in found[-1]]))
        smallest.append(float(adjusted.min()))
        if math.isnan(smallest[-1]):
            raise DataError(
                f"expected tables whose singular values can be found, to test rank {rank}; found "
                "one where they cannot; leave out variables, or merge rare states"
            )
        if smallest[-1] >= level:
            return RankEstimate(rank, False, limit, tuple(smallest), tuple(found))
    last = len(found) + 1
    return RankEstimate(last, True, limit, tuple(smallest), tuple(found))


def product_rank(
    moments: MomentSource,
    *,
    variables: Sequence[int] | None = None,
    given: Sequence[int] = (),
    assignments: Int[Tensor, "r c"] | None = None,
    max_rank: int = 6,
    n_pairs: int = 8,
    level: float = 0.05,
    random_state: RandomState = 0,
) -> RankEstimate:
    """Estimate the number of sources of variables that are independent within each source.

    Random pairs of disjoint blocks, each with more than ``max_rank`` joint states where there are
    variables enough.

    Args:
        moments: data, or a population: then ranks are exact.
        variables: vertices; all that are not ``given`` when left out.
        given: vertices conditioned on; assignments are strata.
        assignments: ``(r, len(given))``; every assignment when left out.
        max_rank: the largest rank to be tested.
        n_pairs: how many pairs of blocks at most.
        level: of the family of tests at each rank.
        random_state: of the blocks.

    Raises:
        DataError: fewer than two variables, unknown vertices, or states out of range.
    """
    moments = asked(moments)
    schema = moments.schema
    chosen = (
        [v for v in range(schema.n_variables) if v not in given] if variables is None else variables
    )
    if len(chosen) < 2:
        raise DataError(
            f"a rank test needs two blocks of variables, found {len(chosen)} "
            f"variable{'' if len(chosen) == 1 else 's'}"
        )
    if assignments is None:
        assignments = all_assignments(schema.joint_shape(given))
    pairs = []
    for one, other in block_pairs(schema.joint_shape(chosen), max_rank, n_pairs, random_state):
        vertices = [chosen[i] for i in (*one, *other)]
        size = schema.n_joint(chosen[i] for i in one)
        rows = rows_seen(moments, vertices, given, assignments)
        table = moments.table(vertices, given, assignments).reshape(len(rows), size, -1)
        pairs.append((merge_rare(table, rows), rows))
    return estimate_rank(pairs, max_rank=max_rank, level=level)


def rows_seen(
    moments: Asked,
    variables: Sequence[int],
    given: Sequence[int],
    assignments: Int[Tensor, "r c"],
) -> Float[Tensor, " r"]:
    """Number of rows behind a table P(variables | given = assignment) of available cases.

    Rows that lack a cell of the variables are behind the stratum, but not behind its table.

    Args:
        moments: data, or a population.
        variables: vertices of the table.
        given: vertices conditioned on.
        assignments: ``(r, len(given))`` state numbers.

    Returns:
        ``(r,)``; infinite where answers are exact.

    Raises:
        DataError: unknown or repeated vertices, or states out of range.
    """
    shape = moments.schema.joint_shape(variables)
    axes = [torch.arange(card, device=assignments.device) for card in shape]
    cells = torch.cartesian_prod(*axes).reshape(-1, len(axes))
    wanted = [assignments.repeat_interleave(len(cells), 0), cells.repeat(len(assignments), 1)]
    behind = moments.noise((*given, *variables), torch.cat(wanted, 1))
    return behind.reshape(len(assignments), -1).sum(1)


def merge_rare(
    tables: Float[Tensor, "*batch m n"], n_rows: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch rows columns"]:
    """Merge the rare states of each block, so that cells are not nearly empty.

    Merging states never raises a rank. States with a share under ``(LEAST_COUNT / N)**0.5`` become
    one, so that the others have cells with at least ``LEAST_COUNT`` rows expected.

    Args:
        tables: P(a, b).
        n_rows: N behind each; infinite where tables are exact, which are left as they are.

    Returns:
        ``(*batch, m + 1, n + 1)``; the last state is the merged one, states merged are zero.
    """
    least = (LEAST_COUNT / n_rows.clamp_min(1)).sqrt().unsqueeze(-1)
    for axis in (-2, -1):
        other = -3 - axis
        share = tables.sum(other)
        rare = ((share < least) & (share > 0)).unsqueeze(other)
        merged = torch.where(rare, tables, 0.0).sum(axis, keepdim=True)
        tables = torch.cat([torch.where(rare, 0.0, tables), merged], axis)
    return tables


def block_pairs(
    cards: Sequence[int], max_rank: int, n_pairs: int, random_state: RandomState = 0
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Random pairs of disjoint blocks with more than ``max_rank`` joint states, if possible.

    Args:
        cards: number of states per variable.
        max_rank: the largest rank the tables shall be able to contradict.
        n_pairs: how many at most.
        random_state: of the draws.
    """
    rng = numpy_generator(random_state)
    found: dict[tuple[tuple[int, ...], tuple[int, ...]], None] = {}
    for _ in range(4 * n_pairs):
        blocks: tuple[list[int], list[int]] = ([], [])
        for v in rng.permutation(len(cards)).tolist():
            sizes = [math.prod(cards[i] for i in block) for block in blocks]
            if min(sizes) > max_rank:
                break
            blocks[sizes.index(min(sizes))].append(v)
        one, other = sorted(tuple(sorted(block)) for block in blocks)
        found[(one, other)] = None
        if len(found) == n_pairs:
            break
    return list(found)


def _largest_rank(tables: Float[Tensor, "strata m n"]) -> int:
    """Largest rank that the states which occur allow in any stratum."""
    rows, columns = ((tables.sum(axis) > 0).sum(-1) for axis in (-1, -2))
    return int(torch.minimum(rows, columns).max())


def _test(statistic: Tensor, dof: Tensor) -> RankTest:
    """Tail of the chi-square law."""
    half = dof.clamp_min(1).to(statistic.dtype) / 2
    tail = torch.special.gammaincc(half, statistic / 2)
    return RankTest(statistic, dof, torch.where((dof > 0) | statistic.isnan(), tail, 1.0))
