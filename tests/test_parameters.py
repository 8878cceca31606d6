"""ParameterAxis against a layout written as plain loops."""

from __future__ import annotations

import itertools

import pytest
import torch
from helpers import BATCH_SHAPES, random_spec, structures
from hypothesis import given, settings

from pyromix.errors import SpecError
from pyromix.model.parameters import ParameterAxis
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec


def plain_layout(spec):
    """(vertex, source or None, parent states, state) of every parameter, by loops alone."""
    found = [(-1, None, (), u) for u in range(spec.n_sources - 1)]
    for v in range(spec.n_variables):
        sources = [None] if v in spec.uninfluenced else range(spec.n_sources)
        above = [range(len(spec.states[p])) for p in spec.parents[v]]
        for u in sources:
            for row in itertools.product(*above):
                found += [(v, u, row, y) for y in range(len(spec.states[v]) - 1)]
    return found


def entry(tables, place):
    v, u, row, y = place
    return tables[v + 1][y] if v == -1 else tables[v + 1][(u or 0, *row, y)]


@settings(max_examples=40, deadline=None)
@given(structures())
def test_blocks_sizes_and_positions_are_those_of_plain_loops(structure):
    spec = random_spec(**structure)
    axis, places = ParameterAxis(spec), plain_layout(spec)
    assert (axis.size, sum(axis.sizes), spec.n_parameters) == (len(places),) * 3
    for v in range(-1, spec.n_variables):
        own = [i for i, place in enumerate(places) if place[0] == v]
        block = axis.block(v)
        assert list(range(block.start, block.stop)) == own
        assert axis.sizes[v + 1] == len(own)
        assert all(axis.vertex(i) == v for i in own)
    for u in range(spec.n_sources):
        own = [i for i, place in enumerate(places) if place[1] in (None, u)]
        assert axis.of_source(u).tolist() == own
        for v in range(spec.n_variables):
            mine = [i for i, p in enumerate(places) if p[0] == v and p[1] in (None, u)]
            assert axis.slots(v)[u].tolist() == mine


@settings(max_examples=40, deadline=None)
@given(structures())
def test_vectors_are_those_of_plain_loops(structure):
    spec = random_spec(**structure)
    axis, places, tables = ParameterAxis(spec), plain_layout(spec), random_mixture(spec, 0).tables
    free, odds = axis.free(tables), axis.log_odds(tables)
    for i, place in enumerate(places):
        last = (*place[:3], -1)
        assert abs(float(free[i] - entry(tables, place))) <= 1e-14
        plain = entry(tables, place).log() - entry(tables, last).log()
        assert abs(float(odds[i] - plain)) <= 1e-14 * max(1.0, abs(float(plain)))


@settings(max_examples=20, deadline=None)
@given(structures())
def test_gradients_are_those_of_autograd_in_the_log_odds(structure):
    spec = random_spec(**structure)
    axis, tables = ParameterAxis(spec), random_mixture(spec, 0).tables
    generator = torch.Generator().manual_seed(0)
    pull = [torch.rand(t.shape, generator=generator, dtype=t.dtype) for t in tables]
    odds = axis.log_odds(tables).requires_grad_()
    moved = axis.tables_of_log_odds(odds)
    (expected,) = torch.autograd.grad(
        sum((w * t).sum() for w, t in zip(pull, moved, strict=True)), odds
    )
    # the same in log p of each table by itself, rows then made to sum to zero
    own = [t * (w - (w * t).sum(-1, keepdim=True)) for w, t in zip(pull, tables, strict=True)]
    torch.testing.assert_close(axis.gradients(own), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_tables_come_back(batch_shape):
    spec = random_spec(1, 6, 3, uninfluenced=True)
    axis, tables = ParameterAxis(spec), random_mixture(spec, 0, batch_shape=batch_shape).tables
    assert axis.free(tables).shape == (*batch_shape, axis.size)
    for again in (axis.tables(axis.free(tables)), axis.tables_of_log_odds(axis.log_odds(tables))):
        for one, other in zip(again, tables, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-14)


def test_names_are_those_a_person_writes():
    spec = MixtureSpec.from_parents(
        {"X": ("no", "yes"), "Y": (0, 1, 2), "Z": ("a", "b")},
        {"Y": ["X"], "Z": ["Y", "X"]},
        2,
        uninfluenced=["Z"],
    )
    axis = ParameterAxis(spec)
    assert axis.name(0) == "P(U=0)"
    assert axis.name(1) == "P(X=no | U=0)"
    assert axis.name(axis.block(1).start + 7) == "P(Y=1 | U=1, X=yes)"
    assert axis.name(axis.size - 1) == "P(Z=a | Y=2, X=yes)"
    assert axis.table_name(1) == "P(Y | ...)"
    assert axis.table_name(-1) == "P(U)"
    with pytest.raises(IndexError, match="position"):
        axis.name(axis.size)


def test_one_source_has_no_parameter_of_its_weight():
    spec = random_spec(2, 3, 1)
    axis = ParameterAxis(spec)
    assert (axis.sizes[0], axis.vertex(0)) == (0, 0)


def test_a_vector_of_another_length_is_refused():
    axis = ParameterAxis(random_spec(2, 3, 2))
    with pytest.raises(SpecError, match="expected"):
        axis.tables(torch.zeros(axis.size + 1, dtype=torch.float64))
