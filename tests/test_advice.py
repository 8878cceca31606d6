"""What to measure next: every piece of advice is a graph that certifies, and none smaller does."""

from __future__ import annotations

import itertools
import json
import time

import networkx as nx
import pytest

import pyromix as px
from pyromix.cli import main
from pyromix.errors import QueryError
from pyromix.identify.advice import NewVariable, changed_graph
from pyromix.model.query import Certainty


def drawn(edges, names):
    """A graph with U into every variable."""
    graph = nx.DiGraph(edges)
    graph.add_edges_from(("U", name) for name in names)
    graph.add_node("U", latent=True)
    return graph


def effect_of(edges, names, k=2, states=None, **options):
    graph = drawn(edges, names)
    states = dict.fromkeys(names, (0, 1)) | (states or {})
    return px.measure_next(graph, k, outcome="Y", treatment="X", state_names=states, **options)


def verdict_of(edges, names, k=2, states=None):
    """``px.check`` on a graph drawn by hand, U into every variable."""
    graph = drawn(edges, names)
    states = dict.fromkeys(names, (0, 1)) | (states or {})
    return px.check(graph, k, outcome="Y", treatment="X", state_names=states).found.level


def test_treatment_and_outcome_alone_need_two_children_of_the_source():
    found = effect_of([("X", "Y")], "XY")
    assert [one.measured for one in found if one.measured] == [(NewVariable(2), NewVariable(2))]
    assert {one.absent for one in found if one.absent} == {(("U", "X"),), (("U", "Y"),)}


def test_beside_one_proxy_one_more_is_enough():
    found = effect_of([("X", "Y")], "XYA")
    assert found[0].measured == (NewVariable(2),)
    assert found[0].certainty is Certainty.GRAPHICAL
    assert not any(len(one.measured) > 1 for one in found)
    assert "one more variable of 2 states" in str(found)


def test_what_is_certified_needs_nothing():
    found = effect_of([("X", "Y")], "XYABC")
    assert len(found) == 0
    assert "nothing more" in str(found)
    assert len(px.measure_next(drawn([("X", "Y")], "XY"), 1, outcome="Y", treatment="X")) == 0


SMALL = [
    (k, edges)
    for k in (2, 3)
    for extra in itertools.product((None, 0, 1), repeat=2)
    for edges in [
        [("X", "Y")]
        + [
            pair if way == 0 else pair[::-1]
            for pair, way in zip((("X", "A"), ("A", "Y")), extra, strict=True)
            if way is not None
        ]
    ]
    if nx.is_directed_acyclic_graph(nx.DiGraph(edges))
]


@pytest.mark.parametrize(("k", "edges"), SMALL)
def test_advice_is_that_of_trying_every_graph(k, edges):
    """Three variables, every graph with X -> Y: each single child drawn by hand and checked."""
    found = effect_of(edges, "XYA", k)
    if verdict_of(edges, "XYA", k).at_least(Certainty.LOCAL):
        assert len(found) == 0
        return
    single = [
        c
        for c in range(2, k + 1)
        if verdict_of(edges, "XYAW", k, {"W": range(c)}).at_least(Certainty.LOCAL)
    ]
    advised = [
        one.measured[0].n_states
        for one in found
        if len(one.measured) == 1 and not one.measured[0].parents
    ]
    assert advised == single[:1]
    depending = {
        one.measured[0].parents[0]
        for one in found
        if len(one.measured) == 1 and one.measured[0].parents
    }
    by_hand = {
        v
        for v in "XYA"
        if single
        and any(
            verdict_of([*edges, (v, "W")], "XYAW", k, {"W": range(c)}).at_least(Certainty.LOCAL)
            for c in range(single[0], k + 1)
        )
    }
    assert depending == by_hand
    without = {
        edge
        for edge in edges
        if edge != ("X", "Y")
        and verdict_of([e for e in edges if e != edge], "XYA", k).at_least(Certainty.LOCAL)
    }
    assert {one.absent[0] for one in found if one.absent and one.absent[0][0] != "U"} == without


def test_every_piece_of_advice_certifies_and_the_smallest_comes_first():
    found = effect_of([("X", "Y"), ("A", "X"), ("A", "Y")], "XYA", 3, {"A": range(3)})
    sizes = [one.size for one in found]
    assert sizes == sorted(sizes)
    for one in found:
        spec = changed_graph(found.spec, one.measured, one.absent)
        again = px.check(spec, outcome="Y", treatment="X").found.level
        assert again is one.certainty
        assert again.at_least(Certainty.LOCAL)
    frame = found.to_frame()
    assert frame.to_dict("records") == found.to_records()
    assert set(frame["verdict"]) <= {"identified", "locally identified"}


def test_new_names_avoid_those_of_the_graph():
    spec = px.MixtureSpec.from_parents({"W1": (0, 1), "X": (0, 1)}, {"X": ["W1"]}, 2, source="W2")
    changed = changed_graph(spec, [NewVariable(3), NewVariable(2, ("X",))], [("W2", "W1")])
    assert set(changed.variables) == {"W1", "X", "W3", "W4"}
    assert changed.states_of(changed.vertex("W3")) == (0, 1, 2)
    assert changed.parents[changed.vertex("W4")] == (changed.vertex("X"),)
    assert changed.uninfluenced == {changed.vertex("W1")}


