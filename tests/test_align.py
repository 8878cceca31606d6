"""Alignment: permuted runs are put in one order, contradictions are seen, doubt aligns nothing."""

from __future__ import annotations

import itertools

import pytest
import torch

from pyromix.identify.align import DOUBTFUL, align
from pyromix.model.match import best_assignments


def tables_of(n_sources, n_assignments, card, seed):
    """One within-source table per assignment, rows of sources well apart."""
    generator = torch.Generator().manual_seed(seed)
    levels = (torch.arange(n_sources, dtype=torch.float64) + 0.5) / n_sources
    rest = torch.rand(n_assignments, n_sources, card - 1, generator=generator, dtype=torch.float64)
    order = torch.rand(n_assignments, n_sources, generator=generator).argsort(-1)
    first = levels[order].unsqueeze(-1)
    return torch.cat([first, (1 - first) * rest / rest.sum(-1, keepdim=True)], -1)


def chain_of_runs(n_sources, n_runs, seed, cards=(2, 3)):
    """Run a agrees with run a + 1 on one of two variables, in turns; labels are permuted.

    Returns keys, tables and the permutation of every run.
    """
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.arange(n_runs)
    keys = torch.stack([numbers // 2, (numbers + 1) // 2], 1)
    truth = [tables_of(n_sources, n_runs, card, seed + i) for i, card in enumerate(cards)]
    orders = torch.rand(n_runs, n_sources, generator=generator).argsort(-1)
    tables = []
    for i, table in enumerate(truth):
        mine = table[keys[:, i]]
        tables.append(mine.gather(1, orders.unsqueeze(-1).expand_as(mine)))
    return keys, tables, orders


def in_one_order(alignment, orders):
    """Whether source i of every run is one and the same true source."""
    common = orders.gather(1, alignment.orders)
    return bool((common == common[:1]).all())


@pytest.mark.parametrize("n_sources", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_permuted_runs_are_put_in_one_order(n_sources, seed):
    keys, tables, orders = chain_of_runs(n_sources, 12, seed)
    rows = torch.full((12, n_sources), 1e4, dtype=torch.float64)
    alignment = align(keys, tables, rows, torch.ones(12, dtype=torch.bool))
    assert bool(alignment.aligned.all())
    assert in_one_order(alignment, orders)
    assert sum(link.in_tree for link in alignment.links) == 11
    assert alignment.inconsistent == ()


def test_a_run_that_is_not_solved_aligns_nothing():
    keys, tables, orders = chain_of_runs(3, 12, 0)
    rows = torch.full((12, 3), 1e4, dtype=torch.float64)
    usable = torch.arange(12) != 4
    alignment = align(keys, tables, rows, usable)
    assert alignment.aligned.tolist() == [a > 4 for a in range(12)]  # the larger part
    part = alignment.orders[5:]
    common = orders[5:].gather(1, part)
    assert bool((common == common[:1]).all())


def test_a_variable_that_does_not_separate_sources_aligns_nothing():
    keys, tables, _ = chain_of_runs(2, 2, 0, cards=(2,) * 2)
    keys = torch.tensor([[0, 1], [0, 2]])
    tables[0][:] = 0.5
    rows = torch.full((2, 2), 1e6, dtype=torch.float64)
    alignment = align(keys, tables, rows, torch.ones(2, dtype=torch.bool))
    assert int(alignment.aligned.sum()) == 1


def test_doubt_is_counted_in_squared_standard_errors():
    """Two binary tables .5 + d, .5 - d from n rows each: best 0, other 2 (2d)^2 / (2 / (4 n))."""
    d, n = 0.1, 100.0
    first = torch.tensor([[0.5 + d, 0.5 - d], [0.5 - d, 0.5 + d]], dtype=torch.float64)
    tables = [torch.stack([first, first.flip(0)])]
    keys = torch.zeros(2, 1, dtype=torch.int64)
    usable = torch.ones(2, dtype=torch.bool)
    alignment = align(keys, tables, torch.full((2, 2), n, dtype=torch.float64), usable)
    [link] = alignment.links
    assert link.order == (1, 0)
    assert link.confidence == pytest.approx(2 * (2 * d) ** 2 / (2 * 0.25 / n), rel=0.05)
    few = torch.full((2, 2), n * DOUBTFUL / link.confidence / 2, dtype=torch.float64)
    assert align(keys, tables, few, usable).links == ()


def test_all_shared_variables_count_together():
    """Neither variable alone separates three sources; both together do."""
    one = torch.tensor([[0.2, 0.8], [0.2, 0.8], [0.7, 0.3]], dtype=torch.float64)
    two = torch.tensor([[0.2, 0.8], [0.7, 0.3], [0.7, 0.3]], dtype=torch.float64)
    order = torch.tensor([2, 0, 1])
    tables = [torch.stack([one, one[order]]), torch.stack([two, two[order]])]
    rows = torch.full((2, 3), 1e4, dtype=torch.float64)
    keys, usable = torch.zeros(2, 2, dtype=torch.int64), torch.ones(2, dtype=torch.bool)
    [link] = align(keys, tables, rows, usable).links
    assert link.variables == (0, 1)
    assert order[list(link.order)].tolist() == [0, 1, 2]
    for i in range(2):
        single = align(keys[:, :1], tables[i : i + 1], rows, usable)
        assert single.links == ()
        assert int(single.aligned.sum()) == 1


def test_the_tree_takes_the_confident_links_and_the_others_check_it():
    """A triangle of runs, one link of which is weak and wrong."""
    apart = torch.tensor([[0.1, 0.9], [0.9, 0.1]], dtype=torch.float64)
    near = torch.tensor([[0.45, 0.55], [0.55, 0.45]], dtype=torch.float64)
    keys = torch.tensor([[0, -1, 0], [0, 0, -1], [-1, 0, 0]])
    tables = [
        torch.stack([apart, apart, apart]),
        torch.stack([apart, apart, apart]),
        torch.stack([near, near, near.flip(0)]),
    ]
    rows = torch.full((3, 2), 1e3, dtype=torch.float64)
    alignment = align(keys, tables, rows, torch.ones(3, dtype=torch.bool))
    assert [(link.first, link.second) for link in alignment.links if link.in_tree] == [
        (0, 1),
        (1, 2),
    ]
    assert alignment.orders.tolist() == [[0, 1]] * 3
    [wrong] = alignment.inconsistent
    assert (wrong.first, wrong.second, wrong.variables) == (0, 2, (2,))
    assert wrong.confidence < min(link.confidence for link in alignment.links if link.in_tree)


def test_permuting_the_sources_of_a_run_permutes_its_order_alone():
    keys, tables, _ = chain_of_runs(3, 8, 3)
    rows = torch.full((8, 3), 1e4, dtype=torch.float64)
    usable = torch.ones(8, dtype=torch.bool)
    before = align(keys, tables, rows, usable)
    turn = torch.tensor([1, 2, 0])
    last = int((before.orders != before.orders[0]).any(1).nonzero()[-1])
    turned = [t.clone() for t in tables]
    for table in turned:
        table[last] = table[last][turn]
    after = align(keys, turned, rows, usable)
    assert turn[after.orders[last]].tolist() == before.orders[last].tolist()
    others = torch.arange(8) != last
    assert after.orders[others].tolist() == before.orders[others].tolist()


@pytest.mark.parametrize("n_sources", [1, 2, 3, 4])
def test_best_order_and_margin_are_those_of_all_permutations(n_sources):
    torch.manual_seed(n_sources)
    costs = torch.rand(20, n_sources, n_sources, dtype=torch.float64)
    orders, best, runner_up = best_assignments(costs, second=True)
    margins = runner_up - best
    for cost, order, margin in zip(costs, orders.tolist(), margins.tolist(), strict=True):
        sums = sorted(
            (sum(float(cost[i, j]) for i, j in enumerate(p)), p)
            for p in itertools.permutations(range(n_sources))
        )
        assert tuple(order) == sums[0][1]
        second = sums[1][0] - sums[0][0] if n_sources > 1 else float("inf")
        assert margin == pytest.approx(second, abs=1e-12)
