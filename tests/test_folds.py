"""Counts dealt out to folds: nothing lost, nothing twice, rows at random."""

from __future__ import annotations

import pytest
import torch

from pyromix.data.counts import Counts
from pyromix.data.folds import folds
from pyromix.errors import DataError
from pyromix.model.spec import MixtureSpec

SPEC = MixtureSpec.from_parents({"A": (0, 1), "B": (0, 1, 2)}, {}, 2)


def counted(weights):
    rows = torch.tensor([[a, b] for a in range(2) for b in range(3)])
    return Counts.from_codes(SPEC, rows, torch.tensor(weights, dtype=torch.float64))


def mass(counts, rows):
    """Weight of each given row, by a plain search."""
    found = {
        tuple(r): w for r, w in zip(counts.rows.tolist(), counts.weights.tolist(), strict=True)
    }
    return torch.tensor([found.get(tuple(r), 0.0) for r in rows.tolist()], dtype=torch.float64)


@pytest.mark.parametrize("weights", [[5, 3, 40, 1, 7, 2], [0.5, 3.25, 40.125, 1.5, 7.0, 2.75]])
def test_folds_add_up_to_the_table(weights):
    counts = counted(weights)
    parts = folds(counts, 4, 0)
    for rest, own in parts:
        torch.testing.assert_close(
            mass(rest, counts.rows) + mass(own, counts.rows), counts.weights, rtol=0, atol=1e-12
        )
    total = sum(mass(own, counts.rows) for _, own in parts)
    torch.testing.assert_close(total, counts.weights, rtol=0, atol=1e-12)


def test_whole_weights_stay_whole_and_folds_are_of_about_equal_size():
    counts = counted([3000, 2000, 1000, 500, 2500, 1000])
    for _, own in folds(counts, 5, 3):
        assert bool((own.weights == own.weights.round()).all())
        # Binomial(10000, 1/5) has standard deviation 40.
        assert abs(own.n_rows - 2000) < 160


def test_same_seed_same_folds():
    one, two, other = (folds(counted([9] * 6), 3, seed)[0][1] for seed in (0, 0, 1))
    assert torch.equal(one.weights, two.weights)
    assert not (len(one.weights) == len(other.weights) and torch.equal(one.weights, other.weights))


@pytest.mark.parametrize("n", [1, 0, True])
def test_fewer_than_two_folds_are_refused(n):
    with pytest.raises(DataError, match="n_folds"):
        folds(counted([5] * 6), n)


def test_fewer_rows_than_folds_are_refused():
    with pytest.raises(DataError, match="take fewer folds"):
        folds(counted([1, 1, 0, 0, 0, 0]), 5)
