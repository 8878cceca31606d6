"""The factors of the truncated factorisation: their product is the oracle's."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from helpers import Oracle, random_spec, structures
from hypothesis import given, settings
from hypothesis import strategies as st

from pyromix.errors import PositivityError
from pyromix.exact.contraction import BATCH, SCENARIO, Factor
from pyromix.exact.mutilated import (
    at_states,
    fixed_states,
    label_name,
    network_factors,
    positivity_error,
    relevant_vertices,
)
from pyromix.model.query import DoValue
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import SOURCE, MixtureSpec

# A -> B -> C, and U above B alone.
SPEC = MixtureSpec.from_parents(
    {"A": "ab", "B": "abc", "C": "ab"}, {"B": ["A"], "C": ["B"]}, 3, uninfluenced=["A", "C"]
)


@settings(max_examples=60, deadline=None)
@given(structures(3, 4), st.integers(0, 2**31))
def test_the_product_of_the_factors_is_the_truncated_factorisation(structure, seed):
    spec = random_spec(**structure)
    mixture, oracle = random_mixture(spec, seed), Oracle(random_mixture(spec, seed))
    first, second, third = (torch.tensor([v + seed for v in range(3)]) % spec.n_variables).tolist()
    soft = torch.full((spec.cards[first],), 1 / spec.cards[first], dtype=torch.float64)
    do: dict[int, DoValue] = {first: soft, second: 1}
    evidence = {} if third in do else {third: 0}
    factors = network_factors(mixture, do, evidence, range(SOURCE, spec.n_variables))
    plain = {first: soft.tolist(), second: 1} if first != second else {second: 1}
    fixed = {**evidence, second: 1}
    for u, x in oracle.worlds():
        world = {BATCH: 0, SOURCE: u, **dict(enumerate(x))}
        if any(world[v] != s for v, s in fixed.items()):
            continue
        product = math.prod(float(f.table[tuple(world[a] for a in f.scope)]) for f in factors)
        assert product == pytest.approx(oracle.prob(u, x, plain), rel=1e-13, abs=1e-300)


def test_tables_of_vertices_without_an_edge_from_the_source_do_not_have_it():
    mixture = random_mixture(SPEC, 0, batch_shape=(2, 2))
    scopes = [f.scope for f in network_factors(mixture, {}, {}, (SOURCE, 0, 1, 2))]
    assert scopes == [(BATCH, SOURCE), (BATCH, 0), (BATCH, SOURCE, 0, 1), (BATCH, 1, 2)]
    assert network_factors(mixture, {}, {}, (0,))[0].table.shape == (4, 2)


def test_settings_take_the_place_of_tables():
    mixture = random_mixture(SPEC, 0)
    soft = torch.tensor([0.2, 0.8], dtype=torch.float64)
    rows = torch.eye(3, dtype=torch.float64)[:2]
    soft_a, listed_b, table_c = network_factors(mixture, {0: soft, 1: rows}, {}, (0, 1, 2))
    assert soft_a.scope == (0,)
    assert torch.equal(soft_a.table, soft)
    assert listed_b.scope == (SCENARIO, 1)
    assert torch.equal(listed_b.table, rows)
    assert table_c.scope == (BATCH, 1, 2)
    (only_c,) = network_factors(mixture, {1: 2}, {}, (1, 2))
    assert only_c.scope == (BATCH, 2)
    assert torch.equal(only_c.table[0], mixture.cpts[2][0, 2])


def test_the_source_is_relevant_where_a_relevant_vertex_has_an_edge_from_it():
    assert relevant_vertices(SPEC, (), [0]) == (0,)
    assert relevant_vertices(SPEC, (), [2]) == (SOURCE, 0, 1, 2)
    assert relevant_vertices(SPEC, [1], [2]) == (1, 2)
    assert relevant_vertices(SPEC, [1], [2, SOURCE]) == (SOURCE, 1, 2)
    assert relevant_vertices(SPEC, (), []) == ()


def test_states_come_from_evidence_and_from_hard_settings():
    soft = torch.tensor([0.5, 0.5], dtype=torch.float64)
    assert fixed_states({0: soft, 1: 2}, {2: 1}) == {1: 2, 2: 1}


def test_slices_at_states_drop_their_axes():
    table = torch.arange(24, dtype=torch.float64).reshape(2, 3, 4)
    for states in ({}, {7: 1}, {5: 0, 9: 3}, {5: 1, 7: 2, 9: 0}):
        found = at_states(Factor((5, 7, 9), table), {**states, 4: 0})
        assert found.scope == tuple(a for a in (5, 7, 9) if a not in states)
        for cell in itertools.product(range(2), range(3), range(4)):
            world = dict(zip((5, 7, 9), cell, strict=True))
            if all(world[a] == s for a, s in states.items()):
                assert found.table[tuple(world[a] for a in found.scope)] == table[cell]


def test_labels_have_names_for_messages():
    names = [label_name(SPEC, a) for a in (BATCH, SCENARIO, SOURCE, 0)]
    assert names == ["batch", "scenarios", "U", "A"]


def test_the_positivity_error_names_evidence_do_and_elements():
    impossible = torch.tensor([True, False, True])
    error = positivity_error(SPEC, [0, 1], {2: 1, SOURCE: 0}, impossible)
    assert isinstance(error, PositivityError)
    assert "C='b', U=0 under do(A, B) in 2 of 3" in str(error)
    alone = positivity_error(SPEC, [], {2: 1}, impossible[:1])
    assert "for C='b';" in str(alone)
