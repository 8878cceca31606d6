"""Weights that are no whole numbers are weights of rows: scale and a light row change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyromix as px
from pyromix.data.counts import Counts

ASKED = {"contrast": ("control", "treated")}


@pytest.fixture(scope="module")
def toy():
    model, frame, _ = px.datasets.load("hidden-group")
    return model, frame, px.fit(model, frame, 2, random_state=0)


@pytest.mark.parametrize("scale", [1 / 5000, 0.5, 2.5])
def test_the_scale_of_weights_changes_no_answer_and_no_interval(toy, scale):
    model, frame, plain = toy
    weighted = px.fit(model, frame, 2, sample_weight=np.full(len(frame), scale), random_state=0)
    assert weighted.n_rows == pytest.approx(len(frame))
    assert weighted.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-3)
    assert weighted.bic == pytest.approx(plain.bic, abs=1e-2)
    one, other = (f.effect("X", "Y", **ASKED).do for f in (plain, weighted))
    assert float(other) == pytest.approx(float(one), abs=1e-4)
    np.testing.assert_allclose(other.standard_error, one.standard_error, rtol=1e-3)
    assert any("count as 5000 rows" in note for note in weighted.diagnostics.notes)
    assert weighted.predictive_check().fits
    draws = weighted.bootstrap(n=100).effect("X", "Y", **ASKED).do
    assert draws.standard_error[1] == pytest.approx(one.standard_error[1], rel=0.3)


def test_one_light_row_makes_no_interval_narrower(toy):
    model, frame, plain = toy
    weights = np.ones(len(frame))
    weights[0] = 0.01
    light = px.fit(model, frame, 2, sample_weight=weights, random_state=0)
    assert light.n_rows == pytest.approx(len(frame), rel=1e-3)
    one, other = (f.effect("X", "Y", **ASKED).do.standard_error for f in (plain, light))
    np.testing.assert_allclose(one, other, rtol=0.02)


def test_unequal_weights_are_fewer_rows():
    """Gamma weights of mean one and variance one: half the rows, by Kish."""
    rng = np.random.default_rng(0)
    spec = px.MixtureSpec.from_parents(dict.fromkeys("ABC", (0, 1)), {}, 1)
    codes = torch.from_numpy(rng.integers(0, 2, (4000, 3)))
    weights = torch.from_numpy(rng.standard_gamma(1.0, 4000))
    counts = Counts.from_codes(spec, codes, weights)
    expected = float(weights.sum() ** 2 / weights.square().sum())
    assert counts.in_rows().n_rows == pytest.approx(expected)
    assert expected == pytest.approx(2000, rel=0.1)
    fit = px.fit(spec, counts, prior=None)
    error = fit.query("A").standard_error[0]
    assert error == pytest.approx(0.5 / expected**0.5, rel=0.05)


def test_whole_weights_are_numbers_of_rows():
    spec = px.MixtureSpec.from_parents(dict.fromkeys("AB", (0, 1)), {}, 1)
    codes = torch.tensor([[0, 0], [1, 1]])
    counts = Counts.from_codes(spec, codes, torch.tensor([3.0, 500.0]))
    assert counts.weight_of_a_row == 1.0
    assert counts.in_rows() is counts


def test_a_follow_up_takes_weights_too(toy):
    model, frame, _ = toy
    weighted = frame.assign(w=np.where(frame["Y"] == "better", 3, 1))
    fit = px.fit(model, weighted, 2, sample_weight="w", random_state=0)
    own, again = fit.predictive_check(), fit.predictive_check(weighted, sample_weight="w")
    assert [p.p_value for p in own.pairs] == [p.p_value for p in again.pairs]
    assert fit.refine(weighted, sample_weight="w").n_rows == fit.n_rows
