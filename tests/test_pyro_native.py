"""Our programs under Pyro's tools, and a user's own program started from ours."""

from __future__ import annotations

import importlib.util
import shutil

import pyro
import pyro.distributions as dist
import pytest
import torch
from helpers import Oracle
from network_cases import fixed_chain, rows_of
from pyro import poutine
from pyro.infer import (
    NUTS,
    SVI,
    Predictive,
    TraceEnum_ELBO,
    config_enumerate,
    infer_discrete,
)
from pyro.infer.autoguide import AutoDelta, init_to_value

import pyromix as px
from pyromix.bridges.pyro import to_pyro
from pyromix.bridges.pyro_start import init_loc_fn


@pytest.fixture(autouse=True)
def clean_store():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    yield
    pyro.clear_param_store()


@pytest.fixture(scope="module")
def truth():
    return fixed_chain()


def test_condition_and_do_compose_to_the_truncated_factorisation(truth):
    """P(V4 | do(V3=1), V0=0) by marginals of the enumerated program, two rows alike."""
    program = pyro.do(to_pyro(truth), data={"V3": torch.tensor([1, 1])})
    program = pyro.condition(program, data={"V0": torch.tensor([0, 0])})
    found = TraceEnum_ELBO(max_plate_nesting=1).compute_marginals(
        lambda: program(size=2), lambda: None
    )["V4"]
    oracle = Oracle(truth).query([4], {3: 1}, {0: 0})
    assert found.logits.softmax(-1)[0].tolist() == pytest.approx(
        [oracle[0,], oracle[1,]], abs=1e-12
    )


def test_infer_discrete_under_condition_imputes_sources(truth):
    program = pyro.condition(
        to_pyro(truth), data={f"V{v}": torch.full((2000,), 1) for v in range(5)}
    )
    served = infer_discrete(program, first_available_dim=-2)
    found = served(size=2000)["U"].double().mean()
    expected = Oracle(truth).responsibilities([1] * 5)[1]
    assert float(found) == pytest.approx(expected, abs=0.05)


def test_replaying_a_trace_repeats_its_rows(truth):
    program = to_pyro(truth)
    trace = poutine.trace(program).get_trace(size=5)
    again = poutine.replay(program, trace=trace)(size=5)
    assert torch.equal(again["V4"], trace.nodes["V4"]["value"])


def test_draws_of_a_fit_go_into_predictive(truth):
    """Posterior predictive by Pyro from draws of Gibbs: the mean is that of our own."""
    counts = rows_of(truth, 2000)
    fit = px.fit(truth.spec, counts, n_init=2, prior=1.0)
    from pyromix.posterior.gibbs import gibbs

    drawn = gibbs(fit.counts, fit.mixture, prior=fit.prior, num_samples=100, warmup_steps=50).flat
    sites = {"theta[U]": drawn.weights}
    sites |= {f"theta[{name}]": drawn.cpts[v] for v, name in enumerate(fit.spec.variables)}
    values = Predictive(fit.to_pyro(prior=2.0), posterior_samples=sites, parallel=True)(size=50)
    mine = drawn.joint_table().sum((1, 2, 3, 4))[:, 1].mean()
    assert float(values["V0"].double().mean()) == pytest.approx(float(mine), abs=0.02)


def test_nuts_of_a_user_starts_at_our_estimate(truth):
    program = to_pyro(truth, prior=2.0)
    kernel = NUTS(program, init_strategy=init_loc_fn(truth), max_tree_depth=1)
    kernel.setup(1, counts=rows_of(truth, 2000))
    start = kernel.transforms["theta[V0]"].inv(kernel.initial_params["theta[V0]"])
    torch.testing.assert_close(start, truth.cpts[0])


def test_a_users_own_mixture_takes_its_start_from_a_fit(truth):
    """Site names of their own; U enumerated over rows; the bound starts at our likelihood."""
    counts = rows_of(truth, 3000)
    rows = counts.rows.long().repeat_interleave(counts.weights.long(), 0)
    fit = px.fit(truth.spec, counts, n_init=2, prior=1.0)

    @config_enumerate
    def model(rows):
        mix = pyro.sample("mix", dist.Dirichlet(torch.full((2,), 2.0).double()))
        first = pyro.sample("first", dist.Dirichlet(torch.full((2, 2), 2.0).double()).to_event(1))
        steps = pyro.sample(
            "steps", dist.Dirichlet(torch.full((4, 2, 2, 2), 2.0).double()).to_event(3)
        )
        with pyro.plate("people", len(rows)):
            group = pyro.sample("group", dist.Categorical(mix))
            pyro.sample("x0", dist.Categorical(first[group]), obs=rows[:, 0])
            for v in range(1, 5):
                table = steps[v - 1][group, rows[:, v - 1]]
                pyro.sample(f"x{v}", dist.Categorical(table), obs=rows[:, v])

    start = init_to_value(
        values={
            "mix": fit.mixture.weights,
            "first": fit.mixture.cpts[0],
            "steps": torch.stack(fit.mixture.cpts[1:]),
        }
    )
    guide = AutoDelta(poutine.block(model, expose=["mix", "first", "steps"]), init_loc_fn=start)
    loss = TraceEnum_ELBO(max_plate_nesting=1)
    steps = SVI(model, guide, pyro.optim.Adam({"lr": 0.001}), loss)
    at_start = steps.evaluate_loss(rows)
    for _ in range(10):
        steps.step(rows)
    # Pseudo-count 1 is Dirichlet(2): the user's mode is our estimate, and nothing is left to gain.
    assert at_start - steps.evaluate_loss(rows) < 1e-3


@pytest.mark.skipif(
    importlib.util.find_spec("graphviz") is None or shutil.which("dot") is None,
    reason="rendering needs graphviz",
)
def test_programs_can_be_rendered(truth):
    graph = pyro.render_model(to_pyro(truth), model_kwargs={"size": 2})
    assert all(f"V{v}" in graph.source for v in range(5))


def test_programs_tell_their_dependencies(truth):
    """What render_model draws from, without graphviz."""
    from pyro.infer.inspect import get_dependencies

    found = get_dependencies(to_pyro(truth), (), {"size": 2})["prior_dependencies"]
    assert set(found["V1"]) == {"V1", "U", "V0"}
    assert set(found["V0"]) == {"V0", "U"}
