"""Distributions of numbers, and of states behind numbers, under the laws of the CPD seam."""

from __future__ import annotations

import math

import pytest
import torch
from laws.cpd_laws import CPDLaws, close
from scipy import integrate, optimize, stats

from pyromix.errors import SpecError
from pyromix.model.families import linear_gaussian, newton
from pyromix.model.families.hurdle import HurdleCPD
from pyromix.model.families.layout import Layout, Numbers
from pyromix.model.families.linear_gaussian import LinearGaussianCPD, LinearSums
from pyromix.model.families.logistic import LogisticCPD
from pyromix.model.families.newton import Slopes
from pyromix.model.families.poisson import PoissonCPD
from pyromix.model.families.student_t import StudentTCPD
from pyromix.model.families.sweep import sweep

LAYOUT = Layout((2, Numbers.VALUE))


def normal(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def states(seed, card, m):
    return torch.randint(card, (m,), generator=torch.Generator().manual_seed(seed))


def line(cpd, u, parents):
    """Linear predictor and variance of one row, in plain numbers."""
    a, x = parents
    start, slope = cpd.coefficients.tolist()[u][int(a)]
    return start + slope * x


class LineLaws(CPDLaws):
    """Parents of two states and a number."""

    def columns(self, seed, m):
        return normal(seed, m), [states(seed, 2, m), normal(seed + 1, m)]

    def mass(self, cpd, u, parents):
        def density(y):
            return math.exp(self.plain_log_prob(cpd, u, y, parents))

        centre = line(cpd, u, parents)
        below = integrate.quad(density, -math.inf, centre, epsabs=1e-12)[0]
        return below + integrate.quad(density, centre, math.inf, epsabs=1e-12)[0]


class TestLinearGaussian(LineLaws):
    """A number."""

    ESTIMATED = 0.08

    def make(self, seed, batch_shape=(), k=3):
        lines = normal(seed, *batch_shape, k, 2, 2)
        return LinearGaussianCPD(lines, (0.4 * normal(seed + 9, *batch_shape, k, 2)).exp(), LAYOUT)

    def plain_log_prob(self, cpd, u, value, parents):
        variance = cpd.variances.tolist()[u][int(parents[0])]
        return stats.norm.logpdf(value, line(cpd, u, parents), math.sqrt(variance))


class TestSharedLine(TestLinearGaussian):
    """A number that U does not act on."""

    def make(self, seed, batch_shape=(), k=3):
        one = super().make(seed, batch_shape, 1)
        shape = (*batch_shape, k, 2)
        return LinearGaussianCPD(
            one.coefficients.expand(*shape, 2), one.variances.expand(shape), LAYOUT, shared=True
        )

    def test_features_go_row_by_row_and_tell_sources_apart(self):
        assert self.make(0).parameters.shape == (2 * 2 + 2,)


def test_many_table_rows_are_summed_as_few_are(monkeypatch):
    layout, shares = Layout((6, 4, Numbers.VALUE)), TestLinearGaussian().shares(0, 90)
    cpd = LinearGaussianCPD.standard(3, layout)
    columns = [states(1, 6, 90), states(2, 4, 90), normal(3, 90)]
    fast = cpd.statistics(normal(4, 90), columns, shares)
    monkeypatch.setattr(linear_gaussian, "SMALL", 24)
    plain = cpd.statistics(normal(4, 90), columns, shares)
    close(fast.weight, plain.weight)
    close(fast.squares, plain.squares)


class TestStudentT(LineLaws):
    """A number with heavy tails; EM within EM."""

    ESTIMATED = 0.08
    STEPS = 60
    N_MANY = 20_000

    def make(self, seed, batch_shape=(), k=3):
        lines = normal(seed, *batch_shape, k, 2, 2)
        return StudentTCPD(lines, (0.4 * normal(seed + 9, *batch_shape, k, 2)).exp(), LAYOUT)

    def plain_log_prob(self, cpd, u, value, parents):
        variance = cpd.variances.tolist()[u][int(parents[0])]
        return stats.t.logpdf(value, 4, line(cpd, u, parents), math.sqrt(variance))

    def test_it_is_the_fit_of_scipy(self):
        values = torch.from_numpy(stats.t.rvs(4, 1.5, 0.7, size=400, random_state=0))
        one, shares = StudentTCPD.standard(1, Layout()), torch.ones(400, 1, dtype=torch.float64)
        found = self.estimated(one, values, [], shares)
        _, centre, scale = stats.t.fit(values.numpy(), f0=4)
        assert float(found.coefficients[0, 0, 0]) == pytest.approx(centre, abs=1e-4)
        assert float(found.variances[0, 0].sqrt()) == pytest.approx(scale, abs=1e-4)


class TestLogistic(CPDLaws):
    """Three states behind two states and a number."""

    ESTIMATED = 0.25
    STEPS = 40
    N_MANY = 10_000

    def make(self, seed, batch_shape=(), k=3):
        return LogisticCPD(0.7 * normal(seed, *batch_shape, k, 2, 2, 2), LAYOUT)

    def columns(self, seed, m):
        return states(seed + 5, 3, m), [states(seed, 2, m), normal(seed + 1, m)]

    def plain_log_prob(self, cpd, u, value, parents):
        a, x = parents
        scores = [*(c[0] + c[1] * x for c in zip(*cpd.coefficients.tolist()[u][int(a)],
                                                 strict=True)), 0.0]  # fmt: skip
        return scores[int(value)] - math.log(sum(map(math.exp, scores)))

    def mass(self, cpd, u, parents):
        return sum(math.exp(self.plain_log_prob(cpd, u, s, parents)) for s in range(3))

    def test_a_prior_counts_as_further_rows(self):
        """A prior is a normal law of the coefficients: the mode is that of a plain optimiser."""
        (values, parents), shares = self.columns(0, 40), self.shares(0, 40)
        cpd = self.make(0)
        prior = Slopes.ridge(0.5, cpd.coefficients.flatten(-2))

        def lost(at):
            here = cpd.with_parameters(torch.from_numpy(at))
            likely = (shares * here.log_prob(values, parents)).sum()
            return float(0.25 * (at**2).sum() - likely)

        best = optimize.minimize(lost, cpd.parameters.numpy(), options={"gtol": 1e-7})
        for _ in range(60):
            cpd = cpd.estimate(cpd.statistics(values, parents, shares), prior)
        close(cpd.parameters, torch.from_numpy(best.x), atol=1e-4)


class TestBinaryLogistic(TestLogistic):
    """Two states: the bound on the third derivative is another."""

    def make(self, seed, batch_shape=(), k=3):
        return LogisticCPD(normal(seed, *batch_shape, k, 2, 2, 1), LAYOUT)

    def columns(self, seed, m):
        return states(seed + 5, 2, m), [states(seed, 2, m), normal(seed + 1, m)]

    def mass(self, cpd, u, parents):
        return sum(math.exp(self.plain_log_prob(cpd, u, s, parents)) for s in range(2))


class TestPoisson(CPDLaws):
    """A count behind two states and a number."""

    ESTIMATED = 0.08
    STEPS = 40
    N_MANY = 10_000

    def make(self, seed, batch_shape=(), k=3):
        return PoissonCPD(0.5 * normal(seed, *batch_shape, k, 2, 2) + 0.5, LAYOUT)

    def columns(self, seed, m):
        return states(seed + 5, 6, m).double(), [states(seed, 2, m), normal(seed + 1, m)]

    def plain_log_prob(self, cpd, u, value, parents):
        return stats.poisson.logpmf(value, math.exp(line(cpd, u, parents)))

    def mass(self, cpd, u, parents):
        return sum(math.exp(self.plain_log_prob(cpd, u, y, parents)) for y in range(200))

    test_a_prior_counts_as_further_rows = None


class TestHurdle(CPDLaws):
    """Zeros, and the logarithm of what is above, behind two states and another such number."""

    ESTIMATED = 0.25
    STEPS = 40
    N_MANY = 10_000
    layout = Layout((2, Numbers.HURDLE))

    def make(self, seed, batch_shape=(), k=3):
        return HurdleCPD(
            LogisticCPD(0.7 * normal(seed, *batch_shape, k, 2, 3, 1), self.layout),
            LinearGaussianCPD(
                normal(seed + 3, *batch_shape, k, 2, 3),
                (0.3 * normal(seed + 9, *batch_shape, k, 2)).exp(),
                self.layout,
            ),
        )

    @staticmethod
    def hurdled(seed, m):
        size = normal(seed, m)
        return torch.where(states(seed + 2, 3, m) > 0, size, torch.full_like(size, -math.inf))

    def columns(self, seed, m):
        return self.hurdled(seed, m), [states(seed, 2, m), self.hurdled(seed + 1, m)]

    def plain_log_prob(self, cpd, u, value, parents):
        a, x = parents
        z = [1.0, float(x > -math.inf), x if x > -math.inf else 0.0]
        score = sum(c[0] * b for c, b in zip(cpd.gate.coefficients.tolist()[u][int(a)], z,
                                             strict=True))  # fmt: skip
        if value == -math.inf:
            return score - math.log1p(math.exp(score))
        mean = sum(c * b for c, b in zip(cpd.size.coefficients.tolist()[u][int(a)], z, strict=True))
        scale = math.sqrt(cpd.size.variances.tolist()[u][int(a)])
        return stats.norm.logpdf(value, mean, scale) - math.log1p(math.exp(score))

    def mass(self, cpd, u, parents):
        zero = math.exp(self.plain_log_prob(cpd, u, -math.inf, parents))
        return (
            zero
            + integrate.quad(
                lambda y: math.exp(self.plain_log_prob(cpd, u, y, parents)),
                -30,
                30,
                points=[-2, 0, 2],
            )[0]
        )

    test_a_prior_counts_as_further_rows = None


def test_a_prior_on_the_variance_keeps_it_off_zero():
    """THEORY 18.2: never below a0 s0^2 / (N + a0), however few rows a cell has."""
    cpd, (values, [a, x]) = TestLinearGaussian().make(0), TestLinearGaussian().columns(0, 2)
    ridge = torch.zeros(3, 2, 3, 3, dtype=torch.float64)
    ridge[..., 0, 0] = ridge[..., 1, 1] = 0.1
    ridge[..., 2, 2] = 2 * 0.25
    prior = LinearSums(torch.full((3, 2), 2.0, dtype=torch.float64), ridge)
    shares = torch.full((2, 3), 1 / 3, dtype=torch.float64)
    found = cpd.estimate(cpd.statistics(values, [a, x], shares), prior)
    assert float(found.variances.min()) >= 2 * 0.25 / (2 + 2)


@pytest.mark.parametrize("card", [2, 3])
def test_slopes_of_many_table_rows_are_those_of_few(monkeypatch, card):
    layout, shares = Layout((6, 4, Numbers.VALUE)), TestLogistic().shares(0, 90)
    columns = [states(1, 6, 90), states(2, 4, 90), normal(3, 90)]
    logit = LogisticCPD(normal(4, 3, 24, 2, card - 1), layout)
    rate = PoissonCPD(0.3 * normal(5, 3, 24, 2), layout)
    values = [states(6, card, 90), states(7, 5, 90).double()]
    fast = [c.statistics(v, columns, shares) for c, v in zip((logit, rate), values, strict=True)]
    monkeypatch.setattr(newton, "SMALL", 24)
    plain = [c.statistics(v, columns, shares) for c, v in zip((logit, rate), values, strict=True)]
    for one, other in zip(fast, plain, strict=True):
        close(one.gradient, other.gradient)
        close(one.hessian, other.hessian)
        close(one.radius, other.radius)


def test_what_does_not_fit_the_parents_is_refused():
    two = torch.zeros(3, 2, 2, dtype=torch.float64)
    with pytest.raises(SpecError, match="variances"):
        LinearGaussianCPD(two, torch.ones(3, 1, dtype=torch.float64), LAYOUT)
    with pytest.raises(SpecError, match="coefficients"):
        PoissonCPD(two[..., :1], LAYOUT)
    with pytest.raises(SpecError, match="coefficients"):
        LogisticCPD(two, LAYOUT)
    with pytest.raises(SpecError, match="2 columns"):
        LAYOUT.row([torch.zeros(1)])


@pytest.mark.parametrize("n_swept", [0, 2, 4])
def test_sweeping_is_inverse_least_squares_and_determinant(n_swept):
    rows = normal(0, 2, 30, 5)
    squares = rows.mT @ rows
    found = sweep(squares, n_swept)
    block, cross = squares[:, :n_swept, :n_swept], squares[:, :n_swept, n_swept:]
    close(found.inverted @ block, torch.eye(n_swept, dtype=torch.float64).expand(2, -1, -1))
    close(block @ found.lines, cross, atol=1e-10)
    gap = rows[..., n_swept:] - rows[..., :n_swept] @ found.lines
    close(found.left, gap.mT @ gap, atol=1e-10)
    close(found.log_det, torch.linalg.slogdet(block)[1])


def test_a_column_that_others_make_up_is_passed_over():
    rows = normal(0, 30, 3)
    rows = torch.cat([rows, rows[:, :1] - rows[:, 1:2], normal(1, 30, 1)], -1)
    found = sweep(rows.mT @ rows, 4)
    alone = sweep(rows[:, [0, 1, 2, 4]].mT @ rows[:, [0, 1, 2, 4]], 3)
    assert float(found.lines[3, 0]) == 0
    close(found.lines[:3], alone.lines, atol=1e-9)
    close(found.left, alone.left, atol=1e-9)
