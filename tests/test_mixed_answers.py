"""Answers of mixtures with numbers against grids of numbers, by every engine."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mixed_cases import Oracle, density, mixture

from pyromix.answers.mixed import exact, sampling
from pyromix.answers.mixed.answer import NumericAnswer
from pyromix.answers.mixed.do import query
from pyromix.answers.mixed.effect import effect
from pyromix.answers.mixed.engines import Engine, Summary, value
from pyromix.answers.mixed.law import NumericLaw, Weighed
from pyromix.answers.mixed.parts import Hurdles, LogNormals, Normals, Poissons
from pyromix.answers.mixed.question import Question

NORMAL = mixture(
    {"C": "categorical", "X": "real", "W": "positive", "B": "categorical"},
    {"X": ["C"], "W": ["X", "C"], "B": ["C"]},
    seed=1,
)
CHILD = mixture(
    {"X": "real", "B": "categorical", "Y": "real"}, {"B": ["X"], "Y": ["X", "B"]}, k=3, seed=2
)
COUNT = mixture({"X": "positive", "N": "count", "Y": "real"}, {"N": ["X"], "Y": ["N"]}, seed=3)
HURDLE = mixture({"X": "real", "H": "hurdle", "Y": "real"}, {"H": ["X"], "Y": ["H"]}, seed=4)
GATED = mixture({"C": "categorical", "H": "hurdle", "B": "categorical"},
                {"H": ["C"], "B": ["H"]}, seed=8)  # fmt: skip
TAILS = mixture({"X": "real", "T": "student-t", "Y": "real"}, {"T": ["X"], "Y": ["T"]}, seed=5)

EXACT = [
    (NORMAL, "W", {}, {}),
    (NORMAL, "W", {"X": 1.2}, {}),
    (NORMAL, "W", {}, {"X": 1.2}),
    (NORMAL, "W", {"C": "b"}, {"B": "a"}),
    (NORMAL, "X", {}, {"W": 0.7, "B": "c"}),
    (NORMAL, "X", {"W": 0.7}, {"B": "c"}),
    (NORMAL, "C", {}, {"W": 0.7}),
    (NORMAL, "B", {"X": -1.0}, {"W": 2.0}),
    (NORMAL, "U", {"X": -1.0}, {"W": 2.0}),
    (NORMAL, "X", {}, {"U": 1}),
    (NORMAL, "W", {"U": 0}, {"X": 0.1}),
    (CHILD, "B", {"X": 0.3}, {}),
    (CHILD, "B", {}, {"X": 0.3}),
    (CHILD, "B", {"X": 0.3}, {"Y": 1.0}),
    (CHILD, "Y", {"B": "a"}, {}),
    (CHILD, "U", {}, {"X": 0.3, "B": "b"}),
    (COUNT, "N", {"X": 2.0}, {}),
    (COUNT, "X", {"N": 3}, {}),
    (COUNT, "Y", {}, {"X": 1.5, "N": 3}),
    (COUNT, "U", {}, {"X": 1.5, "N": 0}),
    (HURDLE, "H", {"X": 2.0}, {}),
    (HURDLE, "H", {}, {"X": 2.0}),
    (HURDLE, "Y", {"H": 0.0}, {}),
    (HURDLE, "Y", {"H": 2.5}, {}),
    (HURDLE, "U", {}, {"X": 1.0, "H": 0.0, "Y": 0.3}),
    (GATED, "H", {}, {}),
    (GATED, "C", {}, {"H": 0.0}),
    (GATED, "B", {"H": 1.0}, {}),
    (TAILS, "T", {"X": 2.0}, {}),
    (TAILS, "Y", {"T": 2.0}, {"X": 1.0}),
    (TAILS, "U", {}, {"X": 1.0, "T": -2.0}),
]
DRAWN = [
    (CHILD, "B", {}, {}),
    (CHILD, "X", {}, {"B": "c"}),
    (CHILD, "Y", {}, {"B": "c"}),
    (CHILD, "Y", {}, {}),
    (COUNT, "N", {}, {}),
    (COUNT, "X", {}, {"N": 4}),
    (COUNT, "N", {}, {"Y": 1.0}),
    (COUNT, "Y", {"X": 2.0}, {}),
    (HURDLE, "H", {}, {}),
    (HURDLE, "Y", {"X": 1.0}, {}),
    (HURDLE, "H", {}, {"Y": 1.0}),
    (HURDLE, "X", {}, {"H": 0.0}),
    (GATED, "C", {}, {"B": "a"}),
    (TAILS, "T", {}, {}),
    (TAILS, "Y", {"X": 0.2}, {}),
    (TAILS, "T", {"X": 0.2}, {"Y": 2.0}),
]


def agree(found, oracle, errors=0.0):
    """Up to rounding, or up to 4.5 standard errors by sampling."""
    if isinstance(found, NumericAnswer):
        assert abs(found.mean - oracle.mean) < 4.5 * errors * found.monte_carlo_error + 1e-8
        return
    allowed = 4.5 * errors * found.monte_carlo_error + 1e-8
    assert (np.abs(found.values - oracle.probs) < allowed).all()


@pytest.mark.parametrize(("m", "outcome", "do", "evidence"), EXACT)
def test_exact_answers_are_those_of_a_grid(m, outcome, do, evidence):
    found, oracle = query(m, outcome, do, evidence), Oracle(m, outcome, do, evidence)
    assert found.engine.name == "exact"
    agree(found, oracle)
    if isinstance(found, NumericAnswer):
        # Squares of a t with four degrees of freedom are cut off at 8e4.
        assert found.sd == pytest.approx(oracle.sd, rel=1e-4 if outcome == "T" else 1e-7)
        for at in (1.0, 2.0):
            assert found.density([at])[0] == pytest.approx(
                density(m, outcome, at, do, evidence), rel=1e-8
            )


@pytest.mark.parametrize(("m", "outcome", "do", "evidence"), DRAWN)
def test_draws_agree_with_a_grid_within_their_error(m, outcome, do, evidence):
    assert exact.why_not(m.spec, Question.from_names(m.spec, outcome, do, evidence))
    found = query(m, outcome, do, evidence, random_state=1)
    agree(found, Oracle(m, outcome, do, evidence), errors=1.0)
    assert np.max(found.monte_carlo_error) < 0.05
    if isinstance(found, NumericAnswer):
        for at in (1.0, 2.0):
            expected = density(m, outcome, at, do, evidence)
            assert found.density([at])[0] == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("case", [3, 4, 7, 13, 18, 24])
def test_draws_agree_with_the_sum_where_there_is_one(case):
    m, outcome, do, evidence = EXACT[case]
    found = query(m, outcome, do, evidence, engine="sampling", random_state=2)
    agree(found, Oracle(m, outcome, do, evidence), errors=1.0)


def test_the_mean_of_a_count_with_a_normal_parent_has_a_closed_form():
    """E[exp(a + b x)] = exp(a + b mu + b^2 s^2 / 2), within each source."""
    m = mixture({"X": "real", "N": "count"}, {"N": ["X"]}, seed=6)
    (x, n), weights = m.cpds, m.weights
    a, b = n.coefficients[:, 0].unbind(-1)
    mu, variance = x.coefficients[:, 0, 0], x.variances[:, 0]
    expected = float(weights @ (a + b * mu + 0.5 * b**2 * variance).exp())
    found = query(m, "N")
    assert abs(found.mean - expected) < 4.5 * found.monte_carlo_error
    assert found.monte_carlo_error < 0.02 * expected


def test_what_is_above_a_do_does_not_matter():
    question = Question.from_names(TAILS.spec, "Y", {"T": 1.0})
    assert question.relevant(TAILS.spec) == [TAILS.spec.vertex("Y")]
    seen = Question.from_names(TAILS.spec, "Y", None, {"T": 1.0})
    assert seen.relevant(TAILS.spec) == [0, 1, 2]


# -- quantiles, densities and distribution functions are of one law ------------------------------


@pytest.mark.parametrize(
    ("m", "outcome", "do"),
    [
        (NORMAL, "W", {}),
        (NORMAL, "X", {}),
        (TAILS, "T", {"X": 1.0}),
        (HURDLE, "H", {"X": 0.0}),
    ],
)
def test_density_is_the_slope_of_the_distribution_and_quantiles_its_inverse(m, outcome, do):
    found = query(m, outcome, do)
    at = np.array([0.3, 0.9, 1.7, 4.0])
    slope = (found.cdf(at + 1e-5) - found.cdf(at - 1e-5)) / 2e-5
    np.testing.assert_allclose(found.density(at), slope, rtol=1e-6)
    q = np.array([0.01, 0.3, 0.5, 0.99])
    reached = np.maximum(q, found.zero or 0.0)
    np.testing.assert_allclose(found.cdf(found.quantile(q)), reached, atol=1e-12)
    assert found.prob(above=0.3, up_to=1.7) == pytest.approx(found.cdf(1.7) - found.cdf(0.3))


@pytest.mark.parametrize("degrees", [3, 4, 5, 8])
def test_the_distribution_function_of_a_t_is_that_of_scipy(degrees):
    from scipy import stats

    from pyromix.answers.mixed.parts import Students

    one = torch.tensor([0.4], dtype=torch.float64)
    at = torch.linspace(-40, 40, 33, dtype=torch.float64)
    found = Students(one, 2 * one, degrees).cdf(at)[:, 0]
    np.testing.assert_allclose(found, stats.t.cdf(at, degrees, 0.4, 0.8), atol=1e-12)


def test_quantiles_of_a_count_are_the_least_numbers_that_reach():
    found = query(COUNT, "N", {"X": 3.0})
    for q in (0.001, 0.2, 0.5, 0.999):
        n = found.quantile(q)
        assert found.cdf(n) >= q > found.cdf(n - 1)
    assert found.density(range(60)).sum() == pytest.approx(1.0)
    assert found.density([0.5, -1.0]).tolist() == [0.0, 0.0]


def test_quantiles_by_draws_on_which_evidence_hangs():
    """No law given parents there: bells around the draws."""
    oracle = Oracle(HURDLE, "H", {}, {"Y": 1.0})
    found = query(HURDLE, "H", {}, {"Y": 1.0})
    assert abs(found.zero - oracle.law[0]) < 0.02
    reached = oracle.law.cumsum() - 0.5 * np.append(0.0, oracle.law[1:])
    for q in (0.7, 0.9):
        expected = np.interp(q, reached, oracle.raw)
        assert found.quantile(q) == pytest.approx(expected, rel=0.1)


# -- what draws are worth ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("m", "outcome", "evidence", "quantile"),
    [
        (COUNT, "N", {}, None),
        (COUNT, "X", {"N": 4}, None),
        (HURDLE, "H", {}, None),
        (HURDLE, "H", {}, 0.9),
        (HURDLE, "Y", {}, 0.2),
    ],
)
def test_the_error_that_is_told_is_the_spread_over_seeds(m, outcome, evidence, quantile):
    question = Question.from_names(m.spec, outcome, None, evidence)
    summary = Summary(quantile)
    laws = [sampling.solve(m, question, 400, seed) for seed in range(100)]
    spread = float(torch.stack([summary.of(law) for law in laws]).std())
    told = float(torch.stack([law.mix.error_of(summary.scores(law)) for law in laws]).mean())
    assert 0.75 < told / spread < 1.3


def test_arms_meet_the_same_random_numbers():
    found = effect(COUNT, "X", "Y", contrast=(2.0, 2.2))
    one, other = found.do.arms
    apart = np.hypot(one.monte_carlo_error, other.monte_carlo_error)
    assert 0 < found.do.monte_carlo_error[0] < apart
    again = effect(COUNT, "X", "Y", contrast=(2.0, 2.2))
    assert float(again.do) == float(found.do)
    assert float(effect(COUNT, "X", "Y", contrast=(2.0, 2.2), random_state=1).do) != float(found.do)


# -- sources, and parameters ---------------------------------------------------------------------


def test_relabelling_sources_leaves_answers_unchanged():
    for m, outcome, do, evidence in EXACT[1:9:3]:
        question = Question.from_names(m.spec, outcome, do, evidence)
        here, there = (value(x, question) for x in (m, m.relabel([1, 0])))
        torch.testing.assert_close(here, there, rtol=0, atol=1e-12)


SMOOTH = [
    (NORMAL, "W", {"C": "b"}, {"X": 1.0}, None),
    (NORMAL, "X", {}, {"W": 0.7}, 0.3),
    (NORMAL, "B", {}, {"W": 0.7}, None),
    (HURDLE, "H", {"X": 1.0}, {}, 0.9),
    (TAILS, "T", {"X": 1.0}, {}, 0.2),
    (COUNT, "N", {"X": 1.0}, {}, None),
    (COUNT, "N", {}, {"Y": 1.0}, None),
    (COUNT, "Y", {}, {}, 0.4),
    (HURDLE, "Y", {}, {}, None),
    (GATED, "C", {}, {"B": "a"}, None),
    (TAILS, "T", {}, {"Y": 1.0}, None),
]


@pytest.mark.parametrize(("m", "outcome", "do", "evidence", "quantile"), SMOOTH)
def test_gradients_are_those_of_finite_differences(m, outcome, do, evidence, quantile):
    """By draws: with states and counts drawn at the point itself."""
    question = Question.from_names(m.spec, outcome, do, evidence)
    engine = Engine(n_samples=200).settled(m, [question])

    def f(theta):
        here = m.with_parameters(theta)
        return value(here, question, Summary(quantile), engine, reference=m)[-1]

    theta = m.parameters.requires_grad_()
    (slope,) = torch.autograd.grad(f(theta), theta)
    assert bool(slope.isfinite().all())
    direction = torch.randn(len(theta), dtype=torch.float64)
    with torch.no_grad():
        step = 1e-5 * direction
        finite = (f(theta + step) - f(theta - step)) / 2e-5
    assert float(slope @ direction) == pytest.approx(float(finite), rel=1e-5, abs=1e-8)


def test_gradients_without_a_reference_are_those_with_it():
    question = Question.from_names(HURDLE.spec, "Y")
    found = []
    for reference in (None, HURDLE):
        theta = HURDLE.parameters.requires_grad_()
        there = HURDLE.with_parameters(theta)
        engine = Engine("sampling", 500)
        (at,) = value(there, question, engine=engine, reference=reference)
        found.append(torch.autograd.grad(at, theta)[0])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


def test_gradients_by_draws_come_near_those_of_the_sum():
    question = Question.from_names(NORMAL.spec, "W", {}, {"B": "a"})
    slopes = []
    for engine in (Engine("exact"), Engine("sampling", 40_000)):
        theta = NORMAL.parameters.requires_grad_()
        (at,) = value(NORMAL.with_parameters(theta), question, engine=engine)
        slopes.append(torch.autograd.grad(at, theta)[0])
    gap = (slopes[0] - slopes[1]).norm() / slopes[0].norm()
    assert float(gap) < 0.05


def test_counts_are_drawn_by_the_inverse_of_their_distribution():
    """So that for the same random numbers they rise with the rate."""
    from scipy import stats

    for rate in (0.0, 0.3, 7.0, 400.0, 3000.0):
        rates = torch.full((500,), rate, dtype=torch.float64)
        drawn = sampling._counts(rates, torch.Generator().manual_seed(0))
        uniform = torch.rand(500, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        gap = np.abs(stats.poisson.ppf(uniform.numpy(), rate) - drawn.numpy())
        assert gap.max() <= (1 if rate > sampling.MANY else 0)


def test_gradients_of_several_values_are_those_of_each():
    from pyromix.answers.mixed.spread import gradients

    questions = [Question.from_names(COUNT.spec, "Y", {"N": n}) for n in (0, 3)]
    ask = [lambda m, reference, q=q: value(m, q, reference=reference) for q in questions]
    both = gradients(COUNT, ask)
    assert both.shape == (2, len(COUNT.parameters))
    torch.testing.assert_close(both, torch.cat([gradients(COUNT, one) for one in ask]))


def test_numbers_at_the_end_of_the_range_leave_the_others_alone():
    def tensor(*x):
        return torch.tensor(x, dtype=torch.float64)

    never = NumericLaw(Weighed(tensor(1.0, 0.0)), Poissons(tensor(2.0, np.inf)))
    assert float(never.mean) == 2
    assert float(never.variance) == 2
    wide = NumericLaw(Weighed(tensor(0.5, 0.5)), Poissons(tensor(1.0, 1e160)))
    assert wide.quantile(tensor(0.1, 0.25, 0.49)).tolist() == [0, 1, 3]
    nobody = Hurdles(tensor(1.0, 0.5), LogNormals(Normals(tensor(2000.0, 0.0), tensor(1.0, 1.0))))
    law = NumericLaw(Weighed(tensor(0.5, 0.5)), nobody)
    assert float(law.mean) == pytest.approx(0.25 * np.exp(0.5))
    assert float(law.variance) < 10
    open_ended = NumericLaw(Weighed(tensor(0.5, 0.5), torch.tensor([0, 0])),
                            Poissons(tensor(1.0, np.inf)))  # fmt: skip
    assert float(open_ended.mean) == float(open_ended.sd) == np.inf
    assert float(open_ended.mix.error_of(open_ended.mean_scores)) == np.inf
