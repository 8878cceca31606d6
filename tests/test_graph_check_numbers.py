"""The graph of a table with numbers, tested: nested families, statistics, and what is demanded."""

from __future__ import annotations

import json

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from test_cli import call

import pyromix as px
from pyromix.criticism.graph.edits import ADD, DROP, Edit
from pyromix.criticism.graph.mixed_trials import MixedBench
from pyromix.estimate.mixed.nested_tests import complement
from pyromix.estimate.mixed.shape_tests import _polynomials, shape_tests
from pyromix.model.cpd import TableCPD
from pyromix.model.families.hurdle import HurdleCPD
from pyromix.model.families.layout import Layout, Numbers
from pyromix.model.families.linear_gaussian import LinearGaussianCPD
from pyromix.model.families.logistic import LogisticCPD
from pyromix.model.families.nested import of_every_source, tangent, with_parent
from pyromix.model.families.poisson import PoissonCPD
from pyromix.model.families.student_t import StudentTCPD

pytestmark = pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")


# -- nested families ---------------------------------------------------------------------------


def law(family, layout, k=2, *, shared=False):
    """A law of a family with coordinates drawn at random."""
    g = torch.Generator().manual_seed(1)
    if family is TableCPD:
        one = TableCPD(torch.full((k, *layout.cards, 3), 1 / 3, dtype=torch.float64),
                       len(layout.cards), shared)  # fmt: skip
    elif family is LogisticCPD:
        one = LogisticCPD.standard(k, layout, 3, shared=shared)
    else:
        one = family.standard(k, layout, shared=shared)
    return one.with_parameters(torch.randn(len(one.parameters), generator=g, dtype=torch.float64))


def column(entry, m, seed):
    """Cells of a parent, or of the vertex."""
    g = torch.Generator().manual_seed(seed)
    if isinstance(entry, int):
        return torch.randint(entry, (m,), generator=g)
    values = torch.randn(m, generator=g, dtype=torch.float64)
    return torch.where(values < -0.5, -torch.inf, values) if entry is Numbers.HURDLE else values


FAMILIES = [
    (TableCPD, (2, 3)),
    (LogisticCPD, (2, Numbers.VALUE)),
    (LinearGaussianCPD, (2, Numbers.VALUE, 3)),
    (StudentTCPD, (Numbers.HURDLE, 2)),
    (PoissonCPD, (Numbers.VALUE,)),
    (HurdleCPD, (2, 3)),
    (HurdleCPD, ()),
]


@pytest.mark.parametrize("parent", [2, Numbers.VALUE, Numbers.HURDLE])
@pytest.mark.parametrize(("family", "entries"), FAMILIES)
def test_a_law_written_for_one_more_parent_is_the_same_law(family, entries, parent):
    cpd, m = law(family, Layout(entries)), 40
    vertex = 3 if family in (TableCPD, LogisticCPD) else None
    vertex = Numbers.HURDLE if family is HurdleCPD else vertex or Numbers.VALUE
    values = column(vertex, m, 0)
    values = values.abs().round() if family is PoissonCPD else values
    above = [column(entry, m, 1 + i) for i, entry in enumerate(entries)]
    before = cpd.log_prob(values, above)
    for place in range(len(entries) + 1):
        larger = with_parent(cpd, place, parent)
        more = [*above[:place], column(parent, m, 9), *above[place:]]
        torch.testing.assert_close(larger.log_prob(values, more), before, rtol=1e-12, atol=1e-12)
        matrix = tangent(cpd, lambda one, place=place: with_parent(one, place, parent))
        torch.testing.assert_close(matrix @ cpd.parameters, larger.parameters)
        added = complement(matrix)
        assert added.shape == (len(matrix), len(matrix) - matrix.shape[1])
        assert float((added.mT @ matrix).abs().max()) < 1e-12


