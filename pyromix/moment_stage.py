"""The moment stage of the front door: from data or a population to a mixture, and its report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from pyromix.data.counts import Counts, MomentSource
from pyromix.diagnostics import MomentStage, RunReport
from pyromix.identify.product import identify_product
from pyromix.identify.solution import ProductSolution
from pyromix.model.likelihood import log_prob
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.randomness import RandomState
from pyromix.model.spec import MixtureSpec
from pyromix.model.status import Status

PSEUDO_ROWS = 1.0
"""Rows of the uniform distribution that every source's table is mixed with.

A probability that came out as zero would stay zero, and forbid rows that occur.
"""

NOTHING = (Status.TOO_MANY_SOURCES, Status.TOO_FEW_ROWS, Status.INVALID_INPUT)
"""Outcomes whose tables are the margins: no start at all."""


@dataclass(frozen=True, eq=False)
class MomentStart:
    """What the moment stage hands on.

    Attributes:
        mixture: the estimate, without batch axes; the margins where ``usable`` is false.
        stage: its report.
        usable: whether the mixture is worth starting from.
    """

    mixture: BayesNetMixture
    stage: MomentStage
    usable: bool


def start_from_moments(
    source: MomentSource,
    spec: MixtureSpec,
    random_state: RandomState = 0,
    *,
    strict: bool = False,
) -> MomentStart:
    """Recover a mixture of products from the moments of its variables.

    Args:
        source: data, or a population.
        spec: without edges.
        random_state: of the splits tried and of random combinations.
        strict: raise where moments do not determine the mixture.

    Returns:
        The mixture, mixed with ``PSEUDO_ROWS`` uniform rows per source unless moments are exact.

    Raises:
        RankError: strict, and the k-th singular value lies under the noise floor.
        SeparationError: strict, and sources are equal, or eigenvalues complex.
        IdentificationError: strict, and any other outcome.
    """
    telling = [v for v in range(spec.n_variables) if v not in spec.uninfluenced]
    solution = identify_product(
        source, spec.n_sources, variables=telling, random_state=random_state
    )
    if strict:
        solution.require()
    # A vertex that U does not point at, without parents, is a margin.
    tables = dict(zip(telling, solution.tables, strict=True))
    nothing = torch.zeros(1, 0, dtype=torch.int64, device=solution.weights.device)
    for v in spec.uninfluenced:
        tables[v] = source.table((v,), (), nothing).expand(spec.n_sources, -1).clone()
    mixture = BayesNetMixture(
        spec, solution.weights, tuple(tables[v] for v in range(spec.n_variables))
    )
    log_likelihood = math.nan
    if isinstance(source, Counts):
        mixture = _smoothed(mixture, source.n_rows)
        log_likelihood = float(source.weights @ log_prob(mixture, source.rows))
    status = Status(int(solution.status))
    notes = () if status is Status.OK else (f"{status.name}: {status.advice}",)
    run = _report(solution, [spec.name(v) for v in telling])
    stage = MomentStage(status.name, log_likelihood, (run,), notes)
    return MomentStart(mixture, stage, status not in NOTHING)


def _smoothed(mixture: BayesNetMixture, n_rows: float) -> BayesNetMixture:
    """Mix every table with rows of the uniform distribution, relative to the rows of its source."""
    k = mixture.n_sources
    weights = (mixture.weights * n_rows + PSEUDO_ROWS) / (n_rows + k * PSEUDO_ROWS)
    rows = weights * n_rows
    share = PSEUDO_ROWS / (PSEUDO_ROWS + rows)
    cpts = []
    for v, cpt in enumerate(mixture.cpts):
        alike = share.amin().expand_as(share) if v in mixture.spec.uninfluenced else share
        part = alike.reshape(-1, *(1 for _ in cpt.shape[1:]))
        cpts.append((1 - part) * cpt + part / cpt.shape[-1])
    return replace(mixture, weights=weights, cpts=tuple(cpts))


def _report(solution: ProductSolution, names: Sequence[str]) -> RunReport:
    """One decomposition in numbers and names."""
    found, k = solution.diagnostics, solution.weights.shape[-1]
    values = found.singular_values
    return RunReport(
        views=tuple(tuple(names[v] for v in view) for view in solution.views if view),
        given=(),
        n_assignments=1,
        outcomes=((Status(int(solution.status)).name, 1),),
        signal=float(values[k - 1]) if len(values) >= k else math.nan,
        noise_floor=float(found.noise_floor),
        separation=float(found.separation),
        rarest=float(found.rarest),
        projected=float(found.projected),
        standard_error=float(found.standard_error),
    )
