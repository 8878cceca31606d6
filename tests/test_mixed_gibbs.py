"""Gibbs for mixtures with numbers: closed forms, quadrature, enumeration, missing cells, doors.

Rows of a table with many rows are drawn apart, so one call gives as many independent draws.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from mixed_cases import Oracle, inner, mixture
from scipy import stats
from scipy.special import gammaln

from pyromix.data.records import Records
from pyromix.errors import DataError, QueryError
from pyromix.estimate.mixed.prior import MixedPrior, prior_of
from pyromix.model.cpd import TableCPD
from pyromix.model.families.layout import Layout, Numbers
from pyromix.model.families.linear_gaussian import LinearGaussianCPD, LinearSums
from pyromix.model.families.logistic import LogisticCPD
from pyromix.model.families.newton import Slopes
from pyromix.model.families.poisson import PoissonCPD
from pyromix.model.families.student_t import StudentTCPD
from pyromix.model.match import best_assignments
from pyromix.posterior.mixed.gibbs import Sweep, _costs, _under, gibbs_mixed, in_rows
from pyromix.posterior.mixed.laws import Family, draw_law

MANY = 500
"""Rows of a table, each an independent draw."""

LAYOUT = Layout((MANY, Numbers.VALUE))

RARE = 1e-5
"""Chance of a false alarm, of some dozens of comparisons."""

X = torch.tensor([-1.0, -0.4, 0.3, 0.8, 1.5], dtype=torch.float64)
Y = torch.tensor([-0.9, 0.1, 0.2, 1.3, 0.7], dtype=torch.float64)


def family(values):
    """The same rows in every row of the table."""
    m = len(values)
    rows = torch.arange(MANY).repeat_interleave(m)
    zeros = torch.zeros(MANY * m, dtype=torch.long)
    return Family.of(values.repeat(MANY), (rows, X.repeat(MANY)), zeros, 1)


def generator():
    return torch.Generator().manual_seed(0)


def line_prior(lines, ridge, n0, rest, like):
    squares = torch.zeros(3, 3, dtype=torch.float64)
    squares[:2, :2] = ridge * torch.eye(2)
    squares[:2, 2] = squares[2, :2] = ridge * lines
    squares[2, 2] = rest + ridge * float(lines @ lines)
    weight = torch.full_like(like.variances, n0)
    return LinearSums(weight, squares.expand(*weight.shape, 3, 3).clone())


def test_one_source_has_the_normal_inverse_gamma_posterior():
    """Marginals in closed form: v inverse gamma, and every combination of the line Student's t."""
    cpd = LinearGaussianCPD.standard(1, LAYOUT)
    b0, ridge, n0, rest = torch.tensor([0.3, -0.2], dtype=torch.float64), 0.5, 2.0, 0.7
    prior = line_prior(b0, ridge, n0, rest, cpd)
    found = draw_law(cpd, cpd, family(Y), prior, generator())
    z, y, b = np.stack([np.ones(5), X.numpy()], 1), Y.numpy(), b0.numpy()
    precision = z.T @ z + ridge * np.eye(2)
    mean = np.linalg.solve(precision, z.T @ y + ridge * b)
    left = rest + y @ y + ridge * b @ b - mean @ precision @ mean
    n = n0 + len(y)
    v = found.variances.flatten().numpy()
    assert stats.kstest(v, stats.invgamma(n / 2, scale=left / 2).cdf).pvalue > RARE
    for way in ([1.0, 0.0], [0.0, 1.0], [1.0, -2.0]):
        way = np.array(way)
        scale = np.sqrt(left / n * way @ np.linalg.solve(precision, way))
        draws = found.coefficients[0].numpy() @ way
        assert stats.kstest(draws, stats.t(n, way @ mean, scale).cdf).pvalue > RARE


