"""EM for rows of states and numbers against plain loops, integrals on grids and differences."""

from __future__ import annotations

import math
from dataclasses import replace

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from mixed_oracle import (
    case,
    completions,
    drawn_records,
    network,
    plain_joint,
    plain_log_prob,
    random_mixed,
    sources,
)

import pyromix as px
from pyromix.data.records import Records
from pyromix.errors import DataError
from pyromix.estimate.mixed import gaps as integrals
from pyromix.estimate.mixed.climb import climb_mixed
from pyromix.estimate.mixed.information import row_scores, sandwich
from pyromix.estimate.mixed.prior import VARIANCE_ROWS, prior_of
from pyromix.estimate.mixed.starts import from_shares
from pyromix.estimate.mixed.step import em_step, log_likelihood, look
from pyromix.model.families.hurdle import HurdleCPD


def rows_of(records):
    return [[float(c[i]) for c in records.columns] for i in range(records.n_rows)]


def one_row(mixture, row):
    """A row, nan where missing, as a part."""
    spec = mixture.spec
    columns = tuple(
        torch.tensor([x], dtype=torch.float64)
        if spec.kind(v).numeric
        else torch.tensor([-1 if math.isnan(x) else int(x)])
        for v, x in enumerate(row)
    )
    weights = torch.ones(1, dtype=torch.float64)
    (part,) = Records(spec.kinds, mixture.units, columns, weights).parts()
    return part


def with_holes(mixture, names, seed=3):
    """A row of the mixture with some cells missing."""
    row = rows_of(drawn_records(mixture, 1, seed))[0]
    missing = [mixture.spec.vertex(name) for name in names]
    return [math.nan if v in missing else x for v, x in enumerate(row)], missing


# -- the likelihood ----------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_log_likelihood_is_that_of_a_plain_loop(k):
    mixture = random_mixed(network(k=k), k)
    records = drawn_records(mixture, 12, k)
    for part in records.parts(5):
        wanted = [plain_log_prob(mixture, rows_of(records)[i]) for i in part.rows]
        assert look(mixture, part).log_prob().tolist() == pytest.approx(wanted, abs=1e-10)


def test_densities_are_those_of_the_units_of_the_table():
    mixture, records, _ = case("PA", 5)
    column = records.columns[mixture.spec.vertex("P")]
    raw = mixture.units[mixture.spec.vertex("P")].outward(column)
    # d log(x)/1.5 by d x, by differences.
    unit, h = mixture.units[mixture.spec.vertex("P")], 1e-6
    slope = (unit.inward(raw * (1 + h)) - unit.inward(raw * (1 - h))) / (2 * h * raw)
    assert records.log_slopes().tolist() == pytest.approx(slope.log().tolist(), abs=1e-7)


@pytest.mark.parametrize(
    "gone",
    ["C", "A", "X", "Y", "P", "B", "W", "H", "CA", "AX", "AY", "CP", "BW", "AP", "CAX"],
)
def test_missing_cells_are_summed_and_integrated_out(gone):
    # Families of X that have no closed form must not lie below a missing X, nor H above Y.
    names = "CAXPY" if set(gone) & set("AX") else "CAXPBWHY"
    mixture = random_mixed(network(names), 5)
    row, missing = with_holes(mixture, gone)
    if gone == "H":
        mixture = random_mixed(network("CAXH"), 5)
        row, missing = with_holes(mixture, gone)
    seen = look(mixture, one_row(mixture, row))
    closed = [v for v in missing if mixture.spec.name(v) not in "WH"]
    if closed != missing:
        # A leaf that is missing drops its factor.
        keep = [n for n in mixture.spec.variables if n not in gone]
        small = network("".join(keep))
        parts = [mixture.cpds[mixture.spec.vertex(n)] for n in small.variables]
        units = [mixture.units[mixture.spec.vertex(n)] for n in small.variables]
        smaller = type(mixture)(small, tuple(units), mixture.weights, tuple(parts))
        told = [row[mixture.spec.vertex(n)] for n in small.variables]
        wanted = [plain_log_prob(smaller, told)]
        if "B" in gone:
            assert "B" not in small.variables
    else:
        ways = completions(mixture.spec, row, missing)
        sums = [np.exp(plain_log_prob(mixture, filled)).sum() * weight for filled, weight in ways]
        wanted = [math.log(sum(sums))]
    assert seen.log_prob().tolist() == pytest.approx(wanted, abs=1e-9)


