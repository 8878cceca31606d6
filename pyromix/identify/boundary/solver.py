"""Mixtures of Bayesian networks by Markov boundaries: the method of [gordon23clear].

Runs of a good collection are solved as mixtures of products, a family of runs at once (THEORY
section 4.1), aligned along a tree (4.2), and turned into CPTs, those of clean vertices directly,
others by unzipping in reverse topological order (4.4); last comes P(U) (4.5).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pyromix.data.asking import Asked, asked
from pyromix.data.moments import MomentSource
from pyromix.exact.elimination import marginal
from pyromix.identify.align import Alignment, align
from pyromix.identify.boundary.plan import BoundaryPlan, RunFamily
from pyromix.identify.boundary.runs import SolvedRuns, pooled_table, solve_runs
from pyromix.identify.boundary.search import MAX_RUNS, plan_boundaries
from pyromix.identify.boundary.sets import influenced
from pyromix.identify.boundary.unzip import LEAST_CELL, unzipped_cpt
from pyromix.identify.views.patterns import all_assignments
from pyromix.identify.views.solution import distribution_or_uniform
from pyromix.model.match import canonical_order
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.note import Note, NoteKind
from pyromix.model.query import DoQuery
from pyromix.model.randomness import RandomState
from pyromix.model.spec import SOURCE, MixtureSpec
from pyromix.model.status import Status
from pyromix.model.ties import first_largest


@dataclass(frozen=True, eq=False)
class BoundarySolution:
    """A mixture of Bayesian networks recovered from runs.

    Attributes:
        mixture: without batch axes, sources by decreasing weight.
        status: OK where runs determine every row of every CPT that data can reach; otherwise what
            most of the failed runs ended with.
        runs: all runs, source i of each being source i of the mixture; those count that are solved
            and aligned.
        alignment: source i of the mixture is source ``orders[a, i]`` of run a as it was solved.
        determined: per vertex the rows of its CPT that runs determine, ``(k, *card(parents))``.
            The others hold P(vertex | parents) of all sources together.
        notes: what went otherwise than planned.
    """

    mixture: BayesNetMixture
    status: Status
    runs: SolvedRuns
    alignment: Alignment
    determined: tuple[Bool[Tensor, ...], ...]
    notes: tuple[Note, ...]

    @property
    def plan(self) -> BoundaryPlan:
        """The good collection of runs."""
        return self.runs.plan

    @property
    def ok(self) -> bool:
        """Whether runs determine every CPT, and no link contradicts the alignment tree."""
        return self.status == Status.OK and not self.alignment.inconsistent


def identify_by_boundaries(
    moments: MomentSource,
    spec: MixtureSpec,
    random_state: RandomState = 0,
    *,
    max_runs: int = MAX_RUNS,
) -> BoundarySolution:
    """Recover a mixture of Bayesian networks from runs on Markov boundaries.

    Args:
        moments: data, or a population, over the variables of ``spec`` in any order.
        spec: the graph and k; any cardinalities. Edges that are not there do no harm beyond larger
            boundaries.
        random_state: of the solver of products.
        max_runs: assignments up to which a family of runs has all of them.

    Raises:
        PlanError: the graph has no good collection of runs for this k.
        DataError: the data are over other variables or states.
    """
    moments = asked(moments, spec)
    plan = plan_boundaries(spec, _most_frequent(moments), max_runs=max_runs)
    runs = solve_runs(moments, plan, random_state)
    alignment = align(runs.keys, runs.tables, runs.rows, runs.status == Status.OK)
    runs = runs.relabel(alignment.orders).restricted(alignment.aligned)
    pooled = _pooled(moments, spec)
    cpts = recover_cpts(runs, pooled)
    determined = [~cpt.isnan().any(-1) for cpt in cpts]
    filled = tuple(
        torch.where(known.unsqueeze(-1), cpt, distribution_or_uniform(of_all))
        for cpt, known, of_all in zip(cpts, determined, pooled, strict=True)
    )
    mixture = BayesNetMixture(spec, source_weights(runs, filled), filled)
    order = canonical_order(mixture)
    # Rows that no data reach lack nothing.
    lacking = [
        int(((of_all.sum(-1) > 0) & ~known.all(0)).sum())
        for known, of_all in zip(determined, pooled, strict=True)
    ]
    return BoundarySolution(
        mixture=mixture.relabel(order),
        status=_overall(runs, lacking),
        runs=runs.relabel(order.expand(len(runs.status), -1)),
        alignment=replace(alignment, orders=alignment.orders[:, order]),
        determined=tuple(known[order] for known in determined),
        notes=tuple(_notes(runs, alignment, lacking)),
    )


def recover_cpts(
    runs: SolvedRuns, pooled: Sequence[Float[Tensor, ...]]
) -> list[Float[Tensor, ...]]:
    """CPTs in reverse topological order, nan where no run determines a row.

    Args:
        runs: aligned ones; the others are worth no rows.
        pooled: per vertex P(vertex | parents), zeros where no data are: the CPTs of vertices that
            U does not point at.
    """
    spec, plan = runs.plan.spec, runs.plan
    told = set(influenced(spec))
    cpts: dict[int, Tensor] = {}
    for v in reversed(range(spec.n_variables)):
        if v in told:
            boundary = plan.boundary(v)
            table, rows = pooled_table(runs, v, boundary)
            cpts[v] = unzipped_cpt(spec, v, boundary, table, rows, cpts)
        else:
            reached = pooled[v].sum(-1, keepdim=True) > 0
            cpts[v] = torch.where(reached, pooled[v], torch.nan).expand(
                spec.n_sources, *pooled[v].shape
            )
    return [cpts[v] for v in range(spec.n_variables)]


def source_weights(runs: SolvedRuns, cpts: Sequence[Float[Tensor, ...]]) -> Float[Tensor, " k"]:
    """P(U) from all families of runs, by the share of the data that their solved runs hold.

    With S the solved assignments of a family, P(u, S) is the sum over f in S of P(u | f) P(f), and
    P(u) = P(u, S) / P(S | u). Where all are solved, S is certain. Where only the good collection
    was asked for, S is the heaviest run: Bayes on one run, as in [gordon23clear].

    Args:
        runs: those that count are aligned.
        cpts: complete.
    """
    spec, k = runs.plan.spec, runs.plan.spec.n_sources
    equal = torch.full((k,), 1 / k, dtype=torch.float64, device=runs.weights.device)
    # Nothing is impossible: a run is not refused for a zero that is noise.
    possible = tuple((1 - LEAST_CELL) * cpt + LEAST_CELL / cpt.shape[-1] for cpt in cpts)
    mixture = BayesNetMixture(spec, equal, possible)
    total = torch.zeros_like(equal)
    for family, at in zip(runs.plan.families, runs.plan.slices, strict=True):
        # Assignments that do not occur are as good as solved.
        solved = runs.standard_error[at].isfinite() | (runs.mass[at] == 0)
        mass = torch.where(solved, runs.mass[at], 0.0)
        if not family.complete:
            heaviest = torch.zeros_like(solved)
            heaviest[first_largest(mass.tolist())] = True
            solved, mass = heaviest & solved, torch.where(heaviest, mass, 0.0)
        if bool(mass.sum() > 0):
            share = mass @ runs.weights[at] / _probability(mixture, family, solved)
            total = total + share / share.sum() * mass.sum()
    return total / total.sum() if bool(total.sum() > 0) else equal


def _probability(
    mixture: BayesNetMixture, family: RunFamily, chosen: Bool[Tensor, " runs"]
) -> Float[Tensor, " k"]:
    """P(S | u) up to a factor, for some assignments S of a family: any of a complete one, or one.

    Args:
        mixture: with equal weights.
        family: whose assignments.
        chosen: S.
    """
    if bool(chosen.all()):
        return torch.ones_like(mixture.weights)
    given = family.independent.conditioning
    if family.complete:
        table = marginal(mixture, DoQuery(outcomes=(SOURCE, *given)))
        return table.flatten(1)[:, chosen].sum(1)
    evidence = dict(zip(given, family.assignments[int(chosen.nonzero())], strict=True))
    return marginal(mixture, DoQuery(outcomes=(SOURCE,), evidence=evidence))


def _most_frequent(moments: Asked) -> list[int]:
    """The most frequent state of each vertex: the default run should have many rows."""
    nothing = torch.zeros(1, 0, dtype=torch.int64, device="cpu")
    return [
        first_largest(moments.table((v,), (), nothing).flatten().tolist())
        for v in range(moments.schema.n_variables)
    ]


def _pooled(moments: Asked, spec: MixtureSpec) -> list[Float[Tensor, ...]]:
    """P(vertex | parents) of all sources together; zeros where no data are."""
    tables = []
    for v, parents in enumerate(spec.parents):
        table = moments.table((v,), parents, all_assignments(spec.joint_shape(parents)))
        tables.append(table.reshape(spec.joint_shape((*parents, v))))
    return tables


def _overall(runs: SolvedRuns, lacking: Sequence[int]) -> Status:
    """OK, or what the runs of most rows failed with; MERGED where it is alignment that failed."""
    if not any(lacking):
        return Status.OK
    failed = torch.bincount(runs.status, runs.mass)
    failed[Status.OK] = 0
    heaviest = Status(first_largest(failed.tolist()))
    return heaviest if bool(failed.sum() > 0) else Status.MERGED


def _notes(runs: SolvedRuns, alignment: Alignment, lacking: Sequence[int]) -> Iterator[Note]:
    """Runs without rows are not worth a word."""
    spec, n_runs = runs.plan.spec, len(runs.status)
    failed = (runs.status != Status.OK) & (runs.mass > 0)
    if n_failed := int(failed.sum()):
        counts = Counter(Status(s).name for s in runs.status[failed].tolist())
        text = ", ".join(f"{n} {name}" for name, n in counts.most_common())
        sentence = f"{n_failed} of {n_runs} runs were not solved: {text}"
        yield Note(NoteKind.UNSOLVED, sentence, dict(counts))
    if n_lost := int(((runs.status == Status.OK) & ~alignment.aligned).sum()):
        yield Note(
            NoteKind.UNLINKED,
            f"{n_lost} of {n_runs} runs were solved but could not be aligned with the others",
        )
    if wrong := alignment.inconsistent:
        yield Note(
            NoteKind.INCONSISTENT,
            f"{len(wrong)} of {len(alignment.links)} links between runs contradict the alignment "
            f"tree, the most confident by {max(link.confidence for link in wrong):.3g} squared "
            "standard errors: the graph or n_sources may be wrong",
        )
    for v, n_lacking in enumerate(lacking):
        if n_lacking:
            n_rows = spec.n_joint(spec.parents[v])
            yield Note(
                NoteKind.UNSOLVED,
                f"no run determines {n_lacking} of {n_rows} rows of the CPT of {spec.name(v)}: "
                "they hold its distribution given its parents in all sources together",
            )
