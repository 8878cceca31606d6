"""Every source of moments and every kind of rows under the laws of its seam."""

from __future__ import annotations

import pytest
import torch
from helpers import random_spec
from laws.moments import MomentsLaws
from laws.rows import RowsLaws
from laws.sources import AnsweringShards, CellDatabase, DenseTable, Shards

from pyromix.data import counts
from pyromix.data.asking import asked
from pyromix.data.counts import Counts
from pyromix.data.population import population
from pyromix.model.randomness import random_mixture


def codes_of(spec, seed, n=150):
    """Complete rows, some assignments unseen."""
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(n, spec.n_variables, generator=generator, dtype=torch.float64)
    return (uniform**2 * torch.tensor(spec.cards)).long()


def with_gaps(spec, seed):
    """Rows with missing cells, some of them with nothing else."""
    codes = codes_of(spec, seed, 400)
    generator = torch.Generator().manual_seed(seed + 1)
    return torch.where(torch.rand(codes.shape, generator=generator) < 0.4, -1, codes)


def sampled(spec, seed):
    generator = torch.Generator().manual_seed(seed)
    weights = 0.5 + torch.rand(150, generator=generator, dtype=torch.float64)
    return Counts.from_codes(spec, codes_of(spec, seed), weights)


class TestCounts(MomentsLaws):
    def make(self, spec, seed):
        return sampled(spec, seed)


class TestCountsOfASchema(MomentsLaws):
    def make(self, spec, seed):
        return sampled(spec.schema, seed)


class TestPopulation(MomentsLaws):
    def make(self, spec, seed):
        return population(random_mixture(spec, seed))


class TestPopulationOfAnotherGraph(MomentsLaws):
    """The truth has its vertices in another order than the spec that is asked about."""

    def make(self, spec, seed):
        truth = random_spec(seed % 1000, spec.n_variables, 3)
        states = dict(zip(spec.variables, spec.states, strict=True))
        names = list(truth.variables)
        truth = type(truth).from_parents(
            {name: states[name] for name in names},
            {name: [names[p] for p in truth.parents[v]] for v, name in enumerate(names)},
            3,
        )
        return population(random_mixture(truth, seed)).with_spec(spec)


class TestCellsOfAPopulation(MomentsLaws):
    def make(self, spec, seed):
        return population(random_mixture(spec, seed)).as_counts()


class TestAsked(MomentsLaws):
    """A table in another order, asked by a spec."""

    def make(self, spec, seed):
        turned = spec.schema.ordered(spec.variables[::-1])
        return asked(sampled(spec, seed).with_spec(turned), spec)


class TestDenseTable(MomentsLaws):
    def make(self, spec, seed):
        return DenseTable(spec, random_mixture(spec, seed).joint_table().numpy())


class TestDenseTableOfASample(MomentsLaws):
    def make(self, spec, seed):
        joint = torch.zeros(spec.cards, dtype=torch.float64)
        for row in codes_of(spec, seed):
            joint[tuple(row)] += 1
        return DenseTable(spec, joint.numpy(), n_rows=150.0)


class TestCellDatabase(MomentsLaws):
    def make(self, spec, seed):
        table = sampled(spec, seed)
        return CellDatabase(spec.schema, table.rows, table.weights)


class TestAnsweringShards(MomentsLaws):
    def make(self, spec, seed):
        codes = codes_of(spec, seed)
        return AnsweringShards(spec.schema, lambda: iter(codes.split(40)))


class TestRowsOfCounts(RowsLaws):
    def make(self, spec, seed):
        return Counts.from_codes(spec, with_gaps(spec, seed))


class TestRowsOfCountsInSmallBlocks(RowsLaws):
    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch):
        monkeypatch.setattr(counts, "BLOCK", 23)

    def make(self, spec, seed):
        return Counts.from_codes(spec, with_gaps(spec, seed))


class TestRowsOfShards(RowsLaws):
    def make(self, spec, seed):
        return Shards(spec.schema, lambda: iter(with_gaps(spec, seed).split(37)))


class TestRowsOfAnsweringShards(RowsLaws):
    def make(self, spec, seed):
        return AnsweringShards(spec.schema, lambda: iter(with_gaps(spec, seed).split(37)))


class TestRowsOfAsked(RowsLaws):
    def make(self, spec, seed):
        turned = spec.schema.ordered(spec.variables[::-1])
        return asked(Counts.from_codes(turned, with_gaps(spec, seed).flip(1)), spec)
