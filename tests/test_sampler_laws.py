"""Everything that puts draws around an estimate under the laws of its seam."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from laws.samplers import SamplerLaws, fit_of

import pyromix as px
from pyromix.fitting.refine import REFINE_METHODS


class TestBootstrap(SamplerLaws):
    few, n_few = {"n": 3}, 3
    many, n_many = {"n": 300}, 300
    wrong = MappingProxyType({"kind": "row"})

    def draw(self, fit, **options):
        return fit.bootstrap(**options)


class TestDirichletBootstrap(TestBootstrap):
    def draw(self, fit, **options):
        return fit.bootstrap(**{"kind": "dirichlet", **options})


class Refined(SamplerLaws):
    method = ""
    wrong = MappingProxyType({"num_sample": 10})

    def draw(self, fit, **options):
        return fit.refine(method=self.method, **options)


class TestGibbs(Refined):
    method = "gibbs"
    few, n_few = {"num_samples": 4, "warmup_steps": 2, "num_chains": 1}, 4
    many, n_many = {"num_samples": 200, "warmup_steps": 30, "num_chains": 2}, 400


class TestNuts(Refined):
    method = "nuts"
    few, n_few = {"num_samples": 4, "warmup_steps": 80, "num_chains": 1}, 4
    many, n_many = {"num_samples": 120, "warmup_steps": 40, "num_chains": 1}, 120


class TestSvi(Refined):
    method = "svi"
    few, n_few = {"num_steps": 3, "num_samples": 3}, 3
    many, n_many = {"num_steps": 250, "learning_rate": 0.04, "num_samples": 200}, 200


def test_every_way_to_draws_has_its_laws():
    assert {law.method for law in Refined.__subclasses__()} == {*REFINE_METHODS} - {"em"}


@pytest.mark.parametrize("method", [m for m in REFINE_METHODS if m != "em"])
def test_a_method_of_draws_refuses_the_options_of_another(method):
    with pytest.raises(px.QueryError, match="unknown option 'tol'"):
        fit_of(1.0).refine(method=method, tol=1e-9)
