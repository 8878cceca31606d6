"""Structures that people write by hand: TOML and lists of edges."""

from __future__ import annotations

import pytest

from pyromix.bridges.pgmpy import structure_of
from pyromix.errors import AddedSourceWarning, FileError, SpecError
from pyromix.formats.files import read_structure
from pyromix.formats.structure import Structure
from pyromix.formats.toml import edges_to_structure, read_toml

FULL = """
variables = ["Y", "W"]
edges = ["Z -> X", "X -> Y", "Z -> Y"]
latent = "H"
n_sources = 2
uninfluenced = ["Z"]
treatment = "X"
outcome = "Y"

[states]
X = ["control", "treated"]
Y = [false, true]
Z = [1, 2, 3]
W = [0.5, 1.5]
H = ["left", "right"]

[roles]
instruments = ["Z"]
"""


def test_a_full_spec_says_everything():
    structure = read_toml(FULL)
    assert structure == Structure(
        variables=("Y", "W", "Z", "X"),
        parents={"Y": ("X", "Z"), "W": (), "Z": (), "X": ("Z",)},
        states={
            "X": ("control", "treated"),
            "Y": (False, True),
            "Z": (1, 2, 3),
            "W": (0.5, 1.5),
        },
        source="H",
        uninfluenced=frozenset({"Z"}),
        n_sources=2,
        source_states=("left", "right"),
        roles={"exposures": ("X",), "instruments": ("Z",), "outcomes": ("Y",)},
    )
    assert structure.to_spec().n_sources == 2


def test_a_toml_file_is_a_model(tmp_path):
    (tmp_path / "net.toml").write_text(FULL)
    assert read_structure(tmp_path / "net.toml") == read_toml(FULL)
    assert structure_of(str(tmp_path / "net.toml")) == read_toml(FULL)


def test_errors_in_a_toml_file_name_the_file(tmp_path):
    (tmp_path / "net.toml").write_text('edges = ["A => B"]')
    with pytest.raises(SpecError, match=r"net\.toml: an edge reads 'A -> B', found 'A => B'"):
        read_structure(tmp_path / "net.toml")


def test_text_that_is_no_toml_is_a_file_error_with_a_line():
    with pytest.raises(FileError, match="line 2"):
        read_toml('edges = ["A -> B"]\nlatent = U')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('edge = ["A -> B"]', r"unknown key 'edge' \(did you mean 'edges'\?\)"),
        ('edges = "A -> B"', "edges must be a list of strings"),
        ("edges = [1]", "edges must be a list of strings"),
        ('edges = ["A"]', "an edge reads"),
        ('edges = ["A -> "]', "an edge reads"),
        ('edges = ["A -> B", "A -> B"]', "'A -> B' stands twice"),
        ('edges = ["A -> B", "B -> A"]\nlatent = "U"', "cycle: "),
        ('edges = ["A -> A"]\nlatent = "U"', "cycle: A -> A"),
        ('variables = ["A", "A"]', "listed twice"),
        ("variables = []", "at least one observed variable"),
        ('edges = ["A -> B"]\nlatent = 3', "latent must be a name"),
        ('edges = ["A -> B"]\nlatent = "U"\nn_sources = true', "n_sources must be an integer"),
        ('edges = ["A -> B"]\nlatent = "U"\nn_sources = 0', "integer >= 1"),
        ('edges = ["A -> B"]\nlatent = "U"\nstates = 3', "states must be a table"),
        ('edges = ["A -> B"]\n[states]\nC = ["a", "b"]', "states: 'C' is not among"),
        ('edges = ["A -> B"]\n[states]\nA = "ab"', "states of 'A' must be a list"),
        ('edges = ["A -> B"]\n[states]\nA = [1979-05-27, 2]', "states of 'A' must be a list"),
        ('edges = ["A -> B"]\n[states]\nA = ["a"]', "at least 2 states"),
        ('edges = ["A -> B"]\noutcome = "C"', "outcomes: 'C' is not among"),
        ('edges = ["A -> B"]\ntreatment = 1', "treatment must be a list of strings"),
        ('edges = ["A -> B"]\nuninfluenced = ["C"]', r"uninfluenced: \['C'\]"),
        ('edges = ["U -> B"]', "'U' that is not declared latent"),
        ('edges = ["U -> B"]\nuninfluenced = ["B"]', "declare it, latent = 'U'"),
        ('edges = ["U -> A", "A -> B"]\nlatent = "U"\nuninfluenced = ["B"]', "keep one of them"),
        ('edges = ["A -> U", "U -> B"]\nlatent = "U"', "'U' must be a root"),
        (
            'edges = ["A -> B"]\nlatent = "U"\nn_sources = 3\n[states]\nU = ["a", "b"]',
            "n_sources=3 was asked for",
        ),
    ],
)
def test_a_spec_that_is_not_usable_names_the_spot(text, message):
    with pytest.raises(SpecError, match=message):
        read_toml(text)


def test_listed_edges_of_the_source_are_honoured():
    structure = edges_to_structure(["U -> X", "X -> Y"], "U")
    assert (structure.parents["X"], structure.uninfluenced) == ((), {"Y"})


def test_a_named_source_without_edges_influences_everything():
    structure = edges_to_structure(["X -> Y"], "H", n_sources=3)
    assert (structure.source, structure.uninfluenced) == ("H", frozenset())
    assert not structure.added_source
    assert structure.n_sources == 3


def test_saying_who_is_free_of_the_source_declares_it():
    structure = edges_to_structure(["X -> Y"], uninfluenced=["X"])
    assert (structure.source, structure.uninfluenced) == ("U", {"X"})
    assert not structure.added_source


def test_edges_alone_leave_the_source_to_be_added_and_announced():
    structure = edges_to_structure(["X->Y"])
    assert structure.added_source
    with pytest.warns(AddedSourceWarning):
        structure_of(structure)


def test_a_chain_is_its_edges():
    assert edges_to_structure(["A -> B -> C"]) == edges_to_structure(["A -> B", "B -> C"])


def test_parents_stand_in_the_order_of_their_edges():
    structure = edges_to_structure(["B -> D", "A -> D", "C -> D"])
    assert structure.parents["D"] == ("B", "A", "C")


def test_several_treatments_may_be_listed():
    structure = read_toml('edges = ["A -> C", "B -> C"]\nlatent = "U"\ntreatment = ["A", "B"]')
    assert structure.roles == {"exposures": ("A", "B")}
