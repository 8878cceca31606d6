"""Distinct rows and matching rows, against a Counter over tuples."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyromix.data import codes
from pyromix.data.codes import MAX_BINS, MAX_KEY, collapse, column_range, locate, row_keys


def random_rows(m, cards, seed, *, missing=0.0, distinct=None):
    """Rows with digits below the cards, perhaps drawn from few distinct ones."""
    generator = torch.Generator().manual_seed(seed)
    n = distinct or m
    uniform = torch.rand(n, len(cards), generator=generator, dtype=torch.float64)
    rows = (uniform * torch.tensor(cards)).long()
    gaps = torch.rand(n, len(cards), generator=generator) < missing
    rows = torch.where(gaps, -1, rows).to(torch.int8 if max(cards) <= 127 else torch.int16)
    return rows[torch.randint(n, (m,), generator=generator)] if distinct else rows


def counted(rows, weights=None):
    """The same by a dictionary."""
    table = Counter()
    for i, row in enumerate(rows.tolist()):
        table[tuple(row)] += 1.0 if weights is None else float(weights[i])
    return table


CARDS = {
    "one column": [3],
    "dense": [2, 3, 5],
    "one word": [2] * 40,
    "last that fits one word": [2] * 62,
    "one more": [2] * 63,
    "two words": [2] * 64,
    "two words with missing cells": [2] * 41,
    "three words": [100, 2, 17, 3, 90] * 8,
    "many words": [2, 3] * 150,
}


@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("cards", CARDS.values(), ids=CARDS)
def test_collapse_sums_the_weights_of_equal_rows(cards, weighted, missing):
    rows = random_rows(3000, cards, 0, missing=missing, distinct=500)
    weights = torch.rand(3000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    patterns, sums = collapse(rows, cards, weights if weighted else None)
    expected = counted(rows, weights if weighted else None)
    assert patterns.dtype == rows.dtype
    assert [tuple(row) for row in patterns.tolist()] == sorted(expected)
    assert sums.tolist() == pytest.approx([expected[row] for row in sorted(expected)], rel=1e-12)


@pytest.mark.parametrize("n_columns", [62, 63, 64, 100])
def test_rows_that_differ_in_any_one_binary_column_are_distinct(n_columns):
    rows = torch.cat(
        [torch.eye(n_columns, dtype=torch.int8), torch.zeros(1, n_columns, dtype=torch.int8)]
    )
    patterns, sums = collapse(rows.repeat(2, 1), [2] * n_columns)
    assert len(patterns) == n_columns + 1
    assert bool((sums == 2).all())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(2, 9), min_size=1, max_size=90),
    st.integers(1, 60),
    st.integers(0, 2**31),
    st.sampled_from([0.0, 0.3, 1.0]),
)
def test_collapse_agrees_with_a_dictionary(cards, m, seed, missing):
    rows = random_rows(m, cards, seed, missing=missing, distinct=max(1, m // 2))
    patterns, sums = collapse(rows, cards)
    expected = counted(rows)
    assert dict(zip(map(tuple, patterns.tolist()), sums.tolist(), strict=True)) == expected


@pytest.mark.parametrize("m", [1, 2, 3, 1000, 1001])
def test_the_range_of_columns_is_found_in_either_memory_order(m):
    rows = random_rows(m, [2, 90, 5], 2, missing=0.01)
    for table in (rows, rows.T.contiguous().T):
        low, high = column_range(table)
        assert low.tolist() == [min(column) for column in zip(*rows.tolist(), strict=True)]
        assert high.tolist() == [max(column) for column in zip(*rows.tolist(), strict=True)]


def test_order_of_rows_and_memory_does_not_matter():
    rows = random_rows(5000, [2, 3, 4, 5], 3, missing=0.1)
    shuffled = rows[torch.randperm(5000, generator=torch.Generator().manual_seed(0))]
    by_column = shuffled.T.contiguous().T
    for left, right in zip(
        collapse(rows, [2, 3, 4, 5]), collapse(by_column, [2, 3, 4, 5]), strict=True
    ):
        assert torch.equal(left, right)


@pytest.mark.slow
def test_dense_counting_and_sorting_agree_at_the_border():
    # 2^24 cells are counted in a table, one more binary column is sorted
    rows = random_rows(2**21, [2] * 24, 5)
    assert math.prod([2] * 24) == MAX_BINS
    dense, dense_sums = collapse(rows, [2] * 24)
    column = torch.zeros(len(rows), 1, dtype=torch.int8)
    sparse, sparse_sums = collapse(torch.cat([rows, column], 1), [2] * 25)
    assert torch.equal(dense, sparse[:, :24])
    assert torch.equal(dense_sums, sparse_sums)


def test_more_rows_than_one_chunk():
    rows = random_rows(codes._CHUNK + 1, [2, 3], 7)
    _, sums = collapse(rows, [2, 3])
    expected = counted(rows)
    assert sums.tolist() == [expected[(a, b)] for a in range(2) for b in range(3)]


@pytest.mark.parametrize("cards", CARDS.values(), ids=CARDS)
def test_keys_are_ordered_as_rows_are(cards):
    rows = random_rows(400, cards, 11, distinct=150)
    keys = row_keys(rows, cards, [0] * len(cards))
    order = sorted(range(400), key=lambda i: rows[i].tolist())
    assert keys[order].tolist() == sorted(keys.tolist())
    assert len(keys.unique()) == len(counted(rows))


def test_keys_up_to_the_bound_stay_positive():
    rows = torch.full((2, 62), 1, dtype=torch.int8)
    rows[0, -1] = 0
    assert row_keys(rows, [2] * 62, [0] * 62).tolist() == [MAX_KEY - 2, MAX_KEY - 1]


@pytest.mark.parametrize("cards", CARDS.values(), ids=CARDS)
def test_locate_finds_the_equal_target(cards):
    rows = random_rows(300, cards, 13, distinct=40)
    targets = torch.cat([rows[:20], random_rows(20, cards, 14), rows[:5]])
    place, group, n_groups = locate(rows, targets, cards)
    by_target = {}
    for target, number in zip(map(tuple, targets.tolist()), group.tolist(), strict=True):
        assert by_target.setdefault(target, number) == number
    assert sorted(by_target.values()) == list(range(n_groups))
    assert place.tolist() == [by_target.get(tuple(row), -1) for row in rows.tolist()]


def test_locate_without_columns_finds_every_row_in_the_one_group():
    rows = torch.empty(4, 0, dtype=torch.int8)
    place, group, n_groups = locate(rows, torch.empty(3, 0, dtype=torch.int64), [])
    assert (place.tolist(), group.tolist(), n_groups) == ([0] * 4, [0] * 3, 1)


def test_locate_without_targets_finds_nothing():
    rows = random_rows(4, [2, 2], 0)
    place, group, n_groups = locate(rows, torch.empty(0, 2, dtype=torch.int64), [2, 2])
    assert (place.tolist(), group.tolist(), n_groups) == ([-1] * 4, [], 0)


@pytest.mark.parametrize("n_columns", [3, 30, 70])
def test_counting_names_its_device(n_columns):
    rows = random_rows(100, [2] * n_columns, 0)
    with torch.device("meta"):
        patterns, sums = collapse(rows, [2] * n_columns)
        _, weighted = collapse(rows, [2] * n_columns, sums.new_ones(100))
        place, _, _ = locate(patterns, rows.long(), [2] * n_columns)
    assert {t.device.type for t in (patterns, sums, weighted, place)} == {"cpu"}


@pytest.mark.cuda
@pytest.mark.parametrize("n_columns", [3, 30, 70])
def test_counting_on_a_device_equals_counting_on_the_cpu(n_columns):
    rows = random_rows(10_000, [2] * n_columns, 0, missing=0.1, distinct=3000)
    here, there = collapse(rows, [2] * n_columns), collapse(rows.cuda(), [2] * n_columns)
    for left, right in zip(here, there, strict=True):
        assert torch.equal(left, right.cpu())
