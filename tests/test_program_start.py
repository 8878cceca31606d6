"""Tables of a fit on the sites of a program of one's own, whatever their names and layout."""

from __future__ import annotations

import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from helpers import random_spec, structures
from hypothesis import given, settings
from hypothesis import strategies as st
from network_cases import fixed_chain, rows_of
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO, config_enumerate
from pyro.infer.autoguide import AutoDelta

import pyromix as px
from pyromix.bridges.pyro import to_pyro
from pyromix.bridges.pyro_start import init_loc_fn, start_of
from pyromix.model.spec import MixtureSpec


@pytest.fixture(autouse=True)
def clean_store():
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


def flat(*shape: int) -> dist.Distribution:
    """A uniform law of tables."""
    return dist.Dirichlet(torch.ones(*shape)).to_event(len(shape) - 1)


@settings(max_examples=8, deadline=None)
@given(structures(3, 5), st.booleans())
def test_our_own_program_is_mapped_as_by_name(structure, in_rows):
    mixture = px.random_mixture(random_spec(**structure), 0)
    program = to_pyro(mixture, prior=1.0)
    found = start_of(lambda: program(size=5 if in_rows else 1), mixture)
    expected = init_loc_fn(mixture)
    assert found.left == {}
    assert found.got == expected.got
    for name, table in expected.values.items():
        torch.testing.assert_close(found.values[name], table)


SPEC = MixtureSpec.from_parents(
    {"A": "abc", "X": "xy", "Y": "pq"}, {"Y": ["A", "X"]}, 2, uninfluenced=["A"]
)
"""U -> X, Y; A -> Y <- X: three states, two, two."""


def users_program(n: int = 7) -> None:
    """Axes in another order, tables in plates, Beta and Bernoulli, one masked, one observed."""
    share = pyro.sample("share", dist.Beta(1.0, 1.0))
    a_table = pyro.sample("a_table", dist.Dirichlet(torch.ones(3)))
    with pyro.plate("groups", 2):
        x_chance = pyro.sample("x_chance", dist.Beta(1.0, 1.0))
    with pyro.plate("A_states", 3, dim=-2), pyro.plate("X_states", 2, dim=-1):
        y_table = pyro.sample("y_table", flat(2, 2))
    with pyro.plate("people", n):
        group = pyro.sample("U", dist.Bernoulli(share)).long()
        a = pyro.sample("A", dist.Categorical(a_table).mask(torch.arange(n) > 2))
        x = pyro.sample("X", dist.Bernoulli(x_chance[group]), obs=torch.ones(n)).long()
        pyro.sample("Y", dist.Categorical(y_table[a, x, group]))


@pytest.mark.parametrize("n", [1, 7, 40])
def test_tables_of_any_layout_are_filled_row_by_row(n):
    mixture = px.random_mixture(SPEC, 3)
    start = start_of(users_program, mixture, n)
    assert start.left == {}
    assert start.got == {
        "share": "P(U)", "a_table": "P(A)", "x_chance": "P(X | U)", "y_table": "P(Y | U, A, X)"
    }  # fmt: skip
    expected = {
        "share": mixture.weights[1],
        "a_table": mixture.cpts[0][0],
        "x_chance": mixture.cpts[1][:, 1],
        "y_table": mixture.cpts[2].movedim(0, 2),
    }
    for name, table in expected.items():
        torch.testing.assert_close(start.values[name], table.float())
    assert str(start).splitlines()[2] == "x_chance: P(X | U)"


def test_a_guide_of_the_users_program_starts_there():
    mixture = px.random_mixture(SPEC, 3)
    start = start_of(users_program, mixture)
    model = poutine.block(config_enumerate(users_program), hide=["U", "A", "X", "Y"])
    guide = AutoDelta(model, init_loc_fn=start)
    guide()
    torch.testing.assert_close(guide.median()["y_table"], start.values["y_table"])


def test_sites_of_other_names_are_found_by_edges_and_stacked_tables_by_their_rows():
    """The mode of the user's posterior is our estimate: nothing is left to gain at the start."""
    truth = fixed_chain()
    counts = rows_of(truth, 3000)
    rows = counts.expand().long()
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

    def by_value(rows):
        """The same with values of sites in place of the data, so that edges are seen."""
        mix = pyro.sample("mix", dist.Dirichlet(torch.full((2,), 2.0).double()))
        first = pyro.sample("first", dist.Dirichlet(torch.full((2, 2), 2.0).double()).to_event(1))
        steps = pyro.sample(
            "steps", dist.Dirichlet(torch.full((4, 2, 2, 2), 2.0).double()).to_event(3)
        )
        with pyro.plate("people", len(rows)):
            group = pyro.sample("group", dist.Categorical(mix), infer={"enumerate": "parallel"})
            x = pyro.sample("x0", dist.Categorical(first[group]), obs=rows[:, 0])
            for v in range(1, 5):
                x = pyro.sample(f"x{v}", dist.Categorical(steps[v - 1][group, x]), obs=rows[:, v])

    start = fit.init_loc_fn(by_value, rows)
    assert start.got["steps"] == "P(V1 | U, V0), P(V2 | U, V1), P(V3 | U, V2), P(V4 | U, V3)"
    torch.testing.assert_close(start.values["steps"], torch.stack(fit.mixture.cpts[1:]))
    guide = AutoDelta(poutine.block(by_value, expose=list(start.values)), init_loc_fn=start)
    steps = SVI(
        by_value, guide, pyro.optim.Adam({"lr": 0.001}), TraceEnum_ELBO(max_plate_nesting=1)
    )
    at_start = steps.evaluate_loss(rows)
    for _ in range(2):
        steps.step(rows)
    assert at_start - steps.evaluate_loss(rows) < 1e-3
    # Edges through the data leave no trace; told which site is which, the data are looked at.
    told = {"U": "group", **{f"V{v}": f"x{v}" for v in range(5)}}
    again = fit.init_loc_fn(model, rows, sites=told)
    assert again.got == start.got
    for name, table in start.values.items():
        torch.testing.assert_close(again.values[name], table)
    # One row shows one state of every parent: U's two times four vertices, of 16 rows.
    assert (
        "(8 of its rows are of no vertex)"
        in fit.init_loc_fn(model, rows[:1], sites=told).got["steps"]
    )
    with pytest.raises(px.SpecError, match="sites="):
        fit.init_loc_fn(model, rows)


