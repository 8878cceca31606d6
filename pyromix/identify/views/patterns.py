"""Weighted rows in strata, and mean products of functions of a row, one matrix per stratum.

A missing cell is a state of its own. When missingness of different variables is independent within
each source, a view with that extra state is as good a view as any, and its proper states can be
read off afterwards: see ``cover``.

Rows of one stratum lie in blocks of equal length, the last one filled up with weight zero, so that
any number of strata is one batched matrix product.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.data.asking import asked
from pyromix.data.codes import collapse, locate
from pyromix.data.moments import MomentSource, Rows
from pyromix.errors import DataError
from pyromix.exact.incidence import Incidence
from pyromix.model.randomness import RandomState, torch_generator

MAX_CELLS_OF_VIEWS = 2**16
"""Largest number of joint states, over all strata, that are turned into rows."""

LONGEST_BLOCK = 4096
SHORTEST_BLOCK = 32

NUMBERS_OF_PATTERNS = 2**22
"""Numbers that one batched product holds at a time."""

RowFunction = Callable[[Int[Tensor, "b l n"], Int[Tensor, " b"]], Float[Tensor, "b l p"]]
"""A vector of p functions of a row: from blocks of rows and their strata to its values."""


@dataclass(frozen=True, eq=False)
class Patterns:
    """Weighted rows of some variables, given the assignment of each stratum.

    Attributes:
        rows: ``(m, n)`` state numbers, int16; a missing cell has the number after the last state.
        blocks: ``(b, l)`` numbers of the rows of each block.
        weights: ``(b, l)``; those of a stratum sum to one, or to zero where it has no row.
        strata: ``(b,)``, the stratum of each block.
        n_rows: ``(r,)`` total weight behind each stratum; infinite where moments are exact.
        cards: per variable the number of states, the missing one included.
        states: per variable the number of proper states.
    """

    rows: Int[Tensor, "m n"]
    blocks: Int[Tensor, "b l"]
    weights: Float[Tensor, "b l"]
    strata: Int[Tensor, " b"]
    n_rows: Float[Tensor, " r"]
    cards: tuple[int, ...]
    states: tuple[int, ...]

    @property
    def n_strata(self) -> int:
        """Number of strata r."""
        return self.n_rows.shape[0]

    @property
    def device(self) -> torch.device:
        """Device of rows and weights."""
        return self.rows.device

    def mean_product(
        self, left: RowFunction, left_size: int, right: RowFunction, right_size: int
    ) -> Float[Tensor, "r p q"]:
        """Mean over the rows of each stratum of every product of two row functions.

        Args:
            left: p functions.
            left_size: p.
            right: q functions.
            right_size: q.

        Returns:
            ``(r, p, q)``; zeros where a stratum has no row. Time m p q.
        """
        length = self.blocks.shape[1]
        per_block = length * (left_size + right_size) + left_size * right_size
        step = max(1, NUMBERS_OF_PATTERNS // per_block)
        total = torch.zeros(
            self.n_strata, left_size, right_size, dtype=torch.float64, device=self.device
        )
        for start in range(0, self.blocks.shape[0], step):
            piece = slice(start, start + step)
            rows, strata = self.rows[self.blocks[piece]], self.strata[piece]
            one = left(rows, strata) * self.weights[piece].unsqueeze(-1)
            total.index_add_(0, strata, one.mT @ right(rows, strata))
        return total

    def mean_by_state(
        self, function: RowFunction, size: int, groups: Sequence[tuple[int, ...]]
    ) -> list[Float[Tensor, "r p states"]]:
        """Mean over the rows of each stratum of a row function times each indicator of a state.

        Args:
            function: p functions.
            size: p.
            groups: columns whose joint states are asked for, the first column slowest.

        Returns:
            Per group ``(r, p, joint states)``; they sum to the mean of the function. Time m p per
            group, however many states.
        """
        sizes = [math.prod(self.cards[c] for c in group) for group in groups]
        width, length = sum(sizes), self.blocks.shape[1]
        step = max(1, NUMBERS_OF_PATTERNS // (length * (size + len(groups))))
        total = torch.zeros(self.n_strata * width, size, dtype=torch.float64, device=self.device)
        for start in range(0, self.blocks.shape[0], step):
            piece = slice(start, start + step)
            rows, strata = self.rows[self.blocks[piece]], self.strata[piece]
            values = function(rows, strata) * self.weights[piece].unsqueeze(-1)
            first = (strata * width).to(torch.int32).repeat_interleave(length)
            columns = rows.flatten(0, 1).T.to(torch.int32, memory_format=torch.contiguous_format)
            slots = []
            for group, n in zip(groups, sizes, strict=True):
                code = columns[group[0]]
                for c in group[1:]:
                    code = code * self.cards[c] + columns[c]
                slots.append(first + code)
                first = first + n
            cells = Incidence.from_slots(torch.stack(slots, 1), len(total))
            total += cells.scatter_sums(values.flatten(0, 1))
        each = total.view(self.n_strata, width, size).mT
        return list(each.split(sizes, -1))


def patterns_of(
    moments: MomentSource,
    variables: Sequence[int],
    given: Sequence[int],
    assignments: Int[Tensor, "r c"],
) -> Patterns:
    """Rows of some variables in each assignment.

    Data with rows give these; any others the cells of their joint table.

    Args:
        moments: data or a population.
        variables: vertices, one column each.
        given: vertices conditioned on; perhaps none.
        assignments: ``(r, len(given))``, distinct; one stratum each.

    Raises:
        DataError: unknown or repeated vertices, states out of range, or a table beyond memory.
    """
    if len({*variables, *given}) != len(variables) + len(given):
        raise DataError(
            f"vertices must be distinct, found variables {list(variables)} given {list(given)}"
        )
    moments = asked(moments)
    states = moments.schema.joint_shape(variables)
    n_rows = moments.noise(given, assignments)
    if isinstance(moments, Rows):
        return _patterns_of_rows(moments, variables, given, assignments, states, n_rows)
    table = moments.table(variables, given, assignments).flatten(1)
    axes = [torch.arange(card, device=table.device) for card in states]
    cells = torch.cartesian_prod(*axes).reshape(-1, len(axes))
    occupied = (table > 0).any(0)
    cells, table = cells[occupied].to(torch.int16), table[:, occupied]
    r, m = table.shape
    strata = torch.arange(r, device=table.device).repeat_interleave(m)
    return _blocked(cells.repeat(r, 1), table.flatten(), strata, n_rows, states, states)


def all_assignments(shape: Sequence[int]) -> Int[Tensor, "r c"]:
    """Every cell of a table of this shape, in row-major order; one empty row for no axes."""
    states = list(itertools.product(*map(range, shape)))
    return torch.tensor(states, dtype=torch.int64, device="cpu").reshape(len(states), len(shape))


def thinned(patterns: Patterns, n: int, random_state: RandomState) -> Patterns:
    """Draw rows at random, so that a first look at many distinct rows takes a bounded time.

    Args:
        patterns: with finite numbers of rows.
        n: how many rows to draw over all strata, with replacement.
        random_state: of the draws.
    """
    generator = torch_generator(random_state)
    share = patterns.n_rows / patterns.n_rows.sum()
    heights = (patterns.weights * share[patterns.strata].unsqueeze(1)).flatten().cumsum(0)
    draws = torch.rand(n, dtype=torch.float64, generator=generator, device=generator.device)
    drawn = torch.searchsorted(heights, draws.to(heights.device) * heights[-1])
    slots, counts = drawn.clamp_max(len(heights) - 1).unique(return_counts=True)
    strata = patterns.strata[slots // patterns.blocks.shape[1]]
    weights = counts.to(torch.float64)
    totals = torch.zeros_like(patterns.n_rows).index_add_(0, strata, weights)
    rows = patterns.rows[patterns.blocks.flatten()[slots]]
    n_rows = torch.minimum(patterns.n_rows, totals)
    weights = weights / totals[strata]
    return _blocked(rows, weights, strata, n_rows, patterns.cards, patterns.states)


def fits(moments: MomentSource, variables: Sequence[int], n_strata: int) -> bool:
    """Whether ``patterns_of`` can hold the rows of all these variables."""
    moments = asked(moments)
    if isinstance(moments, Rows):
        return True
    return moments.schema.n_joint(variables) * n_strata <= MAX_CELLS_OF_VIEWS


def _patterns_of_rows(
    data: Rows,
    variables: Sequence[int],
    given: Sequence[int],
    assignments: Tensor,
    states: tuple[int, ...],
    n_rows: Tensor,
) -> Patterns:
    """Distinct rows of the variables within each distinct assignment, one stratum after another."""
    n_given, conditioned = len(given), data.schema.joint_shape(given)
    some = len(variables) + n_given < data.schema.n_variables
    targets = assignments.to(n_rows.device)
    _, group, n_groups = locate(targets, targets, conditioned)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for rows, weights in _with_empty(data, (*given, *variables)):
        known = (rows[:, :n_given] >= 0).all(1)
        if not bool(known.all()):
            rows, weights = rows[known], weights[known]
        place, _, _ = locate(rows[:, :n_given], targets, conditioned)
        wanted = place >= 0
        strata, weights = place[wanted], weights[wanted]
        cells = rows[wanted][:, n_given:].to(torch.int16)
        if some and len(cells):
            strata, cells, weights = _distinct(strata, cells, weights, (n_groups, *states))
        found.append((strata, cells, weights))
    strata, cells, weights = found[0]
    if len(found) > 1:
        strata, cells, weights = (torch.cat(parts) for parts in zip(*found, strict=True))
        if some and len(cells):
            strata, cells, weights = _distinct(strata, cells, weights, (n_groups, *states))
    cards = tuple(
        card + int(gaps) for card, gaps in zip(states, (cells < 0).any(0).tolist(), strict=True)
    )
    last = torch.tensor(states, dtype=cells.dtype, device=cells.device)
    cells = torch.where(cells < 0, last, cells) if cards != states else cells
    totals = torch.zeros(n_groups, dtype=torch.float64, device=cells.device)
    totals = totals.index_add_(0, strata, weights)
    weights = weights / totals[strata]
    order = torch.zeros_like(group)
    order[group] = torch.arange(n_groups, device=group.device)
    return _blocked(cells, weights, order[strata], n_rows, cards, states)


def _with_empty(data: Rows, columns: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of rows, those without any observed cell joined to the last one.

    Without them gaps would not be independent of each other within a source.
    """
    ahead: tuple[Tensor, Tensor] | None = None
    for block in data.blocks(columns):
        if ahead is not None:
            yield ahead
        ahead = block
    if ahead is None:
        raise DataError(
            f"expected at least one block of rows, found none in a {type(data).__name__}; check "
            "the filter or the files it reads"
        )
    rows, weights = ahead
    if data.empty_weight > 0:
        rows = torch.cat([rows, rows.new_full((1, rows.shape[1]), -1)])
        weights = torch.cat([weights, weights.new_tensor([data.empty_weight])])
    yield rows, weights