@pytest.mark.parametrize("family", [TableCPD, LinearGaussianCPD, HurdleCPD])
def test_a_shared_law_is_also_one_of_every_source(family):
    cpd = law(family, Layout((2,)), shared=True)
    larger = of_every_source(cpd)
    assert len(larger.parameters) == 2 * len(cpd.parameters)
    torch.testing.assert_close(tangent(cpd, of_every_source) @ cpd.parameters, larger.parameters)


# -- statistics, by formulas that need no mixture ----------------------------------------------


def lines(n=2000, seed=0):
    """X -> Y with noise that is wider where X is large, and W that goes with X."""
    g = np.random.default_rng(seed)
    x = g.normal(size=n)
    w = 2 + 0.8 * x + g.normal(size=n)
    y = 0.3 * x + (0.5 + x**2) * g.standard_t(5, size=n)
    return pd.DataFrame({"W": w, "X": x, "Y": y})


def fitted(frame, edges, k=1, **options):
    """A fit with normal noise, whatever the tails."""
    graph = nx.DiGraph()
    graph.add_nodes_from(frame.columns)
    graph.add_edges_from(edges)
    kinds = {name: "real" for name in frame if frame[name].dtype.kind == "f"}
    return px.fit(graph, frame, k, kinds=kinds, prior=None, show_progress=False, **options)


def test_an_added_line_has_the_score_statistic_of_a_regression():
    frame = lines()
    fit = fitted(frame, [("X", "Y")])
    spec = fit.spec
    edit = Edit(ADD, spec.vertex("W"), spec.vertex("Y"))
    trial = MixedBench(fit).tested(edit)
    x = np.column_stack([np.ones(len(frame)), frame["X"]])
    rest = frame["Y"] - x @ np.linalg.lstsq(x, frame["Y"], rcond=None)[0]
    clear = frame["W"] - x @ np.linalg.lstsq(x, frame["W"], rcond=None)[0]
    variance = (rest**2).mean()
    score = rest * clear / variance
    # The observed information of line and variance is not quite zero.
    score -= (rest**2 / variance - 1) * (rest * frame["W"]).mean() / variance
    robust = score.sum() ** 2 / (score**2).sum()
    assert trial.df == 1
    assert trial.statistic == pytest.approx(robust, rel=3e-3)


def test_a_dropped_line_has_the_robust_statistic_of_wald():
    frame = lines()
    fit = fitted(frame, [("X", "Y"), ("W", "Y")])
    spec = fit.spec
    trial = MixedBench(fit).tested(Edit(DROP, spec.vertex("X"), spec.vertex("Y")))
    z = np.column_stack([np.ones(len(frame)), frame["W"], frame["X"]])
    inverse = np.linalg.inv(z.T @ z)
    line = inverse @ z.T @ frame["Y"]
    rest = (frame["Y"] - z @ line).to_numpy()
    covariance = inverse @ (z.T * rest**2) @ z @ inverse
    assert trial.df == 1
    assert trial.statistic == pytest.approx(line[2] ** 2 / covariance[2, 2], rel=5e-3)
    ordinary = line[2] ** 2 / (inverse[2, 2] * rest.var())
    assert abs(ordinary - trial.statistic) > 0.2 * trial.statistic


def test_a_row_of_weight_two_counts_as_two():
    frame = lines(300)
    twice = frame.loc[frame.index.repeat(1 + (frame.index % 2))]
    found = []
    for own, weight in ((frame, 1 + (frame.index % 2)), (twice, None)):
        fit = fitted(own.reset_index(drop=True), [("X", "Y")], sample_weight=weight)
        edges = [Edit(ADD, *map(fit.spec.vertex, "WY")), Edit(DROP, *map(fit.spec.vertex, "XY"))]
        bench = MixedBench(fit)
        gain = bench.bound(edges[0]) - bench.log_likelihood
        found.append([*(bench.tested(edit).statistic for edit in edges), gain])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)


