"""px.check: verdicts of graphs, with and without data, what is asked, and what is refused."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from network_cases import (
    COLLIDER,
    PAIRS,
    PROXY,
    UNLINKED,
    bundled,
    chain,
    complete,
    fixed_chain,
    numbered,
    proxies,
    rows_of,
)
from pgmpy.factors.discrete import TabularCPD
from pgmpy.models import DiscreteBayesianNetwork
from scipy.stats import chi2

import pyromix as px
from pyromix.criticism.checking import report_on
from pyromix.identify.signal import SIGNAL_LEVEL
from pyromix.identify.verdict import Findings
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.spec import MixtureSpec
from pyromix.report.subject import look_at

YES, LOCAL, WEAK, NO = "identified", "locally identified", "weak", "not identified"

# name: variables, edges, k, verdict, rank, parameters (THEORY section 7; E7, E8, E11, E12)
GRAPHS = {
    "two items": (2, [], 2, NO, 3, 5),
    "three items": (3, [], 2, YES, 7, 7),
    "Goodman, four items": (4, [], 3, NO, 13, 14),
    "Goodman, five items, k = 3": (5, [], 3, YES, 17, 17),
    "Goodman, five items, k = 4": (5, [], 4, YES, 23, 23),
    "Goodman, five items, k = 5": (5, [], 5, LOCAL, 29, 29),
    "chain of 3": (3, chain(3), 2, NO, 7, 11),
    "chain of 4": (4, chain(4), 2, LOCAL, 15, 15),
    "chain of 5": (5, chain(5), 2, YES, 19, 19),
    "chain of 6, k = 3": (6, chain(6), 3, LOCAL, 35, 35),
    "two pairs": (4, PAIRS, 2, NO, 11, 13),
    "two pairs and one more": (5, PAIRS, 2, YES, 15, 15),
    "collider and one more": (4, COLLIDER, 2, YES, 15, 15),
    "collider of three": (4, [(0, 3), (1, 3), (2, 3)], 2, NO, 15, 23),
    "complete DAG of 3": (3, complete(3), 2, NO, 7, 15),
    "complete DAG of 4": (4, complete(4), 2, NO, 15, 31),
    "complete DAG of 5": (5, complete(5), 2, NO, 31, 63),
    "Z -> T -> Y and X": (4, [(0, 2), (2, 3)], 2, YES, 13, 13),
    "Z -> T -> Y <- X": (4, PROXY, 2, NO, 15, 17),
    "Z also causes Y": (4, [*PROXY, (0, 3)], 2, NO, 15, 25),
    "labels that nothing carries": (5, UNLINKED, 2, LOCAL, 27, 27),
}


@pytest.mark.parametrize(
    ("n", "edges", "k", "verdict", "rank", "parameters"), GRAPHS.values(), ids=GRAPHS
)
def test_the_verdict_is_that_of_the_theory_manual(n, edges, k, verdict, rank, parameters):
    report = px.check(numbered(n, edges, k))
    assert report.verdict == verdict
    assert report.spec.n_parameters == parameters
    assert report.asked == "P(U, V)"
    if verdict == YES:
        assert report.found.certificate is None  # the graph suffices
    else:
        assert report.found.certificate.rank == rank
        assert f"{rank} of {parameters} parameter directions" in str(report)


@pytest.mark.parametrize(
    ("n", "edges", "k", "verdict", "rank", "parameters"), GRAPHS.values(), ids=GRAPHS
)
def test_exact_moments_leave_the_verdict_as_it_is(n, edges, k, verdict, rank, parameters):
    spec = numbered(n, edges, k)
    report = px.check(spec, data=px.population(px.random_mixture(spec, 0)))
    assert report.verdict == verdict
    assert report.found.stage is not None


@pytest.mark.parametrize("name", GRAPHS)
def test_a_report_is_true_only_when_identified_and_its_summary_is_json(name):
    n, edges, k, verdict, _, parameters = GRAPHS[name]
    report = px.check(numbered(n, edges, k))
    assert bool(report) == (verdict == YES)
    summary = json.loads(json.dumps(report.summary(), allow_nan=False))
    assert summary["verdict"] == verdict
    assert summary["n_sources"] == k
    assert summary["n_parameters"] == parameters
    assert summary["reasons"] == list(report.reasons)
    assert str(report).startswith(f"P(U, V) with {k} sources: {verdict.upper()}")


def test_the_plan_is_at_hand_or_an_error_that_says_why():
    report = px.check(numbered(5, chain(5)))
    assert report.plan.complete
    assert report.summary()["plan"] == [str(report.plan)]
    assert str(report.plan) in report.reasons
    refused = px.check(numbered(3, chain(3)))
    with pytest.raises(px.PlanError, match=r"three views.*7 of 11 parameter directions"):
        _ = refused.plan
    assert refused.summary()["plan"] == []


@pytest.mark.parametrize("name", ["asia", "sachs", "child", "alarm"])
def test_a_published_graph_with_a_source_is_identified(name):
    assert px.check(bundled(name, 2))


def test_more_sources_than_views_can_show_are_not_identified_by_the_graph():
    assert px.check(bundled("asia", 3))
    assert not px.check(bundled("asia", 5))


# -- effects (THEORY section 7 and E12) --------------------------------------------------------

EFFECTS = {
    "Z -> T -> Y <- X": (4, PROXY, LOCAL),
    "Z -> T -> Y and X": (4, [(0, 2), (2, 3)], YES),
    "Z also causes Y": (4, [*PROXY, (0, 3)], NO),
    "Z -> T -> Y <- Z, X -> Y": (4, [(0, 2), (2, 3), (0, 3), (1, 3)], NO),
    "complete": (4, complete(4), NO),
}


@pytest.mark.parametrize(("n", "edges", "verdict"), EFFECTS.values(), ids=EFFECTS)
def test_the_verdict_on_an_effect(n, edges, verdict):
    report = px.check(numbered(n, edges), 2, treatment="V2", outcome="V3")
    assert report.verdict == verdict
    assert report.asked == "P(V3 | do(V2))"
    if verdict == LOCAL:
        assert any("do not move the answer" in reason for reason in report.reasons)
        assert report.found.certificate.rank < report.found.certificate.n_parameters
    if verdict == NO:
        assert any("moves the answer" in reason for reason in report.reasons)


@pytest.mark.parametrize(
    ("n", "edges", "treatment", "outcome"),
    [(3, chain(3), "V1", "V2"), (3, [(0, 2)], "V0", "V2"), (2, [(0, 1)], "V0", "V1")],
    ids=["chain of 3", "three views", "no proxy"],
)
def test_an_effect_needs_more_than_its_two_variables(n, edges, treatment, outcome):
    report = px.check(numbered(n, edges), 2, treatment=treatment, outcome=outcome)
    assert report.verdict == NO


def test_the_effect_is_the_proximal_formula_at_exact_moments():
    """L4 of THEORY section 7: alpha' E[X] with E[ZY | t] = E[ZX' | t] alpha (section 10)."""
    spec = MixtureSpec.from_parents(dict.fromkeys("ZXTY", (0, 1)), {"T": ["Z"], "Y": ["X", "T"]}, 2)
    truth = px.random_mixture(spec, 0)
    z, x, t, y = (spec.vertex(name) for name in "ZXTY")
    joint = truth.joint_table().permute([z, x, t, y])
    for state in (0, 1):
        part = joint[:, :, state] / joint[:, :, state].sum()
        alpha = torch.linalg.solve(part.sum(-1), part[..., 1].sum(1))
        effect = float(alpha @ joint.sum((0, 2, 3)))
        answer = px.query(truth, ["Y"], do={"T": state}).values[1]
        assert effect == pytest.approx(answer, abs=1e-12)
    assert px.check(spec, treatment="T", outcome="Y").verdict == LOCAL


def test_an_effect_within_covered_ancestors_is_identified_where_the_whole_is_not():
    """D of A, B and C is not covered; the effect of E on A, two of the views, is."""
    spec = numbered(4, [(0, 3), (1, 3), (2, 3)])
    assert px.check(spec).verdict == NO
    assert px.check(spec, outcome="V0", treatment="V1").verdict == YES
    assert px.check(spec, outcome="V3", treatment="V0").verdict == NO


def test_evidence_and_several_outcomes_belong_to_the_question():
    spec = numbered(5, chain(5))
    report = px.check(spec, outcome=["V4", "V3"], treatment="V2", evidence={"V0": 1})
    assert report.verdict == YES
    assert "do(V2)" in report.asked
    assert "V0" in report.asked
    assert report.asked.startswith("P(V4, V3 |")


def test_a_question_without_a_treatment_is_about_what_is_observed():
    """A margin is a function of P(V), whatever U is."""
    report = px.check(numbered(3, chain(3)), outcome="V2")
    assert report.verdict == YES
    assert report.asked == "P(V2)"


# -- degenerate numbers of sources (E14) and of states -----------------------------------------


def test_one_source_is_an_ordinary_network():
    report = px.check(numbered(4, complete(4), 1))
    assert report.verdict == YES
    assert report.found.facts.plans == ()
    with pytest.raises(px.PlanError, match="one source"):
        _ = report.plan


@pytest.mark.parametrize("exact", [True, False])
def test_a_source_without_effect_is_weak(exact):
    truth = px.random_mixture(numbered(5, chain(5)), 0)
    cpts = tuple(c[:1].expand_as(c).clone() for c in truth.cpts)
    truth = BayesNetMixture(truth.spec, truth.weights, cpts)
    data = px.population(truth) if exact else rows_of(truth, 20_000)
    report = px.check(truth.spec, data=data)
    assert report.verdict == WEAK
    assert not report
    text = "\n".join(report.reasons)
    assert "RANK_TOO_SMALL" in text
    assert "fewer sources than asked for" in text
    assert px.check(truth.spec).verdict == YES


# -- data --------------------------------------------------------------------------------------


def test_enough_rows_leave_the_verdict_and_thin_ones_make_it_weak():
    truth = fixed_chain()
    assert px.check(truth.spec, data=rows_of(truth, 100_000)).verdict == YES
    thin = px.check(truth.spec, data=rows_of(truth, 500))
    assert thin.verdict == WEAK
    assert thin.plan.complete  # the graph would do
    assert thin.found.stage.status is px.Status.RANK_TOO_SMALL
    summary = json.loads(json.dumps(thin.summary(), allow_nan=False))
    assert summary["moments"] == "RANK_TOO_SMALL"
    assert summary["signal"] < summary["noise_floor"]
    assert any("these data do not show" in reason for reason in thin.reasons)


def test_a_weak_verdict_says_about_how_many_times_the_rows_would_do():
    truth = fixed_chain()
    report = px.check(truth.spec, data=rows_of(truth, 500, 0))
    assert report.verdict == WEAK
    [sentence] = [reason for reason in report.reasons if "times as many rows" in reason]
    assert sentence.endswith("would show it, if it is there")
    times = int(sentence.split()[1])
    # A chi-square of one degree, whose root grows like that of the rows, from p_S to the level.
    now, then = chi2.isf([report.found.findings.p_signal, SIGNAL_LEVEL], 1)
    assert times == math.ceil(then / now)
    # Of 8 samples of 500 rows with such a sentence as many rows as said did in 8.
    assert px.check(truth.spec, data=rows_of(truth, times * 500, 1)).verdict == YES


@pytest.mark.parametrize(("k", "seed"), [(3, 1), (3, 3), (3, 4), (3, 5), (4, 0), (4, 1)])
def test_more_rows_are_not_promised_to_bring_out_a_source_that_is_not_there(k, seed):
    """Two sources, plain to see; a third or fourth is noise under the floor, whatever the rows."""
    two = px.MixtureSpec.from_parents({f"V{i}": (0, 1, 2) for i in range(6)}, {}, 2)
    truth = px.random_mixture(two, 0, separation=0.5)
    rows = rows_of(truth, 5_000, seed)
    assert px.check(two, data=rows).verdict == YES
    report = px.check(two.with_n_sources(k), data=rows)
    run = report.found.stage.runs[0]
    assert report.verdict == WEAK
    assert run.signal <= run.noise_floor
    assert not any("times as many rows" in reason for reason in report.reasons)


def test_rows_are_promised_where_signal_looks_like_one_and_is_not_shown_yet():
    truth = fixed_chain()
    heard = px.check(truth.spec, data=rows_of(truth, 500, 0)).found.findings
    [best, *_] = heard.signal.triples
    for p_signal, level, said in (
        (None, YES, False),
        (SIGNAL_LEVEL, YES, False),
        (1.01 * SIGNAL_LEVEL, WEAK, True),
        (0.05, WEAK, True),
        (0.051, WEAK, False),
        (1.0, WEAK, False),
    ):
        signal = None
        if p_signal is not None:
            signal = replace(heard.signal, triples=(replace(best, p_values=(p_signal,) * 3),))
        report = report_on(truth.spec, findings=Findings(signal=signal))
        assert report.verdict == level
        assert any("times as many rows" in reason for reason in report.reasons) == said


def test_a_stage_without_a_test_of_signal_makes_weak_and_promises_nothing():
    truth = fixed_chain()
    stage = px.check(truth.spec, data=rows_of(truth, 500, 0)).found.stage
    assert not stage.ok
    report = report_on(truth.spec, findings=Findings(stage=stage))
    assert report.verdict == WEAK
    assert not any("times as many rows" in reason for reason in report.reasons)


@pytest.mark.parametrize(
    ("k", "rows", "seed", "verdict", "promised"),
    [(2, 500, 0, WEAK, True), (2, 500, 1, YES, False), (3, 5_000, 0, WEAK, False)],
)
def test_a_report_on_a_fit_promises_what_check_does(k, rows, seed, verdict, promised):
    if k == 2:
        truth = fixed_chain()
    else:
        spec = px.MixtureSpec.from_parents({f"V{i}": (0, 1, 2) for i in range(6)}, {}, 2)
        truth = px.random_mixture(spec, 0, separation=0.5)
    table = rows_of(truth, rows, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.PyromixWarning)
        fit = px.fit(truth.spec.with_n_sources(k), table, n_init=1, prior=None)
    looked = look_at(fit, None, None, vary=False).identified
    for report in (px.check(fit.spec, data=table), looked):
        assert report.verdict == verdict
        assert ("times as many rows" in str(report)) == promised


def test_data_do_not_make_a_refused_graph_weak():
    spec = numbered(4, PAIRS)
    report = px.check(spec, data=rows_of(px.random_mixture(spec, 0), 500))
    assert report.verdict == NO
    assert report.found.stage.status is px.Status.NO_PLAN


def test_items_without_edges_are_looked_at_as_a_product():
    spec = numbered(5, [], 2)
    truth = px.random_mixture(spec, 0, separation=0.5)
    report = px.check(spec, data=rows_of(truth, 20_000))
    assert report.verdict == YES
    assert "independent given U" in report.reasons[0]
    assert any(reason.startswith("data: ") for reason in report.reasons)
    assert px.check(spec, data=rows_of(truth, 10)).verdict == WEAK


def test_states_of_a_table_are_read_off_and_weights_count():
    truth = fixed_chain()
    frame = px.simulate(truth, 4_000, random_state=0).astype(str)
    graph = nx.DiGraph([(f"V{i}", f"V{i + 1}") for i in range(4)])
    with pytest.warns(px.AddedSourceWarning):
        report = px.check(graph, 2, frame.assign(w=25), sample_weight="w")
    assert report.spec.states[0] == ("0", "1")
    assert report.found.stage.status is px.Status.OK


# -- models ------------------------------------------------------------------------------------


def edges_of(spec):
    return [(spec.name(p), spec.name(v)) for v, ps in enumerate(spec.parents) for p in ps]


def test_every_kind_of_model_has_the_same_verdict(tmp_path):
    spec = proxies(0.5).spec
    spec = replace(spec, states=(("no", "yes"),) * 4)
    truth = px.random_mixture(spec, 0)
    px.write(truth, tmp_path / "proxies.bif")
    latent = DiscreteBayesianNetwork(
        [("U", name) for name in spec.variables] + edges_of(spec), latents={"U"}
    )
    graph = nx.DiGraph(edges_of(spec))
    graph.add_node("X")
    reports = [
        px.check(spec),
        px.check(truth),
        px.check(tmp_path / "proxies.bif"),
        px.check(str(tmp_path / "proxies.bif"), 2),
        px.check(latent, 2),
    ]
    with pytest.warns(px.AddedSourceWarning, match="U"):
        reports.append(px.check(graph, 2))
    assert [report.verdict for report in reports] == [YES] * 6
    assert len({str(report.plan) for report in reports[:4]}) == 1
    for report in reports[4:]:
        assert any("two states were assumed for" in reason for reason in report.reasons)
    assert "a source 'U' with an edge to every variable was added" in reports[5].reasons


def test_the_states_of_a_latent_vertex_are_the_number_of_sources():
    model = DiscreteBayesianNetwork([("U", "A"), ("U", "B"), ("U", "C")], latents={"U"})
    model.add_cpds(
        TabularCPD("U", 2, [[0.5], [0.5]]),
        *(TabularCPD(v, 3, np.full((3, 2), 1 / 3), ["U"], [2]) for v in "ABC"),
    )
    report = px.check(model)
    assert report.spec.n_sources == 2
    assert report.spec.cards == (3, 3, 3)
    assert report.verdict == YES


def test_edges_of_the_latent_vertex_are_honoured():
    """X -> Y <- U: without an edge from U, X is no cause for fear."""
    model = DiscreteBayesianNetwork([("U", "Y"), ("X", "Y")], latents={"U"})
    report = px.check(model, 2, treatment="X", outcome="Y")
    assert report.verdict == YES
    full = DiscreteBayesianNetwork([("U", "Y"), ("U", "X"), ("X", "Y")], latents={"U"})
    assert px.check(full, 2, treatment="X", outcome="Y").verdict == NO


def test_states_given_by_name_decide():
    graph = nx.DiGraph()
    graph.add_nodes_from("ABC")
    states = {name: ["low", "middle", "high"] for name in "ABC"}
    with pytest.warns(px.AddedSourceWarning):
        assert px.check(graph, 3, state_names=states).verdict == YES
    with pytest.warns(px.AddedSourceWarning):
        assert px.check(graph, 3).verdict == NO


# -- refused -----------------------------------------------------------------------------------

CHAIN = numbered(5, chain(5))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"outcome": "V9"}, "'V9'"),
        ({"outcome": "V4", "treatment": "v3"}, "did you mean 'V3'"),
        ({"outcome": "V4", "treatment": "V3", "evidence": {"V1": 7}}, "unknown state 7"),
        ({"outcome": "V4", "treatment": "V3", "evidence": {"V3": 1}}, "'V3'"),
        ({"outcome": "V4", "treatment": "V4"}, "'V4'"),
        ({"treatment": "V3"}, "need an outcome"),
        ({"evidence": {"V3": 1}}, "need an outcome"),
        ({"outcome": []}, "at least one"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(options, match):
    with pytest.raises(px.QueryError, match=match):
        px.check(CHAIN, **options)


@pytest.mark.parametrize("k", [0, -1])
def test_no_sources_are_refused(k):
    for model in (nx.DiGraph([("A", "B"), ("B", "C")]), CHAIN):
        with pytest.raises(px.SpecError, match=f"n_sources must be an integer >= 1, found {k}"):
            px.check(model, k)


def test_an_unknown_number_of_sources_is_refused():
    graph = nx.DiGraph(chain(3))
    graph = nx.relabel_nodes(graph, {v: f"V{v}" for v in graph})
    with pytest.raises(px.SpecError, match="n_sources"), pytest.warns(px.AddedSourceWarning):
        px.check(graph)


def test_a_cyclic_graph_is_refused():
    with pytest.raises(px.SpecError, match="cycle"):
        px.check(nx.DiGraph([("A", "B"), ("B", "C"), ("C", "A")]), 2)


def test_two_latent_vertices_are_refused():
    model = DiscreteBayesianNetwork([("U", "A"), ("W", "A"), ("U", "B")], latents={"U", "W"})
    with pytest.raises(px.SpecError, match=r"'U'.*'W'"):
        px.check(model, 2)


def test_a_path_that_is_missing_and_a_model_of_no_kind_are_refused(tmp_path):
    with pytest.raises(px.FileError, match=r"nowhere\.bif"):
        px.check(tmp_path / "nowhere.bif", 2)
    with pytest.raises(px.SpecError, match="expected a pgmpy DiscreteBayesianNetwork"):
        px.check({"A": ["B"]}, 2)


def test_a_table_that_does_not_fit_is_refused():
    frame = pd.DataFrame({"V0": [0, 1]})
    with pytest.raises(px.DataError, match="'V1'"):
        px.check(CHAIN, data=frame)
    with pytest.raises(px.SpecError, match="'Q'"):
        px.check(CHAIN, state_names={"Q": [0, 1]})


def test_a_model_too_large_for_a_rank_is_sketched_and_a_direction_named():
    names = [f"V{v}" for v in range(11)]
    parents = {name: names[:v] for v, name in enumerate(names)}
    report = px.check(MixtureSpec.from_parents(dict.fromkeys(names, (0, 1)), parents, 2))
    assert report.verdict == NO
    assert report.found.certificate is None
    assert any("a direction among 4,095 parameters" in reason for reason in report.reasons)
