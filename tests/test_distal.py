"""Distal outcomes in three steps: against plain sums and scipy, and that naive means shrink."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize

import pyromix as px
from pyromix.answers.distal import _pattern_of
from pyromix.answers.third_step import third_step


def simulated(n: int, seed: int) -> pd.DataFrame:
    """Two classes that six items tell apart weakly; a mean that differs by 1, and a state."""
    rng = np.random.default_rng(seed)
    u = (rng.random(n) < 0.45).astype(int)
    items = rng.random((n, 6)) < np.where(u[:, None], 0.7, 0.3)
    frame = pd.DataFrame(items.astype(int), columns=[f"V{i}" for i in range(6)])
    ill = rng.random(n) < np.where(u, 0.6, 0.2)
    return frame.assign(score=u + rng.normal(size=n), ill=np.where(ill, "yes", "no"))


ITEMS = [f"V{i}" for i in range(6)]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return simulated(1500, 1)


@pytest.fixture(scope="module")
def fit(frame) -> px.MixtureFit:
    """Source 0 is the larger class."""
    return px.fit_product(frame[ITEMS], 2, n_init=3)


def steps(fit: px.MixtureFit, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P(U | row), assignments and D, in plain numpy."""
    shares = fit.predict_proba(frame[ITEMS]).to_numpy()
    assigned = shares.argmax(1)
    d = np.array(
        [[shares[assigned == w, j].sum() / shares[:, j].sum() for w in (0, 1)] for j in (0, 1)]
    )
    return shares, assigned, d


def test_bch_and_the_naive_means_are_weighted_means_of_rows(frame, fit):
    shares, assigned, d = steps(fit, frame)
    weights, score = np.linalg.inv(d)[assigned], frame["score"].to_numpy()
    expected = {
        "bch": [(weights[:, j] @ score) / weights[:, j].sum() for j in (0, 1)],
        "modal": [score[assigned == j].mean() for j in (0, 1)],
        "proportional": [(shares[:, j] @ score) / shares[:, j].sum() for j in (0, 1)],
    }
    for method, values in expected.items():
        found = fit.distal(frame, "score", method=method, n_bootstrap=0)
        assert found.estimates[:, 0].tolist() == pytest.approx(values)
        assert found.to_frame()["standard_error"].isna().all()
        assert method in str(found)
    ill = fit.distal(frame, "ill", n_bootstrap=0)
    assert ill.values == ("no", "yes")
    yes = (frame["ill"] == "yes").to_numpy()
    assert ill.estimates[:, 1].tolist() == pytest.approx(
        [(weights[:, j] @ yes) / weights[:, j].sum() for j in (0, 1)]
    )
    assert ill.estimates.sum(1).tolist() == pytest.approx([1, 1])


def test_ml_of_a_mean_is_the_optimum_that_another_program_finds(frame, fit):
    _, assigned, d = steps(fit, frame)
    score = frame["score"].to_numpy()

    def minus(x: np.ndarray) -> float:
        q = 1 / (1 + math.exp(-x[0]))
        sd = math.exp(x[3])
        parts = [
            share * d[j][assigned] * np.exp(-(((score - x[1 + j]) / sd) ** 2) / 2) / sd
            for j, share in ((0, 1 - q), (1, q))
        ]
        return -float(np.log(parts[0] + parts[1]).sum())

    other = minimize(minus, [0.0, 0.2, 0.8, 0.0], method="BFGS").x
    found = fit.distal(frame, "score", method="ml", n_bootstrap=0)
    assert found.estimates[:, 0].tolist() == pytest.approx(other[1:3].tolist(), abs=2e-3)


def test_ml_of_a_state_is_the_optimum_that_another_program_finds(frame, fit):
    _, assigned, d = steps(fit, frame)
    yes = (frame["ill"] == "yes").to_numpy()

    def minus(x: np.ndarray) -> float:
        q, *p = 1 / (1 + np.exp(-x))
        parts = [
            share * d[j][assigned] * np.where(yes, p[j], 1 - p[j])
            for j, share in ((0, 1 - q), (1, q))
        ]
        return -float(np.log(parts[0] + parts[1]).sum())

    other = 1 / (1 + np.exp(-minimize(minus, [0.1, -1.0, 0.3], method="BFGS").x))
    found = fit.distal(frame, "ill", method="ml", n_bootstrap=0)
    assert found.estimates[:, 1].tolist() == pytest.approx(other[1:].tolist(), abs=2e-3)


def test_naive_differences_shrink_and_corrected_ones_do_not():
    """Eight tables; the truth is 1, and modal assignment sees four fifths of it."""
    gaps: dict[str, list[float]] = {"modal": [], "proportional": [], "bch": [], "ml": []}
    for seed in range(8):
        frame = simulated(1500, 100 + seed)
        fit = px.fit_product(frame[ITEMS], 2, n_init=1, method="em")
        for method, found in gaps.items():
            low, high = sorted(
                fit.distal(frame, "score", method=method, n_bootstrap=0).estimates[:, 0].tolist()
            )
            found.append(high - low)
    means = {method: float(np.mean(found)) for method, found in gaps.items()}
    errors = {method: float(np.std(found)) / math.sqrt(8) for method, found in gaps.items()}
    for method in ("bch", "ml"):
        assert means[method] == pytest.approx(1, abs=3 * errors[method])
    assert means["proportional"] < means["modal"] < 0.85
    assert means["modal"] + 5 * errors["modal"] < 1


