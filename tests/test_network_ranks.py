"""Blocks that a network d-separates given the source, and what their ranks say of k."""

from __future__ import annotations

import math

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from network_cases import bundled, chain, complete, numbered, random_network, rows_of, separated

import pyromix as px
from pyromix.identify.network.ranks import (
    Blocks,
    block_tables,
    block_tests,
    network_rank,
    separated_blocks,
)


def graph_with_source(spec):
    """The DAG with U as vertex -1."""
    graph = nx.DiGraph((p, v) for v, parents in enumerate(spec.parents) for p in parents)
    graph.add_edges_from((-1, v) for v in range(spec.n_variables) if v not in spec.uninfluenced)
    return graph


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 9), st.integers(0, 10_000))
def test_blocks_are_d_separated_given_the_source_and_their_conditioning_set(n, seed):
    spec = random_network(n, 2, seed)
    graph = graph_with_source(spec)
    for pair in separated_blocks(spec, 4, 6, seed):
        assert pair.one
        assert pair.other
        assert separated(graph, pair.one, pair.other, (-1, *pair.given))


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_exact_tables_of_blocks_have_the_rank_of_the_number_of_sources(k, seed):
    truth = px.random_mixture(random_network(9, k, seed), seed, separation=0.1)
    population = px.population(truth)
    for pair in separated_blocks(truth.spec, 5, 4, seed):
        tables, rows = block_tables(population, pair)
        values = torch.linalg.svdvals(tables)
        assert len(rows) == len(tables) == math.prod(truth.spec.cards[z] for z in pair.given)
        assert bool((values[:, k:] < 1e-12 * values[:, :1]).all())
        if values.shape[1] > k:
            assert bool((values[:, k - 1] > 1e-9 * values[:, 0]).any())


def test_a_fully_connected_graph_separates_nothing():
    spec = numbered(5, complete(5))
    truth = px.random_mixture(spec, 0)
    # Given all but two neighbours... every two vertices are adjacent: no blocks, no estimate.
    assert separated_blocks(spec, 4, 8) == []
    assert network_rank(rows_of(truth, 1000)) == ()


# Seeds 0..9 each: 40 of 40 right; the level of the family is .05, so one miss in four would be odd.
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_the_rank_of_a_network_is_its_number_of_sources(k):
    truth = px.random_mixture(random_network(15, k, 3), 3, separation=0.15)
    (found,) = network_rank(rows_of(truth, 20_000), random_state=0)
    assert found.rank == k


def test_an_edge_that_the_graph_lacks_shows_as_a_rank_too_many():
    """A chain's data under a graph without edges: blocks are dependent within each source."""
    true_chain = numbered(6, chain(6), card=3)
    truth = px.random_mixture(true_chain, 1, separation=0.2)
    counts = rows_of(truth, 20_000)
    honest = [t.p_value for t in block_tests(counts, separated_blocks(true_chain, 4, 4), 2)]
    pair = Blocks((0, 2), (1, 3), ())
    (wrong,) = block_tests(counts, [pair], 2)
    assert min(float(p) for p in honest) > 0.01
    assert float(wrong.p_value) < 1e-6


def test_two_sources_of_a_published_network_are_counted_by_select():
    truth = px.random_mixture(bundled("sachs", 2), 0, separation=0.2)
    found = px.select_n_sources(
        truth.spec, rows_of(truth, 10_000), [1, 2, 3], n_init=1, n_folds=2, random_state=0
    )
    assert found.choices["rank"] == found.best == 2
    assert found.candidates[0].rank_p_value < 1e-6
    assert found.candidates[1].rank_p_value > 0.05


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_of_blocks_that_show_as_much_those_conditioned_on_least_come_first(seed):
    """These graphs separate some blocks without conditioning, and more than eight with it."""
    blocks = separated_blocks(random_network(7, 1, seed), 1, 8, seed)
    sizes = [len(b.given) for b in blocks]
    assert sizes[0] == 0
    assert sizes == sorted(sizes)
