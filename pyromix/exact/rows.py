"""Rows of a table as sets of cells: what turns likelihood and EM into one sparse product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.errors import DataError
from pyromix.exact.cells import CellAxis, joint_states, strides
from pyromix.exact.incidence import Incidence
from pyromix.exact.missing import OpenComponents, open_components
from pyromix.model.spec import MixtureSpec

ROWS_PER_BLOCK = 2**15
"""Rows that are worked on together: their products and shares stay in the processor's cache."""

JOINT_CELLS = 2**10
"""Largest table that neighbouring families are joined to."""

ROWS_PER_JOINT_CELL = 8
"""Joining pays where a table has this many rows for each joint cell."""


@dataclass(frozen=True, eq=False)
class CellIndex:
    """For each row of a table the cells whose log-probabilities add up to the row's.

    The summands of a row are called units. There are three kinds: single cells of a CPT; cells of
    the joint table of several families whose variables overlap (one lookup in place of several);
    and, where cells of the row are missing, open components, each a sum over the completions of
    the missing cells (see ``missing_cells``). What is derived from the rows is computed when first
    asked for, and kept.

    Attributes:
        spec: the structure; its number of sources plays no role.
        rows: state numbers, ``(rows, n_variables)``, any integer type; -1 marks a missing cell.

    Raises:
        DataError: the table has another width, or a number is no state; with the first use, an
            open component has too many completions.
    """

    spec: MixtureSpec
    rows: Int[Tensor, "rows variables"]

    def __post_init__(self) -> None:
        spec, rows = self.spec, self.rows
        if rows.shape[1] != spec.n_variables:
            raise DataError(
                f"expected rows of {spec.n_variables} variables, found {rows.shape[1]} columns"
            )
        if not len(rows):
            return
        low, high = _ranges(rows)
        for v, card in enumerate(spec.joint_shape(range(spec.n_variables))):
            if low[v] < -1 or high[v] >= card:
                raise DataError(
                    f"{spec.name(v)!r} has states 0..{card - 1} (and -1 for a missing cell), "
                    f"found state numbers {low[v]}..{high[v]}"
                )

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.rows)

    @property
    def device(self) -> torch.device:
        """Device of the rows."""
        return self.rows.device

    @cached_property
    def axis(self) -> CellAxis:
        """The stacked axis of all CPT cells."""
        return CellAxis(self.spec)

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Vertices whose families are looked up together."""
        return join_families(self.spec, min(JOINT_CELLS, self.n_rows // ROWS_PER_JOINT_CELL))

    @cached_property
    def joint_cells(self) -> Incidence:
        """The CPT cells that make up each joint cell, group after group."""
        slots = [_members(self.axis, group, self.device) for group in self._joined]
        width = max((s.shape[1] for s in slots), default=0)
        padded = [torch.nn.functional.pad(s, (0, width - s.shape[1]), value=-1) for s in slots]
        empty = torch.empty(0, width, dtype=torch.int32, device=self.device)
        return Incidence.from_slots(torch.cat([empty, *padded]), self.axis.n_cells)

    @cached_property
    def open(self) -> OpenComponents:
        """Sums over missing cells."""
        return open_components(self.axis, self.rows)

    @property
    def n_units(self) -> int:
        """Number of different summands."""
        return self.axis.n_cells + self.joint_cells.n_rows + self.open.n_units

    @cached_property
    def blocks(self) -> tuple[Incidence, ...]:
        """The units of each row, ``ROWS_PER_BLOCK`` rows at a time."""
        return tuple(
            Incidence.from_slots(self._units(start), self.n_units)
            for start in range(0, self.n_rows, ROWS_PER_BLOCK)
        )

    def unit_table(
        self, log_table: Float[Tensor, "cells columns"]
    ) -> Float[Tensor, "units columns"]:
        """Return the log-probability of each unit, from those of the CPT cells."""
        parts = [log_table]
        if self.joint_cells.n_rows:
            parts.append(self.joint_cells.gather_sums(log_table))
        if self.open.n_units:
            parts.append(self.open.log_prob(log_table))
        return torch.cat(parts) if len(parts) > 1 else log_table

    def cell_counts(
        self, unit_counts: Float[Tensor, "units columns"], log_table: Float[Tensor, "cells columns"]
    ) -> Float[Tensor, "cells columns"]:
        """Return the expected counts of the CPT cells, from those of the units.

        Args:
            unit_counts: expected number of rows that have each unit.
            log_table: log-probabilities of the cells, for the posterior of missing cells.
        """
        sizes = (self.axis.n_cells, self.joint_cells.n_rows, self.open.n_units)
        cells, joint, open_ = unit_counts.split(sizes)
        if self.joint_cells.n_rows:
            cells = cells + self.joint_cells.scatter_sums(joint)
        if self.open.n_units:
            cells = cells + self.open.cell_counts(open_, log_table)
        return cells

    def unit_changes(
        self, changes: Float[Tensor, "cells columns"], log_table: Float[Tensor, "cells k"]
    ) -> Float[Tensor, "units columns"]:
        """Return how the log-probability of each unit moves where those of the CPT cells do.

        Args:
            changes: of the cells, several directions of one mixture: ``(direction, k)`` columns.
            log_table: log-probabilities of the cells, for the posterior of missing cells.
        """
        parts = [changes]
        if self.joint_cells.n_rows:
            parts.append(self.joint_cells.gather_sums(changes))
        if self.open.n_units:
            parts.append(self.open.log_changes(changes, log_table))
        return torch.cat(parts) if len(parts) > 1 else changes

    def cell_changes(
        self,
        unit_changes: Float[Tensor, "units columns"],
        unit_counts: Float[Tensor, "units k"],
        changes: Float[Tensor, "cells columns"],
        log_table: Float[Tensor, "cells k"],
    ) -> Float[Tensor, "cells columns"]:
        """Return how expected counts of cells move: the derivative of ``cell_counts``.

        Args:
            unit_changes: how those of the units move.
            unit_counts: expected number of rows that have each unit.
            changes: how log-probabilities of the cells move, as in ``unit_changes``.
            log_table: log-probabilities of the cells.
        """
        sizes = (self.axis.n_cells, self.joint_cells.n_rows, self.open.n_units)
        cells, joint, open_ = unit_changes.split(sizes)
        if self.joint_cells.n_rows:
            cells = cells + self.joint_cells.scatter_sums(joint)
        if self.open.n_units:
            behind = unit_counts[-self.open.n_units :]
            cells = cells + self.open.cell_changes(open_, behind, changes, log_table)
        return cells

    @cached_property
    def _joined(self) -> tuple[tuple[int, ...], ...]:
        return tuple(group for group in self.groups if len(group) > 1)

    def _units(self, start: int) -> Int[Tensor, "block slots"]:
        """Units of a block of rows, -1 where a slot is not used."""
        block = slice(start, start + ROWS_PER_BLOCK)
        rows = self.rows[block]
        states = rows.T.to(torch.int32, memory_format=torch.contiguous_format)
        base, slots = self.axis.n_cells, []
        gaps = bool(rows.amin() < 0)
        for group in self.groups:
            scope = _scope(self.axis, group)
            if len(group) == 1:
                (v,) = group
                slots.append(_number(states, self.axis.strides[v], self.axis.offsets[v], gaps))
                continue
            whole = _number(states, strides(self.spec, scope), base, gaps)
            base += self.spec.n_joint(scope)
            slots.append(whole)
            if gaps:
                # Where part of the group is missing, its complete families stand alone.
                for v in group:
                    one = _number(states, self.axis.strides[v], self.axis.offsets[v], gaps)
                    slots.append(torch.where(whole < 0, one, -1))
        if gaps:
            units = self.open.units[block]
            slots.extend(torch.where(units >= 0, units + base, -1).T)
        return torch.stack(slots, 1)


def join_families(spec: MixtureSpec, limit: int) -> tuple[tuple[int, ...], ...]:
    """Split the vertices into groups whose families have a small joint table.

    Greedy, in topological order: a vertex joins the group whose table it enlarges least, or opens
    a new group where every table would pass the limit.

    Args:
        spec: the structure.
        limit: largest joint table of a group with two vertices or more, in cells.
    """
    groups: list[list[int]] = []
    scopes: list[set[int]] = []
    sizes: list[int] = []
    for v, parents in enumerate(spec.parents):
        family = {*parents, v}
        growth = [prod(spec.cards[u] for u in family - scope) for scope in scopes]
        fitting = [g for g, more in enumerate(growth) if sizes[g] * more <= limit]
        if fitting:
            best = min(fitting, key=lambda g: (growth[g], sizes[g] * growth[g]))
            groups[best].append(v)
            scopes[best] |= family
            sizes[best] *= growth[best]
        else:
            groups.append([v])
            scopes.append(family)
            sizes.append(spec.n_joint(family))
    return tuple(tuple(group) for group in groups)


def _ranges(rows: Int[Tensor, "rows variables"]) -> tuple[list[int], list[int]]:
    """Smallest and largest state number of each variable.

    Reducing over rows is slow where they are short: 256 at a time are one long row first.
    """
    full = len(rows) // 256 * 256
    long = rows[:full].reshape(-1, 256 * rows.shape[1])
    low, high = (
        torch.cat([extreme(long, 0).view(256, -1), rows[full:]]) if full else rows
        for extreme in (torch.amin, torch.amax)
    )
    return low.amin(0).tolist(), high.amax(0).tolist()


def _scope(axis: CellAxis, group: Sequence[int]) -> list[int]:
    """The variables of the families of a group."""
    return sorted({u for v in group for u in axis.families[v]})


def _members(
    axis: CellAxis, group: Sequence[int], device: torch.device
) -> Int[Tensor, "joint members"]:
    """For each joint cell of a group the cells of its families."""
    states = joint_states(axis.spec, _scope(axis, group), device)
    return torch.stack([_number(states, axis.strides[v], axis.offsets[v], False) for v in group], 1)


def _number(
    states: Tensor | dict[int, Tensor], steps: dict[int, int], offset: int, gaps: bool
) -> Int[Tensor, " configurations"]:
    """Position of each configuration in a row-major table; -1 where one of its cells is missing."""
    first, *others = steps.items()
    number = states[first[0]] * first[1] + offset
    for u, step in others:
        number = number.add_(states[u], alpha=step)
    if not gaps:
        return number
    missing = torch.stack([states[u] < 0 for u in steps]).any(0)
    return number.masked_fill(missing, -1)
