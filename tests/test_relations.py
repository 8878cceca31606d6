"""Relations, globs and folders: the engine counts, and the counts are those of the frame."""

from __future__ import annotations

import warnings

import duckdb
import hypothesis.strategies as st
import ibis
import networkx as nx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings

import pyromix as px
from pyromix.cli.columns import as_told
from pyromix.cli.common import table_of
from pyromix.data.relation.digits import Packed
from pyromix.data.relation.door import read_table
from pyromix.data.relation.engines import DuckDBEngine, engine_of
from pyromix.data.relation.table import RelationTable
from pyromix.errors import DataError, FileError, PyromixError
from pyromix.fitting.inputs import take_in

# Ibis calls what DuckDB and pandas deprecate
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pyromix.errors.AddedSourceWarning"),
]

N = 400
GRAPH = nx.DiGraph([("t", "b"), ("i", "b"), ("f", "e"), ("e", "b")])
STATES = {"e": ["lo", "mid", "hi"]}


def frame_of(n: int = N) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "t": rng.choice(["yes", "no", None, " yes", ""], n),
            "b": rng.random(n) < 0.3,
            "i": rng.choice([3, 4, 7], n),
            "f": rng.choice([1.0, 2.0, np.nan], n),
            "e": pd.Categorical(rng.choice(["lo", "hi"], n), categories=STATES["e"]),
            "w": rng.integers(0, 4, n),
            "x": rng.choice([0.25, 1.5, 0.125], n),
        }
    )


FRAME = frame_of()
IDS = FRAME.assign(id=np.arange(N))


def duckdb_relation(frame):
    connection = duckdb.connect()
    enum = "* replace (e::varchar::enum('lo', 'mid', 'hi') as e)" if "e" in frame else "*"
    connection.sql(f"create table z as select {enum} from frame")
    return connection.sql("from z")


