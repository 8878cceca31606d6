"""Ways from moments to a mixture: each plans on a graph alone, and solves a plan on moments.

``Views`` and ``Products`` are chosen by the graph where nobody says otherwise; ``Boundaries`` is
the paper's own mode. One's own is any object with a name, ``plan`` and ``solve``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.data.asking import Asked, asked
from pyromix.data.moments import MomentSource
from pyromix.errors import IdentificationError
from pyromix.identify.boundary.plan import BoundaryPlan
from pyromix.identify.boundary.search import plan_boundaries
from pyromix.identify.boundary.solver import identify_by_boundaries
from pyromix.identify.graphical import graph_facts
from pyromix.identify.network.plan import Plan
from pyromix.identify.network.recover import pooled
from pyromix.identify.network.solver import identify_network
from pyromix.identify.product.solver import identify_product
from pyromix.identify.stage import MomentStage, MomentStart, RunReport
from pyromix.identify.views.solution import ProductDiagnostics
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.note import Note, NoteKind, sentences
from pyromix.model.randomness import RandomState
from pyromix.model.spec import MixtureSpec
from pyromix.model.status import Status
from pyromix.model.ties import first_largest

ENOUGH_ROWS = 0.8
"""Share of the CPT rows from which runs on Markov boundaries count as determining."""

NOTHING = (Status.TOO_MANY_SOURCES, Status.TOO_FEW_ROWS, Status.INVALID_INPUT)
"""Outcomes of a product whose tables are the margins: no start at all."""


@runtime_checkable
class Identifier(Protocol):
    """What turns moments into a mixture; ``px.fit(method=...)`` takes any."""

    @property
    def name(self) -> str:
        """Its name, for records and messages."""
        ...

    def plan(self, spec: MixtureSpec) -> Any:
        """Work out, from graph, cardinalities and k alone, what to ask of moments.

        Args:
            spec: the structure.

        Raises:
            PlanError: moments of this graph do not suffice for this way.
        """
        ...

    def solve(
        self,
        moments: MomentSource,
        plan: Any,
        random_state: RandomState = 0,
        *,
        strict: bool = False,
    ) -> MomentStart:
        """Recover the mixture by a plan.

        Args:
            moments: data, or a population, asked by the spec that was planned for.
            plan: what ``plan`` returned for that spec.
            random_state: of whatever is random on the way.
            strict: raise where moments do not determine the mixture.

        Raises:
            IdentificationError: strict, and the status is not OK.
        """
        ...


@dataclass(frozen=True)
class Views:
    """k-MixBND by three views of U given a small separator (THEORY section 5).

    Attributes:
        name: its name.
        settle: for the first plan that separates the sources well, where EM follows.
    """

    name: str = "views"
    settle: bool = False

    def plan(self, spec: MixtureSpec) -> tuple[Plan, ...]:
        """Plans, the most promising first: data choose among them.

        Raises:
            PlanError: the graph has no three views of U.
        """
        facts = graph_facts(spec)
        if facts.refusal is not None:
            raise facts.refusal.with_traceback(None)
        return facts.plans

    def solve(
        self,
        moments: MomentSource,
        plan: Sequence[Plan],
        random_state: RandomState = 0,
        *,
        strict: bool = False,
    ) -> MomentStart:
        """Solve the plan that these moments show best.

        Raises:
            RankError: strict, and the k-th singular value lies under the noise floor.
            SeparationError: strict, and sources are equal, or eigenvalues complex.
            IdentificationError: strict, and any other outcome.
        """
        moments = asked(moments, plan[0].spec)
        try:
            solution = identify_network(
                moments, plans=plan, random_state=random_state, settle=self.settle
            )
        except IdentificationError as error:
            if strict:
                raise
            note = Note(NoteKind.UNSOLVED, str(error))
            return MomentStart(None, MomentStage(Status.NOT_CONVERGED, math.nan, (), (note,)))
        if strict:
            solution.require()
        spec, run = moments.spec, solution.run
        views = [tuple(spec.name(run.columns[c]) for c in view) for view in run.solved.views]
        given = tuple(spec.name(z) for z in run.run.conditioning)
        heaviest = first_largest(run.mass.tolist())
        stage = MomentStage(
            solution.status,
            math.nan,
            (_report(views, given, run.status, run.diagnostics, heaviest, spec.n_sources),),
            solution.notes,
            plan=run.plan,
            weakest_link=solution.alignment.weakest,
            n_links=len(solution.alignment.links),
            n_links_inconsistent=len(solution.alignment.inconsistent),
            n_drawn=run.n_drawn,
        )
        return MomentStart(solution.mixture, stage)


@dataclass(frozen=True)
class Boundaries:
    """k-MixBND by runs on Markov boundaries [gordon23clear, Sec. 4] (THEORY section 4)."""

    name: str = "markov-boundary"

    def plan(self, spec: MixtureSpec) -> BoundaryPlan:
        """A good collection of runs.

        Raises:
            PlanError: the graph has none for this k.
        """
        return plan_boundaries(spec)

    def solve(
        self,
        moments: MomentSource,
        plan: BoundaryPlan,
        random_state: RandomState = 0,
        *,
        strict: bool = False,
    ) -> MomentStart:
        """Solve the runs around the most frequent state of every vertex, which moments tell.

        Raises:
            IdentificationError: strict, and runs do not determine the CPTs.
        """
        found = identify_by_boundaries(moments, plan.spec, random_state)
        n_rows = sum(known.numel() for known in found.determined)
        n_known = sum(int(known.sum()) for known in found.determined)
        status = Status.OK if n_known >= ENOUGH_ROWS * n_rows else found.status
        if strict and status != Status.OK:
            raise IdentificationError(
                f"expected runs that determine the CPTs, found {n_known} of {n_rows} rows "
                f"determined, {found.status.name}: {'; '.join(sentences(found.notes))}. Bring more "
                'data, or take method="auto", which conditions on less'
            )
        stage = MomentStage(
            status,
            math.nan,
            (),
            found.notes,
            plan=found.plan,
            weakest_link=found.alignment.weakest,
            n_links=len(found.alignment.links),
            n_links_inconsistent=len(found.alignment.inconsistent),
        )
        return MomentStart(found.mixture, stage)


@dataclass(frozen=True)
class Products:
    """k-MixProd, or one source on any graph; a vertex that U does not point at is a margin."""

    name: str = "products"

    def plan(self, spec: MixtureSpec) -> tuple[int, ...]:
        """The vertices that tell of U: which of them are views, data choose."""
        if spec.n_sources == 1:
            return ()
        return tuple(v for v in range(spec.n_variables) if v not in spec.uninfluenced)

    def solve(
        self,
        moments: MomentSource,
        plan: Sequence[int],
        random_state: RandomState = 0,
        *,
        strict: bool = False,
    ) -> MomentStart:
        """Split the vertices into views, and solve them.

        Raises:
            IdentificationError: strict, and the status is not OK; RankError and SeparationError
                are such.
        """
        moments = asked(moments)
        spec, telling = moments.spec, plan
        nothing = torch.zeros(1, 0, dtype=torch.int64, device=torch.device("cpu"))
        solution = identify_product(
            moments,
            spec.n_sources,
            variables=telling,
            assignments=nothing,
            random_state=random_state,
        )
        if strict:
            solution.require()
        tables: dict[int, Tensor] = {v: t[0] for v, t in zip(telling, solution.tables, strict=True)}
        status = Status(int(solution.status[0]))
        unsolved = Note(NoteKind.UNSOLVED, f"{status.name}: {status.advice}")
        views = [tuple(spec.name(telling[v]) for v in view) for view in solution.views if view]
        run = _report(views, (), solution.status, solution.diagnostics, 0, spec.n_sources)
        stage = MomentStage(status, math.nan, (run,), () if status is Status.OK else (unsolved,))
        if status in NOTHING or math.isnan(run.projected):
            return MomentStart(None, stage)
        margins = _with_margins(moments, spec, tables)
        return MomentStart(BayesNetMixture(spec, solution.weights[0], margins), stage)


def chosen_by_graph(spec: MixtureSpec, *, settle: bool = False) -> Identifier:
    """Products where there are no edges, or one source; views otherwise.

    Args:
        spec: the graph and k.
        settle: see ``Views``.
    """
    alone = not any(spec.parents) or spec.n_sources == 1
    return Products() if alone else Views(settle=settle)


def _with_margins(
    moments: Asked, spec: MixtureSpec, tables: Mapping[int, Tensor]
) -> tuple[Tensor, ...]:
    """CPTs of all vertices; those without a table have that of all sources together."""
    return tuple(
        tables[v] if v in tables else pooled(moments, v).expand(*spec.cpt_shape(v)).clone()
        for v in range(spec.n_variables)
    )


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
