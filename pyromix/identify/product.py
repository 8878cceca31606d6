"""k-MixProd: from moments to a mixture of product distributions (THEORY sections 3.2 and 3.3).

``identify_tables`` solves joint tables of three views. ``identify_product`` takes any number of
variables, chooses the views, and adds the tables of all variables.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.data.counts import MomentSource
from pyromix.identify.cover import OTHERS, cover, without_missing
from pyromix.identify.patterns import Patterns, fits, patterns_of, thinned
from pyromix.identify.solution import (
    ProductDiagnostics,
    ProductSolution,
    check_n_sources,
    placeholder,
    replaced,
    selected,
)
from pyromix.identify.tables import identify_tables
from pyromix.identify.three_views import EXACT_NOISE
from pyromix.identify.views import (
    SolvedViews,
    Views,
    candidate_splits,
    indicator_features,
    posteriors,
    solve_views,
)
from pyromix.model.mixture import ProductMixture
from pyromix.model.randomness import RandomState, torch_generator
from pyromix.model.status import Status, mark

__all__ = ["identify_product", "identify_tables"]

MAX_SPLITS = 24
"""Largest number of splits tried."""

MANY_ROWS = 2**17
"""Distinct rows beyond which splits are tried on as many rows drawn at random."""

MAX_ROWS = 2**19
"""Distinct rows over all splits tried."""

GOOD_SEPARATION = 10.0
"""Standard errors of separation at which large data stop the search."""

SMALL_ROWS = 2**13
"""Distinct rows up to which every split is tried, however good the first."""

SUBSET_CELLS = 2**14
"""Joint states of the variables of a split where there are no rows, only tables."""

UNSOLVED = 1e-6
"""Factor on the precision of a split whose outcome is not OK, so that any that is comes first."""


def identify_product(
    source: MomentSource,
    n_sources: int,
    *,
    variables: Sequence[int] | None = None,
    given: Sequence[int] = (),
    assignments: Int[Tensor, "r c"] | None = None,
    random_state: RandomState = 0,
) -> ProductSolution:
    """Recover a mixture of products of any number of variables.

    Several splits of the variables into three views are solved and the one with the largest
    separation in standard errors is kept. Its sources then describe each view by the probability
    of every source given the view's variables, and the views are solved once more. The table of
    each variable is one constrained least-squares problem against the views that do not hold it.

    Args:
        source: data, or a population. ``Counts`` may have missing cells: the answer is consistent
            when cells of different variables go missing independently within each source.
        n_sources: k.
        variables: vertices that are independent within each source and assignment; all that are
            not ``given`` when left out.
        given: vertices conditioned on.
        assignments: ``(r, len(given))`` state numbers, perhaps repeated; every assignment, in
            row-major order, when left out.
        random_state: of the splits tried and of the random combinations.

    Returns:
        Weights ``(r, k)`` and a table ``(r, k, card)`` per variable in the order of
        ``variables``; without ``assignments`` and ``given`` there is no batch axis.

    Raises:
        SpecError: ``n_sources`` is not usable.
        DataError: unknown or repeated vertices, or states out of range.
    """
    k = check_n_sources(n_sources)
    spec = source.spec
    if variables is None:
        variables = [v for v in range(spec.n_variables) if v not in given]
    unbatched = assignments is None and not given
    if assignments is None:
        axes = [torch.arange(spec.cards[v], device="cpu") for v in given]
        assignments = (
            torch.cartesian_prod(*axes).reshape(-1, len(given))
            if given
            else (torch.zeros(1, 0, dtype=torch.int64, device="cpu"))
        )
    distinct, inverse = _distinct(assignments)
    solution = _solve_assignments(source, k, tuple(variables), tuple(given), distinct, random_state)
    return selected(solution, inverse[0] if unbatched else inverse)


@dataclass(frozen=True, eq=False)
class _Trial:
    """One split that was solved.

    Attributes:
        columns: the vertex of each column of the patterns.
        patterns: rows of these vertices, from which the views were solved.
        solved: the three views.
        precision: inverse standard error of the within-source means, the share of noise in the
            signal discounted; mean over strata.
        separation: smallest distance between sources in standard errors, mean over strata.
    """

    columns: tuple[int, ...]
    patterns: Patterns
    solved: SolvedViews
    precision: float
    separation: float


def _solve_assignments(
    source: MomentSource,
    k: int,
    variables: tuple[int, ...],
    given: tuple[int, ...],
    assignments: Int[Tensor, "r c"],
    random_state: RandomState,
) -> ProductSolution:
    """Solve distinct assignments; those without rows come back as TOO_FEW_ROWS."""
    marginals = tuple(source.table((v,), given, assignments) for v in variables)
    mass = source.mass(given, assignments)
    status = torch.full(mass.shape, Status.OK, dtype=torch.int64, device=mass.device)
    status = mark(status, mass <= 0, Status.TOO_FEW_ROWS)
    if k == 1:
        return _one_source(marginals, status, mass)
    rng = _numpy_generator(random_state)
    if not candidate_splits([source.spec.cards[v] for v in variables], k, rng, 1):
        status = mark(status, status == Status.OK, Status.TOO_MANY_SOURCES)
    nothing = placeholder(marginals, k, status)
    alive = status == Status.OK
    if not bool(alive.any()):
        return nothing
    kept = assignments[alive.to(assignments.device)]
    best = _best_trial(source, k, variables, given, kept, rng)
    found = _finished(source, best, variables, given, kept, rng)
    full = selected(found, (alive.cumsum(0) - 1).clamp_min(0))
    status = torch.where(alive, full.status, status)
    full = ProductSolution(full.mixture, status, full.diagnostics, full.views)
    return replaced(full, ~alive, nothing)


def _best_trial(
    source: MomentSource,
    k: int,
    variables: tuple[int, ...],
    given: tuple[int, ...],
    assignments: Int[Tensor, "r c"],
    rng: np.random.Generator,
) -> _Trial:
    """Solve splits until time is spent, or large data are separated well, and keep the best."""
    best: list[_Trial] = []
    work = 0
    for columns, patterns, views in _splits(source, k, variables, given, assignments, rng):
        features = indicator_features(patterns, views, k)
        trial = _trial(columns, patterns, solve_views(patterns, views, features, k, _seed(rng)))
        best = [max([*best, trial], key=lambda t: t.precision)]
        work += patterns.rows.shape[0]
        if work > MAX_ROWS or (work > SMALL_ROWS and best[0].separation > GOOD_SEPARATION):
            break
    return best[0]


def _splits(
    source: MomentSource,
    k: int,
    variables: tuple[int, ...],
    given: tuple[int, ...],
    assignments: Int[Tensor, "r c"],
    rng: np.random.Generator,
) -> Iterator[tuple[tuple[int, ...], Patterns, Views]]:
    """Splits of all variables where their rows can be had, else of random subsets of them."""
    cards = source.spec.cards
    if fits(source, variables, assignments.shape[0]):
        patterns = patterns_of(source, variables, given, assignments)
        if patterns.rows.shape[0] > MANY_ROWS:
            patterns = thinned(patterns, MANY_ROWS, _seed(rng))
        for views in candidate_splits([cards[v] for v in variables], k, rng, MAX_SPLITS):
            yield variables, patterns, views
        return
    for _ in range(MAX_SPLITS):
        columns = _subset(cards, variables, k, rng)
        patterns = patterns_of(source, columns, given, assignments)
        for views in candidate_splits([cards[v] for v in columns], k, rng, 2):
            yield columns, patterns, views


def _subset(
    cards: Sequence[int], variables: Sequence[int], k: int, rng: np.random.Generator
) -> tuple[int, ...]:
    """Random variables, enough for three views, with few joint states."""
    chosen: list[int] = []
    for v in rng.permutation(variables).tolist():
        enough = candidate_splits([cards[w] for w in chosen], k, rng, 1)
        if enough and math.prod(cards[w] for w in (*chosen, v)) > SUBSET_CELLS:
            break
        chosen.append(v)
    return tuple(sorted(chosen))


def _finished(
    source: MomentSource,
    first: _Trial,
    variables: tuple[int, ...],
    given: tuple[int, ...],
    assignments: Int[Tensor, "r c"],
    rng: np.random.Generator,
) -> ProductSolution:
    """Sharpen the views, cover every variable, and judge."""
    patterns = patterns_of(source, first.columns, given, assignments)
    trial = max([first, _sharpened(first, patterns, rng)], key=lambda t: t.precision)
    solved = trial.solved
    tables, moved = _view_tables(trial)
    by_vertex = {trial.columns[c]: table for c, table in tables.items()}
    for v in variables:
        if v not in by_vertex:
            # Views name columns of the trial's rows; the same rows with one column more.
            wider = patterns_of(source, (*trial.columns, v), given, assignments)
            [by_vertex[v]], more = cover(wider, solved, [len(trial.columns)], (0, 1))
            moved = torch.maximum(moved, more)
    states = source.spec.cards
    mixture = ProductMixture(
        solved.core.weights,
        tuple(without_missing(by_vertex[v], states[v]) for v in variables),
    )
    k = solved.core.weights.shape[-1]
    signal = torch.maximum(
        solved.singular_values[..., k - 1], first.solved.singular_values[..., k - 1]
    )
    rarest = solved.core.weights.amin(-1)
    rows = patterns.n_rows
    status = torch.full(rows.shape, Status.OK, dtype=torch.int64, device=rows.device)
    status = mark(status, first.solved.floor >= 1, Status.TOO_FEW_ROWS)
    status = mark(status, signal <= first.solved.floor, Status.RANK_TOO_SMALL)
    status = torch.where(status == Status.OK, solved.core.status, status)
    status = mark(status, rarest * rows.clamp_max(EXACT_NOISE**-1) < 1, Status.MERGED)
    diagnostics = ProductDiagnostics(
        singular_values=solved.singular_values,
        noise_floor=first.solved.floor,
        eigen_gap=solved.core.eigen_gap,
        separation=solved.core.separation,
        rarest=rarest * rows,
        projected=moved,
        imaginary=solved.core.imaginary,
        residual=solved.core.residual,
        standard_error=solved.core.standard_error,
    )
    place = {v: i for i, v in enumerate(variables)}
    views = tuple(tuple(place[trial.columns[c]] for c in view) for view in solved.views)
    return ProductSolution(mixture, status, diagnostics, views)


def _sharpened(trial: _Trial, patterns: Patterns, rng: np.random.Generator) -> _Trial:
    """Solve the same views from all rows, each described by the probabilities of the sources."""
    tables, _ = _view_tables(trial)
    weights = trial.solved.core.weights
    one, two, three = (
        posteriors(view, weights, [tables[c] for c in view], patterns.cards)
        for view in trial.solved.views
    )
    k = weights.shape[-1]
    again = solve_views(patterns, trial.solved.views, (one, two, three), k, _seed(rng))
    return _trial(trial.columns, patterns, again)


def _view_tables(
    trial: _Trial,
) -> tuple[dict[int, Float[Tensor, "r k _"]], Float[Tensor, " r"]]:
    """Tables of all variables in views, by column, and the largest move to the simplex."""
    tables: dict[int, Tensor] = {}
    moved = torch.zeros_like(trial.patterns.n_rows)
    for i, view in enumerate(trial.solved.views):
        found, more = cover(trial.patterns, trial.solved, view, OTHERS[i])
        tables.update(zip(view, found, strict=True))
        moved = torch.maximum(moved, more)
    return tables, moved


def _trial(columns: tuple[int, ...], patterns: Patterns, solved: SolvedViews) -> _Trial:
    """Judge a solved split."""
    k = solved.core.weights.shape[-1]
    signal = solved.singular_values[..., k - 1]
    # The k-th singular value of data is signal and noise, which add in squares.
    noise = solved.floor / signal.clamp_min(torch.finfo(signal.dtype).tiny)
    share = (1 - noise.square()).clamp_min(0)
    solvable = (signal > solved.floor) & (solved.core.status == Status.OK)
    precision = torch.where(solvable, share.sqrt(), UNSOLVED) / solved.core.standard_error
    separation = solved.core.separation
    return _Trial(columns, patterns, solved, float(precision.mean()), float(separation.mean()))


def _one_source(
    marginals: tuple[Float[Tensor, "r _"], ...],
    status: Int[Tensor, " r"],
    mass: Float[Tensor, " r"],
) -> ProductSolution:
    """The marginal distributions are the answer."""
    solution = placeholder(marginals, 1, status)
    zero, infinite = torch.zeros_like(mass), torch.full_like(mass, math.inf)
    diagnostics = ProductDiagnostics(
        singular_values=torch.ones_like(mass).unsqueeze(-1),
        noise_floor=zero,
        eigen_gap=infinite,
        separation=infinite,
        rarest=mass,
        projected=zero,
        imaginary=zero,
        residual=zero,
        standard_error=zero,
    )
    return ProductSolution(solution.mixture, status, diagnostics, solution.views)


def _distinct(
    assignments: Int[Tensor, "r c"],
) -> tuple[Int[Tensor, "d c"], Int[Tensor, " r"]]:
    """Distinct rows, and which of them each row is."""
    if not assignments.shape[1]:
        place = torch.zeros(assignments.shape[0], dtype=torch.int64, device=assignments.device)
        return assignments[:1], place
    return assignments.unique(dim=0, return_inverse=True)


def _numpy_generator(random_state: RandomState) -> np.random.Generator:
    """A generator of orders; a torch generator that was given is advanced."""
    generator = torch_generator(random_state)
    seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
    return np.random.default_rng(int(seed))


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**62))
