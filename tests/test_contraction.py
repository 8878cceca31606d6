"""Plans of contractions, and both arithmetics against einsum and against each other."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyromix.errors import ContractionSizeError
from pyromix.exact.contraction import (
    BATCH,
    Factor,
    align,
    contract,
    elimination_order,
    elimination_plan,
    log_contract,
)
from pyromix.model.spec import SOURCE


def random_factors(seed: int, n_labels: int, n_factors: int) -> list[Factor]:
    """Tables over up to three labels each, some of them with the source; zeros among the cells."""
    generator = torch.Generator().manual_seed(seed)
    lengths = {label: 2 + (label + seed) % 3 for label in range(SOURCE, n_labels)}
    factors = []
    for i in range(n_factors):
        count = 1 + int(torch.randint(3, (1,), generator=generator))
        order = torch.randperm(n_labels, generator=generator).tolist()
        scope = (*([SOURCE] if i % 2 else []), *order[:count])
        table = torch.rand([lengths[a] for a in scope], generator=generator, dtype=torch.float64)
        factors.append(Factor(scope, table * (table > 0.2)))
    return factors


def by_einsum(factors: list[Factor], kept: tuple[int, ...]) -> torch.Tensor:
    """The whole sum in one call; labels of torch's sublists start at zero."""
    arguments = [x for f in factors for x in (f.table, [a + 1 for a in f.scope])]
    return torch.einsum(*arguments, [a + 1 for a in kept])


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 8), st.integers(1, 8), st.integers(0, 3))
def test_a_contraction_is_the_sum_of_products_in_both_arithmetics(seed, n, n_factors, n_kept):
    factors = random_factors(seed, n, n_factors)
    kept = tuple(sorted({a for f in factors for a in f.scope}, key=lambda a: (7 * a) % 5))[:n_kept]
    expected = by_einsum(factors, kept)
    scale = float(expected.abs().max()) + 1e-300
    found = contract(factors, kept, name=str)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13 * scale)
    logs = log_contract(factors, kept, name=str)
    torch.testing.assert_close(logs.exp(), expected, rtol=0, atol=1e-13 * scale)
    assert torch.equal(logs == -torch.inf, expected == 0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 10), st.integers(1, 10), st.booleans())
def test_an_order_names_each_label_once_and_the_source_last(seed, n, n_factors, weighted):
    factors = random_factors(seed, n, n_factors)
    sizes = {a: s for f in factors for a, s in zip(f.scope, f.table.shape, strict=True)}
    kept = tuple(sizes)[:1]
    order = elimination_order([f.scope for f in factors], sizes, kept, weighted=weighted)
    assert sorted(order) == sorted(sizes.keys() - set(kept))
    assert SOURCE not in order[:-1]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 12), st.integers(3, 14), st.booleans())
def test_the_next_label_lacks_the_fewest_edges_among_its_neighbours(seed, n, n_factors, weighted):
    factors = random_factors(seed, n, n_factors)
    sizes = {a: s for f in factors for a, s in zip(f.scope, f.table.shape, strict=True)}
    kept = tuple(a for a in sizes if a >= 0)[:2]
    edges = {frozenset(pair) for pair in [kept] if len(pair) == 2}
    for f in factors:
        edges |= {frozenset((a, b)) for a in f.scope for b in f.scope if 0 <= a < b}

    def missing(v: int) -> list[frozenset[int]]:
        near = [a for a in sizes if frozenset((a, v)) in edges]
        pairs = (frozenset((a, b)) for a in near for b in near if a < b)
        return [pair for pair in pairs if pair not in edges]

    def fill(v: int) -> float:
        weights = (math.prod(math.log(sizes[a]) for a in pair) for pair in missing(v))
        return sum(weights) if weighted else len(missing(v))

    order = elimination_order([f.scope for f in factors], sizes, kept, weighted=weighted)
    remaining = {a for a in sizes if a >= 0 and a not in kept}
    for v in (a for a in order if a >= 0):
        assert fill(v) <= min(map(fill, remaining)) + 1e-12
        edges |= set(missing(v))
        edges = {pair for pair in edges if v not in pair}
        remaining.discard(v)


def test_a_tree_is_summed_from_its_leaves():
    edges = [(0, 1), (0, 2), (1, 3), (1, 4), (2, 5), (2, 6)]
    plan = elimination_plan(tuple(edges), tuple((v, 2) for v in range(7)), (0,))
    assert max(len(step.union) for step in plan.steps) == 2


def test_a_long_chain_needs_no_table_over_more_than_three_vertices():
    # Two factors of a chain share one vertex; more labels than einsum has letters in all.
    chain = tuple((v, v + 1) for v in range(300))
    plan = elimination_plan(chain, tuple((v, 3) for v in range(301)), (0, 300))
    assert max(len(step.union) for step in plan.steps) == 3


def test_a_cycle_is_summed_with_three_vertices_at_a_time():
    cycle = tuple((v, (v + 1) % 50) for v in range(50))
    plan = elimination_plan(cycle, tuple((v, 2) for v in range(50)), ())
    assert max(len(step.union) for step in plan.steps) == 3


