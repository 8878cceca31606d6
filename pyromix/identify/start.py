"""The moment stage of the front door: from data or a population to a mixture, and its report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.data.asking import Asked, asked
from pyromix.data.moments import MomentSource, Rows
from pyromix.errors import IdentificationError, PlanError
from pyromix.exact.likelihood import log_prob
from pyromix.identify.boundary.solver import identify_by_boundaries
from pyromix.identify.network.plan import Plan
from pyromix.identify.network.recover import pooled
from pyromix.identify.network.search import find_plans
from pyromix.identify.network.solver import identify_network
from pyromix.identify.product.solver import identify_product
from pyromix.identify.stage import MomentStage, RunReport
from pyromix.identify.views.patterns import all_assignments
from pyromix.identify.views.solution import ProductDiagnostics
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.randomness import RandomState
from pyromix.model.spec import MixtureSpec
from pyromix.model.status import Status

PSEUDO_ROWS = 1.0
"""Rows of the uniform distribution that every CPT row is mixed with.

A probability that came out as zero would stay zero, and forbid rows that occur.
"""

ENOUGH_ROWS = 0.8
"""Share of the CPT rows from which runs on Markov boundaries count as determining."""

NOTHING = (Status.TOO_MANY_SOURCES, Status.TOO_FEW_ROWS, Status.INVALID_INPUT)
"""Outcomes of a product whose tables are the margins: no start at all."""

NO_PLAN = "NO_PLAN"
"""In place of a status: the graph has no three views of U."""


@dataclass(frozen=True, eq=False)
class MomentStart:
    """What the moment stage hands on.

    Attributes:
        mixtures: the estimate, without batch axes; empty where there is nothing to start from.
        stage: its report.
    """

    mixtures: tuple[BayesNetMixture, ...]
    stage: MomentStage


def start_from_moments(
    source: MomentSource,
    random_state: RandomState = 0,
    *,
    spec: MixtureSpec | None = None,
    strict: bool = False,
    boundaries: bool = False,
) -> MomentStart:
    """Recover a mixture from the moments of its variables.

    Args:
        source: data, or a population.
        random_state: of the splits tried and of random combinations.
        spec: the graph and k; what the source carries when left out.
        strict: raise where moments do not determine the mixture.
        boundaries: by the Markov boundaries of [gordon23clear] instead of by views.

    Returns:
        The mixture, mixed with ``PSEUDO_ROWS`` uniform rows per CPT row unless moments are exact.

    Raises:
        PlanError: strict, and the graph has no three views of U.
        RankError: strict, and the k-th singular value lies under the noise floor.
        SeparationError: strict, and sources are equal, or eigenvalues complex.
        IdentificationError: strict, and any other outcome.
    """
    source = asked(source, spec)
    spec = source.spec
    if boundaries:
        return _of_boundaries(source, random_state, strict)
    if not any(spec.parents) or spec.n_sources == 1:
        return _of_product(source, random_state, strict)
    try:
        plans = find_plans(spec)
    except PlanError as error:
        if strict:
            raise
        return MomentStart((), MomentStage(NO_PLAN, math.nan, (), (str(error),)))
    return _of_network(source, plans, random_state, strict)


def _of_network(
    source: Asked, plans: Sequence[Plan], random_state: RandomState, strict: bool
) -> MomentStart:
    """k-MixBND."""
    solution = identify_network(source, plans=plans, random_state=random_state)
    if strict:
        solution.require()
    spec, run = source.spec, solution.run
    views = [tuple(spec.name(run.columns[c]) for c in view) for view in run.solved.views]
    given = tuple(spec.name(z) for z in run.run.conditioning)
    heaviest = int(run.mass.argmax())
    stage = MomentStage(
        solution.status.name,
        math.nan,
        (_report(views, given, run.status, run.diagnostics, heaviest, spec.n_sources),),
        solution.notes,
        plan=str(run.plan),
        weakest_link=solution.alignment.weakest,
        n_links=len(solution.alignment.links),
        n_links_inconsistent=len(solution.alignment.inconsistent),
    )
    return _start(source, solution.mixture, stage)


def _of_boundaries(source: Asked, random_state: RandomState, strict: bool) -> MomentStart:
    """k-MixBND as in [gordon23clear]."""
    found = identify_by_boundaries(source, source.spec, random_state)
    n_rows = sum(known.numel() for known in found.determined)
    n_known = sum(int(known.sum()) for known in found.determined)
    status = Status.OK if n_known >= ENOUGH_ROWS * n_rows else found.status
    if strict and status != Status.OK:
        raise IdentificationError(
            f"expected runs that determine the CPTs, found {n_known} of {n_rows} rows determined, "
            f"{found.status.name}: {'; '.join(found.notes)}. Bring more data, or take "
            'method="auto", which conditions on less'
        )
    stage = MomentStage(
        status.name,
        math.nan,
        (),
        found.notes,
        plan=str(found.plan),
        weakest_link=found.alignment.weakest,
        n_links=len(found.alignment.links),
        n_links_inconsistent=len(found.alignment.inconsistent),
    )
    return _start(source, found.mixture, stage)


def _of_product(source: Asked, random_state: RandomState, strict: bool) -> MomentStart:
    """k-MixProd, or one source on any graph; a vertex that U does not point at is a margin."""
    spec = source.spec
    telling = [v for v in range(spec.n_variables) if v not in spec.uninfluenced]
    if spec.n_sources == 1:
        telling = []
    nothing = torch.zeros(1, 0, dtype=torch.int64, device=torch.device("cpu"))
    solution = identify_product(
        source, spec.n_sources, variables=telling, assignments=nothing, random_state=random_state
    )
    if strict:
        solution.require()
    tables: dict[int, Tensor] = {v: t[0] for v, t in zip(telling, solution.tables, strict=True)}
    mixture = BayesNetMixture(spec, solution.weights[0], _with_margins(source, spec, tables))
    status = Status(int(solution.status[0]))
    notes = () if status is Status.OK else (f"{status.name}: {status.advice}",)
    views = [tuple(spec.name(telling[v]) for v in view) for view in solution.views if view]
    run = _report(views, (), solution.status, solution.diagnostics, 0, spec.n_sources)
    stage = MomentStage(status.name, math.nan, (run,), notes)
    return MomentStart((), stage) if status in NOTHING else _start(source, mixture, stage)


def _with_margins(
    source: Asked, spec: MixtureSpec, tables: Mapping[int, Tensor]
) -> tuple[Tensor, ...]:
    """CPTs of all vertices; those without a table have that of all sources together."""
    return tuple(
        tables[v] if v in tables else pooled(source, v).expand(*spec.cpt_shape(v)).clone()
        for v in range(spec.n_variables)
    )


def _start(source: Asked, mixture: BayesNetMixture, stage: MomentStage) -> MomentStart:
    """Keep zeros out unless moments are exact, and see by the rows what the estimate is worth."""
    if source.exact:
        return MomentStart((mixture,), stage)
    mixture = _smoothed(mixture, source)
    if not isinstance(source, Rows):
        return MomentStart((mixture,), stage)
    log_likelihood = math.fsum(
        float(weights @ log_prob(mixture, rows))
        for rows, weights in source.blocks(range(mixture.spec.n_variables))
    )
    return MomentStart((mixture,), replace(stage, log_likelihood=log_likelihood))


def _smoothed(mixture: BayesNetMixture, source: Asked) -> BayesNetMixture:
    """Mix every CPT row with rows of the uniform distribution, relative to the rows behind it."""
    spec, n_rows = mixture.spec, source.n_rows
    weights = mixture.weights * n_rows + PSEUDO_ROWS
    weights = weights / weights.sum()
    cpts = []
    for v, cpt in enumerate(mixture.cpts):
        parents = spec.parents[v]
        rows = source.noise(parents, all_assignments(spec.cards, parents))
        rows = rows.reshape([spec.cards[p] for p in parents])
        mine = weights.amin().expand_as(weights) if v in spec.uninfluenced else weights
        behind = mine.reshape(-1, *(1 for _ in parents)) * rows
        share = (PSEUDO_ROWS / (PSEUDO_ROWS + behind)).unsqueeze(-1)
        cpts.append((1 - share) * cpt + share / cpt.shape[-1])
    return replace(mixture, weights=weights, cpts=tuple(cpts))


def _report(
    views: Sequence[tuple[str, ...]],
    given: tuple[str, ...],
    status: Int[Tensor, " r"],
    found: ProductDiagnostics,
    place: int,
    n_sources: int,
) -> RunReport:
    """One decomposition in numbers and names; figures are those of one assignment."""
    values: Float[Tensor, " q"] = found.singular_values[place]
    outcomes = {Status(c).name: int((status == c).sum()) for c in status.unique().tolist()}
    return RunReport(
        views=tuple(views),
        given=given,
        n_assignments=len(status),
        outcomes=tuple(outcomes.items()),
        signal=float(values[n_sources - 1]) if len(values) >= n_sources else math.nan,
        noise_floor=float(found.noise_floor[place]),
        separation=float(found.separation[place]),
        rarest=float(found.rarest[place]),
        projected=float(found.projected[place]),
        standard_error=float(found.standard_error[place]),
        singular_values=tuple(values.tolist()),
    )
