"""The report: golden facts of every section, and a page that stands on its own.

The golden texts are written by one command, ``make golden`` (``pytest tests/test_report.py
tests/test_help.py --regenerate``), never by hand: look at the difference before committing it.
Versions and iteration counts differ between machines and are masked.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import partial
from html.parser import HTMLParser

import networkx as nx
import pytest
from golden_text import section_differences

import pyromix as px
from pyromix.errors import FileError, QueryError
from pyromix.report.document import Report
from pyromix.report.facts.profile import margins
from pyromix.report.numbers import ordinal
from pyromix.report.sections.record import data_hash, model_hash
from pyromix.report.text import letter_text, section_text

SECTIONS = ("verdict", "plan", "signal", "data", "n_sources", "starts", "sources", "effect",
            "sensitivity", "checks", "reproducibility", "glossary")  # fmt: skip

FIXTURES = ("hidden-group", "asia", "lsat7")


def make(name: str) -> Report:
    model, frame, card = px.datasets.load(name)
    if name == "lsat7":
        fit = px.fit_product(frame, 2)
        return fit.report(show=False, selection=px.select_n_sources(None, frame, [1, 2, 3]))
    asked = {"contrast": card.contrast, "outcome_state": card.outcome_state}
    return px.fit(model, frame, 2).report(show=False, **asked)


class Reports(dict[str, Report]):
    """Reports by the name of their data set, each made when it is first asked for."""

    def __missing__(self, name: str) -> Report:
        self[name] = make(name)
        return self[name]


@pytest.fixture(scope="module")
def reports() -> Reports:
    return Reports()


@pytest.fixture(scope="module")
def page(reports) -> str:
    return reports["hidden-group"].to_html()


def masked(text: str) -> str:
    text = re.sub(r"(\w+) \d+\.\d+\S*(?=,|$)", r"\1 #", text) if "sha256" in text else text
    return re.sub(r"after \d+ iterations", "after # iterations", text)


@pytest.mark.parametrize("key", SECTIONS)
@pytest.mark.parametrize("name", FIXTURES)
def test_every_section_says_what_it_did(reports, golden, name, key):
    number = SECTIONS.index(key) + 1
    text = section_text(reports[name].section(key), number)
    spec = reports[name].fit.spec
    names = {*spec.variables, *(str(s) for states in spec.states for s in states)}
    same = partial(section_differences, names=names)
    golden(f"report/{name}/{number:02}-{key}.txt", masked(text), same)


@pytest.mark.parametrize("name", FIXTURES)
def test_every_letter_says_what_it_did(reports, golden, name):
    spec = reports[name].fit.spec
    names = {*spec.variables, *(str(s) for states in spec.states for s in states)}
    text = letter_text(reports[name].letter)
    golden(f"report/{name}/00-letter.txt", text, partial(section_differences, names=names))


def test_letter_section_and_plots_show_margins_worked_out_once(reports):
    fit = reports["hidden-group"].fit
    (most,) = margins(fit, 1)
    assert most is margins(fit, 12)[0]
    assert most.interval is not None


def test_the_letter_comes_first_then_the_sections_in_order(reports):
    report = reports["hidden-group"]
    assert str(report).index(report.letter.sentence[:40]) < str(report).index("\n1. ")
    assert tuple(section.key for section in report.sections) == SECTIONS
    titles = re.findall(r"^(\d+)\. ", str(report), re.MULTILINE)
    assert titles == [str(n) for n in range(1, len(SECTIONS) + 1)]


def test_figures_are_those_of_the_fit(reports):
    report = reports["hidden-group"]
    found, fit = report.summary(), report.fit
    effect = fit.effect()
    assert found["effect"]["do"]["difference"] == pytest.approx(list(effect.do.values))
    assert found["effect"]["do"]["low"] == pytest.approx(list(effect.interval()[0]))
    assert f"do {float(effect.do):+.3f}" in str(report)
    assert found["sources"]["weights"] == pytest.approx(fit.mixture.weights.tolist())
    assert found["signal"]["runs"][0]["signal"] == fit.diagnostics.moments[0].runs[0].signal
    json.dumps(found, allow_nan=False, default=str)


def test_the_raw_share_of_the_table_stands_beside_the_fitted_one(reports):
    _, frame, _ = px.datasets.load("hidden-group")
    share = (frame.loc[frame["X"] == "treated", "Y"] == "better").mean()
    table = reports["hidden-group"].section("effect").tables[0]
    assert table.rows[0][0] == "naive, share of the rows"
    assert table.rows[0][2] == f"{share:.3f}"


def test_the_planted_effect_lies_in_the_interval_of_the_report(reports):
    found = reports["hidden-group"].summary()["effect"]["do"]
    assert found["low"][1] < 0.24 < found["high"][1]


def test_report_prints_unless_told_or_written(reports, tmp_path, capsys):
    fit = reports["lsat7"].fit
    fit.report(sensitivity=False)
    assert "1. Verdict in figures" in capsys.readouterr().out
    fit.report(sensitivity=False, show=False)
    fit.report(tmp_path / "a.txt", sensitivity=False)
    assert capsys.readouterr().out == ""
    assert (tmp_path / "a.txt").read_text() == f"{fit.report(show=False)}\n"
    made = fit.report(tmp_path / "a.md", sensitivity=False)
    assert (tmp_path / "a.md").read_text() == f"{made.to_markdown()}\n"


def test_an_unknown_section_names_near_ones(reports):
    with pytest.raises(QueryError, match="did you mean 'verdict'"):
        reports["lsat7"].section("verdikt")


@pytest.mark.parametrize("name", ["report.docx", "report", "no/such/report.html"])
def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(reports, tmp_path, name):
    with pytest.raises(FileError, match=r"ends in one of|there is no folder"):
        reports["lsat7"].fit.report(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


# -- other fits ----------------------------------------------------------------------------------


def test_an_effect_that_is_not_determined_is_refused_in_words():
    _, frame, _ = px.datasets.load("hidden-group")
    with pytest.warns(px.PyromixWarning):
        fit = px.fit(nx.DiGraph([("X", "Y")]), frame[["X", "Y"]], 2, n_init=2, prior=None)
    report = fit.report(show=False, treatment="X", outcome="Y", sensitivity=False)
    assert dict(report.section("verdict").facts)["Identifiability"].badge == "FAIL"
    section = report.section("effect")
    assert "Refused" in " ".join(section.words)
    assert "at least as wide as" in " ".join(section.words)
    share = frame.groupby("X")["Y"].apply(lambda y: (y == "better").mean())
    treated = (frame["X"] == "treated").mean()
    # any k: P(better, treated) to 1 - P(worse, treated)
    least, most = share["treated"] * treated, 1 - (1 - share["treated"]) * treated
    (bounds,) = section.tables
    assert bounds.rows[1][0] == "X='treated', Y=better"
    assert bounds.rows[1][-1] == f"[{least:.3f}, {most:.3f}]"
    assert bounds.rows[1][1] == bounds.rows[1][-1]
    assert (
        json.loads(json.dumps(section.numbers, default=str))["bounds"]["arms"][3]["Y"] == "better"
    )
    assert "effect-effect" not in report.to_html()


def test_one_source_a_population_and_a_fit_without_its_table_have_reports(tmp_path):
    model, frame, _ = px.datasets.load("hidden-group")
    one = px.fit(model, frame, 1, prior=None).report(show=False)
    assert one.section("sources").lead == "One source: an ordinary network."
    one.to_html()
    fit = px.fit(model, frame, 2, n_init=1, prior=None)
    exact = px.fit(fit.spec, px.population(fit.mixture)).report(show=False)
    assert "population" in exact.section("data").lead
    exact.to_html()
    json.dumps(exact.summary(), allow_nan=False, default=str)
    fit.save(tmp_path / "bare.pyromix", include_data=False)
    bare = px.load(tmp_path / "bare.pyromix").report(show=False)
    assert "without its table" in bare.section("data").lead
    bare.to_html()


def test_what_was_dropped_or_read_differently_is_told(tmp_path):
    model, frame, _ = px.datasets.load("hidden-group")
    frame = frame.astype(object)
    frame.loc[:99, "Z1"] = None
    frame["note"] = "x"
    with pytest.warns(px.DataRepairWarning):
        fit = px.fit(model, frame, 2, n_init=2, prior=None, missing="drop")
    section = fit.report(show=False, sensitivity=False).section("data")
    facts = dict(section.facts)
    assert facts["Rows left out"] == "100"
    assert facts["Columns unused"] == "note"
    assert any("were dropped" in sentence for sentence in section.words)


def test_draws_give_the_intervals_of_the_report(reports):
    fit = reports["hidden-group"].fit.bootstrap(n=20)
    report = fit.report(show=False, sensitivity=False)
    assert "20 draws, bootstrap" in str(report)
    low, high = fit.effect().interval()
    assert report.summary()["effect"]["do"]["low"] == pytest.approx(list(low))
    assert report.summary()["effect"]["do"]["high"] == pytest.approx(list(high))


def test_hashes_follow_rows_and_graph_not_their_order():
    model, frame, _ = px.datasets.load("hidden-group")
    one = px.fit(model, frame, 2, n_init=1, prior=None)
    other = px.fit(model, frame.sample(frac=1, random_state=1), 2, n_init=1, prior=None)
    fewer = px.fit(model, frame.iloc[1:], 2, n_init=1, prior=None)
    assert data_hash(one.counts) == data_hash(other.counts) != data_hash(fewer.counts)
    assert model_hash(one.spec) == model_hash(other.spec)
    assert model_hash(one.spec) != model_hash(one.spec.with_n_sources(3))


# -- the page ------------------------------------------------------------------------------------

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Checker(HTMLParser):
    """Every tag closed in order; ids, references and tags collected."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "xlink:href", "action", "data", "srcset"):
                self.links.append(value)
            assert not name.startswith("on"), (tag, name)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def checked(page) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    return checker


