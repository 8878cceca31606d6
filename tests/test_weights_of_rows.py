"""What weights are: numbers of rows, or how much each row speaks for; never a guess in silence."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import pyromix as px
from pyromix.data.counts import Counts

ASKED = {"contrast": ("control", "treated")}
DOUBT = "the number of rows depends on what they are"


@pytest.fixture(scope="module")
def toy():
    model, frame, _ = px.datasets.load("hidden-group")
    return model, frame, px.fit(model, frame, 2, random_state=0)


@pytest.fixture(scope="module")
def table(toy):
    """The rows of the toy, counted: as many rows as there are patterns, and their numbers."""
    frame = toy[1]
    return frame.value_counts().rename("n").reset_index()


# -- counts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["pooled", None])
def test_counts_that_were_rounded_are_the_same_counts(toy, table, prior):
    options = {"sample_weight": "n", "random_state": 0, "prior": prior}
    whole = px.fit(toy[0], table, 2, **options)
    scaled = px.fit(toy[0], table.assign(n=table["n"] * 1.000001), 2, **options)
    assert whole.n_rows == len(toy[1])
    assert scaled.n_rows == pytest.approx(1.000001 * len(toy[1]), rel=1e-9)
    one, other = (f.effect("X", "Y", **ASKED).do for f in (whole, scaled))
    assert float(other) == pytest.approx(float(one), abs=1e-5)
    np.testing.assert_allclose(other.standard_error, one.standard_error, atol=1e-5)
    assert scaled.bic == pytest.approx(whole.bic, rel=1e-5)


def test_the_number_of_rows_is_the_sum_of_counts(toy, table):
    with pytest.warns(px.DataRepairWarning, match=DOUBT):
        fit = px.fit(toy[0], table.assign(n=table["n"] + 0.4), 2, sample_weight="n")
    assert fit.n_rows == pytest.approx(len(toy[1]) + 0.4 * len(table))


def test_whole_weights_are_numbers_of_rows():
    spec = px.MixtureSpec.from_parents(dict.fromkeys("AB", (0, 1)), {}, 1)
    codes = torch.tensor([[0, 0], [1, 1]])
    counts = Counts.from_codes(spec, codes, torch.tensor([3.0, 500.0]))
    assert counts.weight_of_a_row == 1.0
    assert counts.in_rows() is counts
    assert counts.report.repairs == ()


# -- doubt ---------------------------------------------------------------------------------------

AB = pd.DataFrame({"A": [0, 1] * 50, "B": [0, 0, 1, 1] * 25})
SCHEMA = px.Schema(("A", "B"), ((0, 1), (0, 1)))


@pytest.mark.parametrize(
    ("weights", "spoken_of"),
    [
        (np.full(100, 1 / 100), True),
        (np.full(100, 0.45), True),
        (np.full(100, 2.5), True),
        (np.full(100, 0.6), False),
        (np.full(100, 1.9), False),
        (np.full(100, 7.0), False),
        (np.full(100, 7.0, dtype=np.float32) * np.float32(1.1) / np.float32(1.1), False),
        (np.arange(1, 101) * 1.000001, False),
        (np.full(100, 123456.4), True),
        (np.r_[np.ones(99), 0.01], False),
        (np.r_[np.zeros(60), np.ones(40)], False),
    ],
)
def test_fractions_are_spoken_of_where_the_readings_differ_by_a_factor_of_two(weights, spoken_of):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        counts = Counts.from_frame(AB, SCHEMA, sample_weight=weights)
    assert [DOUBT in str(w.message) for w in said] == [True] * spoken_of
    assert counts.weight_of_a_row == 1.0


def test_the_doubt_names_both_numbers_of_rows_and_both_settings():
    with pytest.warns(px.DataRepairWarning) as said:
        Counts.from_frame(AB, SCHEMA, sample_weight=np.full(100, 0.05))
    [warning] = said
    text = str(warning.message)
    assert "5 as counts (weights_are='counts', which was taken)" in text
    assert "100 as sampling weights (weights_are='sampling'" in text
    assert warning.filename == __file__


def test_the_advice_of_the_doubt_ends_it():
    weights = np.full(100, 0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = Counts.from_frame(AB, SCHEMA, sample_weight=weights, weights_are="sampling")
    assert found.in_rows().n_rows == pytest.approx(100)


def test_tables_made_of_a_population_or_of_fewer_columns_raise_no_doubt():
    light = Counts.from_codes(SCHEMA, torch.tensor([[0, 0], [1, 1]]), torch.tensor([0.1, 0.2]))
    assert len(light.report.repairs) == 1
    few = light.on(px.Schema(("A",), ((0, 1),)))
    assert not few.report.repairs
    truth = px.random_mixture(px.MixtureSpec.from_parents(dict.fromkeys("AB", (0, 1)), {}, 1), 0)
    cells = px.fit(truth.spec, px.population(truth), method="em", n_init=1)
    assert not any(DOUBT in str(note) for note in cells.notes)


# -- sampling weights ----------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1 / 5000, 0.5, 1.0, 2.0, 2.5])
def test_the_scale_of_sampling_weights_changes_no_answer_and_no_interval(toy, scale):
    model, frame, plain = toy
    weights = {"sample_weight": np.full(len(frame), scale), "weights_are": "sampling"}
    weighted = px.fit(model, frame, 2, **weights, random_state=0)
    assert weighted.n_rows == pytest.approx(len(frame))
    assert weighted.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-3)
    assert weighted.bic == pytest.approx(plain.bic, abs=1e-2)
    one, other = (f.effect("X", "Y", **ASKED).do for f in (plain, weighted))
    assert float(other) == pytest.approx(float(one), abs=1e-4)
    np.testing.assert_allclose(other.standard_error, one.standard_error, rtol=1e-3)
    assert any("count as 5000 rows" in note for note in weighted.diagnostics.notes) == (scale != 1)
    if scale == 0.5:
        assert weighted.predictive_check().fits
        draws = weighted.bootstrap(n=100).effect("X", "Y", **ASKED).do
        assert draws.standard_error[1] == pytest.approx(one.standard_error[1], rel=0.3)


@pytest.mark.parametrize("weights_are", ["counts", "sampling"])
def test_one_light_row_makes_no_interval_narrower(toy, weights_are):
    model, frame, plain = toy
    weights = np.ones(len(frame))
    weights[0] = 0.01
    options = {"sample_weight": weights, "weights_are": weights_are, "random_state": 0}
    light = px.fit(model, frame, 2, **options)
    assert light.n_rows == pytest.approx(len(frame), rel=1e-3)
    one, other = (f.effect("X", "Y", **ASKED).do.standard_error for f in (plain, light))
    np.testing.assert_allclose(one, other, rtol=0.02)


def test_unequal_sampling_weights_are_fewer_rows():
    """Gamma weights of mean one and variance one: half the rows, by Kish."""
    rng = np.random.default_rng(0)
    spec = px.MixtureSpec.from_parents(dict.fromkeys("ABC", (0, 1)), {}, 1)
    codes = torch.from_numpy(rng.integers(0, 2, (4000, 3)))
    weights = torch.from_numpy(rng.standard_gamma(1.0, 4000))
    counts = Counts.from_codes(spec, codes, weights, weights_are="sampling")
    expected = float(weights.sum() ** 2 / weights.square().sum())
    assert counts.in_rows().n_rows == pytest.approx(expected)
    assert expected == pytest.approx(2000, rel=0.1)
    fit = px.fit(spec, counts, prior=None)
    error = fit.query("A").standard_error[0]
    assert error == pytest.approx(0.5 / expected**0.5, rel=0.05)


# -- every door ----------------------------------------------------------------------------------

WHOLE = {"sample_weight": "n"}
SAMPLED = {"sample_weight": "n", "weights_are": "sampling"}


def test_every_door_takes_both_readings(toy):
    """Unequal whole numbers make fewer rows as sampling weights than as counts, by every door."""
    model, frame, plain = toy
    frame = frame.assign(n=np.where(frame["Y"] == "better", 9, 1))
    n = frame["n"]
    effective = float(n.sum() ** 2 / (n**2).sum())
    for weights, n_rows in ((WHOLE, n.sum()), (SAMPLED, effective)):
        for fit in (
            px.fit(model, frame, 2, n_init=1, **weights),
            px.fit_product(frame, 2, n_init=1, **weights),
            plain.refine(frame, **weights),
        ):
            assert fit.n_rows == pytest.approx(n_rows)
    share = pytest.approx(effective / n.sum())
    floors = [
        px.check(model, 2, frame, **weights).found.stage.runs[0].noise_floor
        for weights in (WHOLE, SAMPLED)
    ]
    assert (floors[0] / floors[1]) ** 2 == share
    log_likelihoods = [
        px.select_n_sources(model, frame, [1], n_folds=2, **weights).candidates[0].log_likelihood
        for weights in (WHOLE, SAMPLED)
    ]
    assert log_likelihoods[1] / log_likelihoods[0] == share
    errors = [
        plain.bootstrap(frame, n=30, **weights).effect("X", "Y", **ASKED).do.standard_error[1]
        for weights in (WHOLE, SAMPLED)
    ]
    assert errors[1] > 1.5 * errors[0]
    deviations = [
        [pair.p_value for pair in plain.predictive_check(frame, **weights).pairs]
        for weights in (WHOLE, SAMPLED)
    ]
    assert deviations[0] != deviations[1]


def test_units_of_coins_take_both_readings():
    h, trials = np.r_[np.zeros(50), np.full(50, 9)], 9
    plain = px.fit_iid(h, trials, 2)
    light = px.fit_iid(h, trials, 2, sample_weight=np.full(100, 0.01), weights_are="sampling")
    assert light.log_likelihood == pytest.approx(plain.log_likelihood)
    with pytest.warns(px.DataRepairWarning, match=DOUBT):
        counted = px.fit_iid(h, trials, 2, sample_weight=np.full(100, 0.01))
    assert counted.log_likelihood == pytest.approx(plain.log_likelihood / 100)


def test_a_score_asks_nobody_what_weights_are(toy):
    _, frame, plain = toy
    light = plain.score(frame, sample_weight=np.full(len(frame), 1e-4))
    assert light == pytest.approx(plain.score(frame))


def test_a_follow_up_takes_weights_too(toy):
    model, frame, _ = toy
    weighted = frame.assign(w=np.where(frame["Y"] == "better", 3, 1))
    fit = px.fit(model, weighted, 2, sample_weight="w", random_state=0)
    own, again = fit.predictive_check(), fit.predictive_check(weighted, sample_weight="w")
    assert [p.p_value for p in own.pairs] == [p.p_value for p in again.pairs]
    assert fit.refine(weighted, sample_weight="w").n_rows == fit.n_rows


@pytest.mark.parametrize("verb", ["refine", "bootstrap", "predictive_check"])
def test_a_reading_of_weights_that_are_not_there_is_refused(toy, verb):
    model, frame, plain = toy
    for data in (None, frame, plain.counts):
        with pytest.raises(px.DataError, match="no weights were given"):
            getattr(plain, verb)(data, weights_are="sampling")
    with pytest.raises(px.DataError, match="no weights were given"):
        px.fit(model, plain.counts, 2, weights_are="sampling")
    with pytest.raises(px.DataError, match="no weights were given"):
        px.fit_iid([1, 2], 3, 1, weights_are="sampling")


def test_an_unknown_reading_is_refused_with_what_there_is(toy):
    model, frame, _ = toy
    with pytest.raises(px.QueryError, match=r"\['counts', 'sampling'\], found 'count'"):
        px.fit(model, frame, 2, sample_weight=np.ones(len(frame)), weights_are="count")
