"""Fits with numbers against tables."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from mixed_oracle import case
from scipy import stats
from test_mixed_intake import dag

import pyromix as px
from pyromix.criticism.mixed_prediction import _correlation, _farthest, kolmogorov, predictive_check


def test_the_distance_is_that_of_scipy_for_two_samples():
    rng = np.random.default_rng(0)
    for x, y in [
        (rng.normal(size=30), rng.normal(size=50) + 0.4),
        (rng.poisson(3, size=40) * 1.0, rng.poisson(4, size=60) * 1.0),
        (rng.normal(size=30) + 3, rng.normal(size=50)),
        (rng.normal(size=30) - 9, rng.normal(size=50)),
    ]:
        at, seen, expected = _farthest(
            torch.tensor(x), torch.ones(len(x)).double(), torch.tensor(y)
        )
        assert abs(seen - expected) == pytest.approx(stats.ks_2samp(x, y).statistic)
        assert seen == pytest.approx((x <= float(at)).mean())
        assert expected == pytest.approx((y <= float(at)).mean())


def test_p_values_are_those_of_kolmogorov():
    for n, d in [(20, 0.2), (100, 0.13), (1000, 0.05), (50, 0.01)]:
        assert kolmogorov(n, d) == pytest.approx(stats.kstwo.sf(d, n), rel=0.08, abs=1e-4)


def test_the_error_of_a_correlation_is_that_of_replicates():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 200))
    y = x**3 / 3 + rng.normal(size=x.shape)
    found = [
        _correlation(torch.tensor(a), torch.tensor(b), torch.ones(200).double())
        for a, b in zip(x, y, strict=True)
    ]
    values, errors = np.array(found).T
    assert values[0] == pytest.approx(np.corrcoef(x[0], y[0])[0, 1])
    assert errors.mean() == pytest.approx(values.std(), rel=0.2)


@pytest.fixture(scope="module")
def fit():
    rng = np.random.default_rng(0)
    n = 400
    u = 1.0 * (rng.random(n) < 0.4)
    x = 2 * u + rng.normal(size=n)
    data = pd.DataFrame(
        {
            "A": 1.5 * u + rng.normal(size=n),
            "X": x,
            "Y": x - u + rng.normal(size=n),
            "C": (rng.random(n) + 0.3 * u > 0.6) * 1,
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return data, px.fit(dag(), data, 2, n_init=0, show_progress=False)


def test_a_fit_that_is_right_is_not_contradicted(fit):
    found = fit[1].predictive_check()
    assert found.fits
    assert len(found.columns) == 4
    assert len(found.pairs) == 6
    assert "4 columns: none contradicts the fit at level 0.05" in str(found)
    assert list(found.to_frame()["name"]) == [c.name for c in found.columns]


def test_a_table_of_another_law_is_contradicted_where_it_differs(fit):
    data, found = fit
    other = data.assign(A=np.where(data["A"] > 1, data["A"] + 2, data["A"]), C=1)
    check = found.predictive_check(other)
    assert {c.name for c in check.columns if c.adjusted < 0.05} == {"A", "C"}
    (a,) = (c for c in check.columns if c.name == "A")
    assert 1 < a.at < 3.1
    assert "A: p = " in str(check)
    shuffled = data.assign(Y=data["Y"].to_numpy()[::-1])
    check = found.predictive_check(shuffled)
    assert all(c.adjusted > 0.05 for c in check.columns)
    assert ("X", "Y") in {tuple(sorted(c.names)) for c in check.pairs if c.adjusted < 0.05}


def test_every_kind_of_column_and_missing_cells():
    mixture, records, _ = case("CAXPBWHTY", 300, 1, 0.2, "Y")

    class Held:
        spec, edges, n_parameters = mixture.spec, {}, 10**9

    held = Held()
    held.mixture, held.records = mixture, replace(records)
    found = predictive_check(held, random_state=1)
    assert not [c for c in (*found.columns, *found.pairs) if c.adjusted < 0.05]
    assert len(found.columns) == 9
    assert {c.name for c in found.residuals} == set("AXPWHTY")
    assert "cells are missing and were left out" in str(found)
