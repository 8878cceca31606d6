"""MixtureEstimator in sklearn's hands."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator

import pyromix as px


@pytest.fixture(scope="module")
def model_and_frame():
    model, frame, _ = px.datasets.load("hidden-group")
    return model, frame[:900]


def test_cross_validated_scores_are_log_likelihoods_of_held_out_rows(model_and_frame):
    model, frame = model_and_frame
    folds = KFold(3)
    found = cross_val_score(
        px.MixtureEstimator(2, model=model, n_init=1, prior=1.0), frame, cv=folds
    )
    train, test = next(folds.split(frame))
    fit = px.fit(model, frame.iloc[train], n_sources=2, n_init=1, prior=1.0)
    assert found[0] == pytest.approx(fit.score(frame.iloc[test]), abs=1e-12)


def test_a_grid_search_chooses_the_number_of_sources(model_and_frame):
    model, frame = model_and_frame
    search = GridSearchCV(
        px.MixtureEstimator(model=model, n_init=1, prior=1.0), {"n_sources": [1, 2]}, cv=3
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.PyromixWarning)
        search.fit(frame)
    assert search.best_params_ == {"n_sources": 2}
    best = search.best_estimator_
    shares = best.fit_.predict_proba(frame).to_numpy()
    np.testing.assert_array_equal(search.predict_proba(frame), shares)
    np.testing.assert_array_equal(search.predict(frame), shares.argmax(1))
    assert list(best.feature_names_in_) == list(best.fit_.spec.variables)
    assert best.n_features_in_ == 4


def test_without_a_graph_columns_are_latent_classes_and_arrays_are_named(model_and_frame):
    frame = model_and_frame[1]
    estimator = px.MixtureEstimator(2, n_init=1, prior=None).fit(frame.to_numpy())
    assert list(estimator.feature_names_in_) == ["x0", "x1", "x2", "x3"]
    fit = px.fit_product(frame, 2, n_init=1)
    assert estimator.log_likelihood_ == pytest.approx(fit.log_likelihood, abs=1e-8)
    assert estimator.score(frame.to_numpy()) == pytest.approx(fit.log_likelihood_per_row)


def test_weights_of_rows_go_into_fit_and_score(model_and_frame):
    model, frame = model_and_frame
    weight = np.arange(len(frame)) % 3
    one = px.MixtureEstimator(2, model=model, n_init=1, prior=1.0).fit(frame, sample_weight=weight)
    again = frame.loc[frame.index.repeat(weight)]
    two = px.MixtureEstimator(2, model=model, n_init=1, prior=1.0).fit(again)
    assert one.score(frame, sample_weight=weight) == pytest.approx(two.score(again), abs=1e-8)


def test_what_is_not_fitted_is_refused_by_both_names():
    for error in (NotFittedError, px.QueryError):
        with pytest.raises(error, match="not fitted"):
            px.MixtureEstimator(2).score(pd.DataFrame({"a": [0, 1]}))


def test_the_number_of_sources_has_two_names_that_must_agree(model_and_frame):
    model, frame = model_and_frame
    few = frame[:300]
    estimator = px.MixtureEstimator(latent_card={"U": 2}, model=model, n_init=1, prior=1.0).fit(few)
    assert len(estimator.classes_) == 2
    with pytest.raises(px.SpecError, match="disagree"):
        px.MixtureEstimator(3, latent_card={"U": 2}, model=model).fit(few)


@pytest.mark.parametrize("door", [px.fit_product, lambda f, k: px.select_n_sources(None, f, [k])])
def test_columns_that_have_no_text_for_a_name_are_refused(door):
    with pytest.raises(px.DataError, match=r"found \[0, 1\].*astype\(str\)"):
        door(pd.DataFrame([[0, 1], [1, 0], [1, 1], [0, 0]]), 1)


NOT_OURS = {
    "check_fit_score_takes_y": "pgmpy's fit(model, data) takes another second argument",
    "check_positive_only_tag_during_fit": "fractions are no states",
    "check_sample_weights_pandas_series": "columns without a text for a name are refused",
    "check_sample_weights_not_an_array": "an object that only numpy can read is no table",
    "check_fit2d_1sample": "one row can be fitted",
    "check_sample_weight_equivalence_on_dense_data": "fractions are no states",
}
"""Checks of sklearn that do not apply, and why."""


@pytest.mark.filterwarnings("ignore")
def test_sklearns_own_checks_pass_where_they_apply():
    assert get_tags(px.MixtureEstimator(2)).input_tags.categorical
    found = check_estimator(
        px.MixtureEstimator(2, n_init=1, prior=None, max_iter=9, method="em"),
        expected_failed_checks=NOT_OURS,
        on_fail=None, on_skip=None,
    )  # fmt: skip
    failed = {
        one["check_name"]: str(one["exception"]) for one in found if one["status"] == "failed"
    }
    assert failed == {}
    passed = {one["check_name"] for one in found if one["status"] == "passed"}
    assert len(passed) > 25
    unneeded = {one["check_name"] for one in found if one["status"] == "xfail"} ^ set(NOT_OURS)
    assert unneeded == set()
