"""Counts dealt out to folds: nothing lost, nothing twice, rows at random."""

from __future__ import annotations

import math

import pytest
import torch

from pyromix.data.counts import Counts
from pyromix.data.folds import compared, folds
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


def test_a_weight_that_is_no_whole_number_is_dealt_out_in_the_nearest_number_of_parts():
    counts = counted([2.6, 0.25, 40.0, 9.0, 9.0, 9.0])
    found = set()
    for seed in range(20):
        for _, own in folds(counts, 2, seed):
            found |= {round(float(w), 9) for w in mass(own, counts.rows)[:1]}
            assert float(mass(own, counts.rows)[1]) in (0.0, 0.25)
    assert found == {round(2.6 * part / 3, 9) for part in range(4)}


def test_weights_next_to_whole_numbers_are_dealt_out_as_these():
    weights = [5.0, 1.0, 40.0, 9.0, 9.0, 9.0]
    for off in (1e-6, -1e-6):
        near_by = folds(counted([w + off for w in weights]), 3)
        for (_, whole), (_, near) in zip(folds(counted(weights), 3), near_by, strict=True):
            torch.testing.assert_close(near.weights, whole.weights, rtol=0, atol=1e-5)


# -- held-out scores -----------------------------------------------------------------------------


def by_loop(scores, weights):
    """Means, and standard errors of differences from the best, row by row."""
    repeated = [r for r, n in enumerate(weights) for _ in range(n)]
    means = [sum(one[r] for r in repeated) / len(repeated) for one in scores]
    best = scores[max(range(len(scores)), key=means.__getitem__)]
    errors = []
    for one in scores:
        gaps = [one[r] - best[r] for r in repeated]
        mean = sum(gaps) / len(gaps)
        variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
        errors.append(math.sqrt(variance / len(gaps)))
    return means, errors


def test_means_and_standard_errors_are_those_of_the_rows_one_by_one():
    generator = torch.Generator().manual_seed(2)
    scores = torch.randn(4, 9, generator=generator, dtype=torch.float64)
    weights = [3, 1, 7, 2, 1, 5, 4, 1, 6]
    means, errors = compared(scores, torch.tensor(weights, dtype=torch.float64))
    expected = by_loop(scores.tolist(), weights)
    assert means.tolist() == pytest.approx(expected[0], abs=1e-12)
    assert errors.tolist() == pytest.approx(expected[1], abs=1e-12)


def test_the_standard_error_is_the_spread_of_the_difference_over_tables():
    """2000 tables of 400 rows: the mean difference varies as much as is said, within 5%."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2000, 400, generator=generator, dtype=torch.float64)
    common = torch.randn(2000, 400, generator=generator, dtype=torch.float64)
    ones = torch.ones(400, dtype=torch.float64)
    gaps, said = [], []
    for own, shared in zip(noise, common, strict=True):
        means, errors = compared(torch.stack([5 * shared, 5 * shared + 0.3 * own - 0.2]), ones)
        gaps.append(float(means[0] - means[1]))
        said.append(float(errors[1]))
    spread = torch.tensor(gaps, dtype=torch.float64).std()
    assert float(torch.tensor(said).mean() / spread) == pytest.approx(1, abs=0.05)