def test_a_group_that_shifts_a_number_is_tested_in_mean_and_variance():
    g = np.random.default_rng(3)
    d = g.integers(0, 2, 500)
    frame = pd.DataFrame({"D": d, "Y": g.gamma(2.0, size=500)})
    fit = fitted(frame, [])
    trial = MixedBench(fit).tested(Edit(ADD, fit.spec.vertex("D"), fit.spec.vertex("Y")))
    y = (frame["Y"] - frame["Y"].mean()) / frame["Y"].std(ddof=0)
    both = np.column_stack([y, (y**2 - 1) / 2]) * (d - d.mean())[:, None]
    total = both.sum(0)
    expected = total @ np.linalg.solve(both.T @ both, total)
    assert trial.df == 2
    assert trial.statistic == pytest.approx(expected, rel=0.02)


# -- with sources ------------------------------------------------------------------------------


def drawn(n, skewed=False):
    """Three views, X -> Y -> Z with Y, Z numbers, in two sources."""
    g = np.random.default_rng(0)
    u = g.integers(0, 2, n)
    found = {name: (g.random(n) < np.where(u, 0.8, 0.2)).astype(int) for name in "ABC"}
    x = (g.random(n) < np.where(u, 0.7, 0.3)).astype(int)
    noise = (g.gamma(2.0, size=n) - 2) / np.sqrt(2) if skewed else g.normal(size=n)
    y = x + 2 * u + noise
    z = 0.8 * y + u + g.normal(size=n)
    return pd.DataFrame({**found, "X": x, "Y": y, "Z": z})


@pytest.fixture(scope="module")
def planted():
    return drawn(2500)


def test_scores_agree_with_ratios_where_the_shape_is_right_whatever_the_order(planted):
    found = []
    for names in ("ABCXYZ", "ZYXCBA"):
        fit = fitted(planted[list(names)], [("X", "Y"), ("Y", "Z")], 2, n_init=0)
        bench = MixedBench(fit)
        for a, b in ("AB", "CX", "AY", "XZ"):
            edit = Edit(ADD, fit.spec.vertex(a), fit.spec.vertex(b))
            ratio = 2 * (bench.fitted(edit).log_likelihood - bench.log_likelihood)
            found.append((bench.tested(edit).statistic, ratio))
    for score, ratio in found:
        assert score == pytest.approx(ratio, rel=0.2, abs=0.3)
    np.testing.assert_allclose(found[:4], found[4:], rtol=0.01, atol=0.02)
    assert max(ratio for _, ratio in found) > 3


RULES = {"tiers": [["A", "B", "C"], ["X"], ["Y"], ["Z"]], "forbidden": [("A", "B"), ("A", "C")]}


def test_a_line_that_lacks_comes_first_and_moves_the_effect(planted):
    fit = fitted(planted, [("X", "Y")], 2, n_init=0)
    found = fit.graph_check(treatment="X", outcome="Z", **RULES)
    assert found[0].edge == "Y -> Z"
    assert found[0].demanded
    assert found[0].bic_gain > 500
    assert found.effect == pytest.approx(0.0, abs=1e-9)
    assert found.effect + found[0].effect_change == pytest.approx(0.8, abs=0.15)
    assert "mean of Z" in found.asked


def test_the_true_graph_lacks_nothing_and_an_edge_in_vain_is_told(planted):
    fit = fitted(planted, [("X", "Y"), ("Y", "Z"), ("A", "Z")], 2, n_init=0)
    found = fit.graph_check(**RULES)
    assert [(one.action, one.edge) for one in found.demanded] == [("drop", "A -> Z")]
    assert all(one.kind != "turn" for one in found)
    assert "no edge is turned" in found.sentences[-1]


