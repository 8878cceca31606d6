"""Sizes of sources and what they look like, in one frame."""

from __future__ import annotations

import numpy as np
import pytest

import pyromix as px
from pyromix.errors import QueryError


@pytest.fixture(scope="module")
def fit() -> px.MixtureFit:
    model, frame, _ = px.datasets.load("hidden-group")
    return px.fit(model, frame, 2, n_init=1, prior=None)


def by_sums(fit: px.MixtureFit, source: int, name: str) -> np.ndarray:
    """P(variable | source) by a sum over all cells of the joint table."""
    joint = fit.mixture.joint_table(with_source=True).numpy()
    v = fit.spec.vertex(name)
    others = tuple(i for i in range(fit.spec.n_variables) if i != v)
    within = joint[source].sum(axis=others)
    return within / within.sum()


def test_a_profile_is_the_margin_within_the_source(fit):
    frame = fit.profiles()
    spec = fit.spec
    assert len(frame) == 2 + 2 * sum(spec.card(v) for v in range(spec.n_variables))
    sizes = frame[frame["variable"] == "U"]
    assert list(sizes["probability"]) == pytest.approx(fit.mixture.weights.tolist())
    for (u, name), part in frame[frame["variable"] != "U"].groupby(["source", "variable"]):
        assert list(part["state"]) == list(spec.states_of(spec.vertex(name)))
        assert list(part["probability"]) == pytest.approx(list(by_sums(fit, u, name)))


def test_its_intervals_are_those_of_the_answers(fit):
    frame = fit.profiles(level=0.8)
    part = frame[(frame["source"] == 1) & (frame["variable"] == "Z1")]
    low, high = fit.query("Z1", evidence={"U": 1}, level=0.8).interval()
    assert list(part["low"]) == pytest.approx(list(low))
    assert list(part["high"]) == pytest.approx(list(high))
    assert (frame["low"] < frame["probability"]).all()
    with pytest.raises(QueryError, match="between 0 and 1"):
        fit.profiles(level=2)


def test_without_a_table_there_are_no_ends(fit):
    exact = px.fit(fit.spec, px.population(fit.mixture))
    frame = exact.profiles()
    assert frame["low"].isna().all()
    assert frame["probability"].notna().all()
