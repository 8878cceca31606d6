"""ChiRho's handlers on our Pyro program: an intervention, and a counterfactual that U carries."""

from __future__ import annotations

import pytest
import torch
from pyro import poutine

import pyromix as px

pytest.importorskip("chirho", reason="the extra chirho is not installed")

from chirho.counterfactual.handlers import MultiWorldCounterfactual
from chirho.indexed.ops import IndexSet, gather
from chirho.interventional.handlers import do

N = 100_000


@pytest.fixture(scope="module")
def toy():
    model, _, _ = px.datasets.load("hidden-group")
    return px.random_mixture(px.from_pgmpy(model, 2), 3, separation=0.2)


def close(share, expected):
    """Within five standard errors."""
    return abs(share - expected) < 5 * (expected * (1 - expected) / N) ** 0.5


def test_its_do_is_ours(toy):
    with torch.random.fork_rng(), do(actions={"X": torch.tensor(1)}):
        torch.manual_seed(0)
        y = poutine.trace(px.to_pyro(toy)).get_trace(size=N).nodes["Y"]["value"]
    expected = px.query(toy, "Y", do={"X": "treated"}).values[1]
    assert close(float(y.double().mean()), expected)


def test_worlds_of_a_counterfactual_share_the_source(toy):
    """P(Y(X=1) | X=0): sum over u of P(u | X=0) P(Y | u, X=1), neither seen nor do."""
    worlds = MultiWorldCounterfactual(first_available_dim=-2)
    with torch.random.fork_rng(), worlds, do(actions={"X": torch.tensor(1)}):
        torch.manual_seed(0)
        trace = poutine.trace(px.to_pyro(toy)).get_trace(size=N)
        x, y = (trace.nodes[name]["value"] for name in "XY")
        natural = gather(x, IndexSet(X={0})).flatten()
        treated = gather(y, IndexSet(X={1})).flatten()
    untreated = natural == 0
    share = float(treated[untreated].double().mean())
    of_source = px.query(toy, "U", evidence={"X": "control"}).values
    states = toy.spec.source_states
    expected = sum(
        p * px.query(toy, "Y", do={"X": "treated"}, evidence={"U": s}).values[1]
        for p, s in zip(of_source, states, strict=True)
    )
    n = int(untreated.sum())
    assert abs(share - expected) < 5 * (expected * (1 - expected) / n) ** 0.5
    assert abs(share - px.query(toy, "Y", do={"X": "treated"}).values[1]) > 0.01
