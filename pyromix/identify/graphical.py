"""What a graph alone recovers: its plans, and the vertices they cover (THEORY section 7a)."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from pyromix.data.population import population
from pyromix.errors import PlanError, PyromixError
from pyromix.identify.network.covering import Conditioned, complete_plan
from pyromix.identify.network.growing import ranked
from pyromix.identify.network.plan import Plan
from pyromix.identify.network.search import find_plans
from pyromix.identify.network.separation import bits
from pyromix.identify.network.solver import identify_network
from pyromix.model.match import match_sources
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import SOURCE, MixtureSpec
from pyromix.model.status import Status

MAX_CHECKED = 60
"""Largest number of variables of a plan that is checked on a generic mixture."""

RECOVERED = 1e-5
"""Largest error of a generic mixture that counts as recovered; rank deficits give over 1e-2."""


@dataclass(frozen=True)
class GraphFacts:
    """What graph, cardinalities and k say before any data.

    Attributes:
        spec: graph, cardinalities and k.
        plans: ways to recover the mixture from moments, the most promising first; perhaps none.
        refusal: why there is no plan; None where there is one, and for one source, which needs
            none.
        vertices: those whose CPTs a plan recovers for almost all parameters, ``SOURCE`` for P(U).
    """

    spec: MixtureSpec
    plans: tuple[Plan, ...]
    refusal: PlanError | None
    vertices: frozenset[int]

    @property
    def plan(self) -> Plan | None:
        """The most promising plan, if there is one."""
        return self.plans[0] if self.plans else None

    @property
    def everything(self) -> bool:
        """Whether all of P(U, V) is recovered."""
        return len(self.vertices) == self.spec.n_variables + 1


@lru_cache(maxsize=64)
def graph_facts(spec: MixtureSpec) -> GraphFacts:
    """Search for plans, once per structure, and say what they recover.

    Three views and what they cover are sufficient [kruskal77]: where U points at every vertex, the
    ranks that a plan asks for are those of products of distributions, a special case of the model,
    and so of almost all mixtures. Where it does not, the ranks are checked by recovering one
    generic mixture from its exact moments.

    Args:
        spec: graph, cardinalities and k.
    """
    everything = frozenset(range(SOURCE, spec.n_variables))
    if spec.n_sources == 1:
        return GraphFacts(spec, (), None, everything)
    try:
        plans = tuple(find_plans(spec))
    except PlanError as error:
        return GraphFacts(spec, (), error, frozenset())
    # A plan that covers more but leaves labels unaligned shows less.
    linked = next((plan for plan in plans if not plan.unlinked), None)
    if linked is None or (spec.uninfluenced and not _recovers(linked)):
        return GraphFacts(spec, plans, None, frozenset())
    return GraphFacts(spec, plans, None, everything - set(linked.uncovered))


def facts_of_run(
    spec: MixtureSpec, views: Sequence[Collection[int]], given: Collection[int]
) -> GraphFacts | None:
    """What three views recover, that were views in a graph much like this one; None for nothing.

    Args:
        spec: graph, cardinalities and k.
        views: three sets of vertices.
        given: Z.
    """
    here = Conditioned(spec, sorted(given))
    pairs = itertools.combinations(views, 2)
    if any(here.touched(one) & bits(other) for one, other in pairs):
        return None
    ordered = ranked(here, [sorted(view) for view in views])
    if ordered is None:
        return None
    plan = complete_plan(spec, ordered, here.given, here)
    if plan.unlinked or (spec.uninfluenced and not _recovers(plan)):
        return None
    everything = frozenset(range(SOURCE, spec.n_variables))
    return GraphFacts(spec, (plan,), None, everything - set(plan.uncovered))


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
