"""Sums of products of labelled tables: the order of summation, its size, its two arithmetics.

A label is a vertex number, or one of three negative ones: ``SOURCE``, ``SCENARIO`` and ``BATCH``.
Those three stand in nearly every table, so the search for an order leaves them out.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, combinations
from math import log, prod
from string import ascii_letters

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.errors import ContractionSizeError
from pyromix.exact import logspace
from pyromix.model import memory
from pyromix.model.spec import SOURCE

SCENARIO = -2
"""The label of the axis of scenarios, shared by every vertex under a do."""

BATCH = -3
"""The label of the batch axes of a mixture, flattened to one."""

EASY_CELLS = 2**20
"""Tables up to this size are not worth a second search for an order."""

Scope = tuple[int, ...]
"""The labels of the axes of a table."""


@dataclass(frozen=True, eq=False)
class Factor:
    """A table whose axes carry labels.

    Attributes:
        scope: one label per axis.
        table: non-negative numbers, float64.
    """

    scope: Scope
    table: Float[Tensor, ...]


@dataclass(frozen=True)
class EliminationStep:
    """Multiply one or two tables, and sum over the labels that no other table needs.

    Attributes:
        operands: numbers of the tables; inputs come first, then the results of the steps.
        union: labels of the product.
        scope: labels of the result, a part of ``union`` in the same order.
        equation: the step in the notation of ``einsum``.
    """

    operands: tuple[int, ...]
    union: Scope
    scope: Scope
    equation: str


@dataclass(frozen=True)
class EliminationPlan:
    """Steps that turn many tables into one.

    Attributes:
        steps: in the order of their execution; the last one gives the result.
        widest_scope: labels of the largest result of a step.
        widest_union: labels of the largest product, which only logarithms write out.
    """

    steps: tuple[EliminationStep, ...]
    widest_scope: Scope
    widest_union: Scope


def contract(
    factors: Sequence[Factor],
    kept: Scope,
    *,
    name: Callable[[int], str],
    memory_limit: int | None = None,
) -> Float[Tensor, ...]:
    """Sum the product of all tables over every label that is not kept.

    Args:
        factors: at least one table.
        kept: labels of the axes of the result; each stands in some table.
        name: how a label is called in an error.
        memory_limit: bound on each intermediate table, in bytes; by default that of ``memory``.

    Returns:
        One axis per kept label.

    Raises:
        ContractionSizeError: a table would exceed the bound; nothing has been allocated yet.
    """
    sizes = _sizes(factors)
    plan = elimination_plan(tuple(f.scope for f in factors), tuple(sizes.items()), kept)
    check_size(plan.widest_scope, sizes, name, memory_limit)
    tables = dict(enumerate(f.table for f in factors))
    for number, step in enumerate(plan.steps, len(factors)):
        operands = [tables.pop(i) for i in step.operands]
        tables[number] = torch.einsum(step.equation, *operands)
    return _result(tables, plan, kept)


def log_contract(
    factors: Sequence[Factor],
    kept: Scope,
    *,
    name: Callable[[int], str],
    memory_limit: int | None = None,
) -> Float[Tensor, ...]:
    """Logarithm of ``contract``, by the same steps on logarithms.

    Nothing underflows: -inf is a sum of exact zeros. Each product is written out before it is
    summed, so tables are larger by the labels of one step. Derivatives in entries that are zero
    come out as zero.

    Args:
        factors: at least one table; the tables themselves, not their logarithms.
        kept: labels of the axes of the result; each stands in some table.
        name: how a label is called in an error.
        memory_limit: bound on each intermediate table, in bytes; by default that of ``memory``.

    Returns:
        One axis per kept label.

    Raises:
        ContractionSizeError: a table would exceed the bound; nothing has been allocated yet.
    """
    sizes = _sizes(factors)
    plan = elimination_plan(tuple(f.scope for f in factors), tuple(sizes.items()), kept)
    check_size(plan.widest_union, sizes, name, memory_limit)
    scopes = dict(enumerate(f.scope for f in factors))
    tables = dict(enumerate(logspace.log(f.table) for f in factors))
    for number, step in enumerate(plan.steps, len(factors)):
        first, *others = (align(tables.pop(i), scopes[i], step.union) for i in step.operands)
        product = sum(others, first)
        dropped = tuple(i for i, a in enumerate(step.union) if a not in step.scope)
        scopes[number] = step.scope
        tables[number] = logspace.logsumexp(product, dropped) if dropped else product
    return _result(tables, plan, kept)


def align(table: Float[Tensor, ...], scope: Scope, target: Scope) -> Float[Tensor, ...]:
    """View a table with one axis per label of ``target``, of length one where it has none."""
    where = {label: axis for axis, label in enumerate(scope)}
    ordered = table.permute([where[label] for label in target if label in where])
    lengths = iter(ordered.shape)
    return ordered.reshape([next(lengths) if label in where else 1 for label in target])


def check_size(
    scope: Scope, sizes: Mapping[int, int], name: Callable[[int], str], bound: int | None
) -> None:
    """Refuse a table before it is allocated.

    Args:
        scope: labels of its axes.
        sizes: length of every label.
        name: how a label is called.
        bound: in bytes; ``memory.memory_limit`` where there is none.

    Raises:
        ContractionSizeError: it exceeds the bound; carries the names of its labels.
    """
    n_bytes = 8 * prod(sizes[label] for label in scope)
    limit = memory.memory_limit() if bound is None else bound
    if n_bytes <= limit:
        return
    axes = sorted((label for label in scope if sizes[label] > 1), key=lambda a: -sizes[a])
    listed = ", ".join(f"{name(a)} ({sizes[a]})" for a in axes[:12])
    more = f" and {len(axes) - 12} more" if len(axes) > 12 else ""
    raise ContractionSizeError(
        f"expected intermediate tables of at most {memory.in_words(limit)}, found one of "
        f"{memory.in_words(n_bytes)} over {len(axes)} labels: {listed}{more}; ask for fewer "
        "outcomes at once, for one part of the batch or of the scenarios at a time, with more "
        "evidence, or "
        f"{memory.how_to_raise(n_bytes)}",
        clique=tuple(map(name, axes)),
        n_bytes=n_bytes,
        limit=limit,
    )


# -- the order of summation --------------------------------------------------------------------


@lru_cache(maxsize=64)
def elimination_plan(
    scopes: tuple[Scope, ...], sizes: tuple[tuple[int, int], ...], kept: Scope
) -> EliminationPlan:
    """Plan a contraction: summation in an order of least fill-in, two tables at a time.

    On the networks of the bnlearn repository this order needs 1 to 40 times fewer operations
    than the greedy one of opt_einsum. Where its tables are large, the weighted variant is tried.

    Args:
        scopes: labels of every table.
        sizes: every label and its length.
        kept: labels of the result.

    Returns:
        The plan; cost about quadratic in the number of labels.
    """
    lengths = dict(sizes)
    plans = []
    for weighted in (False, True):
        order = elimination_order(scopes, lengths, kept, weighted=weighted)
        plan = _plan_along(order, scopes, lengths, kept)
        plans.append(plan)
        if _cells(plan.widest_union, lengths) <= EASY_CELLS:
            break
    return min(plans, key=lambda plan: _cells(plan.widest_union, lengths))


def elimination_order(
    scopes: Iterable[Scope],
    sizes: Mapping[int, int],
    kept: Iterable[int] = (),
    *,
    weighted: bool = False,
) -> list[int]:
    """Order all labels that are not kept for summation.

    The next label is the one whose neighbours, which the sum joins in one table, lack the fewest
    edges among themselves; ties go to the smallest table. The source comes last.

    Args:
        scopes: labels of every table.
        sizes: length of every label.
        kept: labels that stay.
        weighted: weigh a missing edge by the logarithms of the two lengths.

    Returns:
        The labels in order.
    """
    kept = set(kept)
    neighbours: dict[int, set[int]] = {}
    for scope in (*scopes, tuple(kept)):  # labels that are kept end up in one table
        vertices = [label for label in scope if label >= 0]
        for label in vertices:
            neighbours.setdefault(label, set()).update(vertices)
    for label, around in neighbours.items():
        around.discard(label)
    size = {label: log(sizes.get(label, 1)) for label in neighbours}

    def fill_in(label: int) -> float:
        around = neighbours[label]
        lacking = {a: around - neighbours[a] for a in around}  # a itself is one of them
        if not weighted:
            return (sum(map(len, lacking.values())) - len(around)) / 2
        edges = ((a, b) for a, others in lacking.items() for b in others if b != a)
        return sum((size[a] * size[b] for a, b in edges), 0.0) / 2

    def cost(label: int) -> tuple[float, float]:
        return fill[label], sum((size[a] for a in neighbours[label]), 0.0)

    fill = {label: fill_in(label) for label in neighbours if label not in kept}
    queue = [(cost(label), label) for label in fill]
    heapq.heapify(queue)
    current = {label: found for found, label in queue}
    order = []
    while queue:
        found, label = heapq.heappop(queue)
        if current.get(label) != found:
            continue  # the label is gone, or its cost has changed since
        order.append(label)
        del current[label], fill[label]
        around = neighbours.pop(label)
        changed = around & fill.keys()
        for a in around:
            neighbours[a].discard(label)
        for a, b in combinations(sorted(around), 2):
            if b not in neighbours[a]:
                # Labels beside both lack one edge less; those in ``around`` are counted anew.
                for c in (neighbours[a] & neighbours[b] & fill.keys()) - around:
                    fill[c] -= size[a] * size[b] if weighted else 1.0
                    changed.add(c)
                neighbours[a].add(b)
                neighbours[b].add(a)
        for a in around & fill.keys():
            fill[a] = fill_in(a)
        for a in sorted(changed):
            current[a] = cost(a)
            heapq.heappush(queue, (current[a], a))
    return [*order, *({SOURCE} & set(chain(*scopes)) - kept)]


def _plan_along(
    order: Sequence[int], scopes: Sequence[Scope], sizes: Mapping[int, int], kept: Scope
) -> EliminationPlan:
    """Sum label after label: join the tables that hold it, smallest first."""
    terms = dict(enumerate(scopes))
    holders: dict[int, set[int]] = {label: set() for label in chain(order, *scopes)}
    for i, scope in terms.items():
        for label in scope:
            holders[label].add(i)
    steps: list[EliminationStep] = []

    def join(*operands: int) -> int:
        parts = [terms.pop(i) for i in operands]
        for i, part in zip(operands, parts, strict=True):
            for label in part:
                holders[label].discard(i)
        union = tuple(dict.fromkeys(chain(*parts)))
        scope = tuple(label for label in union if label in kept or holders[label])
        number = len(scopes) + len(steps)
        steps.append(EliminationStep(operands, union, scope, _equation(parts, scope)))
        terms[number] = scope
        for label in scope:
            holders[label].add(number)
        return number

    def join_all(numbers: Iterable[int]) -> None:
        queue = [(_cells(terms[i], sizes), i) for i in numbers]
        heapq.heapify(queue)
        if len(queue) == 1:
            join(queue[0][1])
        while len(queue) > 1:
            joined = join(heapq.heappop(queue)[1], heapq.heappop(queue)[1])
            heapq.heappush(queue, (_cells(terms[joined], sizes), joined))

    for label in order:
        join_all(holders[label])
    if len(terms) > 1 or not steps:
        join_all(terms)
    return EliminationPlan(
        tuple(steps),
        max((step.scope for step in steps), key=lambda scope: _cells(scope, sizes)),
        max((step.union for step in steps), key=lambda scope: _cells(scope, sizes)),
    )


def _equation(parts: Sequence[Scope], scope: Scope) -> str:
    """Equation of one step, in letters of its own; none for tables wider than any memory."""
    labels = tuple(dict.fromkeys(chain(*parts)))
    if len(labels) > len(ascii_letters):
        return ""
    letter = dict(zip(labels, ascii_letters, strict=False))
    words = ["".join(letter[label] for label in part) for part in (*parts, scope)]
    return f"{','.join(words[:-1])}->{words[-1]}"


def _result(tables: Mapping[int, Tensor], plan: EliminationPlan, kept: Scope) -> Tensor:
    (table,) = tables.values()
    return align(table, plan.steps[-1].scope, kept)


def _sizes(factors: Iterable[Factor]) -> dict[int, int]:
    sizes = {}
    for factor in factors:
        sizes.update(zip(factor.scope, factor.table.shape, strict=True))
    return dict(sorted(sizes.items()))


def _cells(scope: Scope, sizes: Mapping[int, int]) -> int:
    return prod(sizes[label] for label in scope)
