"""Tables with columns of numbers at the door: what is a number, what is refused, what is cut."""

from __future__ import annotations

import datetime
import math
import warnings

import networkx as nx
import numpy as np
import pandas as pd
import polars as pl
import pytest

import pyromix as px
from pyromix.errors import DataError, DataRepairWarning, QueryError, SpecError
from pyromix.fitting.mixed.doors import cut_columns, numbers_in
from pyromix.fitting.mixed.engine import bins_of
from pyromix.fitting.mixed.intake import take_in_mixed
from pyromix.model.kind import Kind

N = 60


def dag(names="AXYC", edges=(("X", "Y"),)):
    graph = nx.DiGraph(edges)
    graph.add_nodes_from(names)
    graph.add_node("U", latent=True)
    graph.add_edges_from(("U", v) for v in names)
    return graph


def frame(n=N, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return pd.DataFrame(
        {
            "A": rng.normal(40, 9, size=n).round(1),
            "X": x,
            "Y": x + rng.normal(size=n),
            "C": rng.integers(3, size=n),
        }
    )


def taken(data, kinds=None, states=None, model=None, **options):
    model = dag() if model is None else model
    numbers = {"kinds": kinds, "discretize": None}
    _, states, table = numbers_in(model, data, 2, numbers, states, None)
    if table is None:
        return None
    with warnings.catch_warnings():
        # Whole numbers that pandas keeps as floats, dropped rows.
        warnings.simplefilter("ignore", DataRepairWarning)
        return take_in_mixed(table, 2, states, **options)


def one(values, kind=None, name="X"):
    """A table of which one column has these values."""
    data = frame(len(values))
    data[name] = values
    return taken(data, None if kind is None else {name: kind})


# -- what is a number ---------------------------------------------------------


def doors(tmp_path):
    plain = frame()
    path = tmp_path / "table.csv"
    plain.to_csv(path, index=False)
    return [plain, pl.from_pandas(plain), path, pl.from_pandas(plain).to_arrow()]


def test_columns_with_fractions_are_real_at_every_door_and_that_is_said_once(tmp_path):
    seen = []
    for data in doors(tmp_path):
        found = taken(data)
        kinds = dict(zip(found.spec.variables, found.spec.kinds, strict=True))
        assert kinds == {"A": Kind.REAL, "X": Kind.REAL, "Y": Kind.REAL, "C": Kind.CATEGORICAL}
        assert found.spec.binned.states_of(found.spec.vertex("C")) == (0, 1, 2)
        said = [n.sentence for n in found.notes if "fractions" in n.sentence]
        assert len(said) == 1
        assert "'X', 'Y', 'A'" in said[0]
        seen.append(found.records)
    for other in seen[1:]:
        for left, right in zip(seen[0].columns, other.columns, strict=True):
            assert left.tolist() == pytest.approx(right.tolist(), abs=1e-12)


def test_whole_numbers_are_states_in_any_dtype():
    data = frame()
    assert taken(data[["C"]], model=dag("C", ())) is None
    data["C"] = data["C"].astype(float)  # as pandas makes them where a cell is missing
    data.loc[3, "C"] = np.nan
    found = taken(data)
    assert found.spec.kind(found.spec.vertex("C")) is Kind.CATEGORICAL


def test_declared_states_stay_states():
    data = frame().assign(A=np.tile([0.5, 1.5, 2.5], N // 3))
    told = taken(data, states={"A": [0.5, 1.5, 2.5]})
    assert told.spec.kind(told.spec.vertex("A")) is Kind.CATEGORICAL
    with pytest.raises(DataError, match=r'two values.*kinds=\{\'A\': "categorical"\}'):
        taken(data.assign(A=np.tile([0.5, 1.5], N // 2)))
    told = taken(data, kinds={"A": "categorical"})
    assert told.spec.binned.states_of(told.spec.vertex("A")) == (0.5, 1.5, 2.5)


def test_numbers_are_standardised_and_go_back():
    found = taken(frame(), {"A": "positive"})
    for name in "AXY":
        v = found.spec.vertex(name)
        column = found.records.columns[v]
        assert float(column.mean()) == pytest.approx(0, abs=1e-12)
        assert float(column.std()) == pytest.approx(1)
        back = found.records.units[v].outward(column)
        assert back.tolist() == pytest.approx(frame()[name].tolist())


def test_whole_numbers_may_be_declared_counts():
    data = frame().assign(C=np.arange(N) % 7)
    found = taken(data, {"C": "count"})
    v = found.spec.vertex("C")
    assert found.spec.kind(v) is Kind.COUNT
    assert found.records.columns[v].tolist() == data["C"].tolist()


# -- what is refused ----------------------------------------------------------

LINE = np.linspace(-1.0, 2.0, N)


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        (np.where(LINE > 1.9, np.inf, LINE), None, r"'X' must hold finite numbers, found \d+ inf"),
        (np.full(N, 2.5), None, r"'X' must vary, found only 2.5 in 60 rows; .* leave the variable"),
        (np.tile([0.5, 1.5], N // 2), None, r"two values, 0.5 and 1.5: declare them as states"),
        (np.full(N, np.nan), "real", r"'X' has no value: all 60 cells are missing"),
        (LINE, "positive", r"'positive' must hold numbers above zero, found -1 .*\"hurdle\" has"),
        (LINE, "hurdle", r"'hurdle' must hold zeros and numbers above, found -1"),
        (np.exp(LINE), "hurdle", r"'hurdle' must hold zeros, found none; kind \"positive\""),
        (np.exp(LINE), "count", r"'count' must hold 0, 1, 2, ..., found 0.367879 \(\d+ cells\)"),
        (-np.arange(N), "count", r"'count' must hold 0, 1, 2, ..., found -1"),
        (["a", "b", "c"] * (N // 3), "real", r"'X'.*"),
        ([datetime.date(2020, 1, 1 + i % 28) for i in range(N)], "real", r"'X'.*"),
    ],
)
def test_a_column_that_does_not_fit_its_kind_is_refused_by_name_with_advice(values, kind, message):
    with pytest.raises(DataError, match=message):
        one(values, kind)


def test_dates_that_nobody_declared_are_refused_as_dates():
    dates = [datetime.date(2020, 1, 1 + i % 3) for i in range(N)]
    with pytest.raises(DataError, match="'C' must be discrete, found points in time"):
        one(dates, name="C")


@pytest.mark.parametrize(
    ("kinds", "error", "message"),
    [
        ({"A": "reel"}, SpecError, r"kind of 'A': expected one of .*'real'.*found 'reel'.*real"),
        ({"a": "real"}, QueryError, r"kinds: 'a' is not among the variables.*'A'"),
        ({"U": "real"}, QueryError, r"kinds: 'U' is not among the variables"),
        ("real", SpecError, r"kinds"),
    ],
)
def test_kinds_that_are_none_are_refused(kinds, error, message):
    with pytest.raises((error, QueryError), match=message):
        px.fit(dag(), frame(), 2, kinds=kinds)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "em"}, 'method="auto" alone'),
        ({"prior": 2.0}, '"pooled" or None'),
        ({"checkpoint": "x"}, "keeps no checkpoint"),
    ],
)
def test_options_that_numbers_do_not_have_are_refused(options, message):
    with pytest.raises(QueryError, match=message):
        px.fit(dag(), frame(), 2, **options)


def test_counts_have_no_columns_of_numbers():
    spec = px.MixtureSpec.from_parents({"C": [0, 1, 2]}, {}, 2)
    table = px.Counts.from_frame(frame()[["C"]], spec)
    with pytest.raises(DataError, match="kinds: expected a table with columns of numbers"):
        px.fit(dag("C", ()), table, 2, kinds={"C": "real"})


def test_numbers_in_another_unit_are_pointed_at():
    data = frame()
    data.loc[0, "A"] = 40_000.0
    _, states, table = numbers_in(dag(), data, 2, {"kinds": None, "discretize": None}, None, None)
    assert table is not None
    with pytest.warns(DataRepairWarning, match="another unit"):
        said = [n.sentence for n in take_in_mixed(table, 2, states).notes]
    assert any("'A': 1 of 60 numbers lie more than 25 standard deviations" in s for s in said)


# -- cutting ------------------------------------------------------------------


def test_edges_make_the_states_that_they_name():
    table, states = cut_columns(frame(), {"A": [35, 45]}, None)
    assert states == {"A": ["<35", "35-<45", "45+"]} or states == {"A": ("<35", "35-<45", "45+")}
    cells = table.frame["A"].to_list()
    wanted = ["<35" if a < 35 else "35-<45" if a < 45 else "45+" for a in frame()["A"]]
    assert cells == wanted


def test_quantiles_hold_equally_many_rows():
    data = frame(400)
    table, states = cut_columns(data, {"X": "quantile:4"}, None)
    counts = table.frame["X"].value_counts()["count"].to_list()
    assert len(states["X"]) == 4
    assert max(counts) - min(counts) <= 2


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("quantile:1", r"'A': expected edges such as \[40, 60\], or 'quantile:4'.*found 'quantile"),
        ("quantile:99", "2 to 50"),
        ("tertiles", "found 'tertiles'"),
        (["a"], "an edge of 'A'"),
        ([60, 40], "A"),
    ],
)
def test_ways_of_cutting_that_are_none_are_refused(how, message):
    with pytest.raises((QueryError, DataError), match=message):
        px.fit(dag(), frame(), 2, discretize={"A": how})


def test_a_column_to_be_cut_must_be_there():
    with pytest.raises(DataError, match="age"):
        px.fit(dag(), frame(), 2, discretize={"age": [40]})


@pytest.fixture(scope="module")
def cut():
    everything = {"A": [35, 45], "X": "quantile:3", "Y": [0.0]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return px.fit(dag(), frame(), 2, discretize=everything, n_init=1, show_progress=False)


def test_a_table_that_is_cut_is_one_of_states(cut):
    assert isinstance(cut, px.MixtureFit)
    states = dict(zip(cut.spec.variables, cut.spec.states, strict=True))
    assert states["A"] == ("<35", "35-<45", "45+")


def test_numbers_of_other_tables_are_read_by_the_same_edges(cut, tmp_path):
    other = frame(9, seed=5)
    raw = cut.predict_proba(other)
    table, _ = cut_columns(other, {"A": [35, 45], "Y": [0.0]}, None)
    named = table.frame.to_pandas()
    edges = [float(s.split("<")[-1]) for s in cut.spec.states[cut.spec.vertex("X")][:2]]
    bins = cut.spec.states[cut.spec.vertex("X")]
    named["X"] = [bins[int(np.searchsorted(edges, x, side="right"))] for x in other["X"]]
    assert raw.to_numpy() == pytest.approx(cut.predict_proba(named).to_numpy(), abs=1e-12)
    other.to_csv(tmp_path / "other.csv", index=False)
    again = cut.predict_proba(tmp_path / "other.csv").to_numpy()
    assert raw.to_numpy() == pytest.approx(again, abs=1e-12)


def test_bins_of_raw_values_are_those_that_were_fitted():
    found = taken(frame())
    codes = bins_of(found.spec, found.records, found.edges)
    rows, counts = codes.unique(dim=0, return_counts=True)
    table = dict(
        zip(map(tuple, found.counts.rows.tolist()), found.counts.weights.tolist(), strict=True)
    )
    assert dict(zip(map(tuple, rows.tolist()), counts.tolist(), strict=True)) == table


# -- rows ---------------------------------------------------------------------


def holed():
    data = frame()
    data["C"] = data["C"].astype(float)
    data.loc[::4, "A"] = np.nan
    data.loc[1, "C"] = np.nan
    data.loc[[2, 5]] = np.nan
    return data


def test_missing_cells_stay_and_empty_rows_go():
    found = taken(holed())
    assert found.records.n_rows == N - 2
    v = found.spec.vertex("A")
    assert int(found.records.columns[v].isnan().sum()) == N // 4
    assert int((found.records.columns[found.spec.vertex("C")] < 0).sum()) == 1


def test_rows_with_missing_cells_may_be_dropped_or_refused():
    complete = int(holed().notna().all(axis=1).sum())
    assert taken(holed(), missing="drop").records.n_rows == complete
    with pytest.raises(DataError, match="missing"):
        taken(holed(), missing="error")


def test_weights_come_from_a_column_or_a_list():
    data = frame()
    weights = np.arange(N) % 3 + 0.0
    listed = taken(data, sample_weight=weights)
    named = taken(data.assign(w=weights), sample_weight="w")
    for found in (listed, named):
        assert found.records.n_rows == int((weights > 0).sum())
        assert found.records.total_weight == pytest.approx(weights.sum())
    shares = taken(data, sample_weight=weights * 1000, weights_are="sampling")
    kish = weights.sum() ** 2 / (weights**2).sum()
    assert shares.records.total_weight == pytest.approx(kish)


def test_a_fit_answers_empty_rows_with_its_weights():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = px.fit(dag(), frame(), 2, n_init=0, show_progress=False)
    other = holed().iloc[:4]
    # Holes make pandas keep whole numbers as floats: that they are read as states is said.
    with pytest.warns(DataRepairWarning, match=r"'C' holds floats, its states are integers"):
        shares = fit.predict_proba(other)
    assert shares.iloc[2].tolist() == pytest.approx(fit.mixture.weights.tolist())
    assert shares.sum(axis=1).tolist() == pytest.approx([1.0] * 4)
    with pytest.warns(DataRepairWarning, match="'C' holds floats"):
        assert math.isfinite(fit.score(other))
    assert fit.score(frame()) == pytest.approx(fit.log_likelihood_per_row, abs=1e-9)
    whole = frame().iloc[:4]
    with pytest.raises(DataError, match="finite"):
        fit.predict_proba(whole.assign(X=np.inf))
    with pytest.raises(DataError, match="X"):
        fit.predict_proba(whole.drop(columns="X"))