def test_a_plan_knows_its_largest_tables():
    scopes = ((0, 1, 2), (2, 3, 4), (4, 5, 0))
    lengths = {0: 4, 1: 2, 2: 5, 3: 2, 4: 6, 5: 3}
    plan = elimination_plan(scopes, tuple(lengths.items()), ())
    unions = [math.prod(lengths[a] for a in step.union) for step in plan.steps]
    results = [math.prod(lengths[a] for a in step.scope) for step in plan.steps]
    assert math.prod(lengths[a] for a in plan.widest_union) == max(unions)
    assert math.prod(lengths[a] for a in plan.widest_scope) == max(results)


def test_where_tables_are_large_the_better_of_two_orders_is_taken():
    # A grid with rows of many states and rows of few: counting edges does not see it.
    sizes = {(i, j): 2 + 20 * (i % 2) for i in range(6) for j in range(6)}
    number = {cell: v for v, cell in enumerate(sizes)}
    pairs = [((i, j), (i + 1, j)) for i in range(5) for j in range(6)]
    pairs += [((i, j), (i, j + 1)) for i in range(6) for j in range(5)]
    scopes = tuple((number[a], number[b]) for a, b in pairs)
    lengths = {number[cell]: size for cell, size in sizes.items()}

    def largest(order: list[int]) -> int:
        around: dict[int, set[int]] = {v: set() for v in lengths}
        for a, b in scopes:
            around[a].add(b)
            around[b].add(a)
        cliques = []
        for v in order:
            near = around.pop(v)
            cliques.append(lengths[v] * math.prod(lengths[a] for a in near))
            for a in near:
                around[a] = (around[a] | near) - {a, v}
        return max(cliques)

    candidates = [largest(elimination_order(scopes, lengths, weighted=w)) for w in (False, True)]
    plan = elimination_plan(scopes, tuple(lengths.items()), ())
    assert candidates[0] > 2**20  # without weights
    assert math.prod(lengths[a] for a in plan.widest_union) == min(candidates) < max(candidates)


def test_a_table_of_exactly_the_limit_passes_and_one_byte_less_is_refused():
    factors = [
        Factor((0, 1), torch.ones(4, 8, dtype=torch.float64)),
        Factor((1, 2), torch.ones(8, 16, dtype=torch.float64)),
    ]
    limit = 4 * 16 * 8
    assert contract(factors, (0, 2), name=str, memory_limit=limit).shape == (4, 16)
    with pytest.raises(ContractionSizeError) as refused:
        contract(factors, (0, 2), name=str, memory_limit=limit - 1)
    error = refused.value
    assert (error.clique, error.n_bytes, error.limit) == (("2", "0"), limit, limit - 1)
    # Logarithms write the product out before they sum.
    union = 4 * 8 * 16 * 8
    assert log_contract(factors, (0, 2), name=str, memory_limit=union).shape == (4, 16)
    with pytest.raises(ContractionSizeError, match=r"0 \(4\)"):
        log_contract(factors, (0, 2), name=str, memory_limit=union - 1)


def test_a_table_that_no_memory_holds_is_refused_before_it_is_allocated():
    factors = [Factor((v,), torch.full((2,), 0.5, dtype=torch.float64)) for v in range(70)]
    for arithmetic in (contract, log_contract):
        with pytest.raises(ContractionSizeError, match="70 labels") as refused:
            arithmetic(factors, tuple(range(70)), name=lambda a: f"V{a}")
        assert refused.value.n_bytes == 8 * 2**70
        assert set(refused.value.clique) == {f"V{v}" for v in range(70)}


def test_a_kept_label_that_no_table_has_is_an_axis_of_length_one():
    factor = Factor((BATCH, 0), torch.rand(2, 3, dtype=torch.float64))
    assert contract([factor], (BATCH, -2, 0), name=str).shape == (2, 1, 3)


def test_aligning_reorders_the_axes():
    table = torch.rand(2, 3, 4, dtype=torch.float64)
    assert torch.equal(align(table, (5, 6, 7), (7, 9, 5, 6)), table.permute(2, 0, 1).unsqueeze(1))


def test_logarithms_hold_what_numbers_do_not():
    tiny = torch.tensor([[1e-300, 1.0], [1.0, 1e-300]], dtype=torch.float64)
    factors = [Factor((v, v + 1), tiny) for v in range(2)]
    first = Factor((0,), torch.tensor([1.0, 0.0], dtype=torch.float64))
    found = log_contract([first, *factors], (2,), name=str)
    # 0 -> 0 -> 0 costs 1e-600, 0 -> 1 -> 0 nothing; the two ways to 1 cost 1e-300 each.
    assert found.tolist() == pytest.approx([0.0, math.log(2e-300)], abs=1e-12)


def test_the_plan_of_a_structure_is_found_once():
    elimination_plan.cache_clear()
    for seed in range(3):
        contract(random_factors(0, 5, 5)[:3], (0,), name=str)
        assert elimination_plan.cache_info().misses == 1, seed


def test_the_derivative_of_a_logarithmic_sum_is_finite_where_a_table_has_zeros():
    table = torch.tensor([[0.0, 0.5], [0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    other = torch.tensor([0.25, 0.75], dtype=torch.float64)
    found = log_contract([Factor((0, 1), table), Factor((1,), other)], (0,), name=str)
    assert found.tolist() == pytest.approx([math.log(0.375), -math.inf])
    found.exp().sum().backward()
    assert table.grad is not None
    assert table.grad.tolist() == [[0.0, 0.75], [0.0, 0.0]]  # zero in entries that are zero
