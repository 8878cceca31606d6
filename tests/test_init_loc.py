"""Starts for Pyro's inference from a mixture."""

from __future__ import annotations

import pyro
import pytest
import torch
from helpers import random_spec
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoDelta

import pyromix as px
from pyromix.bridges.pyro import to_pyro
from pyromix.bridges.pyro_start import init_loc_fn


@pytest.mark.parametrize("uninfluenced", [False, True])
def test_an_autoguide_starts_at_the_tables(uninfluenced):
    spec = random_spec(4, 4, 2, uninfluenced=uninfluenced)
    mixture = px.random_mixture(spec, 1)
    counts = px.Counts.from_codes(spec, torch.zeros(3, spec.n_variables, dtype=torch.long))
    program = to_pyro(mixture, prior=1.0)
    with pyro.get_param_store().scope():
        guide = AutoDelta(program, init_loc_fn=init_loc_fn(mixture))
        SVI(program, guide, pyro.optim.Adam({"lr": 0.0}), Trace_ELBO()).step(counts=counts)
        start = guide(counts=counts)
    torch.testing.assert_close(start["theta[U]"], mixture.weights)
    for v, name in enumerate(spec.variables):
        table = mixture.cpts[v][0] if v in spec.uninfluenced else mixture.cpts[v]
        torch.testing.assert_close(start[f"theta[{name}]"], table)


def test_a_batch_is_no_start():
    mixture = px.random_mixture(random_spec(4, 3, 2), 1, batch_shape=(2,))
    with pytest.raises(px.SpecError, match=r"mixture\[0\]"):
        init_loc_fn(mixture)
