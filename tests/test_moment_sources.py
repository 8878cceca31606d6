"""One suite of laws for everything that answers moments: counts and populations.

A new moment source is one more entry of SOURCES.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from helpers import random_spec
from hypothesis import given, settings
from hypothesis import strategies as st

from pyromix.data.counts import Counts, MomentSource
from pyromix.data.population import population
from pyromix.errors import DataError
from pyromix.model.randomness import random_mixture

TOLERANCE = 1e-13


def sampled(spec, seed):
    """Counts of complete rows with uneven weights, some assignments unseen."""
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(150, spec.n_variables, generator=generator, dtype=torch.float64)
    codes = (uniform**2 * torch.tensor(spec.cards)).long()
    weights = 0.5 + torch.rand(150, generator=generator, dtype=torch.float64)
    return Counts.from_codes(spec, codes, weights)


def exact(spec, seed):
    return population(random_mixture(spec, seed))


def exact_for_another_graph(spec, seed):
    """The truth has its vertices in another order than the spec that is asked about."""
    truth = random_spec(seed % 1000, spec.n_variables, 3)
    states = dict(zip(spec.variables, spec.states, strict=True))
    names = list(truth.variables)
    truth = type(truth).from_parents(
        {name: states[name] for name in names},
        {name: [names[p] for p in truth.parents[v]] for v, name in enumerate(names)},
        3,
    )
    return population(random_mixture(truth, seed)).with_spec(spec)


def exact_as_counts(spec, seed):
    return exact(spec, seed).as_counts()


SOURCES = [sampled, exact, exact_for_another_graph, exact_as_counts]
every_source = pytest.mark.parametrize("make", SOURCES, ids=lambda make: make.__name__)


def splits(n):
    """Disjoint variables and given vertices, in any order."""
    return st.permutations(range(n)).flatmap(
        lambda order: st.tuples(st.integers(1, n), st.integers(0, n)).map(
            lambda cut: (order[: cut[0]], order[cut[0] : max(cut)])
        )
    )


def assignments_of(spec, vertices):
    """Every joint state."""
    rows = list(itertools.product(*(range(spec.cards[v]) for v in vertices)))
    return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), len(vertices))


def close(left, right):
    torch.testing.assert_close(left, right, rtol=0, atol=TOLERANCE)


@every_source
def test_every_source_satisfies_the_protocol(make):
    source = make(random_spec(0, 4, 2), 1)
    assert isinstance(source, MomentSource)
    assert source.n_rows > 0


@every_source
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), splits(4))
def test_tables_are_distributions_where_there_is_mass(make, seed, split):
    variables, conditioned = split
    spec = random_spec(seed, 4, 2)
    source = make(spec, seed)
    assignments = assignments_of(spec, conditioned)
    table = source.table(variables, conditioned, assignments)
    mass = source.mass(conditioned, assignments)
    assert table.shape == (len(assignments), *(spec.cards[v] for v in variables))
    assert table.dtype == mass.dtype == torch.float64
    assert bool((table >= 0).all())
    close(table.flatten(1).sum(1), (mass > 0).double())


@every_source
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), splits(4), st.data())
def test_the_marginal_of_a_table_is_the_table_of_the_marginal(make, seed, split, data):
    variables, conditioned = split
    spec = random_spec(seed, 4, 2)
    source = make(spec, seed)
    assignments = assignments_of(spec, conditioned)
    axis = data.draw(st.integers(0, len(variables) - 1))
    rest = [v for i, v in enumerate(variables) if i != axis]
    close(
        source.table(variables, conditioned, assignments).sum(axis + 1),
        source.table(rest, conditioned, assignments),
    )


@every_source
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), splits(4), st.data())
def test_permuting_variables_permutes_axes(make, seed, split, data):
    variables, conditioned = split
    spec = random_spec(seed, 4, 2)
    source = make(spec, seed)
    assignments = assignments_of(spec, conditioned)
    order = data.draw(st.permutations(range(len(variables))))
    close(
        source.table([variables[i] for i in order], conditioned, assignments),
        source.table(variables, conditioned, assignments).permute(0, *(i + 1 for i in order)),
    )


@every_source
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), splits(4), st.data())
def test_permuting_given_vertices_with_their_columns_changes_nothing(make, seed, split, data):
    variables, conditioned = split
    spec = random_spec(seed, 4, 2)
    source = make(spec, seed)
    assignments = assignments_of(spec, conditioned)
    order = data.draw(st.permutations(range(len(conditioned))))
    turned, columns = [conditioned[i] for i in order], assignments[:, list(order)]
    close(
        source.table(variables, turned, columns), source.table(variables, conditioned, assignments)
    )
    close(source.mass(turned, columns), source.mass(conditioned, assignments))


@every_source
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), splits(4))
def test_mass_adds_over_the_states_of_a_vertex(make, seed, split):
    _, conditioned = split
    spec = random_spec(seed, 4, 2)
    source = make(spec, seed)
    free = next(v for v in range(4) if v not in conditioned)
    assignments = assignments_of(spec, [*conditioned, free])
    masses = source.mass([*conditioned, free], assignments).reshape(-1, spec.cards[free])
    close(masses.sum(1), source.mass(conditioned, assignments_of(spec, conditioned)))


@every_source
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), splits(4))
def test_mass_times_table_is_the_mass_of_both(make, seed, split):
    variables, conditioned = split
    spec = random_spec(seed, 4, 2)
    source = make(spec, seed)
    assignments = assignments_of(spec, conditioned)
    table = source.table(variables, conditioned, assignments).flatten(1)
    mass = source.mass(conditioned, assignments).unsqueeze(1)
    together = assignments_of(spec, [*conditioned, *variables])
    joint = source.mass([*conditioned, *variables], together)
    close(mass * table / mass.sum(), (joint / mass.sum()).reshape(table.shape))


@every_source
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), splits(4), st.integers(0, 12))
def test_batching_over_assignments_commutes_with_looping(make, seed, split, n):
    variables, conditioned = split
    spec = random_spec(seed, 4, 2)
    source = make(spec, seed)
    every = assignments_of(spec, conditioned)
    drawn = every[torch.randint(len(every), (n,), generator=torch.Generator().manual_seed(seed))]
    table = source.table(variables, conditioned, drawn)
    mass = source.mass(conditioned, drawn)
    assert table.shape[0] == mass.shape[0] == n
    for i in range(n):
        assert torch.equal(source.table(variables, conditioned, drawn[i : i + 1])[0], table[i])
        assert torch.equal(source.mass(conditioned, drawn[i : i + 1])[0], mass[i])


@every_source
def test_the_narrow_integers_of_patterns_serve_as_assignments(make):
    source = make(random_spec(2, 4, 2), 3)
    wide = assignments_of(source.spec, (2, 0))
    assert torch.equal(source.table((1,), (2, 0), wide), source.table((1,), (2, 0), wide.char()))


@every_source
def test_no_variables_have_the_table_one(make):
    source = make(random_spec(2, 4, 2), 3)
    none = torch.empty((1, 0), dtype=torch.int64)
    assert source.table((), (), none).tolist() == pytest.approx([1.0])
    total = source.n_rows if math.isfinite(source.n_rows) else 1.0
    assert source.mass((), none).tolist() == pytest.approx([total])


@every_source
@pytest.mark.parametrize(
    ("variables", "conditioned", "assignments", "message"),
    [
        ((4,), (), [[]], r"vertices, 0\.\.3, found \[4\]"),
        ((-1,), (), [[]], r"found \[-1\]; the source 'U'"),
        ((0, 0), (), [[]], r"distinct, found variables \[0, 0\]"),
        ((0,), (0,), [[0]], r"distinct, found variables \[0\] given \[0\]"),
        ((0,), (1,), [[0, 1]], "for each of 1 given vertices, found 2"),
        ((0,), (1,), [[0], [9]], r"states of 'V\d' are 0\.\.\d, found 0\.\.9"),
        ((0,), (1,), [[-1]], r"found -1\.\.-1"),
    ],
)
def test_questions_that_make_no_sense_are_refused(
    make, variables, conditioned, assignments, message
):
    source = make(random_spec(2, 4, 2), 3)
    with pytest.raises(DataError, match=message):
        source.table(variables, conditioned, torch.tensor(assignments, dtype=torch.int64))


@every_source
def test_a_table_beyond_memory_is_refused_with_its_size(make):
    source = make(random_spec(2, 4, 2), 3)
    many = torch.zeros(2**28, dtype=torch.int8).reshape(-1, 1)
    with pytest.raises(DataError, match=r"have [\d,]+ cells, more than 268,435,456"):
        source.table((0,), (1,), many)
