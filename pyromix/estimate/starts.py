"""Where EM starts when nobody brings a start, and the jitter that finds out a saddle."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.errors import SpecError
from pyromix.estimate.indexed import index_of
from pyromix.estimate.step import EMMap, Point, WeightedRows
from pyromix.exact.cells import CellAxis
from pyromix.model.arguments import whole
from pyromix.model.memory import check_numbers
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.randomness import RandomState, torch_generator
from pyromix.model.spec import MixtureSpec

CONCENTRATION = 5.0
"""Dirichlet concentration of a start, per cell, around the table without sources.

Over 20 data sets and planted networks (latent-class tables, asia, sachs; k = 2..5; 40 or 100 starts
each) the share of starts that reached the best optimum was 0.73 on average; uniform on the simplex
gave 0.67 to 0.70, concentrations 1, 2 and 20 gave 0.69, 0.66, 0.67. The gain is on larger networks.
"""

FLATTENED = 0.1
"""Share of the uniform distribution in the centre of the starts, so that no state is excluded."""

WEIGHT_CONCENTRATION = 10.0
"""Dirichlet concentration of the weights of the sources."""

INSIDE = 0.01
"""Share of the uniform distribution that brings a boundary point inside."""

COPIES = 8
"""Tables of each start that EM holds at once: the point, its steps, their logarithms and sums."""

JITTER = 0.05
"""Share of random tables in a jittered copy."""


def random_starts(
    spec: MixtureSpec,
    n: int,
    random_state: RandomState = 0,
    *,
    device: torch.device | str = "cpu",
    counts: WeightedRows | None = None,
    first: int = 0,
) -> BayesNetMixture:
    """Draw starts for EM.

    With data every CPT row is a Dirichlet draw around its estimate without sources (one EM step
    from uniform tables; exact where no cell is missing), mixed with a little of the uniform
    distribution. Without data, rows are uniform on the simplex. Draws do not depend on the device,
    and start number i does not depend on how many there are.

    Args:
        spec: the structure.
        n: number of starts.
        random_state: an integer or a Generator.
        device: of the result.
        counts: the data to fit.
        first: number of the first start; those before it are left out.

    Returns:
        Batch shape ``(n,)``; the k slices of an uninfluenced vertex are equal.

    Raises:
        SpecError: n is not a positive integer, or ``random_state`` is neither of the two.
    """
    n = whole("the number of starts", n, 1, error=SpecError)
    axis = CellAxis(spec)
    check_starts(spec, n)
    if counts is None:
        concentration = torch.ones(axis.n_cells, dtype=torch.float64, device="cpu")
    else:
        concentration = CONCENTRATION * _centre(spec, counts).cpu()
    draws = _draw(spec, n, random_state, concentration, WEIGHT_CONCENTRATION, first)
    return draws.mixture(spec).to(device)


def check_starts(spec: MixtureSpec, n: int) -> None:
    """Refuse a climb whose tables would not fit, before any is made.

    Raises:
        SpecError: names size and limit.
    """
    largest = max(range(spec.n_variables), key=lambda v: prod(spec.cpt_shape(v)))
    check_numbers(
        f"EM on tables of {spec.n_variables} variables, {n:,} starts and k={spec.n_sources}, the "
        f"largest of {spec.name(largest)!r} with {len(spec.parents[largest])} parents",
        COPIES * n * spec.n_cells_of_tables,
        "leave parents out, or take fewer sources or a smaller n_init",
    )


def batch_of(*mixtures: BayesNetMixture) -> BayesNetMixture:
    """Stack mixtures of one spec along one batch axis; each has that axis or none."""
    batched = [m.tables if m.batch_shape else [t.unsqueeze(0) for t in m.tables] for m in mixtures]
    tables = [torch.cat(parts) for parts in zip(*batched, strict=True)]
    return BayesNetMixture.unchecked(mixtures[0].spec, tables)


def inside(mixture: BayesNetMixture) -> BayesNetMixture:
    """Mix a little of the uniform distribution into every table, so that zeros can move."""
    tables = [(1 - INSIDE) * table + INSIDE / table.shape[-1] for table in mixture.tables]
    return BayesNetMixture.unchecked(mixture.spec, tables)


def inside_by_rows(
    mixture: BayesNetMixture, masses: Sequence[Tensor], rows: float
) -> BayesNetMixture:
    """Mix so many rows of the uniform distribution into every CPT row, and some into P(U).

    Of many rows this costs a few nats, where a fixed share of every table costs thousands.

    Args:
        mixture: a batch or one.
        masses: expected number of data rows behind each CPT row, see ``EMResult.row_masses``.
        rows: how many.
    """
    tables = [mixture.weights]
    for v, (cpt, mass) in enumerate(zip(mixture.cpts, masses, strict=True)):
        if v in mixture.spec.uninfluenced:
            mass = mass.sum(0, keepdim=True).expand_as(mass)
        share = (rows / (rows + mass + 1)).unsqueeze(-1)
        tables.append((1 - share) * cpt + share / cpt.shape[-1])
    least = rows / (1 + float(masses[0].sum()) if masses else 1.0)
    tables[0] = (1 - least) * mixture.weights + least / mixture.n_sources
    return BayesNetMixture.from_tables(mixture.spec, tables)


def jittered(spec: MixtureSpec, point: Point, n: int, random_state: RandomState = 0) -> Point:
    """Return n copies of a point (one batch element), each mixed with other random tables."""
    flat = torch.ones(CellAxis(spec).n_cells, dtype=torch.float64, device="cpu")
    draws, device = _draw(spec, n, random_state, flat, 1.0), point.weights.device
    return Point(
        (1 - JITTER) * point.weights + JITTER * draws.weights.to(device),
        (1 - JITTER) * point.table + JITTER * draws.table.to(device),
    )


def _centre(spec: MixtureSpec, counts: WeightedRows) -> Float[Tensor, " cells"]:
    """CPTs of the data without sources, each cell times the cardinality of its vertex."""
    single = spec.with_n_sources(1)
    device = counts.rows.device
    none = PseudoCounts.of(single, None, device)
    em = EMMap(single, index_of(single, counts), counts.weights, none)
    one = torch.ones(1, 1, dtype=torch.float64, device=device)
    flat = torch.ones(em.axis.n_cells, 1, 1, dtype=torch.float64, device=device)
    cards = em.spread(em.row_sums(flat))
    pooled = em(Point(one, flat / cards)).target.table
    return ((1 - FLATTENED) * cards * pooled + FLATTENED).flatten()


def _draw(
    spec: MixtureSpec,
    n: int,
    random_state: RandomState,
    concentration: Float[Tensor, " cells"],
    weight_concentration: float,
    first: int = 0,
) -> Point:
    """Dirichlet draws of every CPT row, on the CPU.

    Start number i comes from a branch of its own, however many there are: more starts of one seed
    are the same ones and further ones.
    """
    generator = torch_generator(random_state)
    seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    k, axis, tiny = spec.n_sources, CellAxis(spec), np.finfo(np.float64).tiny
    weights = torch.empty(n, k, dtype=torch.float64, device="cpu")
    table = torch.empty(axis.n_cells, n, k, dtype=torch.float64, device="cpu")
    alpha = concentration.numpy()[:, None]
    for i in range(n):
        rng = np.random.default_rng((seed, first + i))
        weights[i] = torch.from_numpy(rng.standard_gamma(weight_concentration, k) + tiny)
        table[:, i] = torch.from_numpy(rng.standard_gamma(alpha, (axis.n_cells, k)) + tiny)
    shared = axis.uninfluenced(table.device)
    table[shared] = table[shared, :, :1].expand(-1, -1, k)
    rows = axis.rows(table.device)
    totals = rows.gather_sums(rows.scatter_sums(table.flatten(1)))
    return Point(
        weights / weights.sum(-1, keepdim=True), (table.flatten(1) / totals).view_as(table)
    )
