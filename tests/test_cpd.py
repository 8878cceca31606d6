"""The CPD seam: tables and a linear Gaussian under one suite of laws, in one EM, in one program."""

from __future__ import annotations

import math

import pyro
import pytest
import torch
from helpers import Oracle, random_spec
from laws.cpd_laws import CPDLaws, close
from pyro.infer import TraceEnum_ELBO

from pyromix.errors import SpecError
from pyromix.estimate.step import EMMap, Point
from pyromix.exact.likelihood import log_joint
from pyromix.exact.rows import CellIndex
from pyromix.exact.sampling import sample
from pyromix.model.cpd import TableCPD
from pyromix.model.families.layout import Layout, Numbers
from pyromix.model.families.linear_gaussian import LinearGaussianCPD
from pyromix.model.parameters import ParameterAxis
from pyromix.model.prior import PseudoCounts
from pyromix.model.randomness import random_mixture


def normal(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class TestTable(CPDLaws):
    """Parents of 2 and 4 states, a vertex of 3."""

    ESTIMATED = 0.41  # measured .03 to .205 over 20 seeds, the subclasses included

    def make(self, seed, batch_shape=(), k=3):
        return TableCPD((0.5 * normal(seed, *batch_shape, k, 2, 4, 3)).softmax(-1), 2)

    def columns(self, seed, m):
        generator = torch.Generator().manual_seed(seed)
        a, b, y = (torch.randint(card, (m,), generator=generator) for card in (2, 4, 3))
        return y, [a, b]

    def plain_log_prob(self, cpd, u, value, parents):
        a, b = parents
        return math.log(cpd.values.tolist()[u][a][b][value])

    def mass(self, cpd, u, parents):
        return sum(math.exp(self.plain_log_prob(cpd, u, y, parents)) for y in range(3))


class TestRootTable(TestTable):
    """No parents, more states than sources."""

    def make(self, seed, batch_shape=(), k=3):
        return TableCPD((0.5 * normal(seed, *batch_shape, k, 5)).softmax(-1))

    def columns(self, seed, m):
        return torch.randint(5, (m,), generator=torch.Generator().manual_seed(seed)), []

    def plain_log_prob(self, cpd, u, value, parents):
        return math.log(cpd.values.tolist()[u][value])

    def mass(self, cpd, u, parents):
        return sum(math.exp(self.plain_log_prob(cpd, u, y, parents)) for y in range(5))


class TestSharedTable(TestTable):
    """A vertex without an edge from U: its parameters stand there once."""

    def make(self, seed, batch_shape=(), k=3):
        table = (0.5 * normal(seed, *batch_shape, 1, 2, 4, 3)).softmax(-1)
        return TableCPD(table.expand(*batch_shape, k, 2, 4, 3), 2, shared=True)

    def test_features_go_row_by_row_and_tell_sources_apart(self):
        cpd, (values, _) = self.make(0), self.columns(0, 6)
        close(cpd.features(values).sum(-1), torch.ones(6, dtype=torch.float64))

    def test_parameters_stand_there_once(self):
        assert self.make(0, (2,)).parameters.shape == (2, 2 * 4 * 2)


# -- tables of a mixture, and the fast path --------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_cpds_of_a_mixture_multiply_to_its_joint_law(seed):
    spec = random_spec(seed, 5, 3, uninfluenced=True)
    mixture = random_mixture(spec, seed)
    rows, oracle = sample(mixture, 30, seed)[0], Oracle(mixture)
    total = mixture.weights.log().expand(30, -1)
    for v, parents in enumerate(spec.parents):
        total = total + mixture.cpd(v).log_prob(rows[:, v], [rows[:, p] for p in parents])
    close(total, log_joint(mixture, CellIndex(spec, rows)))
    assert float(total[7, 2].exp()) == pytest.approx(oracle.prob(2, rows[7].tolist()), abs=1e-14)


@pytest.mark.parametrize("pseudo", [None, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_m_step_of_cpds_is_that_of_the_stacked_axis(seed, pseudo):
    spec = random_spec(seed, 5, 3, uninfluenced=True)
    mixture = random_mixture(spec, seed)
    rows = sample(mixture, 12, seed)[0]  # so few that parent states without any row occur
    prior = PseudoCounts.of(spec, pseudo)
    em = EMMap(spec, CellIndex(spec, rows), torch.ones(12, dtype=torch.float64), prior)
    fast = em(Point.of(mixture.map_tables(lambda t: t.unsqueeze(0)))).target.mixture(spec)
    shares = log_joint(mixture, CellIndex(spec, rows)).softmax(-1)
    for v, parents in enumerate(spec.parents):
        cpd = mixture.cpd(v)
        counts = cpd.statistics(rows[:, v], [rows[:, p] for p in parents], shares)
        seen = prior.cpts[v] / (spec.n_sources if cpd.shared else 1)  # shared ones count once
        close(cpd.estimate(counts, seen).values, fast.cpts[v][0])


@pytest.mark.parametrize("batch_shape", [(), (1,), (2, 3)])
def test_parameters_of_cpds_are_the_blocks_of_the_parameter_axis(batch_shape):
    spec = random_spec(6, 6, 3, uninfluenced=True)
    mixture, axis = random_mixture(spec, 0, batch_shape=batch_shape), ParameterAxis(spec)
    whole = axis.log_odds(mixture.tables)
    assert spec.uninfluenced
    for v in range(spec.n_variables):
        close(mixture.cpd(v).parameters, whole[..., axis.block(v)])


def test_tables_stay_on_their_device():
    spec = random_spec(6, 5, 3, uninfluenced=True)
    mixture, axis, law = random_mixture(spec, 0), ParameterAxis(spec), TestTable()
    cpd, (values, parents), shares = law.make(0, (2,)), law.columns(0, 9), law.shares(0, 9, (2,))
    sources, generator = values.expand(2, 9), torch.Generator().manual_seed(0)
    with torch.device("meta"):  # a factory call without a device would land there
        found = cpd.estimate(cpd.statistics(values, parents, shares)).relabel([1, 0, 2])
        drawn = found.sample(sources, parents, generator)
        logs = found.distribution(sources, parents).log_prob(drawn)
        logs = logs + found.log_prob(values, parents)[..., 0]
        again = cpd.with_parameters(found.parameters).features(values)
        tables = axis.tables_of_log_odds(axis.log_odds(mixture.tables))
        vectors = [axis.free(tables), axis.gradients(tables), axis.of_source(1)]
    assert {t.device.type for t in (drawn, logs, again, *tables, *vectors)} == {"cpu"}


def test_what_is_no_table_of_rows_is_refused():
    with pytest.raises(SpecError, match="sum to one"):
        TableCPD(torch.full((2, 3), 0.5, dtype=torch.float64))
    with pytest.raises(SpecError, match="2 parents"):
        TableCPD(torch.full((2, 2), 0.5, dtype=torch.float64), 2)


# -- one EM, one optimum, one Pyro program ---------------------------------------------------------
#
#   U -> all;  A -> B, A -> Y, (A, Y) -> W;  A, B discrete, Y, W floats

PARENTS = {"A": (), "B": ("A",), "Y": ("A",), "W": ("A", "Y")}


def model(seed, spread=2.0):
    variances = torch.full((2, 2), math.exp(-0.5), dtype=torch.float64)
    return {
        "A": TableCPD(normal(seed, 2, 2).softmax(-1)),
        "B": TableCPD((spread * normal(seed + 1, 2, 2, 3)).softmax(-1), 1),
        "Y": LinearGaussianCPD(spread * normal(seed + 2, 2, 2, 1), variances, Layout((2,))),
        "W": LinearGaussianCPD(normal(seed + 3, 2, 2, 2), variances, Layout((2, Numbers.VALUE))),
    }


def drawn(weights, cpds, n, seed):
    generator = torch.Generator().manual_seed(seed)
    sources = torch.multinomial(weights, n, replacement=True, generator=generator)
    columns = {}
    for name, above in PARENTS.items():
        columns[name] = cpds[name].sample(sources, [columns[p] for p in above], generator)
    return columns


def em_step(weights, cpds, columns, block=700):
    """E-step and M-step; the only thing asked of a CPD is what the protocol says."""
    n, total, value, sums = len(columns["A"]), 0.0, 0.0, {}
    for start in range(0, n, block):
        part = {name: column[start : start + block] for name, column in columns.items()}
        joint = weights.log().expand(len(part["A"]), -1)
        for name, above in PARENTS.items():
            joint = joint + cpds[name].log_prob(part[name], [part[p] for p in above])
        value += float(joint.logsumexp(-1).sum())
        shares = joint.softmax(-1)
        total = total + shares.sum(0)
        for name, above in PARENTS.items():
            own = cpds[name].statistics(part[name], [part[p] for p in above], shares)
            sums[name] = sums[name] + own if name in sums else own
    return value, total / n, {name: cpds[name].estimate(sums[name]) for name in PARENTS}


def directly(theta, columns):
    """Log-likelihood of free numbers, written out without any CPD."""
    a, b, y, w = (columns[name] for name in "ABYW")
    pi, pa, pb, my, sy, mw, sw = theta.split([2, 4, 12, 4, 4, 8, 4])
    logs = pi.log_softmax(0) + pa.view(2, 2).log_softmax(-1).T[a]
    logs = logs + pb.view(2, 2, 3).log_softmax(-1).permute(1, 2, 0)[a, b]
    mean, scale = my.view(2, 2).T[a], sy.view(2, 2).T[a]
    logs = (
        logs - 0.5 * math.log(2 * math.pi) - scale - 0.5 * ((y[:, None] - mean) / scale.exp()) ** 2
    )
    lines, scale = mw.view(2, 2, 2), sw.view(2, 2).T[a]
    mean = lines[..., 0].T[a] + lines[..., 1].T[a] * y[:, None]
    logs = (
        logs - 0.5 * math.log(2 * math.pi) - scale - 0.5 * ((w[:, None] - mean) / scale.exp()) ** 2
    )
    return logs.logsumexp(-1).sum()


def test_em_by_statistics_reaches_the_maximum_of_a_direct_optimisation():
    weights, truth = torch.tensor([0.6, 0.4], dtype=torch.float64), model(0)
    columns = drawn(weights, truth, 3000, 1)
    at, cpds, values = torch.tensor([0.5, 0.5], dtype=torch.float64), model(0, 1.2), []
    for _ in range(2000):
        value, at, cpds = em_step(at, cpds, columns)
        values.append(value)
        if len(values) > 1 and values[-1] - values[-2] < 1e-10:
            break
    steps = torch.tensor(values).diff()
    assert float(steps.min()) > -1e-8  # EM never lowers the likelihood

    start = [torch.zeros(2), *(truth[n].values.log().flatten() for n in "AB")]
    for name in "YW":
        start += [truth[name].coefficients.flatten(), torch.zeros(4)]
    theta = torch.cat([s.to(torch.float64) for s in start]).requires_grad_()
    optimiser = torch.optim.LBFGS(
        [theta], max_iter=1000, tolerance_grad=1e-9, tolerance_change=1e-14,
        history_size=50, line_search_fn="strong_wolfe",
    )  # fmt: skip

    def loss():
        optimiser.zero_grad()
        found = -directly(theta, columns) / 3000
        found.backward()
        return found

    optimiser.step(loss)
    best = float(directly(theta.detach(), columns))
    assert best == pytest.approx(values[-1], abs=1e-5)
    lines = theta.detach().split([2, 4, 12, 4, 4, 8, 4])[5].view(2, 2, 2)
    gaps = [
        float((cpds["W"].relabel(o).coefficients - lines).abs().max()) for o in ([0, 1], [1, 0])
    ]
    assert min(gaps) < 1e-4
    assert best > em_step(weights, truth, columns)[0]


def test_distributions_make_a_pyro_program_of_the_same_likelihood():
    weights, cpds = torch.tensor([0.6, 0.4], dtype=torch.float64), model(3)
    columns = drawn(weights, cpds, 50, 4)

    def program():
        with pyro.plate("rows", 50, dim=-1):
            u = pyro.sample(
                "U", pyro.distributions.Categorical(weights), infer={"enumerate": "parallel"}
            )
            for name, above in PARENTS.items():
                law = cpds[name].distribution(u, [columns[p] for p in above])
                # torch's classes become Pyro's where a site is made of them
                law.__class__ = getattr(pyro.distributions, type(law).__name__)
                pyro.sample(name, law, obs=columns[name])

    pyro.clear_param_store()
    value, _, _ = em_step(weights, cpds, columns)
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    assert -elbo.loss(program, lambda: None) == pytest.approx(value, abs=1e-9)
