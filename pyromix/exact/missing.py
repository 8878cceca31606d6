"""Exact sums over missing cells, cells missing at random.

Given U and the observed cells of a row, its missing vertices fall into parts that do not speak to
each other:

- a missing vertex without observed descendants is *barren*: its factors sum to one and drop out;
- two remaining missing vertices that share a family belong to one *open component*.

So P(observed | U) is the product over families without missing members, times, for each component,
the sum over its completions of the families that touch it. What a component sums to depends on the
row only through the observed members of those families. Equal components with equal surroundings
are therefore one *unit*, whatever rows they come from, and a unit is a list of completions, each a
set of CPT cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.errors import DataError
from pyromix.exact.cells import CellAxis, joint_states
from pyromix.exact.incidence import Incidence
from pyromix.exact.logspace import logsumexp

COMPLETION_LIMIT = 2**16
"""Largest number of completions of one open component."""

COMPLETED_CELLS_LIMIT = 2**27
"""Largest number of CPT cells in all completions of all units (12 bytes each, twice)."""

NUMBERS_OF_PAIRS = 2**29
"""Rows with missing cells, times variables squared, whose components are looked for together."""


@dataclass(frozen=True, eq=False)
class OpenComponents:
    """The units of all rows with missing cells.

    Attributes:
        units: number of the unit of each open component of each row, ``(rows, slots)``, int32;
            -1 where a slot is not used. ``(0, 0)`` where nothing is missing.
        completions: the CPT cells of each completion, unit after unit.
        sizes: ``(units, completions of each)``, for runs of units with equally many completions.
    """

    units: Int[Tensor, "rows slots"]
    completions: Incidence
    sizes: tuple[tuple[int, int], ...]

    @property
    def n_units(self) -> int:
        """Number of distinct units."""
        return sum(n for n, _ in self.sizes)

    def log_prob(self, log_table: Float[Tensor, "cells columns"]) -> Float[Tensor, "units columns"]:
        """Return log of the sum over completions; differentiable."""
        return torch.cat([logsumexp(run, 1) for run in self.completed(log_table)])

    def cell_counts(
        self, unit_counts: Float[Tensor, "units columns"], log_table: Float[Tensor, "cells columns"]
    ) -> Float[Tensor, "cells columns"]:
        """Share out expected counts of units over completions, and sum them per CPT cell."""
        shares = []
        counts = unit_counts.split([n for n, _ in self.sizes])
        for run, count in zip(self.completed(log_table), counts, strict=True):
            total = run.logsumexp(1, keepdim=True)
            # A unit that a source cannot produce has no count there; any finite number serves.
            total = total.masked_fill(total == -torch.inf, 0.0)
            shares.append(((run - total).exp_() * count[:, None]).flatten(0, 1))
        return self.completions.scatter_sums(torch.cat(shares))

    def log_changes(
        self, changes: Float[Tensor, "cells columns"], log_table: Float[Tensor, "cells k"]
    ) -> Float[Tensor, "units columns"]:
        """Return how ``log_prob`` moves where log-probabilities of cells do.

        Args:
            changes: of the cells, ``(direction, k)`` columns.
            log_table: log-probabilities of the cells.
        """
        found = [(share * moved).sum(1) for share, moved in self._moved(changes, log_table)]
        return torch.cat(found).flatten(1)

    def cell_changes(
        self,
        unit_changes: Float[Tensor, "units columns"],
        unit_counts: Float[Tensor, "units k"],
        changes: Float[Tensor, "cells columns"],
        log_table: Float[Tensor, "cells k"],
    ) -> Float[Tensor, "cells columns"]:
        """Return how ``cell_counts`` moves: with the counts of units, and with their completions.

        Args:
            unit_changes: how expected counts of units move.
            unit_counts: expected counts of units.
            changes: how log-probabilities of cells move, ``(direction, k)`` columns.
            log_table: log-probabilities of the cells.
        """
        k, found = log_table.shape[-1], []
        units = [n for n, _ in self.sizes]
        for (share, moved), count, change in zip(
            self._moved(changes, log_table),
            unit_counts.split(units),
            unit_changes.unflatten(1, (-1, k)).split(units),
            strict=True,
        ):
            apart = moved - (share * moved).sum(1, keepdim=True)
            found.append((share * (change[:, None] + count[:, None, None] * apart)).flatten(0, 1))
        return self.completions.scatter_sums(torch.cat(found).flatten(1))

    def _moved(
        self, changes: Float[Tensor, "cells columns"], log_table: Float[Tensor, "cells k"]
    ) -> list[tuple[Float[Tensor, "units completions 1 k"], Float[Tensor, ...]]]:
        """Shares of the completions of each unit, and how their logarithms move."""
        terms = self.completions.gather_sums(changes).unflatten(1, (-1, log_table.shape[-1]))
        runs = terms.split([n * size for n, size in self.sizes])
        found = []
        for run, size, logs in zip(runs, self.sizes, self.completed(log_table), strict=True):
            # A unit that a source cannot produce has shares of nothing: they are zero.
            share = logs.softmax(1).nan_to_num(0.0)
            found.append((share.unsqueeze(2), run.unflatten(0, size)))
        return found

    def completed(
        self, log_table: Float[Tensor, "cells columns"]
    ) -> list[Float[Tensor, "units completions columns"]]:
        """Log-probabilities of the completions, one table for each run of equal sizes."""
        terms = self.completions.gather_sums(log_table)
        runs = terms.split([n * size for n, size in self.sizes])
        return [run.unflatten(0, size) for run, size in zip(runs, self.sizes, strict=True)]


@dataclass(frozen=True, eq=False)
class _Component:
    """One kind of open component: which vertices are missing, and which families they touch.

    Attributes:
        missing: the missing vertices.
        touched: vertices whose family has one of them as a member.
        rows: rows that have such a component.
    """

    missing: tuple[int, ...]
    touched: tuple[int, ...]
    rows: Int[Tensor, " found"]

    def around(self, axis: CellAxis) -> tuple[int, ...]:
        """The observed members of the touched families."""
        members = {u for v in self.touched for u in axis.families[v]}
        return tuple(sorted(members.difference(self.missing)))

    def n_completions(self, axis: CellAxis) -> int:
        """Number of joint states of the missing vertices."""
        return axis.spec.n_joint(self.missing)


def open_components(axis: CellAxis, rows: Int[Tensor, "rows variables"]) -> OpenComponents:
    """Find the open components of every row and list their completions once each.

    Python loops over the kinds of components, never over rows. The number of kinds is at most the
    number of distinct missing patterns, and mostly far smaller.

    Args:
        axis: the stacked axis of CPT cells.
        rows: state numbers, -1 where missing.

    Raises:
        DataError: a component has more than ``COMPLETION_LIMIT`` completions, or all of them
            together more than ``COMPLETED_CELLS_LIMIT`` cells.
    """
    device = rows.device
    complete = not len(rows) or int(rows.amin()) >= 0  # a hundredth of the time of the next line
    where = (rows[:0] if complete else rows).lt(0).any(1).nonzero().squeeze(1)
    rows_at_once = max(1, NUMBERS_OF_PAIRS // axis.spec.n_variables**2)
    found = [c for part in where.split(rows_at_once) if len(part) for c in _find(axis, rows, part)]
    kinds = _merged(found)
    for kind in kinds:
        _check_size(axis, kind)
    kinds.sort(key=lambda kind: (kind.n_completions(axis), kind.missing, kind.touched))
    units = torch.full(
        (len(rows), axis.spec.n_variables) if kinds else (0, 0),
        -1,
        dtype=torch.int32,
        device=device,
    )
    cells, sizes, n_units, n_cells = [], [], 0, 0
    for kind in kinds:
        around, n_completions = kind.around(axis), kind.n_completions(axis)
        states = rows[kind.rows][:, list(around)].to(torch.int32)
        first, number = _distinct(states, axis.spec.joint_shape(around))
        units[kind.rows, kind.missing[0]] = number.to(torch.int32) + n_units
        n_units += len(first)
        n_cells += len(first) * n_completions * len(kind.touched)
        if n_cells > COMPLETED_CELLS_LIMIT:
            raise DataError(
                f"expected at most {COMPLETED_CELLS_LIMIT} CPT cells in the completions of all "
                f"missing cells, found more at {n_units} different components, the last "
                f"{_names(axis, kind.missing)} with {n_completions} completions each; drop rows "
                'with many missing cells (missing="drop") or leave out such columns'
            )
        cells.append(_completed(axis, kind, dict(zip(around, states[first].T, strict=True))))
        sizes.append((len(first), n_completions))
    starts = [
        torch.full((n * size,), c.shape[-1], dtype=torch.int32, device=device)
        for (n, size), c in zip(sizes, cells, strict=True)
    ]
    zero = torch.zeros(1, dtype=torch.int32, device=device)
    completions = Incidence(
        torch.cat([zero, *starts]).cumsum(0, dtype=torch.int32),
        torch.cat([zero[:0], *(c.flatten() for c in cells)]),
        axis.n_cells,
    )
    runs = [(size, sum(n for n, _ in run)) for size, run in groupby(sizes, key=lambda s: s[1])]
    return OpenComponents(units, completions, tuple((n, size) for size, n in runs))


def _find(
    axis: CellAxis, rows: Int[Tensor, "rows variables"], where: Int[Tensor, " some"]
) -> list[_Component]:
    """The kinds of components among some rows."""
    missing = rows[where] < 0
    kept = ~_barren(axis, missing)
    label = _labels(axis, missing & kept, kept)
    n = axis.spec.n_variables
    numbers = torch.arange(n, dtype=label.dtype, device=label.device)
    row, root = (label == numbers).nonzero(as_tuple=True)
    member = label[row] == root[:, None]
    touches = torch.stack([member[:, list(family)].any(1) for family in axis.families], 1)
    signature = member.to(torch.int8) + (touches & kept[row])  # 2 missing, 1 touched, 0 neither
    first, number = _distinct(signature, [3] * n)
    order = number.argsort(stable=True)
    groups = where[row][order].split(torch.bincount(number, minlength=len(first)).tolist())
    return [
        _Component(
            tuple(v for v, s in enumerate(kind) if s == 2),
            tuple(v for v, s in enumerate(kind) if s),
            group,
        )
        for kind, group in zip(signature[first].tolist(), groups, strict=True)
    ]


def _merged(found: Sequence[_Component]) -> list[_Component]:
    """Equal kinds found in different parts of a table as one."""
    kinds: dict[tuple[tuple[int, ...], tuple[int, ...]], list[Tensor]] = {}
    for component in found:
        kinds.setdefault((component.missing, component.touched), []).append(component.rows)
    return [_Component(*key, torch.cat(rows)) for key, rows in kinds.items()]


def _barren(axis: CellAxis, missing: Bool[Tensor, "rows variables"]) -> Tensor:
    """Which vertices are missing together with all their descendants."""
    barren = missing.clone()
    for v in reversed(range(axis.spec.n_variables)):
        for child in axis.spec.children[v]:
            barren[:, v] &= barren[:, child]
    return barren


def _labels(
    axis: CellAxis,
    open_: Bool[Tensor, "rows variables"],
    kept: Bool[Tensor, "rows variables"],
) -> Int[Tensor, "rows variables"]:
    """The smallest vertex of the component of each open vertex; n for all other vertices.

    Labels travel along families, up and down the order, until none changes.
    """
    n = axis.spec.n_variables
    open_, kept = open_.T.contiguous(), kept.T.contiguous()  # whole columns are what is worked on
    numbers = torch.arange(n, dtype=torch.int16, device=open_.device)
    label = torch.where(open_, numbers[:, None], n)
    families = [(v, family) for v, family in enumerate(axis.families) if len(family) > 1]
    while True:
        before = label.clone()
        for v, family in (*families, *reversed(families)):
            least = reduce(torch.minimum, (label[u] for u in family))
            for u in family:
                lower = (label[u] > least) & open_[u] & kept[v]
                label[u] = torch.where(lower, least, label[u])
        if torch.equal(before, label):
            return label.T.contiguous()


def _completed(
    axis: CellAxis, kind: _Component, observed: dict[int, Tensor]
) -> Int[Tensor, "units completions families"]:
    """The CPT cells of every completion of every unit of one kind."""
    filled = joint_states(axis.spec, kind.missing, kind.rows.device)
    n_units = next((len(s) for s in observed.values()), 1)
    states = {v: s[:, None] for v, s in observed.items()} | {v: s[None] for v, s in filled.items()}
    shape = (n_units, kind.n_completions(axis))
    cells = []
    for v in kind.touched:
        cell = torch.full(shape, axis.offsets[v], dtype=torch.int32, device=kind.rows.device)
        for u, step in axis.strides[v].items():
            cell += states[u] * step
        cells.append(cell)
    return torch.stack(cells, -1)


def _distinct(
    table: Int[Tensor, "rows columns"], cards: Sequence[int]
) -> tuple[Int[Tensor, " distinct"], Int[Tensor, " rows"]]:
    """First row of each distinct row, and the number of the distinct row that each row equals.

    Rows are read as mixed-radix numbers, renumbered before they could pass 63 bits.
    """
    number = torch.zeros(len(table), dtype=torch.int64, device=table.device)
    bound = 1
    for column, card in zip(table.T, cards, strict=True):
        if bound * card >= 2**62:
            values, number = number.unique(return_inverse=True)
            bound = len(values)
        number = number * card + column
        bound *= card
    values, number = number.unique(return_inverse=True)
    positions = torch.arange(len(table), device=table.device)
    first = torch.full((len(values),), len(table), dtype=torch.int64, device=table.device)
    return first.scatter_reduce(0, number, positions, "amin"), number


def _check_size(axis: CellAxis, kind: _Component) -> None:
    size = kind.n_completions(axis)
    if size > COMPLETION_LIMIT:
        raise DataError(
            f"expected at most {COMPLETION_LIMIT} completions of neighbouring missing cells, found "
            f"{size} in {len(kind.rows)} rows, for {_names(axis, kind.missing)}; drop those rows "
            '(missing="drop") or leave out some of these columns'
        )


def _names(axis: CellAxis, vertices: Sequence[int]) -> str:
    names = [axis.spec.name(v) for v in vertices]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