def test_tables_are_dirichlet_and_shared_ones_have_the_rows_of_all():
    many, values = 6000, torch.tensor([0, 1, 2, 2, 2])
    rows = torch.arange(many).repeat_interleave(5)
    own = torch.tensor([0, 0, 0, 1, 1]).repeat(many)
    given = Family.of(values.repeat(many), (rows,), own, 2)
    flat = torch.full((2, many, 3), 1 / 3, dtype=torch.float64)
    for shared, alphas in ((False, ([2, 2, 2], [1, 1, 3])), (True, ([2, 2, 4], [2, 2, 4]))):
        prior = torch.full_like(flat, 0.5)
        drawn = draw_law(TableCPD(flat, 1, shared), None, given, prior, generator()).values
        for u, alpha in enumerate(alphas):
            alpha = np.array(alpha) + (1.0 if shared else 0.5)
            for s in range(3):
                law = stats.beta(alpha[s], alpha.sum() - alpha[s])
                assert stats.kstest(drawn[u, :, s].numpy(), law.cdf).pvalue > RARE
        assert shared == bool((drawn[0] == drawn[1]).all())


def quadrature(log_density, *axes):
    """Mean and standard deviation of every coordinate."""
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
    logs = log_density(points)
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    mean = weights @ points
    return mean, np.sqrt(weights @ (points - mean) ** 2)


def agree(draws, mean, sd):
    """Independent draws, of which mean and spread are known."""
    z = (draws.mean(0) - mean) / (sd / np.sqrt(len(draws)))
    wide = ((draws - mean) ** 2).mean(0) / sd**2 - 1
    assert np.abs(z).max() < 4.5
    assert np.abs(wide).max() < 6 * np.sqrt(2 / len(draws)) * 2


def after(cpd, given, prior, sweeps, around=None):
    rng = generator()
    at = cpd
    for _ in range(sweeps):
        at = draw_law(at, cpd if around is None else around, given, prior, rng)
    return at


@pytest.mark.parametrize("family_of", [PoissonCPD, LogisticCPD])
def test_logits_and_rates_agree_with_quadrature(family_of):
    """Few rows, so that the law is far from normal."""
    poisson = family_of is PoissonCPD
    y = torch.tensor([0.0, 1.0, 0.0, 3.0, 2.0]) if poisson else torch.tensor([1, 1, 1, 1, 0])
    cpd = PoissonCPD.standard(1, LAYOUT) if poisson else LogisticCPD.standard(1, LAYOUT, 2)
    ridge = Slopes.ridge(0.1, torch.zeros(1, MANY, 2, dtype=torch.float64))
    prior = replace(ridge, gradient=ridge.gradient + 0.3)
    far = torch.randn(cpd.parameters.shape, generator=generator(), dtype=torch.float64)
    found = after(cpd.with_parameters(2 * far), family(y), prior, 10, cpd)
    x, seen = X.numpy(), y.numpy()

    def log_density(b):
        eta = b[:, :1] + b[:, 1:] * x
        own = seen * eta - np.exp(eta) if poisson else np.where(
            seen == 0, -np.logaddexp(0, -eta), -np.logaddexp(0, eta))  # fmt: skip
        return own.sum(1) - 0.05 * (b**2).sum(1) + 0.3 * b.sum(1)

    mean, sd = quadrature(log_density, np.linspace(-14, 18, 260), np.linspace(-16, 18, 260))
    agree(found.coefficients.reshape(MANY, 2).numpy(), mean, sd)


def test_heavy_tails_agree_with_quadrature():
    cpd = StudentTCPD.standard(1, Layout((MANY,)))
    y = torch.tensor([0.0, 0.2, -0.3, 6.0, 0.4], dtype=torch.float64)
    rows = torch.arange(MANY).repeat_interleave(5)
    given = Family.of(y.repeat(MANY), (rows,), torch.zeros(MANY * 5, dtype=torch.long), 1)
    weight = torch.full((1, MANY), 3.0, dtype=torch.float64)
    squares = torch.tensor([[0.4, 0.2], [0.2, 1.1]], dtype=torch.float64)
    prior = LinearSums(weight, squares.expand(1, MANY, 2, 2).clone())
    found = after(cpd, given, prior, 25)

    def log_density(at):
        b, log_v = at.T
        v = np.exp(log_v)
        likelihood = stats.t.logpdf(y.numpy()[:, None], 4, b, np.sqrt(v)).sum(0)
        # b | v ~ N(.5, v / .4), v ~ 1 / chi^2(3), in log v.
        bell = -0.5 * log_v - 0.4 * (b - 0.5) ** 2 / (2 * v)
        return likelihood + bell - 1.5 * log_v - 1.0 / (2 * v)

    mean, sd = quadrature(log_density, np.linspace(-8, 12, 400), np.linspace(-5, 7, 300))
    draws = torch.stack([found.coefficients[0, :, 0], found.variances[0].log()], 1)
    agree(draws.numpy(), mean, sd)


