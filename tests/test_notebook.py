"""What a notebook shows of the things one holds: short, harmless whatever states are called."""

from __future__ import annotations

import re
import warnings
from html.parser import HTMLParser

import networkx as nx
import pandas as pd
import pytest

import pyromix as px
from pyromix.model.printed import LONGEST_CELL, Grid, Printed

NASTY = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "\u202e\u05e9\u05dc\u05d5\u05dd\u200f \u0645\u0631",
    "&amp;\n\x00\x1b[31m",
)


class Page(HTMLParser):
    """Elements, attributes and texts, and whether every element that opens is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.texts, self.open = set(), set(), [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def things():
    """A fit of a table with these states, and what it answers."""
    model, df, _ = px.datasets.load("hidden-group")
    names = {"X": NASTY[:2], "Y": NASTY[2:]}
    frame = pd.DataFrame(df)
    for column, states in names.items():
        frame[column] = frame[column].map(
            dict(zip(sorted(set(frame[column])), states, strict=True))
        )
    structure = px.from_pgmpy(model, 2)
    edges = [(a, b) for a, b in model.edges() if a != "U"]
    graph = nx.DiGraph(edges)
    graph.add_nodes_from(structure.variables)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.PyromixWarning)
        fit = px.fit(graph, frame, n_sources=2, n_init=1)
        return {
            "fit": fit,
            "answer": fit.query(["X", "Y"]),
            "effect": fit.effect("X", "Y", per_source=True),
            "check": px.check(graph, 2, frame, outcome="Y", treatment="X"),
            "selection": px.select_n_sources(graph, frame, [1, 2], n_init=1),
            "predictive check": fit.predictive_check(),
        }


KINDS = ["fit", "answer", "effect", "check", "selection", "predictive check"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_notebook_shows_is_short_and_only_tables_and_texts(things, kind):
    html = things[kind]._repr_html_()
    page = Page(html)
    assert page.open == []
    assert page.tags <= {"div", "strong", "table", "tr", "th", "td", "bdi"}
    assert page.attributes <= {"style"}
    assert "://" not in html
    assert "url(" not in html
    assert len(html) < 12_000
    assert html.count("<table>") == html.count('<div style="overflow-x: auto"><table>')
    assert len(repr(things[kind])) < 1500
    assert repr(things[kind]) == str(things[kind])


@pytest.mark.parametrize("kind", ["answer", "effect"])
def test_names_are_shown_as_they_are_in_their_own_direction(things, kind):
    html = things[kind]._repr_html_()
    texts = "\n".join(Page(html).texts)
    assert any(f"{state}" in texts for state in (NASTY[0], repr(NASTY[0])))
    assert html.count("<bdi") == html.count("</bdi>") > 8
    assert "\x00" not in html
    assert "\x1b" not in html
    assert re.search(r"<bdi[^>]*>[^<]*(\u202e|\\u202e)", html)


def test_text_and_notebook_say_the_same_figures(things):
    answer = things["effect"]
    shown = "\n".join(Page(answer._repr_html_()).texts)
    for figure in [w for w in str(answer).split() if w.startswith(("+0.", "0."))]:
        assert figure in shown


def test_a_long_cell_is_cut_and_columns_keep_their_side():
    html = Printed("t", (Grid(["a", "b"], [["x" * 10**5, "1"]]),), ("l",)).html()
    assert len(html) < LONGEST_CELL + 1000
    assert 'right; padding: 0.1em 0.6em"><bdi style="white-space: pre">1<' in html
    assert Printed("t", (Grid(["a", "b"], [["x", "10"]]),), ("l",)).text() == "t\na   b\nx  10\nl"
