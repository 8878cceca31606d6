"""MixtureEstimator in pgmpy's hands."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pgmpy.inference import VariableElimination
from pgmpy.models import DiscreteBayesianNetwork
from sklearn.base import clone

import pyromix as px

EDGES = [("U", "Z1"), ("U", "Z2"), ("U", "X"), ("U", "Y"), ("X", "Y")]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return px.datasets.load("hidden-group")[1]


@pytest.fixture
def model() -> DiscreteBayesianNetwork:
    return DiscreteBayesianNetwork(EDGES, latents={"U"})


@pytest.mark.parametrize("k", [{"n_sources": 2}, {"latent_card": {"U": 2}}])
def test_pgmpy_fits_every_cpd_through_the_estimator(model, frame, k):
    returned = model.fit(frame, estimator=px.MixtureEstimator(**k, n_init=4))
    assert returned is model
    assert model.check_model()
    assert {cpd.variable for cpd in model.get_cpds()} == {"U", "X", "Y", "Z1", "Z2"}
    assert model.get_cpds("X").state_names["X"] == ["control", "treated"]
    assert model.latents == {"U"}


def test_pgmpys_inference_agrees_with_ours_on_the_fitted_network(model, frame):
    estimator = px.MixtureEstimator(n_sources=2, n_init=4)
    model.fit(frame, estimator=estimator)
    theirs = VariableElimination(model).query(["Y"], {"X": "treated"}, show_progress=False)
    ours = estimator.fit_.query("Y", evidence={"X": "treated"})
    np.testing.assert_allclose(theirs.values, ours.values, atol=1e-12)


def test_fitted_attributes_follow_pgmpys_names(model, frame):
    estimator = px.MixtureEstimator(n_sources=2, n_init=4).fit(model, frame)
    assert [cpd.variable for cpd in estimator.parameters_] == list(model.nodes())
    assert estimator.state_names_["Y"] == ["worse", "better"]
    assert estimator.log_likelihood_ == estimator.fit_.log_likelihood
    assert estimator.converged_
    assert estimator.n_iter_ > 0


def test_clone_and_get_params_keep_every_argument():
    estimator = px.MixtureEstimator(latent_card={"U": 3}, n_init=7, random_state=5, missing="drop")
    params = clone(estimator).get_params()
    assert params == estimator.get_params()
    assert (params["latent_card"], params["n_init"]) == ({"U": 3}, 7)


def test_weights_are_those_of_model_fit(model, frame):
    few = frame.head(200)
    weight = np.arange(200) % 3
    one = px.MixtureEstimator(n_sources=2, n_init=2)
    two = px.MixtureEstimator(n_sources=2, n_init=2)
    model.fit(few, estimator=one, sample_weight=weight)
    model.fit(few.loc[few.index.repeat(weight)], estimator=two)
    assert one.log_likelihood_ == pytest.approx(two.log_likelihood_, abs=1e-8)


def test_weights_may_be_sampling_weights(model, frame):
    few = frame.head(200)
    one = px.MixtureEstimator(n_sources=2, n_init=2, weights_are="sampling")
    two = px.MixtureEstimator(n_sources=2, n_init=2)
    model.fit(few, estimator=one, sample_weight=np.full(200, 1 / 200))
    model.fit(few, estimator=two)
    assert one.fit_.n_rows == pytest.approx(200)
    assert one.log_likelihood_ == pytest.approx(two.log_likelihood_, abs=1e-6)


def test_states_of_the_latent_may_have_names(model, frame):
    names = {"U": ["small", "large"]}
    model.fit(frame, estimator=px.MixtureEstimator(state_names=names, n_init=2))
    assert model.get_cpds("U").state_names["U"] == ["small", "large"]


def test_seed_is_an_alias_of_random_state(model, frame):
    fits = [
        px.MixtureEstimator(n_sources=2, n_init=2, **seed).fit(model, frame).log_likelihood_
        for seed in ({"seed": 3}, {"random_state": 3})
    ]
    assert fits[0] == fits[1]


def test_one_source_is_refused_with_what_to_use_instead(model, frame):
    with pytest.raises(px.SpecError, match="DiscreteMLE"):
        model.fit(frame, estimator=px.MixtureEstimator(n_sources=1))


def test_a_model_without_a_latent_is_refused(frame):
    with pytest.raises(px.SpecError, match="one latent vertex"):
        DiscreteBayesianNetwork([("X", "Y")]).fit(frame, estimator=px.MixtureEstimator(n_sources=2))


def test_contradicting_numbers_of_sources_are_refused(model, frame):
    estimator = px.MixtureEstimator(n_sources=3, latent_card={"U": 2})
    with pytest.raises(px.SpecError, match=r"n_sources=3.*'U': 2"):
        model.fit(frame, estimator=estimator)


def test_a_latent_card_of_another_vertex_is_refused(model, frame):
    with pytest.raises(px.SpecError, match="'W'"):
        model.fit(frame, estimator=px.MixtureEstimator(latent_card={"W": 2}))


def test_a_network_of_a_fit_that_becomes_a_mixture_says_what_is_lost(model, frame):
    estimator = px.MixtureEstimator(n_sources=2, n_init=1, prior=1.0)
    model.fit(frame.head(500), estimator=estimator)
    with pytest.warns(px.LostFitWarning, match=r"certainty.*estimator\.fit_"):
        mixture = px.mixture_from_pgmpy(model)
    np.testing.assert_allclose(mixture.weights, estimator.fit_.mixture.weights, atol=1e-12)
    with pytest.warns(px.LostFitWarning):
        px.mixture_from_pgmpy(estimator.fit_.to_pgmpy())
    px.mixture_from_pgmpy(px.to_pgmpy(estimator.fit_.mixture))  # a mixture has nothing to lose