SIX = np.array([-2.0, -1.6, 0.1, 1.3, 1.8, 2.2])
BITS = np.array([0, 0, 1, 1, 0, 1])


def test_two_sources_agree_with_the_sum_over_all_ways_to_sort_six_rows():
    """A number and a bit, k = 2: the probability that two rows have one source."""
    m = mixture({"A": "real", "B": "categorical"}, {}, seed=1)
    card = m.spec.binned.cards[1]
    columns = (torch.from_numpy(SIX), torch.from_numpy(BITS))
    records = Records(m.spec.kinds, m.units, columns, torch.ones(6, dtype=torch.float64))
    line = LinearSums(
        torch.full((2, 1), 3.0, dtype=torch.float64),
        torch.tensor([[0.3, 0.1], [0.1, 1.4]], dtype=torch.float64).expand(2, 1, 2, 2).clone(),
    )
    table = torch.full((2, card), 0.25, dtype=torch.float64)
    prior = MixedPrior(torch.full((2,), 0.5, dtype=torch.float64), (line, table))
    logs, pairs = [], []
    for z in itertools.product((0, 1), repeat=6):
        z, log = np.array(z), 0.0
        for u in (0, 1):
            y, bits = SIX[z == u], BITS[z == u]
            n = len(y)
            mean = (0.1 + y.sum()) / (0.3 + n)
            left = 1.4 + y @ y - (0.3 + n) * mean**2
            log += gammaln((3 + n) / 2) - (3 + n) / 2 * np.log(left / 2) - 0.5 * np.log(0.3 + n)
            log -= n / 2 * np.log(2 * np.pi)
            alpha = 1.25 + np.bincount(bits, minlength=card)
            log += gammaln(alpha).sum() - gammaln(alpha.sum()) + gammaln(1.5 + n)
        logs.append(log)
        pairs.append(z[:, None] == z)
    weights = np.exp(logs - np.max(logs))
    truth = np.tensordot(weights / weights.sum(), np.array(pairs), 1)
    sweep, rng, at, found = Sweep.of(m, in_rows(records), prior), generator(), m, []
    for _ in range(500):
        completed = sweep.complete(at, rng)
        at = sweep.laws(at, completed, rng)
        z = completed.sources
        found.append((z[:, None] == z).numpy())
    batches = np.array(found[60:]).reshape(20, 22, 6, 6).mean(1)
    error = batches.std(0, ddof=1) / np.sqrt(20)
    gap = np.abs(batches.mean(0) - truth)
    assert (gap <= 4.8 * error + 1e-12).all()  # Student's t with 19 degrees of freedom
    assert error.max() < 0.05


# -- missing cells -------------------------------------------------------------------------------

KINDS = {"S": "categorical", "A": "real", "C": "real", "D": "real"}
PARENTS = {"A": ["S"], "C": ["A", "S"], "D": ["C"]}


def table(m, n, **cells):
    """Rows that are all alike; what is not named is missing."""
    columns = []
    for v, kind in enumerate(m.spec.kinds):
        value = cells.get(m.spec.name(v), np.nan if kind.numeric else -1)
        dtype = torch.float64 if kind.numeric else torch.long
        columns.append(torch.full((n,), value, dtype=dtype))
    return Records(m.spec.kinds, m.units, tuple(columns), torch.ones(n, dtype=torch.float64))


