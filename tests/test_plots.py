"""Plots: what is drawn equals what the fit says; labels, limits, numbers of artists; no pixels."""

from __future__ import annotations

import os

import matplotlib
import networkx as nx
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

import pyromix as px
from pyromix.errors import NotCertifiedError, QueryError
from pyromix.report.kinds import PLOT_KINDS
from pyromix.report.plots.layout import has_graphviz, in_layers, lay_out, n_crossings
from pyromix.report.plots.palette import VERMILION


@pytest.fixture(scope="module")
def fit() -> px.MixtureFit:
    model, frame, _ = px.datasets.load("hidden-group")
    return px.fit(model, frame, 2, n_init=2, prior=None)


@pytest.fixture(scope="module")
def asia() -> px.MixtureFit:
    model, frame, _ = px.datasets.load("asia")
    return px.fit(model, frame, 2, n_init=1, prior=None)


@pytest.fixture(scope="module")
def one() -> px.MixtureFit:
    model, frame, _ = px.datasets.load("hidden-group")
    return px.fit(model, frame, 1, prior=None)


def texts(ax: Axes) -> list[str]:
    return [t.get_text() for t in ax.texts]


@pytest.mark.parametrize("kind", PLOT_KINDS)
def test_every_kind_has_a_title_and_labels(fit, kind):
    ax = fit.plot(kind)
    assert isinstance(ax, Axes)
    assert ax.get_title()
    if kind != "network":
        assert ax.get_xlabel()
        assert ax.get_ylabel()
    ax.figure.canvas.draw()


def test_plots_leave_pyplot_and_settings_alone(fit):
    from matplotlib import pyplot

    figures, before = pyplot.get_fignums(), dict(matplotlib.rcParams)
    fit.plot("network")
    fit.plot("effect")
    fit.report(show=False, sensitivity=False).to_html()
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == figures


def test_given_axes_are_drawn_on(fit):
    ax = Figure().add_subplot()
    note = ax.text(0, 0, "$x^2$")
    assert fit.plot("trace", ax=ax) is ax
    assert note.get_parse_math()
    assert not ax.title.get_parse_math()  # where a name may hold a dollar sign
    with pytest.raises(QueryError, match="matplotlib Axes"):
        fit.plot("trace", ax=3)


def test_an_unknown_kind_names_near_ones(fit):
    with pytest.raises(QueryError, match="did you mean 'spectrum'"):
        fit.plot("spektrum")


# -- network -------------------------------------------------------------------------------------


def test_network_names_every_variable_its_view_and_its_part_in_the_effect(asia):
    ax = asia.plot("network")
    found = {text.split("\n")[0]: text.split("\n")[1:] for text in texts(ax)}
    assert set(found) == {*asia.spec.variables, "U"}
    run = asia.diagnostics.moments[0].runs[0]
    for number, view in enumerate(run.views, 1):
        for name in view:
            assert f"view {number}" in found[name]
    assert all("given" in found[name] for name in run.given)
    assert "treatment" in found["smoke"]
    assert "outcome" in found["lung"]


def test_network_draws_an_arrow_per_edge_and_those_of_the_source_dashed(asia):
    arrows = [p for p in asia.plot("network").patches if isinstance(p, FancyArrowPatch)]
    dashed = [a for a in arrows if a.get_linestyle() not in ("-", "solid")]
    assert len(dashed) == asia.spec.n_variables - len(asia.spec.uninfluenced)
    assert len(arrows) - len(dashed) == asia.spec.graph().number_of_edges()


def test_network_marks_the_treatment_that_is_asked_for(asia):
    ax = asia.plot("network", treatment="bronc", outcome="dysp")
    edges = {
        t.get_text().split("\n")[0]: to_hex(t.get_bbox_patch().get_edgecolor()) for t in ax.texts
    }
    marked = {name for name, colour in edges.items() if colour.upper() == VERMILION}
    assert marked == {"bronc", "dysp"}
    with pytest.raises(QueryError, match="did you mean 'bronc'"):
        asia.plot("network", treatment="bronk", outcome="dysp")


