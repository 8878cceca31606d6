"""Rehearsals: what was planted comes back, and what cannot come back is seen not to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyromix as px
from pyromix.criticism.rehearsal import _margin_error, _with_gaps, rehearse
from pyromix.errors import DataError, QueryError
from pyromix.exact.sampling import sample


@pytest.fixture(scope="module")
def fit() -> px.MixtureFit:
    model, frame, _ = px.datasets.load("hidden-group")
    return px.fit(model, frame, 2, n_init=2, prior=None)


def test_the_planted_effect_is_recovered(fit):
    found = rehearse(fit, "X", "Y", n_times=4, n_init=1, prior=None)
    assert found.planted == pytest.approx(float(fit.effect("X", "Y").do))
    assert len(found.recovered) == len(found.naive) == len(found.margin_errors) == 4
    # Standard error of one recovery: 0.02.
    assert all(abs(r - found.planted) < 0.08 for r in found.recovered)
    assert all(abs(n - found.planted) > 0.15 for n in found.naive)
    assert 2 <= found.covered <= 4
    assert max(found.margin_errors) < 0.1
    assert found.n_rows == 5000
    assert "planted +0.245" in str(found)
    assert found.summary()["covered"] == found.covered


def test_without_an_effect_margins_are_compared(fit):
    found = rehearse(fit, n_times=2, n_init=1, prior=None)
    assert found.recovered == ()
    assert len(str(found).splitlines()) == 2


def test_the_same_seed_rehearses_the_same(fit):
    one, other = (rehearse(fit, n_times=1, n_init=1, prior=None) for _ in range(2))
    assert one == other


def test_what_cannot_be_rehearsed_is_refused(fit):
    with pytest.raises(QueryError, match="n_times"):
        rehearse(fit, n_times=0)
    with pytest.raises(DataError, match="holds no table"):
        rehearse(px.fit(fit.spec, px.population(fit.mixture)))


@pytest.mark.filterwarnings("ignore::pyromix.PyromixWarning")
def test_simulated_rows_lack_the_cells_that_rows_of_the_table_lack():
    model, frame, _ = px.datasets.load("hidden-group")
    frame = frame.astype(object)
    generator = np.random.default_rng(0)
    frame = frame.mask(generator.random(frame.shape) < 0.4)
    fit = px.fit(model, frame, 2, n_init=1, prior=None)
    rows = sample(fit.mixture, 4000, 0)[0]
    found = _with_gaps(rows, fit.counts, torch.Generator().manual_seed(0))
    share = float((found < 0).double().mean())
    lacking = (fit.counts.rows < 0).double().mean(1)
    expected = float(fit.counts.weights @ lacking / fit.counts.n_rows)
    assert share == pytest.approx(expected, abs=0.02)
    assert torch.equal(found[found >= 0], rows[found >= 0])


def test_errors_of_margins_do_not_hang_on_the_order_of_sources(fit):
    assert _margin_error(fit.mixture, fit.mixture.relabel([1, 0])) == pytest.approx(0, abs=1e-12)