def test_numbers_that_cannot_be_integrated_out_are_refused_by_name():
    mixture = random_mixed(network("CAXB"), 5)
    row, _ = with_holes(mixture, "X")
    with pytest.raises(DataError, match=r"'X' has missing cells and is a cause of 'B', which is c"):
        look(mixture, one_row(mixture, row))
    mixture = random_mixed(network("XHY"), 5)
    row, _ = with_holes(mixture, "H")
    with pytest.raises(DataError, match=r"'H' is hurdle and has missing cells above others"):
        look(mixture, one_row(mixture, row))


@pytest.mark.parametrize("gone", ["A", "X", "AX", "CA"])
def test_squares_of_missing_numbers_hold_their_conditional_covariance(gone):
    mixture = random_mixed(network("CAXPY"), 7)
    spec = mixture.spec
    row, missing = with_holes(mixture, gone)
    part = one_row(mixture, row)
    seen = look(mixture, part)
    shares = seen.shares(part.weights)
    ways = list(completions(spec, row, missing))
    joint = [
        [np.exp(plain_joint(mixture, u, filled)) * weight for filled, weight in ways]
        for u in sources(mixture)
    ]
    total = sum(p.sum() for own in joint for p in own)
    for v in seen.gaps.families:
        got = seen.gaps.sums(mixture, v, seen.columns, shares)
        wanted = np.zeros(got.squares.shape)
        for u, own in enumerate(joint):
            for (filled, _), p in zip(ways, own, strict=True):
                numbers = [filled[q] for q in spec.parents[v] if spec.kind(q).numeric]
                d = next((int(filled[q]) for q in spec.parents[v] if not spec.kind(q).numeric), 0)
                zy = [np.broadcast_to(x, p.shape) for x in (1.0, *numbers, filled[v])]
                wanted[u, d] += [[(p * a * b).sum() / total for b in zy] for a in zy]
        assert got.squares.numpy() == pytest.approx(wanted, abs=1e-9)


def test_without_the_covariance_of_missing_cells_the_likelihood_would_fall(monkeypatch):
    mixture, records, prior = case("AXY", 100, 1, 0.5, "AX")
    parts = list(records.parts())
    end = climb_mixed(mixture, parts, prior)
    real = integrals.filled_in

    def forgetful(*given):
        found = real(*given)
        return replace(found, covariance=torch.zeros_like(found.covariance))

    monkeypatch.setattr("pyromix.estimate.mixed.step.filled_in", forgetful)
    step = em_step(end.mixture, parts, prior)
    assert em_step(step.target, parts, prior).objective < step.objective - 1


# -- EM ----------------------------------------------------------------------


def on_points(spec, records, prior, seed):
    """A start with each source on a single row."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(records.n_rows, generator=generator)[: spec.n_sources]
    shares = torch.zeros(records.n_rows, spec.n_sources, dtype=torch.float64)
    shares[rows, torch.arange(spec.n_sources)] = 1.0
    return from_shares(spec, records, shares, prior)


@pytest.mark.parametrize("degenerate", [False, True])
def test_em_lowers_nothing_and_no_variance_falls_under_its_bound(degenerate):
    truth, records, prior = case("CAXBWHTY", 60, 2, 0.2, "C", k=3)
    parts, spec = list(records.parts()), truth.spec
    for seed in range(15):
        at = on_points(spec, records, prior, seed) if degenerate else random_mixed(spec, seed, 1.5)
        at = replace(at, units=records.units)
        last = -math.inf
        for _ in range(5):
            step = em_step(at, parts, prior)
            assert step.objective >= last - 1e-9 * abs(last)
            at, last = step.target, step.objective
            for v in spec.numeric:
                cpd, own = at.cpds[v], prior.statistics[v]
                if isinstance(cpd, HurdleCPD):
                    cpd, own = cpd.size, own.size
                if hasattr(cpd, "variances"):
                    line = torch.cat(
                        [-cpd.coefficients, torch.ones_like(cpd.variances)[..., None]], -1
                    )
                    alone = (line[..., None, :] @ own.squares @ line[..., None])[..., 0, 0]
                    bound = alone / (records.total_weight + VARIANCE_ROWS)
                    assert bool((cpd.variances >= bound * (1 - 1e-9)).all())


def test_a_source_on_one_point_would_grow_without_the_prior():
    """The bound is the prior's: it is reached, to a factor of two, by a heap of equal numbers."""
    mixture, records, _ = case("A", 60)
    heap = torch.cat([records.columns[0][:30] * 0, records.columns[0][30:]])
    records = replace(records, columns=(heap,))
    prior = prior_of(mixture.spec, records)
    end = climb_mixed(on_points(mixture.spec, records, prior, 0), list(records.parts()), prior)
    least = float(end.mixture.cpds[0].variances.min())
    spread = float(heap.var(correction=0))
    bound = VARIANCE_ROWS * spread / 4 / (60 + VARIANCE_ROWS)
    assert bound <= least < 3 * bound


