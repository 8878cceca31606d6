"""Profile likelihood against closed forms, a brute-force search, and the delta method."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
import torch
from scipy.stats import beta, chi2

import pyromix as px
from pyromix.answers.intervals import Method
from pyromix.answers.pulls import Ladder, Outwards
from pyromix.data.counts import Counts
from pyromix.estimate.descent import minimise
from pyromix.estimate.surface import Surface
from pyromix.model.prior import PseudoCounts

FIVE = {"A": (0, 1), "B": (0, 1), "C": (0, 1), "X": (0, 1), "Y": (0, 1)}


def rosenbrock(points, which):
    points = points.detach().requires_grad_()
    one, two = points[:, :-1], points[:, 1:]
    values = (100 * (two - one**2) ** 2 + (1 - one) ** 2).sum(-1)
    (gradients,) = torch.autograd.grad(values.sum(), points)
    return values.detach(), gradients


def frame_of(cells):
    """Rows of X and Y from the counts of 00, 01, 10, 11."""
    rows = np.repeat([[0, 0], [0, 1], [1, 0], [1, 1]], cells, axis=0)
    return pd.DataFrame(rows, columns=["X", "Y"])


def binomial_ends(successes, n, limit):
    """Roots of 2 n KL(successes / n, p) = limit, by bisection."""
    share = successes / n

    def loss(p):
        parts = [(share, p), (1 - share, 1 - p)]
        return 2 * n * sum(a * math.log(a / b) for a, b in parts if a > 0) - limit

    low = 0.0 if share == 0 else scipy.optimize.brentq(loss, 1e-12, share)
    high = 1.0 if share == 1 else scipy.optimize.brentq(loss, share, 1 - 1e-12)
    return low, high


# -- the descent -----------------------------------------------------------------------------------


def test_a_descent_finds_the_bottom_of_a_crooked_valley_from_every_start():
    start = torch.tensor([[-1.2, 1.0], [2.0, 2.0], [0.0, -3.0]], dtype=torch.float64)
    found = minimise(rosenbrock, start, tol=1e-14, max_iter=300)
    assert bool(found.converged.all())
    np.testing.assert_allclose(found.point, torch.ones(3, 2), atol=1e-6)


def test_starts_of_a_descent_do_not_feel_each_other():
    start = torch.tensor([[-1.2, 1.0], [2.0, 2.0], [0.0, -3.0]], dtype=torch.float64)
    together = minimise(rosenbrock, start, tol=1e-3, max_iter=15)
    for i in range(3):
        alone = minimise(rosenbrock, start[i : i + 1], tol=1e-3, max_iter=15)
        np.testing.assert_allclose(together.point[i], alone.point[0], rtol=1e-9)


def test_no_step_of_a_descent_goes_up_or_leaves_where_values_are_finite():
    seen = []

    def walled(points, which):
        values, gradients = rosenbrock(points, which)
        outside = points[:, 0] > 0.5
        seen.append(values[~outside].min().item() if bool((~outside).any()) else math.inf)
        return torch.where(outside, torch.nan, values), gradients

    start = torch.tensor([[-1.2, 1.0]], dtype=torch.float64)
    found = minimise(walled, start, tol=1e-10, max_iter=200)
    assert bool(found.point[0, 0] <= 0.5)
    assert float(found.value[0]) == pytest.approx(0.25, abs=0.05)


def test_what_a_descent_saw_where_it_ended_is_handed_on():
    asked = []

    def telling(points, which):
        return *rosenbrock(points, which), points.sum(1), which

    def onwards(points, which, sums, numbers):
        asked.append(len(which))
        assert torch.equal(sums, points.sum(1))
        assert torch.equal(numbers, which)
        again = which[which == 1] if len(asked) == 1 else which[:0]
        return again, *rosenbrock(points[which == 1][: len(again)], again)

    start = torch.tensor([[-1.2, 1.0], [2.0, 2.0], [0.0, -3.0]], dtype=torch.float64)
    minimise(telling, start, tol=1e-3, max_iter=6, onwards=onwards)
    assert sum(asked) == 4


@pytest.mark.parametrize("prior", [None, 0.5])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_gradients_of_the_likelihood_are_differences_of_it(prior, missing):
    spec = px.MixtureSpec.from_parents(FIVE, {"Y": ["X"]}, 2, uninfluenced=["C"])
    frame = px.simulate(px.random_mixture(spec, 0), 80, random_state=0).astype(object)
    frame = frame.mask(np.random.default_rng(0).random(frame.shape) < missing)
    counts = Counts.from_frame(frame, spec)
    surface = Surface.of(spec, counts, PseudoCounts.of(spec, prior))
    odds = surface.odds(stacked(spec, 3))
    _, gradients = surface(odds)
    step = 1e-5
    for i in range(surface.axis.size):
        moved = torch.zeros_like(odds)
        moved[:, i] = step
        slope = (surface(odds + moved)[0] - surface(odds - moved)[0]) / (2 * step)
        np.testing.assert_allclose(gradients[:, i], slope, atol=1e-5)


def stacked(spec, n):
    from pyromix.estimate.starts import batch_of

    return batch_of(*(px.random_mixture(spec, seed) for seed in range(n)))


def test_a_ladder_keeps_what_fits_and_lies_outside_on_its_own_side():
    side = torch.tensor([1.0, -1.0], dtype=torch.float64)
    found = Outwards(
        torch.zeros(2, dtype=torch.int64),
        side,
        torch.zeros(2, 1, dtype=torch.float64),
        torch.tensor([0.6, 0.2], dtype=torch.float64),
        torch.zeros(2, dtype=torch.float64),
        torch.full((2,), 0.1, dtype=torch.float64),
        best=0.0,
        root=1.6,
        bounds=(0.0, 1.0),
    )
    ladder = Ladder(torch.tensor(0.4, dtype=torch.float64), (0.0, 1.0), 1.6**2, 0.0, 1)
    assert ladder.goal.tolist() == pytest.approx([1, 0.85, 0.7, 0.55, 0, 0.1, 0.2, 0.3])
    answers = torch.tensor([0.7, 0.9, 0.5, 0.1, 0.1, 0.05, 0.3, 0.9], dtype=torch.float64)
    values = torch.tensor([-1.0, -9.0, -1.0, -1.0, -1.0, -9.0, -1.0, -1.0], dtype=torch.float64)
    which = torch.arange(8)
    assert ladder.look(which, answers[:, None], answers, values).all()
    sides, z, q, value = ladder.outside(found)
    assert sides.tolist() == [1, -1]
    assert q.tolist() == z[:, 0].tolist() == [0.7, 0.1]
    assert value.tolist() == [-1, -1]


# -- one source: the binomial ----------------------------------------------------------------------


@pytest.mark.parametrize(("successes", "n"), [(30, 100), (60, 100), (12, 40)])
def test_with_many_rows_the_ends_are_those_of_the_binomial_likelihood(successes, n):
    spec = px.MixtureSpec.from_parents({"X": (0, 1), "Y": (0, 1)}, {"Y": ["X"]}, 1)
    fit = px.fit(spec, frame_of([25, 25, n - successes, successes]), prior=None)
    found = fit.query("Y", {"X": 1}).interval_report(0.95, method="profile")
    assert found.methods[1] is Method.PROFILE
    expected = binomial_ends(successes, n, chi2.ppf(0.95, 1))
    np.testing.assert_allclose([found.low[1], found.high[1]], expected, atol=1.5e-3)
    # a search stays inside
    assert expected[0] <= found.low[1]
    assert found.high[1] <= expected[1]


@pytest.mark.parametrize("n", [5, 20, 100])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_all_of_n_has_the_interval_of_clopper_and_pearson(n, level):
    spec = px.MixtureSpec.from_parents({"X": (0, 1), "Y": (0, 1)}, {"Y": ["X"]}, 1)
    for prior in (None, "pooled"):
        fit = px.fit(spec, frame_of([25, 25, 0, n]), prior=prior)
        answer = fit.query("Y", {"X": 1}, level=level)
        low, high = answer.interval()
        assert answer.interval_report().methods == (Method.FEW_ROWS,) * 2
        assert low[1] == pytest.approx(beta.ppf((1 - level) / 2, n, 1), abs=3e-3)
        assert high[1] == pytest.approx(1.0, abs=1e-5)
        np.testing.assert_allclose([low[0], high[0]], [1 - high[1], 1 - low[1]], atol=1e-12)


@pytest.mark.parametrize("n", [5, 12, 30])
def test_the_limit_for_few_rows_misses_no_binomial_more_often_than_it_says(n):
    """Exactly, over a grid of p; the ordinary limit does miss more."""
    few, ordinary = -2 * math.log(0.05), chi2.ppf(0.9, 1)
    worst = {few: 1.0, ordinary: 1.0}
    for limit in worst:
        ends = [binomial_ends(x, n, limit) for x in range(n + 1)]
        for p in np.linspace(0.005, 0.995, 199):
            law = scipy.stats.binom.pmf(range(n + 1), n, p)
            covered = sum(w for w, (a, b) in zip(law, ends, strict=True) if a <= p <= b)
            worst[limit] = min(worst[limit], covered)
    assert worst[few] >= 0.9
    assert worst[ordinary] < 0.85


# -- not identified, and a brute-force search ------------------------------------------------------


@pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")
def test_x_and_y_alone_have_the_natural_bounds_and_their_binomial_ends():
    """P(x, y) <= P(y | do(x)) <= 1 - P(x, not y) [manski90]; each end is a binomial one."""
    cells = np.array([2400, 1760, 1440, 4400])
    spec = px.MixtureSpec.from_parents({"X": (0, 1), "Y": (0, 1)}, {"Y": ["X"]}, 2)
    fit = px.fit(spec, frame_of(cells), prior=None, n_init=5)
    answer = fit.query("Y", {"X": 1}, require="none")
    found = answer.interval_report(0.9)
    assert found.methods[1] is Method.SET
    n, limit = cells.sum(), chi2.ppf(0.9, 1)
    low = binomial_ends(cells[3], n, limit)[0]
    high = 1 - binomial_ends(cells[2], n, limit)[0]
    np.testing.assert_allclose([found.low[1], found.high[1]], [low, high], atol=2e-3)
    with pytest.raises(px.NotCertifiedError):
        fit.query("Y", {"X": 1})


def brute_force(counts, limit):
    """Ends of P(Y=1 | do(X=1)) of A, X -> Y and a binary U, by plain loops and many starts."""
    n = counts.sum()

    def law(t):
        p = scipy.special.expit(t)
        joint = np.zeros((2, 2, 2))
        for u, w in ((0, 1 - p[0]), (1, p[0])):
            for a in (0, 1):
                for x in (0, 1):
                    for y in (0, 1):
                        pa = p[1 + u] if a else 1 - p[1 + u]
                        p_x = p[3 + u] if x else 1 - p[3 + u]
                        py = p[5 + 2 * u + x]
                        joint[a, x, y] += w * pa * p_x * (py if y else 1 - py)
        return joint, (1 - p[0]) * p[6] + p[0] * p[8]

    def height(t):
        joint, q = law(t)
        return float((counts * np.log(joint + 1e-300)).sum()), q

    rng = np.random.default_rng(0)
    top = float((counts * np.log(counts / n)).sum())
    fits = [
        scipy.optimize.minimize(lambda t: -height(t)[0], rng.normal(size=9), method="L-BFGS-B")
        for _ in range(12)
    ]
    best = max(-f.fun for f in fits)
    assert best == pytest.approx(top, abs=0.5)
    reached = [height(f.x)[1] for f in fits if best + f.fun < limit / 2]
    low, high = min(reached), max(reached)
    for side in (-1, 1):
        for goal in np.linspace(0, 1, 41):
            if (goal - (low if side < 0 else high)) * side <= 0:
                continue
            for f in sorted(fits, key=lambda f: f.fun)[:4]:
                pulled = scipy.optimize.minimize(
                    lambda t, goal=goal: -height(t)[0] + 2000 * (height(t)[1] - goal) ** 2,
                    f.x,
                    method="L-BFGS-B",
                )
                loss, q = best - height(pulled.x)[0], height(pulled.x)[1]
                if loss <= limit / 2:
                    low, high = min(low, q), max(high, q)
    return low, high


@pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")
def test_with_one_proxy_the_ends_are_those_of_a_brute_force_search():
    counts = np.array([[[120, 60], [40, 80]], [[60, 90], [50, 200]]], dtype=float)
    rows = np.repeat(np.argwhere(counts > 0), counts[counts > 0].astype(int), axis=0)
    frame = pd.DataFrame(rows, columns=["A", "X", "Y"])
    spec = px.MixtureSpec.from_parents(dict.fromkeys("AXY", (0, 1)), {"Y": ["X"]}, 2)
    fit = px.fit(spec, frame, prior=None, n_init=10)
    answer = fit.query("Y", {"X": 1}, require="none")
    low, high = (end[1] for end in answer.interval(0.9))
    slow_low, slow_high = brute_force(counts, chi2.ppf(0.9, 1))
    # Neither search is complete: ours must reach as far, up to the steps of the other's grid.
    assert low <= slow_low + 0.005
    assert high >= slow_high - 0.005
    assert low == pytest.approx(slow_low, abs=0.03)
    assert high == pytest.approx(slow_high, abs=0.03)


# -- where the delta method will do ----------------------------------------------------------------


def test_on_a_strong_table_both_methods_agree_and_delta_is_taken():
    model, frame, _ = px.datasets.load("hidden-group")
    effect = px.fit(model, frame).effect("X", "Y", level=0.9)
    assert effect.do.interval_report().methods == (Method.DELTA,) * 2
    delta, profile = effect.interval(method="delta"), effect.interval(method="profile")
    width = delta[1][1] - delta[0][1]
    np.testing.assert_allclose(delta, profile, atol=0.05 * width)
    assert "interval: delta method" in str(effect)
    assert "90% interval" in str(effect)


def test_levels_order_intervals_and_methods_are_checked():
    model, frame, _ = px.datasets.load("hidden-group")
    answer = px.fit(model, frame).query("Y", {"X": "treated"})
    for method in ("delta", "profile"):
        narrow, wide = answer.interval(0.5, method), answer.interval(0.99, method)
        assert (wide[0] < narrow[0]).all()
        assert (narrow[1] < wide[1]).all()
    with pytest.raises(px.QueryError, match="method must be one of"):
        answer.interval(method="wald")
    with pytest.raises(px.QueryError, match="no draws"):
        answer.interval(method="draws")
    with pytest.raises(px.QueryError, match="level must be a number between 0 and 1"):
        answer.interval(95)
    bare = px.query(px.random_mixture(answer.spec, 0), "Y")
    with pytest.raises(px.QueryError, match="searches the table of a fit"):
        bare.interval(method="profile")


def test_a_prior_learned_beyond_the_table_does_not_make_an_interval_narrow():
    """Y does not depend on U: its rows are drawn together with a strength of 30,000 rows."""
    g = np.random.default_rng(1)
    u = g.random(600) < 0.4
    frame = pd.DataFrame({v: (g.random(600) < np.where(u, 0.85, 0.2)).astype(int) for v in "ABC"})
    frame["X"] = (g.random(600) < np.where(u, 0.7, 0.3)).astype(int)
    frame["Y"] = (g.random(600) < 0.2 + 0.5 * frame["X"]).astype(int)
    spec = px.MixtureSpec.from_parents(dict.fromkeys(frame, (0, 1)), {"Y": ["X"]}, 2)
    fit = px.fit(spec, frame, random_state=0, n_init=2)
    assert max(fit.prior.learned) > 600
    naive = fit.effect("X", "Y", require="weak").naive
    delta, profile = (
        naive.interval(0.9, how)[1][1] - naive.interval(0.9, how)[0][1]
        for how in ("delta", "profile")
    )
    assert profile == pytest.approx(delta, rel=0.1)
