"""How many sources a table with numbers shows."""

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import pyromix as px
from pyromix.criticism.effects_by_k import effect_lines, effects_by_k
from pyromix.criticism.mixed_selection import _scores
from pyromix.data.folds import dealt
from pyromix.fitting.mixed.engine import fit_mixed
from pyromix.fitting.mixed.intake import with_numbers


def drawn(n, seed=0):
    g = np.random.default_rng(seed)
    u = g.random(n) < 0.4
    frame = pd.DataFrame({"X": 2.5 * u + g.normal(size=n), "W": 3 * u + g.normal(size=n)})
    frame["Y"] = 0.5 * frame["X"] - 2.5 * u + g.normal(size=n)
    frame["C"] = np.where(g.random(n) < 0.2 + 0.6 * u, "yes", "no")
    return frame


GRAPH = nx.DiGraph([("U", v) for v in "XWYC"] + [("X", "Y")])
GRAPH.nodes["U"]["latent"] = True


@pytest.fixture(scope="module")
def selection():
    return px.select_n_sources(GRAPH, drawn(600), [1, 2], n_folds=2, n_init=1)


def test_all_criteria_find_the_two_sources_that_made_the_table(selection):
    assert set(selection.choices.values()) == {2}
    assert selection.agree
    assert selection.candidates[0].rank_p_value < 1e-6 < selection.candidates[1].rank_p_value
    assert [c.identified for c in selection.candidates] == ["yes", "yes"]
    assert [c.bic for c in selection.candidates] == [fit.bic for fit in selection.fits]
    frame = selection.to_frame()
    assert (frame["caic"] - frame["bic"] == frame["n_parameters"]).all()


def test_the_effect_under_each_number_of_sources(selection):
    one, two = (at.found for at in effects_by_k(selection, "X", "Y", contrast=(0, 1)))
    frame = drawn(600)
    assert float(one) == pytest.approx(np.polyfit(frame["X"], frame["Y"], 1)[0], abs=0.01)
    assert float(two) == pytest.approx(0.5, abs=0.15)
    title, _, first, _ = effect_lines(effects_by_k(selection, "X", "Y", contrast=(0, 1)))
    assert title == "mean of Y, X=1 less X=0"
    assert first.split()[0] == "1"
    assert f"{float(one):+.4f}" in first


def test_held_out_rows_are_scored_by_the_others():
    """One source: a line, two bells and a table, learned from the other fold; scipy's densities."""
    frame = drawn(400, seed=1)
    fit = fit_mixed(with_numbers(GRAPH, frame, 1, None, None, None), 1)
    mine, others = dealt(fit.records, 2, 0)
    got = _scores(fit.mixture, fit.records, others[0], mine[0], torch.Generator())
    held = mine[0].numpy() > 0
    rest, own = frame[~held], frame[held]
    line = np.polyfit(rest["X"], rest["Y"], 1)
    off = rest["Y"] - np.polyval(line, rest["X"])
    wanted = stats.norm.logpdf(own["Y"], np.polyval(line, own["X"]), off.std(ddof=0))
    for name in "XW":
        wanted = wanted + stats.norm.logpdf(own[name], rest[name].mean(), rest[name].std(ddof=0))
    wanted = wanted + np.log(own["C"].map(rest["C"].value_counts(normalize=True)).to_numpy())
    assert got.numpy() == pytest.approx(wanted, abs=0.02)


def test_what_only_the_shape_of_noise_tells_does_not_stand_for_election():
    """THEORY 18.6: skewed noise, no confounding; likelihood would choose two sources."""
    g = np.random.default_rng(0)
    x = g.gamma(2.0, size=500)
    frame = pd.DataFrame({"X": x, "Y": 0.5 * x + g.gamma(2.0, size=500)})
    graph = nx.DiGraph([("U", "X"), ("U", "Y"), ("X", "Y")])
    graph.nodes["U"]["latent"] = True
    found = px.select_n_sources(graph, frame, [1, 2], n_folds=2, n_init=1)
    one, two = found.candidates
    assert two.bic < one.bic
    assert two.held_out > one.held_out
    assert (one.identified, two.identified) == ("yes", "shape")
    assert set(found.choices.values()) == {1}
    assert "shape: only the shape of the noise would tell so many sources" in str(found)
    assert "the chosen k does not give 'X', 'Y' the shape of the table" in str(found)


@pytest.mark.parametrize(
    "option", [{"prior": 1.0}, {"checkpoint": "kept.pyromix"}, {"method": "moments"}]
)
def test_options_that_numbers_do_not_have_are_refused(option):
    with pytest.raises(px.QueryError, match="with numbers"):
        px.select_n_sources(GRAPH, drawn(60), [1], **option)


def test_columns_can_be_cut_and_have_kinds():
    cut = px.select_n_sources(
        drawn(200)[["X", "W", "C"]], [1], discretize=dict.fromkeys("XW", "quantile:3"), n_folds=2
    )
    assert cut.fits[0].spec.states_of(0) is not None
    frame = pd.DataFrame({"n": [0, 1, 2, 1, 4, 0, 2, 7] * 5, "c": list("abababba") * 5})
    kept = px.select_n_sources(frame, [1], kinds={"n": "count"}, n_folds=2)
    assert kept.fits[0].spec.kinds[kept.fits[0].spec.vertex("n")] == "count"
