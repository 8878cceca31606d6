"""Covariates on the source: against scipy on a likelihood of loops, and what is refused."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import pyromix as px
from pyromix.errors import DependentSourceError


def simulated(n: int, seed: int, k: int = 2) -> pd.DataFrame:
    """Binary items and one of three states; classes by a number and a name."""
    rng = np.random.default_rng(seed)
    age, sex = rng.normal(size=n).round(1), rng.integers(0, 2, n)
    score = np.stack([np.zeros(n), -0.4 + 1.0 * age + 0.5 * sex, -1.0 - 0.8 * age][:k], 1)
    law = np.exp(score) / np.exp(score).sum(1, keepdims=True)
    u = (rng.random(n)[:, None] > law.cumsum(1)).sum(1)
    ones = np.array([[0.85, 0.8, 0.75, 0.8], [0.2, 0.25, 0.15, 0.3], [0.85, 0.2, 0.8, 0.15]])
    frame = pd.DataFrame({f"V{i}": (rng.random(n) < ones[u, i]).astype(int) for i in range(4)})
    frame["V4"] = [
        rng.choice(["a", "b", "c"], p=[[0.7, 0.2, 0.1], [0.2, 0.2, 0.6]][i % 2]) for i in u
    ]
    return frame.assign(age=age, sex=np.where(sex == 1, "m", "f"))


def by_loops(frame: pd.DataFrame, k: int, parameters: np.ndarray, weights=None) -> float:
    """Log-likelihood of items given age and sex, row by row: coefficients, then log-odds."""
    given = iter(parameters)
    gamma = [[0.0] * 3] + [[next(given) for _ in range(3)] for _ in range(k - 1)]
    tables = []
    for card in (2, 2, 2, 2, 3):
        rows = []
        for _ in range(k):
            odds = [0.0, *(next(given) for _ in range(card - 1))]
            total = sum(math.exp(x) for x in odds)
            rows.append([math.exp(x) / total for x in odds])
        tables.append(rows)
    value = 0.0
    weights = [1.0] * len(frame) if weights is None else weights
    for row, weight in zip(frame.itertuples(index=False), weights, strict=True):
        scores = [g[0] + g[1] * row.age + g[2] * (row.sex == "m") for g in gamma]
        top = sum(math.exp(s) for s in scores)
        law = 0.0
        for u in range(k):
            p = math.exp(scores[u]) / top
            for v in range(4):
                p *= tables[v][u][row[v]]
            law += p * tables[4][u]["abc".index(row.V4)]
        value += weight * math.log(law)
    return value


def as_parameters(fit: px.RegressionFit) -> np.ndarray:
    """An estimate in the order that ``by_loops`` reads."""
    odds = [
        math.log(row[s] / row[0])
        for cpt in fit.mixture.cpts
        for row in cpt.tolist()
        for s in range(1, len(row))
    ]
    return np.array([*fit.coefficients[1:].flatten().tolist(), *odds])


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return simulated(160, 3)


@pytest.fixture(scope="module")
def fit(frame) -> px.RegressionFit:
    return px.fit_product(frame, 2, covariates=["age", "sex"], n_init=4, tol=1e-12)


def test_another_program_finds_the_same_estimate(frame, fit):
    """Scipy, from a point beside, on the likelihood as loops over rows."""
    own = as_parameters(fit)
    assert fit.log_likelihood == pytest.approx(by_loops(frame, 2, own), abs=1e-8)
    beside = own + np.random.default_rng(0).normal(size=len(own)) * 0.1
    found = minimize(
        lambda x: -by_loops(frame, 2, x), beside, method="BFGS", options={"gtol": 1e-3}
    )
    assert -found.fun == pytest.approx(fit.log_likelihood, abs=1e-4)
    assert found.x == pytest.approx(own, abs=0.02)
    assert fit.n_parameters == len(own)
    assert fit.bic == pytest.approx(len(own) * math.log(160) - 2 * fit.log_likelihood)


def test_standard_errors_are_those_of_the_curvature_of_the_likelihood(frame, fit):
    """The inverse of minus the matrix of central differences, for coefficients."""
    own, step = as_parameters(fit), 1e-3
    q = len(own)
    curvature = np.empty((q, q))
    moves = np.eye(q) * step
    at = by_loops(frame, 2, own)
    ahead = [by_loops(frame, 2, own + m) for m in moves]
    back = [by_loops(frame, 2, own - m) for m in moves]
    for i in range(q):
        curvature[i, i] = (ahead[i] - 2 * at + back[i]) / step**2
        for j in range(i):
            both = by_loops(frame, 2, own + moves[i] + moves[j])
            gap = (both - ahead[i] - ahead[j] + at) / step**2
            less = (
                by_loops(frame, 2, own - moves[i] - moves[j]) - back[i] - back[j] + at
            ) / step**2
            curvature[i, j] = curvature[j, i] = (gap + less) / 2
    errors = np.sqrt(np.diag(np.linalg.inv(-curvature)))[:3]
    table = fit.to_frame()
    assert list(table["covariate"]) == ["(intercept)", "age", "sex=m"]
    assert list(table["standard_error"]) == pytest.approx(errors, rel=1e-3)
    assert float(fit.information.score.abs().max()) < 1e-2
    half = 1.959964 * errors
    assert list(table["high"] - table["low"]) == pytest.approx(2 * half, rel=1e-3)


def test_profiles_have_average_sizes_and_intervals(frame, fit):
    weights = []
    for row in frame.itertuples():
        s = fit.coefficients[1].tolist() @ np.array([1.0, row.age, row.sex == "m"])
        weights.append(1 / (1 + math.exp(-s)))
    found = fit.profiles()
    sizes = found[found["variable"] == "U"]
    assert list(sizes["probability"]) == pytest.approx([1 - np.mean(weights), np.mean(weights)])
    assert (found["low"] < found["probability"]).all()
    assert (found["high"] > found["probability"]).all()
    # With two sources both sizes have the same error.
    low, high = (1 - sizes["high"].iloc[1], 1 - sizes["low"].iloc[1])
    assert list(sizes[["low", "high"]].iloc[0]) == pytest.approx([low, high])
    item = found[(found["variable"] == "V0") & (found["source"] == 0)]
    assert item["low"].iloc[0] == pytest.approx(1 - item["high"].iloc[1])
    # An item of three states, by the delta method on the differences of a softmax.
    place = next(p for p in fit.information.places if (p.source, p.item) == (1, 4))
    row = fit.mixture.cpts[4][1].numpy()
    odds = np.log(row)
    slopes = []
    for s in place.states:
        moved = np.exp(odds + 1e-6 * (np.arange(3) == s))
        slopes.append((moved / moved.sum() - row) / 1e-6)
    covariance = fit.information.covariance[place.places, place.places].numpy()
    errors = np.sqrt(np.diag(np.array(slopes).T @ covariance @ np.array(slopes)))
    item = found[(found["variable"] == "V4") & (found["source"] == 1)]
    gaps = np.log(item["high"] / (1 - item["high"])) - np.log(row / (1 - row))
    assert gaps.tolist() == pytest.approx(1.959964 * errors / (row * (1 - row)), rel=1e-4)


def test_membership_follows_bayes_rule_and_missing_items_are_summed_out(frame, fit):
    new = frame.head(3).astype({"V0": object})
    new.loc[2, "V0"] = None
    found = fit.predict_proba(new)
    for i, row in enumerate(new.itertuples(index=False)):
        s = float(np.dot(fit.coefficients[1].tolist(), [1.0, row.age, row.sex == "m"]))
        joint = [1.0, math.exp(s)]
        for u in (0, 1):
            for v in range(5):
                if row[v] is not None:
                    place = fit.spec.states[v].index(row[v])
                    joint[u] *= float(fit.mixture.cpts[v][u, place])
        assert found.iloc[i, 1] == pytest.approx(joint[1] / sum(joint))
    sorted_ = fit.classification()
    everyone = fit.predict_proba(frame).to_numpy()
    assert float(sorted_.table[1, 1]) == pytest.approx(
        everyone[everyone[:, 1] > 0.5, 1].sum(), rel=1e-6
    )
    with pytest.warns(px.NumericalWarning, match="'age', 'sex'"):
        assert fit.predict_proba(new.assign(age=[0.0, np.nan, 1.0])).isna().any(axis=1).sum() == 1


def test_weights_stand_for_rows_and_starts_may_differ(frame, fit):
    double = px.fit_product(
        frame.assign(w=2.0), 2, covariates=["age", "sex"], sample_weight="w", n_init=2, tol=1e-12
    )
    assert double.log_likelihood == pytest.approx(2 * fit.log_likelihood)
    assert double.n_rows == 320
    assert double.to_frame()["estimate"].tolist() == pytest.approx(
        fit.to_frame()["estimate"].tolist(), abs=1e-3
    )
    assert double.to_frame()["standard_error"].tolist() == pytest.approx(
        (fit.to_frame()["standard_error"] / math.sqrt(2)).tolist(), rel=1e-3
    )


def test_every_pair_of_three_sources_is_contrasted():
    fit = px.fit_product(simulated(300, 1, 3), 3, covariates=["age", "sex"], n_init=1, tol=1e-8)
    table = fit.to_frame().set_index(["source", "reference", "covariate"])
    assert len(table) == 9
    gap = table.loc[(2, 0, "age"), "estimate"] - table.loc[(1, 0, "age"), "estimate"]
    assert table.loc[(2, 1, "age"), "estimate"] == pytest.approx(gap)
    against = fit.to_frame(reference=1).set_index(["source", "reference", "covariate"])
    assert against.loc[(2, 1, "age")].tolist() == pytest.approx(table.loc[(2, 1, "age")].tolist())
    flipped, forth = against.loc[(0, 1, "age")], table.loc[(1, 0, "age")]
    assert flipped["estimate"] == pytest.approx(-forth["estimate"])
    assert flipped["standard_error"] == pytest.approx(forth["standard_error"])
    p = 3
    cov = fit.information.covariance
    variance = cov[1, 1] + cov[p + 1, p + 1] - 2 * cov[1, p + 1]
    assert table.loc[(2, 1, "age"), "standard_error"] == pytest.approx(math.sqrt(variance))
    with pytest.raises(px.QueryError, match="reference must be one of the sources"):
        fit.to_frame(reference=7)


def test_a_do_is_refused_by_name(fit):
    for ask in (
        lambda: fit.query("V0", do={"V1": 1}),
        lambda: fit.effect("V0", "V1"),
        lambda: px.query(fit, "V0", do={"V1": 1}),
        lambda: px.effect(fit, "V0", "V1"),
        lambda: px.simulate(fit, 5),
        lambda: px.to_pgmpy(fit),
    ):
        with pytest.raises(DependentSourceError, match="depends on") as refusal:
            ask()
        assert refusal.value.covariates == ("age", "sex")
    # The sources with their average weights are a mixture like any other.
    assert px.query(fit.mixture, "V0").values.sum() == pytest.approx(1)


def test_rows_without_a_covariate_are_dropped_and_said(frame):
    gaps = frame.copy()
    gaps.loc[[3, 5], "age"] = np.nan
    with pytest.warns(px.DataRepairWarning, match="2 of 160 rows were dropped"):
        fit = px.fit_product(gaps, 2, covariates="age", n_init=1)
    assert fit.n_rows == 158
    assert fit.spec.variables == ("V0", "V1", "V2", "V3", "V4", "sex")
    with pytest.raises(px.DataError, match="2 rows"):
        px.fit_product(gaps, 2, covariates="age", missing="error")


def test_numbers_with_declared_states_are_names():
    frame = simulated(120, 5).assign(group=lambda f: (f["age"] > 0).astype(int))
    kept = frame.drop(columns=["sex", "age"])
    number = px.fit_product(kept, 2, covariates="group", n_init=2)
    named = px.fit_product(kept, 2, covariates="group", n_init=2, state_names={"group": [1, 0]})
    assert list(named.to_frame()["covariate"]) == ["(intercept)", "group=0"]
    a, b = number.to_frame()["estimate"].tolist()
    assert named.to_frame()["estimate"].tolist() == pytest.approx([a + b, -b], abs=1e-3)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"covariates": []}, px.QueryError, "names of columns"),
        ({"covariates": ["age", "age"]}, px.QueryError, "each once"),
        ({"covariates": "weight"}, px.DataError, "weight"),
        ({"covariates": "age", "prior": 1.0}, px.QueryError, "prior must be None"),
    ],
)
def test_what_cannot_be_a_covariate_is_refused(frame, options, error, said):
    with pytest.raises(error, match=said):
        px.fit_product(frame, 2, **options)


def test_a_constant_covariate_is_refused_and_one_source_has_no_coefficients(frame):
    with pytest.raises(px.DataError, match="varies"):
        px.fit_product(frame.assign(age=1.0), 2, covariates="age")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = px.fit_product(frame, 1, covariates=["age", "sex"])
    plain = px.fit_product(frame.drop(columns=["age", "sex"]), 1)
    assert one.log_likelihood == pytest.approx(plain.log_likelihood)
    assert len(one.to_frame()) == 0