def test_rows_that_serve_several_sources_get_their_mean_by_rows_of_data():
    """The program says that X does not depend on U; the fit says that it does."""
    spec = MixtureSpec.from_parents({"A": "ab", "X": "xy", "Y": "pq"}, {}, 2)
    mixture = px.random_mixture(spec, 1)

    def program() -> None:
        pi = pyro.sample("pi", flat(2))
        table = pyro.sample("table", flat(2, 2))
        common = pyro.sample("common", flat(2))
        u = pyro.sample("U", dist.Categorical(pi))
        pyro.sample("A", dist.Categorical(table[u]))
        pyro.sample("X", dist.Categorical(common[None].expand(2, 2)[u]))
        pyro.sample("Y", dist.Categorical(table[u]))

    masses = [torch.tensor([30.0, 10.0])] * 3
    start = start_of(program, mixture, row_masses=masses)
    torch.testing.assert_close(
        start.values["common"].double(), 0.75 * mixture.cpts[1][0] + 0.25 * mixture.cpts[1][1]
    )
    torch.testing.assert_close(
        start.values["table"].double(), (mixture.cpts[0] + mixture.cpts[2]) / 2
    )
    assert start.got["table"] == "P(A | U), P(Y | U)"


def test_sites_without_a_table_are_named_with_the_reason():
    mixture = px.random_mixture(SPEC, 3)

    def program() -> None:
        pi = pyro.sample("pi", flat(2))
        slope = pyro.sample("slope", dist.Normal(torch.zeros(2, 2), 1.0).to_event(2))
        x_table = pyro.param("x_table", torch.full((2, 2), 0.5))
        a_table = pyro.sample("a_table", flat(2, 3))
        y_table = pyro.sample("y_table", flat(2, 3, 2))
        u = pyro.sample("U", dist.Categorical(pi))
        a = pyro.sample("A", dist.Categorical(a_table.mean(0)))
        pyro.sample("X", dist.Categorical(x_table[u]))
        pyro.sample("Y", dist.Categorical(y_table[u, a]))
        pyro.sample("W", dist.Categorical(logits=slope[u]))

    with pytest.warns(px.UnmatchedSitesWarning, match=r"slope \(Independent") as said:
        start = start_of(program, mixture)
    assert len(said) == 1
    assert start.got == {"pi": "P(U)"}
    assert set(start.left) == {"slope", "x_table", "a_table", "y_table"}
    assert "unchanged at ['A']" in start.left["a_table"]
    assert "does not depend on ['X']" in start.left["y_table"]
    assert start.left["x_table"] == "a pyro.param, not a site"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once is enough
        guide = AutoDelta(poutine.block(program, expose=["pi", "slope"]), init_loc_fn=start)
        guide()


def test_a_program_that_holds_no_table_is_refused():
    def strange() -> None:
        pyro.sample("V", dist.Categorical(torch.ones(5) / 5))

    with pytest.raises(px.SpecError, match=r"P?sites=\{"):
        start_of(strange, px.random_mixture(SPEC, 3))
    with pytest.raises(px.SpecError, match="did you mean 'V'"):
        start_of(strange, px.random_mixture(SPEC, 3), sites={"Y": "v"})


def test_what_edges_do_not_tell_apart_is_told_by_sites():
    spec = MixtureSpec.from_parents({"A": "ab", "B": "ab", "C": "ab"}, {}, 2)
    mixture = px.random_mixture(spec, 1)

    def program() -> None:
        tables = pyro.sample("tables", flat(3, 2, 2))
        u = pyro.sample("U", dist.Categorical(pyro.sample("pi", flat(2))))
        for i in range(3):
            pyro.sample(f"item{i}", dist.Categorical(tables[i, u]))

    with pytest.warns(px.UnmatchedSitesWarning, match=r"tables .*item0"):
        start_of(program, mixture)
    start = start_of(program, mixture, sites={"A": "item2", "B": "item0", "C": "item1"})
    expected = torch.stack([mixture.cpts[v] for v in (1, 2, 0)])
    torch.testing.assert_close(start.values["tables"].double(), expected, atol=1e-6, rtol=0)


def test_the_start_of_our_program_warns_of_sites_of_another():
    start = init_loc_fn(px.random_mixture(SPEC, 3))

    def program() -> None:
        pyro.sample("pi", flat(2))

    with pytest.warns(px.UnmatchedSitesWarning, match=r"'pi'.*for_model=program"):
        SVI(
            program, AutoDelta(program, init_loc_fn=start), pyro.optim.Adam({}), Trace_ELBO()
        ).step()


def test_the_programs_own_state_is_left_alone():
    pyro.param("x", torch.tensor([0.9]))
    before = torch.get_rng_state()
    start_of(users_program, px.random_mixture(SPEC, 3))
    assert torch.equal(torch.get_rng_state(), before)
    assert list(pyro.get_param_store().keys()) == ["x"]
