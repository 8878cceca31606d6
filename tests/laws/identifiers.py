"""What every way from moments to a mixture must satisfy: name how to make one, and inherit."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch

import pyromix as px
from pyromix.errors import PlanError
from pyromix.exact.sampling import sample
from pyromix.fitting.journal import Course
from pyromix.identify.identifiers import Identifier
from pyromix.model.status import Status


class IdentifierLaws:
    """Laws of ``Identifier``.

    A subclass says how to make one, which mixtures it recovers, and which structure it refuses.
    """

    refused: px.MixtureSpec | None = None

    def make(self) -> Identifier:
        raise NotImplementedError

    def truths(self) -> Iterator[px.BayesNetMixture]:
        raise NotImplementedError

    def solved(self, truth: px.BayesNetMixture, seed: int = 0, **options):
        way = self.make()
        plan = way.plan(truth.spec)
        return way.solve(px.population(truth), plan, seed, **options)

    def test_it_satisfies_the_protocol_and_has_a_name(self):
        assert isinstance(self.make(), Identifier)
        assert self.make().name

    def test_exact_moments_in_truth_out(self):
        for truth in self.truths():
            found = self.solved(truth)
            assert found.stage.status is Status.OK
            mixture = found.mixture.relabel(px.match_sources(truth, found.mixture))
            torch.testing.assert_close(mixture.weights, truth.weights, atol=1e-7, rtol=0)
            for one, other in zip(mixture.cpts, truth.cpts, strict=True):
                torch.testing.assert_close(one, other, atol=1e-7, rtol=0)

    def test_a_plan_depends_on_the_structure_alone(self):
        for truth in self.truths():
            assert self.make().plan(truth.spec) == self.make().plan(truth.spec)

    def test_the_same_seed_gives_the_same_mixture(self):
        for truth in self.truths():
            one, other = self.solved(truth, 3), self.solved(truth, 3)
            assert torch.equal(one.mixture.weights, other.mixture.weights)

    def test_strict_raises_nothing_where_moments_determine_the_mixture(self):
        for truth in self.truths():
            assert self.solved(truth, strict=True).mixture is not None

    def test_what_it_cannot_recover_it_refuses_before_any_data(self):
        if self.refused is None:
            assert self.make().plan(next(self.truths()).spec) is not None
            return
        with pytest.raises(PlanError):
            self.make().plan(self.refused)

    def test_the_front_door_takes_it(self):
        truth = next(self.truths())
        fit = px.fit(truth.spec, px.population(truth), method=self.make())
        asked = fit.mixture.relabel(px.match_sources(truth, fit.mixture))
        torch.testing.assert_close(asked.weights, truth.weights, atol=1e-7, rtol=0)
        assert fit.course == Course(self.make().name, ("moments",))

    def test_em_goes_on_from_its_estimate_whatever_its_name(self):
        truth = next(self.truths())
        counts = px.Counts.from_codes(truth.spec, sample(truth, 2000, 0)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", px.PyromixWarning)
            fit = px.fit(truth.spec, counts, method=self.make(), n_init=1, prior=None)
        assert fit.course == Course(self.make().name, ("moments", "em"))
        assert str(fit.course) == f"{self.make().name}: moments, em"

    def test_the_class_itself_is_refused(self):
        truth = next(self.truths())
        with pytest.raises(px.QueryError, match="make one"):
            px.fit(truth.spec, px.population(truth), method=type(self.make()))