def test_standard_errors_hold_step_one_too(frame, fit):
    """Of 30 tables drawn anew, refitted one by one, with the same draws."""
    found = fit.distal(frame, "score", n_bootstrap=30, random_state=4)
    assert found.draws.shape == (30, 2, 1)
    apart = [
        fit.distal(frame, "score", n_bootstrap=n, random_state=4).draws[:1, :, 0] for n in (1, 2)
    ]
    torch.testing.assert_close(apart[0], apart[1], rtol=0, atol=1e-4)
    torch.testing.assert_close(apart[0], found.draws[:1, :, 0], rtol=0, atol=1e-4)
    table = found.contrasts()
    errors = found.standard_errors[:, 0]
    gap = float((found.draws[:, 1, 0] - found.draws[:, 0, 0]).std())
    assert table["standard_error"].iloc[0] == pytest.approx(gap)
    assert abs(table["difference"].iloc[0]) == pytest.approx(1, abs=4 * gap)
    assert table["p_value"].iloc[0] < 1e-6
    # An outcome of sd 1.1 in 700 rows of one class, were they known: about .04.
    assert 0.04 < float(errors.min()) < float(errors.max()) < 0.15
    rows = found.to_frame(level=0.9)
    assert list(rows["high"] - rows["estimate"]) == pytest.approx(
        (1.644854 * errors).tolist(), rel=1e-5
    )


def test_an_outcome_that_is_missing_or_weighed_counts_accordingly(frame, fit):
    half = frame.assign(score=frame["score"].where(frame.index < 900))
    found = fit.distal(half, "score", n_bootstrap=0)
    _, assigned, d = steps(fit, frame)
    weights = np.linalg.inv(d)[assigned][:900]
    score = frame["score"].to_numpy()[:900]
    assert found.estimates[:, 0].tolist() == pytest.approx(
        [(weights[:, j] @ score) / weights[:, j].sum() for j in (0, 1)]
    )
    twice = pd.concat([frame, frame[frame.index < 300]])
    weighed = frame.assign(w=np.where(frame.index < 300, 2, 1))
    one = fit.distal(twice, "ill", n_bootstrap=0)
    other = fit.distal(weighed, "ill", sample_weight="w", n_bootstrap=0)
    torch.testing.assert_close(one.estimates, other.estimates)


def test_numbers_with_states_are_states(frame, fit):
    coded = frame.assign(ill=(frame["ill"] == "yes").astype(int))
    found = fit.distal(coded, "ill", states=[1, 0], n_bootstrap=0)
    text = fit.distal(frame, "ill", n_bootstrap=0)
    assert found.values == (1, 0)
    torch.testing.assert_close(found.estimates, text.estimates.flip(1))


def test_what_cannot_be_described_is_refused(frame, fit):
    with pytest.raises(px.QueryError, match="outside the model"):
        fit.distal(frame, "V0")
    with pytest.raises(px.QueryError, match="method"):
        fit.distal(frame, "score", method="none")
    for states in ([[1]], ["yes"], ["yes", "yes"]):
        with pytest.raises(px.DataError, match="two or more distinct states"):
            fit.distal(frame, "ill", states=states)
    with pytest.raises(px.DataError, match="height"):
        fit.distal(frame, "height")
    shares = torch.full((1, 5, 2), 0.5, dtype=torch.float64)
    found = third_step(
        shares,
        torch.zeros(1, 5, dtype=torch.int64),
        torch.ones(1, 5, dtype=torch.float64),
        torch.ones(5, 1, dtype=torch.float64),
        torch.ones(5, dtype=torch.bool),
        "bch",
        discrete=False,
    )
    assert not bool(found.ok.any())


def test_every_row_is_found_among_the_patterns_in_any_order():
    rows = torch.randint(-1, 3, (500, 4), dtype=torch.int8)
    patterns = rows.unique(dim=0)
    patterns = patterns[torch.randperm(len(patterns))]
    assert torch.equal(patterns[_pattern_of(patterns, rows)], rows)


def test_the_bias_of_bch_is_that_of_step_one_and_falls_with_the_rows():
    """2,000 tables of each size, by ``studies/bch_bias.py``: known classes have none."""
    with (Path(__file__).parent / "studies" / "bch_bias.csv").open() as file:
        rows = list(csv.DictReader(file))
    bias = {(int(r["rows"]), r["step_one"]): float(r["mean"]) - 1 for r in rows}
    error = {(int(r["rows"]), r["step_one"]): float(r["standard_error"]) for r in rows}
    sizes = sorted({n for n, _ in bias})
    assert len(sizes) == 5
    for n in sizes:
        assert abs(bias[n, "known"]) < 3 * error[n, "known"]
        of_step_one = bias[n, "same rows"] - bias[n, "known"]
        assert -35 / n - 0.002 < of_step_one < -15 / n + 0.002
    assert bias[1000, "same rows"] < -5 * error[1000, "same rows"]
