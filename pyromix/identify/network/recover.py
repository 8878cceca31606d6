"""From aligned assignments to CPTs: families that views cover, summed over assignments.

With F a family and Z the conditioning set, a view A that Z separates from W = F outside Z gives
P(W | u, z) by least squares (``cover``; THEORY section 5.3),

    P(A, W | z) = M_z diag(P(u | z)) P(W | u, z)',   M_z[a, u] = P(a | u, z),

and

    P(u, F) = sum over the z that agree with F of P(z) P(u | z) P(F outside Z | u, z),

so that a CPT uses every assignment, and its error does not grow with depth, unlike that of
unzipping, (6 (Delta + 1))^depth in [gordon23clear] (THEORY section 4.5).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.data.asking import Asked, asked
from pyromix.data.moments import MomentSource, Rows
from pyromix.identify.network.covering import Conditioned, apart
from pyromix.identify.network.runs import SolvedRun
from pyromix.identify.views.cover import cover
from pyromix.identify.views.patterns import Patterns, all_assignments, patterns_of
from pyromix.identify.views.solution import distribution_or_uniform
from pyromix.model.spec import MixtureSpec

MAX_CELLS_OF_A_RUN = 2**22
"""Largest number of joint states of views, family and assignments where there are no rows."""

GROUP = 64
"""Families whose tables are taken from the rows at once."""


def laws_within(
    moments: MomentSource, run: SolvedRun, groups: Sequence[tuple[int, ...]], here: Conditioned
) -> tuple[dict[tuple[int, ...], Float[Tensor, "r k *cards"]], Float[Tensor, " r"]]:
    """P(group | u, z) of groups of vertices that the views cover, per assignment.

    Args:
        moments: what the run was solved on.
        run: solved.
        groups: vertices outside Z, each group d-separated from one view that shows k sources, or
            from two; perhaps empty.
        here: the graph given Z.

    Returns:
        Per group ``(r, k, *cards)``, and the largest move of a probability to reach the simplex,
        those of single variables of the views aside, which the run has. Groups that would need a
        table beyond memory are left out.
    """
    moments = asked(moments, run.plan.spec)
    spec, k = run.plan.spec, run.plan.spec.n_sources
    r = len(run.mass)
    found: dict[tuple[int, ...], Tensor] = {}
    moved = torch.zeros_like(run.mass)
    by_views: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for group in dict.fromkeys(groups):
        if not group:
            found[group] = torch.ones(r, k, dtype=torch.float64, device=run.mass.device)
            continue
        if len(group) == 1 and group[0] in run.singles:
            table, card = run.singles[group[0]], spec.card(group[0])
            found[group] = _proper(table, table.shape[-1:], (card,))
            continue
        by_views.setdefault(apart(run.run.views, group, here)[:2], []).append(group)
    for views, alike in by_views.items():
        step = GROUP if isinstance(moments, Rows) else 1
        for some in (alike[i : i + step] for i in range(0, len(alike), step)):
            patterns, columns = _holding(moments, run, some)
            if patterns is None:
                continue
            place = {v: i for i, v in enumerate(columns)}
            wanted = [tuple(place[v] for v in group) for group in some]
            tables, more = cover(patterns, run.solved, wanted, views)
            moved = torch.maximum(moved, more)
            for group, columns_of, table in zip(some, wanted, tables, strict=True):
                with_missing = [patterns.cards[c] for c in columns_of]
                found[group] = _proper(table, with_missing, spec.joint_shape(group))
    return found, moved


def _holding(
    moments: Asked, run: SolvedRun, groups: Sequence[tuple[int, ...]]
) -> tuple[Patterns | None, tuple[int, ...]]:
    """Rows with the columns of the views and of some groups; none where the table is too large."""
    extra = tuple(dict.fromkeys(v for g in groups for v in g if v not in run.columns))
    if not extra:
        return run.patterns, run.columns
    columns = (*run.columns, *extra)
    cells = run.plan.spec.n_joint(columns) * len(run.mass)
    if not isinstance(moments, Rows) and cells > MAX_CELLS_OF_A_RUN:
        return None, columns
    return patterns_of(moments, columns, run.run.conditioning, run.assignments), columns


def _proper(
    table: Float[Tensor, "r k cells"], with_missing: Sequence[int], cards: Sequence[int]
) -> Float[Tensor, "r k *cards"]:
    """The law of the proper states, from a table that also has missing ones."""
    shaped = table.unflatten(-1, tuple(with_missing))
    if tuple(with_missing) == tuple(cards):
        return shaped
    for axis, card in enumerate(cards):
        shaped = shaped.narrow(2 + axis, 0, card)
    return distribution_or_uniform(shaped.flatten(2)).unflatten(-1, tuple(cards))


def family(spec: MixtureSpec, vertex: int) -> tuple[int, ...]:
    """Parents and vertex, in the order of the axes of the CPT."""
    return (*spec.parents[vertex], vertex)


def outside(spec: MixtureSpec, vertex: int, given: Sequence[int]) -> tuple[int, ...]:
    """The part of a family that is not conditioned on."""
    return tuple(v for v in family(spec, vertex) if v not in given)


def without_sources(
    moments: Asked,
    run: SolvedRun,
    group: tuple[int, ...],
    law: Float[Tensor, "r k *cards"],
    where: Bool[Tensor, " r"],
) -> Float[Tensor, "r k *cards"]:
    """Replace the laws of some assignments by those of all sources together.

    Args:
        moments: what the run was solved on.
        run: knows the assignments.
        group: the vertices of the law.
        law: P(group | u, z).
        where: assignments whose sources are not known.
    """
    if not group or not bool(where.any()):
        return law
    rows = where.to(run.assignments.device)
    table = moments.table(group, run.run.conditioning, run.assignments[rows])
    cells = distribution_or_uniform(table.flatten(1)).reshape(table.shape)
    law = law.clone()
    law[where] = cells.unsqueeze(1).expand(-1, law.shape[1], *table.shape[1:])
    return law


def assemble(
    run: SolvedRun,
    law: Float[Tensor, "r k *cards"],
    joint: Float[Tensor, "r k"],
    used: Bool[Tensor, " r"],
    vertex: int,
) -> tuple[Float[Tensor, ...], Bool[Tensor, ...]]:
    """CPT of a vertex from the laws of its family within each assignment.

    Args:
        run: knows the assignments.
        law: P(family outside Z | u, z), labels aligned.
        joint: P(u, z).
        used: assignments whose sources are known.
        vertex: whose CPT.

    Returns:
        ``(k, *card(parents), card)``, and for which rows ``(k, *card(parents))`` most of the mass
        lies in assignments that are used; a row without any mass is uniform.
    """
    spec, given = run.plan.spec, run.run.conditioning
    axes = family(spec, vertex)
    inside = [v for v in axes if v in given]
    rest = [v for v in axes if v not in given]
    cell = _code(spec, run.assignments, given, inside).to(joint.device)
    n_inside = spec.n_joint(inside)
    position = {v: i for i, v in enumerate([*inside, None, *rest])}
    shape = [*spec.joint_shape(inside), spec.n_sources, *spec.joint_shape(rest)]

    def total(mass: Tensor) -> Tensor:
        weighted = law.flatten(2) * mass.unsqueeze(-1) if rest else mass.unsqueeze(-1)
        sums = weighted.new_zeros(n_inside, *weighted.shape[1:]).index_add_(0, cell, weighted)
        return sums.reshape(shape).permute(position[None], *(position[v] for v in axes))

    everything = total(joint)
    known = total(torch.where(used.unsqueeze(-1), joint, 0.0)).sum(-1)
    mass = everything.sum(-1)
    return distribution_or_uniform(everything), (mass > 0) & (known >= 0.5 * mass)


def _code(
    spec: MixtureSpec,
    assignments: Int[Tensor, "r c"],
    given: Sequence[int],
    chosen: Sequence[int],
) -> Int[Tensor, " r"]:
    """Joint state of some conditioning variables in each assignment, row-major in their order."""
    code = torch.zeros(assignments.shape[0], dtype=torch.int64, device=assignments.device)
    for v in chosen:
        code = code * spec.card(v) + assignments[:, given.index(v)]
    return code


def boundary_code(run: SolvedRun, vertex: int, reached: Sequence[int]) -> Int[Tensor, " r"]:
    """Which assignments agree on the part of Z that a vertex depends on."""
    chosen = [z for z in run.run.conditioning if z in reached]
    return _code(run.plan.spec, run.assignments, run.run.conditioning, chosen)


def pooled(moments: Asked, vertex: int) -> Float[Tensor, ...]:
    """P(vertex | parents) without sources, ``(*card(parents), card)``; uniform where no row is."""
    spec = moments.spec
    parents = spec.parents[vertex]
    table = moments.table((vertex,), parents, all_assignments(spec.joint_shape(parents)))
    usable = table.sum(-1, keepdim=True) > 0
    table = torch.where(usable, table, 1 / table.shape[-1])
    return table.reshape(*spec.joint_shape(parents), -1)
