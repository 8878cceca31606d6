"""The bootstrap likelihood-ratio test: its statistic, its simulated law, its seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from published import latent_class
from scipy.optimize import minimize

import pyromix as px
from pyromix.criticism import likelihood_ratio
from pyromix.criticism.likelihood_ratio import LikelihoodRatioTest, _Climbs, _groups
from pyromix.data.counts import Counts
from pyromix.exact.sampling import sample


def by_descent(rows: torch.Tensor, weights: torch.Tensor, k: int) -> float:
    """Largest log-likelihood of binary items within k classes, by BFGS from several starts."""
    n = rows.shape[1]

    def minus(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        given = torch.tensor(parameters, requires_grad=True)
        pi, one = given[:k].softmax(0), given[k:].reshape(k, n).sigmoid()
        law = sum(pi[u] * torch.where(rows == 1, one[u], 1 - one[u]).prod(1) for u in range(k))
        value = -(weights @ law.log())
        value.backward()
        return value.item(), given.grad.numpy()

    rng = np.random.default_rng(0)
    starts = [2 * rng.normal(size=k + k * n) for _ in range(8 if k > 1 else 1)]
    options = {"maxiter": 300, "gtol": 1e-4}
    return -min(minimize(minus, s, method="BFGS", jac=True, options=options).fun for s in starts)


@pytest.mark.parametrize(("name", "printed"), [("values", 78.3642), ("cheating", None)])
def test_the_statistic_is_that_of_published_fits(name, printed):
    counts, one = latent_class(name, 1)
    _, two = latent_class(name, 2)
    found = px.bootstrap_lrt(counts, 2, n=19)
    assert found.statistic == pytest.approx(2 * (two["loglik"] - one["loglik"]), abs=1e-3)
    assert printed is None or found.statistic == pytest.approx(printed, abs=1e-3)
    assert found.log_likelihoods == pytest.approx((one["loglik"], two["loglik"]), abs=1e-3)
    assert found.p_value == 0.05
    assert max(found.simulated) < 20


def test_a_simulated_statistic_is_the_best_that_another_algorithm_finds():
    spec = px.MixtureSpec.from_parents(dict.fromkeys("ABCD", (0, 1)), {}, 2)
    one, half = torch.ones(1, dtype=torch.float64), torch.full((1, 2), 0.5, dtype=torch.float64)
    null = px.BayesNetMixture(spec.with_n_sources(1), one, (half,) * 4)
    counts = Counts.from_codes(spec, sample(null, 150, 0)[0])
    (group,) = _groups(null, counts, 1, 1, 3)
    assert [float(w) for w in group[1].sum(0)] == [150.0]
    gains, _ = _Climbs((null.spec, spec), counts, 10, 3).gains(*group, range(1, 2))
    for i, gain in enumerate(gains):
        seen = group[1][:, i] > 0
        rows, weights = group[0][seen], group[1][seen, i]
        few, many = (by_descent(rows, weights, k) for k in (1, 2))
        assert gain == pytest.approx(2 * (many - few), abs=0.01)


def test_a_simulated_table_does_not_depend_on_how_many_there_are_or_climb_together(monkeypatch):
    counts, _ = latent_class("cheating", 2)
    many = px.bootstrap_lrt(counts, 2, n=3, n_init=2, random_state=5)
    few = px.bootstrap_lrt(counts, 2, n=2, n_init=2, random_state=5)
    monkeypatch.setattr(likelihood_ratio, "NUMBERS", 1)
    apart = px.bootstrap_lrt(counts, 2, n=2, n_init=2, random_state=5)
    other = px.bootstrap_lrt(counts, 2, n=2, n_init=2, random_state=6)
    assert few.simulated == pytest.approx(many.simulated[:2], abs=1e-6)
    assert apart.simulated == pytest.approx(few.simulated, abs=1e-3)
    assert other.simulated != pytest.approx(few.simulated, abs=1e-2)
    assert len(set(many.simulated)) == 3


def test_simulated_tables_have_cells_missing_as_the_table_has():
    rng = np.random.default_rng(0)
    codes = torch.from_numpy(rng.integers(0, 2, (60, 4)))
    codes[:20, 3] = -1
    spec = px.MixtureSpec.from_parents(dict.fromkeys("ABCD", (0, 1)), {}, 2)
    counts = Counts.from_codes(spec, codes)
    (group,) = _groups(px.random_mixture(spec, 0), counts, 40, 40, 0)
    rows, weights = group
    assert bool((rows[:, :3] >= 0).all())
    shares = weights[rows[:, 3] < 0].sum(0) / 60
    assert float(shares.mean()) == pytest.approx(1 / 3, abs=0.04)
    found = px.bootstrap_lrt(counts, 2, n=2, n_init=3)
    assert len(found.simulated) == 2


def test_the_p_value_counts_the_table_itself_and_failed_starts_are_said():
    found = LikelihoodRatioTest(3, (-10.0, -8.0), 4.0, (1.0, 4.0, 5.0, -0.2), 10)
    assert found.p_value == 3 / 5
    assert found.n_negative == 1
    assert "on 1 of 4 simulated tables 3 sources ended below 2" in str(found)
    assert "failed" not in str(LikelihoodRatioTest(3, (-10.0, -8.0), 4.0, (1.0,), 10))


def test_a_network_is_tested_with_its_edges():
    rng = np.random.default_rng(0)
    a, c = rng.integers(0, 2, (2, 300))
    frame = pd.DataFrame({"A": a, "B": np.where(rng.random(300) < 0.9, a, 1 - a), "C": c})
    spec = px.MixtureSpec.from_parents(dict.fromkeys("ABC", (0, 1)), {"B": ["A"]}, 1)
    with_edge = px.bootstrap_lrt(frame, 2, model=spec, n=1, n_init=3)
    without = px.bootstrap_lrt(frame, 2, n=1, n_init=3)
    assert with_edge.log_likelihoods[0] > without.log_likelihoods[0] + 50
    assert without.statistic > with_edge.statistic + 50


def test_what_cannot_be_tested_is_refused():
    counts, _ = latent_class("cheating", 2)
    with pytest.raises(px.SpecError, match="n_sources must be an integer >= 2, found 1"):
        px.bootstrap_lrt(counts, 1)
    with pytest.raises(px.DataError, match="no rows"):
        px.bootstrap_lrt(px.population(px.random_mixture(counts.counted_for, 0)), 2)
