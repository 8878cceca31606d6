"""Quantile residuals of numbers given their parents."""

from __future__ import annotations

import math
import warnings

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from mixed_oracle import case, plain_factor, sources
from scipy import integrate, stats

import pyromix as px
from pyromix.criticism.mixed_residuals import _moves, association, quantile_residuals
from pyromix.identify.verdict import judge
from pyromix.model.kind import Kind
from pyromix.report.mixed.letter import MixedSubject
from pyromix.report.mixed.sections import predictive_section


def below(spec, v):
    """Descendants, by walking."""
    found = {v}
    for w in range(spec.n_variables):
        if found & set(spec.parents[w]):
            found.add(w)
    return found


def plain_distribution(mixture, v, row):
    """P(v < cell | non-descendants) and P(v <= cell | them), by sums and quadrature."""
    spec = mixture.spec
    joint, ends = [], []
    for u in sources(mixture):
        others = (plain_factor(mixture, w, u, row) for w in range(len(row))
                  if w not in below(spec, v))  # fmt: skip
        joint.append(math.log(float(mixture.weights[u])) + sum(others))

        def density(y, u=u):
            return math.exp(plain_factor(mixture, v, u, [*row[:v], y, *row[v + 1 :]]))

        cell, kind = row[v], spec.kind(v)
        if kind is Kind.COUNT:
            upto = sum(density(float(y)) for y in range(int(cell) + 1))
            ends.append((upto - density(cell), upto))
            continue
        zero = density(-math.inf) if kind is Kind.HURDLE else 0.0
        if cell == -math.inf:
            ends.append((0.0, zero))
        else:
            upto = zero + integrate.quad(density, -math.inf, cell, epsabs=1e-10)[0]
            ends.append((upto, upto))
    q = np.exp(np.array(joint) - max(joint))
    return (q / q.sum()) @ np.array(ends)


def places(n, seed):
    return torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_residual_is_the_distribution_function_given_parents_and_what_tells_of_u():
    mixture, records, _ = case("CAXPBWHTY", 6, 3)
    spec = mixture.spec
    for v in spec.numeric:
        place = places(6, v)
        found = quantile_residuals(mixture, records, v, place)
        assert bool(found.usable.all())
        for i in range(6):
            row = [column[i].item() for column in records.columns]
            low, high = plain_distribution(mixture, v, row)
            expected = low + float(place[i]) * (high - low)
            if high == low:
                expected = high
            assert float(found.uniform[i]) == pytest.approx(expected, abs=1e-7), spec.name(v)


def test_sums_of_residuals_move_as_differences_say():
    mixture, records, _ = case("CAXPBWHTY", 40, 3)
    at, place = mixture.parameters, places(40, 0)
    factors = torch.stack([place - 0.5, torch.ones(40).double()], -1)
    for v in mixture.spec.numeric:
        found = _moves(mixture, records, v, place, factors)
        for j in range(0, len(at), 3):
            step = torch.zeros_like(at)
            step[j] = 1e-5
            up, down = (
                quantile_residuals(mixture.with_parameters(at + sign * step), records, v, place)
                for sign in (1, -1)
            )
            slope = (up.normal - down.normal) @ factors / 2e-5
            assert found[:, j].tolist() == pytest.approx(slope.tolist(), abs=1e-6)


@pytest.mark.parametrize("seed", [0, 1])
def test_under_the_law_residuals_are_uniform_whatever_is_missing_and_go_with_nothing(seed):
    mixture, records, _ = case("CAXPBWHTY", 3000, seed, 0.2, "CXW")
    spec = mixture.spec
    for v in spec.numeric:
        found = quantile_residuals(mixture, records, v, places(3000, 9))
        told = found.uniform[found.usable].numpy()
        assert len(told) > 1000
        assert stats.kstest(told, "uniform").pvalue > 1e-3, spec.name(v)
        own = association(mixture, records, v, places(3000, 9), None)
        numbers = [p for p in spec.parents[v] if spec.kind(p).numeric]
        assert (own is None) == (not numbers)
        assert own is None or own.p_value > 1e-3
        assert own is None or own.dof == 2 * len(numbers) + len(numbers) * (len(numbers) - 1) // 2


def test_only_rows_with_everything_above_the_parents_are_used():
    mixture, records, _ = case("CAXPBWHTY", 200, 0, 0.3, "CAX")
    spec, gone = mixture.spec, records.missing()
    for v in spec.numeric:
        needed = spec.binned.ancestors([v])
        found = quantile_residuals(mixture, records, v, places(200, 0))
        wanted = ~gone[:, sorted(needed)].any(1)
        assert torch.equal(found.usable, wanted), spec.name(v)


def fitted(bend: float, product: float = 0.0, seed: int = 0, n: int = 400):
    rng = np.random.default_rng(seed)
    u = 1.0 * (rng.random(n) < 0.4)
    x, z = 1.5 * u + rng.normal(size=n), rng.normal(size=n)
    data = pd.DataFrame({
        "A": 2 * u + rng.normal(size=n), "B": -2 * u + rng.normal(size=n), "X": x, "Z": z,
        "Y": 0.5 * x + bend * x**2 + product * x * z + 1.2 * u + rng.normal(size=n),
    })  # fmt: skip
    graph = nx.DiGraph([("X", "Y"), ("Z", "Y")])
    graph.add_nodes_from("AB")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return data, px.fit(graph, data, 2, n_init=0, show_progress=False)


def test_a_bend_that_no_margin_shows_is_named():
    _, fit = fitted(0.3)
    found = fit.predictive_check()
    assert not [c for c in (*found.columns, *found.pairs) if c.adjusted < 0.05]
    (worst,) = found.contradictions
    assert (worst.name, worst.parents, worst.kind) == ("Y", ("X", "Z"), "mean")
    assert worst.worst == "the square of X"
    assert worst.correlation > 0.1
    assert "Y given X, Z: p = " in str(found)
    assert "residuals go with the square of X" in str(found)
    subject = MixedSubject(fit, None, judge(fit.spec.binned), None, "", found)
    section = predictive_section(subject)
    assert section.tables[-1].rows[0][:3] == ("Y", "X, Z", "the square of X")


def test_a_product_of_two_parents_is_named_and_a_line_passes():
    data, fit = fitted(0.0, 0.3)
    (worst, *_) = fit.predictive_check().residuals
    assert (worst.name, worst.worst) == ("Y", "the product of X and Z")
    _, line = fitted(0.0)
    found = line.predictive_check()
    assert found.fits
    # Each of Y, X, Z, A, B has a law; Y alone has parents.
    assert sorted((c.name, c.kind) for c in found.residuals) == sorted(
        [("Y", "mean"), *((name, "shape") for name in "ABXYZ")]
    )
    other = line.predictive_check(data)
    assert ("Y", "mean") in {(c.name, c.kind) for c in other.contradictions if hasattr(c, "kind")}


def test_few_rows_are_not_tested_for_bends():
    _, fit = fitted(0.3, n=90)
    assert {c.kind for c in fit.predictive_check().residuals} == {"shape"}
