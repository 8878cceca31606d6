"""What surrounds a call, gradients switched off and other threads, changes no answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyro
import pytest
import torch
from argument_fuzzing import EM, SPEC, rows

import pyromix as px
from pyromix.bridges.alone import alone
from pyromix.identify.certify import certify
from pyromix.model.gradients import gradients, ordinary

OFF = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}
DO = {"X": {"no": 0.25, "yes": 0.75}}


@pytest.fixture(scope="module")
def fit() -> px.MixtureFit:
    return px.fit(SPEC, rows(200), method="em", **EM)


ACTIONS = {
    "query": lambda fit: fit.query("Y", DO, require="none", interval=True).interval()[0],
    "profile": lambda fit: (
        fit.query("Y", {"X": "yes"}, require="none").interval(method="profile")[0]
    ),
    "effect": lambda fit: fit.effect("X", "Y", require="none", interval=True).interval()[0],
    "pyro": lambda fit: px.query(fit, "Y", DO, engine="pyro", require="none").values,
    "check": lambda fit: np.array([px.check(SPEC, 2, outcome="Y", treatment="X").found.residual]),
    "fit": lambda fit: px.fit(SPEC, rows(60), method="em", **EM).mixture.weights.numpy(),
    "nuts": lambda fit: (
        fit.refine(method="nuts", num_samples=4, warmup_steps=30, num_chains=1, random_state=1)
        .draws.weights.numpy()
    ),
    "svi": lambda fit: (
        fit.refine(method="svi", num_samples=3, num_steps=4, random_state=0).draws.weights.numpy()
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.filterwarnings("ignore::pyromix.PyromixWarning")
def test_answers_do_not_hang_on_gradients_being_on(fit, name):
    expected = ACTIONS[name](fit)
    for off in OFF.values():
        certify.cache_clear()
        with off():
            found = ACTIONS[name](fit)
            assert not torch.is_grad_enabled()
        assert np.allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.filterwarnings("ignore::pyromix.PyromixWarning")
def test_what_was_fitted_in_inference_mode_is_used_outside(fit):
    with torch.inference_mode():
        other = px.fit(SPEC, rows(200), method="em", **EM)
    for name in ("profile", "effect", "svi"):
        assert np.allclose(ACTIONS[name](other), ACTIONS[name](fit), rtol=0, atol=1e-9)


def test_gradients_are_on_within_and_as_found_afterwards():
    with torch.inference_mode():
        frozen = torch.ones(2)
        with gradients():
            leaf = ordinary(frozen).requires_grad_()
            (slope,) = torch.autograd.grad((leaf * leaf).sum(), leaf)
        assert torch.is_inference_mode_enabled()
    assert slope.tolist() == [2, 2]


@pytest.mark.filterwarnings("ignore::pyromix.PyromixWarning")
def test_threads_that_run_pyro_take_turns(fit):
    jobs = ["svi", "pyro", "nuts"] * 2
    expected = {name: ACTIONS[name](fit) for name in set(jobs)}
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda name: ACTIONS[name](fit), jobs))
    for name, values in zip(jobs, found, strict=True):
        assert np.allclose(values, expected[name], rtol=0, atol=1e-12), name
    assert not dict(pyro.get_param_store())


def test_a_thread_waits_and_takes_its_own_turn_twice():
    with ThreadPoolExecutor(1) as pool:
        with alone(), alone():
            other = pool.submit(_turn)
            assert not other.done()
        assert other.result(10) == "done"


def _turn() -> str:
    with alone():
        return "done"
