"""Rank tests: size and power, Pearson's test, pooling, Holm, and the estimate of k."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from helpers import BATCH_SHAPES
from product_cases import as_network, draw_rows, draw_table, edgeless, random_product
from scipy.stats import chi2, chi2_contingency

from pyromix.data.counts import Counts
from pyromix.data.population import population
from pyromix.errors import DataError, SpecError
from pyromix.identify.product.rank import (
    block_pairs,
    estimate_rank,
    holm,
    merge_rare,
    product_rank,
    rank_test,
)


def tables_of_rank(m, n, k, seed, batch_shape=(400,)):
    """Joint tables of two variables within k sources, entries uniform on the simplex."""
    weights, (one, other) = random_product((m, n), k, seed, batch_shape)
    return torch.einsum("...u,...ua,...ub->...ab", weights, one, other)


def rejections(m, n, k, rank, n_rows, seed):
    """Share of 400 samples from tables of rank k in which ``rank`` is rejected at 0.05."""
    sample = draw_table(tables_of_rank(m, n, k, seed).unsqueeze(-1), n_rows, seed).squeeze(-1)
    return float((rank_test(sample, float(n_rows), rank).p_value < 0.05).double().mean())


def statistic_by_loops(table, n_rows, rank):
    """The same statistic written out with matrices of all cells, one table."""
    a, b = table.sum(1), table.sum(0)
    white = table / np.sqrt(np.outer(a, b))
    u, s, vt = np.linalg.svd(white)
    fitted = sum(s[i] * np.outer(u[:, i], vt[i]) for i in range(rank)) * np.sqrt(np.outer(a, b))
    fitted = np.clip(fitted, 0, None)
    p = (fitted / fitted.sum()).ravel()
    scale = np.diag(1 / np.sqrt(np.outer(a, b)).ravel())
    w = scale @ np.kron(u[:, rank:], vt[rank:].T)
    covariance = w.T @ (np.diag(p) - np.outer(p, p)) @ w
    trailing = w.T @ table.ravel()
    return n_rows * trailing @ np.linalg.solve(covariance, trailing)


# 400 repetitions: the standard error of a share of .05 is .011, so .02 to .085 is three of them.
@pytest.mark.parametrize(("m", "n", "k"), [(4, 4, 2), (8, 4, 2), (4, 8, 2), (3, 5, 1)])
def test_size_is_nominal_for_square_and_other_tables(m, n, k):
    """THEORY, E10, N = 1e4; the rule min(m, n) - k on both sides gives .24 for 3 x 5."""
    assert 0.02 <= rejections(m, n, k, k, 10_000, seed=k * 100 + m * 10 + n) <= 0.085


@pytest.mark.parametrize(("m", "n", "k", "n_rows"), [(16, 16, 3, 20_000), (8, 8, 2, 500)])
def test_size_holds_where_cells_are_nearly_empty(m, n, k, n_rows):
    """The bare statistic with the covariance of the data rejects .158 and .347 of these."""
    assert rejections(m, n, k, k, n_rows, seed=5) <= 0.1


@pytest.mark.parametrize(("m", "n", "k"), [(4, 4, 2), (8, 4, 3), (3, 5, 2)])
def test_a_rank_that_is_too_small_is_rejected(m, n, k):
    """Power over seeds 0..9 was .85 to 1."""
    assert rejections(m, n, k, k - 1, 10_000, seed=3) > 0.8


def test_rank_one_is_pearsons_test():
    sample = draw_table(tables_of_rank(3, 5, 2, 0, (20,)).unsqueeze(-1), 1000, 0).squeeze(-1)
    test = rank_test(sample, 1000.0, 1)
    for i, table in enumerate(sample):
        pearson = chi2_contingency((table * 1000).numpy(), correction=False)
        assert int(test.dof[i]) == pearson.dof == 8
        assert float(test.statistic[i]) == pytest.approx(pearson.statistic, rel=1e-9)
        assert float(test.p_value[i]) == pytest.approx(pearson.pvalue, rel=1e-6, abs=1e-300)


def test_states_that_never_occur_take_no_degrees_of_freedom():
    table = torch.zeros(4, 5, dtype=torch.float64)
    table[:3, :4] = tables_of_rank(3, 4, 2, 1, ())
    small, large = rank_test(table[:3, :4], 500.0, 1), rank_test(table, 500.0, 1)
    assert int(large.dof) == int(small.dof) == 6
    assert float(large.statistic) == pytest.approx(float(small.statistic), rel=1e-9)


@pytest.mark.parametrize(("m", "n", "rank"), [(4, 4, 2), (5, 3, 1), (3, 6, 2)])
def test_statistic_is_the_one_written_out(m, n, rank):
    tables = draw_table(tables_of_rank(m, n, rank, 2, (10,)).unsqueeze(-1), 5000, 2).squeeze(-1)
    found = rank_test(tables, 5000.0, rank)
    for table, statistic, dof in zip(tables, found.statistic, found.dof, strict=True):
        expected = statistic_by_loops(table.numpy(), 5000, rank)
        assert float(statistic) == pytest.approx(expected, rel=1e-8)
        assert int(dof) == (m - rank) * (n - rank)


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_batching_commutes_with_looping(batch_shape):
    tables = tables_of_rank(4, 3, 3, 4, batch_shape)
    rows = 1000.0 + torch.rand(batch_shape, dtype=torch.float64)
    test = rank_test(tables, rows, 1)
    assert test.statistic.shape == test.dof.shape == test.p_value.shape == batch_shape
    for i in itertools.product(*map(range, batch_shape)):
        one = rank_test(tables[i], float(rows[i]), 1)
        assert float(test.statistic[i]) == pytest.approx(float(one.statistic), rel=1e-10)


def test_order_of_states_and_of_blocks_does_not_matter():
    table = tables_of_rank(4, 5, 3, 7, ())
    test = rank_test(table, 300.0, 2)
    permuted = rank_test(table[[2, 0, 3, 1]][:, [4, 1, 0, 3, 2]].T.contiguous(), 300.0, 2)
    assert float(permuted.statistic) == pytest.approx(float(test.statistic), rel=1e-8)


def test_strata_add_statistics_and_degrees_of_freedom():
    tables, rows = tables_of_rank(3, 4, 2, 8, (5,)), torch.arange(5, dtype=torch.float64) * 100
    each = rank_test(tables, rows, 1)
    pooled = each.pooled()
    assert int(pooled.dof) == int(each.dof.sum())
    assert float(pooled.statistic) == pytest.approx(float(each.statistic.sum()))
    tail = chi2.sf(float(pooled.statistic), int(pooled.dof))
    assert float(pooled.p_value) == pytest.approx(tail, rel=1e-9, abs=1e-300)


def test_pooled_size_is_nominal():
    """Five strata of unequal size, 400 repetitions; bounds as above."""
    truth = tables_of_rank(4, 3, 2, 9, (400, 5))
    rows = torch.tensor([500, 1000, 2000, 4000, 8000])
    strata = [
        draw_table(truth[:, i].unsqueeze(-1), int(n), i).squeeze(-1) for i, n in enumerate(rows)
    ]
    test = rank_test(torch.stack(strata, 1), rows.double().expand(400, 5), 2).pooled()
    assert 0.02 <= float((test.p_value < 0.05).double().mean()) <= 0.085


def test_a_stratum_without_rows_says_nothing():
    tables = torch.stack([tables_of_rank(3, 3, 2, 1, ()), torch.zeros(3, 3).double()])
    test = rank_test(tables, torch.tensor([100.0, 0.0], dtype=torch.float64), 1)
    assert test.dof.tolist() == [4, 0]
    assert float(test.p_value[1]) == 1
    assert float(test.pooled().statistic) == pytest.approx(float(test.statistic[0]))


def test_a_rank_that_nothing_restricts_is_never_rejected():
    test = rank_test(tables_of_rank(3, 5, 5, 0, (2,)), 1e6, 3)
    assert test.dof.tolist() == [0, 0]
    assert test.p_value.tolist() == [1.0, 1.0]


def test_exact_tables_are_judged_without_noise():
    table = tables_of_rank(5, 4, 3, 0, ())
    assert [float(rank_test(table, math.inf, r).p_value) for r in (1, 2, 3)] == [0.0, 0.0, 1.0]


def test_holm_multiplies_by_the_number_of_tests_left():
    """By hand: .01 x 4, .02 x 3, max(.03 x 2, .06), .5 x 1."""
    adjusted = holm(torch.tensor([0.5, 0.01, 0.03, 0.02], dtype=torch.float64))
    assert adjusted.tolist() == pytest.approx([0.5, 0.04, 0.06, 0.06])
    assert holm(torch.tensor([[0.9, 0.8]], dtype=torch.float64)).tolist() == [[1.0, 1.0]]


def test_estimate_stops_at_the_first_rank_not_rejected_and_names_its_limit():
    table = tables_of_rank(5, 4, 3, 0, (1,))
    exact = torch.full((1,), math.inf, dtype=torch.float64)
    found = estimate_rank([(table, exact), (table[:, :4], exact)])
    assert (found.rank, found.at_limit, found.limit) == (3, False, 4)
    assert found.p_values == (0.0, 0.0, 1.0)
    found = estimate_rank([(tables_of_rank(3, 4, 4, 0, (1,)), exact)])
    assert (found.rank, found.at_limit, found.limit) == (3, True, 3)


@pytest.mark.parametrize(("n", "k", "n_rows"), [(9, 1, 2000), (9, 2, 20_000), (30, 3, 5000)])
def test_number_of_sources_of_a_sample(n, k, n_rows):
    """Of 40 seeds 36 to 40 gave k, the others mostly one more (level .05)."""
    right = 0
    for seed in range(8):
        rows = draw_rows(random_product((2,) * n, k, seed), n_rows, seed)
        right += product_rank(Counts.from_codes(edgeless((2,) * n, 1), rows)).rank == k
    assert right >= 6


def test_number_of_sources_of_a_population_given_an_assignment():
    moments = population(as_network(random_product((2, 3, 2, 2, 2, 2), 3, 4)))
    assert product_rank(moments).rank == 3
    assert product_rank(moments, given=(1,)).rank == 3
    one = population(as_network(random_product((2, 3, 2), 1, 4)))
    assert product_rank(one, variables=(0, 2)).rank == 1


def test_blocks_are_disjoint_and_as_large_as_needed():
    for one, other in block_pairs((2, 3, 2, 2, 4, 2, 2), 4, 10):
        assert not set(one) & set(other)
        assert min(math.prod((2, 3, 2, 2, 4, 2, 2)[i] for i in b) for b in (one, other)) > 4


def test_merging_rare_states_keeps_the_mass_and_never_raises_the_rank():
    table = tables_of_rank(8, 8, 2, 3, (4,))
    merged = merge_rare(table, torch.full((4,), 50.0, dtype=torch.float64))
    assert merged.shape == (4, 9, 9)
    assert float(merged[:, -1].sum()) > 0
    torch.testing.assert_close(merged.sum((1, 2)), table.sum((1, 2)))
    assert int(torch.linalg.matrix_rank(merged, rtol=1e-12).max()) <= 2
    exact = merge_rare(table, torch.full((4,), math.inf, dtype=torch.float64))
    assert torch.equal(exact[:, :8, :8], table)


@pytest.mark.parametrize("rank", [0, -1, True])
def test_a_rank_that_is_none_is_refused(rank):
    with pytest.raises(SpecError, match="integer >= 1"):
        rank_test(tables_of_rank(3, 3, 1, 0, ()), 10.0, rank)


def test_tables_that_are_none_are_refused():
    with pytest.raises(DataError, match="negative"):
        rank_test(-tables_of_rank(3, 3, 1, 0, ()), 10.0, 1)
    with pytest.raises(DataError, match="merge states"):
        rank_test(torch.full((200, 200), 1 / 40_000, dtype=torch.float64), 10.0, 1)
    with pytest.raises(DataError, match="found none"):
        estimate_rank([])
    with pytest.raises(DataError, match="two blocks"):
        product_rank(population(as_network(random_product((2, 2), 1, 0))), variables=(0,))


def test_no_tensor_is_made_on_the_default_device():
    moments = population(as_network(random_product((2, 2, 2, 2), 2, 0)))
    with torch.device("meta"):
        assert product_rank(moments, given=(3,)).rank == 2


def test_a_stratum_with_a_single_state_does_not_hide_what_another_shows():
    """Ranks up to what the fullest stratum allows can be contradicted."""
    full = torch.tensor([[0.3, 0.02, 0.01], [0.02, 0.3, 0.01], [0.01, 0.03, 0.3]])
    single = torch.zeros(3, 3)
    single[0] = torch.tensor([0.2, 0.5, 0.3])
    tables = torch.stack([single, full / full.sum()]).to(torch.float64)
    rows = torch.tensor([500.0, 5000.0], dtype=torch.float64)
    found = estimate_rank([(tables, rows)])
    assert (found.rank, found.at_limit) == (3, True)


def test_states_that_are_left_after_merging_have_a_row_expected_in_every_cell_they_share():
    shares = torch.tensor([0.005, 0.01, 0.085, 0.4, 0.5], dtype=torch.float64)
    table = shares[:, None] * shares[None]
    merged = merge_rare(table, torch.tensor(1000.0, dtype=torch.float64))
    left = merged[:-1, :-1]
    assert 1000 * float(left[left > 0].min()) >= 1
    assert int((left > 0).sum()) == 9
