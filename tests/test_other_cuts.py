"""An effect where columns of numbers are cut elsewhere."""

from __future__ import annotations

from types import SimpleNamespace

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from test_cli import call

import pyromix as px
from pyromix.criticism.other_cuts import recut
from pyromix.data.cut_points import merged_states, other_cuts
from pyromix.estimate.pooled_prior import choice_of
from pyromix.fitting.warm import fit_from
from pyromix.report.facts.question import find_question
from pyromix.report.sections.answers import sensitivity_section

pytestmark = pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")

GRAPH = nx.DiGraph([("X", "Y"), ("age", "Y")])
GRAPH.add_node("Z")


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    u = rng.random(900) < 0.4
    age = rng.normal(50 + 12 * u, 10)
    x = (rng.random(900) < np.where(u, 0.75, 0.25)) * 1
    y = (rng.random(900) < 0.15 + 0.3 * x + 0.3 * u + 0.1 * (age > 55)) * 1
    z = (rng.random(900) < np.where(u, 0.85, 0.2)) * 1
    age[:30] = np.nan
    weight = rng.integers(1, 3, 900)
    return pd.DataFrame({"age": age, "X": x, "Y": y, "Z": z, "w": weight})


def fitted(table: pd.DataFrame, **options) -> px.MixtureFit:
    cut = options.pop("discretize", {"age": "quantile:3"})
    options = {"sample_weight": "w", "prior": None, "n_init": 2, **options}
    return px.fit(GRAPH, table, 2, discretize=cut, show_progress=False, **options)


@pytest.fixture(scope="module")
def fit(table) -> px.MixtureFit:
    return fitted(table)


@pytest.fixture(scope="module")
def found(table, fit):
    return fit.sensitivity("Y", {"X": [0, 1]}, n_starts=0, data=table, sample_weight="w")


def test_cut_points_move_by_a_quarter_of_the_rows_and_quantiles_stay_quantiles():
    values = torch.arange(1200, dtype=torch.float64)
    found = dict(other_cuts([400.0, 800.0], values))
    assert found == {
        "lower": (300.0, 700.0),
        "higher": (500.0, 900.0),
        "a state less": (600.0,),
        "a state more": (300.0, 600.0, 900.0),
    }
    # a median has no state to lose; heaps of equal numbers leave no other place
    assert [words for words, _ in other_cuts([600.0], values)] == [
        "lower",
        "higher",
        "a state more",
    ]
    assert other_cuts([1.0], torch.tensor([0.0, 1.0]).repeat(50).double()) == []


def test_states_between_fine_edges_lie_between_the_coarse_ones():
    assert merged_states([1.0, 2.0, 3.0, 4.0], [2.0, 4.0]).tolist() == [0, 0, 1, 1, 2]


def test_other_cut_points_are_those_of_a_fit_of_its_own(table, found):
    """EM from the sources of the fit ends where a fit to the table cut there ends."""
    cuts = [v for v in found.variations if v.kind == "cuts"]
    assert [v.words.split(" (")[1] for v in cuts] == [
        "lower)", "higher)", "a state less)", "a state more)"
    ]  # fmt: skip
    for v in (cuts[0], cuts[3]):
        states = v.answer.spec.states[v.answer.spec.vertex("age")]
        edges = [float(s.split("-")[0].rstrip("+")) for s in states[1:]]
        own = fitted(table, discretize={"age": edges}).effect("X", "Y")
        assert float(v.difference) == pytest.approx(float(own.do), abs=2e-5)
        np.testing.assert_allclose(v.difference.interval(), own.do.interval(), atol=2e-4)


def test_the_difference_of_two_scenarios_is_the_effect(fit, found):
    effect, framed = fit.effect("X", "Y"), found.differences()
    first = framed[(framed["kind"] == "fit") & (framed["state"] == 1)].iloc[0]
    assert first["difference"] == pytest.approx(float(effect.do))
    low, high = effect.do.interval()
    assert (first["low"], first["high"]) == pytest.approx((low[1], high[1]))


def test_the_largest_change_is_that_of_the_table_printed(found):
    cuts = found.of("cuts")
    framed = cuts.differences()
    values = framed[framed["state"] == 1]["difference"].to_numpy()
    most = abs(values - values[0]).max()
    assert cuts.largest_change_of_difference == pytest.approx(most)
    assert 0 < most < 0.1
    assert f"other cut points change the difference by {most:.4f} at most" in str(found)
    for v in cuts.variations:
        assert f"{v.words} " in str(found)


