"""Pyro programs of Categorical sites read as specs."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from helpers import random_spec, structures
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro.infer import config_enumerate
from torch import Tensor

from pyromix.bridges.pyro import to_pyro
from pyromix.bridges.pyro_sites import from_pyro
from pyromix.errors import SpecError
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec

PARALLEL = {"enumerate": "parallel"}


@pytest.fixture(autouse=True)
def empty_parameter_store():
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


@settings(max_examples=30, deadline=None)
@given(structures(3, 6), st.booleans())
def test_reading_our_own_program_returns_the_structure(structure, with_prior):
    spec = random_spec(**structure)
    program = to_pyro(random_mixture(spec, 0), prior=1.0 if with_prior else None)
    read = from_pyro(program)
    assert read.variables == spec.variables
    assert read.cards == spec.cards
    assert [set(p) for p in read.parents] == [set(p) for p in spec.parents]
    assert (read.n_sources, read.uninfluenced) == (spec.n_sources, spec.uninfluenced)


def users_model(data: dict[str, Tensor], n: int) -> None:
    """A mixture as a Pyro user writes it, with observations."""
    pi = pyro.param("pi", torch.tensor([0.4, 0.6]), constraint=dist.constraints.simplex)
    theta = pyro.sample("theta", dist.Dirichlet(torch.ones(2, 2, 3)).to_event(2))
    with pyro.plate("data", n):
        group = pyro.sample("group", dist.Categorical(pi), infer=PARALLEL)
        x = pyro.sample("X", dist.Categorical(theta.new_ones(2) / 2), obs=data.get("X"))
        y = pyro.sample("Y", dist.Categorical(theta[group, x]), obs=data.get("Y"))
        pyro.deterministic("parity", y % 2)
        pyro.sample("W", dist.Categorical(logits=torch.eye(3)[y]), obs=data.get("W"))


@pytest.mark.parametrize("observed", [False, True])
def test_reading_a_users_program_finds_edges_out_of_observed_sites(observed):
    data = {"X": torch.tensor([0, 1]), "Y": torch.tensor([2, 1]), "W": torch.tensor([0, 0])}
    before = torch.get_rng_state()
    spec = from_pyro(config_enumerate(users_model), data if observed else {}, 2, source="group")
    assert spec == MixtureSpec(
        variables=("X", "Y", "W"),
        states=((0, 1), (0, 1, 2), (0, 1, 2)),
        parents=((), (0,), (1,)),
        n_sources=2,
        source="group",
        uninfluenced=frozenset({0, 2}),
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert list(pyro.get_param_store().keys()) == []


def test_reading_a_program_keeps_a_parameter_that_was_there():
    pyro.param("pi", torch.tensor([0.9, 0.1]), constraint=dist.constraints.simplex)
    from_pyro(users_model, {}, 2, source="group")
    torch.testing.assert_close(pyro.param("pi").detach(), torch.tensor([0.9, 0.1]))


def coins_model(n: int) -> None:
    """Bernoulli sites: a source, one whose chances are drawn, one of logits."""
    chance = pyro.sample("chance", dist.Beta(torch.ones(2), 1.0).to_event(1))
    with pyro.plate("data", n):
        group = pyro.sample("group", dist.Bernoulli(0.4))
        x = pyro.sample("X", dist.Bernoulli(chance[group.long()]), obs=torch.tensor([1.0, 0.0]))
        pyro.sample("Y", dist.Bernoulli(logits=x - group))
        pyro.sample("Z", dist.Categorical(torch.eye(3)[:2][x.long()]))


def test_bernoulli_sites_are_vertices_of_two_states():
    assert from_pyro(coins_model, 2, source="group") == MixtureSpec(
        variables=("X", "Y", "Z"),
        states=((0, 1), (0, 1), (0, 1, 2)),
        parents=((), (0,), (0,)),
        n_sources=2,
        source="group",
        uninfluenced=frozenset({2}),
    )


def _flat(name: str, value: Tensor) -> Tensor:
    return pyro.sample(name, dist.Categorical(value))


def test_programs_that_are_no_mixture_are_refused_with_names():
    half = torch.tensor([0.5, 0.5])

    def no_source() -> None:
        _flat("u", half)

    def continuous() -> None:
        _flat("U", half)
        pyro.sample("height", dist.Normal(0.0, 1.0))

    def source_with_parent() -> None:
        x = _flat("X", half)
        _flat("U", torch.eye(2)[x] * 0.8 + 0.1)

    def source_outside_the_plate() -> None:
        u = _flat("U", half)
        with pyro.plate("rows", 3):
            _flat("X", (torch.eye(2) * 0.8 + 0.1)[u])

    with pytest.raises(SpecError, match=r"'U'.*did you mean 'u'"):
        from_pyro(no_source)
    with pytest.raises(SpecError, match=r"height.*Normal"):
        from_pyro(continuous)
    with pytest.raises(SpecError, match=r"root.*'X'"):
        from_pyro(source_with_parent)
    with pytest.raises(SpecError, match=r"'X': \['rows'\]"):
        from_pyro(source_outside_the_plate)
