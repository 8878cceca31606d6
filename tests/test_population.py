"""Populations against the enumeration oracle, and as the limit of counts."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from helpers import Oracle, random_spec, structures
from hypothesis import given, settings
from hypothesis import strategies as st

import pyromix as px
from pyromix.data.counts import Counts
from pyromix.data.population import MAX_JOINT_CELLS, Population, population
from pyromix.errors import DataError
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec


@settings(max_examples=40, deadline=None)
@given(structures(), st.integers(0, 2**31), st.integers(1, 2), st.integers(0, 2))
def test_tables_and_masses_are_sums_over_the_joint(structure, seed, n_variables, n_given):
    spec = random_spec(**structure)
    mixture = random_mixture(spec, seed)
    oracle, moments = Oracle(mixture), population(mixture)
    order = torch.randperm(spec.n_variables, generator=torch.Generator().manual_seed(seed)).tolist()
    variables, conditioned = order[:n_variables], order[n_variables : n_variables + n_given]
    rows = list(itertools.product(*(range(spec.cards[v]) for v in conditioned)))
    assignments = torch.tensor(rows, dtype=torch.int64).reshape(len(rows), len(conditioned))
    tables, masses = moments.table(variables, conditioned, assignments), moments.mass(
        conditioned, assignments
    )  # fmt: skip
    for row, table, mass in zip(rows, tables, masses, strict=True):
        evidence = dict(zip(conditioned, row, strict=True))
        torch.testing.assert_close(
            table, oracle.table(variables, evidence=evidence), rtol=0, atol=1e-12
        )
        expected = oracle.query(conditioned)[row] if conditioned else 1.0
        assert float(mass) == pytest.approx(expected, abs=1e-12)


def test_an_impossible_assignment_gives_zeros():
    spec = MixtureSpec.from_parents({"A": (0, 1), "B": (0, 1)}, {"B": ["A"]}, 2)
    half = torch.full((2,), 0.5, dtype=torch.float64)
    never = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    anything = torch.full((2, 2, 2), 0.5, dtype=torch.float64)
    moments = population(BayesNetMixture(spec, half, (never, anything)))
    assignments = torch.tensor([[0], [1]])
    assert moments.table((1,), (0,), assignments).tolist() == [[0.5, 0.5], [0.0, 0.0]]
    assert moments.mass((0,), assignments).tolist() == [1.0, 0.0]


def test_cells_of_the_joint_become_patterns_weighted_by_probability():
    mixture = random_mixture(random_spec(4, 4, 3), 0)
    oracle, counts = Oracle(mixture), population(mixture).as_counts()
    assert counts.n_rows == pytest.approx(1.0, abs=1e-12)
    assert counts.n_patterns == math.prod(oracle.cards)
    for row, weight in zip(counts.rows.tolist(), counts.weights.tolist(), strict=True):
        assert weight == pytest.approx(math.exp(oracle.log_prob(row)), abs=1e-12)


def test_a_joint_of_the_largest_size_becomes_patterns_and_one_more_vertex_is_refused():
    names = [f"V{i}" for i in range(21)]
    small = MixtureSpec.from_parents(dict.fromkeys(names[:20], (0, 1)), {}, 2)
    large = MixtureSpec.from_parents(dict.fromkeys(names, (0, 1)), {}, 2)
    assert population(random_mixture(small, 0)).as_counts().n_patterns == MAX_JOINT_CELLS
    with pytest.raises(DataError, match=r"at most 1,048,576 cells, found 2,097,152"):
        population(random_mixture(large, 0)).as_counts()
    with pytest.raises(DataError, match=r"at most 4 cells, found 1,048,576"):
        population(random_mixture(small, 0)).as_counts(max_cells=4)


def test_counts_of_more_and_more_rows_approach_the_population():
    mixture = random_mixture(random_spec(8, 4, 3), 5)
    spec, truth = mixture.spec, population(mixture)
    joint = mixture.joint_table().flatten()
    assignments = torch.tensor([[0], [1]])
    target = truth.table((0, 2), (1,), assignments)
    generator = torch.Generator().manual_seed(0)
    for n in (10**3, 10**4, 10**5, 10**6):
        cells = joint.multinomial(n, replacement=True, generator=generator)
        codes = torch.stack(torch.unravel_index(cells, spec.cards), 1)
        counts = Counts.from_codes(spec, codes)
        mass = counts.mass((1,), assignments)
        # Pearson: sum over cells of (share - p)^2 N / p is chi-square with cells - 1 degrees;
        # four standard deviations above its mean fail once in many thousand seeds
        table = counts.table((0, 2), (1,), assignments)
        chi2 = (mass[:, None, None] * (table - target) ** 2 / target).flatten(1).sum(1)
        degrees = target[0].numel() - 1
        assert bool((chi2 < degrees + 4 * math.sqrt(2 * degrees)).all())
        torch.testing.assert_close(
            mass / n, truth.mass((1,), assignments), rtol=0, atol=4 * 0.5 / math.sqrt(n)
        )


def test_a_population_is_exact_about_infinitely_many_rows():
    assert population(random_mixture(random_spec(1, 3, 2), 0)).n_rows == math.inf


def test_a_batch_is_not_one_population():
    with pytest.raises(DataError, match=r"found batch axes \(2,\)"):
        population(random_mixture(random_spec(1, 3, 2), 0, batch_shape=(2,)))


def test_a_population_of_other_variables_is_refused():
    mixture = random_mixture(random_spec(1, 3, 2), 0)
    with pytest.raises(DataError, match=r"differences in .*'V3'"):
        Population(random_spec(1, 4, 2), mixture)


def test_another_number_of_sources_leaves_the_law():
    mixture = random_mixture(random_spec(1, 3, 2), 0)
    truth = population(mixture)
    asked = truth.with_spec(mixture.spec.with_n_sources(5))
    none = torch.empty((1, 0), dtype=torch.int64)
    assert asked.spec.n_sources == 5
    assert torch.equal(asked.table((0, 1), (), none), truth.table((0, 1), (), none))


def test_a_population_names_its_device():
    mixture = random_mixture(random_spec(1, 3, 2), 0)
    assignments = torch.tensor([[0], [1]])
    with torch.device("meta"):
        moments = population(mixture)
        table = moments.table((0,), (1,), assignments)
        mass = moments.mass((), torch.empty((1, 0), dtype=torch.int64, device="cpu"))
        counts = moments.as_counts()
    assert {t.device.type for t in (table, mass, counts.weights)} == {"cpu"}


def test_a_rare_cell_of_a_population_counts_as_reached():
    """Probabilities stand for rows without end: none is too small to have been seen."""
    spec = MixtureSpec.from_parents({"A": (0, 1), "B": (0, 1)}, {"B": ["A"]}, 1)
    tables = ([[1 - 1e-8, 1e-8]], [[[0.3, 0.7], [0.6, 0.4]]])
    one = torch.ones(1, dtype=torch.float64)
    rare = BayesNetMixture(spec, one, tuple(torch.tensor(t, dtype=torch.float64) for t in tables))
    assert population(rare).as_counts().weight_of_a_row == pytest.approx(4e-9, rel=1e-9)
    fit = px.fit(spec, population(rare), method="em", prior=None)
    assert all(bool(reached.all()) for reached in fit.reached)


def test_the_entropy_of_a_fit_to_a_population_is_a_sum_over_its_cells():
    spec = MixtureSpec.from_parents({f"V{i}": (0, 1) for i in range(4)}, {}, 2)
    truth = random_mixture(spec, 1, separation=0.4)
    fit = px.fit(spec, population(truth))
    entropy = 0.0
    for cell in itertools.product(range(2), repeat=4):
        joint = [float(truth.weights[u]) for u in range(2)]
        for u in range(2):
            for v, state in enumerate(cell):
                joint[u] *= float(truth.cpts[v][u, state])
        entropy -= sum(p * math.log(p / sum(joint)) for p in joint)
    assert fit.entropy == pytest.approx(entropy, abs=1e-9)
