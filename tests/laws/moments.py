"""Laws of everything that answers moments.

A new kind of moments inherits them all by saying how one is made::

    class TestMySource(MomentsLaws):
        def make(self, spec, seed):
            return MySource(spec, ...)
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from helpers import random_spec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyromix.data.asking import asked
from pyromix.data.moments import MomentSource, schema_of
from pyromix.errors import DataError
from pyromix.model.schema import Schema

TOLERANCE = 1e-13

# One law is run by many classes, each of which makes sources of its own.
laws = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.differing_executors]
)


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


class MomentsLaws:
    """What everything that answers moments satisfies; ``make`` says how one over a spec is made."""

    def make(self, spec, seed):
        raise NotImplementedError

    def test_it_satisfies_the_protocol(self):
        spec = random_spec(0, 4, 2)
        moments = self.make(spec, 1)
        assert isinstance(moments, MomentSource)
        assert moments.n_rows > 0
        assert schema_of(moments).schema == spec.schema

    @laws
    @given(st.integers(0, 2**31), splits(4))
    def test_tables_are_distributions_where_there_is_mass(self, seed, split):
        variables, conditioned = split
        spec = random_spec(seed, 4, 2)
        moments = self.make(spec, seed)
        assignments = assignments_of(spec, conditioned)
        table = moments.table(variables, conditioned, assignments)
        mass = moments.mass(conditioned, assignments)
        assert table.shape == (len(assignments), *(spec.cards[v] for v in variables))
        assert table.dtype == mass.dtype == torch.float64
        assert bool((table >= 0).all())
        close(table.flatten(1).sum(1), (mass > 0).double())

    @laws
    @given(st.integers(0, 2**31), splits(4), st.data())
    def test_the_marginal_of_a_table_is_the_table_of_the_marginal(self, seed, split, data):
        variables, conditioned = split
        spec = random_spec(seed, 4, 2)
        moments = self.make(spec, seed)
        assignments = assignments_of(spec, conditioned)
        axis = data.draw(st.integers(0, len(variables) - 1))
        rest = [v for i, v in enumerate(variables) if i != axis]
        close(
            moments.table(variables, conditioned, assignments).sum(axis + 1),
            moments.table(rest, conditioned, assignments),
        )

    @laws
    @given(st.integers(0, 2**31), splits(4), st.data())
    def test_permuting_variables_permutes_axes(self, seed, split, data):
        variables, conditioned = split
        spec = random_spec(seed, 4, 2)
        moments = self.make(spec, seed)
        assignments = assignments_of(spec, conditioned)
        order = data.draw(st.permutations(range(len(variables))))
        close(
            moments.table([variables[i] for i in order], conditioned, assignments),
            moments.table(variables, conditioned, assignments).permute(0, *(i + 1 for i in order)),
        )

    @laws
    @given(st.integers(0, 2**31), splits(4), st.data())
    def test_permuting_given_vertices_with_their_columns_changes_nothing(self, seed, split, data):
        variables, conditioned = split
        spec = random_spec(seed, 4, 2)
        moments = self.make(spec, seed)
        assignments = assignments_of(spec, conditioned)
        order = data.draw(st.permutations(range(len(conditioned))))
        turned, columns = [conditioned[i] for i in order], assignments[:, list(order)]
        close(
            moments.table(variables, turned, columns),
            moments.table(variables, conditioned, assignments),
        )
        close(moments.mass(turned, columns), moments.mass(conditioned, assignments))

    @laws
    @given(st.integers(0, 2**31), splits(4))
    def test_mass_adds_over_the_states_of_a_vertex(self, seed, split):
        _, conditioned = split
        spec = random_spec(seed, 4, 2)
        moments = self.make(spec, seed)
        free = next(v for v in range(4) if v not in conditioned)
        assignments = assignments_of(spec, [*conditioned, free])
        masses = moments.mass([*conditioned, free], assignments).reshape(-1, spec.cards[free])
        close(masses.sum(1), moments.mass(conditioned, assignments_of(spec, conditioned)))

    @laws
    @given(st.integers(0, 2**31), splits(4))
    def test_mass_times_table_is_the_mass_of_both(self, seed, split):
        variables, conditioned = split
        spec = random_spec(seed, 4, 2)
        moments = self.make(spec, seed)
        assignments = assignments_of(spec, conditioned)
        table = moments.table(variables, conditioned, assignments).flatten(1)
        mass = moments.mass(conditioned, assignments).unsqueeze(1)
        together = assignments_of(spec, [*conditioned, *variables])
        joint = moments.mass([*conditioned, *variables], together)
        close(mass * table / mass.sum(), (joint / mass.sum()).reshape(table.shape))

    @laws
    @given(st.integers(0, 2**31), splits(4), st.integers(0, 12))
    def test_batching_over_assignments_commutes_with_looping(self, seed, split, n):
        variables, conditioned = split
        spec = random_spec(seed, 4, 2)
        moments = self.make(spec, seed)
        every = assignments_of(spec, conditioned)
        drawn = every[
            torch.randint(len(every), (n,), generator=torch.Generator().manual_seed(seed))
        ]
        table = moments.table(variables, conditioned, drawn)
        mass = moments.mass(conditioned, drawn)
        assert table.shape[0] == mass.shape[0] == n
        for i in range(n):
            assert torch.equal(moments.table(variables, conditioned, drawn[i : i + 1])[0], table[i])
            assert torch.equal(moments.mass(conditioned, drawn[i : i + 1])[0], mass[i])

    def test_the_narrow_integers_of_patterns_serve_as_assignments(self):
        moments = self.make(random_spec(2, 4, 2), 3)
        wide = assignments_of(schema_of(moments), (2, 0))
        assert torch.equal(
            moments.table((1,), (2, 0), wide), moments.table((1,), (2, 0), wide.char())
        )

    def test_no_variables_have_the_table_one(self):
        moments = self.make(random_spec(2, 4, 2), 3)
        none = torch.empty((1, 0), dtype=torch.int64)
        assert moments.table((), (), none).tolist() == pytest.approx([1.0])
        total = moments.n_rows if math.isfinite(moments.n_rows) else 1.0
        assert moments.mass((), none).tolist() == pytest.approx([total])

    @pytest.mark.parametrize(
        ("variables", "conditioned", "assignments", "message"),
        [
            ((4,), (), [[]], "vertex must be at most 3, found 4"),
            ((-1,), (), [[]], r"found \[-1\]; the source"),
            ((0, 0), (), [[]], r"distinct, found variables \[0, 0\]"),
            ((0,), (0,), [[0]], r"distinct, found variables \[0\] given \[0\]"),
            ((0,), (1,), [[0, 1]], "for each of 1 given vertices, found 2"),
            ((0,), (1,), [[0], [9]], r"states of 'V\d' are 0\.\.\d, found 0\.\.9"),
            ((0,), (1,), [[-1]], r"found -1\.\.-1"),
        ],
    )
    def test_questions_that_make_no_sense_are_refused(
        self, variables, conditioned, assignments, message
    ):
        moments = self.make(random_spec(2, 4, 2), 3)
        with pytest.raises(DataError, match=message):
            moments.table(variables, conditioned, torch.tensor(assignments, dtype=torch.int64))

    def test_a_table_beyond_memory_is_refused_with_its_size(self):
        moments = self.make(random_spec(2, 4, 2), 3)
        many = torch.zeros(2**28, dtype=torch.int8).reshape(-1, 1)
        with pytest.raises(DataError, match=r"have [\d,]+ cells, more than 268,435,456"):
            moments.table((0,), (1,), many)

    @laws
    @given(st.integers(0, 2**31), splits(4))
    def test_repeated_assignments_have_the_same_answer(self, seed, split):
        variables, conditioned = split
        spec = random_spec(seed, 4, 2)
        moments = self.make(spec, seed)
        twice = assignments_of(spec, conditioned).repeat(2, 1)
        for answer in (
            moments.table(variables, conditioned, twice),
            moments.mass(conditioned, twice),
        ):
            one, other = answer.chunk(2)
            assert torch.equal(one, other)

    @laws
    @given(st.integers(0, 2**31), splits(4))
    def test_noise_is_that_of_so_many_rows(self, seed, split):
        _, conditioned = split
        spec = random_spec(seed, 4, 2)
        moments = asked(self.make(spec, seed))
        assignments = assignments_of(spec, conditioned)
        noise = moments.noise(conditioned, assignments)
        assert noise.dtype == torch.float64
        assert bool(noise.isinf().all()) == moments.exact == math.isinf(moments.n_rows)
        assert bool((noise >= 0).all())

    @laws
    @given(st.integers(0, 2**31), splits(4), st.permutations(range(4)))
    def test_another_numbering_of_the_variables_has_the_same_answers(self, seed, split, order):
        variables, conditioned = split
        spec = random_spec(seed, 4, 2)
        moments = self.make(spec, seed)
        turned = asked(
            moments,
            Schema(tuple(spec.variables[v] for v in order), tuple(spec.states[v] for v in order)),
        )
        assignments = assignments_of(spec, conditioned)
        here = [order.index(v) for v in variables], [order.index(v) for v in conditioned]
        assert torch.equal(
            turned.table(*here, assignments), moments.table(variables, conditioned, assignments)
        )
        assert torch.equal(
            turned.mass(here[1], assignments), moments.mass(conditioned, assignments)
        )

    def test_answers_do_not_depend_on_the_default_device(self):
        spec = random_spec(2, 4, 2)
        moments = self.make(spec, 3)
        every = assignments_of(spec, (2, 0))
        expected = moments.table((1,), (2, 0), every), moments.mass((2, 0), every)
        with torch.device("meta"):
            found = moments.table((1,), (2, 0), every), moments.mass((2, 0), every)
        assert torch.equal(expected[0], found[0])
        assert torch.equal(expected[1], found[1])

    def test_other_variables_are_refused(self):
        moments = self.make(random_spec(2, 4, 2), 3)
        with pytest.raises(DataError, match=r"differences in .*'V4'"):
            asked(moments, random_spec(2, 5, 2))