def test_every_tag_of_the_page_is_closed(checked):
    assert checked.open == []


def test_the_page_needs_nothing_else(page, checked):
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in checked.links)
    assert "script" not in checked.tags
    assert "link" not in checked.tags
    assert not re.search("https?:", page)
    assert "@import" not in page
    assert "url(" not in page.replace("url(#", "")


def test_ids_of_the_page_are_distinct_and_references_lead_to_them(page, checked):
    assert len(set(checked.ids)) == len(checked.ids)
    assert {link[1:] for link in checked.links if link[0] == "#"} <= set(checked.ids)
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(checked.ids)


def test_the_page_shows_every_plot_and_every_cell_of_the_text(page, reports):
    report = reports["hidden-group"]
    drawn = [drawing.kind for section in report.sections for drawing in section.drawings]
    # Five equal starts, a signal far above the noise and a fit without misfit are told in a line.
    assert drawn == ["network", "sources", "responsibilities", "effect"]
    assert page.count("<svg") == 2 * (1 + len(drawn))
    bare = re.sub(r"\s+", " ", re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL))
    for section in report.sections:
        for table in section.tables:
            for row in table.rows:
                assert all(f">{cell}</td>" in bare for cell in row)
        introduced = [table.said for table in section.tables]
        assert all(introduced)
        for sentence in (section.lead, *section.words, *introduced):
            said = sentence.replace("'", "&#39;").replace(">", "&gt;").replace('"', "&#34;")
            assert re.sub(r"\s+", " ", said) in bare


