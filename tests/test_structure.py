"""What counts as a source, and what a structure lacks before it is a spec."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import networkx as nx
import pytest
from helpers import random_spec, structures
from hypothesis import given, settings
from pgmpy.base import DAG
from pgmpy.factors.discrete import TabularCPD
from pgmpy.models import DiscreteBayesianNetwork, LinearGaussianBayesianNetwork

from pyromix.bridges.pgmpy import from_pgmpy, structure_of
from pyromix.errors import AddedSourceWarning, DataRepairWarning, SpecError
from pyromix.formats.structure import Structure, structure_of_graph
from pyromix.model.randomness import random_mixture

STATES = dict.fromkeys("XYZ", ("no", "yes"))


def latent_graph(edges, latents=("U",)):
    graph = nx.DiGraph(edges)
    for name in latents:
        graph.add_node(name, latent=True)
    return graph


@pytest.mark.parametrize("kind", [DAG, DiscreteBayesianNetwork])
def test_edges_of_a_pgmpy_latent_are_honoured(kind):
    model = kind([("U", "X"), ("U", "Y"), ("X", "Y"), ("Z", "X")], latents={"U"})
    structure = structure_of(model)
    assert structure.source == "U"
    assert structure.uninfluenced == {"Z"}
    assert structure.parents == {"X": ("Z",), "Y": ("X",), "Z": ()}
    assert not structure.added_source


def test_a_latent_may_have_any_name():
    structure = structure_of(DAG([("H", "X"), ("H", "Y")], latents={"H"}))
    assert structure.source == "H"
    assert structure.variables == ("X", "Y")


def test_a_networkx_attribute_declares_the_source():
    structure = structure_of(latent_graph([("U", "X"), ("X", "Y")]))
    assert (structure.source, structure.uninfluenced) == ("U", {"Y"})


def test_a_latent_without_edges_influences_nothing():
    structure = structure_of(latent_graph([("X", "Y")]))
    assert structure.uninfluenced == {"X", "Y"}


def test_without_a_latent_a_source_over_all_vertices_is_added_and_said_once():
    with pytest.warns(AddedSourceWarning, match="all 2 variables") as said:
        structure = structure_of(nx.DiGraph([("X", "Y")]))
    assert len(said) == 1
    assert structure.added_source
    assert structure.source == "U"
    assert structure.uninfluenced == frozenset()


def test_with_one_source_an_added_one_is_not_worth_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert structure_of(nx.DiGraph([("X", "Y")]), 1).added_source


def test_an_undeclared_vertex_called_u_is_refused():
    with pytest.raises(SpecError, match=r"'U' that is not declared latent; declare it"):
        structure_of(nx.DiGraph([("U", "X")]))


def test_two_latents_are_refused_by_name():
    with pytest.raises(SpecError, match=r"\['H', 'U'\]"):
        structure_of(DAG([("U", "X"), ("H", "X")], latents={"U", "H"}))


def test_a_source_with_parents_is_refused():
    with pytest.raises(SpecError, match=r"'U' must be a root, found parents \['Z'\]"):
        structure_of(latent_graph([("Z", "U"), ("U", "X")]))


def test_a_cycle_is_spelled_out():
    with pytest.raises(SpecError, match=r"cycle: .* -> "):
        structure_of(latent_graph([("X", "Y"), ("Y", "X"), ("U", "X")]))


def test_names_that_are_no_strings_are_refused():
    with pytest.raises(SpecError, match=r"strings, found \[1, 2\] \(int\)"):
        structure_of(nx.DiGraph([(1, 2)]))


@pytest.mark.parametrize("model", [3, None, [("X", "Y")], nx.Graph([("X", "Y")])])
def test_other_kinds_of_model_are_refused_by_their_type(model):
    with pytest.raises(SpecError, match=type(model).__name__):
        structure_of(model)


def test_an_empty_graph_is_refused():
    with pytest.raises(SpecError, match="at least one observed variable"):
        structure_of_graph(nx.DiGraph())


def test_roles_are_carried():
    model = DAG(
        [("U", "X"), ("U", "Y"), ("X", "Y")], latents={"U"}, exposures={"X"}, outcomes={"Y"}
    )
    model.with_role("instruments", {"X"}, inplace=True)
    assert structure_of(model).roles == {
        "exposures": ("X",),
        "instruments": ("X",),
        "outcomes": ("Y",),
    }


def test_a_second_role_of_the_source_is_dropped_loudly():
    model = DAG([("U", "X"), ("U", "Y")], latents={"U"})
    model.with_role("adjustment", {"U", "X"}, inplace=True)
    with pytest.warns(DataRepairWarning, match=r"\['adjustment'\]"):
        structure = structure_of(model)
    assert structure.roles == {"adjustment": ("X",)}


def test_cpds_bring_states_and_the_order_of_parents():
    model = DiscreteBayesianNetwork([("A", "C"), ("B", "C"), ("U", "C")], latents={"U"})
    states = {"A": ["lo", "hi"], "B": [0, 1, 2], "C": ["no", "yes"], "U": ["left", "right"]}
    model.add_cpds(
        TabularCPD("C", 2, [[0.5] * 12, [0.5] * 12], ["B", "U", "A"], [3, 2, 2], state_names=states)
    )
    structure = structure_of(model)
    assert structure.parents["C"] == ("B", "A")
    assert structure.states == {"A": ("lo", "hi"), "B": (0, 1, 2), "C": ("no", "yes")}
    assert (structure.n_sources, structure.source_states) == (2, ("left", "right"))


def test_a_variables_own_cpd_decides_the_order_of_its_states():
    model = DiscreteBayesianNetwork([("U", "A"), ("A", "B"), ("U", "B")], latents={"U"})
    model.add_cpds(
        TabularCPD("A", 2, [[0.5] * 2] * 2, ["U"], [2], {"A": ["lo", "hi"], "U": [0, 1]}),
        TabularCPD("B", 2, [[0.5] * 2] * 2, ["A"], [2], {"B": ["n", "y"], "A": ["hi", "lo"]}),
    )
    assert structure_of(model).states["A"] == ("lo", "hi")


def test_node_attributes_may_name_states():
    graph = latent_graph([("U", "X"), ("U", "Y")])
    graph.nodes["X"]["states"] = ["no", "yes"]
    assert structure_of(graph).states == {"X": ("no", "yes")}


def test_a_linear_gaussian_network_brings_its_graph_and_the_order_of_parents():
    model = LinearGaussianBayesianNetwork(
        [("X", "Y"), ("Z", "Y"), ("U", "X"), ("U", "Y")], latents={"U"}
    )
    from pgmpy.factors.continuous import LinearGaussianCPD

    model.add_cpds(
        LinearGaussianCPD("X", [0.0, 1.0], 1.0, ["U"]),
        LinearGaussianCPD("Y", [0.0, 1.0, 2.0, 3.0], 1.0, ["Z", "U", "X"]),
    )
    structure = structure_of(model)
    assert structure.real
    assert structure.parents["Y"] == ("Z", "X")
    assert structure.uninfluenced == {"Z"}
    assert structure.states == {}


def test_a_cpd_that_is_no_table_is_refused():
    graph = DAG([("X", "Y")])
    graph.cpds = [SimpleNamespace(variable="X")]
    with pytest.raises(SpecError, match="TabularCPD"):
        structure_of(graph)


@settings(max_examples=40, deadline=None)
@given(structures())
def test_the_structure_of_a_spec_is_that_spec_again(structure):
    spec = random_spec(**structure)
    assert structure_of(spec).to_spec() == spec
    assert structure_of(random_mixture(spec)).to_spec() == spec


# -- from structure to spec --------------------------------------------------------------------


def open_structure(**changes):
    fields = {"variables": ("X", "Y", "Z"), "parents": {"Y": ("X",)}, **changes}
    return Structure(**fields)


def test_states_and_k_complete_a_structure():
    spec = open_structure().to_spec(3, STATES)
    assert spec.n_sources == 3
    assert spec.states == (("no", "yes"),) * 3


def test_missing_states_are_named():
    structure = open_structure(states={"X": ("no", "yes")})
    assert structure.missing_states == ("Y", "Z")
    with pytest.raises(SpecError, match=r"states of \['Y', 'Z'\] are not known"):
        structure.to_spec(2)


def test_missing_k_is_asked_for():
    with pytest.raises(SpecError, match="n_sources is not known"):
        open_structure(states=STATES).to_spec()


def test_k_of_the_latent_is_taken():
    assert open_structure(states=STATES, n_sources=4).to_spec().n_sources == 4


def test_k_against_the_latents_cardinality_is_refused():
    structure = open_structure(states=STATES, n_sources=2)
    with pytest.raises(SpecError, match=r"n_sources=3 was asked for, .*'U' 2 states"):
        structure.to_spec(3)


def test_states_of_the_source_say_k():
    structure = open_structure(states=STATES, n_sources=2, source_states=("a", "b"))
    assert structure.to_spec(2).source_states == ("a", "b")


def test_given_states_set_the_order_but_not_the_set():
    structure = open_structure(states=STATES)
    assert structure.to_spec(2, {"X": ("yes", "no")}).states[0] == ("yes", "no")
    with pytest.raises(SpecError, match=r"'X': the model declares .*'maybe'"):
        structure.to_spec(2, {"X": ("no", "maybe")})


def test_states_of_an_unknown_variable_are_refused_with_near_matches():
    with pytest.raises(SpecError, match="did you mean 'X'"):
        open_structure().to_spec(2, {"x": ("no", "yes")})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parents": {"Y": ("W",)}}, "'W'"),
        ({"parents": {"Y": ("X",), "X": ("Y",)}}, "cycle"),
        ({"states": {"X": ("only",)}}, "at least 2 states"),
        ({"states": {"W": ("a", "b")}}, "'W'"),
        ({"uninfluenced": frozenset({"W"})}, "'W'"),
        ({"roles": {"outcomes": ("W",)}}, "'W'"),
        ({"source": "X"}, "'X'"),
        ({"n_sources": 0}, "integer >= 1"),
    ],
)
def test_an_unusable_structure_cannot_be_built(changes, message):
    with pytest.raises(SpecError, match=message):
        open_structure(**changes)


def test_from_pgmpy_needs_states():
    model = DAG([("U", "X"), ("U", "Y")], latents={"U"})
    with pytest.raises(SpecError, match=r"\['X', 'Y'\] are not known"):
        from_pgmpy(model, 2)
