"""``px.check`` and ``px.measure_next`` where variables are numbers, before and with a table."""

from __future__ import annotations

import contextlib
import io

import networkx as nx
import numpy as np
import pandas as pd
import pytest

import pyromix as px
from pyromix.cli import main
from pyromix.cli.columns import kinds_told
from pyromix.criticism.on_paper import in_bins, spec_on_paper
from pyromix.errors import DataError, QueryError, SpecError

PAIR = nx.DiGraph([("U", "X"), ("U", "Y"), ("X", "Y")])
PAIR.nodes["U"]["latent"] = True
BOTH = {"X": "real", "Y": "count"}


def asked(model, k=2, **more):
    return px.check(model, k, outcome="Y", treatment="X", **more)


def with_proxies(*names):
    graph = PAIR.copy()
    graph.add_edges_from(("U", name) for name in names)
    return graph


@pytest.mark.parametrize("k", [2, 3, 4])
def test_a_number_needs_no_states_and_has_one_bin_more_than_sources(k):
    notes = []
    spec = spec_on_paper(PAIR, k, None, {"X": "real"}, notes)
    assert {spec.name(v) for v in spec.coarse} == {"X"}
    assert spec.cards[spec.vertex("X")] == k + 1
    assert spec.cards[spec.vertex("Y")] == 2
    assert notes == ["two states were assumed for Y; pass state_names, or data"]


def test_what_is_declared_categorical_has_states():
    spec = spec_on_paper(PAIR, 2, None, {"X": "categorical"}, [])
    assert spec == spec_on_paper(PAIR, 2, None, None, [])


def test_states_of_a_model_give_way_to_a_kind():
    states = {"X": ("low", "high"), "Y": ("no", "yes")}
    model = px.MixtureSpec.from_parents(states, {"Y": ["X"]}, 2)
    spec = spec_on_paper(model, None, None, {"X": "positive"}, [])
    assert spec.coarse == (spec.vertex("X"),)
    assert spec.states == ((0, 1, 2), ("no", "yes"))
    assert spec_on_paper(spec, None, None, None, []) == spec


def test_three_proxies_certify_what_a_pair_of_numbers_does_not():
    assert asked(PAIR, kinds=BOTH).verdict == "by shape"
    report = asked(with_proxies("A", "B"), kinds=BOTH)
    assert report.verdict == "identified"
    assert any("no shape is assumed" in reason for reason in report.reasons)
    numeric = asked(with_proxies("A", "B"), kinds={**BOTH, "A": "real", "B": "student-t"})
    assert numeric.verdict == "identified"


def test_the_advice_for_numbers_is_that_for_states():
    found = px.measure_next(PAIR, 2, outcome="Y", treatment="X", kinds=BOTH)
    assert [len(one.measured) for one in found if one.measured] == [2]
    assert "as many states as wanted" in str(found)
    certified = with_proxies("A", "B")
    assert not len(px.measure_next(certified, 2, outcome="Y", treatment="X", kinds=BOTH))


def test_the_value_of_a_number_makes_no_difference_to_the_graph():
    graph = with_proxies("A", "B", "C")
    kinds = {**BOTH, "C": "real"}
    one, other = (asked(graph, kinds=kinds, evidence={"C": value}) for value in (-1.5, 40))
    assert one.verdict == other.verdict == "identified"
    assert one.asked == other.asked == "P(Y | do(X), C)"
    found = px.measure_next(graph, 2, outcome="Y", treatment="X", kinds=kinds, evidence={"C": 40})
    assert found.asked == one.asked
    with pytest.raises(QueryError, match="evidence on the number 'C'"):
        asked(graph, kinds=kinds, evidence={"C": "blue"})
    spec = spec_on_paper(PAIR, 2, None, None, [])
    assert in_bins(spec, {"X": 1}) == {"X": 1}
    assert in_bins(spec, None) is None