def test_names_cannot_break_the_page_nor_the_markdown():
    names = {
        "<b>A</b>": ("<script>x</script>", "&"),
        "B|b": ('say "no"', "\u05db\u05df"),
        "$\\frac$": ("it's", "`a` | *b*"),
    }
    spec = px.MixtureSpec.from_parents(names, {}, 2)
    frame = px.simulate(px.random_mixture(spec, 0, separation=0.5), 500, random_state=0)
    fit = px.fit(spec, frame, n_init=2, prior=None, method="em")
    report = fit.report(show=False, sensitivity=False, treatment="B|b", outcome="$\\frac$")
    page = report.to_html()
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert not {"b", "script"} & set(checker.tags)
    assert "&lt;b&gt;A&lt;/b&gt;" in page
    assert "$\\frac$" in page
    text = report.to_markdown()
    assert not re.search(r"<(?!/?(details|summary|b)>)", text)
    for table in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(columns) == 1, table


def test_the_page_lets_a_browser_fetch_and_run_nothing(page):
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    allowed = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert allowed.pop("default-src") == "'none'"
    assert set(allowed.values()) <= {"'none'", "'unsafe-inline'", "data:"}
    assert "unsafe-inline" in allowed["style-src"]
    assert page.index("Content-Security-Policy") < page.index("<style>")


