"""k-MixProd: from moments to a mixture of product distributions (THEORY sections 3.2 and 3.3).

``identify_tables`` solves joint tables of three views. ``identify_product`` takes any number of
variables, chooses the views, and adds the tables of all variables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.data.asking import Asked, asked
from pyromix.data.moments import MomentSource
from pyromix.identify.product.search import (
    Trial,
    best_trial,
    judged,
    most_precise,
    sharpened,
    view_tables,
)
from pyromix.identify.product.tables import identify_tables
from pyromix.identify.views.cover import cover, without_missing
from pyromix.identify.views.patterns import all_assignments, patterns_of
from pyromix.identify.views.solution import (
    ProductDiagnostics,
    ProductSolution,
    check_n_sources,
    found_mixture,
    placeholder,
    replaced,
    selected,
)
from pyromix.identify.views.splits import candidate_splits
from pyromix.model.randomness import RandomState, numpy_generator
from pyromix.model.status import Status, followed_by, mark

__all__ = ["identify_product", "identify_tables"]


def identify_product(
    moments: MomentSource,
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
        moments: data, or a population. ``Counts`` may have missing cells: the answer is consistent
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
    moments = asked(moments)
    schema = moments.schema
    if variables is None:
        variables = [v for v in range(schema.n_variables) if v not in given]
    unbatched = assignments is None and not given
    if assignments is None:
        assignments = all_assignments(schema.joint_shape(given))
    distinct, inverse = _distinct(assignments)
    solution = _solve_assignments(
        moments, k, tuple(variables), tuple(given), distinct, random_state
    )
    return selected(solution, inverse[0] if unbatched else inverse)


def _solve_assignments(
    moments: Asked,
    k: int,
    variables: tuple[int, ...],
    given: tuple[int, ...],
    assignments: Int[Tensor, "r c"],
    random_state: RandomState,
) -> ProductSolution:
    """Solve distinct assignments; those without rows come back as TOO_FEW_ROWS."""
    marginals = tuple(moments.table((v,), given, assignments) for v in variables)
    mass = moments.mass(given, assignments)
    status = torch.full(mass.shape, Status.OK, dtype=torch.int64, device=mass.device)
    status = mark(status, mass <= 0, Status.TOO_FEW_ROWS)
    if k == 1:
        return _one_source(marginals, status, mass)
    rng = numpy_generator(random_state)
    if not candidate_splits(moments.schema.joint_shape(variables), k, rng, 1):
        status = mark(status, status == Status.OK, Status.TOO_MANY_SOURCES)
    nothing = placeholder(marginals, k, status)
    alive = status == Status.OK
    if not bool(alive.any()):
        return nothing
    kept = assignments[alive.to(assignments.device)]
    best = best_trial(moments, k, variables, given, kept, rng)
    found = _finished(moments, best, variables, given, kept, rng)
    full = selected(found, (alive.cumsum(0) - 1).clamp_min(0))
    status = followed_by(status, full.status)
    full = ProductSolution(full.mixture, status, full.diagnostics, full.views)
    return replaced(full, ~alive | full.lost, nothing)


def _finished(
    moments: Asked,
    first: Trial,
    variables: tuple[int, ...],
    given: tuple[int, ...],
    assignments: Int[Tensor, "r c"],
    rng: np.random.Generator,
) -> ProductSolution:
    """Sharpen the views, cover every variable, and judge."""
    columns = first.columns
    patterns = patterns_of(moments, columns, given, assignments)
    solved = most_precise([first, sharpened(first, patterns, rng)]).solved
    tables, moved = view_tables(solved, patterns)
    by_vertex = {columns[c]: table for c, table in tables.items()}
    for v in variables:
        if v not in by_vertex:
            # The views go by columns of the rows they were solved on: one more column is added.
            wider = patterns_of(moments, (*columns, v), given, assignments)
            [by_vertex[v]], more = cover(wider, solved, [(len(columns),)], (0, 1))
            moved = torch.maximum(moved, more)
    found = tuple(without_missing(by_vertex[v], moments.schema.card(v)) for v in variables)
    mixture, moved = found_mixture(solved.core.weights, found, moved)
    status, diagnostics = judged(first.solved, solved, patterns.n_rows, moved)
    place = {v: i for i, v in enumerate(variables)}
    views = tuple(tuple(place[columns[c]] for c in view) for view in solved.views)
    return ProductSolution(mixture, status, diagnostics, views)


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