@pytest.mark.parametrize(
    ("options", "error", "what"),
    [
        ({"kinds": {"Q": "real"}}, QueryError, "'Q' is not among the variables"),
        ({"kinds": {"X": "reel"}}, SpecError, "did you mean 'real'"),
        ({"kinds": ["X"]}, SpecError, "kinds"),
        ({"kinds": {"X": "real"}, "state_names": {"X": [1, 2]}}, QueryError, "keep one of them"),
        ({"kinds": {"U": "real"}}, QueryError, "'U' is not among the variables"),
    ],
)
def test_kinds_that_are_none_are_refused_at_both_doors(options, error, what):
    for door in (px.check, px.measure_next):
        with pytest.raises(error, match=what):
            door(PAIR, 2, outcome="Y", treatment="X", **options)


# -- with a table --------------------------------------------------------------------------------


def drawn(n=1500):
    """Three proxies of U, two of them numbers; X and Y numbers with skewed noise."""
    rng = np.random.default_rng(0)
    u = rng.random(n) < 0.4
    x = rng.gamma(2.0, size=n) + u
    return pd.DataFrame(
        {
            "A": rng.normal(2 * u, 1),
            "B": np.where(rng.random(n) < np.where(u, 0.85, 0.15), "yes", "no"),
            "C": rng.normal(2 * u, 1),
            "X": x,
            "Y": 0.5 * x + u + rng.gamma(1.0, size=n),
        }
    )


def test_a_table_with_numbers_is_looked_at_in_bins():
    report = asked(with_proxies("A", "B", "C"), data=drawn())
    assert report.verdict == "identified"
    assert {report.spec.name(v) for v in report.spec.coarse} == {"A", "C", "X", "Y"}
    assert report.found.findings.signal.shown
    assert any("taken as real numbers" in reason for reason in report.reasons)


def test_no_table_makes_a_pair_of_numbers_more_than_by_shape():
    frame = drawn()[["X", "Y"]]
    report = asked(PAIR, data=frame, kinds={"X": "positive", "Y": "real"})
    assert report.verdict == "by shape"
    assert asked(PAIR, data=frame, evidence=None).verdict == "by shape"


def test_counted_rows_have_no_numbers():
    frame = pd.DataFrame({"X": [0, 1, 0, 1], "Y": [0, 0, 1, 1]})
    spec = spec_on_paper(PAIR, 2, None, None, [])
    counts = px.Counts.from_frame(frame, spec)
    with pytest.raises(DataError, match="kinds"):
        asked(PAIR, data=counts, kinds={"X": "real"})


# -- the command line ----------------------------------------------------------------------------

EDGES = [part for edge in ("U->X", "U->Y", "X->Y") for part in ("--edge", edge)]
ASKED = ["--treatment", "X", "--outcome", "Y"]


def called(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(["check", *EDGES, *ASKED, *arguments])
        except SystemExit as stopped:
            return stopped.code, out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def test_the_command_line_takes_kinds_with_and_without_a_table(tmp_path):
    code, out, _ = called("--kind", "X=real", "--kind", "Y=count")
    assert code == 2
    assert "BY SHAPE" in out
    drawn(200).to_csv(tmp_path / "t.csv", index=False)
    proxies = [part for name in "ABC" for part in ("--edge", f"U->{name}")]
    code, out, _ = called(str(tmp_path / "t.csv"), *proxies)
    assert code == 0
    assert "--kind COLUMN=KIND declares another kind, --bins COLUMN=50,60 cuts" in out
    code, _, err = called(str(tmp_path / "t.csv"), *proxies, "--simulate")
    assert code == 1
    assert "--bins COLUMN=50,60" in err


def test_kinds_on_the_command_line_are_pairs():
    assert kinds_told(["a=b=real", "n= count"]) == {"a=b": "real", "n": "count"}
    for wrong in (["X"], ["=real"], ["X=real", "X=count"]):
        with pytest.raises(QueryError, match="--kind"):
            kinds_told(wrong)