def test_the_same_report_makes_the_same_page(reports, page):
    assert reports["hidden-group"].to_html() == page


def test_a_browser_opens_the_page(reports, tmp_path):
    names = ("chromium", "chromium-browser", "google-chrome", "chrome", "headless_shell")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip("no Chromium on this machine")
    reports["hidden-group"].save(tmp_path / "report.html")
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/user",
                 "--enable-logging=stderr", "--dump-dom",
                 (tmp_path / "report.html").as_uri()]  # fmt: skip
    result = subprocess.run(
        [browser, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert "Content Security Policy" not in result.stderr
    assert result.stdout.count("<svg") == 10
    assert "Verdict in figures" in result.stdout


def test_a_warning_about_the_effect_becomes_a_doubt():
    states = {"X": ("a", "b"), "Y": (0, 1), "A": (0, 1), "B": (0, 1), "W": ("c", "d", "e")}
    spec = px.MixtureSpec.from_parents(states, {"Y": ["X", "W"]}, 2)
    frame = px.simulate(px.random_mixture(spec, 2, separation=0.5), 2000, random_state=0)
    frame = frame[(frame["W"] != "e") | (frame["X"] == "a")]
    fit = px.fit(spec, frame, n_init=2, prior=None)
    report = fit.report(show=False, treatment="X", outcome="Y", sensitivity=False)
    doubts = report.summary()["verdict"]["doubts"]
    assert any("rests on rows that no data reached" in doubt for doubt in doubts)
    assert any("rests on rows that no data reached" in w for w in report.section("effect").words)


def test_draws_of_a_chain_say_how_far_to_trust_them(reports):
    with pytest.warns(px.SamplingWarning):
        fit = reports["hidden-group"].fit.refine(method="gibbs", num_samples=20, warmup_steps=2)
    report = fit.report(show=False, sensitivity=False)
    assert "R-hat" in dict(report.section("starts").facts)["Sampling"]
    assert any("gibbs: " in doubt for doubt in report.summary()["verdict"]["doubts"])


@pytest.mark.filterwarnings("ignore::pyromix.PyromixWarning")
def test_a_fit_whose_moments_had_no_views_has_a_page_all_the_same():
    _, frame, _ = px.datasets.load("hidden-group")
    page = px.fit_product(frame, 5, n_init=2).report(show=False, sensitivity=False).to_html()
    assert "</html>" in page


@pytest.mark.parametrize(
    ("number", "said"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"),
                         (13, "13th"), (21, "21st"), (102, "102nd"), (111, "111th")]
)  # fmt: skip
def test_ordinals_are_written_as_they_are_said(number, said):
    assert ordinal(number) == said
