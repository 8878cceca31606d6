"""The graph, tested against a table: counts of families, likelihood ratios, what is demanded."""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
import torch
from network_cases import numbered
from scipy.stats import chi2
from test_cli import call

import pyromix as px
from pyromix.criticism.graph import asking
from pyromix.criticism.graph.dimension import dimension
from pyromix.criticism.graph.edits import ADD, DROP, TURN, Edit, covered, edits
from pyromix.criticism.graph.resampling import simulated_p_values
from pyromix.criticism.graph.trials import Bench, log_tail
from pyromix.data.counts import Counts
from pyromix.estimate.families import Families
from pyromix.estimate.indexed import index_of
from pyromix.estimate.starts import batch_of
from pyromix.estimate.step import EMMap, Point
from pyromix.exact.sampling import sample
from pyromix.model.knowledge import Knowledge
from pyromix.model.prior import PseudoCounts

EDGES = [(0, 3), (3, 4), (1, 4)]
"""Five binary vertices: with the source three views, and room for what is missing."""


def table(spec, n_rows=4000, seed=0, **options):
    """A mixture whose probabilities depend strongly on parents and source, and a table of it."""
    mixture = px.random_mixture(spec, seed, **options)
    return mixture, Counts.from_codes(spec, sample(mixture, n_rows, seed)[0])


def planted(n_rows=5000, seed=1):
    """V0 -> V3 -> V4 <- V1 and V2, in two sources, every dependence strong."""
    spec = numbered(5, EDGES)
    rng = np.random.default_rng(seed)
    cpts = []
    for parents in spec.parents:
        shape = (2, *(2,) * len(parents))
        logit = rng.uniform(-0.3, 0.3, shape)
        for axis in range(len(shape)):
            sign = np.array([-1.0, 1.0]).reshape(
                [-1 if i == axis else 1 for i in range(len(shape))]
            )
            logit = logit + sign * (1.2 if axis else 1.5)
        p = 1 / (1 + np.exp(-logit))
        cpts.append(torch.from_numpy(np.stack([1 - p, p], -1)))
    weights = torch.tensor([0.45, 0.55], dtype=torch.float64)
    mixture = px.BayesNetMixture(spec, weights, tuple(cpts))
    return mixture, Counts.from_codes(spec, sample(mixture, n_rows, seed)[0])


@pytest.fixture(scope="module")
def bench() -> Bench:
    mixture, counts = planted()
    return Bench.of(counts, batch_of(mixture))


# -- expected counts ---------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [False, True])
def test_counts_of_any_family_are_those_of_a_plain_loop(missing):
    spec = numbered(3, [(0, 2)], uninfluenced=[2])
    mixture = px.random_mixture(spec, 3)
    rows = [[0, 1, 1], [1, 0, 0], [1, 1, 0]]
    if missing:
        rows = [[0, -1, 1], [1, 0, 0], [-1, -1, 0]]
    weights = torch.tensor([2.0, 1.0, 3.0], dtype=torch.float64)
    counts = Counts.from_codes(spec, torch.tensor(rows), weights)
    found = Families.at(mixture, counts)
    joint = {
        (u, *x): float(mixture.weights[u]) * math.prod(
            float(cpt[(u, *(x[p] for p in spec.parents[v]), x[v])])
            for v, cpt in enumerate(mixture.cpts)
        )
        for u, *x in itertools.product(range(2), repeat=4)
    }  # fmt: skip
    expected = defaultdict(float)
    for row, weight in zip(rows, weights.tolist(), strict=True):
        worlds = {w: p for w, p in joint.items()
                  if all(s in (-1, t) for s, t in zip(row, w[1:], strict=True))}  # fmt: skip
        for (u, a, b, c), p in worlds.items():
            expected[u, c, b, a] += weight * p / sum(worlds.values())
    two = range(2)
    cells = [[[[expected[u, c, b, a] for a in two] for c in two] for b in two] for u in two]
    by_loop = torch.tensor(cells, dtype=torch.float64)
    torch.testing.assert_close(found.counts(0, (2, 1)), by_loop)
    torch.testing.assert_close(found.counts(0, (1,), False)[0], by_loop.sum((0, 2)))
    value = sum(n * math.log(n / row.sum()) for row in by_loop.reshape(-1, 2) for n in row if n)
    assert found.value(0, [2, 1]) == pytest.approx(float(value))


