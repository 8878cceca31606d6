"""Laws of a CPD: a subclass that names how to make one, and two oracles, inherits them all.

    class TestMine(CPDLaws):
        def make(self, seed, batch_shape=(), k=3): ...          # a random one
        def columns(self, seed, m): ...                         # (values, parents) it can be given
        def plain_log_prob(self, cpd, u, value, parents): ...   # of one row, plain Python numbers
        def mass(self, cpd, u, parents): ...                    # sum or integral over all values

Every law is stated for the batch shapes (), (1,) and (2, 3) where it makes sense.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from helpers import BATCH_SHAPES

from pyromix.model.cpd import CPD

K = 3


def close(left: torch.Tensor, right: torch.Tensor, atol: float = 1e-12) -> None:
    torch.testing.assert_close(left, right, rtol=0, atol=atol)


class CPDLaws:
    """What holds for any conditional distribution of a vertex."""

    #: Largest error of parameters that ``N_MANY`` rows may leave, measured over 20 seeds, doubled.
    ESTIMATED = 0.1
    N_MANY = 60_000
    #: Steps of an estimate without closed form that reach the optimum.
    STEPS = 1

    def make(self, seed: int, batch_shape: tuple[int, ...] = (), k: int = K) -> CPD[Any]:
        raise NotImplementedError

    def columns(self, seed: int, m: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        raise NotImplementedError

    def plain_log_prob(self, cpd: Any, u: int, value: float, parents: list[float]) -> float:
        raise NotImplementedError

    def mass(self, cpd: Any, u: int, parents: list[float]) -> float:
        raise NotImplementedError

    # -- helpers -----------------------------------------------------------------------------

    def shares(self, seed: int, m: int, batch_shape: tuple[int, ...] = ()) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.rand(*batch_shape, m, K, generator=generator, dtype=torch.float64)
        return drawn / drawn.sum(-1, keepdim=True)

    def elements(self, cpd: Any) -> Any:
        """Each batch element as a CPD of its own, by its parameters."""
        single = self.make(0, (), cpd.n_sources)
        for index in itertools.product(*map(range, cpd.batch_shape)):
            yield index, single.with_parameters(cpd.parameters[index])

    def estimated(self, cpd: Any, values: Any, parents: Any, shares: Any) -> Any:
        """The likeliest point; who takes a step at a time takes as many as it needs."""
        for _ in range(self.STEPS):
            cpd = cpd.estimate(cpd.statistics(values, parents, shares))
        return cpd

    # -- laws --------------------------------------------------------------------------------

    def test_it_is_one_by_the_protocol(self):
        assert isinstance(self.make(0), CPD)

    def test_probabilities_sum_or_integrate_to_one(self):
        cpd, (_, parents) = self.make(1), self.columns(1, 5)
        for row, u in itertools.product(range(5), range(K)):
            assert self.mass(cpd, u, [p[row].item() for p in parents]) == pytest.approx(1, abs=1e-9)

    @pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
    def test_log_prob_is_the_plain_loop_over_rows(self, batch_shape):
        cpd, (values, parents) = self.make(2, batch_shape), self.columns(2, 11)
        found = cpd.log_prob(values, parents)
        assert cpd.batch_shape == batch_shape
        assert found.shape == (*batch_shape, 11, K)
        for index, one in self.elements(cpd):
            for row, u in itertools.product(range(11), range(K)):
                given = [p[row].item() for p in parents]
                expected = self.plain_log_prob(one, u, values[row].item(), given)
                assert float(found[(*index, row, u)]) == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
    def test_statistics_of_a_union_of_blocks_are_the_sum(self, batch_shape):
        cpd, (values, parents) = self.make(3, batch_shape), self.columns(3, 50)
        shares, cuts = self.shares(3, 50, batch_shape), [0, 7, 8, 50]
        whole = cpd.estimate(cpd.statistics(values, parents, shares))
        parts = [
            cpd.statistics(values[a:b], [p[a:b] for p in parents], shares[..., a:b, :])
            for a, b in itertools.pairwise(cuts)
        ]
        joined = cpd.estimate(parts[0] + parts[1] + parts[2])
        close(joined.parameters, whole.parameters, atol=1e-9)

    def test_the_order_of_rows_plays_no_role(self):
        cpd, (values, parents) = self.make(3), self.columns(3, 40)
        shares, order = self.shares(3, 40), torch.randperm(40)
        one = cpd.estimate(cpd.statistics(values, parents, shares))
        other = cpd.estimate(
            cpd.statistics(values[order], [p[order] for p in parents], shares[order])
        )
        close(one.parameters, other.parameters, atol=1e-9)

    @pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
    def test_estimating_commutes_with_looping_over_the_batch(self, batch_shape):
        cpd, (values, parents) = self.make(4, batch_shape), self.columns(4, 200)
        shares = self.shares(4, 200, batch_shape)
        found = cpd.estimate(cpd.statistics(values, parents, shares))
        for index, one in self.elements(cpd):
            alone = one.estimate(one.statistics(values, parents, shares[index]))
            close(found.parameters[index], alone.parameters, atol=1e-9)

    def test_an_estimate_is_the_likeliest_point_near_it(self):
        cpd, (values, parents) = self.make(5), self.columns(5, 300)
        shares = self.shares(5, 300)
        best = self.estimated(cpd, values, parents, shares)

        def value(parameters: torch.Tensor) -> torch.Tensor:
            return (shares * cpd.with_parameters(parameters).log_prob(values, parents)).sum()

        at = best.parameters.detach().requires_grad_()
        (slope,) = torch.autograd.grad(value(at), at)
        assert float(slope.abs().max()) < 1e-8 * 300
        top = value(best.parameters)
        for seed in range(5):
            step = torch.randn(at.shape, generator=torch.Generator().manual_seed(seed),
                               dtype=at.dtype)  # fmt: skip
            assert value(best.parameters + 1e-2 * step) < top

    def test_no_estimate_lowers_the_likelihood(self):
        for seed in range(3):
            cpd, (values, parents) = self.make(20 + seed), self.columns(20 + seed, 25)
            shares, last = self.shares(seed, 25), -math.inf
            for _ in range(30):
                now = float((shares * cpd.log_prob(values, parents)).sum())
                assert now >= last - 1e-9
                last, cpd = now, cpd.estimate(cpd.statistics(values, parents, shares))

    def test_a_prior_counts_as_further_rows(self):
        cpd, (values, parents) = self.make(6), self.columns(6, 80)
        (more, above), shares = self.columns(7, 30), self.shares(6, 110)
        rows = cpd.statistics(values, parents, shares[:80])
        seen = cpd.statistics(more, above, shares[80:])
        joined = cpd.statistics(
            torch.cat([values, more]),
            [torch.cat(pair) for pair in zip(parents, above, strict=True)],
            shares,
        )
        close(cpd.estimate(rows, seen).parameters, cpd.estimate(joined).parameters, atol=1e-9)

    def test_statistics_of_many_samples_give_the_truth_back(self):
        truth, (_, parents) = self.make(8), self.columns(8, self.N_MANY)
        generator = torch.Generator().manual_seed(8)
        sources = torch.randint(0, K, (self.N_MANY,), generator=generator)
        values = truth.sample(sources, parents, generator)
        shares = torch.nn.functional.one_hot(sources, K).to(torch.float64)
        found = self.estimated(truth, values, parents, shares)
        assert float((found.parameters - truth.parameters).abs().max()) < self.ESTIMATED

    @pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
    def test_parameters_round_trip(self, batch_shape):
        cpd, other = self.make(10, batch_shape), self.make(11, batch_shape)
        (values, parents) = self.columns(10, 20)
        again = other.with_parameters(cpd.parameters)
        assert cpd.parameters.shape[:-1] == batch_shape
        close(again.parameters, cpd.parameters)
        close(again.log_prob(values, parents), cpd.log_prob(values, parents))

    @pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
    def test_relabelling_sources_permutes(self, batch_shape):
        cpd, (values, parents) = self.make(12, batch_shape), self.columns(12, 20)
        order = [2, 0, 1]
        moved = cpd.relabel(order)
        close(moved.log_prob(values, parents), cpd.log_prob(values, parents)[..., order])
        shares = self.shares(12, 20, batch_shape)
        one = cpd.estimate(cpd.statistics(values, parents, shares)).relabel(order)
        other = moved.estimate(moved.statistics(values, parents, shares[..., order]))
        close(one.parameters, other.parameters, atol=1e-9)

    def test_relabelling_takes_one_order_per_batch_element(self):
        cpd, (values, parents) = self.make(13, (2,)), self.columns(13, 9)
        orders = torch.tensor([[2, 0, 1], [0, 2, 1]])
        moved, plain = cpd.relabel(orders).log_prob(values, parents), cpd.log_prob(values, parents)
        for i in range(2):
            close(moved[i], plain[i][:, orders[i]])

    @pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
    def test_the_torch_distribution_has_the_same_log_prob(self, batch_shape):
        cpd, (values, parents) = self.make(14, batch_shape), self.columns(14, 13)
        enumerated = torch.arange(K).reshape(K, *(1 for _ in batch_shape), 1)
        law = cpd.distribution(enumerated.expand(K, *batch_shape, 13), parents)
        assert law.batch_shape == (K, *batch_shape, 13)
        close(law.log_prob(values).movedim(0, -1), cpd.log_prob(values, parents))

    @pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
    def test_samples_agree_with_log_prob(self, batch_shape):
        """Of its own rows the mean score is zero: within 5 standard errors, per parameter."""
        cpd, n = self.make(15, batch_shape), 20_000
        generator = torch.Generator().manual_seed(15)
        _, parents = self.columns(15, n)
        sources = torch.randint(0, K, (*batch_shape, n), generator=generator)
        drawn = cpd.sample(sources, parents, generator)
        assert drawn.shape == (*batch_shape, n)
        for index, one in self.elements(cpd):
            point = one.parameters.detach()

            def own(parameters: torch.Tensor, one=one, index=index) -> torch.Tensor:
                logs = one.with_parameters(parameters).log_prob(drawn[index], parents)
                return logs.gather(-1, sources[index].unsqueeze(-1)).squeeze(-1)

            steps = 1e-4 * torch.eye(len(point), dtype=point.dtype)
            score = torch.stack([own(point + s) - own(point - s) for s in steps], -1) / 2e-4
            error = score.std(0) / math.sqrt(n)
            assert bool((score.mean(0).abs() <= 5 * error + 1e-7).all())

    def test_features_go_row_by_row_and_tell_sources_apart(self):
        cpd, (values, _) = self.make(16), self.columns(16, 30)
        found = cpd.features(values)
        close(torch.cat([cpd.features(values[:9]), cpd.features(values[9:])]), found)
        assert bool((found.abs() <= 1).all())
        generator, (_, parents) = torch.Generator().manual_seed(16), self.columns(17, 20_000)
        means = [
            cpd.features(cpd.sample(torch.full((20_000,), u), parents, generator)).mean(0)
            for u in range(K)
        ]
        values = torch.linalg.svdvals(torch.stack(means))
        assert float(values[min(K, found.shape[1]) - 1]) > 0.01