def parquet_glob(frame, folder):
    for i, part in enumerate((frame.iloc[: len(frame) // 3], frame.iloc[len(frame) // 3 :])):
        part.to_parquet(folder / f"part{i}.parquet", index=False)
    return str(folder / "*.parquet")


def sqlite_table(frame):
    plain = frame.astype({"e": str}) if "e" in frame else frame
    return ibis.sqlite.connect().create_table("z", plain)


def ibis_table(frame):
    return ibis.duckdb.connect().create_table("z", frame)


@pytest.fixture(scope="module")
def relations(tmp_path_factory):
    return {
        "duckdb": duckdb_relation(FRAME),
        "parquet": parquet_glob(FRAME, tmp_path_factory.mktemp("parts")),
        "sqlite": sqlite_table(FRAME),
        "ibis": ibis_table(FRAME),
    }


ENGINES = ("duckdb", "parquet", "sqlite", "ibis")


def taken(data, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return take_in(GRAPH, data, 2, STATES, **options)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sample_weight": "w"},
        {"sample_weight": "x"},
        {"sample_weight": "x", "weights_are": "sampling"},
        {"missing": "drop"},
        {"missing_values": {"i": 7}},
    ],
    ids=str,
)
def test_counts_report_and_notes_are_those_of_the_frame(relations, engine, options):
    (expected, said), (found, told) = taken(FRAME, **options), taken(relations[engine], **options)
    assert found.schema == expected.schema
    assert found.as_counts().same_rows(expected.as_counts())
    assert found.as_counts().report == expected.as_counts().report
    assert told == said


@pytest.mark.parametrize("engine", ["duckdb", "parquet"])
def test_an_enum_brings_its_states_unused_ones_too(relations, engine):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, _ = take_in(GRAPH, relations[engine], 2)
    assert found.schema.states[found.schema.vertex("e")] == ("lo", "mid", "hi")


values = st.sampled_from
columns = st.sampled_from(
    [("a", "b", None, "c "), (True, False), (1, 2, 3), (-5, 0, 900), (0.5, 2.0, None), (1.0, None)]
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_small_table_is_counted_alike(data):
    kinds = data.draw(st.lists(columns, min_size=1, max_size=3))
    n = data.draw(st.integers(1, 12))
    cells = {
        f"v{i}": data.draw(st.lists(values(kind), min_size=n, max_size=n))
        for i, kind in enumerate(kinds)
    }
    frame = pd.DataFrame(
        {k: pd.array(c, dtype="object" if "a" in c else None) for k, c in cells.items()}
    )
    states = [
        tuple(dict.fromkeys(v.strip() if isinstance(v, str) else v for v in kind if v is not None))
        for kind in kinds
    ]
    states = [s if len(s) > 1 else (*s, 2.0) for s in states]
    schema = px.Schema(tuple(cells), tuple(states))
    outcomes = []
    for table in (frame, duckdb_relation(frame)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                outcomes.append(px.Counts.from_frame(table, schema))
        except PyromixError as error:
            outcomes.append(type(error))
    expected, found = outcomes
    if isinstance(expected, type):
        assert found is expected
    else:
        assert found.same_rows(expected)
        assert found.report == expected.report


@pytest.mark.parametrize("n_variables", [1, 40, 100])
def test_many_columns_are_several_numbers_and_come_back(n_variables):
    rng = np.random.default_rng(n_variables)
    cells = rng.integers(-1, 2, (60, n_variables))
    cells[0] = 0, *([1] * (n_variables - 1))
    cells[1:3, 0] = 0, 1
    frame = pd.DataFrame(
        np.where(cells < 0, np.nan, cells), columns=[*map(str, range(n_variables))]
    )
    schema = px.Schema(tuple(frame.columns), ((0, 1),) * n_variables)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = px.Counts.from_frame(frame, schema)
        found = px.Counts.from_frame(duckdb_relation(frame), schema)
        packed = Packed.of(read_table(duckdb_relation(frame)), schema)
    assert found.same_rows(expected)
    assert len(packed.words) == -(-n_variables // 39)  # 3 ** 39 < 2 ** 62 < 3 ** 40
    assert torch.equal(packed.codes([*packed.numbers(found.rows).values()]), found.rows)


@pytest.fixture(scope="module")
def fit():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return px.fit(GRAPH, FRAME, 2, n_init=2, prior=1.0, state_names=STATES)


@pytest.mark.parametrize("engine", ["duckdb", "sqlite"])
def test_verbs_take_a_relation_as_they_take_the_frame(relations, engine, fit):
    table = relations[engine]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = px.fit(GRAPH, table, 2, n_init=2, prior=1.0, state_names=STATES)
        assert again.log_likelihood == fit.log_likelihood
        assert torch.equal(again.mixture.weights, fit.mixture.weights)
        assert fit.score(table) == fit.score(FRAME)
        checked, expected = (fit.predictive_check(d).to_frame() for d in (table, FRAME))
        pd.testing.assert_frame_equal(checked, expected)
        draws, wanted = (fit.bootstrap(d, 3, random_state=1).draws for d in (table, FRAME))
        assert torch.equal(draws.weights, wanted.weights)
        rows = fit.membership(table).sort_values("0").to_numpy()[:, :2].astype(float)
        wanted = fit.membership(FRAME).sort_values("0").to_numpy()[:, :2].astype(float)
        np.testing.assert_array_equal(rows, wanted)


@pytest.mark.parametrize("engine", ENGINES)
def test_probabilities_come_back_as_columns_of_the_relation(relations, engine, fit):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = fit.predict_proba(relations[engine])
        expected = FRAME.assign(U_0=fit.predict_proba(FRAME)["0"])
    own = engine != "sqlite"
    assert isinstance(found, duckdb.DuckDBPyRelation if own else ibis.Table)
    rows = found.df() if own else found.to_pandas()
    assert list(rows.columns) == [*FRAME.columns, "U_0", "U_1"]
    order = ["w", "x", "i", "b", "U_0"]
    rows, expected = (r[order].sort_values(order).to_numpy(float) for r in (rows, expected))
    np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-15)


def test_products_selections_and_checks_take_a_glob(relations, fit):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        states = {**STATES, "x": [0.125, 0.25, 1.5]}
        options = {"state_names": states, "n_init": 1, "max_iter": 5}
        found, expected = (px.fit_product(d, 2, **options) for d in (relations["parquet"], FRAME))
        assert found.log_likelihood == expected.log_likelihood
        assert found.notes == expected.notes
        reports = [px.check(GRAPH, 2, d, state_names=STATES) for d in (relations["parquet"], FRAME)]
        assert str(reports[0]) == str(reports[1])
        ids = FRAME.assign(id=np.arange(N))
        assert (
            px.fit_product(duckdb_relation(ids), 1, **options).spec
            == px.fit_product(ids, 1, **options).spec
        )


# -- files ---------------------------------------------------------------------------------------


def test_files_of_text_are_read_as_one_file_of_text_is(tmp_path):
    frame = pd.DataFrame({"a": ["1", "2", "", "007"] * 5, "b": ["yes", "No"] * 10})
    frame.to_csv(tmp_path / "one.csv", index=False, sep=";")
    (tmp_path / "parts").mkdir()
    for i in (0, 1):
        frame.iloc[i::2].to_csv(tmp_path / f"parts/{i}.csv", index=False, sep=";")
    graph = nx.DiGraph([("a", "b")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, _ = take_in(graph, tmp_path / "one.csv", 1)
        for where in (tmp_path / "parts", str(tmp_path / "parts/*.csv")):
            found, _ = take_in(graph, where, 1)
            assert found.schema == expected.schema
            assert found.as_counts().same_rows(expected.as_counts())


def test_a_large_file_stays_on_the_disk(tmp_path, monkeypatch):
    FRAME.to_parquet(tmp_path / "all.parquet")
    assert not hasattr(read_table(tmp_path / "all.parquet"), "engine")
    monkeypatch.setattr("pyromix.data.relation.paths.LARGE", {"parquet": 1})
    assert read_table(tmp_path / "all.parquet").n_rows == N


def written(folder, *frames):
    for i, frame in enumerate(frames):
        frame.to_parquet(folder / f"{i}.parquet", index=False)
    return folder / "*.parquet"


A, B = (
    pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
    pd.DataFrame({"a": ["1", "2"], "b": ["x", "y"]}),
)


@pytest.mark.parametrize(
    ("frames", "error", "message"),
    [
        ((A, B), DataError, r"column 'a' must have one type.*int64 in .*0\.parquet.*string in"),
        ((A, A[["a"]]), DataError, r"1\.parquet' lacks \['b'\]"),
        ((A[["a"]], A), DataError, r"1\.parquet' has \['b'\] too"),
        ((), FileError, "expected files that match .*found none"),
        ((A[:0],), DataError, "expected a table with rows"),
    ],
)
def test_files_that_do_not_belong_together_are_named(tmp_path, frames, error, message):
    with pytest.raises(error, match=message):
        read_table(written(tmp_path, *frames))


def test_a_file_that_is_gone_or_damaged_is_named(tmp_path):
    with pytest.raises(FileError, match="there is no such file"):
        read_table(tmp_path / "gone.parquet")
    (tmp_path / "a.parquet").write_text("no parquet")
    with pytest.raises(FileError, match=r"a\.parquet' as parquet"):
        read_table(tmp_path / "*.parquet")
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FileError, match="files of one kind"):
        read_table(tmp_path / "*")
    (tmp_path / "c.csv").write_text("a,b\n1,2,3\n")
    with pytest.raises(DataError, match="Expected Number of Columns: 2 Found: 3") as refusal:
        read_table(tmp_path / "*.csv")
    assert "ignore_errors" not in str(refusal.value)


def test_a_table_that_changes_between_two_looks_is_refused(tmp_path):
    path = written(tmp_path, A, A)
    table = read_table(path)
    assert table.column("a").rows.tolist() == [2, 2]
    A.replace({"a": {1: 2}}).to_parquet(tmp_path / "1.parquet", index=False)
    schema = px.Schema(("a", "b"), ((1, 2), ("x", "y")))
    with pytest.raises(DataError, match="column 'a' has other values now"):
        px.Counts.from_frame(table, schema)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("case when range = 4 then null else 1.5 end", "found 1 missing weights in column 'w'"),
        ("case when range = 4 then 'nan'::float else 1 end", "1 NaN or infinite weights"),
        ("-range", "found 9 negative weights"),
        ("0", "positive sum, found 10 zeros"),
        ("'x'", "Could not convert string 'x' to DOUBLE"),
        ("[range]", "column 'w' must hold numbers"),
    ],
)
def test_weights_that_are_none_are_named(query, message):
    relation = duckdb.connect().sql(f"select range % 2 a, range % 3 b, {query} w from range(10)")
    with pytest.raises(DataError, match=message):
        px.fit(nx.DiGraph([("a", "b")]), relation, 2, sample_weight="w")
    with pytest.raises(DataError, match="name of a column of the relation"):
        px.fit(nx.DiGraph([("a", "b")]), relation, 2, sample_weight=np.ones(10))


def test_a_column_of_many_values_is_no_variable():
    relation = duckdb.connect().sql("select range a, range % 2 b from range(70000)")
    with pytest.raises(DataError, match="column 'a' must be discrete, found more than 65536"):
        px.fit(nx.DiGraph([("a", "b")]), relation, 2)


def test_ibis_cannot_hand_out_batches_of_duckdb_and_we_go_round_it():
    """Where this fails, tables of Ibis' DuckDB can be asked as those of its other backends."""
    table = ibis.duckdb.connect().create_table("z", pa.table({"a": [1, 2, 3]}))
    engine = engine_of(table)
    assert isinstance(engine, DuckDBEngine)
    assert sum(b.num_rows for b in engine.batches("SELECT * FROM relation", 2)) == 3
    assert engine.answer("SELECT * FROM relation").num_rows == 3  # and the connection is free again
    with pytest.raises(AttributeError, match="fetch_record_batch"):
        next(iter(table.to_pyarrow_batches()))


NUMBERS = pd.DataFrame(
    {
        "a": np.arange(240) % 2,
        "age": np.random.default_rng(8).normal(40, 9, 240).round(2),
        "y": np.arange(240) // 3 % 2,
    }
).mask(np.random.default_rng(9).random((240, 3)) < [0, 0.05, 0])


@pytest.fixture(scope="module", params=["duckdb", "sqlite", "glob"])
def numbers(request, tmp_path_factory):
    makers = {"duckdb": duckdb_relation, "sqlite": sqlite_table}
    if request.param == "glob":
        return parquet_glob(NUMBERS, tmp_path_factory.mktemp("numbers"))
    return makers[request.param](NUMBERS)


@pytest.mark.parametrize("how", [[30.5, 44.0], "quantile:3"])
def test_numbers_are_cut_by_the_engine_as_they_are_in_a_frame(numbers, how):
    found = [
        px.fit_product(data, 1, discretize={"age": how}, missing_values={"age": 40.0})
        for data in (NUMBERS, numbers)
    ]
    assert found[0].spec == found[1].spec
    assert torch.equal(found[0].table.rows, found[1].table.rows)
    assert torch.equal(found[0].table.weights, found[1].table.weights)
    assert found[1].score(numbers) == found[0].score(NUMBERS)


def test_bins_of_the_command_line_are_read_by_the_engine(tmp_path):
    files, edges = parquet_glob(NUMBERS, tmp_path), "age=30.5,44"
    NUMBERS.to_csv(tmp_path / "t.csv", index=False)
    (asked, told), (held, same) = (
        as_told(table_of(str(path)), [edges], None) for path in (files, tmp_path / "t.csv")
    )
    assert told == same
    assert isinstance(asked, RelationTable)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, expected = (
            px.fit_product(table, 1, state_names=told, show_progress=False)
            for table in (asked, held)
        )
    assert found.table.same_rows(expected.table)


def test_texts_of_several_files_are_cut_as_those_of_one(tmp_path):
    (tmp_path / "parts").mkdir()
    NUMBERS.to_csv(tmp_path / "all.csv", index=False)
    for i, part in enumerate((NUMBERS.iloc[:90], NUMBERS.iloc[90:])):
        part.to_csv(tmp_path / "parts" / f"{i}.csv", index=False)
    found = [
        px.fit_product(str(tmp_path / path), 1, discretize={"age": [30.5, 44.0]})
        for path in ("all.csv", "parts/*.csv")
    ]
    assert found[0].table.same_rows(found[1].table)


def test_a_relation_with_fractions_is_fitted_with_its_numbers(numbers):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        held, asked = (px.fit_product(data, 1, show_progress=False) for data in (NUMBERS, numbers))
    assert isinstance(asked, px.MixedFit)
    assert asked.log_likelihood == held.log_likelihood


def test_numbers_that_do_not_fit_in_memory_are_refused_with_a_cure(monkeypatch):
    monkeypatch.setenv("PYROMIX_MEMORY_LIMIT", "1")
    many = duckdb.sql("select random() as x, random() < 0.5 as y from range(100000)")
    with pytest.raises(DataError, match="numbers cut into states"):
        px.fit_product(many, 1)