def test_the_m_step_of_the_same_graph_is_that_of_em():
    spec = numbered(4, [(0, 2), (1, 2), (2, 3)], uninfluenced=[3])
    mixture, counts = table(spec, 300)
    made = Families.at(mixture, counts).maximised(spec.parents, spec.uninfluenced)
    em = EMMap(spec, index_of(spec, counts), counts.weights, PseudoCounts.of(spec, None, "cpu"))
    target = em(Point.of(batch_of(mixture))).target.mixture(spec)
    for one, other in zip(made.tables, target.tables, strict=True):
        torch.testing.assert_close(one, other[0])


def test_the_m_step_of_another_order_has_its_tables_in_the_places_of_their_names():
    spec = numbered(3, [(0, 1), (0, 2), (1, 2)])
    mixture, counts = table(spec, 500)
    families = Families.at(mixture, counts)
    turned = families.maximised([frozenset({1, 2}), frozenset({2}), frozenset()], ())
    assert turned.spec.variables == ("V2", "V1", "V0")
    straight = families.maximised([frozenset(), frozenset({0}), frozenset({0, 1})], ())
    joint = turned.joint_table().permute(2, 1, 0)
    torch.testing.assert_close(joint, straight.joint_table())


# -- candidates --------------------------------------------------------------------------------


def v_structures(n, edges):
    near = {frozenset(e) for e in edges}
    return {(frozenset((a, b)), c) for a, c in edges for b, d in edges
            if c == d and a != b and frozenset((a, b)) not in near}  # fmt: skip


@pytest.mark.parametrize("uninfluenced", [(), (1, 3)])
def test_an_edge_is_covered_where_turning_it_leaves_skeleton_and_v_structures(uninfluenced):
    rng = np.random.default_rng(0)
    for _ in range(30):
        edges = [e for e in itertools.combinations(range(4), 2) if rng.random() < 0.6]
        spec = numbered(4, edges, uninfluenced=uninfluenced)
        source = [(9, v) for v in range(4) if v not in uninfluenced]
        for edit in edits(spec, Knowledge.of(spec)):
            if edit.kind == TURN:
                turned = [e for e in edges if e != (edit.tail, edit.head)]
                turned += [(edit.head, edit.tail), *source]
                same = v_structures(4, turned) == v_structures(4, [*edges, *source])
                assert covered(spec, edit) == same


def test_candidates_are_all_dags_one_edge_away_that_knowledge_allows():
    spec = numbered(4, [(0, 2), (1, 2), (2, 3)], uninfluenced=[1])
    known = Knowledge.of(spec, [["V0", "V1"], ["V2", "V3"]], [("V0", "V2")], [("V1", "V3")])
    found = set(edits(spec, known))
    assert found == {
        Edit(ADD, 0, 1), Edit(ADD, 1, 0), Edit(ADD, 0, 3), Edit(ADD, -1, 1), Edit(DROP, 1, 2),
        Edit(DROP, 2, 3), Edit(TURN, 2, 3),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"tiers": [["V0"], ["V0"]]}, "tier 1 and in tier 2"),
        ({"tiers": [["nobody"]]}, "tiers: unknown variable 'nobody'"),
        ({"tiers": [["V3"], ["V0"]]}, "the graph has V0 -> V3"),
        ({"tiers": "V0"}, "tiers must be"),
        ({"forbidden": [("V0", "V3")]}, "the graph has V0 -> V3"),
        ({"required": [("V0", "V1")]}, "no edge of the graph"),
        ({"required": [("V0", "V1"), ("V1", "V0")]}, "V[01] -> V[01] is forbidden|cycle|against"),
        ({"required": [("V0", "V1"), ("V1", "V2"), ("V2", "V0")]}, "cycle"),
        ({"required": [("V0", "V3")], "forbidden": [("V0", "V3")]}, "forbidden too"),
        ({"required": ["V0"]}, "expected a pair"),
        ({"forbidden": [("U", "V3")]}, "unknown variable 'U'|the source"),
        ({"treatment": "V0"}, "found one of them"),
        ({"treatment": "V0", "outcome": "V0"}, "must be different"),
        ({"level": 2}, "level"),
        ({"n_simulated": 0}, "n_simulated"),
    ],
)  # fmt: skip
def test_contradictions_are_named(fit, asked, words):
    with pytest.raises(px.PyromixError, match=words):
        fit.graph_check(**asked)