def _distinct(
    strata: Int[Tensor, " m"],
    cells: Int[Tensor, "m n"],
    weights: Float[Tensor, " m"],
    cards: tuple[int, ...],
) -> tuple[Int[Tensor, " d"], Int[Tensor, "d n"], Float[Tensor, " d"]]:
    """Distinct cells of each stratum, in order, and the sum of their weights."""
    codes, weights = collapse(torch.cat([strata.unsqueeze(1), cells], 1), cards, weights)
    return codes[:, 0], codes[:, 1:].to(torch.int16), weights


def _blocked(
    rows: Int[Tensor, "m n"],
    weights: Float[Tensor, " m"],
    strata: Int[Tensor, " m"],
    n_rows: Float[Tensor, " r"],
    cards: tuple[int, ...],
    states: tuple[int, ...],
) -> Patterns:
    """Sort rows into blocks of one stratum each, as long as the strata are on average."""
    r, m = n_rows.shape[0], rows.shape[0]
    length = min(max(m // max(r, 1), SHORTEST_BLOCK), LONGEST_BLOCK)
    order = strata.argsort(stable=True)
    per_stratum = torch.bincount(strata, minlength=r)
    blocks_of = (per_stratum + length - 1) // length
    first_row = per_stratum.cumsum(0) - per_stratum
    first_block = blocks_of.cumsum(0) - blocks_of
    place = torch.arange(m, device=rows.device) - first_row[strata[order]]
    slot = first_block[strata[order]] * length + place
    n_blocks = int(blocks_of.sum())
    blocks = torch.zeros(n_blocks * length, dtype=torch.int64, device=rows.device)
    filled = torch.zeros(n_blocks * length, dtype=torch.float64, device=rows.device)
    blocks[slot], filled[slot] = order, weights[order]
    owner = torch.arange(r, device=rows.device).repeat_interleave(blocks_of)
    shape = (n_blocks, length)
    return Patterns(rows, blocks.view(shape), filled.view(shape), owner, n_rows, cards, states)