def test_network_of_many_variables_tells_the_edges_of_the_source():
    spec = px.MixtureSpec.from_parents({f"x{i}": (0, 1) for i in range(20)}, {"x1": ["x0"]}, 2)
    frame = px.simulate(px.random_mixture(spec, 0, separation=0.5), 400, random_state=0)
    ax = px.fit(spec, frame, n_init=1, prior=None, method="em", max_iter=2000).plot("network")
    assert "to every variable, are not drawn" in ax.get_title()
    assert len([p for p in ax.patches if isinstance(p, FancyArrowPatch)]) == 1


def test_all_of_a_network_lies_inside_the_limits(asia):
    ax = asia.plot("network")
    (left, right), (bottom, top) = ax.get_xlim(), sorted(ax.get_ylim())
    for text in ax.texts:
        x, y = text.get_position()
        assert left < x < right
        assert bottom < y < top


def test_layers_put_children_under_parents_without_needless_crossings():
    graph = nx.DiGraph([(0, 3), (1, 2), (0, 4), (3, 5), (2, 6), (0, 6)])
    layout = in_layers(graph)
    for a, b in graph.edges:
        assert layout.places[a][1] < layout.places[b][1]
    layers: dict[float, list] = {}
    for v, (_, y) in sorted(layout.places.items(), key=lambda item: item[1][0]):
        layers.setdefault(y, []).append(v)
    tree = nx.balanced_tree(3, 3, create_using=nx.DiGraph)
    places = in_layers(tree).places
    rows: dict[float, list] = {}
    for v, (_, y) in sorted(places.items(), key=lambda item: item[1][0]):
        rows.setdefault(y, []).append(v)
    assert n_crossings([rows[y] for y in sorted(rows)], list(tree.edges)) == 0


def test_crossings_are_counted():
    assert n_crossings([[0, 1], [2, 3]], [(0, 3), (1, 2)]) == 1
    assert n_crossings([[0, 1], [2, 3]], [(0, 2), (1, 3)]) == 0