# -- tests -------------------------------------------------------------------------------------


def test_with_one_source_the_statistic_is_that_of_a_table_of_contingency():
    spec = numbered(3, [(0, 1), (0, 2)], n_sources=1)
    _, counts = table(spec, 700)
    found = px.graph_check(spec, counts, 1)
    one = next(s for s in found if (s.action, s.tail, s.head) == ("add", "V1", "V2"))
    full = np.zeros((2, 2, 2))
    np.add.at(full, tuple(counts.rows.long().numpy().T), counts.weights.numpy())
    expected = (
        full.sum(2, keepdims=True) * full.sum(1, keepdims=True) / full.sum((1, 2), keepdims=True)
    )
    assert one.statistic == pytest.approx(2 * float((full * np.log(full / expected)).sum()))
    assert one.df == 2
    assert one.bic_gain == pytest.approx(one.statistic - 2 * math.log(700))


def test_tails_of_chi_square_are_told_however_far():
    for df, statistic in itertools.product((1, 4, 30), (0.0, 1.0, 50.0, 1000.0, 1300.0)):
        expected = float(chi2.logsf(statistic, df))
        assert log_tail(statistic, df) == pytest.approx(expected, rel=1e-6, abs=1e-12)
    # With four degrees of freedom the tail is (1 + x / 2) exp(-x / 2).
    assert log_tail(1e5, 4) == pytest.approx(math.log1p(5e4) - 5e4, rel=1e-12)
    assert log_tail(1400.0, 4) == pytest.approx(math.log1p(700) - 700, rel=1e-12)


def test_screening_is_a_lower_bound_and_vanishes_where_nothing_changes(bench):
    for edit in edits(bench.spec, Knowledge.of(bench.spec)):
        screened, verified = bench.screened(edit), bench.verified(edit)
        assert screened.gain <= verified.gain + 1e-3
        assert (
            (verified.gain >= 0)
            if edit.kind == ADD
            else (verified.gain <= 1e-6 or edit.kind == TURN)
        )


@pytest.mark.parametrize(
    ("n", "edges", "added", "df"),
    [(3, [], (0, 1), 0), (4, [(2, 3)], (0, 1), 0), (5, EDGES, (2, 4), 8), (5, EDGES, (0, 1), 2)],
)
def test_degrees_of_freedom_are_the_difference_of_ranks(n, edges, added, df):
    """Three views alone show nothing more of an edge: 7 of 7 and 7 of 9 (THEORY section 19.2)."""
    assert dimension(numbered(n, [*edges, added])) - dimension(numbered(n, edges)) == df


@pytest.fixture(scope="module")
def fit() -> px.MixtureFit:
    _, counts = planted()
    return px.fit(counts.spec, counts, n_init=2)


def test_nothing_is_asked_of_the_true_graph(fit):
    found = fit.graph_check(treatment="V3", outcome="V4")
    assert found.demanded == ()
    assert len(found) == len(found.to_frame())
    assert found.effect == pytest.approx(
        float(px.effect(fit.mixture, "V3", "V4").do.values[1]), abs=0.01
    )
    turned = next(s for s in found if s.kind == TURN and s.edge == "V0 -> V3")
    assert (turned.df, turned.bic_gain, turned.effect_change) == (
        0,
        0.0,
        pytest.approx(0, abs=1e-5),
    )
    assert "cannot tell which way these lead: V0 -> V3" in str(found)


def test_a_report_tells_it_in_words(fit):
    found = fit.graph_check(treatment="V3", outcome="V4", tiers=[["V0", "V1", "V2", "V3"], ["V4"]])
    made = fit.report(show=False, sensitivity=False, graph=found)
    assert "asks for no further edge" in str(made)
    assert made.summary()["graph"]["changes"][0]["action"] in ("add", "turn")
    assert "graph" not in fit.report(show=False, sensitivity=False).summary()
    with pytest.raises(px.QueryError, match=r"graph must be what fit\.graph_check returns"):
        fit.report(show=False, graph="yes")


