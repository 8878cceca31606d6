"""Effects in two steps (THEORY section 18.6, E28): populations as weighted rows, plain loops."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from mixed_truths import random_mixed_spec
from scipy.optimize import brentq
from scipy.special import roots_genlaguerre
from scipy.stats import norm

import pyromix as px
from pyromix.answers.mixed.corrected import Asked, corrected, mistakes_of
from pyromix.answers.mixed.items import adjusted_for, items_for
from pyromix.answers.mixed.two_step import asked_of, check_question
from pyromix.answers.mixed.weighing import Weighing
from pyromix.data.counts import Counts
from pyromix.fitting import engine
from pyromix.fitting.mixed.engine import bins_of
from pyromix.model.kind import Kind
from pyromix.model.mixed import MixedSpec
from pyromix.model.status import Status

pytestmark = pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")

SHIFT, SLOPE, LIFT = 1.2, 0.5, 1.4
"""18.6's law: views and X are SHIFT u + N(0, 1), Y is SLOPE X + LIFT u + N(0, 1), P(u) = 1/2.

It is the one with one decimal that has .737, .663 and .520 for posterior weights and .808 naive.
"""


def quartiles(second: float = 0.5) -> np.ndarray:
    """P(quartile of a view | u), ``(2, 4)``, where the second source has this weight."""

    def below(t):
        return (1 - second) * norm.cdf(t) + second * norm.cdf(t - SHIFT)

    cuts = [brentq(lambda t, q=q: below(t) - q, -9, 9) for q in (0.25, 0.5, 0.75)]
    edges = np.array([-np.inf, *cuts, np.inf])
    return np.stack([np.diff(norm.cdf(edges - SHIFT * u)) for u in (0, 1)])


def population(nodes: np.ndarray, masses: np.ndarray, second: float = 0.5) -> pd.DataFrame:
    """Every row of 18.6's law with its probability, noise on nodes of mean 0 and variance 1."""
    bins, rows = quartiles(second), []
    for u, *cells in itertools.product((0, 1), range(4), range(4), range(4)):
        p = bins[u, cells].prod() * (second if u else 1 - second)
        x = SHIFT * u + nodes
        for i, j in itertools.product(range(len(nodes)), repeat=2):
            y = SLOPE * x[i] + LIFT * u + nodes[j]
            rows.append((*cells, x[i], y, p * masses[i] * masses[j]))
    return pd.DataFrame(rows, columns=[*"ABC", "X", "Y", "p"])


