"""Mixtures to pgmpy and back: the identity, cell by cell and name by name."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers import BATCH_SHAPES, random_spec, structures
from hypothesis import given, settings
from hypothesis import strategies as st
from pgmpy import config
from pgmpy.factors.discrete import TabularCPD
from pgmpy.models import DiscreteBayesianNetwork

from pyromix.bridges.pgmpy import (
    from_pgmpy,
    mixture_from_pgmpy,
    own_state_first,
    own_state_last,
    parameter_estimator_base,
    quiet_import,
    structure_of,
    to_factor,
    to_pgmpy,
)
from pyromix.errors import NumericalWarning, SpecError
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec

AWKWARD = [
    ("a, b", "c"),
    ("1.5", "x.y"),
    ("a-b", "-"),
    ("very low", "high"),
    ("naïve", "日本"),
    (False, True),
    (7, 3),
    (0.5, 1.5),
    ("0", "1"),
    ("0.50", "1e3"),
]


def assert_same_tables(left, right, tolerance=0.0):
    assert left.spec == right.spec
    for a, b in zip((left.weights, *left.cpts), (right.weights, *right.cpts), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def seen_by_pgmpy(spec):
    """The spec without what k = 1 takes away: the source, and who is free of it."""
    if spec.n_sources > 1:
        return spec
    return MixtureSpec(spec.variables, spec.states, spec.parents, 1, roles=spec.roles)


def small(states_of_x=("no", "yes"), **options):
    """Z -> X -> Y with U -> X, Y."""
    spec = MixtureSpec.from_parents(
        {"Z": ("a", "b", "c"), "X": states_of_x, "Y": ("lo", "hi")},
        {"X": ("Z",), "Y": ("X",)},
        2,
        uninfluenced=["Z"],
        **options,
    )
    return random_mixture(spec, 11)


# -- the axis order --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 2, 3), (1, 2)])
def test_own_state_first_puts_the_first_parent_slowest(shape):
    table = torch.rand(*shape, dtype=torch.float64)
    columns = own_state_first(table)
    assert columns.shape == (shape[-1], int(np.prod(shape[:-1])))
    for column, setting in enumerate(itertools.product(*map(range, shape[:-1]))):
        for state in range(shape[-1]):
            assert columns[state, column] == table[(*setting, state)]


@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 2, 3), (1, 2)])
def test_own_state_last_undoes_own_state_first(shape):
    table = torch.rand(*shape, dtype=torch.float64)
    values = own_state_first(table).reshape(shape[-1], *shape[:-1])
    assert torch.equal(own_state_last(values), table)


# -- round trips -----------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(structures(min_variables=1), st.integers(0, 2**31))
def test_mixture_to_pgmpy_and_back_is_the_identity(structure, seed):
    mixture = random_mixture(random_spec(**structure), seed)
    model = to_pgmpy(mixture)
    assert model.check_model()
    back = mixture_from_pgmpy(model)
    assert back.spec == seen_by_pgmpy(mixture.spec)
    assert_same_tables(BayesNetMixture(back.spec, mixture.weights, mixture.cpts), back)


@settings(max_examples=25, deadline=None)
@given(structures(), st.integers(0, 2**31))
def test_every_cell_has_the_same_names_in_pgmpy(structure, seed):
    mixture = random_mixture(random_spec(**structure), seed)
    spec, model = mixture.spec, to_pgmpy(mixture)
    for v, name in enumerate(spec.variables):
        cpd = model.get_cpds(name)
        family = (*spec.parents[v], v)
        for u, cell in itertools.product(
            range(spec.n_sources), itertools.product(*(range(spec.cards[w]) for w in family))
        ):
            named = {
                spec.variables[w]: spec.states[w][s] for w, s in zip(family, cell, strict=True)
            }
            if spec.n_sources > 1 and v not in spec.uninfluenced:
                named["U"] = spec.source_states[u]
            assert cpd.get_value(**named) == float(mixture.cpts[v][(u, *cell)])


def test_pgmpy_computes_the_same_joint_table():
    mixture = random_mixture(random_spec(5, 4, 3, uninfluenced=True), 1)
    with quiet_import():
        from pgmpy.inference import VariableElimination
    names = list(mixture.spec.variables)
    answer = VariableElimination(to_pgmpy(mixture)).query(names, show_progress=False)
    assert answer.variables == names
    np.testing.assert_allclose(answer.values, mixture.joint_table().numpy(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("states", AWKWARD, ids=str)
def test_state_names_survive_with_type_and_order(states):
    mixture = small(states, source_states=states)
    back = mixture_from_pgmpy(to_pgmpy(mixture))
    assert_same_tables(mixture, back)
    for names in (back.spec.states[back.spec.vertex("X")], back.spec.source_states):
        assert [type(s) for s in names] == [type(s) for s in states]


def test_numpy_states_become_the_python_values_they_equal():
    cpd = TabularCPD("X", 2, [[0.5], [0.5]], state_names={"X": [np.int64(3), np.int64(5)]})
    model = DiscreteBayesianNetwork()
    model.add_node("X")
    model.add_cpds(cpd)
    states = mixture_from_pgmpy(model).spec.states[0]
    assert states == (3, 5)
    assert [type(s) for s in states] == [int, int]


def test_roles_state_order_and_parent_order_come_back():
    model = DiscreteBayesianNetwork(
        [("Z", "Y"), ("U", "Y"), ("X", "Y"), ("U", "X")],
        latents={"U"},
        exposures={"X"},
        outcomes={"Y"},
    )
    model.with_role("instruments", {"Z"}, inplace=True)
    states = {"X": ["t", "c"], "Y": ["yes", "no"], "Z": ["z1", "z0", "z2"], "U": ["b", "a"]}

    def cpd(name, parents):
        rng = np.random.default_rng(len(parents))
        cards = [len(states[p]) for p in parents]
        values = rng.dirichlet([1.0] * len(states[name]), int(np.prod(cards))).T
        names = {n: states[n] for n in (name, *parents)}
        return TabularCPD(name, len(states[name]), values, parents, cards, names)

    model.add_cpds(cpd("U", []), cpd("Z", []), cpd("X", ["U"]), cpd("Y", ["X", "U", "Z"]))
    back = to_pgmpy(mixture_from_pgmpy(model))
    assert back.latents == {"U"}
    assert back.exposures == {"X"}
    assert back.outcomes == {"Y"}
    assert back.get_role("instruments") == ["Z"]
    assert {n: back.states[n] for n in states} == states
    assert [p for p in back.get_cpds("Y").variables[1:] if p != "U"] == ["X", "Z"]
    for name in states:
        ours, theirs = back.get_cpds(name), model.get_cpds(name)
        theirs = theirs.copy()
        if len(theirs.variables) > 2:
            theirs.reorder_parents(ours.variables[1:])
        np.testing.assert_array_equal(ours.values, theirs.values)


def test_the_source_is_the_first_vertex_and_the_first_evidence():
    model = to_pgmpy(small())
    assert list(model.nodes) == ["U", "Z", "X", "Y"]
    assert model.get_cpds("X").variables == ["X", "U", "Z"]
    assert model.get_parents("X") == ["U", "Z"]
    assert model.get_cpds("Z").variables == ["Z"]


def test_with_one_source_there_is_no_source_vertex():
    mixture = random_mixture(random_spec(2, 4, 1), 0)
    model = to_pgmpy(mixture)
    assert set(model.nodes) == set(mixture.spec.variables)
    assert model.latents == set()


def test_with_all_vertices_free_of_the_source_it_stays_an_isolated_vertex():
    spec = MixtureSpec.from_parents(
        {"A": (0, 1), "B": (0, 1)}, {"B": ("A",)}, 2, uninfluenced=["A", "B"]
    )
    mixture = random_mixture(spec, 0)
    assert_same_tables(mixture, mixture_from_pgmpy(to_pgmpy(mixture)))


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES[1:])
def test_a_batch_is_refused_by_its_shape(batch_shape):
    mixture = random_mixture(random_spec(1, 3, 2), 0, batch_shape=batch_shape)
    with pytest.raises(SpecError, match=rf"batch shape \({batch_shape[0]},"):
        to_pgmpy(mixture)


def test_the_spec_of_a_pgmpy_model_is_the_spec_of_the_mixture():
    mixture = small()
    assert from_pgmpy(to_pgmpy(mixture)) == mixture.spec
    assert from_pgmpy(to_pgmpy(mixture), 2) == mixture.spec


def test_tables_that_need_gradients_are_written_detached():
    mixture = small()
    tracked = BayesNetMixture(
        mixture.spec, mixture.weights.requires_grad_(), tuple(c.clone() for c in mixture.cpts)
    )
    assert not mixture_from_pgmpy(to_pgmpy(tracked)).weights.requires_grad


def test_the_bridge_shares_no_memory_with_the_model():
    model = to_pgmpy(small())
    back = mixture_from_pgmpy(model)
    before = back.cpts[0].clone()
    model.get_cpds("Z").values[:] = 0
    assert torch.equal(back.cpts[0], before)


def test_the_bridge_names_its_device():
    mixture = small()
    with torch.device("meta"):
        back = mixture_from_pgmpy(to_pgmpy(mixture))
    assert_same_tables(mixture, back)


def test_cpds_of_the_torch_backend_are_read_and_written():
    mixture = small()
    config.set_backend("torch")
    try:
        config.set_dtype(torch.float64)
        model = to_pgmpy(mixture)
        assert isinstance(model.get_cpds("X").values, torch.Tensor)
        back = mixture_from_pgmpy(model)
    finally:
        config.set_backend("numpy")
    assert_same_tables(mixture, back)


@pytest.mark.cuda
def test_cpds_on_a_cuda_device_are_read():
    mixture = small()
    config.set_backend("torch", device="cuda")
    try:
        config.set_dtype(torch.float64)
        back = mixture_from_pgmpy(to_pgmpy(mixture.to("cuda")))
    finally:
        config.set_backend("numpy")
    assert_same_tables(mixture, back)


# -- which vertex is the source --------------------------------------------------------------


def ordinary(edges, source_states=("0", "1")):
    """A pgmpy network with uniform binary CPDs and no declared latent."""
    model = DiscreteBayesianNetwork(edges)
    for name in model.nodes:
        given = model.get_parents(name)
        columns = 2 ** len(given)
        model.add_cpds(
            TabularCPD(
                name,
                2,
                [[0.25] * columns, [0.75] * columns],
                given or None,
                [2] * len(given) or None,
                {n: list(source_states) for n in (name, *given)},
            )
        )
    return model


def test_a_vertex_of_the_name_is_the_source_although_not_latent():
    mixture = mixture_from_pgmpy(ordinary([("G", "X"), ("X", "Y")]), source="G")
    assert (mixture.spec.source, mixture.spec.n_sources) == ("G", 2)
    assert mixture.spec.variables == ("X", "Y")


def test_without_a_vertex_of_the_name_k_is_one():
    mixture = mixture_from_pgmpy(ordinary([("X", "Y")]))
    assert mixture.spec.n_sources == 1
    assert mixture.weights.tolist() == [1.0]


def test_the_declared_latent_is_the_source_whatever_its_name():
    model = ordinary([("H", "X"), ("X", "Y")])
    model.latents = {"H"}
    assert mixture_from_pgmpy(model).spec.source == "H"


def test_a_latent_beside_a_vertex_of_the_name_must_be_chosen():
    model = ordinary([("H", "X"), ("U", "X")])
    model.latents = {"H"}
    with pytest.raises(SpecError, match="pass source='H'"):
        mixture_from_pgmpy(model)
    assert mixture_from_pgmpy(model, source="H").spec.variables == ("U", "X")


def test_two_latents_are_refused():
    model = ordinary([("H", "X"), ("U", "X")])
    model.latents = {"H", "U"}
    with pytest.raises(SpecError, match="at most one latent"):
        mixture_from_pgmpy(model)


def test_a_source_with_parents_is_refused():
    with pytest.raises(SpecError, match=r"'U' must be a root, found parents \['Z'\]"):
        mixture_from_pgmpy(ordinary([("Z", "U"), ("U", "X")]))


# -- CPDs that contradict each other -----------------------------------------------------------


def family(**changes):
    """A -> B, with one thing changed."""
    fields = {
        "a_states": ["lo", "mid", "hi"],
        "seen": ["lo", "mid", "hi"],
        "values": [[0.1, 0.2, 0.3], [0.9, 0.8, 0.7]],
        **changes,
    }
    model = DiscreteBayesianNetwork([("A", "B")])
    model.add_cpds(
        TabularCPD("A", 3, [[0.2], [0.3], [0.5]], state_names={"A": fields["a_states"]}),
        TabularCPD("B", 2, fields["values"], ["A"], [3], {"B": ["n", "y"], "A": fields["seen"]}),
    )
    return model


def test_states_of_a_parent_are_matched_by_name_when_the_order_differs():
    model = family(seen=["hi", "lo", "mid"])
    with pytest.raises(ValueError, match="state names"):
        model.check_model()
    mixture = mixture_from_pgmpy(model)
    assert mixture.spec.states[0] == ("lo", "mid", "hi")
    assert mixture.cpts[1][0, :, 0].tolist() == [0.2, 0.3, 0.1]


def test_other_states_of_a_parent_are_refused_by_name():
    with pytest.raises(SpecError, match=r"'B' knows states .*'top'.* of its parent 'A'"):
        mixture_from_pgmpy(family(seen=["lo", "mid", "top"]))


def test_a_missing_cpd_is_named():
    model = family()
    model.remove_cpds("B")
    with pytest.raises(SpecError, match=r"none for \['B'\]"):
        mixture_from_pgmpy(model)


def test_a_cpd_against_the_graph_is_refused():
    model = family()
    model.add_edge("C", "B")
    model.add_cpds(TabularCPD("C", 2, [[0.5], [0.5]]))
    with pytest.raises(SpecError, match=r"'B' has evidence \['A'\].*\['A', 'C'\]"):
        mixture_from_pgmpy(model)


def test_what_is_no_network_is_refused():
    with pytest.raises(SpecError, match="found int"):
        mixture_from_pgmpy(3)


def test_rows_within_rounding_are_left_bit_for_bit():
    values = [[0.1, 0.2, 0.3], [0.9, 0.8, 0.7 + 1e-12]]
    assert float(mixture_from_pgmpy(family(values=values)).cpts[1][0, 2, 1]) == 0.7 + 1e-12


def test_rounded_rows_are_divided_by_their_sum_in_silence():
    rounded = mixture_from_pgmpy(family(values=[[0.1, 0.2, 0.3], [0.9, 0.8, 0.7 + 5e-7]]))
    assert float(rounded.cpts[1].sum(-1).sub(1).abs().max()) < 1e-15


def test_rows_further_off_are_divided_and_said():
    with pytest.warns(NumericalWarning, match=r"'B', off by 0\.005"):
        mixture = mixture_from_pgmpy(family(values=[[0.1, 0.2, 0.3], [0.9, 0.8, 0.705]]))
    assert float(mixture.cpts[1][0, 2, 0]) == pytest.approx(0.3 / 1.005, abs=1e-15)


def test_rows_that_are_no_distribution_are_refused():
    with pytest.raises(SpecError, match=r"'B' must sum to one, found a row off by 0\.2"):
        mixture_from_pgmpy(family(values=[[0.1, 0.2, 0.3], [0.9, 0.8, 0.5]]))


def test_nan_in_a_cpd_is_refused():
    with pytest.raises(SpecError, match="'B' has 1 entries not finite"):
        mixture_from_pgmpy(family(values=[[0.1, 0.2, float("nan")], [0.9, 0.8, 0.7]]))


# -- factors and imports -----------------------------------------------------------------------


def test_a_factor_keeps_axes_and_names():
    values = torch.arange(6, dtype=torch.float64).reshape(2, 3)
    factor = to_factor(["A", "B"], [2, 3], values, {"A": (False, True), "B": ("x", "y", "z")})
    assert factor.variables == ["A", "B"]
    assert factor.get_value(A=True, B="y") == 4.0
    assert factor.state_names == {"A": [False, True], "B": ["x", "y", "z"]}


def test_a_factor_of_contradicting_sizes_is_refused():
    with pytest.raises(SpecError, match=r"needs \[2\] state names and 2 values, found \[2\] and 3"):
        to_factor(["A"], [2], torch.ones(3, dtype=torch.float64), {"A": ("n", "y")})


def test_reading_a_graph_does_not_import_pgmpy_and_writing_one_is_silent():
    code = (
        "import sys, networkx as nx, torch\n"
        "from pyromix.bridges.pgmpy import parameter_estimator_base, quiet_import\n"
        "from pyromix.bridges.pgmpy import structure_of, to_pgmpy\n"
        "from pyromix.model.randomness import random_mixture\n"
        "structure = structure_of(nx.DiGraph([('X', 'Y')]), 1)\n"
        "assert 'pgmpy' not in sys.modules\n"
        "spec = structure.to_spec(1, {'X': (0, 1), 'Y': (0, 1)})\n"
        "to_pgmpy(random_mixture(spec))\n"
        "parameter_estimator_base()\n"
        "assert 'pgmpy' in sys.modules\n"
        # All of it, the part with the warning as well.
        "with quiet_import():\n"
        "    import pgmpy.inference\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_the_base_of_estimators_is_the_one_that_fit_asks_for():
    with quiet_import():
        from pgmpy.parameter_estimator import DiscreteEM
    assert issubclass(DiscreteEM, parameter_estimator_base())


def test_a_structure_may_be_given_for_a_model():
    structure = structure_of(small().spec)
    assert structure_of(structure) == structure
