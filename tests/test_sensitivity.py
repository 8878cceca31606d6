"""The same question under other assumptions; networks without some of their variables."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from network_cases import chain, markov, numbered, rows_of

import pyromix as px
from pyromix.criticism.sensitivity import _droppable
from pyromix.model.query import DoQuery
from pyromix.model.spec import MixtureSpec

QUIET = pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")

DIAMOND = [(0, 1), (1, 2), (3, 2), (2, 4)]


@pytest.mark.parametrize("dropped", [(1,), (3,), (0, 1), (4,), (2, 4), (1, 3)])
def test_leaving_out_a_vertex_with_at_most_one_child_keeps_law_and_effects(dropped):
    spec = numbered(5, DIAMOND, 2, card=2, uninfluenced=(0,))
    truth = px.random_mixture(spec, 3)
    smaller = spec.without(dropped)
    kept = [v for v in range(5) if v not in dropped]
    assert list(smaller.variables) == [spec.name(v) for v in kept]
    joint = truth.joint_table(with_source=True).sum([1 + v for v in dropped])
    reduced = markov(smaller, joint)
    torch.testing.assert_close(reduced.joint_table(with_source=True), joint, rtol=0, atol=1e-15)
    for x, y in itertools.permutations(smaller.variables, 2):
        for state in (0, 1):
            expected = px.query(truth, y, do={x: state}).values
            found = px.query(reduced, y, do={x: state}).values
            np.testing.assert_allclose(found, expected, atol=1e-14)


def test_a_child_that_the_source_misses_is_influenced_once_its_parent_is_left_out():
    spec = numbered(3, [(0, 1)], uninfluenced=(1,))
    assert spec.without([0]).uninfluenced == frozenset()
    assert numbered(3, [(0, 1)], uninfluenced=(0, 1)).without([0]).uninfluenced == frozenset({0})


def test_a_common_cause_cannot_be_left_out():
    with pytest.raises(px.SpecError, match=r"common cause of \['V1', 'V2'\]"):
        numbered(3, [(0, 1), (0, 2)]).without([0])


def test_roles_and_names_of_sources_stay():
    spec = MixtureSpec.from_parents(
        dict.fromkeys("ABC", (0, 1)),
        {"B": ["A"], "C": ["B"]},
        2,
        source="site",
        source_states=("x", "y"),
        roles={"outcomes": ["C"], "exposures": ["A"]},
    )
    smaller = spec.without([spec.vertex("B")])
    assert smaller.source_states == ("x", "y")
    assert smaller.roles == (("exposures", (0,)), ("outcomes", (1,)))
    assert smaller.parents == ((), (0,))


def test_counts_on_fewer_variables_are_margins():
    spec = numbered(4, chain(4))
    counts = rows_of(px.random_mixture(spec, 0), 500)
    smaller = spec.without([1, 3])
    margin = counts.on(smaller)
    assert margin.n_rows == 500
    none = torch.zeros(1, 0, dtype=torch.int64)
    assert torch.equal(margin.table((0, 1), (), none), counts.table((0, 2), (), none))
    with pytest.raises(px.DataError, match="V0"):
        margin.on(numbered(2, [], card=3))


@pytest.fixture(scope="module")
def seven() -> px.MixtureFit:
    """X -> Y and six proxies: k = 2 and 3 are identified, and each view can be done without."""
    states = dict.fromkeys(("X", "Y", *(f"Z{i}" for i in range(6))), (0, 1))
    spec = MixtureSpec.from_parents(states, {"Y": ["X"]}, 2)
    truth = px.random_mixture(spec, 5, separation=0.3)
    return px.fit(spec, px.simulate(truth, 5000), random_state=0)


@pytest.fixture(scope="module")
def found(seven):
    return seven.sensitivity("Y", {"X": [0, 1]}, n_starts=6)


def test_every_kind_of_variation_is_there(found):
    kinds = [v.kind for v in found.variations]
    assert kinds[:3] == ["fit", "n_sources", "n_sources"]
    assert kinds.count("view") == 3
    assert kinds[-1] == "optimum"


def test_the_first_line_is_the_fit(seven, found):
    expected = seven.query("Y", {"X": [0, 1]}).values
    np.testing.assert_array_equal(found.variations[0].answer.values, expected)


def test_without_sources_the_answer_is_that_of_the_ordinary_network(seven, found):
    one = px.fit(seven.spec.with_n_sources(1), seven.counts)
    expected = one.query("Y", {"X": [0, 1]}).values
    (nothing,) = (v for v in found.variations if "nothing hidden" in v.words)
    np.testing.assert_allclose(nothing.answer.values, expected, atol=1e-9)
    assert found.largest_change >= abs(expected - found.variations[0].answer.values).max()


def test_a_view_that_is_left_out_moves_the_answer_within_its_noise(found):
    """Six proxies, three views: the answer of the others is another estimate of the same."""
    first = found.variations[0].answer
    for v in found.variations:
        if v.kind == "view" and v.found:
            error = np.maximum(v.answer.standard_error, first.standard_error)
            assert (abs(v.answer.values - first.values) < 4 * error).all()


def test_the_table_is_what_is_printed(found):
    framed = found.to_frame()
    assert framed["words"].tolist() == [v.words for v in found.variations]
    values = framed["X=0, 1"].tolist()
    for value, v in zip(values, found.variations, strict=True):
        assert np.isnan(value) or value == v.answer.values[0, 1]
        assert v.words in str(found)


@QUIET
def test_what_cannot_be_left_out_or_is_not_identified_is_said():
    model, frame, _ = px.datasets.load("hidden-group")
    found = px.fit(model, frame, 2).sensitivity("Y", {"X": "treated"}, n_starts=2)
    notes = {v.words: v.note for v in found.variations}
    assert notes["n_sources=3"] == "not identified"
    assert "leans on it" in notes["without {Z1}"]
    assert {v.words: v.dropped for v in found.variations}["without {Z1}"] == ("Z1",)
    assert "asked about" in notes["without {X, Y}"]
    with pytest.raises(px.QueryError, match="not identified"):
        _ = found.variations[2].answer


@QUIET
def test_another_optimum_that_fits_as_well_is_shown():
    """Three sources asked of a few rows of two: many optima."""
    truth = px.random_mixture(numbered(6, [(0, 1)]), 1)
    fit = px.fit(truth.spec.with_n_sources(3), rows_of(truth, 150), prior=None, n_init=10)
    found = fit.sensitivity("V1", {"V0": 1}, n_starts=10, within=5.0)
    optima = [v for v in found.variations if v.kind == "optimum"]
    assert len(optima) > 1
    gaps = [float(v.words.split(",")[1].split()[0]) for v in optima]
    assert gaps == sorted(gaps)
    assert gaps[-1] <= 5
    answers = [v.answer.values for v in (found.variations[0], *optima)]
    for one, other in itertools.combinations(answers, 2):
        assert abs(one - other).max() >= 1e-3


@QUIET
def test_a_question_about_the_source_is_not_asked_with_other_numbers_of_sources(seven):
    found = seven.sensitivity("U", evidence={"Z0": 1}, n_starts=0)
    assert {v.kind for v in found.variations} == {"fit"}


@pytest.mark.parametrize(
    ("options", "match"),
    [({"n_starts": -1}, "n_starts"), ({"within": -1.0}, "within"), ({"do": {"X": 7}}, "7")],
)
def test_options_that_make_no_sense_are_refused(seven, options, match):
    with pytest.raises(px.QueryError, match=match):
        seven.sensitivity("Y", **options)


@QUIET
def test_sources_of_other_optima_have_the_labels_of_the_fit(seven):
    found = seven.sensitivity("U", evidence={"Z0": 1}, n_starts=6)
    first = found.variations[0].answer.values
    for v in found.variations[1:]:
        np.testing.assert_allclose(v.answer.values, first, atol=5e-3)
    assert "view" not in {v.kind for v in found.variations}


def test_a_common_cause_of_what_is_asked_about_is_not_dropped_and_its_other_effects_are():
    spec = MixtureSpec.from_parents(
        dict.fromkeys("ABCDE", (0, 1)), {"B": ["A"], "C": ["A"], "D": ["C"], "E": ["D"]}, 2
    )
    both = DoQuery.from_names(spec, ["B"], None, {"C": 1})
    assert _droppable(spec, [spec.vertex("A")], both) == [spec.vertex("D"), spec.vertex("E")]
    one = DoQuery.from_names(spec, ["B"])
    assert _droppable(spec, [spec.vertex("A")], one) == [spec.vertex(v) for v in "ACDE"]
