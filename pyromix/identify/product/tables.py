"""Joint tables of three views to sources, hundreds of tables at once (THEORY 3.2 and 3.3).

One stacked singular value decomposition, one stacked eigenproblem, a status per table.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.errors import DataError, SpecError
from pyromix.exact import linalg
from pyromix.identify.views.simplex import project_to_simplex
from pyromix.identify.views.solution import (
    ProductDiagnostics,
    ProductSolution,
    check_n_sources,
    found_mixture,
    placeholder,
    replaced,
)
from pyromix.identify.views.three_views import (
    EXACT_NOISE,
    fit_weights,
    noise_floor,
    signal_values,
    solve_core,
    third_coordinates,
)
from pyromix.model.mixture import ProductMixture
from pyromix.model.randomness import RandomState
from pyromix.model.status import Status, followed_by, mark

TABLE_TOLERANCE = 1e-6
"""How far the sum of a table may lie from one."""


def identify_tables(
    tables: Float[Tensor, "*batch a b c"],
    n_sources: int,
    *,
    n_rows: float | Float[Tensor, "*batch"] = math.inf,
    third: int = -1,
    random_state: RandomState = 0,
) -> ProductSolution:
    """Recover the sources behind joint tables of three variables, independent within each source.

    Whitening by the roots of the marginals, singular vectors to rank k, joint diagonalisation of
    the third view's slices, least squares, projection onto the simplex.

    Args:
        tables: P(a, b, c).
        n_sources: k; at most the second largest number of states.
        n_rows: rows behind each table; infinite when the tables are exact.
        third: the axis (0, 1 or 2) whose slices are diagonalised; the other two must have k states
            each. By default the one with the fewest states, the last of equals.
        random_state: of the random combinations of slices.

    Returns:
        Weights ``(*batch, k)``, three tables, a status per element, diagnostics. Time of an
        element: one singular value decomposition of the first two views, and k^4 c.

    Raises:
        SpecError: ``n_sources`` or ``third`` is not usable.
        DataError: ``n_rows`` does not fit the batch.
    """
    k = check_n_sources(n_sources)
    cards = tuple(tables.shape[-3:])
    if third not in (-1, 0, 1, 2):
        raise SpecError(f"third must be 0, 1 or 2, the axis of a view, or left out; found {third}")
    last = third if third >= 0 else max(range(3), key=lambda i: (-cards[i], i))
    order = (*(i for i in range(3) if i != last), last)
    rows = rows_per_element(n_rows, tables)
    status = _first_look(tables, rows)
    marginals = tuple(tables.sum(tuple(j - 3 for j in range(3) if j != i)) for i in range(3))
    if min(cards[order[0]], cards[order[1]]) < k:
        status = torch.where(status == Status.OK, int(Status.TOO_MANY_SOURCES), status)
        return placeholder(marginals, k, status, ((0,), (1,), (2,)))

    batch = tables.ndim - 3
    usable = (status == Status.OK)[..., None, None, None]
    uniform = torch.full_like(tables, 1 / math.prod(cards))
    joint = torch.where(usable, tables.clamp_min(0), uniform)
    joint = joint.permute(*range(batch), *(batch + i for i in order))
    solved = _solve(joint, k, rows, random_state)

    status = followed_by(status, solved.status)
    inverse = [order.index(i) for i in range(3)]
    ordered = tuple(solved.tables[i] for i in inverse)
    solution = ProductSolution(
        ProductMixture(solved.weights, ordered),
        status,
        solved.diagnostics,
        tuple((i,) for i in order),
    )
    status = mark(status, solution.lost, Status.NOT_CONVERGED)
    hopeless = (status == Status.TOO_FEW_ROWS) | (status == Status.INVALID_INPUT) | solution.lost
    if not bool(hopeless.any()):
        return solution
    solution = replace(solution, status=status)
    return replaced(solution, hopeless, placeholder(marginals, k, status))


def _solve(
    joint: Float[Tensor, "*batch a b c"],
    k: int,
    rows: Float[Tensor, "*batch"],
    random_state: RandomState,
) -> ProductSolution:
    """Solve tables of valid distributions; views in order, the third one last."""
    margins = [joint.sum((-2, -1)), joint.sum((-3, -1)), joint.sum((-3, -2))]
    one, two, three = roots = [m.sqrt() for m in margins]
    inverse = [torch.where(r > 0, r.reciprocal(), 0.0) for r in roots]
    pair = joint.sum(-1) * inverse[0].unsqueeze(-1) * inverse[1].unsqueeze(-2)
    found = linalg.svd(pair)
    values, u, v = found.values, found.u[..., :k], found.vh.mT[..., :k]

    noise = rows.rsqrt().clamp_min(EXACT_NOISE)
    floor = noise_floor((margins[0] > 0).sum(-1), (margins[1] > 0).sum(-1), k, noise)
    signal = values[..., k - 1]
    status = torch.full(rows.shape, Status.OK, dtype=torch.int64, device=joint.device)
    status = mark(status, floor >= 1, Status.TOO_FEW_ROWS)
    status = followed_by(status, found.status)
    status = mark(status, signal <= floor, Status.RANK_TOO_SMALL)

    left_map, right_map = u * inverse[0].unsqueeze(-1), v * inverse[1].unsqueeze(-1)
    full = torch.einsum("...abc,...ai,...bj,...c->...cij", joint, left_map, right_map, inverse[2])
    turn = third_coordinates(full, three, k)
    core = torch.einsum("...cij,...cd->...dij", full, turn)
    left_one, right_one = ((m * r.unsqueeze(-1)).sum(-2) for m, r in ((u, one), (v, two)))
    signals = signal_values(values, k)
    solved = solve_core(core, signals, left_one, right_one, noise, random_state)

    maps = (u, v, turn)
    coordinates = (solved.left, solved.right, solved.third)
    raw = [r.unsqueeze(-2) * (z @ m.mT) for r, m, z in zip(roots, maps, coordinates, strict=True)]
    tables = [project_to_simplex(t) for t in raw]
    # Back to whitened coordinates, where the weights are fitted to the tables that are returned.
    back = [(t * i.unsqueeze(-2)) @ m for t, i, m in zip(tables, inverse, maps, strict=True)]
    weights = fit_weights(core, *back)
    status = followed_by(status, solved.status)
    rarest = weights.amin(-1)
    status = mark(status, rarest * rows.clamp_max(EXACT_NOISE**-1) < 1, Status.MERGED)
    moved = [(t - r).abs().amax((-2, -1)) for t, r in zip(tables, raw, strict=True)]
    mixture, projected = found_mixture(weights, tuple(tables), torch.stack(moved).amax(0))
    diagnostics = ProductDiagnostics(
        singular_values=values,
        noise_floor=floor,
        eigen_gap=solved.eigen_gap,
        separation=solved.separation,
        rarest=rarest * rows,
        projected=projected,
        imaginary=solved.imaginary,
        residual=solved.residual,
        standard_error=solved.standard_error,
    )
    return ProductSolution(mixture, status, diagnostics, ((0,), (1,), (2,)))


def rows_per_element(
    n_rows: float | Float[Tensor, "*batch"], tables: Float[Tensor, "*batch a b c"]
) -> Float[Tensor, "*batch"]:
    """Number of rows behind every batch element, as a tensor beside the tables.

    Raises:
        DataError: a number that is negative or nan, or of another shape.
    """
    batch = tables.shape[:-3]
    rows = torch.as_tensor(n_rows, dtype=torch.float64, device=tables.device)
    if rows.ndim and rows.shape != batch:
        raise DataError(
            f"expected one number of rows for all tables or one for each of {tuple(batch)}, found "
            f"shape {tuple(rows.shape)}"
        )
    if not bool((rows >= 0).all()):
        raise DataError(f"numbers of rows must not be negative, found least {float(rows.min())}")
    return rows.expand(batch)


def _first_look(
    tables: Float[Tensor, "*batch a b c"], rows: Float[Tensor, "*batch"]
) -> Int[Tensor, "*batch"]:
    """TOO_FEW_ROWS where there is none, INVALID_INPUT where a table is no distribution."""
    status = torch.full(rows.shape, Status.OK, dtype=torch.int64, device=tables.device)
    status = mark(status, rows == 0, Status.TOO_FEW_ROWS)
    flat = tables.flatten(-3)
    sound = flat.isfinite().all(-1) & (flat >= -TABLE_TOLERANCE).all(-1)
    sound = sound & ((flat.sum(-1) - 1).abs() <= TABLE_TOLERANCE)
    return mark(status, ~sound, Status.INVALID_INPUT)