def test_missing_cells_are_drawn_given_what_was_observed():
    """S and A missing, C seen: laws by a grid of numbers. D, a leaf, is left out."""
    m = mixture(KINDS, PARENTS, seed=2, spread=0.8)
    n, seen = 4000, 1.9
    records = table(m, n, C=float(inner(m.units[2], seen)))
    sweep = Sweep.of(m, records, prior_of(m.spec, table(m, 9, S=0, A=0.0, C=0.0, D=0.0)))
    done = sweep.complete(m, generator())
    state, a = done.columns[0].numpy(), done.columns[1].numpy()
    for outcome, drawn in (("U", done.sources.numpy()), ("S", state)):
        law = Oracle(m, outcome, evidence={"C": seen}).probs
        counts = np.bincount(drawn, minlength=len(law))
        assert stats.chisquare(counts, n * law / law.sum()).pvalue > RARE
    for u, s in itertools.product((0, 1), range(3)):
        here = (done.sources.numpy() == u) & (state == s)
        law = Oracle(m, "A", evidence={"C": seen, "U": u, "S": "abc"[s]})
        mean, sd = float(law.law @ law.grid), law.sd / m.units[1].scale
        if here.sum() > 30:
            agree(a[here, None], np.array([mean]), np.array([sd]))
    assert bool(done.columns[3].isnan().all())
    assert [c is None or int(c.sum()) for c in sweep.counts] == [True, True, True, 0]
    assert bool(records.columns[1].isnan().all())


def test_what_cannot_be_integrated_out_is_refused_by_name():
    m = mixture({"W": "count", "Y": "real"}, {"Y": ["W"]})
    full, gap = table(m, 5, W=2.0, Y=0.3), table(m, 5, Y=0.3)
    with pytest.raises(DataError, match="'W' is count and has missing cells"):
        gibbs_mixed(m, gap, prior_of(m.spec, full), num_samples=4)


# -- labels, weights, priors ---------------------------------------------------------------------


def test_exchanged_sources_are_brought_back():
    m = mixture({"A": "real", "B": "real"}, {}, seed=3, spread=1.5)
    values = torch.linspace(-3, 3, 40, dtype=torch.float64)
    records = Records(m.spec.kinds, m.units, (values, values.flip(0)), torch.ones_like(values))
    sweep = Sweep.of(m, records, prior_of(m.spec, records))
    swapped = m.relabel([1, 0])
    costs = _costs(sweep.sources_of(m), sweep.sources_of(swapped))
    order, best, second = best_assignments(costs, second=True)
    assert order.tolist() == [1, 0]
    assert float(best) < 1e-12 < 0.1 < float(second)
    assert torch.allclose(_under(m, swapped.parameters, order), m.parameters, atol=1e-12)


def test_chains_differ_and_a_seed_gives_them_again():
    m = mixture({"A": "real", "B": "categorical"}, {})
    records = table(m, 9, A=0.5, B=1)
    few = {"num_samples": 4, "warmup_steps": 1, "num_chains": 2}
    found, again = (gibbs_mixed(m, records, prior_of(m.spec, records), **few) for _ in "ab")
    assert found.points.shape == (2, 4, len(m.parameters))
    assert torch.equal(found.points, again.points)
    assert float((found.points[0] - found.points[1]).abs().min()) > 0
    assert found.assessed().n_draws == 4


def test_weights_are_rows_and_parts_of_rows_are_refused():
    m = mixture({"A": "real", "B": "categorical"}, {})
    records = replace(table(m, 3, A=0.5, B=1), weights=torch.tensor([2.0, 1.0, 3.0]).double())
    assert in_rows(records).n_rows == 6
    assert in_rows(records).total_weight == 6
    with pytest.raises(DataError, match=r"whole numbers of rows; found 1 of 3 rows.*fit.bootstrap"):
        in_rows(replace(records, weights=torch.tensor([2.0, 1.5, 3.0]).double()))


def test_rates_without_a_prior_are_refused_by_name():
    m = mixture({"W": "count", "B": "categorical"}, {})
    records = table(m, 6, W=2.0, B=1)
    prior = prior_of(m.spec, records, tables=False)
    with pytest.raises(QueryError, match=r"rates of 'W'.*prior=.pooled."):
        gibbs_mixed(m, records, prior, num_samples=4)