def test_states_in_the_question_are_those_of_the_same_place(table, fit):
    low, middle, high = fit.spec.states[fit.spec.vertex("age")]
    moved, _, fewer, more = recut(fit, table, "w")
    spread = [{low: 0.5, middle: 0.5}, high]
    assert moved.asked(("Y", {"age": spread}, {"X": 1})) == (
        "Y", {"age": [{moved.after[0]: 0.5, moved.after[1]: 0.5}, moved.after[2]]}, {"X": 1}
    )  # fmt: skip
    for other in (fewer, more):
        ends = ("Y", {"age": [other.after[0], other.after[-1]]}, None)
        assert other.asked(("Y", {"age": [low, high]}, None)) == ends
        with pytest.raises(px.QueryError, match="no counterpart among"):
            other.asked(("Y", None, {"age": middle}))
        with pytest.raises(px.QueryError, match="every state of 'age'"):
            other.asked((["age"], {"X": 1}, None))


def test_a_table_that_cannot_be_cut_again_is_refused_by_name(table, fit):
    def asked(data, **options):
        return fit.sensitivity("Y", {"X": 1}, n_starts=0, data=data, **options)

    with pytest.raises(px.DataError, match="found another one"):
        asked(table)  # without its weights
    with pytest.raises(px.DataError, match="found another one"):
        asked(table.head(500), sample_weight="w")
    with pytest.raises(px.DataError, match="'age' as it was before it was cut"):
        asked(table.assign(age="<47"), sample_weight="w")
    with pytest.raises(px.DataError, match="found a Counts"):
        asked(fit.counts)
    plain = px.fit(GRAPH.subgraph("XYZ"), table, 2, n_init=1, show_progress=False)
    with pytest.raises(px.QueryError, match="no variable of this fit was cut"):
        plain.sensitivity("Y", {"X": 1}, n_starts=0, data=table)
    with pytest.raises(px.QueryError, match="two scenarios"):
        fit.sensitivity("Y", {"X": 1}, n_starts=0).differences()


def test_a_fit_that_goes_on_from_itself_under_its_choice_of_prior_stays(table):
    own = fitted(table, prior="pooled")
    choice = choice_of(own.chosen_prior.choice)
    assert choice is not None
    again = fit_from(own.mixture, own.counts, choice, torch.Generator())
    assert again.log_likelihood == pytest.approx(own.log_likelihood, abs=1e-5)
    assert again.chosen_prior.words == own.chosen_prior.words
    for one, other in zip(again.mixture.cpts, own.mixture.cpts, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


def test_without_the_numbers_it_is_said_that_cut_points_were_not_varied(fit):
    assert "where age was cut was not varied" in str(fit.sensitivity("Y", {"X": 1}, n_starts=0))


def test_rows_with_gaps_that_were_dropped_stay_dropped(table):
    other = fitted(table, missing="drop", n_init=1)
    found = other.sensitivity("Y", {"X": 1}, n_starts=0, data=table, sample_weight="w").of("cuts")
    assert all(v.found for v in found.variations)


def test_the_report_tells_it_and_the_command_line_asks_for_it(table, fit, found, tmp_path):
    asked = find_question(fit, "X", "Y")
    subject = SimpleNamespace(fit=fit, question=asked, sensitivity=found, effects=None)
    cuts = sensitivity_section(subject).tables[1]
    assert [row[0] for row in cuts.rows[1:]] == [v.words for v in found.of("cuts").variations[1:]]
    # Of both states, which change by as much, the first is told.
    assert cuts.rows[2][1] == f"{found.of('cuts').variations[2].difference.values[0]:+.3f}"
    with pytest.raises(px.QueryError, match="needs a treatment"):
        fit.report(data=table, show=False)
    fit.save(tmp_path / "f.pyromix")
    table.to_csv(tmp_path / "d.csv", index=False)
    asked = ("report", tmp_path / "f.pyromix", "--treatment", "X", "--outcome", "Y", "-q")
    code, _, err = call(*asked, "--data", tmp_path / "d.csv")  # without its weights
    assert code != 0
    assert "--data: expected the table that was fitted" in err
    code, _, err = call(*asked, "--data", tmp_path / "d.csv", "--no-sensitivity")
    assert code != 0
    assert "needs a treatment, an outcome, --sensitivity, and" in err
    assert "leave --data out" in err
