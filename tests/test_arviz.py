"""Draws of a fit as an ArviZ data tree."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
import torch
from pyro.ops.stats import split_gelman_rubin

import pyromix as px
from pyromix.bridges.arviz import to_arviz
from pyromix.model.spec import MixtureSpec

SPEC = MixtureSpec.from_parents(
    {"A": ["<a>", "ü"], "X": [1, 2, 3], "Y": [1, "1", None]}, {"Y": ["A", "X"]}, 2,
    uninfluenced=["A"],
)  # fmt: skip


def test_tables_have_chains_draws_and_states_by_name():
    pytest.importorskip("arviz_base", reason="the extra arviz is not installed")
    mixture = px.random_mixture(SPEC, 0, batch_shape=(10,))
    tree = to_arviz(mixture, 2, drawn_by="gibbs")
    posterior = tree["posterior"]
    assert posterior.attrs["drawn_by"] == "gibbs"
    assert {name: array.dims for name, array in posterior.data_vars.items()} == {
        "theta[U]": ("chain", "draw", "U"),
        "theta[A]": ("chain", "draw", "A"),
        "theta[X]": ("chain", "draw", "U", "X"),
        "theta[Y]": ("chain", "draw", "U", "A", "X", "Y"),
    }
    one = posterior["theta[Y]"].sel(chain=1, draw=2, A="ü", X=3, U=1)
    np.testing.assert_array_equal(one, mixture.cpts[2][7, 1, 1, 2])
    assert list(posterior["Y"].values) == [0, 1, 2]  # 1 and "1" are one text
    np.testing.assert_array_equal(posterior["theta[A]"].sel(chain=0), mixture.cpts[0][:5, 0])


def test_chains_of_gibbs_stay_apart():
    pytest.importorskip("arviz_base", reason="the extra arviz is not installed")
    model, df, _ = px.datasets.load("hidden-group")
    fit = px.fit(model, df, n_sources=2, n_init=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.SamplingWarning)
        fit = fit.refine(method="gibbs", num_samples=20, warmup_steps=5, num_chains=3)
    tree = fit.to_arviz()["posterior"]
    assert dict(tree.sizes)["chain"] == 3
    assert tree.attrs["inference_library"] == "pyromix"
    weights = torch.from_numpy(tree["theta[U]"].values)
    torch.testing.assert_close(weights.flatten(0, 1), fit.draws.weights)
    r_hat = split_gelman_rubin(weights, chain_dim=0, sample_dim=1)
    assert float(r_hat.max()) <= fit.diagnostics.sampling[0].r_hat + 1e-9
    assert dict(fit.bootstrap(n=4).to_arviz()["posterior"].sizes)["chain"] == 1


def test_what_arviz_cannot_hold_is_refused(monkeypatch):
    for name in ("a/b", "chain"):
        spec = MixtureSpec.from_parents({name: "ab"}, {}, 2)
        with pytest.raises(px.SpecError, match="rename them"):
            to_arviz(px.random_mixture(spec, 0, batch_shape=(2,)))
    monkeypatch.setitem(sys.modules, "arviz_base", None)
    with pytest.raises(px.QueryError, match=r"pyromix\[arviz\]"):
        to_arviz(px.random_mixture(SPEC, 0, batch_shape=(2,)))


def test_a_point_estimate_has_no_draws():
    model, df, _ = px.datasets.load("hidden-group")
    with pytest.raises(px.QueryError, match=r"fit.bootstrap\(\)"):
        px.fit(model, df, n_sources=2, n_init=1).to_arviz()