def test_graphviz_is_used_where_it_is_installed(tmp_path, monkeypatch):
    program = tmp_path / "dot"
    program.write_text(
        "#!/bin/sh\ncat > /dev/null\n"
        "printf 'graph 1 2 2\\nnode 0 0.5 1.5 1 1\\nnode 1 1.5 0.5 1 1\\nedge 0 1 4\\nstop\\n'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    pytest.importorskip("graphviz")
    assert has_graphviz()
    layout = lay_out(nx.DiGraph([(0, 1)]))
    assert layout.places[0][1] < layout.places[1][1]
    assert layout.bends == {(0, 1): ()}


# -- spectrum ------------------------------------------------------------------------------------


def test_spectrum_draws_the_singular_values_the_signal_and_the_floor(fit):
    run, ax = fit.diagnostics.moments[0].runs[0], fit.plot("spectrum")
    values, signal = ([list(line.get_ydata()) for line in ax.lines if len(line.get_xdata()) >= 1
                       and line.get_marker() == m] for m in ("o", "D"))  # fmt: skip
    assert values == [pytest.approx(run.singular_values)]
    assert signal == [[run.signal]]
    assert ax.lines[0].get_ydata()[0] == run.noise_floor
    band = next(p for p in ax.patches if isinstance(p, Rectangle))
    assert band.get_height() == pytest.approx(run.noise_floor)
    assert band.get_hatch()
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylim()[1] > run.singular_values[0]


def test_spectrum_of_a_fit_without_moments_looks_at_its_table(fit):
    model, frame, _ = px.datasets.load("hidden-group")
    other = px.fit(model, frame, 2, method="em", n_init=3, prior=None)
    signal = [line.get_ydata()[0] for line in other.plot("spectrum").lines if
              line.get_marker() == "D"]  # fmt: skip
    assert signal == [pytest.approx(fit.diagnostics.moments[0].runs[0].signal)]


def test_spectrum_says_why_there_is_none(one, fit, tmp_path):
    with pytest.raises(QueryError, match="one source"):
        one.plot("spectrum")
    model, frame, _ = px.datasets.load("hidden-group")
    px.fit(model, frame, 2, method="em", n_init=3, prior=None).save(
        tmp_path / "bare.pyromix", include_data=False
    )
    with pytest.raises(QueryError, match="neither a moment stage nor a table"):
        px.load(tmp_path / "bare.pyromix").plot("spectrum")


def test_singular_values_survive_a_bundle(fit, tmp_path):
    fit.save(tmp_path / "a.pyromix")
    again = px.load(tmp_path / "a.pyromix")
    assert again.diagnostics == fit.diagnostics
    assert again.diagnostics.random_state == "0"


# -- sources -------------------------------------------------------------------------------------


def test_sources_draws_margins_with_the_largest_difference_first(asia):
    ax = asia.plot("sources")
    table = ax.images[0].get_array()
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert table.shape == (8, 2)
    for row, label in zip(table, labels, strict=True):
        name, state = label.split(" = ")
        for u in (0, 1):
            answer = asia.query(name, evidence={"U": u}, require="none")
            assert row[u] == pytest.approx(answer.prob(**{name: state}))
    gaps = np.abs(table[:, 0] - table[:, 1])
    assert list(gaps) == sorted(gaps, reverse=True)
    low, high = asia.query(labels[0].split(" = ")[0], evidence={"U": 0}).interval()
    assert f"[{low[1]:.2f}, {high[1]:.2f}]" in texts(ax)[0]
    assert len(ax.texts) == 16


def test_profiles_are_one_line_per_source_through_the_states_in_their_order(asia):
    ax = asia.plot("profiles")
    names = [t.get_text().split(" = ") for t in ax.get_yticklabels()]
    assert [name for name, _ in names] == list(asia.spec.variables)
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) == len(names)]
    assert len(lines) == 2
    for u, line in enumerate(lines):
        for x, (name, state) in zip(line.get_xdata(), names, strict=True):
            answer = asia.query(name, evidence={"U": u}, require="none")
            assert x == pytest.approx(answer.prob(**{name: state}))
    low, high = asia.query(names[0][0], evidence={"U": 0}).interval()
    ends = [list(line.get_xdata()) for line in ax.get_lines() if len(line.get_xdata()) == 2]
    assert ends[0] == pytest.approx([low[1], high[1]])


# -- effect --------------------------------------------------------------------------------------


def test_effect_draws_naive_do_and_sources_with_their_intervals(fit):
    effect, ax = fit.effect("X", "Y", per_source=True), fit.plot("effect")
    points = [float(line.get_xdata()[0]) for line in ax.lines if line.get_marker() in "oDs"]
    expected = [effect.naive, effect.do, *effect.per_source]
    assert points == pytest.approx([float(d) for d in expected])
    bars = [list(line.get_xdata()) for line in ax.lines if line.get_marker() == "|"]
    assert bars == [pytest.approx([float(e[1]) for e in d.interval()]) for d in expected]
    assert [t.get_text().split("\n")[0] for t in ax.get_yticklabels()] == [
        "naive", "do", "do, U=0", "do, U=1"]  # fmt: skip
    assert "P(Y=better)" in ax.get_xlabel()


def test_effect_takes_contrast_and_state(asia):
    ax = asia.plot("effect", contrast=("no", "yes"), outcome_state="yes")
    expected = asia.effect(contrast=("no", "yes"), outcome_state="yes")
    points = [float(line.get_xdata()[0]) for line in ax.lines if line.get_marker() == "D"]
    assert points == [pytest.approx(float(expected.do))]
    assert "smoke=yes less smoke=no" in ax.get_xlabel()


