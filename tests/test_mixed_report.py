"""Reports and plots of fits with numbers."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from mixed_oracle import drawn_records, network, random_mixed
from test_mixed_intake import dag

import pyromix as px
from pyromix.answers.mixed import ask
from pyromix.errors import FileError, NotCertifiedError, QueryError
from pyromix.model.kind import Kind, Unit
from pyromix.model.raw_line import raw_line
from pyromix.report.mixed.hashes import mixed_model_hash, records_hash
from pyromix.report.mixed.question import find_mixed_question


def quiet_fit(graph, data, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return px.fit(graph, data, 2, n_init=0, show_progress=False, **options)


@pytest.fixture(scope="module")
def fit():
    rng = np.random.default_rng(0)
    n = 300
    u = 1.0 * (rng.random(n) < 0.4)
    a = 2.5 * u + rng.normal(size=n)
    x = 20 + 5 * (1.5 * u + rng.normal(size=n))
    y = 0.5 * x + 12 * u + 3 * rng.normal(size=n)
    data = pd.DataFrame(
        {
            "A": a,
            "B$": 2.0 * u + rng.normal(size=n),
            "X": x,
            "Y": y,
            "C": (rng.random(n) < 0.2 + 0.6 * u) * 1,
            "H": np.where(rng.random(n) < 0.3, 0.0, np.exp(0.1 * x + rng.normal(size=n))),
        }
    )
    graph = dag(["A", "B$", "X", "Y", "C", "H"], [("X", "Y"), ("X", "H"), ("X", "C")])
    return quiet_fit(graph, data, kinds={"H": "hurdle"})


@pytest.fixture(scope="module")
def shaped():
    """Two numbers alone: the shape of the noise is all that could tell sources apart."""
    rng = np.random.default_rng(1)
    x = rng.gamma(2, size=300)
    data = pd.DataFrame({"X": x, "Y": x + rng.normal(size=300)})
    return quiet_fit(dag("XY"), data)


def test_a_letter_tells_the_effect_and_what_certifies_it(fit, tmp_path):
    report = fit.report(
        tmp_path / "r.txt", treatment="X", outcome="Y", contrast=(20, 25), show=False
    )
    effect = fit.effect("X", "Y", contrast=(20, 25))
    low, high = effect.interval()
    text = (tmp_path / "r.txt").read_text()
    flat = " ".join(text.split())
    assert "Setting X=25 in place of X=20 changes the mean of Y by" in flat
    assert f"{float(effect):+.4g} (95% interval {low:+.4g} to {high:+.4g})" in flat
    assert "certified by views" in flat
    assert "The size of an effect leans on these lines" in flat
    assert "H: zero or not by log-odds" in flat
    told = report.summary()["letter"]
    assert told["certainty"] == "graphical"
    assert told["do"]["difference"] == pytest.approx(float(effect))
    assert report.section("starts").numbers["bic"] == fit.bic


def test_parameters_stand_in_the_units_of_the_table(fit):
    section = fit.report(show=False).section("sources")
    (table,) = (t for t in section.tables if t.said.startswith("Y, in the units"))
    assert table.header == ("U", "constant", "X", "sd of the noise")
    # The answer under a do, by another road: E[Y | do(X=x)] within a source.
    change = fit.effect("X", "Y", contrast=(20, 21), per_source=True, interval=False)
    for row, own in zip(table.rows, change.per_source, strict=True):
        assert float(row[2]) == pytest.approx(float(own), abs=2e-4)
    said = [t.said for t in section.tables]
    assert any(s.startswith("H: zero or above: log-odds against 'above'") for s in said)
    assert any(s.startswith("log H where it is above zero") for s in said)


def test_lines_are_those_of_our_units():
    mixture = random_mixed(network("XHYP", k=1), 3)
    spec = mixture.spec
    y = spec.vertex("Y")
    records = drawn_records(mixture, 6, 1)
    raw = {spec.name(v): mixture.units[v].outward(c) for v, c in enumerate(records.columns)}
    cpd = mixture.cpds[y]
    line = raw_line(mixture, y, cpd.coefficients[0, 0].tolist())
    above = [records.columns[p] for p in spec.parents[y]]
    wanted = mixture.units[y].outward(cpd.moments(above, (6,))[0][0])
    value = {
        "X": raw["X"],
        "[H > 0]": (raw["H"] > 0).double(),
        "log H": raw["H"].clamp_min(1e-300).log() * (raw["H"] > 0),
    }
    found = line.intercept + sum(b * value[term] for term, b in line.terms)
    assert found.tolist() == pytest.approx(wanted.tolist(), abs=1e-9)


def test_a_page_and_markdown_have_the_same_letter(fit, tmp_path):
    report = fit.report(tmp_path / "r.html", treatment="X", outcome="C", contrast=(20, 25))
    page = (tmp_path / "r.html").read_text()
    assert "percentage points" in report.letter.sentence
    assert page.count("<svg") >= 6
    assert not re.search(r"(?:src|href)=\"(?!#)", page)
    assert report.letter.sentence.split(" in place")[0] in page
    report.save(tmp_path / "r.md")
    assert "Setting X=25" in (tmp_path / "r.md").read_text()


def test_without_a_question_a_report_tells_the_groups(fit, shaped):
    assert "2 hidden groups of" in fit.report(show=False).letter.sentence
    letter = shaped.report(show=False).letter
    assert "only the shapes assumed of the numbers tell them apart" in letter.sentence
    assert any("only the shapes assumed of X, Y" in doubt for doubt in letter.doubts)
    assert letter.cure


def test_what_views_do_not_certify_is_not_told(shaped, tmp_path):
    report = shaped.report(tmp_path / "r.html", treatment="X", outcome="Y", show=False)
    assert "The table does not determine" in report.letter.sentence
    assert report.summary()["letter"]["certainty"] == "shape"
    assert "do" not in report.summary()["letter"]
    assert not report.section("effect").tables
    with pytest.raises(NotCertifiedError):
        ask.effect_of(shaped, "X", "Y", contrast=(1, 2))
    with pytest.raises(NotCertifiedError):
        shaped.plot("dose_response", treatment="X", outcome="Y")


def test_a_question_has_ends_where_nobody_says(fit):
    asked = find_mixed_question(fit, "X", "Y")
    x = fit.simulate(20_000)["X"].quantile([0.25, 0.75])
    assert asked.contrast == pytest.approx(tuple(x), rel=0.03)
    assert find_mixed_question(fit, "C", "Y").contrast == (0, 1)
    assert find_mixed_question(fit, None, None) is None
    with pytest.raises(QueryError, match="outcome is not given"):
        find_mixed_question(fit, "X", None)


@pytest.mark.filterwarnings("ignore::pyromix.errors.UnsupportedRowsWarning")
@pytest.mark.parametrize("kind", ["network", "sources", "dose_response"])
def test_every_kind_of_plot(fit, kind, tmp_path):
    axes = fit.plot(kind, treatment="X", outcome="Y")
    axes.figure.savefig(tmp_path / "plot.png", dpi=40)
    own = Figure().add_subplot()
    assert fit.plot(kind, treatment="X", outcome="C", ax=own) is own


def test_densities_lie_where_the_sources_lie(fit):
    axes = fit.plot("sources")
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert sorted(names) == sorted(fit.spec.variables)
    (x,) = (i for i, name in enumerate(names) if name == "X")
    curves = [line for line in axes.lines if len(line.get_xdata()) == 200]
    tops = {}
    for line in curves:
        xs, ys = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        if abs(ys.max() - x) < 0.02:
            tops[line.get_color()] = float(xs[ys.argmin()])
    means = [fit.query("X", evidence={"U": u}, interval=False).mean for u in (0, 1)]
    (first, second) = tops.values()
    assert (first < second) == (means[0] < means[1])


@pytest.mark.filterwarnings("ignore::pyromix.errors.UnsupportedRowsWarning")
def test_a_curve_is_that_of_the_answer(fit):
    axes = fit.plot("dose_response", treatment="X", outcome="Y")
    curve = fit.dose_response("X", "Y")
    assert np.asarray(axes.lines[0].get_ydata()).tolist() == pytest.approx(curve.values.tolist())
    assert axes.get_xlabel() == "X"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda fit: fit.plot("source"), QueryError, r"'source'.*sources"),
        (lambda fit: fit.plot("dose_response"), QueryError, "name both"),
        (lambda fit: fit.plot("sources", ax=3), QueryError, "Axes"),
        (lambda fit: fit.report("r.pdf"), FileError, "html"),
        (lambda fit: fit.report(show=3), QueryError, "show"),
        (lambda fit: fit.report(treatment="X", outcome="X"), QueryError, "X"),
    ],
)
def test_what_cannot_be_drawn_or_told_is_refused(fit, call, error, message):
    with pytest.raises(error, match=message):
        call(fit)


def test_a_fit_without_its_table_is_reported_on(fit, tmp_path):
    fit.save(tmp_path / "fit.pyromix", include_data=False)
    back = px.load(tmp_path / "fit.pyromix")
    report = back.report(treatment="X", outcome="Y", show=False)
    assert report.check is None
    assert "no table" in report.section("checks").lead


def test_a_report_says_seed_method_versions_and_hashes(fit):
    numbers = fit.report(show=False).section("reproducibility").numbers
    assert numbers["random_state"] == "0"
    assert {"pyromix", "torch", "numpy", "scipy", "Python"} == numbers["versions"].keys()
    assert numbers["sha256"] == {
        "model": mixed_model_hash(fit.spec),
        "data": records_hash(fit.spec.variables, fit.records),
    }
    told = dict(fit.report(show=False).section("reproducibility").facts)
    assert told["random_state"] == "0"
    assert "bins (auto: " in told["Method"]


def test_a_hash_is_of_the_rows_whatever_their_order_and_units(fit):
    records, names = fit.records, fit.spec.variables
    own = records_hash(names, records)
    assert records_hash(names, records.only(torch.arange(records.n_rows).flip(0))) == own
    v = fit.spec.vertex("X")
    unit = Unit(3.0, 7.0)
    cells = unit.inward(records.units[v].outward(records.columns[v]))
    other = replace(
        records,
        units=tuple(unit if w == v else u for w, u in enumerate(records.units)),
        columns=tuple(cells if w == v else c for w, c in enumerate(records.columns)),
    )
    assert records_hash(names, other) == own
    cells = cells.clone()
    cells[0] += 1e-4
    moved = replace(other, columns=tuple(cells if w == v else c for w, c in enumerate(
        records.columns)))  # fmt: skip
    assert records_hash(names, moved) != own
    assert records_hash(names, records.weighted(2 * records.weights)) != own
    real = replace(fit.spec, kinds=(Kind.HEAVY_TAILED, *fit.spec.kinds[1:]))
    assert mixed_model_hash(real) != mixed_model_hash(fit.spec)


def test_numbers_of_sources_stand_side_by_side(fit):
    chosen = px.select_n_sources(fit.spec, fit.simulate(200), [1], n_init=0, n_folds=2)
    report = fit.report(selection=chosen, show=False)
    section = report.section("n_sources")
    assert [row[0] for row in section.tables[0].rows] == ["1"]
    assert section.numbers["choices"] == chosen.choices
    assert "This fit has 2; BIC chooses 1." in section.words
    agreed = "agree on 1" if chosen.agree else "the criteria disagree"
    assert agreed in dict(report.letter.leaning)["Hidden"]
    alone = fit.report(show=False)
    assert "was given, not chosen" in alone.section("n_sources").lead
    assert "given, not found" in dict(alone.letter.leaning)["Hidden"]
    with pytest.raises(QueryError, match=r"what px\.select_n_sources returns"):
        fit.report(selection=2, show=False)


def test_where_nothing_is_hidden_no_view_is_claimed():
    rng = np.random.default_rng(3)
    x = rng.normal(size=80)
    data = pd.DataFrame({"X": x, "Y": x + rng.normal(size=80)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = px.fit(dag("XY", [("X", "Y")]), data, 1)
    report = alone.report(treatment="X", outcome="Y", show=False)
    assert "whatever is hidden" in dict(report.letter.leaning)["Certainty"]
    assert "views" not in report.section("verdict").lead