def test_noise_of_another_shape_is_named_and_nothing_is_demanded():
    fit = fitted(drawn(1500, skewed=True), [("X", "Y")], 2, n_init=0)
    found = fit.graph_check(**RULES)
    assert not found.demanded
    assert found.doubts[0].startswith("the noise of Y, Z has") or found.doubts[0].startswith(
        "the noise of Y has another shape"
    )
    assert "for the doubt below; the strongest is Y -> Z (p < 1e-06" in found.sentences[0]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_shape_of_noise_is_found_right_where_it_is(seed):
    """Both ways: scores of a correct law are zero in the mean, those of a wrong one are not."""
    g = np.random.default_rng(seed)
    x = g.normal(size=800)
    right = pd.DataFrame({"X": x, "Y": 2 * x + g.normal(size=800)})
    wrong = pd.DataFrame({"X": x, "Y": 2 * x + g.exponential(size=800)})
    p_values = []
    for frame in (right, wrong):
        fit = fitted(frame, [("X", "Y")])
        found = shape_tests(MixedBench(fit).smaller)[fit.spec.vertex("Y")]
        p_values.append(scipy.stats.chi2.sf(found.statistic, found.df))
    assert p_values[0] > 0.01
    assert p_values[1] < 1e-6


def test_cleared_scores_do_not_go_with_those_of_the_estimate():
    g = np.random.default_rng(2)
    x = g.normal(size=800)
    fit = fitted(pd.DataFrame({"X": x, "Y": 2 * x + g.normal(size=800)}), [("X", "Y")])
    smaller = MixedBench(fit).smaller
    raw = _polynomials(fit.mixture, smaller, fit.spec.vertex("Y"))
    clear = smaller.cleared(lambda one: _polynomials(one, smaller, fit.spec.vertex("Y")))
    both = [np.corrcoef(s.numpy().T, smaller.scores.numpy().T)[:4, 4:] for s in (raw, clear)]
    assert abs(both[0]).max() > 0.9
    assert abs(both[1]).max() < 0.3


def test_a_source_that_only_shape_tells_demands_nothing(planted):
    graph = nx.DiGraph([("X", "Y")])
    graph.add_node("Z")
    found = px.graph_check(graph, planted[["X", "Y", "Z"]], 2, show_progress=False)
    assert not found.demanded
    assert any("only the shape of the noise" in one for one in found.doubts)


def test_an_edge_under_which_missing_numbers_cannot_be_integrated_out_is_not_tried(planted):
    frame = planted[["A", "B", "C", "Y", "Z"]][:700].copy()
    frame.loc[::40, "Y"] = np.nan
    fit = fitted(frame, [("Y", "Z")], 2, n_init=0)
    found = fit.graph_check(tiers=[["Y"], ["Z"], ["A"], ["B", "C"]], forbidden=[("B", "C")])
    tried = {one.edge for one in found}
    assert "Y -> A" not in tried
    assert "A -> B" in tried
    (said,) = [one for one in found.doubts if one.startswith("not tried")]
    assert "Y -> A, Y -> B, Y -> C; without the rows that lack them" in said


def test_the_command_takes_numbers(planted, tmp_path):
    path = tmp_path / "t.csv"
    planted[["A", "B", "X", "Y"]][:800].to_csv(path, index=False)
    tiers = [flag for name in ("A,B", "X", "Y") for flag in ("--tiers", name)]
    edges = [flag for edge in ("X->Y", "A->Y", "B->Y") for flag in ("--edge", edge)]
    code, out, _ = call("graph", path, "-k", 2, *edges, *tiers, "--forbidden", "A->B",
                        "--treatment", "X", "--outcome", "Y", "--json", "-q")  # fmt: skip
    assert code == 0
    found = json.loads(out)
    assert found["effect"] == pytest.approx(1.0, abs=0.4)
    assert {one["action"] for one in found["changes"]} <= {"add", "drop", "untestable"}


def test_a_search_says_what_to_do_with_numbers(planted):
    with pytest.raises(px.DataError, match=r"numbers in \['Y', 'Z'\]; discretize="):
        px.discover(planted, 2)
    cut = {"Y": "quantile:2", "Z": "quantile:2"}
    found = px.discover(planted[["A", "X", "Y", "Z"]], 1, discretize=cut, n_starts=1)
    assert set(found.spec.variables) == {"A", "X", "Y", "Z"}