@pytest.mark.parametrize(
    "options", [{"outcome": "X"}, {"outcome": "Q"}, {"evidence": {"Y": 0}}, {"treatment": "Q"}]
)
def test_a_question_that_cannot_be_asked_is_refused(options):
    asked = {"outcome": "Y", "treatment": "X"} | options
    with pytest.raises(QueryError):
        px.measure_next(drawn([("X", "Y")], "XY"), 2, **asked)


def test_a_refusal_names_the_smallest_addition():
    spec = px.check(drawn([("X", "Y")], "XY"), 2, outcome="Y", treatment="X").spec
    table = px.simulate(px.random_mixture(spec, 0), 200, random_state=0)
    with pytest.warns(px.PyromixWarning):
        fit = px.fit(spec, table, n_init=2, prior=None, show_progress=False)
    with pytest.raises(px.NotCertifiedError, match=r"2 more variables .* of 2 states each"):
        fit.effect("X", "Y")


def test_a_group_is_a_question_of_its_own():
    """X of three states, M between X and Y, and U at X and Y alone: P(V) answers for every group.

    With U at M as well nothing does; of a binary X those with X = 1 have seen the one arm, and the
    other is as open as for everybody.
    """
    names = {"X": (0, 1, 2), "M": (0, 1), "Y": (0, 1)}
    parents = {"M": ["X"], "Y": ["M"]}
    front = px.MixtureSpec.from_parents(names, parents, 2, uninfluenced=["M"])
    asked = {"outcome": "Y", "treatment": "X", "among": {"X": 1}}
    report = px.check(front, **asked)
    assert report
    assert report.asked == "P(Y | do(X), among X=1)"
    assert len(px.measure_next(front, **asked)) == 0
    open_ = px.MixtureSpec.from_parents(names, parents, 2)
    assert px.check(open_, **asked).verdict == "not identified"
    found = px.measure_next(open_, **asked)
    assert "among X=1" in found.asked
    for one in found:
        changed = changed_graph(open_, one.measured, one.absent)
        assert px.check(changed, **asked).found.level is one.certainty


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"among": {"Y": 1}}, "names the outcome 'Y'"),
        ({"outcome": ["A", "Y"], "among": {"Y": 1}}, "names the outcome 'Y'"),
        ({"among": {"A": 1}}, "'A', which 'X' influences"),
        ({"among": {"X": 5}}, "5"),
        ({"among": {"X": 1}, "treatment": None}, "name the treatment"),
        ({"among": {"X": 1}, "treatment": None, "outcome": None}, "need an outcome"),
        ({"among": {"Z": 1}, "evidence": {"Z": 1}}, "both `among` and `evidence`"),
    ],
)
def test_what_is_no_group_is_refused_before_a_fit(options, said):
    spec = px.MixtureSpec.from_parents(
        dict.fromkeys("ZXAY", (0, 1)), {"X": ["Z"], "A": ["X"], "Y": ["X"]}, 2
    )
    asked = {"outcome": "Y", "treatment": "X"} | options
    with pytest.raises(QueryError, match=said):
        px.check(spec, **asked)
    if asked["treatment"] is not None:
        with pytest.raises(QueryError, match=said):
            px.measure_next(spec, **asked)


def test_check_and_fit_say_the_same_of_a_group():
    spec = px.MixtureSpec.from_parents(dict.fromkeys("ABCXY", (0, 1)), {"Y": ["X"]}, 2)
    frame = px.simulate(px.random_mixture(spec, 0, separation=0.4), 1000, random_state=0)
    fit = px.fit(spec, frame, n_init=1, prior=None)
    report = px.check(spec, data=frame, outcome="Y", treatment="X", among={"X": 1})
    assert report.found.level is fit.effect("X", "Y", among={"X": 1}).certainty
    assert report.verdict == "identified"


def test_measure_next_is_quick_on_alarm():
    """37 variables, of which U points at a cause and its effect: some fifty changes to look at."""
    model = px.datasets.load("alarm")[0]
    names = sorted(set(model) - {"U"})
    parents = {v: [p for p in model.predecessors(v) if p != "U"] for v in names}
    spec = px.MixtureSpec.from_parents(
        dict.fromkeys(names, (0, 1)),
        parents,
        2,
        uninfluenced=[name for name in names if name not in ("INTUBATION", "SHUNT")],
    )
    start = time.process_time()
    found = px.measure_next(spec, outcome="SHUNT", treatment="INTUBATION")
    assert time.process_time() - start < 10
    assert found[0].measured == (NewVariable(2), NewVariable(2))


EDGES = ["--edge", "U->X", "--edge", "U->Y", "--edge", "X->Y"]
EFFECT = ["--treatment", "X", "--outcome", "Y"]


def test_the_command_line_advises(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["check", *EDGES, *EFFECT, "--advise"])
    assert stopped.value.code == 2
    assert "would be certified by one of these:\n  2 more variables" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["check", *EDGES, *EFFECT, "--advise", "--json"])
    (found,) = json.loads(capsys.readouterr().out)
    assert found["measure_next"][0]["states"] == [2, 2]
    with pytest.raises(SystemExit):
        main(["check", *EDGES, *EFFECT, "--among", "X=1", "--advise"])
    said = capsys.readouterr().out
    assert said.count("P(Y | do(X), among X=1) with 2 sources") == 2
    with pytest.raises(SystemExit):
        main(["check", *EDGES, "--among", "X=1"])
    assert "--among is about an effect" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["check", *EDGES, "--advise"])
    assert "give --treatment and --outcome" in capsys.readouterr().err
