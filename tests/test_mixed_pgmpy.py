"""Linear Gaussian networks of pgmpy in and out."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from pgmpy.factors.continuous import LinearGaussianCPD
from pgmpy.models import LinearGaussianBayesianNetwork

import pyromix as px
from pyromix.errors import SpecError
from pyromix.model.kind import Kind


def network(latent=True):
    edges = [("Z", "Y"), ("X", "Y"), ("Z", "X")]
    hidden = [("U", v) for v in "XYZ"] if latent else []
    return LinearGaussianBayesianNetwork(
        edges + hidden, latents={"U"} if latent else set(), exposures={"X"}, outcomes={"Y"}
    )


def frame(n=120):
    rng = np.random.default_rng(1)
    u = 1.0 * (rng.random(n) < 0.4)
    z = 50 + 10 * u + 3 * rng.normal(size=n)
    x = (z - 40 + 5 * rng.normal(size=n)).round()  # whole numbers
    return pd.DataFrame({"Z": z, "X": x, "Y": 100 * x - 7 * z + 30 * u + rng.normal(size=n)})


@pytest.fixture(scope="module")
def fit():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return px.fit(network(), frame(), 2, n_init=0, show_progress=False)


def test_a_linear_gaussian_network_makes_all_its_variables_real(fit):
    assert isinstance(fit, px.MixedFit)
    assert set(fit.spec.kinds) == {Kind.REAL}
    assert any("graph was taken, not the coefficients" in said for said in fit.said)
    assert not any("fractions" in said for said in fit.said)


def test_its_coefficients_are_not_read(fit):
    model = network()
    model.add_cpds(
        LinearGaussianCPD("Z", [9.0, 9.0], 9.0, ["U"]),
        LinearGaussianCPD("X", [9.0, 9.0, 9.0], 9.0, ["Z", "U"]),
        LinearGaussianCPD("Y", [9.0, 9.0, 9.0, 9.0], 9.0, ["X", "Z", "U"]),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = px.fit(model, frame(), 2, n_init=0, show_progress=False)
    assert again.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-4)


def test_kinds_still_say_otherwise():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = px.fit(network(False), frame(), 1, kinds={"Z": "positive"}, n_init=0)
    assert found.spec.kind(found.spec.vertex("Z")) is Kind.POSITIVE


def test_networks_of_the_sources_weigh_rows_as_the_fit_does(fit):
    """Both engines agree on the log-likelihood in the units of the table: pgmpy's is its own."""
    found = px.to_pgmpy(fit)
    assert list(found) == [0, 1]
    data = frame(8)
    logs = []
    for u, weight in enumerate(fit.mixture.weights.tolist()):
        model = found[u]
        assert isinstance(model, LinearGaussianBayesianNetwork)
        assert (set(model.get_role("exposures")), set(model.get_role("outcomes"))) == ({"X"}, {"Y"})
        rows = [model.log_likelihood(data.iloc[[i]]) for i in range(len(data))]
        logs.append(np.log(weight) + np.array(rows))
    total = np.logaddexp(*logs)
    # pgmpy rounds means and covariances to eight digits.
    assert total.mean() == pytest.approx(fit.score(data), abs=1e-5)
    shares = np.exp(np.array(logs) - total).T
    assert fit.predict_proba(data).to_numpy() == pytest.approx(shares, abs=1e-5)
    assert found[0].edges == fit.to_pgmpy()[0].edges


def test_what_pgmpy_cannot_hold_is_refused_by_name():
    data = frame().assign(X=lambda d: d.X % 3, Z=lambda d: d.Z.abs())
    graph = network(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import networkx as nx

        found = px.fit(nx.DiGraph(graph.edges), data, 1, kinds={"Z": "positive"}, n_init=0)
    with pytest.raises(
        SpecError, match=r"found 'Z' \(positive\), 'X' \(categorical\); discretize="
    ):
        px.to_pgmpy(found)


def test_coefficients_are_no_mixture_of_tables():
    model = LinearGaussianBayesianNetwork([("X", "Y")])
    model.add_cpds(LinearGaussianCPD("X", [0.0], 1.0), LinearGaussianCPD("Y", [0, 1.0], 1.0, ["X"]))
    with pytest.raises(SpecError, match="found a LinearGaussianCPD of 'X'"):
        px.mixture_from_pgmpy(model)