def hermite(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes whose first 2 n - 1 moments are those of N(0, 1)."""
    nodes, masses = np.polynomial.hermite_e.hermegauss(n)
    return nodes, masses / masses.sum()


def skewed(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes whose first 2 n - 1 moments are those of a gamma law, standardised."""
    nodes, masses = roots_genlaguerre(n, 1.0)
    return (nodes - 2) / np.sqrt(2), masses / masses.sum()


def slope_of(x, y, weights) -> float:
    """Least squares, weights of any sign."""
    mean_x, mean_y = (weights @ v / weights.sum() for v in (x, y))
    return weights @ ((x - mean_x) * (y - mean_y)) / (weights @ (x - mean_x) ** 2)


def line(frame: pd.DataFrame) -> Asked:
    x, y = (torch.tensor(frame[c].to_numpy()) for c in "XY")
    cell = torch.zeros(len(frame), dtype=torch.long)
    design = torch.stack([torch.ones_like(x), x], 1)
    return Asked(design, y, cell, cell, torch.zeros(2, 1, dtype=torch.long), 1, (0.0, 1.0))


def test_the_slopes_of_18_6_at_the_population():
    """E28, exactly: second moments of normal noise are those of three nodes."""
    rows = population(*hermite(3))
    x, y, p = (rows[c].to_numpy() for c in ("X", "Y", "p"))
    joint = quartiles()[:, rows[list("ABC")].to_numpy()].prod(-1).T
    shares = joint / joint.sum(1, keepdims=True)
    assert slope_of(x, y, p) == pytest.approx(0.8088, abs=5e-5)
    by_posterior = [slope_of(x, y, p * shares[:, u]) for u in (0, 1)]
    assert by_posterior == pytest.approx([0.737, 0.737], abs=5e-4)
    found = corrected(torch.tensor(shares), torch.tensor(p), line(rows))
    assert found.status is Status.OK
    assert float(found.difference) == pytest.approx(0.5, abs=1e-12)
    assert found.weights.tolist() == pytest.approx([0.5, 0.5], abs=1e-12)
    # E[Y | do(X = 0)] within a source, times P(U).
    assert found.arms[0].tolist() == pytest.approx([0.0, LIFT / 2], abs=1e-12)


def test_no_slope_is_mixed_where_one_source_is_rarer():
    """D is not symmetric then."""
    rows = population(*hermite(3), second=0.2)
    joint = quartiles(0.2)[:, rows[list("ABC")].to_numpy()].prod(-1).T * [0.8, 0.2]
    shares = torch.tensor(joint / joint.sum(1, keepdims=True))
    found = corrected(shares, torch.tensor(rows["p"].to_numpy()), line(rows))
    assert found.weights.tolist() == pytest.approx([0.8, 0.2], abs=1e-12)
    assert (found.arms[1] - found.arms[0]).tolist() == pytest.approx([0.4, 0.1], abs=1e-12)
    assert found.arms[0].tolist() == pytest.approx([0.0, 0.2 * LIFT], abs=1e-12)


@pytest.fixture(scope="module")
def skew():
    rows = population(*skewed(5))
    graph = nx.DiGraph([("X", "Y")])
    graph.add_nodes_from("ABC")
    kinds = {"X": "real", "Y": "real"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return px.fit(
            graph, rows.drop(columns="p"), 2, kinds=kinds, n_init=0,
            sample_weight=30_000 * rows["p"].to_numpy(),
        )  # fmt: skip


def test_skewed_noise_bends_em_and_not_two_steps(skew):
    found = skew.two_step("X", "Y", contrast=(1.0, 3.0))
    assert abs(found.em - 2 * SLOPE) > 0.06
    assert found.value == pytest.approx(2 * SLOPE, abs=2e-3)
    assert found.per_source == pytest.approx([2 * SLOPE] * 2, abs=0.02)
    assert abs(found.distance) > 3
    assert found.p_value < 1e-3
    assert found.status is Status.OK
    assert [skew.spec.name(v) for v in found.views] == ["A", "B", "C"]
    assert "more than the laws that EM assumes allow" in str(found)
    low, high = found.interval()
    assert low < 2 * SLOPE < high < found.interval(0.99)[1]
    direct = skew.effect("X", "Y", contrast=(1.0, 3.0))
    assert found.em == pytest.approx(float(direct), abs=1e-12)
    assert found.em_error == pytest.approx(float(direct.spread.errors[0]), rel=1e-9)


def test_what_a_row_adds_by_fitting_again_with_more_of_it(skew):
    """Standard errors are made of these derivatives, step one included."""
    g = np.random.default_rng(0)
    fit, pair = skew, (0.0, 1.0)
    some = torch.from_numpy(g.choice(fit.records.n_rows, 300, replace=False)).sort().values
    records = replace(fit.records.only(some), weights=torch.ones(300, dtype=torch.float64))
    fit = replace(fit, table=records)
    x, y = fit.spec.vertex("X"), fit.spec.vertex("Y")
    items = items_for(fit.spec, (x, y))
    codes = bins_of(fit.spec, records, fit.edges)[:, list(items.vertices)]
    kept = torch.ones(300, dtype=torch.bool)
    kept[::7] = False
    asked, _ = asked_of(fit, (x, y), pair, kept)

    def again(weights):
        counts = Counts.from_codes(items.classes, codes, weights)
        first = engine.fit(
            items.classes, counts, 2, prior=1.0, method="em", n_init=1, tol=1e-15,
            max_iter=20_000, show_progress=False,
        )  # fmt: skip
        return Weighing(first, items, codes).answer(weights, kept, asked)

    found, slopes = again(records.weights)
    assert found.status is Status.OK
    for row in (0, 100, 200):
        more = []
        for sign in (1, -1):
            weights = records.weights.clone()
            weights[row] += sign * 0.02
            more.append(float(again(weights)[0].difference))
        assert (more[0] - more[1]) / 0.04 == pytest.approx(float(slopes[row]), rel=2e-3, abs=1e-6)


def test_cells_and_arms_against_a_loop():
    g = np.random.default_rng(1)
    n, k = 4000, 3
    u = g.integers(k, size=n)
    shares = np.full((n, k), 0.1)
    shares[np.arange(n), np.where(g.random(n) < 0.7, u, g.integers(k, size=n))] = 0.8
    weights = g.uniform(0.5, 2.0, n)
    cell, arm = g.integers(2, size=n), g.integers(-1, 2, size=n)
    p = g.normal(size=n) + u
    y = u + 0.7 * arm * (1 + cell) + 0.4 * p + g.normal(size=n)
    group = np.where(arm < 0, -1, 2 * cell + arm)
    asked = Asked(
        torch.tensor(np.stack([np.ones(n), p], 1)), torch.tensor(y), torch.tensor(cell),
        torch.tensor(group), torch.tensor([[0, 2], [1, 3]]), -1, (0.0, 0.0),
    )  # fmt: skip
    found = corrected(torch.tensor(shares), torch.tensor(weights), asked)
    mistakes = mistakes_of(torch.tensor(shares), torch.tensor(weights)).numpy()
    counted = weights[:, None] * shares @ np.linalg.inv(mistakes) / weights.sum()
    expected = np.zeros((2, k))
    for a, c, j in itertools.product(range(2), range(2), range(k)):
        here, own = cell == c, (cell == c) & (arm == a)
        z, w = np.stack([np.ones(n), p], 1), counted[:, j]
        beta = np.linalg.solve((z[own].T * w[own]) @ z[own], (z[own].T * w[own]) @ y[own])
        expected[a, j] += (w[here] @ z[here]) @ beta
    assert found.status is Status.OK
    assert found.arms.numpy() == pytest.approx(expected, abs=1e-10)


def test_status_where_sources_are_not_told_apart_or_moments_are_of_no_rows():
    rows = population(*hermite(3))
    p, asked = torch.tensor(rows["p"].to_numpy()), line(rows)
    even = torch.full((len(rows), 2), 0.5, dtype=torch.float64)
    assert corrected(even, p, asked).status is Status.MERGED
    # Rows of the second source all have the X of their mistakes: less than no variance is left.
    x = asked.design[:, 1]
    wild = torch.where(x > 1, 0.75, 0.25).double()
    assert corrected(torch.stack([wild, 1 - wild], 1), p, asked).status is Status.TOO_FEW_ROWS


def test_items_are_independent_of_the_question_and_of_each_other():
    some = unheld = 0
    for seed in range(40):
        spec = random_mixed_spec(seed, 9, 2, edges=1.5)
        x, y = spec.vertex("X"), spec.vertex("Y")
        held = adjusted_for(spec, x, y)
        unheld += len(spec.parents[x]) - len(held)
        graph = spec.binned.graph()
        graph.remove_edges_from([(x, child) for child in spec.binned.children[x]])
        assert nx.is_d_separator(graph, {x}, {y}, set(held))
        named = {x, y, *held}
        try:
            items = items_for(spec, named)
        except px.PlanError:
            assert not any(spec.binned.d_separated([v], named) for v in set(range(9)) - named)
            continue
        some += 1
        assert items.views
        assert spec.binned.d_separated(items.views, named)
        for a, b in itertools.combinations(items.vertices, 2):
            assert spec.binned.d_separated([a], [b])
        assert set(items.classes.coarse) == {
            i for i, v in enumerate(items.vertices) if spec.kind(v).numeric
        }
    assert some > 20
    assert unheld > 10


def network(parents: dict[str, list[str]], **kinds: str) -> MixedSpec:
    states = {name: ["a", "b", "c"] for name in kinds}
    numbers = [name for name, kind in kinds.items() if kind != "categorical"]
    binned = px.MixtureSpec.from_parents(states, parents, 2, coarse=numbers)
    return MixedSpec(binned, tuple(Kind(kinds[name]) for name in binned.variables))


@pytest.mark.parametrize(
    ("parents", "kinds", "said"),
    [
        ({"Y": ["X"]}, {"X": "real", "Y": "categorical"}, "means of a number"),
        ({"X": ["Y"]}, {"X": "real", "Y": "real"}, "'Y' is a cause of 'X'"),
        ({"Y": ["X"]}, {"X": "real", "Y": "positive"}, "'Y' of kind 'positive'"),
        ({"Y": ["X"]}, {"X": "hurdle", "Y": "real"}, "'X' of kind 'hurdle'"),
        ({"Y": ["X"]}, {"X": "count", "Y": "real"}, None),
        ({"Y": ["X"]}, {"X": "positive", "Y": "real"}, None),
        (
            {"M": ["X"], "Y": ["M"]},
            {"X": "real", "M": "categorical", "Y": "real"},
            "'M' of kind 'categorical'",
        ),
        (
            {"X": ["P"], "M": ["P"], "Y": ["X", "M"]},
            {"P": "real", "X": "categorical", "M": "categorical", "Y": "student-t"},
            "'M' of kind 'categorical'",
        ),
        (
            {"P": ["N"], "X": ["P"], "Y": ["X", "N"]},
            {"N": "real", "P": "real", "X": "categorical", "Y": "real"},
            "'N' of kind 'real'",
        ),
        (
            {"P": ["N"], "X": ["P"], "M": ["P"], "Y": ["X", "N", "M"]},
            {"N": "real", "P": "real", "X": "real", "M": "categorical", "Y": "real"},
            None,
        ),
        ({"Y": ["X"]}, {"X": "categorical", "Y": "hurdle"}, None),
        ({"X": ["P"], "Y": ["X", "P"]}, {"P": "real", "X": "categorical", "Y": "real"}, None),
        ({"X": ["C"], "Y": ["X", "C"]}, {"C": "categorical", "X": "real", "Y": "real"}, None),
    ],
)
def test_what_means_and_lines_do_not_answer(parents, kinds, said):
    spec = network(parents, **kinds)
    x, y = spec.vertex("X"), spec.vertex("Y")
    if said is None:
        check_question(spec, x, y)
        return
    with pytest.raises(px.QueryError, match=said):
        check_question(spec, x, y)


def test_without_a_view_it_says_so():
    spec = network({"X": ["A"], "Y": ["X"]}, A="categorical", X="real", Y="real")
    with pytest.raises(px.PlanError, match="independent of 'A', 'X', 'Y'"):
        items_for(spec, range(3))


def test_a_report_tells_both(skew):
    found = skew.two_step("X", "Y", contrast=(0.0, 1.0))
    asked = {"treatment": "X", "outcome": "Y", "contrast": (0.0, 1.0), "show": False}
    report = skew.report(two_step=found, **asked)
    assert report.section("two_step").numbers["value"] == found.value
    assert any("leans on no law of noise" in doubt for doubt in report.letter.doubts)
    with pytest.raises(px.QueryError, match="two_step must be what"):
        skew.report(two_step=0.5, **asked)
