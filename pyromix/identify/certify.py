"""Certificates: what the graph recovers, and which directions of parameter space the law sees.

THEORY section 7: (a) a plan; (b) and (c) the Jacobian of theta -> P(V), taken in closed form at a
generic mixture: one row per cell of the joint table, or per sampled cell where the table is large.
Samples visit every CPT row: one met less often than it has parameters would make these seem free.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.data.population import population
from pyromix.errors import PlanError, PyromixError, SpecError
from pyromix.exact.information import scores
from pyromix.identify.certificate import Certificate
from pyromix.identify.network.plan import Plan
from pyromix.identify.network.search import find_plan
from pyromix.identify.network.solver import identify_network
from pyromix.model.match import match_sources
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.parameters import ParameterAxis
from pyromix.model.randomness import RandomState, random_mixture, torch_generator
from pyromix.model.spec import SOURCE, MixtureSpec
from pyromix.model.status import Status

MAX_PARAMETERS = 5000
"""Largest number of parameters for which the dense factorisation is done."""

MAX_CHECKED = 60
"""Largest number of variables of a plan that is checked on a generic mixture."""

RECOVERED = 1e-5
"""Largest error of a generic mixture that counts as recovered; rank deficits give over 1e-2."""

RANK_TOLERANCE = 1e-9
"""Singular values below this share of the largest are zero."""

NEW_TOLERANCE = 1e-6
"""Largest share of further scores in the null space that counts as none; others show over 1e-4."""

ALL_CELLS = 4096
"""Joint tables up to this size are never sampled."""

EXTRA_CELLS = 64
"""Cells sampled without regard to any CPT, for the weights."""

POWER_STEPS = 20
"""Steps of power iteration: the condition number to within a few per cent."""


@lru_cache(maxsize=64)
def graphical_vertices(spec: MixtureSpec) -> frozenset[int]:
    """Vertices whose CPTs a plan recovers for almost all parameters, from the graph alone.

    Three views and what they cover are sufficient [kruskal77]: where U points at every vertex, the
    ranks that a plan asks for are those of products of distributions, a special case of the model,
    and so of almost all mixtures. Where it does not, the ranks are checked by recovering one
    generic mixture from its exact moments.

    Args:
        spec: graph, cardinalities and k.

    Returns:
        Vertices, and ``SOURCE`` for P(U); empty without a plan that aligns all labels.
    """
    everything = frozenset(range(SOURCE, spec.n_variables))
    if spec.n_sources == 1:
        return everything
    try:
        plan = find_plan(spec)
    except PlanError:
        return frozenset()
    if plan.unlinked:
        return frozenset()
    covered = everything - set(plan.uncovered)
    if not spec.uninfluenced:
        return covered
    return covered if _recovers(plan) else frozenset()


def _recovers(plan: Plan) -> bool:
    """Whether the plan gives one generic mixture back."""
    spec = plan.spec
    if spec.n_variables > MAX_CHECKED:
        return False
    truth = random_mixture(spec, 0)
    try:
        found = identify_network(population(truth), plans=[plan])
    except PyromixError:
        return False
    mixture = found.mixture.relabel(match_sources(truth, found.mixture))
    gaps = [
        (a - b).abs().max()
        for v, (a, b) in enumerate(zip(truth.tables, mixture.tables, strict=True), SOURCE)
        if v == SOURCE or v not in plan.uncovered
    ]
    return found.status == Status.OK and float(torch.stack(gaps).max()) < RECOVERED


@lru_cache(maxsize=4)
def certify(spec: MixtureSpec, random_state: int = 0) -> Certificate:
    """Take the Jacobian of theta -> P(V) at a generic mixture and find its null space.

    Args:
        spec: graph, cardinalities and k.
        random_state: seed of the generic mixture and of the sampled cells.

    Returns:
        The certificate. Cost: a QR factorisation of (cells, parameters), and a singular value
        decomposition of (parameters, parameters) only where the rank is deficient.

    Raises:
        SpecError: more parameters than ``MAX_PARAMETERS``.
    """
    _check_size(spec)
    generator = torch_generator(random_state)
    drawn = random_mixture(spec, generator)
    # Halfway to uniform, so that no direction is faint merely because a cell is rare.
    weights, *cpts = drawn.tables
    halfway = [(c + 1 / c.shape[-1]) / 2 for c in cpts]
    return certify_at(BayesNetMixture.from_tables(spec, [weights, *halfway]), generator)


def certify_at(point: BayesNetMixture, random_state: RandomState = 0) -> Certificate:
    """Take the Jacobian at a given mixture, such as an estimate.

    Args:
        point: without batch axes; no probability should be zero, since nothing can be seen there.
        random_state: of the sampled cells.

    Raises:
        SpecError: more parameters than ``MAX_PARAMETERS``.
    """
    spec = point.spec
    _check_size(spec)
    generator = torch_generator(random_state)
    samples = _cells(spec, generator)
    seen = _triangle(scores(point, next(samples)))
    found = _certificate(point, seen, generator)
    while not found.locally_identified and (more := next(samples, None)) is not None:
        # What further cells do not see either is no accident of the sample.
        further = scores(point, more)
        if float((further @ found.null_space.T).norm() / further.norm()) <= NEW_TOLERANCE:
            break
        seen = _triangle(torch.cat([seen, further]))
        found = _certificate(point, seen, generator)
    return replace(found, graphical=graphical_vertices(spec))


def _check_size(spec: MixtureSpec) -> None:
    if spec.n_parameters > MAX_PARAMETERS:
        raise SpecError(
            "the local certificate of this model needs the rank of a Jacobian in "
            f"{spec.n_parameters} parameters, more than {MAX_PARAMETERS}: it is not computed; "
            'answers need require="none", or a model of an ancestral part of the network'
        )


def _triangle(scores: Float[Tensor, "m p"]) -> Float[Tensor, "rows p"]:
    """At most p rows with the row space and the singular values of all."""
    return torch.linalg.qr(scores, mode="r").R


def _certificate(
    point: BayesNetMixture, scores: Float[Tensor, "rows p"], generator: torch.Generator
) -> Certificate:
    """The null space of some scores, at most as many as there are parameters."""
    if scores.shape[0] == scores.shape[1]:
        condition = _condition(scores, generator)
        if condition < 1 / RANK_TOLERANCE:
            return Certificate(point, scores.new_zeros(0, scores.shape[1]), condition)
    _, values, basis = torch.linalg.svd(scores, full_matrices=True)
    rank = int((values > RANK_TOLERANCE * values[0]).sum())
    return Certificate(point, basis[rank:], float(values[0] / values[rank - 1]))


def _condition(triangle: Float[Tensor, "p p"], generator: torch.Generator) -> float:
    """Condition number of a triangular matrix, by power iteration both ways; inf if singular."""
    start = torch.rand(len(triangle), 1, dtype=triangle.dtype, generator=generator,
                       device=triangle.device)  # fmt: skip
    largest = smallest = start / start.norm()
    grown = shrunk = torch.ones((), dtype=triangle.dtype, device=triangle.device)
    for _ in range(POWER_STEPS):
        largest = triangle.T @ (triangle @ largest)
        grown = largest.norm()
        largest = largest / grown
        half = torch.linalg.solve_triangular(triangle.T, smallest, upper=False)
        smallest = torch.linalg.solve_triangular(triangle, half, upper=True)
        shrunk = smallest.norm()
        smallest = smallest / shrunk
    condition = float((grown * shrunk).sqrt())
    return condition if math.isfinite(condition) else math.inf


def _cells(spec: MixtureSpec, generator: torch.Generator) -> Iterator[Int[Tensor, "m n"]]:
    """All cells of the joint table where they are few, else samples without end.

    In a sample every CPT row has rows of its own, one more than its parameters, that go through the
    states of its vertex; the other variables are uniform.
    """
    device, axis = generator.device, ParameterAxis(spec)
    cards = spec.joint_shape(range(spec.n_variables))
    n_each = [axis.copies(v) * (card - 1) + 1 for v, card in enumerate(cards)]
    sizes = [n * spec.n_joint(parents) for n, parents in zip(n_each, spec.parents, strict=True)]
    n = sum(sizes) + EXTRA_CELLS
    if spec.n_cells <= max(n, ALL_CELLS):
        codes = torch.arange(spec.n_cells, device=device)
        yield torch.stack(torch.unravel_index(codes, cards), -1)
        return
    while True:
        columns = [torch.randint(c, (n,), generator=generator, device=device) for c in cards]
        rows = torch.stack(columns, -1)
        for v, own in enumerate(rows.split([*sizes, EXTRA_CELLS])[:-1]):
            number = torch.arange(len(own), device=device)
            own[:, v] = number % n_each[v] % cards[v]
            number = number // n_each[v]
            for p in reversed(spec.parents[v]):
                own[:, p] = number % cards[p]
                number = number // cards[p]
        yield rows