def test_an_edge_that_lacks_comes_first_and_a_false_one_is_not_needed():
    _, counts = planted()
    spec = numbered(5, [(0, 3), (1, 4), (0, 2)])
    found = px.graph_check(
        spec, counts, 2, treatment="V3", outcome="V4", tiers=[["V0", "V1", "V2", "V3"], ["V4"]]
    )
    first, *_ = found
    assert (first.action, first.edge, first.demanded) == ("add", "V3 -> V4", True)
    assert found.effect == pytest.approx(0)
    assert first.effect_change > 0.1
    assert "the table asks for V3 -> V4" in found.sentences[0]
    assert [s.edge for s in found.demanded if s.kind == DROP] == ["V0 -> V2"]
    assert not any(s.tail == "V4" for s in found)


def test_what_no_table_shows_is_a_third_outcome():
    spec = numbered(3, [])
    _, counts = table(spec, 500)
    found = px.graph_check(spec, counts, 2)
    assert {s.action for s in found} == {"untestable"}
    assert not found.demanded
    assert "no table of these variables shows" in str(found)


def test_an_edge_from_the_source_is_a_candidate():
    _, counts = planted()
    spec = numbered(5, EDGES, uninfluenced=[1])
    found = px.graph_check(spec, counts, 2)
    assert (found[0].edge, found[0].demanded) == ("U -> V1", True)


@pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")
def test_an_edge_that_has_more_parameters_than_there_are_rows_is_not_tried():
    spec = numbered(4, [(0, 3), (1, 3)], card=3)
    _, counts = table(spec, 60)
    fit = px.fit(spec, counts, method="em", n_init=2, prior=None)
    found = fit.graph_check(n_simulated=1)
    wide = next(s for s in found if s.edge == "V2 -> V3")
    assert (wide.action, wide.possible, wide.fitted) == ("untestable", False, False)


def test_simulated_tables_are_few_where_nothing_is_strong_and_many_where_something_is(bench):
    candidates = [e for e in edits(bench.spec, Knowledge.of(bench.spec)) if e.kind == ADD][:3]
    weak, strong = simulated_p_values(bench, candidates, [0.0, -1000.0], 4, 0)
    assert (weak, strong) == (1.0, 0.2)
    assert simulated_p_values(bench, candidates, [0.0, -1000.0], 4, 0) == [weak, strong]


def test_an_edge_of_a_weak_source_is_demanded_only_where_simulated_tables_say_so(monkeypatch):
    spec = numbered(4, [])
    codes = torch.randint(2, (300, 4), generator=torch.Generator().manual_seed(0))
    codes[:, 1] = torch.where(torch.rand(300, generator=torch.Generator().manual_seed(1)) < 0.75,
                              codes[:, 0], codes[:, 1])  # fmt: skip
    counts = Counts.from_codes(spec, codes)
    asked = []
    monkeypatch.setattr(asking, "simulated_p_values",
                        lambda *a: asked.append(a[2]) or [0.5] * len(a[2]))  # fmt: skip
    monkeypatch.setattr(asking.Trial, "p_value", property(lambda self: 1e-9))
    monkeypatch.setattr(asking.Trial, "testable", property(lambda self: self.edit.kind == ADD))
    monkeypatch.setattr(asking.Trial, "log_p", property(lambda self: -20.0))
    found = px.fit(spec, counts, method="em", n_init=2, prior=None).graph_check()
    assert asked
    assert not found.demanded
    assert "hardly shows U" in str(found)
    assert all(s.resampled for s in found if s.action == "add")


# -- the command line --------------------------------------------------------------------------


def test_the_command_prints_the_table_and_json(tmp_path):
    _, counts = planted()
    rows = counts.rows.repeat_interleave(counts.weights.long(), 0)
    frame = pd.DataFrame(rows.numpy(), columns=list(counts.schema.variables))
    frame.to_csv(tmp_path / "data.csv", index=False)
    arguments = ["graph", tmp_path / "data.csv", "-k", 2, "--quiet", "--tiers", "V0,V1,V2,V3",
                 "--tiers", "V4", "--treatment", "V3", "--outcome", "V4"]  # fmt: skip
    edges = [
        x for e in ("V0->V3", "V1->V4", *(f"U->V{v}" for v in range(5))) for x in ("--edge", e)
    ]
    code, out, err = call(*arguments, *edges, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["changes"][0]["from"], found["changes"][0]["to"]) == ("V3", "V4")
    assert found["changes"][0]["demanded"]
    code, _, err = call(*arguments, *edges, "--forbidden", "V0->V3")
    assert code == 1
    assert "SpecError: the graph has V0 -> V3" in err