def test_effect_draws_every_state_of_an_outcome_with_three():
    states = {"X": (0, 1), "Y": ("a", "b", "c"), "A": (0, 1), "B": (0, 1), "C": (0, 1)}
    spec = px.MixtureSpec.from_parents(states, {"Y": ["X"]}, 2)
    frame = px.simulate(px.random_mixture(spec, 1, separation=0.5), 3000, random_state=0)
    found = px.fit(spec, frame, n_init=2, prior=None)
    ax = found.plot("effect", treatment="X", outcome="Y")
    legend = ax.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["a", "b", "c"]
    values = found.effect("X", "Y").do.values
    drawn = [float(line.get_xdata()[0]) for line in ax.lines if len(line.get_xdata()) == 1]
    assert drawn[3:6] == pytest.approx(values)


def test_an_effect_that_is_not_determined_is_not_drawn():
    _, frame, _ = px.datasets.load("hidden-group")
    edges = nx.DiGraph([("X", "Y")])
    with pytest.warns(px.PyromixWarning):
        found = px.fit(edges, frame[["X", "Y"]], 2, n_init=2, prior=None)
    with pytest.raises(NotCertifiedError):
        found.plot("effect", treatment="X", outcome="Y")
    with pytest.raises(QueryError, match="declares neither"):
        found.plot("effect")


# -- rows, residuals, starts ---------------------------------------------------------------------


def test_responsibilities_cover_all_rows(fit):
    ax = fit.plot("responsibilities")
    assert sum(p.get_height() for p in ax.patches) == pytest.approx(1)
    _, frame, _ = px.datasets.load("hidden-group")
    mean = fit.predict_proba(frame).max(axis=1).mean()
    assert ax.lines[0].get_xdata()[0] == pytest.approx(mean)
    assert ax.get_xlim() == (0.5, 1)


def test_responsibilities_of_one_source_are_refused(one):
    with pytest.raises(QueryError, match="nothing to draw"):
        one.plot("responsibilities")


def test_residuals_are_those_of_the_predictive_check(fit):
    check, ax = fit.predictive_check(), fit.plot("residuals")
    table = ax.images[0].get_array().filled(np.nan)
    for pair in check.pairs:
        a, b = sorted(fit.spec.vertex(name) for name in pair.names)
        assert table[b, a] == pytest.approx(pair.residual)
    assert np.isfinite(table).sum() == len(check.pairs) == 6
    low, high = ax.images[0].get_clim()
    assert -low == high >= 4


def test_trace_draws_where_every_start_ended(fit):
    ends = np.array(fit.diagnostics.start_log_likelihoods)
    ax = fit.plot("trace")
    drawn = {line.get_marker(): list(line.get_ydata()) for line in ax.lines}
    assert drawn["D"] == [pytest.approx(ends[0] - ends.max())]
    assert drawn["o"] == pytest.approx(ends[1:] - ends.max())
    assert ax.get_ylim()[0] <= -1


def test_trace_of_draws_is_their_likelihood(fit):
    drawn = fit.bootstrap(n=4)
    ax = drawn.plot("trace")
    points = next(line for line in ax.lines if line.get_marker() == ".")
    assert len(points.get_ydata()) == 4
    assert max(points.get_ydata()) <= fit.log_likelihood + 1e-6
    assert "4 draws" in ax.get_title()


def test_intervals_of_draws_are_named(fit):
    assert "bootstrap" in fit.bootstrap(n=4).plot("effect").get_title()


def test_every_plot_can_be_saved_in_three_formats(fit, tmp_path):
    for ending in ("svg", "png", "pdf"):
        fit.plot("spectrum").figure.savefig(tmp_path / f"a.{ending}")
        assert (tmp_path / f"a.{ending}").stat().st_size > 1000
    assert matplotlib.rcParams["svg.hashsalt"] is None
