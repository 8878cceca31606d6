"""Rows as single numbers: which rows are equal, and how often each occurs.

A row of digits is one number in mixed radix, the first column slowest. From 63 binary columns such
a number passes an int64; the columns then go into several words, and each word but the last is
replaced by the rank of its value among the rows, which is less than their number. Rank and number
have the same order, so the order of distinct rows is lexicographic in every case.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.errors import DataError
from pyromix.model.arguments import is_integer, shown
from pyromix.model.schema import Schema

MAX_BINS = 2**24
"""Largest number of cells that are counted in one dense table; beyond, keys are sorted."""

MAX_KEY = 2**62
"""Bound of a key in one int64."""

_CHUNK = 2**18
"""Rows whose key is built at a time, so that no wide integer copy of the rows is made."""


def row_keys(
    rows: Int[Tensor, "m n"], radix: Sequence[int], shift: Sequence[int]
) -> Int[Tensor, " m"]:
    """Number the rows so that keys are ordered as the rows are, lexicographically.

    Keys of one call compare with each other; with those of another call only where the product of
    the radix is at most ``MAX_KEY``. Time m n, and a sort of m keys per word beyond the first;
    memory 8 m bytes beside the rows, 40 m with several words.

    Args:
        rows: integers; ``rows[:, i] + shift[i]`` lies in ``0 .. radix[i] - 1``.
        radix: one per column.
        shift: one per column.
    """
    wide = prod(radix) >= 2**31
    keys = torch.zeros(
        rows.shape[0], dtype=torch.int64 if wide else torch.int32, device=rows.device
    )
    start, bound = 0, 1
    while start < len(radix):
        stop, span = start, bound
        while stop < len(radix) and span * radix[stop] <= MAX_KEY:
            span *= radix[stop]
            stop += 1
        if stop == start:
            keys, bound = _ranks(keys), rows.shape[0]
        else:
            word = slice(start, stop)
            _append_digits(keys, rows[:, word], radix[word], shift[word])
            start, bound = stop, span
    return keys


def collapse(
    rows: Int[Tensor, "m n"],
    cards: Sequence[int],
    weights: Float[Tensor, " m"] | None = None,
) -> tuple[Int[Tensor, "patterns n"], Float[Tensor, " patterns"]]:
    """Distinct rows in lexicographic order, missing cells first, and the sum of weights of each.

    Counts in a dense table where that has at most ``MAX_BINS`` cells and is not much larger than
    the rows; sorts otherwise.

    Args:
        rows: at least one; column i holds ``-1 .. cards[i] - 1``; any memory order.
        cards: one per column.
        weights: one per row; ones when left out.

    Returns:
        Rows of the same dtype, and float64 sums.
    """
    shift = [int(low < 0) for low in column_range(rows)[0].tolist()]
    radix = [card + gaps for card, gaps in zip(cards, shift, strict=True)]
    keys, cells = row_keys(rows, radix, shift), prod(radix)
    if cells <= min(MAX_BINS, max(2**16, 8 * rows.shape[0])):
        present = torch.bincount(keys, minlength=cells)
        found = present.nonzero().squeeze(1)
        sums = present if weights is None else torch.bincount(keys, weights, minlength=cells)
        return _digits(found, radix, shift, rows.dtype), sums[found].to(torch.float64)
    order = keys.argsort()
    starts = torch.cat([torch.zeros_like(order[:1]), _changes(keys[order]) + 1])
    # one row per cache line: rows in columns would be gathered ten times slower
    patterns = rows.contiguous().index_select(0, order[starts])
    if weights is None:
        ends = torch.cat([starts[1:], starts.new_tensor([rows.shape[0]])])
        return patterns, (ends - starts).to(torch.float64)
    group = torch.zeros_like(order)
    group[starts[1:]] = 1
    sums = torch.zeros(len(starts), dtype=torch.float64, device=rows.device)
    return patterns, sums.index_add_(0, group.cumsum_(0), weights[order])


def column_range(
    rows: Int[Tensor, "m n"],
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """Least and greatest entry of every column, by halving: quick in either memory order.

    Args:
        rows: at least one.
    """
    low = high = rows
    while low.shape[0] > 1:
        half = (low.shape[0] + 1) // 2
        low = torch.minimum(low[:half], low[-half:])
        high = torch.maximum(high[:half], high[-half:])
    return low[0], high[0]


def locate(
    rows: Int[Tensor, "m n"], targets: Int[Tensor, "r n"], cards: Sequence[int]
) -> tuple[Int[Tensor, " m"], Int[Tensor, " r"], int]:
    """Find which target each row equals.

    Args:
        rows: column i holds ``0 .. cards[i] - 1``.
        targets: rows to look for, perhaps repeated.
        cards: one per column.

    Returns:
        Per row the number of its group of equal targets, -1 where it equals none; per target its
        group; and the number of groups.
    """
    shift = [0] * len(cards)
    if prod(cards) <= MAX_KEY:
        row_key, target_key = row_keys(rows, cards, shift), row_keys(targets, cards, shift)
    else:
        both = row_keys(torch.cat([rows, targets.to(rows.dtype)]), cards, shift)
        row_key, target_key = both.split([rows.shape[0], targets.shape[0]])
    if len(targets) == prod(cards) and torch.equal(target_key, _all_keys(target_key)):
        return row_key.to(torch.int64), target_key.to(torch.int64), len(targets)
    distinct, group = target_key.unique(return_inverse=True)
    if not len(distinct):
        return torch.full_like(row_key, -1, dtype=torch.int64), group, 0
    position = torch.searchsorted(distinct, row_key).clamp_(max=len(distinct) - 1)
    return torch.where(distinct[position] == row_key, position, -1), group, len(distinct)


def _all_keys(target_key: Tensor) -> Tensor:
    """Keys of every combination of states, in order."""
    return torch.arange(len(target_key), dtype=target_key.dtype, device=target_key.device)


def _append_digits(keys: Tensor, rows: Tensor, radix: Sequence[int], shift: Sequence[int]) -> None:
    """``key * radix + digit`` for every column in turn, in place, a chunk of rows at a time."""
    offset = 0
    for base, added in zip(radix, shift, strict=True):
        offset = offset * base + added
    for start in range(0, rows.shape[0], _CHUNK):
        piece, total = rows[start : start + _CHUNK], keys[start : start + _CHUNK]
        for column, base in enumerate(radix):
            total = torch.add(piece[:, column], total, alpha=base)
        keys[start : start + _CHUNK] = total + offset


def _digits(
    keys: Int[Tensor, " m"], radix: Sequence[int], shift: Sequence[int], dtype: torch.dtype
) -> Int[Tensor, "m n"]:
    """The rows that have these keys of one word."""
    rows = torch.empty((len(keys), len(radix)), dtype=dtype, device=keys.device)
    for column in reversed(range(len(radix))):
        rows[:, column] = keys % radix[column] - shift[column]
        keys = keys // radix[column]
    return rows


def _ranks(keys: Int[Tensor, " m"]) -> Int[Tensor, " m"]:
    """Rank of every key among the distinct keys."""
    order = keys.argsort()
    steps = torch.zeros_like(order)
    steps[_changes(keys[order]) + 1] = 1
    ranks = torch.empty_like(order)
    ranks[order] = steps.cumsum_(0)
    return ranks


def _changes(ordered: Int[Tensor, " m"]) -> Int[Tensor, " changes"]:
    """Positions before which a sorted vector changes."""
    return (ordered[1:] != ordered[:-1]).nonzero().squeeze(1)


def smallest_dtype(schema: Schema) -> torch.dtype:
    """The smallest integer type that holds every state number of a schema and -1."""
    return next(
        dtype
        for dtype in (torch.int8, torch.int16, torch.int32)
        if max(schema.cards) - 1 <= torch.iinfo(dtype).max
    )


def check_codes(schema: Any, rows: Any) -> None:
    """Refuse what is no table of state numbers of a schema.

    Raises:
        DataError: names what was found.
    """
    if not isinstance(schema, Schema):
        raise DataError(f"expected a Schema or a MixtureSpec, found {shown(schema)}")
    if not isinstance(rows, Tensor) or rows.ndim != 2 or not is_integer(rows):
        raise DataError(
            f"expected rows as a tensor of state numbers, (rows, variables), found {shown(rows)}"
        )


def check_states(schema: Schema, codes: Int[Tensor, "rows columns"]) -> None:
    """Refuse state numbers that are none.

    Args:
        schema: variables and states.
        codes: ``(N, n)``, -1 where a cell is missing.

    Raises:
        DataError: another number of columns, no rows, or a state out of range.
    """
    if codes.shape[1] != schema.n_variables:
        raise DataError(
            f"expected rows of {schema.n_variables} variables, found {codes.shape[1]} columns"
        )
    if not codes.shape[0]:
        raise DataError("expected at least one row, found none")
    lowest, highest = column_range(codes)
    for v, (low, high) in enumerate(zip(lowest.tolist(), highest.tolist(), strict=True)):
        if low < -1 or high >= schema.cards[v]:
            bad = (codes[:, v] < -1) | (codes[:, v] >= schema.cards[v])
            raise DataError(
                f"states of {schema.name(v)!r} are 0..{schema.cards[v] - 1}, and -1 where missing; "
                f"found {low}..{high} ({int(bad.sum())} rows)"
            )