def test_climbing_ends_at_a_point_where_the_objective_has_no_slope():
    mixture, records, prior = case("CAXBHY", 250, 3, 0.2, "CY")
    parts = list(records.parts())
    end = climb_mixed(mixture, parts, prior, tol=1e-13)
    at = end.mixture.parameters.detach().requires_grad_()
    here = end.mixture.with_parameters(at)
    value = log_likelihood(here, parts) + prior.log_density(here)
    assert float(value.detach()) == pytest.approx(end.objective, abs=1e-8)
    (slope,) = torch.autograd.grad(value, at)
    assert float(slope.abs().max()) < 2e-3 * records.n_rows**0.5


def test_parts_of_any_size_make_the_same_step():
    mixture, records, prior = case("CAXBWHY", 90, 4, 0.3, "CBY")
    whole = em_step(mixture, list(records.parts()), prior).target.parameters
    small = em_step(mixture, list(records.parts(7)), prior).target.parameters
    assert whole.tolist() == pytest.approx(small.tolist(), abs=1e-9)


def test_a_row_of_weight_two_is_two_rows():
    mixture, records, prior = case("CAXY", 40)
    heavy = replace(records, weights=records.weights * 2)
    twice = records.only(torch.arange(40).repeat(2))
    left, right = (em_step(mixture, list(r.parts()), prior) for r in (heavy, twice))
    assert left.objective == pytest.approx(right.objective, rel=1e-12)
    assert left.target.parameters.tolist() == pytest.approx(right.target.parameters.tolist())


# -- how far off --------------------------------------------------------------


@pytest.mark.parametrize(("names", "gone"), [("CAXBWHTY", "C"), ("CAXPY", "AX")])
def test_scores_of_rows_are_the_slopes_of_their_log_densities(names, gone):
    mixture, records, _ = case(names, 15, 6, 0.4, gone)
    scores = row_scores(mixture, records)
    at, h = mixture.parameters, 1e-5
    generator = torch.Generator().manual_seed(0)
    for _ in range(6):
        way = torch.randn(len(at), generator=generator, dtype=torch.float64)
        ends = [mixture.with_parameters(at + sign * h * way) for sign in (1, -1)]
        for part in records.parts():
            up, down = (look(end, part).log_prob() for end in ends)
            wanted = (up - down) / (2 * h)
            assert torch.allclose(scores[part.rows] @ way, wanted, atol=1e-7, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:Student's t fits:pyromix.errors.WeakIdentificationWarning")
def test_standard_errors_are_those_of_the_bootstrap_whatever_the_noise():
    rng = np.random.default_rng(0)
    n, replicates = 400, 80
    u = rng.random(n) < 0.4
    x = 3.0 * u + rng.normal(size=n)
    # Skewed, and wider where x is: the line's textbook error is off.
    y = x - 3.0 * u + (rng.gamma(1.0, size=n) - 1.0) * (0.4 + np.abs(x - 3 * u))
    frame = pd.DataFrame({"X": x, "Y": y, "V": 2.5 * u + rng.normal(size=n)})
    dag = nx.DiGraph([("X", "Y")])
    dag.add_node("V")
    dag.add_edges_from(("U", v) for v in "XYV")
    dag.nodes["U"]["latent"] = True
    fit = px.fit(dag, frame, 2, n_init=0)
    block = fit.mixture.block(fit.spec.vertex("Y"))
    slopes = [block.start + 1, block.start + 3]
    errors = fit.information.errors(torch.eye(fit.n_parameters, dtype=torch.float64)[slopes])
    drawn = fit.bootstrap(n=replicates, show_progress=False).draws[:, slopes].std(0)
    # The error of a standard deviation of so many draws is a part in sqrt(2 n) = 1/15.
    assert (errors / drawn).log().abs().max() < 4 / math.sqrt(2 * replicates)
    plain = sandwich_without_meat(fit)[slopes]
    assert (plain / drawn).log().abs().max() > 0.1


def sandwich_without_meat(fit):
    """Standard errors that trust the shape of the noise."""
    scores = row_scores(fit.mixture, fit.records)
    return torch.linalg.pinv(scores.mT @ scores).diagonal().sqrt()


def test_a_direction_without_curvature_has_no_standard_error():
    mixture, records, prior = case("A", 40)
    same = mixture.with_parameters(mixture.parameters * 0)
    nothing = replace(prior, weights=prior.weights * 0, statistics=(None,))
    found = sandwich(same, records, nothing)
    assert found.n_flat >= 1
    weight = torch.zeros(1, len(mixture.parameters), dtype=torch.float64)
    weight[0, 0] = 1.0
    assert found.errors(weight).tolist() == [math.inf]
